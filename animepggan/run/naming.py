"""Where fine-tuning goes when nobody says: runs/<character>, by where her pictures lie, and never onto another run."""

from __future__ import annotations

import re
from itertools import count
from pathlib import Path, PurePosixPath

from animepggan.corpus import Corpus
from animepggan.corpus.source import short_name
from animepggan.disk import expanded, has_home
from animepggan.hub import parse_spec
from animepggan.recipe import Recipe
from animepggan.run.begin import RunOptions, agrees
from animepggan.run.folder import holds_else, holds_run

RUNS = Path("runs")
SAYS_NOTHING = re.compile(
    r"(anime-?)?(pictures?|pics?|images?|imgs?|faces?|crops?|cropped|aligned|keep|stills?|frames?|screenshots?|corpus|"
    r"data|datasets?|sets?|train(ing)?|tmp|temp|runs?|out(put)?)([-_ ]?\d+(px)?)?|\d+(px)?",
    re.IGNORECASE,
)
"""Names that folders and files of anybody's pictures have."""


def character_of(spec: str) -> str:
    """Her name by the SPEC of her pictures, fit for a folder: its last part that is no word for pictures.

    `yui/faces/pictures`, `yui/corpus.jsonl`, `yui.zip`, `demo:yui`, `hub:datasets/owner/yui:faces` are all `yui`. A
    path that tells nothing is looked up from the folder above.
    """
    if spec.startswith("demo:"):
        return short_name(spec.removeprefix("demo:"))
    if spec.startswith("hub:"):
        hub = parse_spec(spec)
        parts = [hub.repo.rpartition("/")[2], *PurePosixPath(hub.subfolder or "").parts]
    else:
        path = expanded(spec).absolute()
        home = Path.home().parts if has_home() else ()
        parts = [part for depth, part in enumerate(path.parts) if depth and path.parts[: depth + 1] != home]
    names = [re.sub(r"\.(jsonl|zip|tar|parquet)$", "", part, flags=re.IGNORECASE) for part in parts if part != ".."]
    telling = [name for name in names if not SAYS_NOTHING.fullmatch(name)]
    return short_name((telling or names or ["her"])[-1])


def folder_for(recipe: Recipe, corpus: Corpus, options: RunOptions) -> Path:
    """runs/<character>, or with -2, -3, ... after it: the first where this very run is, else the first that is free."""
    first = RUNS / character_of(corpus.spec)
    free = None
    for number in count(1):
        folder = first if number == 1 else first.with_name(f"{first.name}-{number}")
        if holds_run(folder):
            if agrees(folder, recipe, corpus, options.allow):
                return folder
        elif not holds_else(folder):
            free = folder
            break
    assert free is not None
    return first if options.resume else free  # where there is nothing to resume, that is told of her first run
