"""`animepggan data review`: say in the browser who belongs in a curated set."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from animepggan.cli.common import NATURAL, Console, apply_threads, common_options, complain, device_options
from animepggan.corpus.names import printable


@click.command()
@click.argument("folder", metavar="FOLDER", type=click.Path(path_type=Path))
@click.option("--no-browser", is_flag=True, help="Open no browser, print the page's address only.")
@click.option("--port", metavar="N", type=click.IntRange(0, 65535), default=0, help="Of the page; 0: any free one.")
@click.option("--backbone", metavar="NAME", help="For ranking again, as for `data curate`.  [default: as there]")
@click.option("--workers", metavar="N", type=NATURAL, help="Threads; 0: one.  [default: all cores]")
@device_options
@common_options
def command(console: Console, /, folder: Path, no_browser: bool, threads: int | None, **options: Any) -> None:
    """Say in the browser who belongs in the set that `animepggan data curate` described in FOLDER.

    The page shows the most suspicious pictures first, or cluster by cluster. A click leaves a picture out or takes it
    back in, drag and Shift-click many; `more like these` ranks the rest by what was decided. Each decision is saved in
    FOLDER/corpus.jsonl at once, undo restores its line, and curating into FOLDER again keeps what was decided. Nothing
    is deleted.

    The page is served on this machine only, for whoever has its address. Done ends it, and Ctrl-C; closing the page
    does not.
    """
    from animepggan import data as library

    apply_threads(threads)
    found = library.review(folder, show=shower(console, folder, browser=not no_browser and has_screen()), **options)
    console.say(
        f"{found.trained} in training, {found.left_out} left out; by hand {found.rejected} rejected, {found.kept} kept"
    )
    told = {name: getattr(found, name) for name in ("description", "trained", "left_out", "kept", "rejected", "done")}
    console.result(str(found.description), told)


def shower(console: Console, folder: Path, *, browser: bool) -> Callable[[str], None]:
    """Tells the page's address, and opens it where a browser is wanted."""

    def show(address: str) -> None:
        complain(f"review {printable(str(folder))} at {address}")  # with --quiet, too: nobody could guess it
        if browser:
            import webbrowser

            webbrowser.open(address)
        console.say("Done on that page ends the review; so does Ctrl-C")

    return show


def has_screen() -> bool:
    """Whether a person sits at a terminal here whose browser has a window: one that takes the terminal is of no use."""
    if sys.stderr is None or not sys.stderr.isatty():
        return False
    if sys.platform in ("win32", "darwin"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
