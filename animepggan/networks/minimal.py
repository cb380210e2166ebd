"""3x3 convolutions of many channels with fewer multiplications, and their gradients: quicker than torch's on a CPU.

Minimal filtering (Winograd; Lavin & Gray 2016, arXiv:1509.09308). Along one axis, `tile` outputs y of a kernel w come
from tile + 2 inputs x by as many products:

    y = LEAVE ((KERNEL w) * (ENTER x))

so a tile of 2x2 takes 16 products, not 36, and one of 4x4 36, not 144; each is a matrix product over channels. After
nearest upsampling some inputs are the same pixel, and the row of ENTER that takes their difference vanishes: 9 products
and 25. A mean over 2x2 pixels after the convolution is the transpose of that, the gradient by the inputs is the
transpose of the whole, and that by the weight is the same sums again.

The sums around the products cost in proportion to the channels, the products in proportion to their square: so this
pays for wide layers only. It is exact but for rounding: in float32 that of a plain sum for tiles of 2x2, and ten times
that, 1e-6, for tiles of 4x4; in bfloat16 it would be too much.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Resample = Literal["up", "down"] | None
Matrix = Sequence[Sequence[float]]

TRANSFORMS: dict[int, tuple[Matrix, Matrix, Matrix]] = {  # ENTER, KERNEL and LEAVE by tile
    2: (
        ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
        ((1, 0, 0), (1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (0, 0, 1)),
        ((1, 1, 1, 0), (0, 1, -1, -1)),
    ),
    4: (
        (
            (4, 0, -5, 0, 1, 0),
            (0, -4, -4, 1, 1, 0),
            (0, 4, -4, -1, 1, 0),
            (0, -2, -1, 2, 1, 0),
            (0, 2, -1, -2, 1, 0),
            (0, 4, 0, -5, 0, 1),
        ),
        (
            (1 / 4, 0, 0),
            (-1 / 6, -1 / 6, -1 / 6),
            (-1 / 6, 1 / 6, -1 / 6),
            (1 / 24, 1 / 12, 1 / 6),
            (1 / 24, -1 / 12, 1 / 6),
            (0, 0, 1),
        ),
        ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1)),
    ),
}
VANISHING = 2  # the row of ENTER that is 0 after upsampling, in either
TILES = {2: 256, 4: 128}  # computed together: more do not stay in the cache, of fewer the matrix products are slow


class MinimalFilter:
    """A 3x3 convolution with padding 1, upsampling before it or a sum over 2x2 pixels after it.

    Tensors are in channels-last order and of the weight's type; the sides of its larger features are multiples of
    `tile`. `small` features have windows, `large` ones tiles: "down" leads from large ones to small ones.
    """

    def __init__(self, weight: Tensor, *, tile: int, resample: Resample = None, scale: float = 1.0) -> None:
        """From the weight [out, in, 3, 3], which is multiplied by `scale`."""
        enter, kernel, leave = (torch.tensor(rows, dtype=torch.float64) for rows in TRANSFORMS[tile])
        self.tile = tile
        self.turned = resample == "down"
        self.step = tile  # pixels from one window to the next
        if resample is not None:
            self.step = tile // 2
            rest = [row for row in range(len(enter)) if row != VANISHING]
            pixels = [(place + 1) // 2 for place in range(tile + 2)]  # 0 1 1 2: which one each input is
            enter = (enter @ functional.one_hot(torch.tensor(pixels)).to(enter))[rest]
            kernel, leave = kernel[rest], leave[:, rest]
        if self.turned:
            kernel = kernel.flip(1)
        self.count, self.window = enter.shape  # products and pixels a side
        self.enter, self.leave, self.leave_transposed = enter.tolist(), leave.tolist(), leave.t().tolist()
        self.enter_transposed = enter.t().tolist()
        self.kernel = (torch.kron(kernel, kernel) * scale).to(weight)  # [products, 9]
        # Batches over `out`, as the weight lies in memory in channels-last order: quicker than one product.
        kernels = torch.matmul(self.kernel, weight.permute(0, 2, 3, 1).reshape(len(weight), 9, -1))
        self.kernels = kernels.permute(1, 2, 0) if self.turned else kernels.transpose(0, 1)  # [products, large, small]

    def forward(self, features: Tensor, bias: Tensor | None = None) -> Tensor:
        """[n, in, h, w] -> [n, out, h, w], twice the sides with "up", half of them with "down"."""
        outputs = self._gather(features) if self.turned else self._spread(features)
        return outputs if bias is None else outputs.add_(bias[:, None, None])

    def input_gradient(self, delta: Tensor) -> Tensor:
        """What `delta`, by the outputs, is by the inputs."""
        return self._spread(delta) if self.turned else self._gather(delta)

    def weight_gradient(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """What pairs of (delta by the outputs, inputs) are by the weight that `scale` multiplies, summed."""
        total: Tensor | None = None
        for delta, features in pairs:
            large, small = (features, delta) if self.turned else (delta, features)
            for rows, tiles in self._parts(small, large):
                left, right = self._leave_transposed(tiles).transpose(1, 2), self._enter(rows, tiles)
                total = torch.bmm(left, right) if total is None else total.baddbmm_(left, right)
        assert total is not None
        if self.turned:
            total = total.transpose(1, 2)
        weight = torch.matmul(self.kernel.t(), total.transpose(0, 1))
        return weight.view(len(weight), 3, 3, -1).permute(0, 3, 1, 2)

    def _spread(self, small: Tensor) -> Tensor:
        n, _, height, width = small.shape
        times = self.tile // self.step
        large = _empty(small, n, self.kernels.shape[1], times * height, times * width)
        kernels = self.kernels.transpose(1, 2)
        for rows, tiles in self._parts(small, large):
            products = _bmm(self._enter(rows, tiles), kernels).view(self.count, self.count, *tiles.shape[2:])
            lines = _scratch("rows", tiles, self.tile, self.count, *tiles.shape[2:])
            _combine(self.leave, products, lines)
            for line, row in zip(lines, tiles, strict=True):
                _combine(self.leave, line, row)
        return large

    def _gather(self, large: Tensor) -> Tensor:
        """The transpose of `_spread`: windows overlap, and are added up."""
        n, _, height, width = large.shape
        times = self.tile // self.step
        small = _empty(large, n, self.kernels.shape[2], height // times, width // times)
        for rows, tiles in self._parts(small, large, fill=True):
            products = _bmm(self._leave_transposed(tiles), self.kernels)
            lines = _scratch("rows", rows, self.count, *rows.shape[1:]).zero_()
            windows = lines.unfold(3, self.window, self.step).permute(5, 0, 1, 2, 3, 4)
            products = products.view(self.count, self.count, *windows.shape[2:])
            _combine(self.enter_transposed, products.transpose(0, 1), windows, add=True)
            _combine(self.enter_transposed, lines, rows, add=True)
        return small

    def _enter(self, rows: Tensor, tiles: Tensor) -> Tensor:
        """[window, n, down, w + 2, c] -> [products, n * down * across, c]; of `tiles` the shape counts."""
        lines = _scratch("rows", rows, self.count, *rows.shape[1:])
        _combine(self.enter, rows, lines)
        windows = lines.unfold(3, self.window, self.step).permute(5, 0, 1, 2, 3, 4)
        entered = _scratch("entered", rows, self.count, self.count, *tiles.shape[2:-1], rows.shape[-1])
        _combine(self.enter, windows, entered.transpose(0, 1))
        return entered.view(self.count**2, -1, rows.shape[-1])

    def _leave_transposed(self, tiles: Tensor) -> Tensor:
        """[tile, tile, n, down, across, c] -> [products, n * down * across, c]."""
        lines = _scratch("rows", tiles, self.count, self.tile, *tiles.shape[2:])
        _combine(self.leave_transposed, tiles, lines)
        left = _scratch("left", tiles, self.count, self.count, *tiles.shape[2:])
        _combine(self.leave_transposed, lines.transpose(0, 1), left.transpose(0, 1))
        return left.view(self.count**2, -1, tiles.shape[-1])

    def _parts(self, small: Tensor, large: Tensor, *, fill: bool = False) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows of windows [window, n, down, w + 2, c] and their tiles [tile, tile, n, down, across, c], about TILES.

        The rows are of a padded copy of `small`, or with `fill` of zeros that `small` takes over in the end.
        """
        n, channels, height, width = large.shape
        down, across = height // self.tile, width // self.tile
        tiles = large.permute(0, 2, 3, 1).view(n, down, self.tile, across, self.tile, channels)
        tiles = tiles.permute(2, 4, 0, 1, 3, 5)
        lines = max(1, TILES[self.tile] // across)
        pictures = max(1, lines // down)
        for start in range(0, n, pictures):
            some = small[start : start + pictures].permute(0, 2, 3, 1)
            count, height, width, channels = some.shape
            padded = _scratch("padded", small, count, height + 2, width + 2, channels).zero_()
            inner = padded[:, 1:-1, 1:-1]
            if not fill:
                inner.copy_(some)
            rows = padded.unfold(1, self.window, self.step).permute(4, 0, 1, 2, 3)
            for top in range(0, down, lines):
                yield rows[:, :, top : top + lines], tiles[:, :, start : start + pictures, top : top + lines]
            if fill:
                some.copy_(inner)


def _empty(like: Tensor, n: int, channels: int, height: int, width: int) -> Tensor:
    shape = n, channels, height, width
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


def _combine(matrix: Matrix, sources: Tensor, targets: Tensor, *, add: bool = False) -> None:
    """Write the matrix times `sources` into `targets`, both along dimension 0, or add it: few numbers are not 0."""
    for row, target in zip(matrix, targets, strict=True):
        terms = [(factor, source) for factor, source in zip(row, sources, strict=True) if factor]
        terms.sort(key=lambda term: term[0] != 1)
        if not add:
            (factor, source), *terms = terms
            if factor == 1 and terms:
                (factor, other), *terms = terms
                torch.add(source, other, alpha=factor, out=target)
            else:
                torch.mul(source, factor, out=target)
        for factor, source in terms:
            target.add_(source, alpha=factor)


class _Kept(threading.local):
    def __init__(self) -> None:
        self.tensors: dict[tuple[object, ...], Tensor] = {}


_kept = _Kept()


def _scratch(name: str, like: Tensor, *shape: int) -> Tensor:
    """Memory for what a part of a batch becomes, the same every time: fresh memory costs more than arithmetic, and
    blocks of this size that come and go leave holes in the heap that nothing else fits in.
    """
    size = math.prod(shape)
    key = name, like.dtype, like.device, torch.is_inference_mode_enabled()
    kept = _kept.tensors.get(key)
    if kept is None or kept.numel() < size:
        kept = _kept.tensors[key] = like.new_empty(size)
    return kept[:size].view(shape)


def _bmm(tiles: Tensor, kernels: Tensor) -> Tensor:
    return torch.bmm(tiles, kernels, out=_scratch("products", tiles, *tiles.shape[:2], kernels.shape[2]))
