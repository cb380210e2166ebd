"""`animepggan start`: from screenshots and a film to a model of her, stopped and gone on with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from runs import trained

from animepggan import AnimepgganError, pipeline
from animepggan.cli import main
from animepggan.corpus.demo.characters import heroine
from animepggan.corpus.demo.dice import Dice
from animepggan.corpus.demo.picture import Placed, compose, portrait, some_shot
from animepggan.corpus.demo.scenes import Scene
from animepggan.pipeline.material import look_over

TINY = {"schedule.stabilize_kimg": 0.032, "previews.every_kimg": 0.016, "schedule.batch_size": 4}


@pytest.fixture(scope="module")
def tiny_base() -> Path:
    return trained()


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pictures of her, wide as screenshots are, and two without anybody."""
    folder = tmp_path_factory.mktemp("shots")
    for index in range(8):
        dice = Dice("start", index)
        placed = Placed(heroine(), some_shot(dice, yaw=12), dice.between(0.3, 0.7), 0.5, 340)
        compose([placed], Scene("class", index), 480, 270, seed=index)[0].save(folder / f"shot{index}.png")
    for index in range(2):
        compose([], Scene("sea", index), 480, 270)[0].save(folder / f"empty{index}.png")
    return folder


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve square faces of her."""
    folder = tmp_path_factory.mktemp("faces")
    for index in range(12):
        placed, scene = portrait(heroine(), Dice("face", index))
        compose([placed], scene, 96, 96, seed=index)[0].save(folder / f"face{index}.png")
    return folder


def test_square_faces_are_told_from_screenshots(screenshots: Path, faces: Path, tmp_path: Path) -> None:
    square = tmp_path / "square"  # as square as the faces, but she is small in them
    square.mkdir()
    for path in sorted(screenshots.glob("shot*.png"))[:4]:
        wide = Image.open(path)
        canvas = Image.new("RGB", (480, 480), "#446")
        canvas.paste(wide, (0, 105))
        canvas.save(square / path.name)
    found = look_over([screenshots, faces, square])
    assert [source.name for source in found.cut] == [faces.name]
    assert [source.name for source in found.uncut] == [screenshots.name, "square"]


def test_lone_pictures_are_one_source(faces: Path) -> None:
    found = look_over(sorted(faces.glob("*.png"))[:3])
    assert [len(source.entries) for source in found.cut + found.uncut] == [3]


def run(sources: list[Path], output: Path, base: Path, **options: Any) -> tuple[pipeline.Started, list[str]]:
    said: list[str] = []
    done = pipeline.start(sources, output, base=base, settings=TINY, workers=0, say=said.append, **options)
    return done, said


def test_it_goes_all_the_way_and_a_second_time_does_nothing_anew(
    screenshots: Path, faces: Path, tiny_base: Path, tmp_path: Path
) -> None:
    output = tmp_path / "her"
    done, _ = run([screenshots, faces], output, tiny_base)
    assert done.page == output / "index.html"
    page = done.page.read_text(encoding="utf-8")
    assert page.count("data:image/") >= 3
    assert "http" not in page.replace("http-equiv", "")
    rows = [json.loads(line) for line in (output / "set" / "corpus.jsonl").read_text().splitlines()]
    assert len(rows) >= 18
    told = json.loads((output / "start.json").read_text())
    assert told["steps"]["crop"]["faces"] >= 18
    assert set(told["steps"]) == {"crop", "curate", "finetune", "draw"}
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*.safetensors")}
    again, said = run([screenshots, faces], output, tiny_base)
    assert again.page == done.page
    assert "set: as it was" in said
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*.safetensors")} == before


def test_until_stops_there_and_the_rest_follows(faces: Path, tiny_base: Path, tmp_path: Path) -> None:
    output = tmp_path / "her"
    done, _ = run([faces], output, tiny_base, until="curate")
    assert done.description is not None
    assert done.run is None
    assert not (output / "run").exists()
    seen: list[Path] = []
    done, _ = run([faces], output, tiny_base, until="review", review=seen.append)
    assert seen == [output / "set"]
    run([faces], output, tiny_base, until="review", review=seen.append)
    assert len(seen) == 1  # what was reviewed is not shown again


def test_a_set_that_changed_gets_a_run_of_its_own(faces: Path, tiny_base: Path, tmp_path: Path) -> None:
    output, source = tmp_path / "her", tmp_path / "source"
    shutil.copytree(faces, source)
    first, _ = run([source], output, tiny_base, until="finetune")
    (source / "face0.png").unlink()
    shutil.rmtree(output / "faces")
    second, _ = run([source], output, tiny_base, until="finetune")
    assert first.run is not None
    assert second.run is not None
    assert [first.run.folder.name, second.run.folder.name] == ["run", "run-2"]


def test_sources_may_come_but_not_go(screenshots: Path, faces: Path, tiny_base: Path, tmp_path: Path) -> None:
    output = tmp_path / "her"
    run([faces], output, tiny_base, until="crop")
    run([faces, screenshots], output, tiny_base, until="crop")
    with pytest.raises(AnimepgganError, match="was made from"):
        run([screenshots], output, tiny_base, until="crop")


def test_what_cannot_be_used_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["start", str(tmp_path / "empty"), "-o", str(tmp_path / "her")]) == 3
    assert "neither pictures nor videos" in capsys.readouterr().err
    assert not (tmp_path / "her").exists()


def test_a_missing_extra_is_said_before_any_work(
    screenshots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "animeface" else real(name))
    assert main(["start", str(screenshots), "-o", str(tmp_path / "her")]) == 2
    assert 'pip install "animepggan[start]"' in capsys.readouterr().err
    assert not (tmp_path / "her").exists()


def test_the_plan_writes_nothing(
    screenshots: Path, tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "her"
    options = ["--base", str(tiny_base), "--set", "schedule.stabilize_kimg=0.032", "--dry-run", "--json"]
    assert main(["start", str(screenshots), "-o", str(output), *options]) == 0
    steps = json.loads(capsys.readouterr().out)
    assert [step["step"] for step in steps] == ["crop", "curate", "review", "finetune"]
    assert all(step["seconds"] > 0 for step in steps if step["step"] != "review")
    assert not output.exists()
