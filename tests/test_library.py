"""The library as somebody uses it who has only read the README: quick to import, silent, typed, with errors of ours."""

from __future__ import annotations

import inspect
import json
import math
import pydoc
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import runs

import animepggan
from animepggan import cli
from animepggan.corpus.spec import source_of
from animepggan.errors import DataError, HubError, ModelError, RecipeError, ResourceError
from animepggan.transfer import open_base

FP16: Any = "fp16"  # which no type checker lets pass
HEAVY = {"torch", "numpy", "PIL", "click", "pydantic", "yaml", "huggingface_hub", "timm"}


@pytest.fixture(autouse=True)
def _nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    assert capfd.readouterr() == ("", "")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model from nothing: 16 steps of the tiny recipe."""
    folder = tmp_path_factory.mktemp("library")
    recipe = runs.write_recipe(folder)
    data = runs.pictures(folder / "faces")
    seen: list[int] = []
    finished = animepggan.pretrain(
        recipe, data=data, output=folder / "run", watch=lambda event: seen.append(event.progress.images_seen)
    )
    assert finished.checkpoint == finished.folder / "checkpoints" / "stage-0008"
    assert seen == list(range(4, runs.TOTAL + 1, 4))
    return finished.folder


@pytest.fixture(scope="module")
def model(run: Path) -> animepggan.Model:
    return animepggan.load(run, device="cpu")


def test_the_import_is_quick_and_knows_its_names() -> None:
    code = "import animepggan, sys; print(*dir(animepggan)); print(*sys.modules); animepggan.lod"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    names, modules = (set(line.split()) for line in done.stdout.splitlines())
    assert names >= {*animepggan.__all__, "__version__"}
    assert not modules & HEAVY
    assert "module 'animepggan' has no attribute 'lod'" in done.stderr


def test_a_warning_of_ours_is_not_printed() -> None:
    code = "import animepggan, logging; logging.getLogger('animepggan.hub').warning('out of reach')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize("name", animepggan.__all__)
def test_every_name_says_what_it_takes_gives_and_raises(name: str) -> None:
    thing = getattr(animepggan, name)
    methods = [member for key, member in vars(thing).items() if key[0] != "_"] if inspect.isclass(thing) else []
    for each in (thing, *methods):
        if callable(each) or isinstance(each, property):
            assert inspect.getdoc(each), each
    if inspect.isfunction(thing):
        assert "Error" in (inspect.getdoc(thing) or "")


def test_help_reads_well() -> None:
    text = pydoc.plain(pydoc.render_doc(animepggan.load))
    assert "load(model: 'str | Path | None' = None, *, device: 'str' = 'auto') -> 'Model'" in text
    assert "hub:owner/name" in text
    assert "hub:owner/name" in pydoc.plain(pydoc.render_doc(animepggan))


def test_a_model_tells_what_it_is(model: animepggan.Model, run: Path) -> None:
    assert (model.resolution, model.latent_dim, model.images_seen) == (8, 8, runs.TOTAL)
    assert model.path == run / "checkpoints" / "stage-0008"
    assert model.commit is None
    assert model.config["architecture"]["resolution"] == 8
    assert (model.spec, model.name) == (str(model.path), "tiny/stage-0008")
    assert repr(model) == f"<Model {model.path}: 8 px, 64 images seen>"


def test_a_seed_is_a_face(model: animepggan.Model) -> None:
    faces = model.sample(range(5))
    assert faces.shape == (5, 8, 8, 3)
    assert faces.dtype == np.uint8
    assert np.abs(faces[3].astype(int) - model.sample([3])[0]).max() <= 1
    assert faces.std() > 1
    assert np.array_equal(np.stack(list(model.draw(range(5)))), faces)
    assert model.sample(np.arange(2), 0.5, resolution=4, precision="bf16").shape == (2, 4, 4, 3)
    assert np.ptp(model.sample(range(5), truncation=0.0), axis=0).max() == 0
    assert model.sample([]).shape == (0, 8, 8, 3)


def test_a_walk_ends_where_it_began(model: animepggan.Model) -> None:
    frames = list(model.interpolate([5, 1, 9], frames=12))
    assert len(frames) == 12
    for index, face in enumerate(model.sample([5, 1, 9])):
        assert np.abs(frames[4 * index].astype(int) - face).max() <= 1
    assert np.array_equal(next(model.interpolate([5, 1], truncation=0.5)), model.sample([5], 0.5)[0])


def test_from_one_model_to_another_and_back(model: animepggan.Model, run: Path) -> None:
    early = animepggan.load(min(run.glob("checkpoints/images-*")), device="cpu")
    frames = list(early.interpolate([5], model, frames=4))
    assert np.array_equal(frames[0], early.sample([5])[0])
    assert np.abs(frames[2].astype(int) - model.sample([5])[0]).max() <= 1
    assert np.array_equal(frames[1], frames[3])
    assert np.array_equal(next(early.interpolate([5, 1], model, blend=(4, 4))), next(early.interpolate([5, 1], model)))


def test_a_saved_model_is_a_model_and_a_base(model: animepggan.Model, tmp_path: Path) -> None:
    folder = model.save(tmp_path / "mine" / "yui")
    again = animepggan.load(folder, device="cpu")
    assert np.array_equal(again.sample(range(3)), model.sample(range(3)))
    assert again.config == model.config
    assert open_base(str(folder)).resolution == 8
    lone = animepggan.load(folder / "generator_ema.safetensors", device="cpu").save(tmp_path / "lone")
    assert animepggan.load(lone, device="cpu").images_seen == model.images_seen
    assert not (lone / "discriminator.safetensors").exists()
    with pytest.raises(ModelError, match="is there already"):
        model.save(folder)
    (folder / "discriminator.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="damaged"):
        again.save(tmp_path / "another")


def test_a_model_is_saved_where_one_stands(
    model: animepggan.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    model.save(".")
    assert animepggan.load(".", device="cpu").images_seen == model.images_seen
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    with pytest.raises(ModelError, match="is there already"):
        model.save(".")


def test_a_model_is_trained_further(model: animepggan.Model, tmp_path: Path) -> None:
    recipe = runs.write_recipe(tmp_path, "name: her\nschedule: {stabilize_kimg: 0.008, batch_size: 4}\n")
    data = runs.pictures(tmp_path / "faces", 8, seed=1)
    run = animepggan.finetune(model.path, data, recipe=recipe, output=tmp_path / "her")
    assert run.images_seen == run.total_images == 8
    assert not np.array_equal(animepggan.load(run.folder).sample([0]), model.sample([0]))


def test_a_model_is_measured(model: animepggan.Model, tmp_path: Path) -> None:
    data = runs.pictures(tmp_path / "faces", 12)
    told: list[str] = []
    seen: set[str] = set()
    found = animepggan.evaluate(
        model, data, backbone="none", count=6, warn=told.append, bar=lambda what, *_: seen.add(what)
    )
    assert (found.measures.n, found.measures.resolution, found.measures.kid) == (6, 8, None)
    assert tuple(told) == found.measures.notes
    assert "draw" in seen
    assert "copied" in str(found)
    files = found.save(tmp_path / "out")
    assert [file.name for file in files] == ["measures.json", "sheet.html"]
    assert json.loads(files[0].read_text()) == json.loads(json.dumps(found.as_json()))
    of_files = animepggan.evaluate(data, str(data), backbone="none")
    assert of_files.measures.copied_share == 1
    assert of_files.save(tmp_path / "out") == files


def test_an_evaluation_is_named_after_its_run_and_finds_what_that_was_trained_on(run: Path, tmp_path: Path) -> None:
    her = runs.copied(run, tmp_path / "yui-2")
    found = animepggan.evaluate(her, runs.pictures(tmp_path / "mio", 12, seed=5), backbone="none", count=6)
    assert found.name == "yui-2-stage-0008-mio"
    assert found.measures.training == str(run.parent / "faces")  # by recipe.yaml: the checkpoint tells no place
    lone = runs.copied(her / "checkpoints" / "stage-0008", tmp_path / "published")
    told: list[str] = []
    found = animepggan.evaluate(lone, tmp_path / "mio", backbone="none", count=6, warn=told.append)
    assert found.name == "tiny-published-mio"
    assert any("--train SPEC" in each for each in told)


def test_what_is_wrong_is_an_error_of_ours(model: animepggan.Model, tmp_path: Path) -> None:
    for wrong, error, words in (
        (lambda: animepggan.load(tmp_path / "gone"), ModelError, "no such model"),
        (lambda: animepggan.load("hub:nobody"), HubError, "is not owner/name"),
        (lambda: animepggan.load(model.path, device="gpu"), RecipeError, "none of auto, cpu"),
        (lambda: model.sample([-1]), RecipeError, "seed -1"),
        (lambda: model.sample([1 << 32]), RecipeError, "seeds go from 0"),
        (lambda: model.sample([1], truncation=3), RecipeError, "truncation 3"),
        (lambda: model.sample([1], resolution=16), RecipeError, "resolution 16"),
        (lambda: model.interpolate([1]), RecipeError, "two faces"),
        (lambda: model.interpolate([1, 2, 3], frames=2), RecipeError, "fewer than the 3 faces"),
        (lambda: model.interpolate([1], model, frames=0), RecipeError, "at least 1"),
        (lambda: model.interpolate([1, 2], blend=(4, 8)), RecipeError, "two models"),
        (lambda: model.interpolate([1], model, blend=(16, 32)), RecipeError, "8 px"),
        (lambda: animepggan.evaluate(tmp_path, tmp_path, backbone="none"), DataError, "neither a model nor pictures"),
        (lambda: animepggan.evaluate(model, tmp_path, hold_out=1.5), RecipeError, "neither a share"),
        (lambda: animepggan.evaluate(model, tmp_path, count=0), RecipeError, "count 0"),
        (lambda: animepggan.evaluate(tmp_path, tmp_path, count=-3), RecipeError, "count -3"),
        (lambda: animepggan.evaluate(model, tmp_path, batch_size=0), RecipeError, "batch size 0"),
        (lambda: animepggan.evaluate(tmp_path, tmp_path, precision=FP16), RecipeError, "precision 'fp16'"),
        (lambda: model.sample([1], precision=FP16), RecipeError, "precision 'fp16' is neither fp32 nor bf16"),
        (lambda: animepggan.pretrain("demo", precision=FP16), RecipeError, "precision 'fp16'"),
        (lambda: animepggan.pretrain("demo", patience=-1), RecipeError, "patience -1"),
        (lambda: animepggan.pretrain("demo", allow=["seed", "objective.drfit"]), RecipeError, "mean objective.drift?"),
        (lambda: animepggan.crop("demo:yui", size=8), RecipeError, "size 8 is not a number from 16 to 2048"),
        (lambda: animepggan.crop("demo:yui", confidence=math.nan), RecipeError, "confidence nan"),
        (lambda: animepggan.crop("demo:yui", max_tilt=91), RecipeError, "max_tilt 91"),
        (lambda: animepggan.curate("demo:yui", "out", near_limit=-1), RecipeError, "near_limit -1"),
        (lambda: animepggan.pretrain("demo", resume=True, restart=True), RecipeError, "exclude each other"),
        (lambda: animepggan.finetune(resume=True, restart=True), RecipeError, "exclude each other"),
        (lambda: animepggan.frames(tmp_path, format=FP16), RecipeError, "format 'fp16' is neither png nor jpeg"),
        (lambda: animepggan.frames(tmp_path, quality=0), RecipeError, "quality 0"),
        (lambda: animepggan.frames(tmp_path, every=-1), RecipeError, "every -1"),
        (lambda: animepggan.frames(tmp_path, start=2, end=1), RecipeError, "end 1 is not after start 2"),
    ):
        with pytest.raises(error, match=words) as caught:
            wrong()
        assert isinstance(caught.value, animepggan.AnimepgganError)
        assert len(str(caught.value).splitlines()) <= 3


def test_no_folder_below_a_file(model: animepggan.Model, tmp_path: Path) -> None:
    recipe, data = runs.write_recipe(tmp_path), runs.pictures(tmp_path / "faces")
    file = tmp_path / "file"
    file.write_text("mine")
    for below in (file / "x", file / "x" / "y"):
        for make in (
            lambda output: animepggan.pretrain(recipe, data=data, output=output),
            lambda output: animepggan.check(data, output=output, backbone="none"),
            lambda output: animepggan.curate(data, output),
            lambda output: model.save(output),
        ):
            with pytest.raises(RecipeError, match="file is a file"):
                make(below)
    assert file.read_text() == "mine"


def test_pictures_may_be_named_by_a_path_or_a_source(model: animepggan.Model, tmp_path: Path) -> None:
    data = runs.pictures(tmp_path / "faces", count=24)
    for named in (str(data), data, source_of(data)):
        animepggan.check(named, backbone="none")
        found = animepggan.evaluate(model, named, train=named, count=24, backbone="none")
        assert found.measures.swd is not None
        with pytest.raises(DataError, match=r"gone\.jsonl"):
            animepggan.crop(named, tmp_path / "cut", landmarks=tmp_path / "gone.jsonl")
        with pytest.raises(DataError, match="no such folder"):
            animepggan.curate(named, tmp_path / "out", keep=tmp_path / "gone")


def test_home_is_spelled_out(model: animepggan.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    recipe, data = runs.write_recipe(tmp_path), runs.pictures(tmp_path / "faces")
    assert animepggan.pretrain(recipe, data=data, output="~/run").folder == tmp_path / "run"
    assert model.save("~/saved") == tmp_path / "saved"
    (tmp_path / "film.mp4").write_text("no film")
    assert [bad.name for bad in animepggan.frames("~", "~/stills").unreadable] == [str(tmp_path / "film.mp4")]
    with pytest.raises(DataError, match=str(tmp_path / "gone.jsonl")):
        animepggan.crop("~/faces", "~/cut", landmarks="~/gone.jsonl")
    assert not (tmp_path / "~").exists()


def test_a_full_disk_and_no_memory_are_errors_of_ours(
    model: animepggan.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = runs.pictures(tmp_path / "faces")

    def no_memory(*_: object, **__: object) -> None:
        raise MemoryError("1 TB")

    for use in (
        lambda: animepggan.check(data, backbone="none", bar=no_memory),
        lambda: animepggan.evaluate(model, data, count=8, backbone="none", bar=no_memory),
        lambda: animepggan.pretrain(runs.write_recipe(tmp_path), data=data, output=tmp_path / "run", watch=no_memory),
    ):
        with pytest.raises(ResourceError, match="not enough memory: 1 TB"):
            use()
    walk = model.interpolate([1, 2], frames=4)
    monkeypatch.setattr("torch.nn.functional.conv2d", no_memory)
    for draw in (lambda: model.sample([1]), lambda: next(walk)):
        with pytest.raises(ResourceError, match="not enough memory"):
            draw()


@pytest.mark.parametrize(
    ("arguments", "function"),
    [
        (["sample"], animepggan.Model.draw),
        (["interpolate"], animepggan.Model.interpolate),
        (["evaluate", "yui/", "--data", "demo:yui"], animepggan.evaluate),
        (["data", "check", "yui/"], animepggan.check),
        (["data", "curate", "yui/"], animepggan.curate),
        (["data", "crop", "yui/"], animepggan.crop),
        (["data", "frames", __file__], animepggan.frames),
        (["data", "review", "yui/"], animepggan.review),
        (["pretrain", "demo"], animepggan.pretrain),
        (["finetune"], animepggan.finetune),
    ],
)
def test_a_verb_has_the_words_and_the_defaults_of_the_library(
    arguments: list[str], function: Callable[..., object]
) -> None:
    context = click.Context(cli.verbs)
    while isinstance(context.command, click.Group):
        verb, *arguments = arguments
        command = context.command.get_command(context, verb)
        assert command is not None
        context = command.make_context(verb, arguments)
    options = dict(context.params)
    for each in context.command.params:  # `--set` gives `settings`; either is the word
        options |= {word.lstrip("-").replace("-", "_"): context.params.get(str(each.name)) for word in each.opts}
    takes = {name: each.default for name, each in inspect.signature(function).parameters.items()}
    takes = {name: default for name, default in takes.items() if default is not inspect.Parameter.empty}
    assert takes.keys() - options.keys() <= {"to", "bar", "say", "show", "warn", "watch"}
    for name in takes.keys() & options.keys():
        assert options[name] in (takes[name], None), name  # None: the verb leaves it to the library


@pytest.mark.slow
def test_a_type_checker_knows_it(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(
        "import animepggan\n"
        "model = animepggan.load('runs/yui')\n"
        "reveal_type(model.sample(range(3)))\n"
        "reveal_type(animepggan.evaluate(model, data='yui/').measures.kid)\n"
        "animepggan.lod\n"
        "model.sample('1')\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(script)]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    assert "numpy.ndarray" in lines[0]
    assert '"float | None"' in lines[1]
    assert 'Module has no attribute "lod"' in lines[2]
    assert "incompatible type" in lines[3]
    assert sum(": error:" in line for line in lines) == 2
