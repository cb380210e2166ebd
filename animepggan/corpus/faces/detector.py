"""Who finds faces: the interface, and the back-end that `--detector` names."""

from __future__ import annotations

import logging
from typing import Protocol

from PIL import Image

from animepggan.corpus.faces import by_animeface, by_hub
from animepggan.corpus.faces.face import Face
from animepggan.errors import HubError, ModelError

NAMES = (by_hub.NAME, by_animeface.NAME)

log = logging.getLogger(__name__)


class Detector(Protocol):
    """A back-end, ready to use."""

    name: str  # what `--detector` takes
    identity: str  # package, version and weights: what two runs must share to find the same faces
    in_processes: bool  # whether several processes, each with its own, are faster than one

    def find(self, image: Image.Image) -> list[Face]:
        """The faces of an RGB picture, in any order; doubtful ones too, with the score that they deserve."""


def open_detector(name: str | None = None, *, smallest: float, largest_tilt: float) -> Detector:
    """The back-end `name`, one of `NAMES`. Raises ModelError and HubError.

    None: the hub's model where its package works and its weights are cached or reachable, else `animeface`; that the
    first is installed and could not be had is logged as a warning. `smallest` (pixels) and `largest_tilt` (degrees) say
    what need not be searched for; a back-end may find it all the same.
    """
    if name == by_hub.NAME or (name is None and by_hub.installed()):
        try:
            return by_hub.AnimeFaceDetector()
        except (HubError, ModelError) as error:
            if name is not None:
                raise
            log.warning("%s\nusing %s", str(error).splitlines()[0], by_animeface.NAME)
    return by_animeface.AnimeFace(smallest=smallest, largest_tilt=largest_tilt)
