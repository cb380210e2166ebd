"""A run as a whole: it goes on where it stopped as if it never had, and loses nothing that it wrote."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import runs
import torch
from PIL import Image
from runs import copied, corpus, killed, listing, opened, position, resolve, same, status, train, trained
from test_checkpoint import edit, flip, sign

import animepggan.checkpoint
from animepggan.checkpoint import checkpoints_of, find_model, verify
from animepggan.corpus import Corpus
from animepggan.errors import (
    AnimepgganError,
    BusyError,
    DataError,
    DivergedError,
    Interrupted,
    ModelError,
    RecipeError,
    ResourceError,
)
from animepggan.recipe import load_recipe
from animepggan.report.log import Log
from animepggan.run.checkpoints import crosses
from animepggan.run.stopper import Stopper

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
KEPT = ["stage-0004", "images-000000048", "images-000000060", "stage-0008"]


def stopped(folder: Path, at: int, *, number: int = signal.SIGTERM, recipe: Any = None, **options: Any) -> Interrupted:
    """Ask the run to stop after `at` images, as its signal handler does."""
    with opened(folder, recipe or resolve(), **options) as run:
        events = run.train()
        while next(events).progress.images_seen < at:
            pass
        run.stopper.signal_number = number
        with pytest.raises(Interrupted) as caught:
            next(events)
    return caught.value


def alike(folder: Path, expected: Path) -> None:
    """Two finished runs left the same files, the same tensors in each, and a log of the same moments."""
    assert listing(folder) == listing(expected)
    for checkpoint in checkpoints_of(expected):
        same(folder / "checkpoints" / checkpoint.name, checkpoint)
    for path in (expected / "previews").iterdir():
        assert path.read_bytes() == (folder / "previews" / path.name).read_bytes()
    moments = [line["images_seen"] for line in runs.logged(folder)]
    assert moments == [line["images_seen"] for line in runs.logged(expected)]
    assert len(set(moments)) == len(moments)
    assert status(folder) == status(expected)


# What a run leaves


def test_the_files_of_a_run() -> None:
    folder = trained()
    expected = {"recipe.yaml", "status.json", "log.jsonl", "previews/real.png"}
    # Every 20 images, at the ends of the stages, and at the start.
    expected |= {f"previews/images-{number:09d}.png" for number in (0, 16, 20, 40, 60, 64)}
    expected |= {f"checkpoints/{name}/config.json" for name in KEPT}
    expected |= {f"checkpoints/{name}/manifest.json" for name in KEPT}
    expected |= {f"checkpoints/{name}/{file}.safetensors" for name in KEPT for file in runs.FILES}
    assert listing(folder) == expected
    assert status(folder) == {
        "state": "finished",
        "exit": 0,
        "images_seen": 64,
        "total_images": 64,
        "last_checkpoint": "checkpoints/stage-0008",
    }
    for checkpoint in checkpoints_of(folder):
        verify(checkpoint)


def test_the_recipe_of_a_run_is_whole_and_says_where_each_value_came_from() -> None:
    folder = trained("seed=3")
    again = load_recipe(folder / "recipe.yaml").recipe
    assert again == resolve("seed=3").recipe
    lines = (folder / "recipe.yaml").read_text().splitlines()
    assert "seed: 3  # command line" in lines
    assert "resolution: 8  # recipe" in lines
    assert "mirror: false  # default" in lines


def test_the_log_has_a_line_an_interval() -> None:
    lines = runs.logged(trained())
    assert [line["images_seen"] for line in lines] == list(range(8, 72, 8))
    assert [line["resolution"] for line in lines] == [4, 4] + [8] * 6
    assert [line["phase"] for line in lines] == ["stabilize"] * 2 + ["fade"] * 3 + ["stabilize"] * 3
    assert [line["alpha"] for line in lines] == pytest.approx([1, 1, 1 / 6, 3 / 6, 5 / 6, 1, 1, 1], abs=1e-5)
    measured = {"loss_discriminator", "loss_generator", "gradient_penalty", "learning_rate", "images_per_second"}
    for line in lines:
        assert all(isinstance(line[key], float) for key in measured | {"memory_mb"})
        assert line["learning_rate"] == 0.001
        assert line["images_per_second"] > 0
        assert line["memory_mb"] > 50


def test_a_log_line_is_the_mean_of_its_steps(tmp_path: Path) -> None:
    events = train(tmp_path / "run", resolve("schedule.n_critic=3"))
    (first, second) = events[:2]
    line = second.record
    assert first.record is None
    assert line is not None
    losses = [event.progress.loss_discriminator for event in (first, second)]
    assert line["loss_discriminator"] == pytest.approx(sum(losses) / 2)
    assert line["loss_generator"] is None  # no generator step in this interval
    assert events[3].record is not None
    assert events[3].record["loss_generator"] == events[2].progress.loss_generator


def test_previews_are_of_one_size_and_draw_the_averaged_generator_at_its_alpha() -> None:
    folder = trained()
    sizes = {Image.open(path).size for path in (folder / "previews").iterdir()}
    assert sizes == {(258, 258)}  # 2 by 2 pictures of 8 px, enlarged to 128, with a gap of 2
    sheet = np.asarray(Image.open(folder / "previews" / "images-000000016.png"))
    face = sheet[:128, :128]
    assert np.array_equal(face, face[::32, ::32].repeat(32, axis=0).repeat(32, axis=1))  # 4 px, pixel by pixel

    from animepggan.checkpoint import load_generator
    from animepggan.sampling.draw import to_uint8
    from animepggan.streams import stream

    loaded = load_generator(folder / "checkpoints" / "images-000000060")
    latents = torch.randn(4, 8, generator=stream("previews", 0))
    drawn = to_uint8(loaded.generator(latents[:1]))[0]
    sheet = np.asarray(Image.open(folder / "previews" / "images-000000060.png"))
    assert np.abs(sheet[:128:16, :128:16].astype(int) - drawn).max() <= 1


def test_the_real_pictures_stand_beside_the_previews() -> None:
    sheet = np.asarray(Image.open(trained() / "previews" / "real.png"))
    first = corpus().batch(0, 4, resolution=8, seed=0, mirror=False)[0]
    shown = ((first + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()
    assert np.array_equal(sheet[:128:16, :128:16], shown)


def test_the_newest_in_between_are_kept_and_every_end_of_a_stage(tmp_path: Path) -> None:
    train(tmp_path / "one", resolve("checkpoints.keep=1"))
    assert runs.names(checkpoints_of(tmp_path / "one")) == ["stage-0004", "images-000000060", "stage-0008"]
    train(tmp_path / "many", resolve("checkpoints.keep=9"))
    between = [f"images-{number:09d}" for number in (12, 24, 36, 48, 60)]
    expected = [between[0], "stage-0004", *between[1:], "stage-0008"]
    assert runs.names(checkpoints_of(tmp_path / "many")) == expected
    assert position(tmp_path / "many" / "checkpoints" / between[1])["alpha"] == pytest.approx(8 / 24)


def test_intervals_are_crossed_the_same_however_the_steps_fall() -> None:
    def step(before: int, now: int) -> Any:
        return SimpleNamespace(moment=SimpleNamespace(images_seen=before), images_seen=now)

    for batch in (3, 4, 7):
        crossed = [now for now in range(batch, 200, batch) if crosses(step(now - batch, now), 0.02)]
        assert crossed == [-(-multiple // batch) * batch for multiple in range(20, 200, 20)]
    assert not crosses(step(0, 10**9), 0)


# Stopping and going on


STOPS = {
    "before the first checkpoint": [4],
    "between two checkpoints": [32],
    "on a checkpoint": [36],
    "at the end of a stage": [16],
    "in mid-fade": [28],
    "at the end of the fade": [40],
    "just before the end": [60],
    "twice": [20, 52],
    "twice in one interval": [52, 56],
    "three times": [8, 28, 56],
}


@pytest.mark.parametrize("stops", STOPS.values(), ids=STOPS)
def test_a_run_that_was_stopped_ends_as_if_it_never_was(tmp_path: Path, stops: list[int]) -> None:
    folder = tmp_path / "run"
    for at in stops:
        stopped(folder, at)
        assert position(checkpoints_of(folder)[-1])["images_seen"] == at
    train(folder, resolve())
    alike(folder, trained())


@pytest.mark.parametrize("name", ["before the first checkpoint", "between two checkpoints", "in mid-fade", "twice"])
def test_so_does_one_that_was_killed(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "run"
    for at in STOPS[name]:
        killed(folder, resolve(), at)
        assert status(folder)["state"] == "running"
    if name == "between two checkpoints":  # some steps that the log tells of will be taken again
        assert runs.logged(folder)[-1]["images_seen"] == 32
        assert position(checkpoints_of(folder)[-1])["images_seen"] == 24
    train(folder, resolve())
    alike(folder, trained())


HARD = (
    "optimizer.reset=false",
    "optimizer.beta1=0.5",
    "schedule.n_critic=2",
    "schedule.ramp_kimg=0.05",
    "mirror=true",
    "seed=11",
    "network.statistic=variance",
    "network.group_size=batch",
    "network.fused_down=false",
)


@pytest.mark.parametrize("stops", [[12, 28], [36]])
def test_so_does_one_with_everything_that_has_a_memory(tmp_path: Path, stops: list[int]) -> None:
    folder = tmp_path / "run"
    for at in stops:
        stopped(folder, at, recipe=resolve(*HARD))
    train(folder, resolve(*HARD))
    alike(folder, trained(*HARD))


def test_a_stop_names_its_checkpoint_and_how_to_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for number, code in zip(SIGNALS, (130, 143, 129, 138), strict=True):
        error = stopped(folder, 20, number=number)
        assert error.exit_code == code
        saved = folder / "checkpoints" / f"images-{position(checkpoints_of(folder)[-1])['images_seen']:09d}"
        assert str(saved) in str(error)
        assert "run the same command again" in str(error)
        assert len(str(error).splitlines()) <= 3
        assert status(folder) | {"total_images": 0} == {
            "state": "interrupted",
            "exit": code,
            "images_seen": position(saved)["images_seen"],
            "total_images": 0,
            "last_checkpoint": f"checkpoints/{saved.name}",
        }


def test_a_stop_on_a_checkpoint_saves_no_second_one(tmp_path: Path) -> None:
    error = stopped(tmp_path / "run", 16)
    assert "stage-0004" in str(error)
    assert runs.names(checkpoints_of(tmp_path / "run")) == ["images-000000012", "stage-0004"]


def test_a_run_goes_on_at_the_alpha_where_it_stopped(tmp_path: Path) -> None:
    stopped(tmp_path / "run", 28)
    with opened(tmp_path / "run", resolve()) as run:
        assert (run.state.images_seen, run.state.resolution, run.state.alpha) == (28, 8, 0.5)
        first = next(run.train())
    assert first.progress.moment.alpha == 0.5


def test_a_stop_at_the_very_end_is_the_end(tmp_path: Path) -> None:
    with opened(tmp_path / "run", resolve()) as run:
        for event in run.train():
            if event.progress.images_seen == runs.TOTAL:
                run.stopper.signal_number = signal.SIGTERM
    assert status(tmp_path / "run")["state"] == "finished"


def test_what_a_stop_saved_goes_with_the_next_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    stage = "stage-0004"
    stopped(folder, 28)
    assert runs.names(checkpoints_of(folder)) == ["images-000000012", stage, "images-000000024", "images-000000028"]
    stopped(folder, 32)
    assert runs.names(checkpoints_of(folder)) == ["images-000000012", stage, "images-000000024", "images-000000032"]
    stopped(folder, 36)
    assert runs.names(checkpoints_of(folder)) == [stage, "images-000000024", "images-000000036"]


def test_a_caller_that_leaves_leaves_a_run_to_go_on_with(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with opened(folder, resolve()) as run:
        events = run.train()
        for _ in range(5):
            next(events)
        events.close()
    assert status(folder)["state"] == "interrupted"
    train(folder, resolve())
    alike(folder, trained())


@pytest.mark.parametrize("number", SIGNALS)
def test_signals_are_remembered_once_and_left_to_the_system_the_second_time(number: int) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    stopper = Stopper()
    with stopper.listening():
        assert stopper.signal_number is None
        os.kill(os.getpid(), number)
        assert stopper.signal_number == number
        after = {each: signal.getsignal(each) for each in SIGNALS}
        # A closing terminal says so twice: that must not cut the saving short.
        assert after.pop(signal.SIGHUP) is (signal.SIG_IGN if number == signal.SIGHUP else signal.SIG_DFL)
        assert set(after.values()) == {signal.SIG_DFL}
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_under_nohup_a_terminal_that_closes_stops_nothing() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stopper = Stopper()
        with stopper.listening():
            os.kill(os.getpid(), signal.SIGHUP)
        assert stopper.signal_number is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_system_without_some_signals_has_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(signal, "SIGHUP")
    monkeypatch.delattr(signal, "SIGUSR1")
    stopper = Stopper()
    with stopper.listening():
        os.kill(os.getpid(), signal.SIGINT)
    assert stopper.signal_number == signal.SIGINT


def test_a_real_signal_stops_the_loop(tmp_path: Path) -> None:
    with opened(tmp_path / "run", resolve()) as run:
        events = run.train()
        while next(events).progress.images_seen < 8:
            pass
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Interrupted) as caught:
            next(events)
    assert caught.value.exit_code == 130
    assert status(tmp_path / "run")["images_seen"] == 8


def test_log_lines_that_a_crash_cut_or_that_lie_ahead_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"images_seen": 4}\n[]\n7\n{"images_seen": 8}\n{"images_seen": 12}\n{"images_se', encoding="utf-8")
    Log(tmp_path, 8, tensorboard=False).close()
    assert path.read_text() == '{"images_seen": 4}\n{"images_seen": 8}\n'


# Numbers that are not finite


class PoisonedFrom(Corpus):
    """The same pictures, until so many have been shown."""

    limit = 30

    def batch(self, images_seen: int, batch_size: int, **options: Any) -> torch.Tensor:
        pictures = super().batch(images_seen, batch_size, **options)
        return pictures * torch.nan if images_seen >= self.limit else pictures


def test_a_run_that_diverges_keeps_its_checkpoints_and_can_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(DivergedError):
        train(folder, resolve(), PoisonedFrom(runs.pixels(24, 8, 0), corpus().names, name="blobs", spec="blobs/"))
    assert status(folder) == {
        "state": "failed",
        "exit": 7,
        "images_seen": 32,
        "total_images": 64,
        "last_checkpoint": "checkpoints/images-000000024",
    }
    for checkpoint in checkpoints_of(folder):
        verify(checkpoint)
        assert all(value.isfinite().all() for value in runs.tensors(checkpoint).values())
    train(folder, resolve())
    alike(folder, trained())


# A run in the folder


def test_another_recipe_is_refused_with_what_differs(tmp_path: Path) -> None:
    folder = copied(trained(), tmp_path / "run")
    before = {name: (folder / name).read_bytes() for name in listing(folder)}
    with pytest.raises(ModelError) as caught:
        train(folder, resolve("seed=5", "schedule.batch_size={8: 2, default: 4}", "ema.ramp=0.1"))
    message = str(caught.value)
    assert caught.value.exit_code == 4
    assert "seed: 0 there, 5 now" in message
    assert "schedule.batch_size: 4 there, {" in message
    assert "ema.ramp: 0.05 there, 0.1 now" in message
    assert "--allow seed --allow schedule.batch_size --allow ema.ramp" in message
    assert "--restart" in message
    assert "--output" in message
    assert len(message.splitlines()) <= 3
    assert before == {name: (folder / name).read_bytes() for name in listing(folder)}


@pytest.mark.parametrize("allow", ["objective.drift", "objective"])
def test_a_difference_that_is_allowed_is_taken_over(tmp_path: Path, allow: str) -> None:
    folder = tmp_path / "run"
    stopped(folder, 20)
    with pytest.raises(ModelError, match=r"objective\.drift: 0\.001 there, 0\.5 now"):
        train(folder, resolve("objective.drift=0.5"), allow=["objective.gradient_penalty", "network"])
    events = train(folder, resolve("objective.drift=0.5"), allow=[allow])
    assert events[0].progress.moment.images_seen == 20
    assert load_recipe(folder / "recipe.yaml").recipe.objective.drift == 0.5
    saved = json.loads((folder / "checkpoints" / "stage-0008" / "config.json").read_text())
    assert saved["provenance"]["recipe"]["objective"]["drift"] == 0.5
    assert train(folder, resolve("objective.drift=0.5")) == []  # from now on this is its recipe


def test_what_no_tensor_depends_on_may_change(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    stopped(folder, 20)
    free = ["name=other", "max_bad=0.5", "checkpoints.keep=9", "previews.every_kimg=0.004", "log.every_kimg=0.004"]
    train(folder, resolve(*free, "data=elsewhere/"))
    same(folder / "checkpoints" / "stage-0008", trained() / "checkpoints" / "stage-0008")


def test_other_pictures_are_refused_unless_allowed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    stopped(folder, 20)
    with pytest.raises(ModelError, match="pictures of blobs/ are not the ones") as caught:
        train(folder, resolve(), corpus(seed=1))
    assert "--allow data" in str(caught.value)
    with pytest.raises(ModelError, match="not the ones"):
        train(folder, resolve(), corpus(count=23), allow=["seed"])
    train(folder, resolve(), corpus(seed=1), allow=["data"])
    saved = json.loads((folder / "checkpoints" / "stage-0008" / "config.json").read_text())
    assert saved["provenance"]["corpus"]["fingerprint"] == corpus(seed=1).fingerprint


def test_a_batch_size_that_changes_in_mid_run_still_ends_every_stage(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    stopped(folder, 8)
    # In sixes the stages end at 18 and 66 images; from 8 on, steps end at 20 and 68.
    events = train(folder, resolve("schedule.batch_size=6"), allow=["schedule.batch_size"])
    assert [event.progress.images_seen for event in events if event.progress.stage_ended] == [20, 68]
    assert [position(folder / "checkpoints" / name)["images_seen"] for name in ("stage-0004", "stage-0008")] == [20, 68]
    assert status(folder)["state"] == "finished"


def test_a_schedule_under_which_the_run_would_shrink_or_skip_a_stage_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    stopped(folder, 20)
    allow = ["schedule", "resolution"]
    with pytest.raises(ModelError, match="has come to 8 px with 20 images, where this recipe is at 4 px"):
        train(folder, resolve("schedule.stabilize_kimg=1"), allow=allow)
    with pytest.raises(ModelError, match="has come to 8 px with 20 images, where this recipe is at 32 px"):
        train(
            folder,
            resolve("resolution=32", "schedule={fade_kimg: 0.004, stabilize_kimg: 0.001}"),
            corpus(side=32),
            allow=[*allow, "data"],
        )


def test_a_finished_run_grows_on_when_the_resolution_is_allowed_to(tmp_path: Path) -> None:
    folder = copied(trained(), tmp_path / "run")
    larger = resolve("resolution=16")
    events = train(folder, larger, corpus(side=16), allow=["resolution", "data"])
    assert events[0].progress.moment.resolution == 16
    assert events[0].progress.moment.alpha == 0.0
    assert (folder / "checkpoints" / "stage-0016").is_dir()


def test_an_architecture_that_does_not_fit_is_told_even_if_allowed(tmp_path: Path) -> None:
    folder = copied(trained(), tmp_path / "run")
    with pytest.raises(ModelError, match="is not of this recipe's architecture") as caught:
        train(folder, resolve("network.fmap_max=4"), allow=["network"])
    assert "--restart" in str(caught.value)


def test_going_on_needs_a_run_and_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="--resume, but there is no run here") as caught:
        train(tmp_path / "run", resolve(), resume=True)
    assert caught.value.exit_code == 4
    foreign = tmp_path / "holiday"
    foreign.mkdir()
    (foreign / "photo.png").write_bytes(b"precious")
    for options in ({}, {"restart": True}):
        with pytest.raises(RecipeError, match="holds something else than a run") as refused:
            train(foreign, resolve(), **options)
        assert refused.value.exit_code == 2
    assert listing(foreign) == {"photo.png"}
    with pytest.raises(RecipeError, match="holds something else than a run"):
        train(foreign / "photo.png", resolve())
    (tmp_path / "empty").mkdir()
    assert train(tmp_path / "empty", resolve())


def test_restart_moves_the_old_run_aside(tmp_path: Path) -> None:
    folder = copied(trained(), tmp_path / "run")
    kept = {name: (folder / name).read_bytes() for name in listing(folder)}
    train(folder, resolve("seed=3"), restart=True)
    assert load_recipe(folder / "recipe.yaml").recipe.seed == 3
    aside = tmp_path / "run.1"
    assert kept == {name: (aside / name).read_bytes() for name in listing(aside)}
    train(folder, resolve("seed=3"), restart=True)
    assert load_recipe(tmp_path / "run.2" / "recipe.yaml").recipe.seed == 3
    alike(folder, trained("seed=3"))
    train(tmp_path / "new", resolve(), restart=True)  # nothing there to move


def test_restart_does_not_move_the_folder_that_one_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copied(trained(), tmp_path / "run")
    monkeypatch.chdir(folder / "previews")
    for name in (folder, Path(".."), Path("../../run")):
        with pytest.raises(RecipeError, match="cannot move the folder aside that you are in"):
            train(name, resolve(), restart=True)
    monkeypatch.chdir(folder)
    with pytest.raises(RecipeError, match="cannot move the folder aside that you are in"):
        train(Path(), resolve(), restart=True)
    assert not (tmp_path / "run.1").exists()
    assert train(Path(), resolve()) == []  # without it, `-o .` goes on


def test_a_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    folder = copied(trained(), tmp_path / "run")
    before = {name: (folder / name).read_bytes() for name in listing(folder)}
    with opened(folder, resolve(), resume=True) as run:
        assert run.finished
        assert run.checkpoints.last == folder / "checkpoints" / "stage-0008"
    assert before == {name: (folder / name).read_bytes() for name in listing(folder)}


def test_a_run_that_was_killed_before_its_last_word_is_finished_all_the_same(tmp_path: Path) -> None:
    folder = copied(trained(), tmp_path / "run")
    (folder / "status.json").write_text('{"state": "running"}')
    with opened(folder, resolve()) as run:
        assert run.finished
    assert status(folder) == status(trained())


def test_one_process_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    link = tmp_path / "link"
    link.symlink_to(folder, target_is_directory=True)
    with opened(folder, resolve()):
        for name in (folder, tmp_path / "x" / ".." / "run", link):
            with pytest.raises(BusyError, match="another process is training here") as caught:
                train(name, resolve())
            assert caught.value.exit_code == 8
        train(tmp_path / "other", resolve("schedule.stabilize_kimg=0.004", "schedule.fade_kimg=0"))
    train(folder, resolve())
    alike(folder, trained())


def test_too_few_pictures_for_a_later_batch_are_told_at_the_start(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(DataError, match="fewer than a batch of 32") as caught:
        train(folder, resolve("schedule.batch_size={8: 32, default: 4}"))
    assert caught.value.exit_code == 3
    assert not listing(folder)


# Damage


def passed_over(folder: Path, **options: Any) -> list[str]:
    with opened(folder, resolve(), **options) as run:
        list(run.train())
        return list(run.notes)


@pytest.mark.parametrize("file", ["config.json", *(f"{name}.safetensors" for name in runs.FILES)])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(tmp_path: Path, file: str) -> None:
    folder = tmp_path / "run"
    killed(folder, resolve(), 52)
    flip(folder / "checkpoints" / "images-000000048" / file)
    (note,) = passed_over(folder)
    assert file in note
    assert "images-000000048" in note
    assert "going on from images-000000036" in note
    alike(folder, trained())


def test_a_damaged_checkpoint_pushes_out_no_whole_one(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    killed(folder, resolve("checkpoints.keep=1"), 64)
    for name in ("stage-0008", "images-000000060"):
        flip(folder / "checkpoints" / name / "resume.safetensors")
    # The newest whole one is of the first stage: everything saved on the way back must stay.
    with opened(folder, resolve("checkpoints.keep=1")) as run:
        assert run.state.images_seen == 16
        assert run.checkpoints.last == folder / "checkpoints" / "stage-0004"
        assert len(run.notes) == 2
        events = run.train()
        for event in events:
            if event.progress.images_seen == 28:
                run.stopper.signal_number = signal.SIGTERM
                break
        with pytest.raises(Interrupted):
            next(events)
    with opened(folder, resolve("checkpoints.keep=1")) as run:
        assert run.state.images_seen == 28
        list(run.train())
    alike(folder, trained("checkpoints.keep=1"))


def test_a_checkpoint_that_somebody_removed_stops_no_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with opened(folder, resolve()) as run:
        run.stopper.signal_number = signal.SIGTERM
        with pytest.raises(Interrupted):
            list(run.train())
    with opened(folder, resolve()) as run:
        assert run.checkpoints.last == folder / "checkpoints" / "images-000000004"
        shutil.rmtree(run.checkpoints.last)
        list(run.train())
    alike(folder, trained())


def test_when_no_checkpoint_can_be_read_nothing_is_touched(tmp_path: Path) -> None:
    folder = copied(trained(), tmp_path / "run")
    for checkpoint in checkpoints_of(folder):
        flip(checkpoint / "generator.safetensors")
    before = {name: (folder / name).read_bytes() for name in listing(folder)}
    with pytest.raises(ModelError) as caught:
        train(folder, resolve())
    assert "stage-0008/generator.safetensors: damaged" in str(caught.value)
    assert "--restart" in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3
    assert before == {name: (folder / name).read_bytes() for name in listing(folder)}


def test_halves_that_a_killed_process_left_are_cleared(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    stopped(folder, 20)
    half = folder / "checkpoints" / ".images-000000023.partial"
    shutil.copytree(folder / "checkpoints" / "images-000000020", half)
    train(folder, resolve())
    alike(folder, trained())


def test_a_recipe_that_was_damaged_is_told(tmp_path: Path) -> None:
    folder = copied(trained(), tmp_path / "run")
    (folder / "recipe.yaml").write_text("name: [")
    with pytest.raises(AnimepgganError, match=r"recipe\.yaml"):
        train(folder, resolve())


# A full disk


def no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("where", "name"),
    [(animepggan.checkpoint, "save_file"), (Log, "write"), (Image.Image, "save")],
    ids=["checkpoint", "log", "preview"],
)
def test_a_disk_that_fills_up_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: Any, name: str
) -> None:
    folder = tmp_path / "run"
    with opened(folder, resolve()) as run:
        events = run.train()
        for event in events:
            if event.progress.images_seen == 32:
                break
        with monkeypatch.context() as patch:
            patch.setattr(where, name, no_space)
            with pytest.raises((ResourceError, OSError), match=r"full|No space left"):
                list(events)
    assert status(folder)["state"] == "failed"
    assert status(folder)["exit"] == 6
    assert not [name for name in listing(folder) if "/." in name]
    for checkpoint in checkpoints_of(folder):
        verify(checkpoint)
    train(folder, resolve())
    alike(folder, trained())


def test_an_error_of_ours_is_in_the_status_too(tmp_path: Path) -> None:
    class Broken(Corpus):
        def batch(self, images_seen: int, batch_size: int, **options: Any) -> torch.Tensor:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train(tmp_path / "run", resolve(), Broken(runs.pixels(24, 8, 0), corpus().names, name="blobs", spec="blobs/"))
    assert (status(tmp_path / "run")["state"], status(tmp_path / "run")["exit"]) == ("failed", 70)


def test_a_status_that_cannot_be_written_hides_no_error(tmp_path: Path) -> None:
    with opened(tmp_path / "run", resolve()) as run:
        events = run.train()
        next(events)
        (tmp_path / "run" / "status.json").unlink()
        (tmp_path / "run" / "status.json" / "in the way").mkdir(parents=True)
        run.state.generator.get_parameter("blocks.4.conv1.bias").data[0] = torch.nan
        with pytest.raises(DivergedError):
            next(events)


def test_the_status_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """Who opened it reads to the end what it was then."""
    with ExitStack() as stack, opened(tmp_path / "run", resolve()) as run:
        files = [
            (event.progress.images_seen, stack.enter_context((tmp_path / "run" / "status.json").open()))
            for event in run.train()
        ]
        told = [(images_seen, json.load(file)) for images_seen, file in files]
    assert all(one["state"] in ("running", "finished") and one["images_seen"] <= at for at, one in told)
    assert len({one["images_seen"] for _, one in told}) > 3
    assert status(tmp_path / "run")["state"] == "finished"


def test_tensorboard_gets_the_numbers_of_the_log(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = tmp_path / "run"
    stopped(folder, 20, recipe=resolve("log.tensorboard=true"))
    train(folder, resolve("log.tensorboard=true"))
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    points = [(point.step, point.value) for point in events.Scalars("loss_discriminator")]
    assert points == [
        (line["images_seen"], pytest.approx(line["loss_discriminator"], rel=1e-5)) for line in runs.logged(folder)
    ]


def test_without_tensorboard_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(RecipeError, match=r"animepggan\[report\]"):
        train(tmp_path / "run", resolve("log.tensorboard=true"))


# Killed or cut off at a bad moment


@pytest.mark.parametrize("left", [[], [".recipe.yaml.partial"], [".0123.partial", "previews/"], [".run.lock"]], ids=str)
def test_a_run_that_was_killed_before_its_recipe_was_written_starts(tmp_path: Path, left: list[str]) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for name in left:
        (folder / name).mkdir() if name.endswith("/") else (folder / name).write_text("name: ti")
    train(folder, resolve())
    for name in left:
        if (folder / name).is_file():
            (folder / name).unlink()
    alike(folder, trained())


LOST: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "NULs": lambda path: path.write_bytes(b"\0" * 3000),
    "half NULs": lambda path: path.write_bytes(path.read_bytes()[:100] + b"\0" * 3000),
    "missing": Path.unlink,
}


@pytest.mark.parametrize("lose", LOST.values(), ids=LOST)
def test_a_recipe_that_a_power_cut_took_comes_from_the_newest_checkpoint(
    tmp_path: Path, lose: Callable[[Path], object]
) -> None:
    folder = tmp_path / "run"
    killed(folder, resolve(), 28)
    lose(folder / "recipe.yaml")
    with pytest.raises(ModelError, match=r"seed: 0 there, 5 now"):
        train(folder, resolve("seed=5"))
    flip(folder / "checkpoints" / "images-000000024" / "config.json")  # damaged, so the one before tells it
    with opened(folder, resolve(), resume=True) as run:
        assert any("recipe.yaml: lost; taken from stage-0004" in note for note in run.notes)
        list(run.train())
    alike(folder, trained())


def test_without_recipe_and_checkpoint_nothing_is_lost(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    killed(folder, resolve(), 8)
    (folder / "recipe.yaml").write_bytes(b"\0" * 100)
    train(folder, resolve("seed=3"))
    alike(folder, trained("seed=3"))
    killed(tmp_path / "other", resolve(), 8)
    (tmp_path / "other" / "recipe.yaml").unlink()
    train(tmp_path / "other", resolve())
    alike(tmp_path / "other", trained())


def test_where_every_checkpoint_is_damaged_a_lost_recipe_is_told(tmp_path: Path) -> None:
    folder = copied(trained(), tmp_path / "run")
    (folder / "recipe.yaml").unlink()
    for checkpoint in checkpoints_of(folder):
        flip(checkpoint / "generator.safetensors")
    before = listing(folder)
    with pytest.raises(ModelError, match=r"recipe\.yaml: lost") as caught:
        train(folder, resolve())
    assert "--restart" in str(caught.value)
    assert listing(folder) == before
    train(folder, resolve(), restart=True)
    alike(folder, trained())


def test_pruning_cut_short_leaves_no_half_of_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by kill -9 after the first file that is removed of a checkpoint."""
    folder = tmp_path / "run"

    def one_file(path: Path, **_: object) -> None:
        if path.exists():
            (path / "config.json").unlink()
            raise KeyboardInterrupt

    with opened(folder, resolve("checkpoints.keep=1")) as run, monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", one_file)
        with pytest.raises(KeyboardInterrupt):
            list(run.train())
    for checkpoint in checkpoints_of(folder):
        verify(checkpoint)
    assert train(folder, resolve("checkpoints.keep=1"))
    alike(folder, trained("checkpoints.keep=1"))


def test_half_a_checkpoint_is_passed_over(tmp_path: Path) -> None:
    """As older versions left one where they were killed while they pruned."""
    folder = tmp_path / "run"
    killed(folder, resolve(), 40)
    half = folder / "checkpoints" / "images-000000099"
    shutil.copytree(folder / "checkpoints" / "images-000000036", half)
    (half / "config.json").unlink()
    assert find_model(str(folder)).path.name == "images-000000036"
    with opened(folder, resolve()) as run:
        assert run.state.images_seen == 36
        list(run.train())
    shutil.rmtree(half)
    alike(folder, trained())


def test_the_log_is_on_the_disk_before_a_checkpoint_that_stands_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "run" / "log.jsonl"
    synced = 0
    fsync, rename = os.fsync, Path.rename

    def watched_fsync(number: int) -> None:
        nonlocal synced
        fsync(number)
        if log.exists() and os.path.samestat(os.fstat(number), log.stat()):
            synced = log.stat().st_size

    def watched_rename(path: Path, target: Path) -> Path:
        if target.parent.name == "checkpoints" and not target.name.startswith("."):
            assert synced == log.stat().st_size
            seen.append(target.name)
        return rename(path, target)

    seen: list[str] = []
    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "rename", watched_rename)
    train(tmp_path / "run", resolve())
    assert len(seen) == 7


DAMAGED_LINES = [b"\0" * 50, b"\xff\xfe{", b"[" * 100_000, b'{"images_seen": "8"}', b'{"images_seen": 1e400}', b"[7]"]


@pytest.mark.parametrize("line", DAMAGED_LINES, ids=lambda line: str(line[:12]))
def test_a_damaged_line_of_the_log_is_passed_over(tmp_path: Path, line: bytes) -> None:
    folder = tmp_path / "run"
    killed(folder, resolve(), 28)
    lines = (folder / "log.jsonl").read_bytes().splitlines()
    (folder / "log.jsonl").write_bytes(b"\n".join([lines[0], line, *lines[1:]]) + b"\n")
    train(folder, resolve())
    alike(folder, trained())


def test_a_line_of_the_log_that_holds_other_things_is_no_bug_of_ours(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    killed(folder, resolve(), 28)
    with (folder / "log.jsonl").open("a") as log:
        log.write('{"images_seen": 8, "resolution": [], "gradient_penalty": "x", "wasserstein": {}, "variety": "no"}\n')
    train(folder, resolve())
    same(folder / "checkpoints" / "stage-0008", trained() / "checkpoints" / "stage-0008")


@pytest.mark.parametrize("told", [None, [], 7, {"corpus": [], "base": 3, "recipe": None, "precision": None}], ids=str)
def test_a_provenance_of_another_kind_is_no_bug_of_ours(tmp_path: Path, told: object) -> None:
    folder = tmp_path / "run"
    killed(folder, resolve(), 28)
    edit(folder / "checkpoints" / "images-000000024" / "config.json", lambda data: data | {"provenance": told})
    sign(folder / "checkpoints" / "images-000000024")
    with pytest.raises(ModelError, match="pictures of blobs/ are not the ones"):
        train(folder, resolve())
    train(folder, resolve(), allow=["data"])
    same(folder / "checkpoints" / "stage-0008", trained() / "checkpoints" / "stage-0008")


def test_a_signal_outside_the_main_thread_is_not_listened_to(tmp_path: Path) -> None:
    """Python lets only the main thread handle signals; training elsewhere works all the same."""
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(train, tmp_path / "run", resolve()).result()
    alike(tmp_path / "run", trained())
