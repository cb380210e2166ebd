"""Finding recipes in a checkout, by name, by path, and by a path that stands for a name."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import animepggan
from animepggan.errors import RecipeError
from animepggan.recipe import find, load, read, shelf, shipped, title

ROOT = Path(animepggan.__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_shipped_are_the_files_of_the_checkout() -> None:
    assert shipped() == sorted((ROOT / "recipes").glob("*.yaml"), key=lambda path: path.stem)
    assert {path.stem for path in shipped()} >= {"anime", "paper", "yui"}


def test_find_by_name() -> None:
    assert find("anime") == shelf.Found(ROOT / "recipes" / "anime.yaml", fell_back=False)


def test_find_by_path_here_wins_over_the_shipped_one() -> None:
    Path("recipes").mkdir()
    Path("recipes/anime.yaml").write_text("name: mine\n")
    found = find("recipes/anime.yaml")
    assert found == shelf.Found(Path("recipes/anime.yaml"), fell_back=False)
    assert load("recipes/anime.yaml").recipe.name == "mine"
    assert load("anime").recipe.name == "anime"


@pytest.mark.parametrize("spec", ["recipes/anime.yaml", "./recipes/anime.yaml", Path("recipes/anime.yaml")])
def test_a_path_that_is_no_file_here_falls_back(spec: str | Path) -> None:
    assert find(spec) == shelf.Found(ROOT / "recipes" / "anime.yaml", fell_back=True)
    assert load(spec).recipe.name == "anime"


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
        find(spec)
    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith("`animepggan recipes list` shows the recipes that come with the program")
    assert len(str(caught.value).splitlines()) == 2


def test_a_name_whose_file_is_here_is_pointed_out() -> None:
    Path("mine.yaml").write_text("name: mine\n")
    with pytest.raises(RecipeError, match=r"did you mean mine\.yaml"):
        find("mine")


def test_own_recipes_load_where_the_shipped_ones_are_lost(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Path("mine.yaml").write_text("name: mine\n")
    monkeypatch.setattr(shelf, "_package_parent", lambda: tmp_path)
    monkeypatch.setattr(shelf, "_in_distribution", lambda: [])
    assert load("mine.yaml").recipe.name == "mine"
    with pytest.raises(RecipeError, match="missing from this installation"):
        shipped()


def test_a_folder_of_recipes_beside_an_installed_package_is_not_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/pasta.yaml").write_text("serves: 4\n")
    (tmp_path / shelf.SHARE).mkdir(parents=True)
    (tmp_path / shelf.SHARE / "anime.yaml").write_text("name: anime\n")
    monkeypatch.setattr(shelf, "_package_parent", lambda: tmp_path)
    monkeypatch.setattr(shelf, "_in_distribution", lambda: [])
    assert shipped() == [tmp_path / shelf.SHARE / "anime.yaml"]


def test_title(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("##  A title \n# more\nname: a\n")
    (tmp_path / "b.yaml").write_text("name: b\n# no title\n")
    assert title(tmp_path / "a.yaml") == "A title"
    (tmp_path / "c.yaml").write_bytes(b"\xef\xbb\xbf# With a byte order mark\r\nname: c\r\n")
    assert title(tmp_path / "b.yaml") == ""
    assert title(tmp_path / "c.yaml") == "With a byte order mark"
    assert read(tmp_path / "c.yaml").startswith("# With")


def test_finding_imports_neither_pydantic_nor_yaml_nor_torch() -> None:
    code = "import sys; from animepggan.recipe import shipped, title; [title(path) for path in shipped()]; "
    code += "print([name for name in ('pydantic', 'yaml', 'torch') if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ast.literal_eval(run.stdout) == []
