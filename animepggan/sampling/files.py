"""Pictures written where the user says, whole or not at all, with the errors in the user's words."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from animepggan.disk import replacing
from animepggan.errors import RecipeError, ResourceError, disk_is_full


@contextmanager
def output_file(path: Path) -> Iterator[BinaryIO]:
    """A binary file that becomes `path` when the block ends well; otherwise `path` stays as it was.

    Folders above it are made. ResourceError where the disk is full, RecipeError where `path` cannot be such a file.
    """
    with output_errors(path):
        if path.is_dir():
            raise RecipeError(f"{path}: is a folder; name a file")
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial, partial.open("wb") as file:
            yield file


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn what the system says against writing `path` into an error for the user."""
    try:
        yield
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise RecipeError(f"{path}: cannot be written: {error.filename or path} is in the way") from error
    except OSError as error:
        if disk_is_full(error):
            raise ResourceError(
                f"{path}: the disk is full; nothing was written here\nmake room, or name another --output"
            ) from error
        if error.errno == errno.ENAMETOOLONG:
            raise RecipeError(f"{path.name[:60]}...: the name is too long") from error
        raise


def write_png(picture: NDArray[np.uint8], file: BinaryIO, texts: Mapping[str, str] | None = None) -> None:
    """Write a picture [h, w, 3] with `texts` in its metadata."""
    info = PngInfo()
    for key, value in (texts or {}).items():
        info.add_itxt(key, value)
    buffer = io.BytesIO()  # when Pillow writes to the file itself, it loses the reason of a failure
    Image.fromarray(picture).save(buffer, format="PNG", pnginfo=info)
    file.write(buffer.getbuffer())
