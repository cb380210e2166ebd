"""A run that goes wrong says so at once, in its log and on the terminal, and goes on; one that goes well never does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import runs
import torch

from animepggan import cli
from animepggan.corpus import Corpus
from animepggan.report.health import LEAST, LINES, TIMES, VARIETY, WELL, Health
from animepggan.training import State

TRACES: dict[str, Any] = json.loads((Path(__file__).parent / "health_traces.json").read_text(encoding="utf-8"))
"""Logs of runs on anime faces (scripts/measure_collapse.py), a line each 0.5 kimg or 1, by whether they collapsed."""
RUNS = [(name, together) for name in (*TRACES["collapsed"], *TRACES["healthy"]) for together in (1, 2, 4)]
"""Each as it was, and as it would have been with half and a quarter of the lines."""
ABSURD = "schedule.learning_rate=1.0"


def trace(name: str, together: int) -> list[dict[str, Any]]:
    """A run's log, of so many lines one: the means over its steps, the rest as it was at its end."""
    rows = (TRACES["collapsed"] | TRACES["healthy"])[name]
    lines = [dict(zip(TRACES["columns"], row, strict=True)) for row in rows]
    joined = []
    for start in range(0, len(lines), together):
        few = lines[start : start + together]
        means = {key: sum(each[key] for each in few) / len(few) for key in ("gradient_penalty", "wasserstein")}
        joined.append({**few[-1], **means})
    return joined


def line(**values: Any) -> dict[str, Any]:
    return {"images_seen": 1000, "resolution": 8, "gradient_penalty": 0.1, "wasserstein": 0.5, "variety": 0.9, **values}


def health(*overrides: str) -> Health:
    return Health(runs.recipe(*overrides))


# By the log's lines


@pytest.mark.parametrize(("name", "together"), RUNS)
def test_a_run_that_collapsed_is_warned_of_by_8_kimg_and_a_healthy_one_never(name: str, together: int) -> None:
    base = ("base=some",) if "a base" in name else ()
    lines = trace(name, together)
    found = health(*base)
    said = [found.add(each) for each in lines]
    warned = [each["images_seen"] for each, warnings in zip(lines, said, strict=True) if warnings]
    if name in TRACES["healthy"]:
        assert warned == []
    else:
        assert warned[0] <= 8000
    for cut in range(0, len(lines), 5):  # a run that is resumed there says what it would have
        resumed = Health(runs.recipe(*base), lines[:cut])
        assert [resumed.add(each) for each in lines[cut:]] == said[cut:]


@pytest.mark.parametrize("key", LEAST)
def test_a_number_is_warned_of_once_an_episode(key: str) -> None:
    found = health()
    wild = line(**{key: 1000.0})
    for _ in range(LINES):
        assert found.add(line()) == []
    (warning,) = found.add(wild)
    assert warning.startswith("1 kimg: ")
    assert "1e+03" in warning
    assert "learning rate" in warning
    for _ in range(3 * LINES):  # it does not become usual by going on
        assert found.add(wild) == []
    for _ in range(WELL - 1):
        assert found.add(line()) == []
    assert found.add(wild) == []  # it was not over yet
    for _ in range(WELL):
        assert found.add(line()) == []
    assert len(found.add(wild)) == 1


def test_both_bounds_must_be_passed() -> None:
    for usual, value, warned in ((0.1, 4.9, False), (0.1, 5.1, True), (2.0, 19.0, False), (2.0, 21.0, True)):
        found = health()
        for _ in range(LINES):
            found.add(line(gradient_penalty=usual))
        assert bool(found.add(line(gradient_penalty=value))) == warned


def test_pictures_that_are_nearly_one_are_warned_of() -> None:
    found = health()
    assert found.add(line(variety=VARIETY + 0.01)) == []
    (warning,) = found.add(line(variety=0.04))
    assert "differ 4% as much as real ones" in warning
    assert health().add(line(variety=None)) == []  # the real ones are all the same


def test_a_penalty_is_too_high_at_the_very_start_where_the_discriminator_is_too_steep() -> None:
    """A discriminator that is flat pays the weight, of which no more than TIMES is believed; R1 knows no such bound."""
    for weight in (1.0, 10.0):
        found = health(f"objective.gradient_penalty={weight}")
        assert found.add(line(gradient_penalty=0.9 * TIMES * weight)) == []
        assert len(found.add(line(gradient_penalty=1.1 * TIMES * weight))) == 1
    assert health("objective.name=r1-logistic").add(line(gradient_penalty=1e6)) == []


def test_a_penalty_that_outgrows_the_distance_between_the_scores_is_warned_of() -> None:
    bad, good = line(gradient_penalty=1.9, wasserstein=0.6), line(gradient_penalty=0.2, wasserstein=0.1)
    found = health("base=some")  # whose discriminator is not flat
    assert [found.add(bad), found.add(bad)] == [[], []]
    (warning,) = found.add(bad)
    assert "the gradient penalty, 1.9, has outgrown the distance between the scores, 0.6" in warning
    assert found.add(bad) == []
    found = health()
    assert [found.add(bad) for _ in range(LINES)] == [[]] * LINES  # a run begins like that
    assert [found.add(each) for each in (good, good, bad)] == [[], [], []]
    assert len(found.add(bad)) == 1
    assert [found.add(good) for _ in range(LINES)] == [[]] * LINES  # so small a penalty may be larger
    found = health("base=some")
    assert [found.add({**bad, "phase": "fade"}) for _ in range(LINES)] == [[]] * LINES  # new layers unsettle it
    found = health("objective.name=r3")
    assert [found.add(each) for each in (good, good, bad, bad, bad)] == [[]] * 5


def test_lines_without_an_r1_penalty_do_not_count() -> None:
    found = health("objective.name=r1-logistic")
    for number in range(4 * LINES):
        assert found.add(line(gradient_penalty=0.0 if number % 4 else 8.0)) == []
    assert len(found.add(line(gradient_penalty=100.0))) == 1


def test_a_new_stage_has_medians_of_its_own() -> None:
    found = health()
    for _ in range(LINES):
        found.add(line())
    assert found.add(line(resolution=16, gradient_penalty=9.0)) == []


def test_lines_that_miss_or_hold_other_things_are_well() -> None:
    for odd in ({}, {"images_seen": 4}, line(variety=None, gradient_penalty=None)):
        assert health().add(odd) == []


# The variety


def test_variety_is_that_of_the_drawn_pictures_relative_to_the_real_ones() -> None:
    state = runs.state(resolution=8)
    corpus = runs.corpus()
    before = torch.get_rng_state()
    value = health().variety(state, corpus)
    assert value is not None
    assert 0 < value < 10
    assert torch.equal(torch.get_rng_state(), before)
    assert health().variety(state, corpus) == value
    faded = Corpus(runs.pixels(24, 8, 0) // 2 + 64, corpus.names, name="blobs", spec="blobs/")
    assert health().variety(state, faded) == pytest.approx(2 * value, rel=0.02)


def test_one_picture_has_no_variety() -> None:
    state = runs.state(resolution=8)
    with torch.no_grad():
        for parameter in state.generator.parameters():
            parameter.zero_()
    assert health().variety(state, runs.corpus()) == 0
    same = Corpus(runs.pixels(1, 8, 0).repeat(24, 1, 1, 1), runs.corpus().names, name="blobs", spec="blobs/")
    assert health().variety(State(runs.recipe("mirror=false"), 8, runs.CPU), same) is None


def test_real_pictures_are_taken_once_for_all_lines_of_a_stage() -> None:
    class Counting(Corpus):
        asked = 0

        def batch(self, *where: int, **how: Any) -> torch.Tensor:
            self.asked += 1
            return super().batch(*where, **how)

    corpus = Counting(runs.pixels(24, 8, 0), runs.corpus().names, name="blobs", spec="blobs/")
    of_a_run = health()
    values = [of_a_run.variety(runs.state(resolution=side), corpus) for side in (4, 4, 8, 8)]
    assert corpus.asked == 2
    assert values == [health().variety(runs.state(resolution=side), corpus) for side in (4, 4, 8, 8)]


# A run


def test_a_run_that_goes_wrong_says_so_at_once_and_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    runs.write_recipe(tmp_path)
    data = str(runs.pictures(tmp_path / "faces"))
    command = ["pretrain", "tiny.yaml", "--data", data, "--quiet"]
    assert cli.main([*command, "--set", ABSURD, "-o", "wrong"]) == 0
    told = [warning for each in runs.logged(tmp_path / "wrong") for warning in each.get("warnings", ())]
    assert told
    err = capsys.readouterr().err
    for warning in told:
        assert warning in err
    assert "--set schedule.learning_rate=LOWER" in err
    assert runs.status(tmp_path / "wrong")["state"] == "finished"
    assert cli.main([*command, "-o", "well"]) == 0
    assert capsys.readouterr().err == ""
    assert all("warnings" not in each and each["variety"] > 0 for each in runs.logged(tmp_path / "well"))


def test_a_run_that_was_killed_does_not_repeat_itself(tmp_path: Path) -> None:
    resolved = runs.resolve(ABSURD)
    runs.train(tmp_path / "whole", resolved)
    runs.killed(tmp_path / "resumed", resolved, at=32)
    runs.train(tmp_path / "resumed", resolved)
    whole, resumed = ([each.get("warnings") for each in runs.logged(tmp_path / name)] for name in ("whole", "resumed"))
    assert whole == resumed
    assert any(whole)
