"""How different two pictures are, which tells near copies: saved anew, scaled, shifted, cut, brightened or blinking.

The second is laid over the first as well as a shift and a zoom can, its brightness and contrast are matched, and what
is left is measured block by block in units of the noise that saving and resampling leave behind: `NOISE` of 255, and
`MISPLACED` pixels where there are edges. The difference of the pair is that of its block at `SAME` of all, sorted: what
changes less than a fifth of a picture (a blink, a mouth, a subtitle) does not count. So a difference under one half is
noise, over one it is another picture.

Mirrored pictures are different ones, as they are to a generator.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

SIDE = 48
"""Pixels a side at which pictures are compared."""
NOISE = 5.0
"""Of 255: what is left of a change of encoding after averaging 3 x 3 pixels."""
MISPLACED = 0.5
"""Pixels of SIDE: how far edges may be from where they should be."""
SAME = 0.8
"""Share of the blocks that have to be the same."""

_BLOCK = 6  # pixels a side
_REACH = 2  # of SIDE / 2 pixels: how far the first, whole-pixel search for the shift goes
_AGREE = 0.2  # correlation of the edges at SIDE / 2, below which the rest is not looked at
_MOST_SHIFT, _MOST_ZOOM = 0.2, 0.15  # of half a side; of the size
_GAIN = 1.4  # how much the contrast may differ, either way
_SEEN = 0.3  # share of a block that both pictures must show for it to count
_PAIRS = 512  # compared at once


def difference(thumbnails: NDArray[np.uint8], pairs: NDArray[np.int64]) -> NDArray[np.float32]:
    """The differences of pairs of pictures, in units of noise: float32 [p].

    `thumbnails` are uint8 [n, SIDE, SIDE, 3] (a memory map is fine), `pairs` int64 [p, 2] into them.
    """
    found = np.empty(len(pairs), np.float32)
    with torch.inference_mode():
        for start in range(0, len(pairs), _PAIRS):
            chunk = slice(start, start + _PAIRS)
            pictures = (torch.from_numpy(np.ascontiguousarray(thumbnails[side])) for side in pairs[chunk].T)
            first, second = (some.permute(0, 3, 1, 2).float().contiguous() for some in pictures)
            found[chunk] = _difference(first, second).numpy()
    return found


def _difference(first: Tensor, second: Tensor) -> Tensor:
    """[p] from two [p, 3, SIDE, SIDE]; infinite where not even the rough shapes agree."""
    halves = [functional.avg_pool2d(picture.mean(dim=1, keepdim=True), 2) for picture in (first, second)]
    place, agreement = _shift(*(half - _soften(half, 4) for half in halves))  # their edges
    found = torch.full((len(first),), torch.inf)
    alike = torch.nonzero(agreement >= _AGREE)[:, 0]
    if len(alike):
        place = _align([_centered(_soften(half[alike])) for half in halves], place[alike], 4)
        one, other = (_soften(picture[alike]) for picture in (first, second))
        place = _align([_centered(each.mean(dim=1, keepdim=True)) for each in (one, other)], place, 3)
        blocks = _of_blocks(one, *_warp(other, place))
        # Where hardly any block is seen, no likeness.
        enough = blocks.isfinite().sum(dim=1) >= blocks.shape[1] // 2
        found[alike] = torch.nanquantile(blocks, SAME, dim=1).masked_fill(~enough, torch.inf)
    return found


def _soften(pictures: Tensor, reach: int = 1) -> Tensor:
    """The mean of the pixels up to `reach` away along each axis; for small pictures faster than torch's pooling."""
    for axis in (2, 3):
        side = pictures.shape[axis]
        padded = functional.pad(pictures, (reach, reach, 0, 0) if axis == 3 else (0, 0, reach, reach), mode="replicate")
        pictures = sum(
            (padded.narrow(axis, start, side) for start in range(1, 2 * reach + 1)), padded.narrow(axis, 0, side)
        )
    return pictures / (2 * reach + 1) ** 2


def _centered(pictures: Tensor) -> Tensor:
    return pictures - pictures.mean(dim=(2, 3), keepdim=True)


def _shift(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """The whole-pixel shift with the highest correlation over what both show, as `_warp` takes it: [p, 3]; and that
    correlation [p].
    """
    side = first.shape[-1]
    padded = (side + _REACH, side + _REACH)

    def correlate(one: Tensor, other: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(one, padded).conj() * torch.fft.rfft2(other, padded)
        whole = torch.fft.irfft2(spectrum, padded)[:, 0]
        return torch.roll(whole, (_REACH, _REACH), (1, 2))[:, : 2 * _REACH + 1, : 2 * _REACH + 1]

    ones = torch.ones_like(first)
    energy = correlate(first**2, ones).clamp_min(1e-3) * correlate(ones, second**2).clamp_min(1e-3)
    agreement, best = (correlate(first, second) / energy.sqrt()).flatten(1).max(dim=1)
    across = 2 * _REACH + 1
    down, right = best // across - _REACH, best % across - _REACH
    return torch.stack([right * 2 / side, down * 2 / side, torch.zeros_like(right)], dim=1).float(), agreement


def _grid(side: int) -> tuple[Tensor, Tensor]:
    """x and y of the pixels' middles, -1 to 1: each [side, side]."""
    steps = (torch.arange(side) + 0.5) / side * 2 - 1
    down, right = torch.meshgrid(steps, steps, indexing="ij")
    return right, down


def _warp(pictures: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """`pictures` seen through `place` [p, 3] (right, down, in half sides; zoom - 1), and where they show anything."""
    right, down = _grid(pictures.shape[-1])
    x, y, zoom = (value.view(-1, 1, 1) for value in place.unbind(1))
    at = torch.stack([right * (1 + zoom) + x, down * (1 + zoom) + y], dim=-1)
    laid = functional.grid_sample(pictures, at, mode="bilinear", padding_mode="border", align_corners=False)
    return laid, (at.abs() < 1).all(dim=-1)


def _align(pictures: list[Tensor], place: Tensor, steps: int) -> Tensor:
    """A better `place`: Gauss-Newton steps with the gradients of the first (Baker and Matthews 2004, inverse)."""
    first, second = pictures
    half = 1 / first.shape[-1]  # a pixel in half sides, halved
    right, down = _grid(first.shape[-1])
    along = functional.pad(first[..., 2:] - first[..., :-2], (1, 1)) / (4 * half)
    below = functional.pad(first[:, :, 2:] - first[:, :, :-2], (0, 0, 1, 1)) / (4 * half)
    slopes = torch.stack([along, below, right * along + down * below], dim=1).flatten(2)
    curvature = slopes @ slopes.transpose(1, 2)
    # A plain picture has no slopes: then nothing should move.
    ridge = curvature.diagonal(dim1=1, dim2=2).mean(dim=1).view(-1, 1, 1) * 1e-3 + 1e-6
    inverse = torch.linalg.inv(curvature + ridge * torch.eye(3))
    most = torch.tensor([_MOST_SHIFT, _MOST_SHIFT, _MOST_ZOOM])
    for _ in range(steps):
        laid, seen = _warp(second, place)
        residual = ((laid - first) * seen[:, None]).flatten(1)
        step = (inverse @ (slopes @ residual[:, :, None]))[:, :, 0]
        place = (place - step.clamp(-0.06, 0.06)).clamp(-most, most)
    return place


def _of_blocks(first: Tensor, second: Tensor, seen: Tensor) -> Tensor:
    """Root mean square differences of blocks, in units of noise: [p, blocks]; nan where too little is seen.

    The brightness and contrast of `second` are matched over the blocks that differ least.
    """
    along = functional.pad(first[..., 2:] - first[..., :-2], (1, 1)) / 2
    below = functional.pad(first[:, :, 2:] - first[:, :, :-2], (0, 0, 1, 1)) / 2
    weight = seen[:, None] / (NOISE**2 + MISPLACED**2 * (along**2 + below**2))  # one over the variance expected

    def blocks(values: Tensor) -> Tensor:
        return (functional.avg_pool2d(values.sum(dim=1, keepdim=True), _BLOCK) * _BLOCK**2).flatten(1)

    count = blocks(seen[:, None].float()) * first.shape[1]
    counts = count > _SEEN * _BLOCK**2 * first.shape[1]
    w, wa, wb = blocks(weight), blocks(weight * first), blocks(weight * second)
    waa, wbb, wab = blocks(weight * first**2), blocks(weight * second**2), blocks(weight * first * second)
    chosen = counts
    for _ in range(3):
        total = (w * chosen).sum(1, keepdim=True).clamp_min(1e-9)
        mean_a, mean_b = ((value * chosen).sum(1, keepdim=True) / total for value in (wa, wb))
        spread_a = ((waa * chosen).sum(1, keepdim=True) / total - mean_a**2).clamp_min(1)
        spread_b = ((wbb * chosen).sum(1, keepdim=True) / total - mean_b**2).clamp_min(1)
        gain = (spread_a / spread_b).sqrt().clamp(1 / _GAIN, _GAIN)
        lift = mean_a - gain * mean_b
        squares = gain**2 * wbb + lift**2 * w + waa + 2 * gain * lift * wb - 2 * gain * wab - 2 * lift * wa
        differences = (squares.clamp_min(0) / count.clamp_min(1)).sqrt().masked_fill(~counts, torch.nan)
        chosen = counts & (differences <= torch.nanquantile(differences, 0.6, dim=1, keepdim=True))
    return differences
