"""What a file is, by its first bytes: files of any ending are looked at, so that none is passed over without a word."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

HEAD = 512
"""Bytes to look at."""

_PICTURES = ".jpg .jpeg .jfif .jpe .png .apng .webp .bmp .dib .tif .tiff .gif .avif .avifs .heic .heif .hif .jxl"
PICTURES = frozenset(_PICTURES.split())
"""Endings by which a file is a picture without a look; others are looked at."""

_NOTES = ".txt .json .jsonl .csv .md .html .xml .yaml .yml .log .caption .tags"
NOTES = frozenset(_NOTES.split())
"""Endings of what is written beside pictures, and changes without them."""

_OF_SYSTEMS = (
    "@eadir|#recycle|#snapshot|@recycle|@recently-snapshot|@tmp|$recycle.bin|recycler|__macosx|lost.dir|"
    "system volume information|network trash folder|temporary items"
)
_KEPT_BY_SYSTEMS = frozenset(_OF_SYSTEMS.split("|"))
"""Of Synology, QNAP, Windows, macOS and Android, in lower case."""

Kind = Literal["picture", "video", "other picture"]

_FTYP = rb"....ftyp(?:....){0,30}?"
_PATTERNS: dict[str, tuple[Kind, bytes]] = {
    "JPEG": ("picture", rb"\xff\xd8\xff"),
    "PNG": ("picture", rb"\x89PNG\r\n\x1a\n"),
    "GIF": ("picture", rb"GIF8[79]a"),
    "WebP": ("picture", rb"RIFF....WEBP"),
    "BMP": ("picture", rb"BM.{4}\0{4}.{4}[\x0c-\x80]\0\0\0"),
    "TIFF": ("picture", rb"II[*+]\0|MM\0[*+]"),
    "AVIF": ("picture", _FTYP + rb"avi[fs]"),
    "HEIC": ("picture", _FTYP + rb"(?:hei[cxms]|hev[cxms]|mif[12]|msf1)"),
    "JPEG XL": ("picture", rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n"),
    "JPEG 2000": ("other picture", rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"),
    "Photoshop": ("other picture", rb"8BPS\0[\x01\x02]"),
    "GIMP": ("other picture", rb"gimp xcf "),
    "Krita or OpenRaster": ("other picture", rb"PK\x03\x04.{26}mimetype(?:image/openraster|application/x-krita)"),
    "Clip Studio": ("other picture", rb"CSFCHUNK"),
    "OpenEXR": ("other picture", rb"v/1\x01"),
    "QOI": ("other picture", rb"qoif"),
    "DDS": ("other picture", rb"DDS \x7c\0\0\0"),
    "Radiance": ("other picture", rb"#\?RADIANCE"),
    "Netpbm": ("other picture", rb"P[1-6]\s+(?:#[^\n]*\n\s*)*\d+\s+\d+\s"),
    "icon": ("other picture", rb"\0\0\x01\0[\x01-\x20]\0"),
    "JPEG XR": ("other picture", rb"II\xbc\x01"),
    "FLIF": ("other picture", rb"FLIF"),
    "raw photograph": ("other picture", rb"FUJIFILMCCD-RAW|IIRO|IIRS|II\x55\0|....ftypcrx "),
    "Matroska": ("video", rb"\x1aE\xdf\xa3"),
    "MP4": ("video", rb"....ftyp(?!M4[ABP])|\0...(?:moov|mdat|wide|free|skip)"),
    "AVI": ("video", rb"RIFF....AVI "),
    "Ogg": ("video", rb"OggS.*(?:theora|\x01video|BBCD\0|OVP80|fishead)"),
    "Flash": ("video", rb"FLV\x01[\x01\x05]"),
    "Windows Media": ("video", rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9"),
    "MPEG": ("video", rb"\0\0\x01[\xba\xb3\xb0]"),
    "MPEG-TS": ("video", rb"G.{187}G.{187}G|.{4}G.{191}G.{191}G"),
    "RealMedia": ("video", rb"\.RMF"),
    "MXF": ("video", rb"\x06\x0e\x2b\x34\x02\x05\x01\x01"),
    "IVF": ("video", rb"DKIF\0\0"),
    "Y4M": ("video", rb"YUV4MPEG2 "),
    "NUT": ("video", rb"nut/multimedia container\0"),
}
_CONTENTS = [(name, kind, re.compile(pattern, re.DOTALL)) for name, (kind, pattern) in _PATTERNS.items()]
_POINTER = b"version https://git-lfs.github.com/spec/"


def format_of(head: bytes) -> tuple[str, Kind] | None:
    """The name and the kind of the picture or video that begins with `head`; None for whatever else."""
    return next(((name, kind) for name, kind, pattern in _CONTENTS if pattern.match(head)), None)


def no_picture(head: bytes) -> str | None:
    """Why a file that begins so is none of the pictures that are read, in a few words; None where that is not known."""
    if head.startswith(_POINTER):
        return "a pointer of Git LFS, not the picture itself: `git lfs pull` fetches it"
    name, kind = format_of(head) or ("", "picture")
    if kind == "video":
        return f"a video ({name}): `animepggan data frames` takes stills out of it"
    return None if kind == "picture" else f"a picture of a kind that is not read here ({name}): save it as PNG"


def judge(ending: str, head: Callable[[], bytes]) -> str | None:
    """What a file is to a corpus: "" for one of its pictures, the reason for a picture or a video that is left out,
    None for what is neither. `head` reads the first bytes, where the ending does not say enough.
    """
    if ending in PICTURES:
        return ""
    found = format_of(begins := head())
    if found is None:
        return None
    if found[0] == "TIFF":  # of which cameras make their own: what is read of those is a thumbnail
        return f"a TIFF, or a raw photograph, named {ending or 'without an ending'}: rename it to .tif where it is one"
    return no_picture(begins) or ""


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name holds nothing that its owner has put there to be seen: hidden, or one in
    which a network drive or a system keeps thumbnails, snapshots and what was thrown away.
    """
    return (name.startswith(".") and name not in (".", "..")) or name.casefold() in _KEPT_BY_SYSTEMS
