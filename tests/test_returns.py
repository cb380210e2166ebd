"""A run that goes wrong goes back to where it was well, at half the learning rate, and does the same when resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import runs
import torch
from runs import corpus, killed, logged, status, train
from test_finetune import few
from test_run import alike, stopped

from animepggan.checkpoint import checkpoints_of, find_model, verify
from animepggan.corpus import Corpus
from animepggan.errors import DivergedError, ModelError
from animepggan.report.health import MARGIN, VARIETY, Health
from animepggan.run import Event
from animepggan.run.returns import Return, rate_factor, returns_in

EVERY_STEP = ("returns=2", "log.every_kimg=0.004", "checkpoints.every_kimg=0.008", "checkpoints.keep=4")
"""A line of the log a step of four images, a checkpoint every two: at 32 images the run was well until 8."""


class Poisoned(Corpus):
    """Pictures that make training diverge at so many images, so many times."""

    at = 32
    times = 1

    def batch(self, images_seen: int, batch_size: int, **options: Any) -> torch.Tensor:
        pictures = super().batch(images_seen, batch_size, **options)
        if images_seen == self.at and batch_size == 4 and self.times:
            self.times -= 1
            return pictures * torch.nan
        return pictures


def character(times: int = 1) -> Corpus:
    whole = corpus(seed=9)
    if not times:
        return whole
    poisoned = Poisoned(runs.pixels(24, 8, 9), whole.names, name=whole.name, spec=whole.spec)
    poisoned.times = times
    return poisoned


def steps(events: list[Event]) -> list[tuple[int, float]]:
    """Images and learning rate of each, relative to the recipe's after its ramp."""
    return [(event.progress.images_seen, event.progress.moment.learning_rate / 0.0005) for event in events]


def told(checkpoint: Path) -> Any:
    return runs.position(checkpoint).get("returns")


def test_it_goes_back_to_its_last_good_checkpoint_at_half_the_rate(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    events = train(folder, few(None, *EVERY_STEP), character())
    done = steps(events)
    assert [images for images, _ in done] == [*range(4, 33, 4), *range(12, 49, 4)]
    assert done[7] == (32, 1.0)
    assert [rate for images, rate in done[8:] if images >= 20] == [0.5] * 8
    (note,) = [note for event in events for note in event.notes if note.startswith("gone back")]
    assert note == "gone back from 0.032 kimg to images-000000008, on at half the learning rate (return 1 of 2)"
    returned = {"images_seen": 32, "checkpoint": "images-000000008", "factor": 0.5}
    # The one it went back to is kept, however many come after it.
    between = [f"images-{images:09d}" for images in (16, 24, 32, 40)]
    assert runs.names(checkpoints_of(folder)) == ["images-000000008", *between, "stage-0008"]
    assert [told(each) for each in checkpoints_of(folder)] == [None, *[[returned]] * 5]
    for checkpoint in checkpoints_of(folder):
        verify(checkpoint)
    lines = logged(folder)
    assert [line["images_seen"] for line in lines] == list(range(4, 49, 4))
    assert [line.get("returns", 0) for line in lines] == [0] * 2 + [1] * 10
    assert status(folder)["returns"] == [returned]
    assert status(folder)["state"] == "finished"


@pytest.mark.parametrize("keep", [4, 1], ids=["to a checkpoint", "to the start"])
@pytest.mark.parametrize("at", [36, 44])
@pytest.mark.parametrize("end", [stopped, killed], ids=["stopped", "killed"])
def test_a_run_that_ended_after_it_went_back_ends_as_if_it_never_had(
    tmp_path: Path, end: Any, at: int, keep: int
) -> None:
    recipe = few(None, *EVERY_STEP, f"checkpoints.keep={keep}")
    train(tmp_path / "whole", recipe, character())
    if end is stopped:
        stopped(tmp_path / "run", at, recipe=recipe, pictures=character())
    else:
        killed(tmp_path / "run", recipe, at, character())
    train(tmp_path / "run", recipe, character(0))
    alike(tmp_path / "run", tmp_path / "whole")
    returned = "images-000000008" if keep == 4 else None
    assert told(tmp_path / "run/checkpoints/stage-0008") == [{"images_seen": 32, "checkpoint": returned, "factor": 0.5}]


def test_one_that_was_killed_before_it_saved_anything_goes_back_again(tmp_path: Path) -> None:
    """What it had done since is not on the disk, so it does that once more, and ends the same."""
    recipe = few(None, *EVERY_STEP)
    train(tmp_path / "whole", recipe, character())
    with runs.opened(tmp_path / "run", recipe, character()) as run:
        events = run.train()
        seen = 0
        while (now := next(events).progress.images_seen) > seen:
            seen = now
        events.close()
    assert runs.names(checkpoints_of(tmp_path / "run")) == ["images-000000008"]
    train(tmp_path / "run", recipe, character())
    alike(tmp_path / "run", tmp_path / "whole")


def test_it_goes_back_so_often_and_then_says_what_is_left(tmp_path: Path) -> None:
    folder, recipe = tmp_path / "run", few(None, *EVERY_STEP)
    said = []
    for _ in range(2):  # who tries again is told the same again
        with pytest.raises(DivergedError) as caught:
            train(folder, recipe, character(9))
        said.append(str(caught.value))
        assert runs.names(checkpoints_of(folder)) == ["images-000000008"]
        assert find_model(str(folder)).path == folder / "checkpoints" / "images-000000008"
        assert (status(folder)["state"], status(folder)["exit"]) == ("failed", 7)
        assert status(folder)["last_checkpoint"] == "checkpoints/images-000000008"
    assert said[0] == said[1]
    assert "went wrong again at 0.032 kimg, gone back 2 times before: training diverged at 32 images" in said[0]
    assert f"the last good checkpoint: {folder}/checkpoints/images-000000008" in said[0]
    assert "--restart --set schedule.learning_rate=LOWER" in said[0]
    assert len(said[0].splitlines()) == 3


def test_a_run_that_may_not_go_back_ends(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="training diverged at 32 images"):
        train(tmp_path / "run", few(None, *EVERY_STEP, "returns=0"), character())
    assert len(checkpoints_of(tmp_path / "run")) == 4


def test_to_its_start_it_goes_back_only_where_the_base_is_what_it_was(tmp_path: Path) -> None:
    moving = runs.copied(Path(few().recipe.base), tmp_path / "base")
    recipe = few(moving, *EVERY_STEP, "checkpoints.keep=1")
    stopped(tmp_path / "run", 12, recipe=recipe, pictures=character())
    (moving / "checkpoints" / "best.json").write_text('{"checkpoint": "images-000000048"}')
    with pytest.raises(ModelError, match="the base has moved on"):
        train(tmp_path / "run", recipe, character())


def test_pretraining_may_go_back_too(tmp_path: Path) -> None:
    recipe = runs.resolve("returns=1", "log.every_kimg=0.004", "checkpoints.keep=9")
    events = train(tmp_path / "run", recipe, character())
    resolutions = [event.progress.moment.resolution for event in events]
    assert resolutions == [4] * 4 + [8] * 4 + [4] * 4 + [8] * 12  # from the fade-in to before it
    assert events[-1].progress.moment.learning_rate == 0.0005
    killed(tmp_path / "killed", recipe, 44, character())
    train(tmp_path / "killed", recipe, character(0))
    alike(tmp_path / "killed", tmp_path / "run")


# When a run has gone wrong


def line(number: int, **values: Any) -> dict[str, Any]:
    well = {"resolution": 8, "gradient_penalty": 0.1, "wasserstein": 0.5, "variety": 0.9}
    return {"images_seen": 1000 * number, **well, **values}


def health(variety: float | None = 0.9) -> Health:
    found = Health(runs.recipe("base=some", "returns=2"))
    found.begin(variety)
    return found


def test_it_was_well_until_some_lines_before_the_first_sign() -> None:
    found = health()
    for number in range(1, 21):
        found.add(line(number))
        assert found.gone_wrong is None
        assert found.well_until == 1000 * max(0, number - MARGIN)
    (warning,) = found.add(line(21, variety=0.1))
    assert found.gone_wrong is not None
    assert found.gone_wrong in warning
    assert "--restart" not in warning  # it goes back by itself


def test_what_the_base_brings_along_is_warned_of_and_no_reason_to_go_back() -> None:
    one_face = line(1, variety=VARIETY / 2)
    for start, wrong in ((0.9, True), (VARIETY / 2, False), (None, False)):
        found = health(start)
        assert len(found.add(one_face)) == 1
        assert (found.gone_wrong is not None) == wrong
    found = health(VARIETY / 2)
    for number in range(1, 8):
        found.add(line(number))  # it has learnt
    assert found.add(one_face)
    assert found.gone_wrong is not None
    flat = {"gradient_penalty": 9.0, "wasserstein": 0.1}
    found = health()
    said = [found.add(line(number, **flat)) for number in range(1, 5)]
    assert [len(each) for each in said] == [0, 0, 1, 0]
    assert found.gone_wrong is None
    flat = {"gradient_penalty": 1.9, "wasserstein": 0.6}
    found = health()
    for number in range(1, 5):
        found.add(line(number))
    said = [found.add(line(number, **flat)) for number in (5, 6)]
    assert [len(each) for each in said] == [0, 1]
    assert found.gone_wrong is not None


@pytest.mark.parametrize(
    "damaged", [None, 7, [], {}, [7], [{"images_seen": "x", "checkpoint": None, "factor": 0.5}], [{"factor": 2}]]
)
def test_a_damaged_list_of_returns_is_none(damaged: object) -> None:
    assert returns_in({"position": {"returns": damaged}}) == ()
    assert returns_in({"position": damaged}) == ()


def test_the_rate_follows_from_the_returns() -> None:
    listed = (Return(32, None), Return(40, "images-000000008"))
    assert returns_in(json.loads(json.dumps({"position": {"returns": [each.as_json() for each in listed]}}))) == listed
    assert rate_factor(listed) == 0.25
    assert rate_factor(()) == 1
