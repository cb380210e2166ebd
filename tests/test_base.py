"""The scripts that make the base in the package: what they pack, and what its card says."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from runs import pixels, trained
from test_evaluate import FIGURES

import animepggan
from animepggan.checkpoint import WEIGHTS, verify
from animepggan.corpus.demo import draw_demo
from animepggan.transfer import open_base

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def measure_base(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import measure_base

    return measure_base


@pytest.fixture
def train_base(measure_base: Any) -> Any:
    import train_base

    return train_base


def test_what_is_packed_is_a_base_that_tells_nothing_of_this_machine(train_base: Any, tmp_path: Path) -> None:
    into = tmp_path / "base"
    into.mkdir()
    (into / "README.md").write_text("# Old\n\n## What still looks wrong\n\nEars.\n")
    train_base.pack(str(trained()), into, "a machine")
    assert {path.name for path in into.iterdir()} == {
        *(f"{name}.safetensors" for name in WEIGHTS),
        *("config.json", "manifest.json", "README.md"),
    }
    verify(into, WEIGHTS)
    assert open_base(str(into)).resolution == 8
    provenance = json.loads((into / "config.json").read_text())["provenance"]
    assert (provenance["name"], provenance["recipe"]["data"]) == ("base", "demo:general")
    assert provenance["trained"]["on"] == "a machine"
    assert provenance["trained"]["seconds"] > 0
    assert (into / "README.md").read_text().endswith("## What still looks wrong\n\nEars.\n")
    drawn = animepggan.load(into, device="cpu").sample([3])
    assert np.array_equal(drawn, animepggan.load(trained(), device="cpu").sample([3]))


def test_the_card_has_the_figures(measure_base: Any) -> None:
    model = animepggan.load("base", device="cpu")
    figures = replace(FIGURES, kid=0.0123, kid_std=0.001, n=5000, reference_n=4990, copied_share=0.004)
    card = measure_base.card_of(model, measure_base.Found(0.931, 0.97), figures, 1000)
    for line in (
        "drawn by our program (`animepggan data demo general`)",
        "latent 128, 128 128 64 32 16 channels at 4 to 64 px; 851,519 parameters in the generator",
        "8 channels are left at 128 px",
        "| animeface finds a face, of 1,000 draws enlarged to 256 px | 93.1% |",
        "| KID of 5,000 draws against 4,990 pictures of characters that training never saw | 0.0123 ± 0.0010 |",
        "| copied (of new pictures: 1 %) | 0.4% |",
    ):
        assert line in card


def test_real_and_drawn_are_shuffled_on_one_sheet_and_told_apart_in_the_key(measure_base: Any, tmp_path: Path) -> None:
    model = animepggan.load(trained(), device="cpu")
    real = pixels(16, 8, seed=5).permute(0, 2, 3, 1).numpy()
    measure_base.sheet_for_eyes(model, real, tmp_path)
    key = [line.rpartition(" ")[2] for line in (tmp_path / "eyes-key.txt").read_text().splitlines()]
    assert (key.count("real"), key.count("drawn")) == (16, 16)
    assert key not in (sorted(key), sorted(key, reverse=True))
    sheet = np.asarray(Image.open(tmp_path / "eyes.png"))[::16, ::16]  # 8 px, enlarged to 128
    faces = [sheet[9 * row : 9 * row + 8, 9 * column : 9 * column + 8] for row in range(4) for column in range(8)]
    for kind, face in zip(key, faces, strict=True):
        assert any(np.array_equal(face, one) for one in real) == (kind == "real")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_base_is_trained_packed_and_measured_by_one_command(tmp_path: Path) -> None:
    pytest.importorskip("animeface")
    command = [sys.executable, str(SCRIPTS / "train_base.py"), "--quick", "--precision", "fp32", "--device", "cpu"]
    for _ in range(2):  # the second time nothing is trained anew
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert "animeface finds a face in" in done.stdout
    assert "this run is complete" in done.stderr
    folder = tmp_path / "runs" / "quick-base" / "base"
    assert "## How good it is" in (folder / "README.md").read_text()
    assert animepggan.load(folder, device="cpu").resolution == 64


@pytest.mark.slow
def test_the_demos_sheet_shows_her_beside_the_base(
    measure_base: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import demo
    import measure_demo

    draw_demo("yui", tmp_path / "held", count=16, size=64, workers=1)
    hers = animepggan.load("base").path
    demo.three_rows(hers, tmp_path / "held", tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (3 * (26 + 128), 2 * (8 * 64 + 7), 3)
    real, base, tuned = (sheet[at + 26 : at + 26 + 128] for at in (0, 154, 308))
    assert np.array_equal(base, tuned)  # the same model, the same seeds
    assert not np.array_equal(real, base)
    monkeypatch.setattr("sys.argv", ["measure_demo", "base", str(hers), str(tmp_path / "held")])
    assert measure_demo.main() == 1  # no nearer than the base
    assert "to this (1), base before fine-tuning: 1.00" in capsys.readouterr().out
