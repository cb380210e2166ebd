"""The back-end of the pip package `anime-face-detector` (0.1 or newer, Python 3.12): YOLOv3 and 28 points by HRNetV2.

The package would fetch the newest weights; here they are resolved at pinned commits, as safetensors, and handed to its
`LandmarkDetector`. Points 11 to 16 are the eye on the left of the picture, 17 to 22 the other one, 23 is the nose, 24
to 27 are the mouth.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from animepggan import hub
from animepggan.corpus.faces.face import Face, Landmarks
from animepggan.errors import HubError, ModelError

NAME = "anime-face-detector"
FACES = "hub:hysts/anime-face-detector-yolov3@afdd4226a79ae8bb81f334dbcffd34f8cc000c38"
POINTS = "hub:hysts/anime-face-detector-hrnetv2@9b3435248b26aeb82e2a8578fe9d86d5d57158af"
_WEIGHTS = "model.safetensors"

_PARTS = (slice(11, 17), slice(17, 23), slice(23, 24), slice(24, 28))  # left eye, right eye, nose, mouth
_COUNT = 28


class AnimeFaceDetector:
    """Faces by `anime-face-detector`. ModelError where it is missing or too old, HubError without its weights."""

    name = NAME
    in_processes = False  # torch uses every core by itself, and a GPU is one

    def __init__(self) -> None:
        detector = _package()
        faces, points = (_weights(spec) for spec in (FACES, POINTS))
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._detect = detector(points, face_detector_name="yolov3", face_detector_checkpoint_path=faces, device=device)
        commits = ", ".join(str(hub.parse_spec(spec).revision)[:12] for spec in (FACES, POINTS))
        self.identity = f"{NAME} {version(NAME)} (yolov3 and hrnetv2 at {commits})"

    def find(self, image: Image.Image) -> list[Face]:
        pixels = np.ascontiguousarray(np.asarray(image)[..., ::-1])  # it takes OpenCV's order of colors
        return [_face(found["bbox"], found["keypoints"]) for found in self._detect(pixels)]


def installed() -> bool:
    """Whether a version that can be used is there: 0.0.x ran on another framework and had another interface."""
    try:
        return version(NAME).split(".")[:2] > ["0", "0"]
    except PackageNotFoundError:
        return False


def _package() -> Any:
    try:
        found = version(NAME)
        if not installed():
            raise ModelError(f"{NAME} {found} is too old: 0.1 or newer is needed, which asks for Python 3.12 or newer")
        from anime_face_detector import LandmarkDetector
    except (PackageNotFoundError, ImportError) as error:
        raise ModelError(
            f"the package {NAME} cannot be used: {error}\n"
            "pip install 'animepggan[crop]' on Python 3.12 or newer, or take --detector animeface"
        ) from error
    return LandmarkDetector


def _weights(spec: str) -> Path:
    path = hub.fetch(spec, allow_patterns=[_WEIGHTS], wanted="weights").path / _WEIGHTS
    if not path.is_file():
        raise HubError(f"{spec}: there is no {_WEIGHTS}\ntake --detector animeface")
    return path


def _face(box: NDArray[np.float32], points: NDArray[np.float32]) -> Face:
    """From `[x0, y0, x1, y1, score]` and `[28, 3]` rows of x, y, score."""
    if points.shape != (_COUNT, 3) or box.shape[0] < 5:
        raise ModelError(f"{NAME} gave points of shape {points.shape}: another version, with another interface?")

    x0, y0, x1, y1, score = box[:5].tolist()
    means = (points[part, :2].mean(axis=0).tolist() for part in _PARTS)
    landmarks = Landmarks(*((x, y) for x, y in means))
    return Face((x0, y0, x1, y1), min(1.0, max(0.0, score)), landmarks)
