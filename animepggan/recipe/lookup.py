"""Finds recipe files: by path, or by the name of one that comes with the program.

Shipped recipes are data: in a checkout (and so in an editable install) they lie beside the package, in an installed
program under `<prefix>/share/animepggan/recipes`. `recipes list` must be quick, so there is no pydantic here, nor YAML.
"""

from __future__ import annotations

import difflib
import json
import stat
from dataclasses import dataclass
from pathlib import Path

from animepggan.errors import RecipeError

ROOT = Path(__file__).resolve().parents[2]
_SHARE = Path("share/animepggan/recipes")  # `pip install --target` puts it beside the package but lists it elsewhere
MAX_BYTES = 256 * 1024


@dataclass(frozen=True)
class RecipeFile:
    """A recipe's file."""

    path: Path
    fell_back: bool  # `recipes/NAME.yaml` was asked for, is no file here, and the shipped NAME was taken


def shipped() -> list[Path]:
    """The files of all recipes that come with the program, by name; RecipeError if this installation has lost them."""
    if paths := _shipped():
        return paths
    raise RecipeError("the recipes that come with animepggan are missing from this installation; install it again")


def _shipped() -> list[Path]:
    return sorted(_in_checkout() or _in_distribution() or (ROOT / _SHARE).glob("*.yaml"), key=lambda path: path.stem)


def _in_checkout() -> list[Path]:
    # setup.cfg tells our checkout from a folder of packages into which someone else put `recipes`.
    return list(ROOT.glob("recipes/*.yaml")) if (ROOT / "setup.cfg").is_file() else []


def _in_distribution() -> list[Path]:
    from importlib import metadata  # slow to import, and a checkout does without

    try:
        files = metadata.files("animepggan") or []
    except metadata.PackageNotFoundError:
        return []
    paths = [Path(str(file.locate())) for file in files if file.match(f"{_SHARE}/*.yaml")]
    return [path.resolve() for path in paths if path.is_file()]


def find_recipe(name_or_path: str | Path) -> RecipeFile:
    """The file of a recipe: a path, a shipped name, or `recipes/NAME.yaml` for the shipped NAME where no such file is.

    RecipeError, with the nearest names, where there is none. A bare word is a shipped name first.
    """
    text = str(name_or_path)
    path = Path(text)
    if text.startswith("~"):
        from animepggan.disk import expanded  # which needs more than `recipes list` may

        path = expanded(text)
    names = {file.stem: file for file in _shipped()}
    if text in names:
        return RecipeFile(names[text], fell_back=False)
    if text and _exists(path):
        return RecipeFile(path, fell_back=False)
    if path.parent == Path("recipes") and path.suffix == ".yaml" and path.stem in names:
        return RecipeFile(names[path.stem], fell_back=True)
    is_path = path.suffix in (".yaml", ".yml") or len(path.parts) != 1
    near = difflib.get_close_matches(path.stem.lower(), names, n=2, cutoff=0.5)
    if not is_path and _exists(Path(f"{text}.yaml")):
        near = [f"{text}.yaml", *near]
    shown = text if text.isprintable() and text else repr(text)
    what = "no such recipe file" if is_path else "no recipe of this name"
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    known = "`animepggan recipes list` shows the recipes that come with the program"
    raise RecipeError(f"{shown}: {what}{hint}\n{known}")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long
        return False


def read_recipe(path: Path) -> str:
    """The text of a recipe file; RecipeError where there is none to be had."""
    file = label(path)
    try:
        info = path.stat()
        if stat.S_ISDIR(info.st_mode):
            inside = path / "recipe.yaml"
            hint = f"; did you mean {label(inside)}?" if inside.is_file() else "; a recipe is a .yaml file"
            raise RecipeError(f"{file}: a folder{hint}")
        if not stat.S_ISREG(info.st_mode):
            raise RecipeError(f"{file}: not a regular file; a recipe is a .yaml file")
        if info.st_size > MAX_BYTES:
            size = f"{info.st_size / 1024:,.0f} KiB"
            raise RecipeError(f"{file}: {size}, too large for a recipe (at most {MAX_BYTES // 1024} KiB)")
        data = path.read_bytes()
    except OSError as error:
        raise RecipeError(f"{file}: cannot be read: {error.strerror or error}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise RecipeError(f"{file}:{line}: not UTF-8 text; save the file as UTF-8") from None


def label(path: Path) -> str:
    """How messages name a file: relative where it lies below the current folder, on one line in any case."""
    try:
        shown = str(path.relative_to(Path.cwd()))
    except ValueError:
        shown = str(path)
    return shown if shown.isprintable() else json.dumps(shown)


def title(path: Path) -> str:
    """The first comment line of a recipe, without its `#`; empty if the file does not open with one."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        first = file.readline().strip()
    return first.lstrip("#").strip() if first.startswith("#") else ""
