"""The one kind of progress callback: whatever can be slow takes a `Bar` and calls it as its work goes on."""

from __future__ import annotations

from collections.abc import Callable

Bar = Callable[[str, int, int], object]
"""Called as bar(what is being done, done, total), often; `done` only grows until `what` changes."""


def silent(what: str, done: int, total: int) -> None:
    """The bar that shows nothing."""
