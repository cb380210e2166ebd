"""Going back: a run that went wrong goes on from its last good checkpoint at a lower learning rate.

Which checkpoint that is follows from the log, and the learning rate from the list of returns, which checkpoints hold:
a run that is resumed does what it would have done.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from animepggan.checkpoint import checkpoints_of, discard, look_up, position_of

FACTOR = 0.5
"""Of the learning rate, a return."""


@dataclass(frozen=True)
class Return:
    """One time that a run went back."""

    images_seen: int  # where it had gone wrong
    checkpoint: str | None  # the name of the one it went back to; None: to its start
    factor: float = FACTOR

    def as_json(self) -> dict[str, Any]:
        """For config.json and status.json."""
        return asdict(self)


def returns_in(config: Mapping[str, Any]) -> tuple[Return, ...]:
    """The returns that a checkpoint's config.json tells of; what is damaged there is passed over."""
    listed = look_up(config, "position", "returns")
    found = []
    for each in listed if isinstance(listed, list) else ():
        at, name, factor = (look_up(each, key) for key in ("images_seen", "checkpoint", "factor"))
        if isinstance(at, int) and isinstance(name, (str, type(None))) and isinstance(factor, float) and factor > 0:
            found.append(Return(at, name, factor))
    return tuple(found)


def rate_factor(returns: Iterable[Return]) -> float:
    """What the recipe's learning rates are multiplied by."""
    return math.prod(each.factor for each in returns)


def discard_after(run: Path, images_seen: int, *, but: Path | None = None) -> None:
    """Remove a run's checkpoints of more images, newest first: what is left is always a way to go on."""
    for checkpoint in reversed(checkpoints_of(run)):
        if position_of(checkpoint) > images_seen and checkpoint != but:
            discard(checkpoint)
