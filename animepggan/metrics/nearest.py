"""The training pictures nearest to a drawn one, and the best blend of two of them, by which memorization is told.

Whether two real pictures are near copies is for `corpus.likeness`. Here thousands of drawn pictures are compared with
all of a training set, and mixtures count, so the comparison is linear: pictures are brought to 64 px, blurred a little,
moved by up to 2 px against each other, and their mean is taken off. `distance` is the sine of the angle between two
such remainders, the share of what sets a picture apart from the mean picture that the other one does not explain.
0: a copy; 1: nothing in common. A flat or blurred picture, near everything by plain differences, is near nothing here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

_SIDE = 64  # pixels
_SHIFT = 2  # pixels of _SIDE that a copy may be moved by, along each axis
STAY = 0.05  # by how much moving has to fit better than not moving: the fainter half of a blend fits badly anywhere
CROP = _SIDE - 2 * _SHIFT
SHORTLIST = 16  # pictures that are looked at closely, chosen at _SIDE / 4: the nearest to a query,
LEADS, PARTNERS = 4, 4  # and for each of the first LEADS the PARTNERS nearest to what it leaves unexplained
_BLUR = 1.0  # deviation in pixels of _SIDE: a shift by half a pixel, ringing and slight blur stay small
_CHUNK = 256  # pictures
_BLOCK = 8  # queries whose shortlists are held at once: of more, memory is asked for and returned all the time


@dataclass(frozen=True)
class Matches:
    """For each of n queries the pictures of an index most like it, and the best blend of two of them."""

    neighbors: NDArray[np.int64]  # [n, k], nearest first
    distances: NDArray[np.float64]  # [n, k], 0 to 1; 1 also where there was no more to compare with
    pair: NDArray[np.int64]  # [n, 2]: A and B of the best blend a * A + (1 - a) * B, of the k neighbors
    share: NDArray[np.float64]  # [n]: a, 0 to 1; 1 where no blend explains more than A alone
    blended: NDArray[np.float64]  # [n]: the distance to that blend, at most that to the nearest picture


def memorization_thumbnails(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pictures [n, h, w, 3] of any side as they are compared: uint8 [n, 64, 64, 3]."""
    reduced = np.empty((len(pictures), _SIDE, _SIDE, 3), np.uint8)
    for part in chunks(len(pictures)):
        values = torch.from_numpy(np.array(pictures[part])).permute(0, 3, 1, 2).float()
        if values.shape[-2:] != (_SIDE, _SIDE):
            values = functional.interpolate(values, (_SIDE, _SIDE), mode="bicubic", antialias=True)
        values = _blurred(values).round().clamp(0, 255).to(torch.uint8)
        reduced[part] = values.permute(0, 2, 3, 1).numpy()
    return reduced


def _blurred(values: Tensor) -> Tensor:
    reach = round(3 * _BLUR)
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1.0) / _BLUR) ** 2)
    taps = (taps / taps.sum()).expand(3, 1, 1, -1)
    padded = functional.pad(values, (reach,) * 4, mode="replicate")
    return functional.conv2d(functional.conv2d(padded, taps, groups=3), taps.transpose(2, 3), groups=3)


class NearestIndex:
    """Pictures to find like ones among: 15 KB each."""

    def __init__(self, thumbs: NDArray[np.uint8]) -> None:  # of `memorization_thumbnails`
        if not len(thumbs):
            raise ValueError("an index of no pictures")
        self.thumbs = thumbs
        total = torch.zeros(thumbs.shape[1:], dtype=torch.int64)
        for part in chunks(len(thumbs)):
            total += torch.from_numpy(thumbs[part]).sum(dim=0, dtype=torch.int64)
        self.mean = (total / len(thumbs)).float()  # [64, 64, 3]
        self._coarse = torch.cat([self._directions(thumbs[part]) for part in chunks(len(thumbs))])

    def __len__(self) -> int:
        return len(self.thumbs)

    def find(
        self,
        thumbs: NDArray[np.uint8],  # of `memorization_thumbnails`, the queries
        *,
        groups: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
    ) -> Matches:
        """The nearest pictures of each query. `groups` holds a number a query and a number a picture of the index:
        those of one number are not compared (a picture with itself, a member with its cluster).
        """
        found = []
        for part in chunks(len(thumbs)):
            apart = None
            if groups is not None:
                apart = torch.from_numpy(groups[0][part])[:, None] == torch.from_numpy(groups[1])
            chosen, hidden = self._shortlist(self._directions(thumbs[part]), apart)
            for start in range(0, len(chosen), _BLOCK):
                block = slice(start, start + _BLOCK)
                found.append(self._look(thumbs[part][block], chosen[block], hidden[block]))
        return Matches(*(np.concatenate(columns) for columns in zip(*found, strict=True)))

    def _shortlist(self, directions: Tensor, apart: Tensor | None) -> tuple[Tensor, Tensor]:
        """What to look at closely for queries [b, 768]: pictures [b, k], and which of them do not count."""

        def nearest(to: Tensor, count: int) -> Tensor:
            alike = to @ self._coarse.T
            if apart is not None:
                alike.masked_fill_(apart, -torch.inf)
            return alike.topk(min(count, len(self)), dim=1).indices

        chosen = [nearest(directions, SHORTLIST)]
        for lead in chosen[0][:, :LEADS].T:
            other = self._coarse[lead]
            left = directions - (directions * other).sum(dim=1, keepdim=True) * other
            chosen.append(nearest(left, PARTNERS))
        pictures = torch.cat(chosen, dim=1)
        earlier = torch.ones(pictures.shape[1], pictures.shape[1], dtype=torch.bool).tril(-1)
        hidden = ((pictures[:, :, None] == pictures[:, None, :]) & earlier).any(dim=2)
        if apart is not None:
            hidden |= apart.gather(1, pictures)
        return pictures, hidden

    def _directions(self, thumbs: NDArray[np.uint8]) -> Tensor:
        """At a quarter of the side, less the mean, of length 1: [n, 768]."""
        values = (torch.from_numpy(thumbs).float() - self.mean).permute(0, 3, 1, 2)
        return functional.normalize(functional.avg_pool2d(values, 4).flatten(1), dim=1)

    def _look(self, queries: NDArray[np.uint8], chosen: Tensor, hidden: Tensor) -> tuple[NDArray[np.generic], ...]:
        """Compare queries [b, 64, 64, 3] with their shortlists [b, k] at full side, each picture moved to fit best.

        What is `hidden` [b, k] counts as unlike. The fields of Matches.
        """
        count, k = chosen.shape
        steps = 2 * _SHIFT + 1
        asked = torch.from_numpy(queries).float() - self.mean
        others = torch.from_numpy(self.thumbs[chosen.numpy()]).float()  # [b, k, 64, 64, 3]
        # Moving the query against the middle of the others is a product; moving the others is one for each of them.
        moved = asked.unfold(1, CROP, 1).unfold(2, CROP, 1)  # [b, steps, steps, 3, CROP, CROP]
        moved = moved.permute(0, 1, 2, 4, 5, 3).reshape(count, steps * steps, -1)
        middle = (others - self.mean)[:, :, _SHIFT:-_SHIFT, _SHIFT:-_SHIFT].reshape(count, k, -1)
        fits = functional.normalize(moved, dim=2) @ functional.normalize(middle, dim=2).transpose(1, 2)
        fits[:, steps * steps // 2] += STAY
        best = fits.argmax(dim=1)  # [b, k]
        mean = self.mean[_SHIFT:-_SHIFT, _SHIFT:-_SHIFT]
        aligned = torch.empty(count, k, CROP * CROP * 3)
        for step in np.unique(best.numpy()).tolist():
            down, right = 2 * _SHIFT - step // steps, 2 * _SHIFT - step % steps
            here = best == step
            aligned[here] = (others[here][:, down : down + CROP, right : right + CROP] - mean).flatten(1)
        target = asked[:, _SHIFT:-_SHIFT, _SHIFT:-_SHIFT].reshape(count, -1, 1)
        gram = (aligned @ aligned.transpose(1, 2)).double()
        along = (aligned @ target).double()[:, :, 0]
        length = target.double().square().sum(dim=(1, 2)).clamp_min(1e-9)  # squared
        # How much of |x|^2 the best multiple (not below 0) of each picture explains.
        single = along.clamp_min(0).square() / gram.diagonal(dim1=1, dim2=2).clamp_min(1e-9)
        single.masked_fill_(hidden, 0)
        double, weight = _explained_by_two(gram, along)
        double.masked_fill_(hidden[:, :, None] | hidden[:, None, :], 0)
        return _matches(chosen, single, double, weight, length)


def _explained_by_two(gram: Tensor, along: Tensor) -> tuple[Tensor, Tensor]:
    """How much of |x|^2 the best sum p * A + q * B explains where p, q > 0, else 0; and p / (p + q): [b, k, k]."""
    lengths = gram.diagonal(dim1=1, dim2=2)
    products = lengths[:, :, None] * lengths[:, None, :]
    determinant = products - gram.square()
    apart = determinant > 1e-4 * products.clamp_min(1e-9)  # two that are the same picture make no blend
    p = along[:, :, None] * lengths[:, None, :] - along[:, None, :] * gram
    p = torch.where(apart, p / torch.where(apart, determinant, 1), 0)
    q = p.transpose(1, 2)
    inside = (p > 0) & (q > 0)
    explained = torch.where(inside, p * along[:, :, None] + q * along[:, None, :], 0)
    return explained, torch.where(inside, p / (p + q), 1)


def _matches(
    chosen: Tensor, single: Tensor, double: Tensor, weight: Tensor, length: Tensor
) -> tuple[NDArray[np.generic], ...]:
    def distance(explained: Tensor) -> NDArray[np.generic]:
        return (1 - explained / length[:, None]).clamp(0, 1).sqrt().numpy()

    k = chosen.shape[1]
    order = single.argsort(dim=1, descending=True, stable=True)
    neighbors, single = chosen.gather(1, order), single.gather(1, order)
    blend, best = double.flatten(1).max(dim=1)
    share = weight.flatten(1).gather(1, best[:, None])[:, 0]
    pair = chosen.gather(1, torch.stack([best // k, best % k], dim=1))
    swap = share < 0.5  # A is the one there is more of
    pair, share = torch.where(swap[:, None], pair.flip(1), pair), torch.where(swap, 1 - share, share)
    alone = blend <= single[:, 0]
    pair = torch.where(alone[:, None], neighbors[:, [0, min(1, k - 1)]], pair)
    share = torch.where(alone, 1, share)
    blended = distance(blend.maximum(single[:, 0])[:, None])[:, 0]
    return neighbors.numpy(), distance(single), pair.numpy(), share.numpy(), blended


def chunks(count: int) -> Iterator[slice]:
    """So many places, some at a time."""
    return (slice(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK))
