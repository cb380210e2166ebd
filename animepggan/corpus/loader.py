"""The corpus in memory: every picture decoded once, and batches that are a function of the images seen.

Which pictures a step shows, how they are mirrored and where they are cut follows from (seed, images_seen) alone, and
picture i of a run looks the same whatever the batch sizes, so a resumed run sees what the unbroken one would have seen.
"""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ImageColor
from torch import Tensor

from animepggan.corpus.decode import DecodeError, decode, fingerprint
from animepggan.corpus.spec import READ_ERRORS, TAKES, Bad, Entry, Source, printable, resolve
from animepggan.errors import DataError, ResourceError
from animepggan.streams import stream

Progress = Callable[[int, int], None]
"""Called as progress(done, total), in pictures, from the thread that loads."""

_CHUNK = 32  # pictures a task decodes
_NAMED = 3  # bad pictures that an error names


class Corpus:
    """The images of one training run: uint8 pixels at the top resolution, and how to deal them."""

    def __init__(
        self,
        pictures: Tensor,  # uint8 [n, 3, side, side]
        names: Sequence[str],  # of the n pictures, sorted
        *,
        name: str,  # short, for a run's folder
        spec: str,
        commit: str | None = None,  # of the hub repository
        random_shift: int = 0,  # pixels; side is the resolution plus this
        bad: Sequence[Bad] = (),
        skipped: Sequence[Bad] = (),
    ) -> None:
        self.name = name
        self.spec = spec
        self.commit = commit
        self.names = list(names)
        self.bad = list(bad)  # opened and found unusable
        self.skipped = list(skipped)  # left out unopened
        self.random_shift = random_shift
        self.resolution = pictures.shape[-1] - random_shift
        self._pictures = pictures
        self._level = (self.resolution, pictures)  # the last resolution asked for, and its pixels
        self._deal = lru_cache(maxsize=2)(self._deal_epoch)
        digests = [fingerprint(picture.numpy()) for picture in pictures]
        self.distinct = len(set(digests))
        whole = hashlib.sha256()
        for picture_name, digest in zip(self.names, digests, strict=True):
            whole.update(picture_name.encode("utf-8", "surrogatepass") + b"\0" + digest.encode())
        self.fingerprint = whole.hexdigest()

    @classmethod
    def load(
        cls,
        data: str | Source,
        *,
        resolution: int,  # pixels, of the last stage
        random_shift: int = 0,  # pixels
        background: str = "#ffffff",  # under transparent pictures
        max_bad: float = 0.01,  # share of the pictures that may be unusable, 0 to 1
        workers: int | None = None,  # threads that decode; 0: the calling one; None: one a core
        progress: Progress | None = None,
    ) -> Corpus:
        """Decode every picture of a SPEC (or a resolved Source).

        Raises DataError when there are no pictures or more than `max_bad` of them are unusable, ResourceError when
        they would not fit into memory, and whatever `spec.resolve` raises.
        """
        source = data if isinstance(data, Source) else resolve(data)
        if not source.entries:
            raise _no_pictures(source)
        side = resolution + random_shift
        _check_memory(len(source), side)
        pixels = np.empty((len(source), 3, side, side), np.uint8)
        bad = _decode_all(source.entries, pixels, _color(background), workers, progress)
        if len(bad) > max_bad * len(source):
            raise _too_many_bad(source, list(bad.values()), max_bad)
        good = [index for index in range(len(source)) if index not in bad]
        if not good:
            raise _no_pictures(source, list(bad.values()))
        if bad:
            for place, index in enumerate(good):  # in place: a second array might not fit
                pixels[place] = pixels[index]
        return cls(
            torch.from_numpy(pixels[: len(good)]),
            [source.entries[index].name for index in good],
            name=source.name,
            spec=source.spec,
            commit=source.commit,
            random_shift=random_shift,
            bad=list(bad.values()),
            skipped=source.skipped,
        )

    def __len__(self) -> int:
        return len(self.names)

    def require(self, batch_size: int) -> None:
        """Raise DataError unless there are at least as many pictures as a batch takes."""
        if len(self) < batch_size:
            count = f"{len(self)} picture" + ("s" if len(self) != 1 else "")
            raise DataError(
                f"{printable(self.spec)} has {count}, fewer than a batch of {batch_size}\n"
                f"add pictures, or take smaller batches: --set schedule.batch_size={len(self)}"
            )

    def batch(self, images_seen: int, batch_size: int, *, resolution: int, seed: int, mirror: bool) -> Tensor:
        """Pictures `images_seen` to `images_seen + batch_size` of the run: float32 `[batch_size, 3, resolution,
        resolution]` in [-1, 1].

        Every epoch shows each picture once, in an order of its own. `resolution` is the corpus' own divided by a power
        of two; lower ones are rounded 2x2 means. With `mirror` half of the pictures are flipped, left to right.
        """
        picks: list[Tensor] = []  # a row a picture: index, flip, x, y
        at, end = images_seen, images_seen + batch_size
        while at < end:
            epoch, place = divmod(at, len(self))
            rows = self._deal(seed, epoch)[place : place + end - at]
            picks.append(rows)
            at += len(rows)
        index, flip, x, y = torch.cat(picks).unbind(1)
        if self.random_shift:
            side, all_pictures = self.resolution, self._pictures
            boxes = zip(index.tolist(), x.tolist(), y.tolist(), strict=True)
            pixels = torch.stack([all_pictures[i, :, v : v + side, u : u + side] for i, u, v in boxes])
            while pixels.shape[-1] > resolution:
                pixels = halve(pixels)
        else:
            pixels = self._at(resolution)[index]
        if mirror:
            pixels = torch.where(flip.bool()[:, None, None, None], pixels.flip(3), pixels)
        return pixels.float().div_(127.5).sub_(1)

    def _deal_epoch(self, seed: int, epoch: int) -> Tensor:
        """int64 `[n, 4]`: which picture comes when in an epoch, whether it is flipped, and its box's left and top."""
        n, choices = len(self), self.random_shift + 1
        order = torch.randperm(n, generator=stream("order", seed, epoch))
        flips = torch.randint(2, (n,), generator=stream("mirror", seed, epoch))
        shifts = torch.randint(choices, (n, 2), generator=stream("shift", seed, epoch))
        return torch.cat([order[:, None], flips[:, None], shifts], dim=1)

    def _at(self, resolution: int) -> Tensor:
        """All pictures at `resolution`, uint8; the last resolution asked for is kept."""
        if self._level[0] != resolution:
            level = torch.empty((len(self), 3, resolution, resolution), dtype=torch.uint8)
            for start in range(0, len(self), _CHUNK):
                part = self._pictures[start : start + _CHUNK]
                while part.shape[-1] > resolution:
                    part = halve(part)
                level[start : start + _CHUNK] = part
            self._level = (resolution, level)
        return self._level[1]


def halve(pictures: Tensor) -> Tensor:
    """uint8 `[..., 2h, 2w]` to uint8 `[..., h, w]`: means of 2x2 pixels, halves rounded up."""
    wide = pictures.to(torch.int16)
    rows = wide[..., 0::2, :] + wide[..., 1::2, :]
    return ((rows[..., 0::2] + rows[..., 1::2] + 2) >> 2).to(torch.uint8)


def _decode_all(
    entries: Sequence[Entry],
    pixels: NDArray[np.uint8],  # [n, 3, side, side], filled in
    background: tuple[int, int, int],
    workers: int | None,
    progress: Progress | None,
) -> dict[int, Bad]:
    """Decode `entries` into `pixels`; the unusable ones by index, in order."""
    bad: dict[int, Bad] = {}

    def work(start: int) -> int:
        chunk = entries[start : start + _CHUNK]
        for index, entry in enumerate(chunk, start):
            try:
                with entry.open() as file:
                    picture = decode(file, resolution=pixels.shape[-1], background=background)
            except DecodeError as error:
                bad[index] = Bad(entry.name, str(error))
            except READ_ERRORS as error:
                bad[index] = Bad(entry.name, getattr(error, "strerror", None) or str(error))
            else:
                pixels[index] = picture.transpose(2, 0, 1)
        return len(chunk)

    starts = range(0, len(entries), _CHUNK)
    done = 0
    # Pillow warns on standard error about oddities of files; what matters comes as an exception.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        if workers == 0:
            for start in starts:
                done += work(start)
                if progress:
                    progress(done, len(entries))
        else:
            # Threads, not processes: Pillow decodes and resizes without the interpreter's lock.
            pool = ThreadPoolExecutor(workers or _cores())
            try:
                for task in as_completed([pool.submit(work, start) for start in starts]):
                    done += task.result()
                    if progress:
                        progress(done, len(entries))
            finally:
                pool.shutdown(cancel_futures=True)
    return dict(sorted(bad.items()))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _color(background: str) -> tuple[int, int, int]:
    try:
        red, green, blue = ImageColor.getrgb(background)[:3]
    except ValueError as error:
        raise DataError(f"background {background!r} is not a color: write it as '#ffffff'") from error
    return red, green, blue


def _check_memory(count: int, side: int) -> None:
    # A lower level, of at most a quarter of the pixels, is kept beside the top one.
    needed = count * 3 * side * side * 5 // 4
    available = _available_memory()
    if needed > available:
        raise ResourceError(
            f"{count:,} pictures at {side}x{side} pixels need {needed / 1e9:.1f} GB of memory, "
            f"{available / 1e9:.1f} GB are available\ntake a smaller resolution or fewer pictures"
        )


def _available_memory() -> int:
    """Bytes that can be had without swapping."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _no_pictures(source: Source, bad: Sequence[Bad] = ()) -> DataError:
    left = [*bad, *source.skipped]
    endings = "jpg, png, webp, bmp, tiff, gif or avif"
    if not left:
        return DataError(f"{printable(source.spec)} holds no pictures ({endings})\n{TAKES}")
    return DataError(f"{printable(source.spec)} holds no usable pictures ({endings})\n{_some(left)}")


def _too_many_bad(source: Source, bad: Sequence[Bad], max_bad: float) -> DataError:
    share = len(bad) / len(source)
    return DataError(
        f"{printable(source.spec)}: {len(bad)} of {len(source)} pictures are unusable, "
        f"more than max_bad allows ({max_bad:g})\n{_some(bad)}\n"
        f"remove them, or train without them: --set max_bad={math.ceil(share * 100) / 100:g}"
    )


def _some(bad: Sequence[Bad]) -> str:
    more = f"; and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
    return "; ".join(map(str, bad[:_NAMED])) + more
