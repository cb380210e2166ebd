"""Training: one loop, the state it changes, and an estimate of what it will cost."""

from __future__ import annotations

from animepggan.training.loop import Progress, run
from animepggan.training.state import State

__all__ = ["Progress", "State", "run"]
