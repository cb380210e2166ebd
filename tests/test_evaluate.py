"""`evaluate` tells copies and blends from new pictures, says what it measured against, and never needs the network."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from models import save_model
from numpy.typing import NDArray
from PIL import Image
from test_metrics_likeness import blobs, encoded

from animepggan.cli.evaluate import command
from animepggan.corpus import description
from animepggan.errors import DataError, RecipeError
from animepggan.metrics import ms_ssim, sliced_wasserstein
from animepggan.metrics.pictures import RealPictures
from animepggan.metrics.quality import Measures, make_reference, measure
from animepggan.report.verdict import verdict

Pictures = NDArray[np.uint8]
KEYS = {"kid", "kid_std", "frechet", "precision", "recall", "density", "coverage", "swd", "ms_ssim", "copied_share"}
KEYS |= {"blend_share", "features", "reference", "n", "seed"}


class Means:
    """A backbone that sees colors at 4 x 4 places."""

    label = "means of 8 x 8 pixels"

    def __init__(self) -> None:
        self.asked = 0

    def embed(self, pictures: Pictures, *, batch_size: int = 32) -> NDArray[np.float32]:
        self.asked += len(pictures)
        n, side = pictures.shape[:2]
        places = pictures.reshape(n, 4, side // 4, 4, side // 4, 3).astype(np.float32)
        embedded: NDArray[np.float32] = places.mean(axis=(2, 4)).reshape(n, -1) / 64
        return embedded


def save(folder: Path, pictures: Pictures, ending: str = "png") -> Path:
    folder.mkdir(parents=True)
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{number:04d}.{ending}")
    return folder


def opened(folder: Path, **options: Any) -> RealPictures:
    return RealPictures.load(str(folder), resolution=32, **options)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, [*map(str, arguments)], catch_exceptions=False)


def measured(*arguments: str | Path) -> dict[str, Any]:
    result = run(*arguments, "--json", "--quiet")
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rougher than in earnest: how fine they are is not what is tested here."""
    monkeypatch.setattr(ms_ssim, "PAIRS", 300)
    monkeypatch.setattr(sliced_wasserstein, "REPEATS", 1)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 pictures, of which 30 are there twice."""
    pictures = blobs(0, 150)
    return save(tmp_path_factory.mktemp("real") / "set", np.concatenate([pictures, encoded(pictures[:30])]))


def test_copies_blends_and_new_pictures_are_told_apart(real: Path) -> None:
    reference = make_reference(opened(real))
    pictures = blobs(0, 150)
    assert reference.n == 150  # a picture a cluster
    copies = measure(encoded(pictures[40:90]), reference)[0]
    assert copies.copied_share == 1
    assert copies.blend_share == 1
    new = measure(blobs(1, 60), reference)[0]
    assert new.copied_share is not None
    assert new.blend_share is not None
    assert new.copied_share <= 0.05
    assert new.copied_share <= new.blend_share <= 0.1
    blends, memorization = measure(((pictures[:50].astype(int) + pictures[50:100]) // 2).astype(np.uint8), reference)
    assert blends.blend_share == 1
    assert memorization is not None
    assert np.median(memorization.matches.share) == pytest.approx(0.5, abs=0.05)
    half = measure(np.concatenate([encoded(pictures[40:70]), blobs(1, 30)]), reference)[0]
    assert half.copied_share == pytest.approx(0.5, abs=0.05)


def test_a_reference_holds_no_copies_of_training_pictures(real: Path, tmp_path: Path) -> None:
    held = save(tmp_path / "held", np.concatenate([encoded(blobs(0, 20)), blobs(2, 70)]))
    reference = make_reference(opened(held), train=opened(real))
    assert reference.n == 70
    assert any("20 of 90 reference pictures are left out" in note for note in reference.notes)
    assert reference.training is not None
    assert reference.training.left_out
    assert measure(blobs(3, 60), reference)[0].copied_share == pytest.approx(0, abs=0.05)
    assert measure(encoded(blobs(0, 60)), reference)[0].copied_share == 1
    # Nothing but copies: the training set is its own reference, and still tells copies.
    only = make_reference(opened(save(tmp_path / "copies", encoded(blobs(0, 60)))), train=opened(real))
    assert only.n == 60
    assert measure(encoded(blobs(0, 60)), only)[0].copied_share == 1


def test_held_out_clusters_are_no_training_pictures(real: Path) -> None:
    data = opened(real)
    reference = make_reference(data, hold_out=60)
    assert reference.n == 60
    assert reference.training is not None
    assert 90 <= len(reference.training.indices) <= 120
    out = np.setdiff1d(np.arange(180), reference.training.indices)
    assert not set(data.clusters[out]) & set(data.clusters[reference.training.indices])
    assert measure(data.pictures(out), reference)[0].copied_share == pytest.approx(0, abs=0.05)
    assert measure(data.pictures(reference.training.indices), reference)[0].copied_share == 1
    with pytest.raises(DataError, match="cannot be held out"):
        make_reference(data, hold_out=149)


def test_measures_move_the_way_that_they_should(real: Path) -> None:
    reference = make_reference(opened(real), embedder=Means(), memorization=False)
    good = measure(blobs(1, 80), reference)[0]
    noise = np.random.default_rng(0).normal(0, 60, (80, 32, 32, 3))
    noisy = measure((blobs(1, 80) + noise).clip(0, 255).astype(np.uint8), reference)[0]
    single = measure(np.repeat(blobs(1, 1), 80, axis=0), reference)[0]
    for measures in (good, noisy, single):
        assert measures.kid is not None
        assert measures.coverage is not None
        assert measures.copied_share is None
    assert single.ms_ssim == pytest.approx(1, abs=1e-6)
    assert good.ms_ssim == pytest.approx(reference.ms_ssim, abs=0.05)
    assert good.coverage > 0.5 > 0.2 > single.coverage
    assert good.kid < single.kid
    assert good.swd["32"] < noisy.swd["32"] / 2
    assert list(good.swd) == ["32", "16"]
    assert good == measure(blobs(1, 80), reference)[0]
    assert json.loads(json.dumps(good.as_json(), allow_nan=False))["features"] == Means.label


FIGURES = Measures(
    **dict.fromkeys(("kid", "kid_std", "frechet", "recall", "density", "cluster_diversity", "nearest", "nearest_new")),
    **{"precision": 0.4, "coverage": 0.6, "swd": {}, "swd_std": None, "ms_ssim": 0.26, "ms_ssim_reference": 0.25},
    **{"copied_share": 0.01, "blend_share": 0.01, "features": "Lite", "reference": "yui", "reference_n": 500},
    **{"training": "yui", "training_n": 500, "resolution": 64, "n": 500, "seed": 0},
)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "Good: 60% of the real pictures"),
        ({"copied_share": None}, "copies were not looked for"),
        ({"coverage": 0.3}, "On its way: 30%"),
        ({"coverage": 0.04, "precision": 0.2}, "Too early: only 4%"),
        ({"coverage": 0.04, "precision": 0.0}, "Precision 0.00 can stand beside good pictures"),
        ({"copied_share": 0.35}, "Copying: 35% of the pictures"),
        ({"copied_share": 0.35, "n": 5}, "Good"),  # two pictures are chance
        ({"ms_ssim": 0.6, "coverage": 0.0, "copied_share": 1.0}, "Collapsed: the pictures are nearly all one"),
        ({"coverage": None, "precision": None}, "Without a backbone"),
    ],
)
def test_the_figures_are_put_into_words(change: dict[str, Any], words: str) -> None:
    told = verdict(replace(FIGURES, **change))
    assert words in told
    assert ("Precision" in told) == (change.get("precision") == 0.0)


def test_reference_embeddings_are_kept(real: Path, tmp_path: Path) -> None:
    first, second, third = Means(), Means(), Means()
    make_reference(opened(real, cache=tmp_path), embedder=first, memorization=False)
    make_reference(opened(real, cache=tmp_path), embedder=second, memorization=False)
    assert (first.asked, second.asked) == (150, 0)
    for file in (tmp_path / "embeddings").iterdir():
        file.write_bytes(b"damaged")
    make_reference(opened(real, cache=tmp_path), embedder=third, memorization=False)
    assert third.asked == 150


def test_clusters_of_a_corpus_description_count(tmp_path: Path) -> None:
    save(tmp_path / "set", blobs(0, 60))
    rows = [description.Row(f"{number:04d}.png", cluster=number // 3) for number in range(60)]
    description.write_description(tmp_path / "corpus.jsonl", rows, base=str(tmp_path / "set"))
    assert make_reference(opened(tmp_path / "corpus.jsonl"), memorization=False).n == 20


def test_a_folder_is_measured(real: Path, tmp_path: Path) -> None:
    folder = save(tmp_path / "samples", blobs(0, 60), "jpg")
    (folder / "model.txt").write_text("not a picture")
    document = measured(folder, "--data", real, "--backbone", "none", "-o", tmp_path / "out")
    assert set(document) >= KEYS
    assert document["copied_share"] == 1
    assert document["kid"] is document["features"] is None
    assert (document["n"], document["seed"], document["resolution"]) == (60, 0, 32)
    assert str(real) in document["reference"]
    kept = json.loads((tmp_path / "out" / "measures.json").read_text())
    assert kept == {key: value for key, value in document.items() if key != "files"}
    sheet = (tmp_path / "out" / "sheet.html").read_text(encoding="utf-8")
    assert sheet.count("<figure") == 3 * 16 * 4
    assert sheet.count("<svg") == 2
    assert any(f"{number:04d}.png" in sheet for number in range(60))
    part = measured(folder, "--data", real, "--backbone", "none", "--count", "20", "-o", tmp_path / "part")
    assert part["n"] == 20


def test_a_model_is_measured_against_what_it_was_trained_on(real: Path, tmp_path: Path) -> None:
    model = save_model(tmp_path / "model", 32)
    config = json.loads((model / "config.json").read_text())
    config["provenance"]["corpus"] = {"spec": str(tmp_path / "gone")}
    (model / "config.json").write_text(json.dumps(config))
    (model / "manifest.json").unlink()
    arguments = (
        model,
        "--data",
        real,
        "--backbone",
        "none",
        "--count",
        "20",
        "--device",
        "cpu",
        "-o",
        tmp_path / "out",
    )
    result = run(*arguments)
    assert result.exit_code == 0
    assert "--train SPEC" in result.stderr
    assert "copied" in result.stdout
    assert result.stdout.splitlines()[-2].startswith(("Without a backbone", "Collapsed"))  # then the files
    assert not (tmp_path / "out" / "sheet.html").exists()
    document = measured(*arguments, "--train", real, "--seed", "7")
    assert document["copied_share"] is not None
    assert document["training"] == str(real)
    assert (document["n"], document["seed"]) == (20, 7)
    assert any("below 50" in note for note in document["notes"])


def test_mistakes_are_named(real: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="neither a model nor pictures"):
        run(tmp_path / "empty", "--data", real, "--backbone", "none")
    with pytest.raises(RecipeError, match="neither a share"):
        run(real, "--data", real, "--hold-out", "1.5")
    file = io.BytesIO(b"broken")
    save(tmp_path / "bad", blobs(0, 10))
    (tmp_path / "bad" / "broken.png").write_bytes(file.getvalue())
    with pytest.raises(DataError, match=r"1 of 11 pictures are unusable, as broken\.png"):
        run(tmp_path / "bad", "--data", real, "--backbone", "none", "-o", tmp_path / "out")
