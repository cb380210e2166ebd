"""Copies and blends are found whatever was done to them; new pictures are not; no copy crosses a hold-out."""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from animepggan.errors import DataError
from animepggan.metrics.memorization import COPIED
from animepggan.metrics.ms_ssim import ms_ssim
from animepggan.metrics.nearest import NearestIndex, memorization_thumbnails
from animepggan.metrics.split import held_out, one_of_each

Pictures = NDArray[np.uint8]


def blobs(seed: int, count: int, side: int = 32) -> Pictures:
    """Smooth random pictures, no two alike."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, 8, 8, generator=generator)
    fine = functional.interpolate(coarse, (side, side), mode="bicubic").mul(50).add(128).clamp(0, 255)
    return fine.permute(0, 2, 3, 1).to(torch.uint8).numpy()


def encoded(pictures: Pictures) -> Pictures:
    copies = []
    for picture in pictures:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=90, subsampling=0)
        copies.append(np.asarray(Image.open(file)))
    return np.stack(copies)


def changed(pictures: Pictures, how: str) -> Pictures:
    if how == "encoded":
        return encoded(pictures)
    if how == "moved":
        return np.roll(pictures, (1, -1), (1, 2))
    if how == "smaller":
        return np.stack([np.asarray(Image.fromarray(one).resize((24, 24))) for one in pictures])
    assert how == "faint"
    return (pictures * 0.7 + 38).astype(np.uint8)


@pytest.mark.parametrize("how", ["encoded", "moved", "smaller", "faint"])
def test_a_changed_copy_finds_its_picture(how: Literal["encoded", "moved", "smaller", "faint"]) -> None:
    real = blobs(0, 80)
    found = NearestIndex(memorization_thumbnails(real)).find(memorization_thumbnails(changed(real[:20], how)))
    assert found.neighbors[:, 0].tolist() == list(range(20))
    assert found.distances[:, 0].max() < COPIED
    assert found.distances[:, 1].min() > 2 * COPIED  # and no other one is near
    assert (np.diff(found.distances, axis=1) >= 0).all()
    assert (found.blended <= found.distances[:, 0] + 1e-9).all()


def test_new_and_blurred_pictures_are_near_nothing() -> None:
    index = NearestIndex(memorization_thumbnails(blobs(0, 80)))
    assert index.find(memorization_thumbnails(blobs(1, 30))).distances[:, 0].min() > 2 * COPIED
    gray = np.full((1, 32, 32, 3), 128, np.uint8)  # nearer to all of them, pixel by pixel, than they are to each other
    assert index.find(memorization_thumbnails(gray)).distances[0, 0] > 0.5


def test_a_blend_finds_both_of_its_pictures() -> None:
    real = blobs(0, 80)
    share = np.linspace(0.5, 0.8, 20)[:, None, None, None]
    blends = np.rint(share * real[:20] + (1 - share) * real[20:40]).astype(np.uint8)
    found = NearestIndex(memorization_thumbnails(real)).find(memorization_thumbnails(blends))
    assert found.pair[1:].tolist() == [[index, index + 20] for index in range(1, 20)]
    assert sorted(found.pair[0]) == [0, 20]
    assert found.share == pytest.approx(share.ravel(), abs=0.03)
    assert found.blended.max() < 0.15 < found.distances[10:15, 0].min()


def test_groups_are_not_compared() -> None:
    real = blobs(0, 40)
    twice = np.concatenate([real, real])
    index = NearestIndex(memorization_thumbnails(twice))
    alone, pairs = np.arange(80), np.arange(80) % 40
    assert index.find(index.thumbs, groups=(alone, alone)).neighbors[:, 0].tolist() == [*range(40, 80), *range(40)]
    apart = index.find(index.thumbs, groups=(pairs, pairs))
    assert apart.distances.min() > COPIED


def test_no_cluster_is_parted_by_a_hold_out() -> None:
    clusters = np.arange(100) // 4
    names = [f"{number:03d}.png" for number in range(100)]
    out = held_out(clusters, names, 10, seed=0)
    assert out.sum() == 40
    assert all(len(set(out[clusters == cluster].tolist())) == 1 for cluster in range(25))
    # About a share of them: of 25 as many lots are below it, and these are the first to go where a number is named.
    part = held_out(clusters, names, 0.4, seed=0)
    assert part.sum() == 15 * 4  # for 19 lots are below it, but of 10 expected half as many more are the most
    assert np.array_equal(part, held_out(clusters, names, part.sum() / 4, seed=0))
    assert not np.array_equal(out, held_out(clusters, names, 10, seed=1))
    # The order of the pictures says nothing.
    assert np.array_equal(out[::-1], held_out(clusters[::-1], names[::-1], 10, seed=0))
    chosen = one_of_each(clusters, names, seed=0)
    assert sorted(clusters[chosen]) == list(range(25))
    for impossible in (1, 24, 0.01):
        with pytest.raises(DataError, match="cannot be held out"):
            held_out(clusters, names, impossible, seed=0)
    assert {int(held_out(np.arange(4), names[:4], 0.5, seed).sum()) for seed in range(9)} == {2}


def test_ms_ssim_of_equal_pictures_is_one_and_falls_with_variety() -> None:
    same = np.repeat(blobs(0, 1, 64), 6, axis=0)
    assert ms_ssim(same) == pytest.approx(1, abs=1e-6)
    noise = np.random.default_rng(0).integers(0, 30, (6, 64, 64, 3), np.uint8)
    similar = ms_ssim((same // 2 + noise).astype(np.uint8))
    various = ms_ssim(blobs(0, 6, 64))
    assert various < similar < 1
    assert various < 0.3
    assert ms_ssim(blobs(0, 200, 16)) == ms_ssim(blobs(0, 200, 16), seed=0) != ms_ssim(blobs(0, 200, 16), seed=1)
