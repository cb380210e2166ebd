"""The verbs `pretrain` and `finetune` from end to end: what they print, what they leave, how they end."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import runs
import torch
from PIL import Image
from runs import FEW, RECIPE, pictures, position, same, status, write_recipe
from safetensors.torch import load_file
from test_checkpoint import rewrite, sign, truncate

from animepggan import cli, transfer
from animepggan.checkpoint import checkpoints_of, verify
from animepggan.recipe import load_recipe

Run = Callable[..., tuple[int, str, str]]
SHORT = ("--set", "schedule.stabilize_kimg=0.008", "--set", "schedule.fade_kimg=0.008")
"""Six steps."""
ENDLESS = RECIPE.replace("{4: 0.016, default: 0.024}", "1000")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with a recipe and pictures in it."""
    monkeypatch.chdir(tmp_path)
    write_recipe(tmp_path)
    write_recipe(tmp_path, FEW, "few")
    write_recipe(tmp_path, ENDLESS, "endless")
    pictures(tmp_path / "faces")
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line in this process: exit code, stdout, stderr."""

    def called(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = cli.main(list(arguments))
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return called


def pretrain(run: Run, *more: str) -> tuple[int, str, str]:
    return run("pretrain", "tiny.yaml", "--data", "faces", *more)


def message(err: str) -> str:
    """The error that a failed command ends with: one to three lines."""
    start = err.rindex("error: ")
    assert 1 <= len(err[start:].rstrip("\n").splitlines()) <= 3
    return err[start:]


# From end to end


def test_pretrain_then_finetune_then_both_again(run: Run) -> None:
    code, out, err = pretrain(run)
    assert code == 0
    base = Path("runs/tiny-faces")
    assert out.splitlines() == [str(base), str(base / "checkpoints" / "stage-0008")]
    assert "corpus: 24 pictures, 24 of them different, from faces" in err
    assert "starting runs/tiny-faces at 0 of 64 images" in err
    assert "saved runs/tiny-faces/checkpoints/stage-0004" in err
    assert "4 px stabilize" in err
    assert load_recipe(base / "recipe.yaml").origins  # and it is a recipe

    code, out, err = pretrain(run, "--json")
    assert code == 0
    assert json.loads(out) == {
        "run": "runs/tiny-faces",
        "checkpoint": "runs/tiny-faces/checkpoints/stage-0008",
        "images_seen": 64,
        "total_images": 64,
        "best": None,
    }
    assert "runs/tiny-faces: this run is complete" in err

    pictures(Path("yui"), seed=9)
    code, out, err = run("finetune", "--recipe", "few.yaml", "--base", "runs/tiny-faces", "--data", "yui", "--json")
    assert code == 0
    assert json.loads(out)["run"] == "runs/yui"
    said = [line for line in err.splitlines() if "decoding" not in line]
    assert said[:3] == [  # what, from where, how long; the rest is in recipe.yaml
        "base: runs/tiny-faces/checkpoints/stage-0008",
        "corpus: 24 pictures, 24 of them different, from yui",
        "starting runs/yui at 0 of 48 images: recipe few, preset for tens of pictures, every value in recipe.yaml",
    ]
    assert said[-5:] == [
        "newest preview: runs/yui/previews/images-000000048.png",
        "next:",
        "    animepggan sample runs/yui --grid",
        "    animepggan interpolate runs/yui",
        "    animepggan evaluate runs/yui --data yui",
    ]
    values = [line.strip() for line in Path("runs/yui/recipe.yaml").read_text().splitlines()]
    for value in ("resolution: 8", "fmap_base: 32", "group_size: 2", "beta2: 0.99"):
        assert f"{value}  # base" in values
    assert "batch_size: 4  # preset for tens of pictures" in values  # the base's, below 8
    assert "returns: 2  # preset for tens of pictures" in values
    told = json.loads(Path("runs/yui/checkpoints/stage-0008/config.json").read_text())["provenance"]["base"]
    assert told.pop("sha256")
    assert told == {"spec": "tiny-faces/stage-0008", "commit": None, "name": "tiny", "images_seen": 64}
    assert run("finetune", "--recipe", "few.yaml", "--base", "runs/tiny-faces", "--data", "yui", "--resume")[0] == 0


def test_quiet_says_nothing_but_the_result(run: Run) -> None:
    code, out, err = pretrain(run, *SHORT, "--quiet", "-o", "there")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "there"


def test_options_are_recipe_values_and_stand_in_the_runs_recipe(run: Run) -> None:
    assert pretrain(run, *SHORT, "--seed", "7", "--set", "mirror=true", "--threads", "1", "--device", "cpu")[0] == 0
    lines = Path("runs/tiny-faces/recipe.yaml").read_text().splitlines()
    for line in ("seed: 7", "mirror: true", "data: faces"):
        assert f"{line}  # command line" in lines


@pytest.mark.parametrize("has_bfloat16", [True, False])
def test_in_bfloat16_it_trains_too_and_warns_where_that_is_slow(
    run: Run, bfloat16: Callable[[bool], None], has_bfloat16: bool
) -> None:
    bfloat16(has_bfloat16)
    code, _, err = pretrain(run, *SHORT, "--precision", "bf16", "-o", "there")
    assert code == 0
    assert status(Path("there"))["state"] == "finished"
    assert ("has no bfloat16" in err) == (not has_bfloat16)
    assert "bfloat16" not in pretrain(run, *SHORT, "-o", "elsewhere")[2]


# Usage


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--resume", "--restart"], "exclude each other"),
        (["--precision", "fp8"], "fp8"),
        (["--seed", "-1"], "-1"),
        (["--device", "cuda:99"], "cuda:99"),
        (["--set", "schedule.batchsize=4"], "batch_size"),
        (["--set", "network.group_size=3"], "no multiple of network.group_size"),
        (["--set", "resolution=12"], "power of two"),
    ],
)
def test_wrong_options_exit_2(run: Run, arguments: list[str], told: str) -> None:
    code, out, err = pretrain(run, *arguments)
    assert (code, out) == (2, "")
    assert told in message(err)
    assert not Path("runs").exists()


def test_a_recipe_with_a_base_is_for_finetune(run: Run) -> None:
    write_recipe(Path(), FEW + "base: somewhere\n", "based")
    code, _, err = run("pretrain", "based.yaml", "--data", "faces")
    assert code == 2
    assert "animepggan finetune --recipe based.yaml" in message(err)


def test_a_missing_recipe_exits_2(run: Run) -> None:
    code, _, err = run("pretrain", "nowhere.yaml")
    assert code == 2
    assert "nowhere.yaml" in message(err)


# Bad pictures


def no_folder() -> None:
    shutil.rmtree("faces")


def empty_folder() -> None:
    no_folder()
    Path("faces").mkdir()


def no_pictures() -> None:
    empty_folder()
    Path("faces/notes.txt").write_text("none yet")


def undecodable() -> None:
    truncate(Path("faces/0003.png"))


def too_few() -> None:
    empty_folder()
    pictures(Path("faces"), count=3)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (no_folder, "faces"),
        (empty_folder, "holds no pictures"),
        (no_pictures, "holds no pictures"),
        (undecodable, "0003.png"),
        (too_few, "has 3 pictures, fewer than a batch of 4"),
    ],
)
@pytest.mark.parametrize("before", [False, True], ids=["new", "with a run"])
def test_bad_pictures_exit_3_and_what_was_written_stays(
    run: Run, here: Path, spoil: Callable[[], None], told: str, before: bool
) -> None:
    folder = Path("runs/tiny-faces")
    if before:
        shutil.copytree(runs.trained(), folder)
    kept = {name: (folder / name).read_bytes() for name in runs.listing(folder)}
    spoil()
    code, out, err = pretrain(run, *(["--allow", "data"] if before else []))
    if before and spoil is too_few:  # the run is complete: there is nothing to show to it any more
        assert code == 0
        return
    assert (code, out) == (3, "")
    assert told in message(err)
    assert kept == {name: (folder / name).read_bytes() for name in runs.listing(folder)}


def test_a_picture_that_is_left_out_is_named(run: Run) -> None:
    undecodable()
    code, _, err = pretrain(run, *SHORT, "--set", "max_bad=0.1")
    assert code == 0
    assert "warning: left out 0003.png" in err
    assert "corpus: 23 pictures" in err


def test_without_data_it_exits_3_and_says_what_to_give(run: Run) -> None:
    code, _, err = run("pretrain", "tiny.yaml")
    assert code == 3
    assert "no data" in message(err)
    assert "--data takes" in message(err)


def test_a_shipped_recipe_whose_pictures_are_missing_exits_3(run: Run) -> None:
    code, _, err = run("pretrain", "anime")
    assert code == 3
    assert "data/anime-faces" in message(err)
    assert "--data" in message(err)


# A run in the folder


def test_another_recipe_exits_4_with_the_difference_and_can_be_allowed(run: Run) -> None:
    assert pretrain(run, *SHORT)[0] == 0
    code, out, err = pretrain(run, *SHORT, "--set", "objective.drift=0.5")
    assert (code, out) == (4, "")
    assert "objective.drift: 0.001 there, 0.5 now" in message(err)
    assert pretrain(run, *SHORT, "--set", "objective.drift=0.5", "--allow", "objective.drift")[0] == 0
    assert pretrain(run, *SHORT, "--set", "objective.drift=0.5")[0] == 4  # complete: nothing was trained with 0.5


def test_other_pictures_exit_4_and_can_be_allowed(run: Run) -> None:
    assert pretrain(run, *SHORT)[0] == 0
    shutil.rmtree("faces")
    pictures(Path("faces"), seed=1)
    code, _, err = pretrain(run, *SHORT)
    assert code == 4
    assert "--allow data" in message(err)
    assert pretrain(run, *SHORT, "--allow", "data")[0] == 0


def test_pictures_that_only_moved_are_the_same_pictures(run: Run) -> None:
    assert pretrain(run, *SHORT)[0] == 0
    Path("faces").rename("moved")
    code, _, err = run("pretrain", "tiny.yaml", "--data", "moved", *SHORT, "-o", "runs/tiny-faces")
    assert code == 0
    assert "complete" in err


def test_resume_without_a_run_exits_4_and_restart_moves_one_aside(run: Run) -> None:
    code, _, err = pretrain(run, *SHORT, "--resume")
    assert code == 4
    assert "no run here" in message(err)
    assert pretrain(run, *SHORT)[0] == 0
    assert pretrain(run, *SHORT, "--restart", "--seed", "5")[0] == 0
    assert load_recipe(Path("runs/tiny-faces/recipe.yaml")).recipe.seed == 5
    assert load_recipe(Path("runs/tiny-faces.1/recipe.yaml")).recipe.seed == 0


def test_a_folder_of_something_else_exits_2(run: Run) -> None:
    Path("mine").mkdir()
    Path("mine/novel.txt").write_text("chapter 1")
    code, _, err = pretrain(run, "-o", "mine")
    assert code == 2
    assert "holds something else than a run" in message(err)
    assert runs.listing(Path("mine")) == {"novel.txt"}


def test_damaged_checkpoints_are_warned_of_or_exit_4(run: Run) -> None:
    folder = Path("runs/tiny-faces")
    assert pretrain(run)[0] == 0
    newest = folder / "checkpoints" / "stage-0008" / "generator.safetensors"
    whole = newest.read_bytes()
    truncate(newest)
    code, _, err = pretrain(run)
    assert code == 0
    assert f"warning: {newest}: damaged" in err
    assert "going on from images-000000060" in err
    assert newest.read_bytes() == whole
    for checkpoint in checkpoints_of(folder):
        truncate(checkpoint / "generator.safetensors")
    code, _, err = pretrain(run)
    assert code == 4
    assert "generator.safetensors: damaged" in message(err)


def test_a_run_that_diverges_exits_7(run: Run) -> None:
    code, out, err = pretrain(run, "--set", "schedule.learning_rate=1e38")
    assert (code, out) == (7, "")
    assert "not finite" in message(err) or "loss is" in message(err)
    assert "resolution 4" in message(err)
    assert status(Path("runs/tiny-faces"))["exit"] == 7


# Fine-tuning


def finetune(run: Run, *arguments: str) -> tuple[int, str, str]:
    return run("finetune", "--data", "faces", *arguments)


@pytest.mark.parametrize("base", ["nowhere", "faces", "faces/0000.png", "tiny.yaml"])
def test_a_base_that_is_none_exits_4(run: Run, base: str) -> None:
    code, _, err = finetune(run, "--base", base)
    assert code == 4
    assert base in message(err)


@pytest.mark.usefixtures("offline_hub")
def test_a_base_of_the_hub_that_cannot_be_had_exits_5(run: Run) -> None:
    assert finetune(run, "--base", "hub:alice/base")[0] == 5
    assert finetune(run, "--base", "hub:alice")[0] == 5


def test_a_misfit_exits_2_and_names_the_keys(run: Run) -> None:
    code, _, err = finetune(run, "--base", str(runs.trained()), "--set", "resolution=16", "--set", "network.fmap_max=4")
    assert code == 2
    assert "resolution is 8 in the base, 16 in the recipe" in message(err)
    assert "network.fmap_max is 8 in the base, 4 in the recipe" in message(err)


def test_half_a_base_exits_4(run: Run) -> None:
    shutil.copytree(runs.trained() / "checkpoints" / "stage-0008", "theirs")
    code, _, err = finetune(run, "--base", "theirs/generator_ema.safetensors")
    assert code == 4
    assert "discriminator is missing" in message(err)
    Path("theirs/discriminator.safetensors").unlink()
    code, _, err = finetune(run, "--base", "theirs")
    assert code == 4
    assert "discriminator.safetensors is missing" in message(err)


def test_a_base_that_is_not_finite_exits_4(run: Run) -> None:
    shutil.copytree(runs.trained() / "checkpoints" / "stage-0008", "theirs")
    file = Path("theirs/discriminator.safetensors")
    tensors = load_file(file)
    tensors["from_rgb.8.weight"][0] = torch.nan
    rewrite(file, tensors)
    sign(Path("theirs"))
    code, out, err = finetune(run, "--base", "theirs")
    assert (code, out) == (4, "")
    assert "theirs/discriminator.safetensors: from_rgb.8.weight holds numbers that are not finite" in message(err)
    assert not [name for name in runs.listing(Path("runs")) if not name.endswith(".lock")]


def small_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    """For sets of a test: the borders are at 12.2 and 24.5 clusters."""
    sizes = (40, 15, 10)
    presets = [dataclasses.replace(preset, clusters=size) for preset, size in zip(transfer.PRESETS, sizes, strict=True)]
    monkeypatch.setattr(transfer, "PRESETS", tuple(presets))


def test_the_number_of_clusters_chooses_the_recipe_and_the_preset(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    small_presets(monkeypatch)
    pictures(Path("faces"), 25, 32)
    arguments = ("--base", str(runs.trained()), "--dry-run", "--no-probe", "--json")
    code, out, err = finetune(run, *arguments)
    assert code == 0
    assert "in 25 clusters" not in err
    assert "recipe yui, preset for thousands of pictures" in err.splitlines()
    assert Path(json.loads(out)["recipe"]).name == "yui.yaml"
    assert json.loads(out)["total_images"] == 400_000
    shutil.copy("faces/0000.png", "faces/0001.png")  # a copy is no other picture
    code, out, err = finetune(run, *arguments)
    assert code == 0
    assert "25 pictures in 24 clusters" in err
    assert "recipe yui-few, preset for hundreds of pictures" in err.splitlines()
    assert Path(json.loads(out)["recipe"]).name == "yui-few.yaml"
    assert json.loads(out)["total_images"] == 60_000
    # A recipe that is named keeps its own values, and gets the rest from the preset.
    code, out, err = finetune(run, *arguments, "--recipe", "few.yaml")
    assert code == 0
    assert json.loads(out)["total_images"] == 48
    assert "recipe few, preset for hundreds of pictures" in err.splitlines()


def test_the_plan_of_pictures_that_are_not_here_says_what_it_assumes(run: Run) -> None:
    arguments = ("--base", str(runs.trained()), "--no-probe", "--json", "--recipe", "yui")
    code, out, err = run("finetune", *arguments, "--dry-run")
    assert code == 0
    assert "warning: " in err
    assert "the plan is that for about 4000 clusters" in err
    assert json.loads(out)["total_images"] == 400_000
    assert run("finetune", *arguments)[0] == 3


def test_the_recipe_and_the_preset_that_were_chosen_are_those_that_train(run: Run) -> None:
    short = ("--set", "schedule.stabilize_kimg=0.008", "--set", "previews={columns: 2, rows: 2}")
    code, out, err = finetune(run, "--base", str(runs.trained()), *short)
    assert code == 0
    folder = Path("runs", Path.cwd().name)  # `faces` tells nothing of her
    assert out.splitlines()[0] == str(folder)
    recipe = load_recipe(folder / "recipe.yaml").recipe
    assert (recipe.name, recipe.resolution, recipe.network.fmap_base) == ("yui-few", 8, 32)
    assert err.count("corpus: ") == 1  # decoded once, although two recipes were read
    lines = [line.strip() for line in (folder / "recipe.yaml").read_text().splitlines()]
    preset = "preset for tens of pictures"
    assert f"learning_rate: 0.001  # {preset}" in lines  # the base's, below 0.005
    assert f"augment: none  # {preset}" in lines
    assert "stabilize_kimg: 0.008  # command line" in lines
    assert f"batch_size: 4  # {preset}" in lines  # the base's, below 8
    assert "keep: 6  # recipe" in lines
    code, _, err = finetune(run, "--base", str(runs.trained()), *short, "--resume")
    assert code == 0
    assert "this run is complete" in err


# The program as a process of its own


@pytest.fixture
def program() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start(recipe: str, *, code: str = "import sys\nfrom animepggan.cli import main\n") -> subprocess.Popen[str]:
        arguments = ["pretrain", recipe, "--data", "faces", "-o", "out", "--threads", "1"]
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", f"{code}sys.exit(main({arguments!r}))"],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGUSR1, 138)],
)
def test_a_signal_saves_and_a_second_process_has_to_wait(
    run: Run, program: Callable[..., subprocess.Popen[str]], number: int, code: int
) -> None:
    process = program("endless.yaml")
    wait_for(Path("out/checkpoints/images-000000012"), process)
    busy = ("pretrain", "endless.yaml", "--data", "faces", "-o", "out")
    refused, _, err = run(*busy)
    assert refused == 8
    assert "another process is training here" in message(err)
    assert run(*busy, "--restart")[0] == 8
    assert process.poll() is None
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert out == ""
    newest = checkpoints_of(Path("out"))[-1]
    first, second = err.rstrip("\n").splitlines()[-2:]
    assert first == f"stopped at {position(newest)['images_seen']} images; saved {newest}"
    assert second == "to continue, run the same command again"
    verify(newest)
    assert status(Path("out"))["state"] == "interrupted"
    assert status(Path("out"))["exit"] == code
    assert status(Path("out"))["last_checkpoint"] == str(newest.relative_to("out"))


def test_a_second_signal_stops_at_once(program: Callable[..., subprocess.Popen[str]]) -> None:
    slow = (
        "import sys, time\nfrom animepggan.run import checkpoints\nfrom animepggan.cli import main\n"
        "def slow(*arguments):\n    open('saving', 'w').close()\n    time.sleep(300)\n"
        "checkpoints.write_folder = slow\n"
    )
    Path("endless.yaml").write_text(ENDLESS.replace("every_kimg: 0.012", "every_kimg: 900"))
    process = program("endless.yaml", code=slow)
    wait_for(Path("out/log.jsonl"), process)
    wait_for(Path("out/previews/images-000000020.png"), process)
    process.send_signal(signal.SIGINT)
    wait_for(Path("saving"), process)
    process.send_signal(signal.SIGTERM)
    before = time.monotonic()
    process.communicate(timeout=60)
    assert time.monotonic() - before < 30
    assert process.returncode == -signal.SIGTERM  # a shell calls this 143


def test_a_run_that_was_killed_with_signal_9_goes_on_and_ends_the_same(
    run: Run, program: Callable[..., subprocess.Popen[str]]
) -> None:
    Path("tiny.yaml").write_text(RECIPE.replace("{4: 0.016, default: 0.024}", "{4: 0.1, default: 0.024}"))
    process = program("tiny.yaml")
    wait_for(Path("out/checkpoints/images-000000012"), process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert status(Path("out"))["state"] == "running"
    assert pretrain(run, "-o", "out", "--threads", "1")[0] == 0
    assert pretrain(run, "-o", "unbroken", "--threads", "1")[0] == 0
    assert runs.listing(Path("out")) == runs.listing(Path("unbroken"))
    for checkpoint in checkpoints_of(Path("unbroken")):
        same(Path("out/checkpoints") / checkpoint.name, checkpoint)
    seen = [line["images_seen"] for line in runs.logged(Path("out"))]
    assert seen == [line["images_seen"] for line in runs.logged(Path("unbroken"))]
    assert len(set(seen)) == len(seen)


def test_pictures_of_any_size_are_taken(run: Run) -> None:
    Image.new("RGB", (31, 57), "red").save("faces/odd.png")
    assert pretrain(run, *SHORT)[0] == 0
