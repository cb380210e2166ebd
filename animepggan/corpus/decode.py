"""One picture file to a square of RGB pixels: every mode to the same colors, or a DecodeError that says why not.

Only seven openers are enabled, a picture is refused by its header when it is too large, and it is always decoded
fully: half a picture is a bad picture.
"""

from __future__ import annotations

import hashlib
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")
MAX_PIXELS = 85_000_000  # width times height; below Pillow's own warning
MAX_SIDE = 32_768  # pixels

_ORIENTATION = 0x0112  # the Exif tag
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # TIFF tags


class DecodeError(Exception):
    """A file that is no usable picture; `str(error)` is the reason, a few words."""


def decode(stream: BinaryIO, *, resolution: int, background: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Decode a picture to uint8 `[resolution, resolution, 3]`, RGB.

    The first frame, turned upright as its Exif orientation says, is cut to its central square, laid over `background`
    where it is transparent, and resized with an antialiased Lanczos filter. 16 bits are scaled to 8, never clipped.
    Raises DecodeError.
    """
    try:
        return _decode(stream, resolution, background)
    except (DecodeError, MemoryError):
        raise
    # Pillow's openers raise a dozen types for damaged files, and not always the documented ones.
    except Exception as error:
        raise DecodeError(_reason(error)) from error


def fingerprint(pixels: NDArray[np.uint8]) -> str:
    """The sha256 of decoded pixels and their shape, hexadecimal: equal for equal pictures, whatever their files."""
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def _decode(stream: BinaryIO, resolution: int, background: tuple[int, int, int]) -> NDArray[np.uint8]:
    with Image.open(stream, formats=FORMATS) as image:
        width, height = image.size
        if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
            raise DecodeError(f"too large: {width}x{height} pixels")
        _scale_transparent_color(image)
        image.load()
        # Only now: some files keep their orientation behind the pixels, and TIFFs are turned while loading.
        turn = _TRANSPOSE.get(_orientation(image))
        upright = image.transpose(turn) if turn is not None else image
        width, height = upright.size
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        square = _to_rgb(upright.crop((left, top, left + side, top + side)), image, background)
    if side != resolution:
        square = square.resize((resolution, resolution), Image.Resampling.LANCZOS)
    return np.array(square)


def _scale_transparent_color(image: ImageFile.ImageFile) -> None:
    """Bring a PNG's transparent color to the 8 bits that Pillow brings the pixels to; it leaves it at the file's."""
    color = image.info.get("transparency")
    layout = image.tile[0].args if image.tile and image.format == "PNG" else None
    if isinstance(color, int) and layout in ("L;2", "L;4"):
        image.info["transparency"] = color * (85 if layout == "L;2" else 17)
    elif isinstance(color, tuple) and layout == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in color)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged Exif data is no reason to lose the picture
        return 1


def _to_rgb(image: Image.Image, file: ImageFile.ImageFile, background: tuple[int, int, int]) -> Image.Image:
    """RGB pixels of `image`, a part of `file`."""
    if image.mode.startswith("I;16") or (image.mode == "I" and file.format == "PNG"):
        return _from_16_bit(image, file, background)
    if image.mode in ("I", "F", "LAB"):
        raise DecodeError(f"pixels of mode {image.mode} have no agreed color")
    return _over(image.convert("RGBA"), background) if image.has_transparency_data else image.convert("RGB")


def _over(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    canvas = Image.new("RGBA", image.size, (*background, 255))
    canvas.alpha_composite(image)
    return canvas.convert("RGB")


def _from_16_bit(image: Image.Image, file: ImageFile.ImageFile, background: tuple[int, int, int]) -> Image.Image:
    """Greyscale of 16 bits (12 in some TIFFs), which Pillow's own conversion would clip at 255."""
    values = np.asarray(image).astype(np.uint32)
    tags = getattr(file, "tag_v2", {})
    white = (1 << int(tags.get(_BITS_PER_SAMPLE, (16,))[0])) - 1
    scaled = ((values * 255 + white // 2) // white).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == 0:  # white is zero
        scaled = 255 - scaled
    gray = Image.fromarray(scaled)
    transparent = image.info.get("transparency")
    if transparent is None:
        return gray.convert("RGB")
    alpha = Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8))
    return _over(Image.merge("RGBA", (gray, gray, gray, alpha)), background)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not a picture, or damaged at its start"
    if isinstance(error, Image.DecompressionBombError):
        return f"too large: more than {MAX_PIXELS // 1_000_000} megapixels"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).strip().splitlines()
    return f"cannot be decoded: {lines[0] if lines else type(error).__name__}"
