"""`pretrain` and `finetune` as functions: the same words and defaults as the command line, and nothing is printed."""

from __future__ import annotations

import json
import pwd
from pathlib import Path
from typing import Any

import pytest
import runs
from runs import FEW, same, trained

from animepggan import cli, load
from animepggan.corpus.demo import COUNTS
from animepggan.errors import AnimepgganError, DataError, Interrupted, ModelError, RecipeError
from animepggan.recipe import load_recipe
from animepggan.run import Event, finetune, pretrain
from animepggan.run.library import Callbacks, finetuning_recipe
from animepggan.run.naming import character_of


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with a recipe and pictures in it."""
    monkeypatch.chdir(tmp_path)
    runs.write_recipe(tmp_path)
    runs.write_recipe(tmp_path, FEW, "few")
    runs.pictures(tmp_path / "faces")
    return tmp_path


def test_a_run_by_one_call_is_that_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    events: list[Event] = []
    run = pretrain(
        "tiny.yaml", data=Path("faces"), settings={"mirror": True}, seed=3, watch=events.append, device="cpu"
    )
    assert capsys.readouterr() == ("", "")
    assert run.folder == Path("runs/tiny-faces")
    assert run.checkpoint == run.folder / "checkpoints" / "stage-0008"
    assert (run.images_seen, run.total_images, run.best, run.notes) == (64, 64, None, ())
    assert [event.progress.images_seen for event in events] == list(range(4, 68, 4))
    command = ["pretrain", "tiny.yaml", "--data", "faces", "--set", "mirror=true", "--seed", "3", "--device", "cpu"]
    assert cli.main([*command, "-o", "other", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images_seen"] == 64
    same(run.checkpoint, Path("other/checkpoints/stage-0008"))
    recipe = load_recipe(run.folder / "recipe.yaml").recipe
    assert recipe == load_recipe("other/recipe.yaml").recipe
    assert (recipe.seed, recipe.mirror, recipe.data) == (3, True, "faces")
    again = pretrain("tiny.yaml", data="faces", settings=["mirror=true"], seed=3, watch=events.append)
    assert (again, len(events)) == (run, 16)  # complete: nothing more happens


def test_settings_of_any_kind_are_those_of_the_command_line() -> None:
    settings = {"schedule.batch_size": {4: 4, "default": 2}, "measures.backbone": "hub:a/b", "previews": {"columns": 2}}
    run = pretrain("tiny.yaml", data="faces", settings=settings, output="out")
    recipe = load_recipe(run.folder / "recipe.yaml").recipe
    assert recipe.schedule.batch_size == {4: 4, "default": 2}
    assert recipe.measures.backbone == "hub:a/b"
    with pytest.raises(RecipeError, match="batch_size"):
        pretrain("tiny.yaml", data="faces", settings={"schedule.batchsize": 4})
    with pytest.raises(RecipeError, match="batch_size"):
        pretrain("tiny.yaml", data="faces", settings={"schedule.batch_size": "four"})


def test_a_base_is_fine_tuned_by_one_call(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    run = finetune(trained(), "faces", recipe="few.yaml", say=said.append)
    assert capsys.readouterr() == ("", "")
    assert run.folder == Path("runs", here.name)
    assert run.images_seen == run.total_images == 48
    assert said[0] == f"base: {trained() / 'checkpoints' / 'stage-0008'}"
    assert said[-1].startswith(f"starting {run.folder} at 0 of 48 images: recipe few, preset for tens of pictures")
    values = {"schedule.stabilize_kimg": 0.008, "previews": {"columns": 2, "rows": 2}}
    chosen = finetune(trained(), "faces", settings=values)  # the preset chooses the recipe
    assert chosen.folder == Path("runs", f"{here.name}-2")


def test_without_a_base_the_one_in_the_package_is_fine_tuned() -> None:
    said: list[str] = []
    warned: list[str] = []
    short = {"schedule.stabilize_kimg": 0.008, "schedule.batch_size": 4, "previews": {"columns": 1, "rows": 1}}
    run = finetune(data="faces", settings=short, output="hers", say=said.append, warn=warned.append)
    assert said[0] == "base: the one that comes with animepggan, 64 px (another: --base MODEL)"
    assert warned == []
    assert load(run.folder).resolution == 64
    assert load(run.folder).provenance["base"]["name"] == "base"
    recipe = Path("hers", "recipe.yaml").read_text(encoding="utf-8")
    assert load_recipe("hers/recipe.yaml").recipe.base == "base", recipe
    again = finetune(data="faces", settings=short, output="hers", say=said.append)
    assert said[-1] == "hers: this run is complete"
    assert again.checkpoint == run.checkpoint


@pytest.mark.parametrize(
    ("side", "left", "wider"), [(128, 8, "anime-128"), (256, 4, "anime"), (512, 2, "anime --set resolution=512")]
)
def test_a_base_too_narrow_to_grow_is_told(side: int, left: int, wider: str) -> None:
    warned: list[str] = []
    tell = Callbacks(warn=warned.append)
    finetuning_recipe(None, "faces", None, {"extend": side}, None, tell)
    assert warned == [
        f"extend: at {side} px base has {left} channels left, which draw little detail\n"
        f"a wider base is wanted: `animepggan pretrain {wider} --data FACES` makes one, on a GPU"
    ]


def test_what_goes_wrong_is_an_error_of_ours() -> None:
    with pytest.raises(ModelError, match="no such model"):
        finetune("nowhere", "faces")
    with pytest.raises(DataError, match="no data"):
        pretrain("tiny.yaml")
    with pytest.raises(RecipeError, match="nowhere"):
        pretrain("nowhere.yaml", data="faces")
    with pytest.raises(AnimepgganError, match="cuda:99"):
        pretrain("tiny.yaml", data="nowhere", device="cuda:99")
    assert not Path("runs").exists()
    with pytest.raises(ModelError, match="no run here"):
        pretrain("tiny.yaml", data="faces", resume=True)


def test_a_watcher_may_stop_a_run_and_another_call_goes_on() -> None:
    class EnoughError(Exception):
        pass

    def stop(event: Event) -> None:
        if event.progress.images_seen == 28:
            raise EnoughError

    with pytest.raises(EnoughError):
        pretrain("tiny.yaml", data="faces", watch=stop)
    said: list[str] = []
    run = pretrain("tiny.yaml", data="faces", say=said.append, device="cpu")
    assert "continuing runs/tiny-faces at 24 of 64 images: recipe tiny, every value in recipe.yaml" in said
    whole = pretrain("tiny.yaml", data="faces", output="whole")
    same(run.checkpoint, whole.checkpoint)


def test_a_watcher_that_fails_leaves_a_closed_run() -> None:
    def stop(event: Event) -> None:
        raise ValueError

    with pytest.raises(ValueError) as failure:  # noqa: PT011 (holds the traceback, and so what that refers to)
        pretrain("tiny.yaml", data="faces", watch=stop)
    assert runs.status(Path("runs/tiny-faces"))["state"] == "interrupted"
    del failure


def test_that_a_demo_corpus_is_drawn_is_said_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ANIMEPGGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(COUNTS, "yui", 3)
    for times in (1, 0):
        said: list[str] = []
        with pytest.raises(DataError):  # three are too few for a batch
            pretrain("tiny.yaml", data="demo:yui", settings={"schedule.batch_size": 8}, say=said.append)
        assert said.count("drawing demo:yui into the cache") == times


def test_a_signal_saves_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    import signal

    def stop(event: Event) -> None:
        if event.progress.images_seen == 20:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match="images-000000020"):
        pretrain("tiny.yaml", data="faces", watch=stop)
    assert runs.status(Path("runs/tiny-faces"))["exit"] == 143
    assert pretrain("tiny.yaml", data="faces").images_seen == 64


def test_what_is_best_is_returned() -> None:
    pytest.importorskip("torch_fidelity")
    runs.pictures(Path("many"), 40)
    values = {"resolution": 16, "measures.every_kimg": 0.03, "measures.count": 12, "measures.name": "swd"}
    run = pretrain("tiny.yaml", data="many", settings=values | {"measures.hold_out": 0.25})
    assert run.best is not None
    told = json.loads((run.folder / "checkpoints" / "best.json").read_text())
    assert run.best == run.folder / "checkpoints" / told["checkpoint"]


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        *(("yui", "yui"), ("yui/pictures", "yui"), ("yui/faces/pictures/", "yui"), ("yui/corpus.jsonl", "yui")),
        *(("sets/yui.zip", "yui"), ("yui-faces.tar", "yui-faces"), ("yui/screenshots-2/faces_128px", "yui")),
        *(("結衣/crops", "結衣"), ("my girl/x y", "x-y"), ("yui/../mio/Faces", "mio"), ("/data/yui/images", "yui")),
        *(("demo:yui", "yui"), ("hub:datasets/alice/yui", "yui"), ("hub:datasets/alice/anime@v1:mio/pictures", "mio")),
        *(("hub:datasets/alice/yui:faces", "yui"), ("/faces", "faces")),
    ],
)
def test_a_run_is_named_after_her(spec: str, name: str) -> None:
    assert character_of(spec) == name


def test_pictures_straight_below_home_are_not_named_after_its_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/users/alice")
    assert character_of("/users/alice/faces") != "alice"


def test_a_run_is_named_where_nobody_has_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", lambda _: {}["no such user"])
    assert character_of("/data/yui/faces") == "yui"


def test_a_default_name_never_meets_another_run(here: Path) -> None:
    runs.pictures(here / "yui" / "faces")
    short = {"schedule.stabilize_kimg": 0.012}

    def tuned(data: str = "yui/faces", **options: Any) -> str:
        values = short | options.pop("settings", {})
        return str(finetune(trained(), data, recipe="few.yaml", settings=values, **options).folder)

    assert tuned() == "runs/yui"
    assert tuned() == "runs/yui"  # the same goes on
    assert tuned(settings={"checkpoints.keep": 9}) == "runs/yui"  # no tensor depends on it
    assert tuned(seed=1) == "runs/yui-2"
    assert tuned(seed=1, resume=True) == "runs/yui-2"
    runs.pictures(here / "again" / "yui", seed=3)
    assert tuned("again/yui") == "runs/yui-3"
    (here / "runs" / "yui-4").mkdir()
    (here / "runs" / "yui-4" / "notes.txt").write_text("mine")
    assert tuned(seed=2) == "runs/yui-5"
    assert tuned(seed=2, allow=["seed"]) == "runs/yui"
    with pytest.raises(ModelError, match="another recipe"):
        tuned(seed=7, resume=True)
    with pytest.raises(ModelError, match="seed: "):  # a name that is given is meant
        tuned(seed=9, output="runs/yui-2")
