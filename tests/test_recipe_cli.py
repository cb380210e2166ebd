"""`animepggan recipes`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from animepggan.cli.recipes import command
from animepggan.errors import RecipeError, ResourceError
from animepggan.recipe import find, load, schema


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(command, arguments)
    assert result.exception is None, result.exception
    return result


def fails(*arguments: str) -> tuple[Result, BaseException]:
    """`main` turns the exception into a message and exit code 2; that is tested with `main`."""
    result = CliRunner().invoke(command, arguments)
    assert result.exception is not None
    return result, result.exception


def run_json(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json").stdout)


def test_list() -> None:
    lines = run("list").stdout.splitlines()
    assert len(lines) == 9
    assert lines[0].split(maxsplit=1)[0] == "anime"
    assert "default base model" in lines[0]
    rows = run_json("list")
    assert [row["name"] for row in rows] == [line.split()[0] for line in lines]
    assert rows[0] == {
        "name": "anime",
        "title": lines[0].split(maxsplit=1)[1],
        "path": str(find("anime").path),
    }


def test_show_prints_the_file_as_it_is() -> None:
    text = find("paper").path.read_text()
    assert run("show", "paper").stdout == text
    assert run_json("show", "paper")["text"] == text


def test_show_resolved() -> None:
    text = run("show", "paper", "--resolved").stdout
    Path("r.yaml").write_text(text)
    assert load("r.yaml").recipe == load("paper").recipe
    assert "latent_dim: 512  # recipe; length of the latent" in text
    assert "seed: 0  # default; decides every random number of the run" in text
    data = run_json("show", "paper", "--resolved")
    assert data["recipe"]["schedule"]["batch_size"] == {"256": 14, "512": 6, "1024": 3, "default": 16}
    assert data["origins"]["seed"] == "default"


def test_show_of_a_path_that_stands_for_a_name_says_so_on_stderr() -> None:
    result = run("show", "recipes/yui.yaml")
    assert result.stdout == find("yui").path.read_text()
    assert result.stderr == ("recipes/yui.yaml is no file here: taking the recipe yui that comes with the program\n")
    assert run("show", "recipes/yui.yaml", "--quiet").stderr == ""
    assert run("show", "yui").stderr == ""


def test_copy_never_overwrites_unless_told() -> None:
    assert run("copy", "yui").stdout == "yui.yaml\n"
    assert Path("yui.yaml").read_bytes() == find("yui").path.read_bytes()
    Path("yui.yaml").write_text("name: edited\n")
    _, error = fails("copy", "yui")
    assert isinstance(error, RecipeError)
    assert "yui.yaml exists" in str(error)
    assert Path("yui.yaml").read_text() == "name: edited\n"
    run("copy", "yui", "--force")
    assert Path("yui.yaml").read_bytes() == find("yui").path.read_bytes()
    assert [path.name for path in Path().iterdir()] == ["yui.yaml"]


def test_copy_to_a_file_and_to_a_folder() -> None:
    assert run_json("copy", "yui", "mine/her.yaml") == {"path": "mine/her.yaml"}
    assert run("copy", "anime", "mine").stdout == "mine/anime.yaml\n"
    assert load("mine/her.yaml").recipe == load("yui").recipe
    Path("dangling.yaml").symlink_to("nowhere.yaml")
    assert isinstance(fails("copy", "yui", "dangling.yaml")[1], RecipeError)


def test_copy_where_nothing_can_be_written() -> None:
    Path("file").write_text("")
    _, error = fails("copy", "yui", "file/yui.yaml")
    assert isinstance(error, ResourceError)
    assert str(error).startswith("file/yui.yaml cannot be written: ")


def test_validate() -> None:
    Path("good.yaml").write_text("name: good\n")
    assert run("validate", "good.yaml", "anime").stdout == "good.yaml: ok\nanime: ok\n"


def test_validate_shows_every_error_of_every_file() -> None:
    Path("good.yaml").write_text("name: good\n")
    Path("a.yaml").write_text("name: a\nsed: 3\nmirror: yes\n")
    Path("b.yaml").write_text("name: b\nname: b\n")
    result, error = fails("validate", "a.yaml", "good.yaml", "b.yaml", "nope.yaml")
    assert result.stdout == "good.yaml: ok\n"
    assert isinstance(error, RecipeError)
    assert error.exit_code == 2
    lines = str(error).splitlines()
    assert lines[:3] == [
        "a.yaml:2: sed: unknown key; did you mean seed?",
        'a.yaml:3: mirror: needs true or false, not the text "yes"',
        "b.yaml:2: name: given twice, first on line 1",
    ]
    assert lines[3].startswith("nope.yaml: no such recipe file")
    result, _ = fails("validate", "a.yaml", "good.yaml", "--json")
    assert json.loads(result.stdout) == [
        {"recipe": "a.yaml", "ok": False, "errors": lines[:2]},
        {"recipe": "good.yaml", "ok": True, "errors": []},
    ]


def test_schema() -> None:
    assert json.loads(run("schema").stdout) == run_json("schema") == schema()
