"""The library as somebody uses it who has only read the README: quick to import, silent, typed, with errors of ours."""

from __future__ import annotations

import inspect
import json
import pydoc
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
import pytest
import runs

import animepggan
from animepggan import cli
from animepggan.errors import DataError, HubError, ModelError, RecipeError
from animepggan.transfer import open_base

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
    ):
        with pytest.raises(error, match=words) as caught:
            wrong()
        assert isinstance(caught.value, animepggan.AnimepgganError)
        assert len(str(caught.value).splitlines()) <= 3


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
    assert takes.keys() - options.keys() <= {"to", "bar", "say", "warn", "watch"}
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
