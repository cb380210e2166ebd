"""`animepggan recipes`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from animepggan import cli
from animepggan.recipe import find_recipe, load_recipe, schema


class Done(NamedTuple):
    code: int
    stdout: str
    stderr: str


Run = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`animepggan recipes ...` in an empty folder; it has to succeed unless another code is expected."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, code: int = 0) -> Done:
        done = Done(cli.main(["recipes", *arguments]), *capsys.readouterr())
        assert done.code == code, done
        return done

    return run


def run_json(run: Run, *arguments: str) -> Any:
    return json.loads(run(*arguments, "--json").stdout)


def test_list(run: Run) -> None:
    lines = run("list").stdout.splitlines()
    assert len(lines) == 10
    assert lines[0].split(maxsplit=1)[0] == "anime"
    assert "default base model" in lines[0]
    rows = run_json(run, "list")
    assert [row["name"] for row in rows] == [line.split()[0] for line in lines]
    assert rows[0] == {
        "name": "anime",
        "title": lines[0].split(maxsplit=1)[1],
        "path": str(find_recipe("anime").path),
    }


def test_show_prints_the_file_as_it_is(run: Run) -> None:
    text = find_recipe("paper").path.read_text()
    assert run("show", "paper").stdout == text
    assert run_json(run, "show", "paper")["text"] == text


def test_show_resolved(run: Run) -> None:
    text = run("show", "paper", "--resolved").stdout
    Path("r.yaml").write_text(text)
    assert load_recipe("r.yaml").recipe == load_recipe("paper").recipe
    assert "latent_dim: 512  # recipe; length of the latent" in text
    assert "seed: 0  # default; decides every random number of the run" in text
    data = run_json(run, "show", "paper", "--resolved")
    assert data["recipe"]["schedule"]["batch_size"] == {"256": 14, "512": 6, "1024": 3, "default": 16}
    assert data["origins"]["seed"] == "default"


def test_show_of_a_path_that_stands_for_a_name_says_so_on_stderr(run: Run) -> None:
    result = run("show", "recipes/yui.yaml")
    assert result.stdout == find_recipe("yui").path.read_text()
    assert result.stderr == ("recipes/yui.yaml is no file here: taking the recipe yui that comes with the program\n")
    assert run("show", "recipes/yui.yaml", "--quiet").stderr == ""
    assert run("show", "yui").stderr == ""


def test_copy_never_overwrites_unless_told(run: Run) -> None:
    assert run("copy", "yui").stdout == "yui.yaml\n"
    assert Path("yui.yaml").read_bytes() == find_recipe("yui").path.read_bytes()
    Path("yui.yaml").write_text("name: edited\n")
    refused = run("copy", "yui", code=2)
    assert refused.stderr == "error: yui.yaml exists; give another DEST, or --force to overwrite it\n"
    assert refused.stdout == ""
    assert Path("yui.yaml").read_text() == "name: edited\n"
    run("copy", "yui", "--force")
    assert Path("yui.yaml").read_bytes() == find_recipe("yui").path.read_bytes()
    assert [path.name for path in Path().iterdir()] == ["yui.yaml"]


def test_copy_to_a_file_and_to_a_folder(run: Run) -> None:
    assert run_json(run, "copy", "yui", "mine/her.yaml") == {"path": "mine/her.yaml"}
    assert run("copy", "anime", "mine").stdout == "mine/anime.yaml\n"
    assert load_recipe("mine/her.yaml").recipe == load_recipe("yui").recipe
    Path("dangling.yaml").symlink_to("nowhere.yaml")
    run("copy", "yui", "dangling.yaml", code=2)


def test_copy_where_nothing_can_be_written(run: Run) -> None:
    Path("file").write_text("")
    assert run("copy", "yui", "file/yui.yaml", code=6).stderr.startswith("error: file/yui.yaml cannot be written: ")


def test_validate(run: Run) -> None:
    Path("good.yaml").write_text("name: good\n")
    assert run("validate", "good.yaml", "anime").stdout == "good.yaml: ok\nanime: ok\n"


def test_validate_shows_every_error_of_every_file(run: Run) -> None:
    Path("good.yaml").write_text("name: good\n")
    Path("a.yaml").write_text("name: a\nsed: 3\nmirror: yes\n")
    Path("b.yaml").write_text("name: b\nname: b\n")
    result = run("validate", "a.yaml", "good.yaml", "b.yaml", "nope.yaml", code=2)
    assert result.stdout == "good.yaml: ok\n"
    lines = result.stderr.removeprefix("error: ").splitlines()
    assert lines[:3] == [
        "a.yaml:2: sed: unknown key; did you mean seed?",
        'a.yaml:3: mirror: needs true or false, not the text "yes"',
        "b.yaml:2: name: given twice, first on line 1",
    ]
    assert lines[3].startswith("nope.yaml: no such recipe file")
    result = run("validate", "a.yaml", "good.yaml", "--json", code=2)
    assert json.loads(result.stdout) == [
        {"recipe": "a.yaml", "ok": False, "errors": lines[:2]},
        {"recipe": "good.yaml", "ok": True, "errors": []},
    ]


def test_schema(run: Run) -> None:
    assert json.loads(run("schema").stdout) == run_json(run, "schema") == schema()
