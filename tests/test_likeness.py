"""One notion of copies, near copies and clusters: checked or curated, raw or described, the same set is the same."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_curation import HOWS, Colors, changed, scene

from animepggan import data
from animepggan.corpus import Corpus, description, likeness
from animepggan.corpus.curation import curation_of
from animepggan.corpus.likeness import clusters_in, clusters_of
from animepggan.corpus.spec import source_of
from animepggan.metrics.pictures import RealPictures
from animepggan.metrics.split import held_out, split
from animepggan.transfer import preset_for


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 pictures, 5 of them three times, 8 with a near copy each, and one broken file."""
    folder = tmp_path_factory.mktemp("likeness") / "faces"
    folder.mkdir()
    for seed in range(30):
        scene(seed).save(folder / f"{seed:02d}.png")
    for seed in range(5):
        scene(seed).save(folder / f"again {seed}.png", compress_level=1)
        scene(seed).save(folder / f"once more {seed}.bmp")
    for seed in range(3, 11):
        changed(scene(seed), HOWS[seed % len(HOWS)]).save(folder / f"near {seed}.png")
    (folder / "broken.png").write_bytes(b"nothing")
    return folder


@pytest.fixture(scope="module")
def curated(faces: Path) -> Path:
    curation = curation_of(source_of(str(faces)), Colors(), workers=0, stranger_limit=1e3)
    path = faces.parent / "curated" / "corpus.jsonl"
    description.write_description(path, curation.rows(), base=str(faces))
    return path


def parts(names: list[str], numbers: np.ndarray) -> set[frozenset[str]]:
    """The clusters by the names of their pictures."""
    found: dict[int, set[str]] = {}
    for name, number in zip(names, numbers.tolist(), strict=True):
        found.setdefault(number, set()).add(name)
    return {frozenset(some) for some in found.values()}


def test_a_set_has_the_same_clusters_raw_and_curated_at_any_resolution(faces: Path, curated: Path) -> None:
    expected: set[frozenset[str]] | None = None
    for spec in (faces, curated):
        for resolution in (8, 32):
            corpus = Corpus.load(str(spec), resolution=resolution, max_bad=0.1)
            clusters = clusters_in(corpus)
            found = parts(list(corpus.names), clusters)
            assert len(found) == 30
            assert expected is None or found == expected
            expected = found
            assert preset_for(len(np.unique(clusters))).clusters == 50
            assert np.array_equal(RealPictures(corpus, resolution).clusters, clusters)
    assert expected is not None
    assert frozenset({"03.png", "again 3.png", "once more 3.bmp", "near 3.png"}) in expected


def test_the_same_pictures_are_held_out_raw_and_curated(faces: Path, curated: Path) -> None:
    raw, described = (
        Corpus.load(str(spec), resolution=size, max_bad=0.1) for spec, size in ((faces, 8), (curated, 16))
    )
    for seed in range(3):
        out = [split(corpus, clusters_in(corpus), 0.2, seed) for corpus in (raw, described)]
        assert list(out[0].held_out.names) == list(out[1].held_out.names)
        assert out[0].count == out[1].count
        by_evaluate = held_out(clusters_in(raw), raw.names, 0.2, seed)
        assert [raw.names[place] for place in np.flatnonzero(by_evaluate)] == list(out[0].held_out.names)


def test_strangers_that_are_left_out_change_no_cluster_of_hers_nor_what_is_held_out(
    faces: Path, tmp_path: Path
) -> None:
    curation = curation_of(source_of(str(faces)), Colors(), workers=0, stranger_limit=0.7)
    strangers = {curation.entries[place].name for place in curation.strangers}
    assert 0 < len(strangers) < 20
    description.write_description(tmp_path / "corpus.jsonl", curation.rows(), base=str(faces))
    raw, curated = (Corpus.load(str(spec), resolution=8, max_bad=0.1) for spec in (faces, tmp_path / "corpus.jsonl"))
    assert set(raw.names) - set(curated.names) == strangers
    clusters, left = clusters_in(raw), clusters_in(curated)
    assert parts(list(curated.names), left) < parts(list(raw.names), clusters)
    some_of_them = False
    for seed in range(8):
        out = set(split(raw, clusters, 0.3, seed).held_out.names)
        assert set(split(curated, left, 0.3, seed).held_out.names) == out - strangers
        some_of_them |= bool(out & strangers)
    assert some_of_them


def test_a_check_counts_what_curation_does(faces: Path, curated: Path) -> None:
    statuses = Counter(row.status for _, row in description.read_description(curated))
    report = data.check(faces, backbone="none")
    copies, near = (sum(len(group) - 1 for group in groups) for groups in (report.copies, report.near))
    assert (copies, near, len(report.bad)) == (statuses["copy"], statuses["near"], statuses["bad"]) == (10, 8, 1)
    assert data.check(curated, backbone="none").clean


def test_what_a_description_says_counts(faces: Path, tmp_path: Path) -> None:
    rows = [description.Row(f"{seed:02d}.png", cluster=seed // 3 if seed < 9 else None) for seed in range(12)]
    description.write_description(tmp_path / "corpus.jsonl", rows, base=str(faces))
    numbers = clusters_of(source_of(str(tmp_path / "corpus.jsonl"))).tolist()
    assert numbers[:9] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert len(set(numbers)) == 6  # who has no number is alone


def test_clusters_are_kept_until_a_picture_changes(faces: Path, tmp_path: Path) -> None:
    folder, cache = tmp_path / "some", tmp_path / "cache"
    folder.mkdir()
    for name in ("00.png", "01.png", "again 0.png"):
        (folder / name).write_bytes((faces / name).read_bytes())

    def found() -> tuple[list[int], int]:
        looked: list[int] = []
        numbers = clusters_of(source_of(str(folder)), cache=cache, bar=lambda what, done, total: looked.append(done))
        return numbers.tolist(), len(looked)

    numbers, looked = found()
    assert numbers == [0, 1, 0]
    assert looked
    assert found() == (numbers, 0)
    for file in (cache / "clusters").iterdir():
        file.write_bytes(b"damaged")
    assert found()[1]
    scene(9).save(folder / "01.png")
    scene(9).save(folder / "again 0.png")
    assert found()[0] == [0, 1, 1]
    assert [path.name for path in cache.iterdir()] == ["clusters"]


def test_pixels_without_files_are_compared_too(faces: Path) -> None:
    pictures = [np.asarray(scene(seed)) for seed in (0, 1, 2, 1)]
    pictures.append(np.asarray(changed(scene(2), "darker")))
    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    corpus = Corpus(pixels, [f"{number}" for number in range(5)], name="set", spec="set")
    assert clusters_in(corpus).tolist() == [0, 1, 2, 1, 2]


def test_a_large_set_is_searched_in_parts(faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = source_of(str(faces))
    whole = clusters_of(source)
    monkeypatch.setattr(likeness, "_ALL", 10)
    monkeypatch.setattr(likeness, "_PART", 5)
    assert np.array_equal(clusters_of(source), whole)


def test_grayscale_is_no_near_copy(tmp_path: Path) -> None:
    scene(0).save(tmp_path / "a.png")
    scene(0).convert("L").save(tmp_path / "b.png")
    Image.new("RGB", (64, 64), (200, 0, 0)).save(tmp_path / "c.png")
    Image.new("RGB", (64, 64), (190, 0, 0)).save(tmp_path / "d.png")
    assert len(set(clusters_of(source_of(str(tmp_path))).tolist())) == 4
