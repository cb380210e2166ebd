"""`animepggan recipes`: list, show, copy and validate recipes, and print their JSON Schema."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from animepggan import recipe
from animepggan.cli.common import PATH, Console, common_options
from animepggan.errors import RecipeError, ResourceError


@click.group()
def command() -> None:
    """List, show, copy and check recipes.

    RECIPE is a path or the name of a recipe that comes with the program.
    """


@command.command("list")
@common_options
def list_recipes(console: Console) -> None:
    """List the recipes that come with the program."""
    rows = [{"name": path.stem, "title": recipe.title(path), "path": str(path)} for path in recipe.shipped()]
    width = max(len(row["name"]) for row in rows)
    console.result("\n".join(f"{row['name']:<{width}}  {row['title']}" for row in rows), rows)


@command.command()
@click.argument("name", metavar="RECIPE")
@click.option("--resolved", is_flag=True, help="Every value, where it came from and what it means.")
@common_options
def show(console: Console, name: str, resolved: bool) -> None:
    """Print a recipe as its file is, or with every default filled in."""
    path = _find(console, name)
    if resolved:
        full = recipe.load_recipe(path)
        data = {"path": str(path), "recipe": full.recipe.model_dump(mode="json"), "origins": full.origins}
        console.result(recipe.dump(full, describe=True).rstrip("\n"), data)
    else:
        text = recipe.read_recipe(path)
        console.result(text.rstrip("\n"), {"path": str(path), "text": text})


@command.command()
@click.argument("name", metavar="RECIPE")
@click.argument("destination", metavar="[DEST]", required=False, type=PATH)
@click.option("--force", is_flag=True, help="Overwrite DEST if it exists.")
@common_options
def copy(console: Console, name: str, destination: Path | None, force: bool) -> None:
    """Copy a recipe to DEST (a file or a folder), to be edited; by default into the current folder."""
    from animepggan.disk import write_text

    path = _find(console, name)
    text = recipe.read_recipe(path)
    target = destination or Path(path.name)
    if target.is_dir():
        target /= path.name
    if os.path.lexists(target) and not force:
        raise RecipeError(f"{target} exists; give another DEST, or --force to overwrite it")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_text(target, text)
    except OSError as error:
        raise ResourceError(f"{target} cannot be written: {error.strerror or error}") from None
    console.result(str(target), {"path": str(target)})


@command.command()
@click.argument("names", metavar="RECIPE...", nargs=-1, required=True)
@common_options
def validate(console: Console, names: tuple[str, ...]) -> None:
    """Check recipes; every error of every file is shown, and the exit code is 2 if there is one."""
    reports: list[dict[str, object]] = []
    errors: list[str] = []
    for name in names:
        try:
            recipe.load_recipe(_find(console, name))
            wrong = []
        except RecipeError as error:
            wrong = str(error).splitlines()
        reports.append({"recipe": name, "ok": not wrong, "errors": wrong})
        errors += wrong
    console.result("\n".join(f"{report['recipe']}: ok" for report in reports if report["ok"]), reports)
    if errors:
        raise RecipeError("\n".join(errors))


@command.command()
@common_options
def schema(console: Console) -> None:
    """Print the JSON Schema of a recipe, so that an editor completes and checks it."""
    data = recipe.schema()
    console.result(json.dumps(data, indent=2), data)


def _find(console: Console, name: str) -> Path:
    found = recipe.find_recipe(name)
    if found.fell_back:
        console.say(f"{name} is no file here: taking the recipe {found.path.stem} that comes with the program")
    return found.path
