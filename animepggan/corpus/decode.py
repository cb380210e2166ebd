"""One picture file to RGB pixels: every mode to the same colors, or a DecodeError that says why not.

Only the openers of `FORMATS` are enabled; too large a picture is refused by its header, and half a one is a bad one.
"""

from __future__ import annotations

import ctypes
import hashlib
import io
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, BinaryIO

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, ImageOps, UnidentifiedImageError, _imaging

from animepggan.corpus.colors import profile_of_gamma, profile_of_numbers
from animepggan.corpus.content import HEAD, format_of, no_picture
from animepggan.corpus.headers import (
    MAX_PIXELS,
    DecodeError,
    color_numbers,
    head_of,
    refuse_large,
    refuse_large_inside,
    whole,
)

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")

# Without a handler, damage that Pillow logs would go to the terminal; it comes as an exception, too.
logging.getLogger("PIL").addHandler(logging.NullHandler())
with suppress(OSError, AttributeError):  # where Pillow shows its libtiff: that one prints every error on standard error
    for _setter in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
        getattr(ctypes.CDLL(_imaging.__file__), _setter)(None)

_REASONS = {
    "truncated": "cut off",
    "could not create decoder object": "damaged or cut off",  # all that is said of a WebP
    "decompressed data too large": "too large: text or a profile that unpacks to over 1 MiB",
    "premature end of jpeg file": "cut off",
    "premature end of data segment": "damaged: its data ends before its pixels do",
    "extraneous bytes before marker 0xd9": "damaged: its pixels end before its data does",
    "corrupt jpeg data": "damaged: a part of its pixels makes no sense",
    "unsupported marker type": "damaged: a marker among its pixels",
}
"""Pillow's and libjpeg's words in ours; the first that fits."""

_BITS_PER_SAMPLE, _PHOTOMETRIC, _TILE_WIDTH, _TILE_LENGTH = 258, 262, 322, 323  # TIFF tags
MAX_SCANS = 100  # of a JPEG: each goes over all pixels, so a small file of thousands takes hours; encoders make ten
_SCAN = re.compile(rb"\xff\xda\0(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")
_UNKNOWN = re.compile(r"\bunknown|unsupported (?!marker type)|cannot handle|not supported|unimplemented", re.IGNORECASE)
_RARE = re.compile(rb"\xff[\xc3\xc5-\xc7\xcb\xcd-\xcf]\0[\x08-\x14][\x02-\x10]")  # how such a frame begins
_LOST = re.compile("Premature end|Corrupt JPEG data|Unsupported marker type")
_HARMLESS = re.compile(r": \d\d? extraneous bytes before marker 0x(d9|c[0-2]|db|e.|fe)")  # some cameras leave a few
_NUMBERS = "animepggan.numbers"  # in `info`: what a file says of its colors, in H.273's numbers
_INVISIBLE = 3  # of 255; what the roundings of a profile that says sRGB come to


@dataclass(frozen=True, slots=True)
class Picture:
    """A whole picture: its first frame, upright."""

    image: Image.Image  # mode RGB, laid over the background
    format: str  # one of FORMATS
    mode: str  # of the file's pixels, in Pillow's word: 1, L, LA, P, RGB, RGBA, CMYK, I;16, ...
    transparent: bool  # whether the file has an alpha channel or a transparent color


def open_picture(stream: BinaryIO, *, background: tuple[int, int, int] = (255, 255, 255)) -> Picture:
    """Decode a picture as a whole, at the size that it has. Raises as `decode` does."""
    with _words_for_damage(), _open(stream) as file:
        mode, transparent = file.mode, file.has_transparency_data
        return Picture(_to_rgb(_upright(file, stream), file, background), str(file.format), mode, transparent)


def decode(stream: BinaryIO, *, resolution: int, background: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Decode a picture to uint8 `[resolution, resolution, 3]`, RGB.

    The first frame, turned upright as its Exif orientation says, is cut to its central square, laid over `background`
    where it is transparent, and resized with LANCZOS. Raises DecodeError for whatever is wrong with the file, and
    MemoryError.
    """
    with _words_for_damage(), _open(stream) as file:
        upright = _upright(file, stream)
        width, height = upright.size
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        square = _to_rgb(upright.crop((left, top, left + side, top + side)), file, background)
    return np.array(square.resize((resolution, resolution), Image.Resampling.LANCZOS))  # a copy where it fits


def fingerprint(pixels: NDArray[np.uint8]) -> str:
    """The sha256 of decoded pixels and their shape, hexadecimal: equal for equal pictures, whatever their files."""
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


@contextmanager
def _words_for_damage() -> Iterator[None]:
    try:
        yield
    except (DecodeError, MemoryError):
        raise
    except Exception as error:  # Pillow's openers raise a dozen types, and not always the documented ones
        raise DecodeError(_reason(error)) from error


def _open(stream: BinaryIO) -> ImageFile.ImageFile:
    """The file, not decoded yet, refused by its header when it is too large."""
    refuse_large_inside(stream)
    try:
        image = Image.open(stream, formats=_formats(stream))
    except UnidentifiedImageError as error:
        stream.seek(0)
        raise DecodeError(_why_not_opened(stream)) from error
    try:
        refuse_large(*image.size)
        if image.format == "TIFF":  # a tile is decoded as a whole, however little of it is inside the picture
            width, height = (int(np.max(_tags(image).get(tag, 0))) for tag in (_TILE_WIDTH, _TILE_LENGTH))
            refuse_large(width, height, "tiles of ")
        _scale_transparent_color(image)
        if (numbers := color_numbers(stream, image.format)) is not None:
            image.info[_NUMBERS] = numbers
    except BaseException:
        image.close()
        raise
    return image


def _formats(stream: BinaryIO) -> tuple[str, ...]:
    """What the file may be: one of FORMATS or, by its first bytes, what a plugin of the extra `formats` reads."""
    name = (format_of(head_of(stream, HEAD)) or ("",))[0]
    try:
        if name == "HEIC":
            import pillow_heif

            pillow_heif.register_heif_opener(thumbnails=False)
            return ("HEIF",)
        if name == "JPEG XL":
            import pillow_jxl  # noqa: F401 (which makes itself known to Pillow)

            return ("JXL",)
    except ImportError as error:
        raise DecodeError(f'{name} is read with an extra: pip install "animepggan[formats]"') from error
    return FORMATS


def _why_not_opened(stream: BinaryIO) -> str:
    """Why no opener takes the file: it is something else, of a layout that nobody here knows, or damaged."""
    head = head_of(stream, HEAD)
    if (reason := no_picture(head)) is not None:
        return reason
    name = (format_of(head) or ("",))[0]
    if name.upper() in FORMATS:
        try:  # it tells what `Image.open` keeps to itself
            Image.OPEN[name.upper()][0](stream, "")
        except Exception as error:
            if isinstance(error.__cause__, KeyError) or _UNKNOWN.search(str(error)):
                return f"a {name} of a layout that is not known here ({str(error).lower() or 'no more is said'})"
    return "not a picture, or damaged at its start"


def _upright(file: ImageFile.ImageFile, stream: BinaryIO) -> Image.Image:
    """All pixels of the file, turned as its Exif orientation says."""
    image = _jpeg(file, stream) if file.format in ("JPEG", "MPO") else None
    if image is None:
        file.load()
        image = file
    # Asked for after loading: some files keep their orientation behind the pixels, and TIFFs are turned while loading.
    with suppress(Exception):  # damaged Exif data is no reason to lose the picture, whatever it raises
        if file.format != "JXL" or getattr(file, "jpeg", False):  # else its decoder has turned it
            ImageOps.exif_transpose(image, in_place=True)
    return image


def _jpeg(file: ImageFile.ImageFile, stream: BinaryIO) -> Image.Image | None:
    """The pixels of a JPEG; ValueError where some are lost, None where Pillow has to decode it.

    libjpeg makes up what it cannot read and warns; Pillow passes over its warnings, simplejpeg raises them. It knows
    fewer layouts of colors than Pillow, and some warnings are of no damage.
    """
    stream.seek(0)
    data = whole(stream)
    if len(_SCAN.findall(data)) > MAX_SCANS:
        raise DecodeError("too many scans")
    try:
        pixels = simplejpeg.decode_jpeg(data, "GRAY" if file.mode == "L" else file.mode)
    except ValueError as error:
        if _RARE.search(data):
            raise DecodeError("of a layout that is not known here: a lossless or hierarchical JPEG") from error
        if _LOST.match(str(error)) and not _HARMLESS.search(str(error)):
            raise
        return None
    if file.mode == "CMYK":  # of which some are stored upside down
        return None
    image = Image.fromarray(pixels.squeeze(2) if file.mode == "L" else pixels)
    image.info = file.info
    return image


def _tags(image: Image.Image) -> dict[int, Any]:
    """Those of a TIFF."""
    return getattr(image, "tag_v2", {})


def _scale_transparent_color(image: ImageFile.ImageFile) -> None:
    """Bring a PNG's transparent color to the 8 bits that Pillow brings the pixels to; it leaves it at the file's."""
    color = image.info.get("transparency")
    layout = image.tile[0].args if image.tile and image.format == "PNG" else None
    if isinstance(color, int) and layout in ("L;2", "L;4"):
        image.info["transparency"] = color * (85 if layout == "L;2" else 17)
    elif isinstance(color, tuple) and layout == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in color)


def _to_rgb(image: Image.Image, file: ImageFile.ImageFile, background: tuple[int, int, int]) -> Image.Image:
    """RGB pixels of `image`, a part of `file`."""
    if image.mode.startswith("I;16") or (image.mode == "I" and file.format == "PNG"):
        image = _of_8_bit(image, file)
    if image.mode in ("I", "F", "LAB"):
        raise DecodeError(f"pixels of mode {image.mode} have no agreed color")
    transparent = image.has_transparency_data
    layers = image.convert("RGBA") if transparent else image
    transform = _transform(_profile(file), image.mode)
    if transform is not None:
        colors = transform.apply(layers.convert(transform.input_mode))
        if transparent:
            colors.putalpha(layers.getchannel("A"))
        layers = colors
    return _over(layers, background) if transparent else layers.convert("RGB")


def _profile(file: ImageFile.ImageFile) -> bytes | None:
    """The ICC profile of a file's colors, or one of what it says of them in numbers; None where it says nothing."""
    if profile := file.info.get("icc_profile"):
        return bytes(profile)
    with suppress(Exception):  # what makes no sense is no reason to lose the picture
        if numbers := file.info.get(_NUMBERS):
            return profile_of_numbers(*numbers)
        if told := file.info.get("nclx_profile"):  # of a HEIC
            return profile_of_numbers(int(told["color_primaries"]), int(told["transfer_characteristics"]))
        if "gamma" in file.info and "srgb" not in file.info:
            return profile_of_gamma(file.info["gamma"], file.info.get("chromaticity"))
    return None


_GRAYS = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
_COLORS = Image.fromarray(np.indices((6, 6, 6), np.uint8).reshape(3, 1, -1).transpose(1, 2, 0) * np.uint8(51))


@lru_cache(maxsize=32)
def _transform(profile: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From the colors of an ICC profile to sRGB; None where that changes nothing, or the profile is of no use."""
    if not profile:
        return None
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}[opened.profile.xcolor_space.strip()]
        if (space == "CMYK") != (mode == "CMYK") or (space == "L" and mode not in ("1", "L", "LA")):
            return None
        transform = ImageCms.buildTransform(opened, ImageCms.createProfile("sRGB"), space, "RGB")
        if space != "CMYK":  # most are sRGB, in one of its many spellings
            samples = _GRAYS if space == "L" else _COLORS
            change = np.asarray(transform.apply(samples), np.int16) - np.asarray(samples.convert("RGB"), np.int16)
            if np.abs(change).max() <= _INVISIBLE:
                return None
    except Exception:  # a damaged profile is no reason to lose the picture, whatever it raises
        return None
    return transform


def _over(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", image.size, (*background, 255)), image).convert("RGB")


def _of_8_bit(image: Image.Image, file: ImageFile.ImageFile) -> Image.Image:
    """Greyscale of 16 bits (12 in some TIFFs), which Pillow's own conversion would clip at 255: L, or LA."""
    values = np.asarray(image).astype(np.uint32)
    white = (1 << int(_tags(file).get(_BITS_PER_SAMPLE, (16,))[0])) - 1
    scaled = ((values * 255 + white // 2) // white).astype(np.uint8)
    if _tags(file).get(_PHOTOMETRIC) == 0:  # white is zero
        scaled = 255 - scaled
    gray = Image.fromarray(scaled)
    transparent = image.info.get("transparency")
    if transparent is None:
        return gray
    return Image.merge("LA", (gray, Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8))))


def _reason(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return f"too large: more than {MAX_PIXELS // 1_000_000} megapixels"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if _UNKNOWN.search(first_line):
        return f"of a layout that is not known here: {first_line}"
    known = (reason for words, reason in _REASONS.items() if words in str(error).lower())
    return next(known, f"cannot be decoded: {first_line}")
