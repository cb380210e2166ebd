"""How the library tells what goes on, since it prints nothing: `Bar` for progress, `Say` for a line of text."""

from __future__ import annotations

from collections.abc import Callable

Bar = Callable[[str, int, int], object]
"""Called as bar(what is being done, done, total), often; `done` only grows until `what` changes."""


def silent(what: str, done: int, total: int) -> None:
    """The bar that shows nothing."""


Say = Callable[[str], object]
"""Called with a line or two for a person to read."""


def unheard(told: object) -> None:
    """The listener that does nothing."""
