"""Finding recipes in a checkout, by name, by path, and by a path that stands for a name."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import animepggan
from animepggan.errors import RecipeError
from animepggan.recipe import RecipeFile, find_recipe, load_recipe, read_recipe, shipped, title

ROOT = Path(animepggan.__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_shipped_are_the_files_of_the_checkout() -> None:
    assert shipped() == sorted((ROOT / "recipes").glob("*.yaml"), key=lambda path: path.stem)
    assert {path.stem for path in shipped()} >= {"anime", "paper", "yui"}


def test_find_by_name() -> None:
    assert find_recipe("anime") == RecipeFile(ROOT / "recipes" / "anime.yaml", fell_back=False)


def test_find_by_path_here_wins_over_the_shipped_one() -> None:
    Path("recipes").mkdir()
    Path("recipes/anime.yaml").write_text("name: mine\n")
    found = find_recipe("recipes/anime.yaml")
    assert found == RecipeFile(Path("recipes/anime.yaml"), fell_back=False)
    assert load_recipe("recipes/anime.yaml").recipe.name == "mine"
    assert load_recipe("anime").recipe.name == "anime"


@pytest.mark.parametrize("spec", ["recipes/anime.yaml", "./recipes/anime.yaml", Path("recipes/anime.yaml")])
def test_a_path_that_is_no_file_here_falls_back(spec: str | Path) -> None:
    assert find_recipe(spec) == RecipeFile(ROOT / "recipes" / "anime.yaml", fell_back=True)
    assert load_recipe(spec).recipe.name == "anime"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("anme", "anme: no recipe of this name; did you mean anime"),
        ("yui-fwe", "yui-fwe: no recipe of this name; did you mean yui-few"),
        ("Paper", "Paper: no recipe of this name; did you mean paper"),
        ("zzzzzz", "zzzzzz: no recipe of this name\n"),
        ("recipes/anme.yaml", "recipes/anme.yaml: no such recipe file; did you mean anime"),
        ("mine/anime.yaml", "mine/anime.yaml: no such recipe file; did you mean anime"),
        ("anime.yaml", "anime.yaml: no such recipe file; did you mean anime"),
        ("/recipes/anime.yaml", "/recipes/anime.yaml: no such recipe file"),
        ("", "'': no such recipe file"),
        ("a\nb", r"'a\nb': no recipe of this name"),
        ("a\0b.yaml", r"'a\x00b.yaml': no such recipe file"),
        ("x" * 5000, "x"),
    ],
)
def test_unknown(spec: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        find_recipe(spec)
    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith("`animepggan recipes list` shows the recipes that come with the program")
    assert len(str(caught.value).splitlines()) == 2


def test_a_name_whose_file_is_here_is_pointed_out() -> None:
    Path("mine.yaml").write_text("name: mine\n")
    with pytest.raises(RecipeError, match=r"did you mean mine\.yaml"):
        find_recipe("mine")


def installed(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run `code` where `folder` holds the package as `pip install --target` lays it there, and nothing else is."""
    for name in ("__init__.py", "errors.py", "recipe"):
        source, target = ROOT / "animepggan" / name, folder / "animepggan" / name
        target.parent.mkdir(exist_ok=True)
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, target)
    program = [sys.executable, "-S", "-c", f"from animepggan.recipe import find_recipe, read_recipe, shipped\n{code}"]
    return subprocess.run(program, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(folder)})


def test_own_recipes_are_found_where_the_shipped_ones_are_lost(tmp_path: Path) -> None:
    Path("mine.yaml").write_text("name: mine\n")
    done = installed(tmp_path, "print(read_recipe(find_recipe('mine.yaml').path))\nshipped()")
    assert done.stdout == "name: mine\n\n"
    assert "RecipeError: the recipes that come with animepggan are missing from this installation" in done.stderr


def test_a_folder_of_recipes_beside_an_installed_package_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/pasta.yaml").write_text("serves: 4\n")
    shared = tmp_path / "share/animepggan/recipes/anime.yaml"
    shared.parent.mkdir(parents=True)
    shared.write_text("name: anime\n")
    assert installed(tmp_path, "print(*shipped())").stdout == f"{shared.resolve()}\n"


def test_title(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("##  A title \n# more\nname: a\n")
    (tmp_path / "b.yaml").write_text("name: b\n# no title\n")
    assert title(tmp_path / "a.yaml") == "A title"
    (tmp_path / "c.yaml").write_bytes(b"\xef\xbb\xbf# With a byte order mark\r\nname: c\r\n")
    assert title(tmp_path / "b.yaml") == ""
    assert title(tmp_path / "c.yaml") == "With a byte order mark"
    assert read_recipe(tmp_path / "c.yaml").startswith("# With")


def test_finding_imports_neither_pydantic_nor_yaml_nor_torch() -> None:
    code = "import sys; from animepggan.recipe import shipped, title; [title(path) for path in shipped()]; "
    code += "print([name for name in ('pydantic', 'yaml', 'torch') if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ast.literal_eval(run.stdout) == []
