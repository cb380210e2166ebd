"""The folder of a run: who may write to it, and its small files (recipe.yaml, status.json, bad.jsonl).

runs/NAME/
  recipe.yaml      resolved: every value, where each came from
  status.json      state, exit, images_seen, last_checkpoint; replaced atomically
  log.jsonl        a line an interval, with the measures where some were taken
  bad.jsonl        files that could not be used, and why, where there are any
  previews/        images-000000000.png ...; real.png beside them
  checkpoints/     see `checkpoints`
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from pydantic import ValidationError

from animepggan.checkpoint import checkpoints_of, look_up, read_config, verify
from animepggan.corpus import Corpus
from animepggan.corpus.description import write_lines
from animepggan.disk import PARTIAL, hidden_beside, locked, make_folder
from animepggan.errors import ModelError, RecipeError
from animepggan.recipe import Recipe, load_recipe
from animepggan.recipe.keys import LAYER

RECIPE = "recipe.yaml"
STATUS = "status.json"
BAD = "bad.jsonl"
OURS = {RECIPE, STATUS, BAD, "log.jsonl", "previews", "checkpoints", "tensorboard"}


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold the run folder, which need not be there yet; BusyError where another process does, RecipeError where it
    would lie below a file."""
    place = folder.resolve()
    make_folder(place.parent)
    busy = f"{folder}: another process is training here; wait for it, or choose another --output"
    # Beside the folder, not in it: the folder itself may be moved aside.
    with locked(hidden_beside(place, ".lock"), busy):
        yield


def holds_run(folder: Path) -> bool:
    """Whether there is a run to go on with: a recipe or, where that is lost, a checkpoint."""
    return (folder / RECIPE).is_file() or bool(checkpoints_of(folder))


def holds_else(folder: Path) -> bool:
    """Whether there is anything but what a run leaves that is killed before its first checkpoint."""
    if not folder.is_dir():
        return folder.exists()
    return any(
        path.name not in OURS and not (path.name.startswith(".") and path.suffix in (PARTIAL, ".lock"))
        for path in folder.iterdir()
    )


def move_aside(folder: Path) -> Path:
    """Rename a run folder to the first free `NAME.1`, `NAME.2`, ...; RecipeError where the process stands in it."""
    if folder.name in ("", "..") or Path.cwd().is_relative_to(folder.resolve()):
        raise RecipeError(f"{folder}: --restart cannot move the folder aside that you are in; go one up")
    asides = (folder.with_name(f"{folder.name}.{number}") for number in count(1))
    return folder.rename(next(aside for aside in asides if not aside.exists()))


def recipe_of_run(folder: Path) -> tuple[Recipe | None, tuple[str, ...]]:
    """The recipe of the run in `folder`, and what the user should know; None where nothing tells it.

    Where a power cut took recipe.yaml, it comes from the newest whole checkpoint. RecipeError where it is there and
    cannot be read.
    """
    path = folder / RECIPE
    content = path.read_bytes() if path.is_file() else b""
    if content.strip() and b"\0" not in content:
        return load_recipe(path).recipe, ()
    for checkpoint in reversed(checkpoints_of(folder)):
        try:
            verify(checkpoint)
            values = look_up(read_config(checkpoint), "provenance", "recipe")
            return Recipe.model_validate(values, context=LAYER), (f"{path}: lost; taken from {checkpoint.name}",)
        except (ModelError, ValidationError):
            continue
    return None, ()


def write_bad(folder: Path, corpus: Corpus) -> None:
    """List in bad.jsonl the files of the corpus that could not be used; no file where there are none."""
    left_out = [("bad", bad) for bad in corpus.bad] + [("skipped", bad) for bad in corpus.skipped]
    listed = [{"name": bad.name, "kind": kind, "reason": bad.reason} for kind, bad in left_out if not bad.by_choice]
    if listed:
        write_lines(folder / BAD, listed)
    else:
        (folder / BAD).unlink(missing_ok=True)
