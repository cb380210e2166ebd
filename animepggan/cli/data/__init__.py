"""`animepggan data`: make and look after pictures to train on. A verb a file."""

from __future__ import annotations

import importlib

import click

from animepggan.cli.common import Verbs

VERBS = {
    "check": "Decode every picture and say what is in the set.",
    "frames": "Take still pictures out of videos.",
    "crop": "Find the faces, align them and cut them out.",
    "curate": "Find copies, near copies and strangers.",
    "review": "Say in the browser who belongs in a curated set.",
    "demo": "Draw faces to try everything with.",
}


@click.group(cls=Verbs, load=lambda name: importlib.import_module(f"{__name__}.{name}"), verbs=VERBS)
def command() -> None:
    """Make and look after pictures to train on."""
