"""Frames to a film; the ending of its name says of which kind.

Frames are [h, w, 3] of 0 to 255, all of one size. Films loop for ever where their kind can.
"""

from __future__ import annotations

import io
import re
import shutil
import struct
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import GifImagePlugin, Image

from animepggan.disk import PARTIAL, hidden_beside
from animepggan.errors import RecipeError
from animepggan.sampling.files import output_errors, output_file, write_png
from animepggan.sampling.grid import enlarge
from animepggan.sampling.palette import palette_of

Frames = Iterable[NDArray[np.uint8]]
Writer = Callable[[Frames, BinaryIO, int, int], None]

FASTEST_GIF = 50
"""Frames a second: players show a frame of less than 2/100 s for 10/100."""
SMALLEST_VIDEO = 64
"""Pixels a side: hardware decoders refuse less, so smaller frames are enlarged pixel by pixel."""


def check_film(path: Path, fps: int) -> None:
    """RecipeError where `write_film` cannot serve `path` or `fps`: to be called before the frames are drawn."""
    ending = path.suffix.lower()
    if not ending:
        if not path.name or (path.exists() and not _is_folder_of_frames(path)):
            raise RecipeError(
                f"{path}: is there and holds something else; name a new folder, or a film such as walk.gif"
            )
    elif ending not in WRITERS:
        raise RecipeError(
            f"{path}: no film ends in {ending}; known are {', '.join(WRITERS)}, or no ending for a folder of frames"
        )
    if ending == ".gif" and fps > FASTEST_GIF:
        raise RecipeError(f"{path}: a GIF shows at most {FASTEST_GIF} frames a second, not {fps}; take .webp or .mp4")
    if ending == ".mp4":
        _av()


def write_film(frames: Frames, path: Path, fps: int, scale: int = 1) -> None:
    """Write `frames`, shown `fps` a second, to `path`: whole or not at all; every pixel as a square of `scale`.

    Errors are those of `check_film`; ResourceError where the disk is full.
    """
    check_film(path, fps)
    if path.suffix:
        with output_file(path) as file:
            WRITERS[path.suffix.lower()](frames, file, fps, scale)
    else:
        _write_folder(frames, path, scale)


def _ticks(fps: int, per_second: int) -> Iterator[int]:
    """How long each frame lasts, in whole ticks of 1/`per_second` s, so that no error adds up."""
    for frame in count():
        yield (frame + 1) * per_second // fps - frame * per_second // fps


def _write_gif(frames: Frames, file: BinaryIO, fps: int, scale: int) -> None:
    """GIF89a with one palette for the film, of 255 colors: the last index stands for "as before"."""
    pictures = list(frames)
    palette = palette_of(pictures, 255)
    height, width, _ = (scale * side for side in pictures[0].shape)
    file.write(b"GIF89a" + struct.pack("<HHBBB", width, height, 0xF7, 0, 0))  # 0xF7: a global palette of 256
    file.write(palette.colors.tobytes().ljust(3 * 256, b"\0"))
    file.write(b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00")  # loop for ever
    before: NDArray[np.uint8] | None = None
    for picture, hundredths in zip(pictures, _ticks(fps, 100), strict=False):
        indices = enlarge(palette.reduce(picture), scale)
        blocks = _gif_frame(indices, hundredths)
        if before is not None:
            changed = _gif_frame(np.where(indices == before, 255, indices).astype(np.uint8), hundredths)
            blocks = min(blocks, changed, key=len)
        file.write(blocks)
        before = indices
    file.write(b";")


def _gif_frame(indices: NDArray[np.uint8], hundredths: int) -> bytes:
    parts = GifImagePlugin.getdata(Image.fromarray(indices), duration=10 * hundredths, transparency=255, disposal=1)
    return b"".join(parts)


def _write_by_pillow(frames: Frames, file: BinaryIO, fps: int, scale: int, **options: Any) -> None:
    first, *rest = [Image.fromarray(enlarge(frame, scale)) for frame in frames]
    durations = [ticks for ticks, _ in zip(_ticks(fps, 1000), [first, *rest], strict=False)]
    buffer = io.BytesIO()  # as in write_png
    first.save(buffer, save_all=True, append_images=rest, duration=durations, loop=0, **options)
    file.write(buffer.getbuffer())


def _write_mp4(frames: Frames, file: BinaryIO, fps: int, scale: int) -> None:
    """H.264 in 4:2:0, which every player shows; colors by ITU-R BT.709, and labeled so."""
    av = _av()
    bt709 = limited = 1  # as H.264 numbers them (ITU-T H.273)
    with av.open(file, "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "16", "preset": "medium"})
        for number, frame in enumerate(frames):
            factor = max(scale, -(-SMALLEST_VIDEO // min(frame.shape[:2])))
            enlarged = enlarge(frame, factor)
            if number == 0:
                stream.height, stream.width, _ = enlarged.shape
                stream.pix_fmt = "yuv420p"
                context = stream.codec_context
                context.colorspace = context.color_primaries = context.color_trc = bt709
                context.color_range = limited
            picture = av.VideoFrame.from_ndarray(enlarged, format="rgb24")
            picture = picture.reformat(format="yuv420p", dst_colorspace=bt709, dst_color_range=limited)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise RecipeError('.mp4 needs an extra: pip install "animepggan[video]"; .webp needs none') from error
    return av


def _is_folder_of_frames(path: Path) -> bool:
    return path.is_dir() and all(re.fullmatch(r"frame-\d+\.png", entry.name) for entry in path.iterdir())


def _write_folder(frames: Frames, path: Path, scale: int) -> None:
    """`path`/frame-0000.png ...; frames of an earlier film in it give way."""
    drawn = hidden_beside(path, PARTIAL)
    shutil.rmtree(drawn, ignore_errors=True)
    try:
        for number, frame in enumerate(frames):
            with output_file(drawn / f"frame-{number:04d}.png") as file:
                write_png(enlarge(frame, scale), file)
        with output_errors(path):
            if path.exists():
                shutil.rmtree(path)
            drawn.rename(path)
    finally:
        shutil.rmtree(drawn, ignore_errors=True)


_write_apng = partial(_write_by_pillow, format="PNG", compress_level=6)
WRITERS: dict[str, Writer] = {
    ".gif": _write_gif,
    ".webp": partial(_write_by_pillow, format="WEBP", quality=90, method=4),
    ".apng": _write_apng,
    ".png": _write_apng,
    ".mp4": _write_mp4,
}
