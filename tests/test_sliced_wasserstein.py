"""The sliced Wasserstein distance is small between like sets and grows with what differs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from animepggan.metrics.sliced_wasserstein import laplacian_pyramid, sliced_wasserstein


def blobs(seed: int, count: int = 48, side: int = 32) -> Tensor:
    """Smooth random pictures."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, 8, 8, generator=generator)
    return functional.interpolate(coarse, size=side, mode="bilinear").clamp(-1, 1)


def test_equal_sets_from_two_draws_are_near_and_other_sets_far() -> None:
    base = sliced_wasserstein(blobs(0), blobs(1))
    noise = torch.randn(48, 3, 32, 32, generator=torch.Generator().manual_seed(2)).clamp(-1, 1)
    other = sliced_wasserstein(blobs(0), noise)
    assert set(base) == {32, 16}
    assert 0 < base[32] < other[32] / 3
    assert 0 < base[16] < other[16]


def test_lost_detail_shows_at_the_top_level() -> None:
    sharp = blobs(0) + 0.3 * torch.sign(torch.randn(48, 3, 32, 32, generator=torch.Generator().manual_seed(5)))
    blurred = functional.interpolate(functional.avg_pool2d(sharp, 2), scale_factor=2)
    itself = sliced_wasserstein(sharp, sharp.roll(1, 0))
    lost = sliced_wasserstein(sharp, blurred)
    assert lost[32] > 1.7 * itself[32]
    assert lost[16] < 1.7 * itself[16]  # where nothing was lost


def test_translation_of_the_whole_set_in_color_is_normalised_away() -> None:
    distances = sliced_wasserstein(blobs(0), blobs(0) * 0.5 + 0.2)
    same = sliced_wasserstein(blobs(0), blobs(0))
    assert distances[16] == pytest.approx(same[16], rel=0.02)


def test_pyramid_adds_up_to_the_picture() -> None:
    picture = blobs(3, count=1, side=64)
    levels = laplacian_pyramid(picture)
    assert list(levels) == [64, 32, 16]
    # A level holds what the doubled next one lacks: a picture without detail has none left above the lowest.
    flat = laplacian_pyramid(torch.full((1, 3, 64, 64), 0.5))
    torch.testing.assert_close(flat[16], torch.full((1, 3, 16, 16), 0.5))
    assert flat[64][:, :, 8:-8, 8:-8].abs().max() < 1e-6


def test_sets_must_match() -> None:
    with pytest.raises(ValueError, match="two sets of one shape"):
        sliced_wasserstein(blobs(0), blobs(0, count=8))
    with pytest.raises(ValueError, match="two sets of one shape"):
        sliced_wasserstein(blobs(0, side=8), blobs(0, side=8))
