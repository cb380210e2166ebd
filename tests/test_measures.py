"""Measures as training goes: they choose, mark and keep a checkpoint, end a run, and change not a bit of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import runs
import torch
from numpy.typing import NDArray
from runs import killed, listing, logged, opened, resolve, same, status, train
from test_checkpoint import edit
from test_evaluate import Means, Pictures
from test_run import KEPT, alike, stopped

from animepggan import cli
from animepggan.checkpoint import checkpoints_of, find_model, load_generator, verify
from animepggan.corpus import Corpus, description
from animepggan.corpus.likeness import clusters_in
from animepggan.errors import DataError, ModelError, RecipeError
from animepggan.metrics.pictures import RealPictures
from animepggan.metrics.quality import make_reference, measure
from animepggan.metrics.split import held_out, split
from animepggan.recipe import load_recipe
from animepggan.report.measures import BestSoFar, Criterion, Measurer
from animepggan.run import Event, FinishedRun, finetune
from animepggan.run.run import PATIENCE
from animepggan.sampling.draw import draw
from animepggan.sampling.latents import latents_of

MEASURED = ("measures.every_kimg=0.008", "measures.count=12", "measures.hold_out=0.25")
"""About ten of forty pictures are held out, and the run is measured at each line of its log."""


def forty(side: int = 8) -> Corpus:
    return runs.corpus(40, side)


@pytest.fixture(autouse=True)
def _backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone(monkeypatch, lambda: Means())


def backbone(monkeypatch: pytest.MonkeyPatch, make: Callable[[], Means]) -> None:
    """Let this be what a backbone is chosen from."""
    monkeypatch.setattr("animepggan.interop.backbones.choose", lambda *_, **__: SimpleNamespace(at=lambda side: make()))


def scripted(monkeypatch: pytest.MonkeyPatch, kid: Mapping[int, float], **more: Any) -> None:
    """Let the measures at so many images be these."""
    more |= {"features": Means.label, "reference": "ten", "n": 12, "seed": 0}
    monkeypatch.setattr(Measurer, "measure", lambda _, state: {"kid": kid[state.images_seen], **more})


UP_AND_DOWN = {8: 9.0, 16: 8.0, 24: 7.0, 32: 6.0, 40: 7.0, 48: 8.0, 56: 5.0, 64: 6.0}


def best(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "checkpoints" / "best.json").read_text())
    return document


# What is held out


def test_a_part_of_a_corpus_is_a_corpus(tmp_path: Path) -> None:
    folder = runs.pictures(tmp_path / "set", 12)
    rows = [description.Row(f"{number:04d}.png", cluster=number // 3, weight=1.0 + number) for number in range(12)]
    description.write_description(tmp_path / "corpus.jsonl", rows, base=str(folder))
    whole = Corpus.load(str(tmp_path / "corpus.jsonl"), resolution=8)
    assert whole.clusters is not None
    assert whole.clusters.tolist() == [number // 3 for number in range(12)]
    part = whole.subset([9, 3, 4, 5, 11, 3])
    assert part.names == [f"{number:04d}.png" for number in (3, 4, 5, 9, 11)]
    assert np.array_equal(part.pictures([4, 0]), whole.pictures([11, 3]))
    assert part.clusters is not None
    assert part.clusters.tolist() == [0, 0, 0, 1, 1]
    assert len(part) == 2  # an epoch shows a picture of each cluster
    # By weight: 4, 5 and 6 of the first, 10 and 12 of the second.
    shown = part.batch(0, 4000, resolution=8, seed=0, mirror=False)
    counts = [(shown == picture).flatten(1).all(dim=1).sum().item() for picture in _values(part)]
    expected = [2000 * weight / 15 for weight in (4, 5, 6)] + [2000 * weight / 22 for weight in (10, 12)]
    assert counts == pytest.approx(expected, rel=0.1)
    lone = whole.subset([0, 3, 6])
    assert lone.clusters is None
    assert (lone.fingerprint, lone.distinct) == (_copy(lone).fingerprint, 3)
    assert lone.fingerprint != whole.subset([0, 3, 7]).fingerprint


def test_a_part_is_cut_at_random_as_a_corpus_of_these_pictures_is() -> None:
    whole = Corpus(runs.pixels(9, 12, 0), [f"{number}" for number in range(9)], name="a", spec="a", random_shift=4)
    part = whole.subset([2, 3, 5, 7, 8])
    options: dict[str, Any] = {"resolution": 4, "seed": 0, "mirror": True}
    assert torch.equal(part.batch(3, 20, **options), _copy(part).batch(3, 20, **options))


def _copy(corpus: Corpus) -> Corpus:
    pixels = torch.from_numpy(corpus.pictures(range(len(corpus.names)))).permute(0, 3, 1, 2)
    return Corpus(pixels, corpus.names, name="copy", spec="copy", random_shift=corpus.random_shift)


def _values(corpus: Corpus) -> torch.Tensor:
    pixels = torch.from_numpy(corpus.pictures(range(len(corpus.names)))).permute(0, 3, 1, 2)
    return pixels.float() / 127.5 - 1


def test_what_is_held_out_follows_from_seed_and_names_and_no_copy_crosses() -> None:
    pixels = runs.pixels(40, 16, 0)
    pixels[20:30] = pixels[:10]
    corpus = Corpus(pixels, [f"{number:02d}" for number in range(40)], name="copies", spec="copies/")
    clusters = clusters_in(corpus)
    assert len(np.unique(clusters)) == 30
    for seed in (0, 1):
        parts = split(corpus, clusters, 0.2, seed)
        training, out = set(parts.training.names), set(parts.held_out.names)
        assert training | out == set(corpus.names)
        assert not training & out
        assert all((f"{number:02d}" in out) == (f"{number + 20:02d}" in out) for number in range(10))
        assert 3 <= parts.count <= 9
        for asked in (0.2, parts.count):  # what `evaluate --hold-out` takes, with the run's seed
            again = held_out(clusters, corpus.names, asked, seed)
            assert out == {corpus.names[place] for place in np.flatnonzero(again)}
    assert out != set(split(corpus, clusters, 0.2, 0).held_out.names)
    for share in (0.01, 0.99):
        with pytest.raises(DataError, match=r"of 30 clusters cannot be held out(.|\n)*measures.hold_out=0.2"):
            split(corpus, clusters, share, 0)
    large = Corpus(torch.zeros(2000, 3, 4, 4, dtype=torch.uint8), [f"{n}" for n in range(2000)], name="a", spec="a")
    assert split(large, np.arange(2000), 0.9, 0).count == 500  # more make no measure better


def test_clusters_are_those_of_the_description(tmp_path: Path) -> None:
    folder = runs.pictures(tmp_path / "set", 12)
    rows = [description.Row(f"{number:04d}.png", cluster=number // 3) for number in range(12)]
    description.write_description(tmp_path / "corpus.jsonl", rows, base=str(folder))
    corpus = Corpus.load(str(tmp_path / "corpus.jsonl"), resolution=8)
    parts = split(corpus, clusters_in(corpus), 0.5, 0)
    assert len(parts.held_out.names) == len(parts.training.names) == 6
    assert parts.count == len(parts.training) == 2


# What is measured


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run: not to be written to."""
    folder = tmp_path_factory.mktemp("measured") / "run"
    with pytest.MonkeyPatch.context() as patch:
        backbone(patch, Means)
        train(folder, resolve(*MEASURED), forty())
    return folder


def test_a_run_that_is_measured_trains_as_one_that_is_not(measured: Path, tmp_path: Path) -> None:
    corpus = forty()
    training = split(corpus, clusters_in(corpus), 0.25, 0).training
    assert len(training.names) == 32
    train(tmp_path / "run", resolve(), training)
    for name in KEPT:
        same(measured / "checkpoints" / name, tmp_path / "run" / "checkpoints" / name)
    kept, added = logged(tmp_path / "run"), logged(measured)
    for key in ("images_seen", "loss_discriminator", "loss_generator"):
        assert [line[key] for line in kept] == [line[key] for line in added]
    told = json.loads((measured / "checkpoints" / "stage-0008" / "config.json").read_text())["provenance"]["corpus"]
    assert (told["pictures"], told["held_out"], told["fingerprint"]) == (40, 8, corpus.fingerprint)


def test_the_log_has_the_measures_of_what_the_averaged_generator_draws(measured: Path) -> None:
    lines = logged(measured)
    assert all(line["features"] == Means.label and line["n"] == 12 and line["seed"] == 0 for line in lines)
    assert all("8 pictures" in line["reference"] for line in lines)
    assert all(isinstance(line[key], float) for line in lines for key in ("kid", "kid_std", "frechet", "coverage"))
    corpus = forty()
    parts = split(corpus, clusters_in(corpus), 0.25, 0)
    real = RealPictures(parts.held_out, 8, parts.labels)
    reference = make_reference(real, embedder=Means(), memorization=False)
    for name, line in (("stage-0004", lines[1]), ("stage-0008", lines[-1])):
        loaded = load_generator(measured / "checkpoints" / name)
        drawn = np.stack(list(draw(loaded, latents_of(range(12), 8))))
        factor = 8 // drawn.shape[1]
        found, _ = measure(drawn.repeat(factor, axis=1).repeat(factor, axis=2), reference)
        assert line["kid"] == pytest.approx(found.kid, rel=1e-3)
        assert line["coverage"] == found.coverage


def test_the_best_is_marked_and_kept(measured: Path) -> None:
    lines = logged(measured)
    lowest = min(lines, key=lambda line: line["kid"])
    told = best(measured)
    assert (told["measure"], told["value"], told["images_seen"]) == ("kid", lowest["kid"], lowest["images_seen"])
    assert (told["backbone"], told["n"], told["seed"]) == (Means.label, 12, 0)
    checkpoint = measured / "checkpoints" / told["checkpoint"]
    assert runs.position(checkpoint)["images_seen"] == lowest["images_seen"]
    verify(checkpoint)


def test_what_is_best_between_checkpoints_is_kept_until_there_is_a_better_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, UP_AND_DOWN)
    folder = tmp_path / "run"
    seen: dict[int, tuple[str, list[str]]] = {}
    with opened(folder, resolve(*MEASURED), forty()) as run:
        for event in run.train():
            if event.measured is not None:
                names = runs.names(checkpoints_of(folder))
                seen[event.progress.images_seen] = best(folder)["checkpoint"], names
                assert event.is_best == (best(folder)["images_seen"] == event.progress.images_seen)
    assert [seen[at][0] for at in (8, 16, 24, 40, 48)] == [
        "images-000000008",
        "stage-0004",
        "images-000000024",
        *2 * ("images-000000032",),
    ]
    assert seen[8][1] == ["images-000000008"]
    assert seen[16][1] == ["images-000000012", "stage-0004"]
    assert seen[40][1][-2:] == ["images-000000032", "images-000000036"]
    assert "images-000000032" in seen[48][1]
    # The newest two in between, and the best beside them.
    assert runs.names(checkpoints_of(folder)) == [*KEPT[:2], "images-000000056", *KEPT[2:]]
    assert best(folder)["checkpoint"] == "images-000000056"
    assert find_model(str(folder)).path.name == "images-000000056"  # what a measure chose, not the newest
    assert find_model(str(folder / "checkpoints" / "best.json")).path.name == "images-000000056"


def test_a_best_json_that_names_nothing_is_told(tmp_path: Path) -> None:
    file = tmp_path / "best.json"
    for text, told in (('{"checkpoint": "images-1"}', "images-1"), ("[]", "names no checkpoint"), ("{", "damaged")):
        file.write_text(text)
        with pytest.raises(ModelError, match=told):
            find_model(str(file))


@pytest.mark.parametrize("stops", [[4], [8, 32], [36], [40, 52], [56, 60]], ids=str)
@pytest.mark.parametrize("end", [stopped, killed], ids=["stopped", "killed"])
def test_a_run_that_ended_early_ends_as_if_it_never_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops: list[int], end: Any
) -> None:
    scripted(monkeypatch, UP_AND_DOWN)
    recipe = resolve(*MEASURED)
    train(tmp_path / "whole", recipe, forty())
    for at in stops:
        if end is stopped:
            stopped(tmp_path / "run", at, recipe=recipe, pictures=forty())
        else:
            killed(tmp_path / "run", recipe, at, forty())
    train(tmp_path / "run", recipe, forty())
    alike(tmp_path / "run", tmp_path / "whole")
    assert best(tmp_path / "run") == best(tmp_path / "whole")


def test_a_mark_that_a_kill_left_behind_is_made_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, UP_AND_DOWN)
    recipe = resolve(*MEASURED)
    killed(tmp_path / "run", recipe, 28, forty())
    before = (tmp_path / "run" / "checkpoints" / "best.json").read_bytes()
    killed(tmp_path / "run", recipe, 32, forty())
    (tmp_path / "run" / "checkpoints" / "best.json").write_bytes(before)
    with opened(tmp_path / "run", recipe, forty()) as run:
        assert best(tmp_path / "run")["checkpoint"] == "images-000000032"
        list(run.train())
    (tmp_path / "run" / "checkpoints" / "best.json").unlink()
    train(tmp_path / "whole", recipe, forty())
    (tmp_path / "whole" / "checkpoints" / "best.json").unlink()
    alike(tmp_path / "run", tmp_path / "whole")


def spoil_log(folder: Path) -> None:
    lines = (folder / "log.jsonl").read_bytes().splitlines()
    at = next(number for number, line in enumerate(lines) if json.loads(line)["images_seen"] == 32)
    lines[at] = b'{"images_seen": 32, "kid": {"16": "x"}, "features": [], "n": {}}'
    (folder / "log.jsonl").write_bytes(b"\n".join([b"\xff\0", *lines, b"[" * 10_000]) + b"\n")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a line of the log": spoil_log,
    "the whole log": lambda folder: (folder / "log.jsonl").write_bytes(b"\0" * 1000),
    "no log": lambda folder: (folder / "log.jsonl").unlink(),
    "best.json of NULs": lambda folder: (folder / "checkpoints/best.json").write_bytes(b"\0" * 100),
    "a deep best.json": lambda folder: (folder / "checkpoints/best.json").write_text("[" * 100_000),
    "best.json of another kind": lambda folder: (folder / "checkpoints/best.json").write_text('{"checkpoint": [1]}'),
    "best.json names what is not there": lambda folder: edit(
        folder / "checkpoints/best.json", lambda told: told | {"checkpoint": "images-000000003", "value": -1.0}
    ),
    "an older config.json": lambda folder: (folder / "checkpoints/stage-0004/config.json").write_text("[" * 100_000),
    "measures of another kind": lambda folder: edit(
        folder / "checkpoints/stage-0004/config.json", lambda config: config | {"measures": {"kid": "low", "n": []}}
    ),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_no_damaged_file_loses_the_best_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], object]
) -> None:
    scripted(monkeypatch, UP_AND_DOWN | {56: 6.5})
    folder, recipe = tmp_path / "run", resolve(*MEASURED)
    killed(folder, recipe, 36, forty())
    damage(folder)
    with opened(folder, recipe, forty()) as run:
        assert best(folder)["checkpoint"] == "images-000000032"
        list(run.train())
    assert best(folder) | {"value": 0} == {
        "checkpoint": "images-000000032",
        "measure": "kid",
        "value": 0,
        "images_seen": 32,
        "backbone": Means.label,
        "reference": "ten",
        "n": 12,
        "seed": 0,
    }
    verify(folder / "checkpoints" / "images-000000032")
    train(tmp_path / "whole", recipe, forty())
    for name in ("images-000000032", "stage-0008"):
        same(folder / "checkpoints" / name, tmp_path / "whole" / "checkpoints" / name)
    assert listing(folder) == listing(tmp_path / "whole")


def test_a_best_checkpoint_that_was_damaged_is_neither_named_nor_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, UP_AND_DOWN | {56: 6.5})
    folder, recipe = tmp_path / "run", resolve(*MEASURED)
    killed(folder, recipe, 36, forty())
    (folder / "checkpoints" / "images-000000032" / "config.json").write_bytes(b"\0" * 100)
    train(folder, recipe, forty())
    assert (folder / "checkpoints" / "images-000000032" / "generator_ema.safetensors").is_file()
    assert best(folder)["checkpoint"] == "stage-0008"  # of those that can be read


def test_a_checkpoint_tells_what_was_measured_there_and_what_it_was_saved_for(measured: Path) -> None:
    lines = {line["images_seen"]: line for line in logged(measured)}
    for checkpoint in checkpoints_of(measured):
        config = json.loads((checkpoint / "config.json").read_text())
        line = lines.get(config["position"]["images_seen"])
        if line is None:  # between two measures
            assert config["measures"] is None
        else:
            assert config["measures"]["decisive"] == "kid"
            assert all(
                config["measures"][key] == line[key] for key in ("kid", "coverage", "features", "reference", "n")
            )
        stage = checkpoint.name.startswith("stage")
        assert config["saved_for"] in (["stage"] if stage else ["interval", "best"])


def test_by_another_measure_another_one_is_the_best(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(folder, resolve(*MEASURED, "schedule.stabilize_kimg={4: 0.016, 8: 0.008}"), forty())
    longer = resolve(*MEASURED, "measures.name=coverage", "measures.every_kimg=1")
    at = {line["images_seen"]: line["coverage"] for line in logged(folder)}
    saved = [runs.position(checkpoint)["images_seen"] for checkpoint in checkpoints_of(folder)]
    with opened(folder, longer, forty(), allow=["schedule"]):
        told = best(folder)
    first = max((images_seen for images_seen in saved if images_seen in at), key=lambda seen: (at[seen], -seen))
    assert (told["measure"], told["value"], told["images_seen"]) == ("coverage", at[first], first)


def test_to_be_measured_or_not_is_another_recipe(tmp_path: Path) -> None:
    stopped(tmp_path / "run", 20, pictures=forty())
    with pytest.raises(ModelError, match=r"--allow measures\.every_kimg"):
        train(tmp_path / "run", resolve(*MEASURED[:1]), forty())


# What goes wrong


def test_an_error_while_measuring_is_a_note(tmp_path: Path, measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Means):
        def embed(self, pictures: Pictures, *, batch_size: int = 32) -> NDArray[np.float32]:
            raise ZeroDivisionError("of a measure")

    backbone(monkeypatch, Broken)
    events = train(tmp_path / "run", resolve(*MEASURED), forty())
    assert [event.notes for event in events if event.notes] == 8 * [("not measured: of a measure",)]
    assert all(line["notes"] == ["not measured: of a measure"] for line in logged(tmp_path / "run"))
    assert not (tmp_path / "run" / "checkpoints" / "best.json").exists()
    same(tmp_path / "run" / "checkpoints" / "stage-0008", measured / "checkpoints" / "stage-0008")


def test_without_a_backbone_patches_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Means:
        raise ModelError("no backbone: there is none\ninstall one")

    backbone(monkeypatch, missing)
    larger = ("resolution=16", "schedule.fade_kimg=0.004", "schedule.stabilize_kimg=0.004")
    with opened(tmp_path / "run", resolve(*MEASURED, *larger), forty(16)) as run:
        assert any("no kid is measured, swd instead: no backbone: there is none" in note for note in run.notes)
        events = list(run.train())
    lines = [line for line in logged(tmp_path / "run") if "swd" in line]
    assert all(line["kid"] is None and line["features"] is None for line in lines)
    assert best(tmp_path / "run")["value"] == min(line["swd"]["16"] for line in lines)
    assert [event.measured for event in events if event.measured] == [("swd", line["swd"]["16"]) for line in lines]
    with opened(tmp_path / "small", resolve(*MEASURED), forty()) as run:
        assert any("nothing is measured: swd needs pictures of 16 px" in note for note in run.notes)
        list(run.train())
    assert not any("swd" in line for line in logged(tmp_path / "small"))


def test_swd_asks_for_no_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone(monkeypatch, lambda: pytest.fail("asked"))
    with opened(tmp_path / "run", resolve(*MEASURED, "resolution=16", "measures.name=swd"), forty(16)) as run:
        assert run.measurer is not None
        assert run.measurer.criterion.features is None


def test_too_few_pictures_to_hold_out_are_told_before_training(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"1 of 40 clusters cannot be held out"):
        train(tmp_path / "run", resolve("measures.every_kimg=1", "measures.hold_out=0.02"), forty())
    assert not listing(tmp_path / "run")


# Patience


def line(images_seen: int, resolution: int = 8, **values: Any) -> dict[str, Any]:
    return {"images_seen": images_seen, "resolution": resolution, "features": "f", "n": 12, **values}


def test_the_best_is_the_lowest_or_of_coverage_the_highest() -> None:
    kid, coverage = (BestSoFar(Criterion(name, "f", 12), last_resolution=8) for name in ("kid", "coverage"))
    lines = [line(4, 4, kid=3.0, coverage=0.3), line(8, 4, kid=4.0, coverage=0.2), line(12, kid=2.0, coverage=0.4)]
    assert [kid.add(each) for each in lines[:2]] == [True, False]
    assert kid.waited == 0  # where a resolution is still to come, nothing is waited for
    assert kid.add(lines[2])
    assert [coverage.add(each) for each in lines] == [True, False, True]
    others = [line(16, kid=2.0), line(20, kid=None), line(24, kid=1.0, n=13), {**line(28, kid=1.0), "features": "g"}]
    assert not any(kid.add(each) for each in others)
    assert kid.waited == 1  # what is equal is no better; what cannot be compared does not count
    levels = BestSoFar(Criterion("swd", "f", 12), last_resolution=8)
    assert levels.add(line(4, swd={"32": 10.0, "16": 20.0}))
    assert not levels.add(line(8, swd={"32": 1.0, "16": 30.0}))
    assert levels.add(line(12, swd={"32": 19.0, "16": 10.0}))


def test_a_run_that_no_longer_improves_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, UP_AND_DOWN)
    folder, recipe = tmp_path / "run", resolve(*MEASURED)
    killed(folder, recipe, 44, forty(), patience=2)  # what it has waited for so far is in its log
    with opened(folder, recipe, forty(), patience=2) as run:
        events: list[Event] = list(run.train())
        assert run.finished
    assert events[-1].progress.images_seen == 48
    told = status(folder)
    assert (told["state"], told["exit"], told["last_checkpoint"]) == ("finished", 0, "checkpoints/images-000000048")
    assert told["reason"] == "kid has not improved for 2 measures, since 6 at 0.032 kimg"
    assert train(folder, recipe, forty(), patience=2) == []
    with opened(folder, recipe, forty(), patience=2) as run:
        assert run.finished
    train(folder, recipe, forty(), patience=3)
    assert "reason" not in status(folder)
    train(tmp_path / "whole", recipe, forty())
    alike(folder, tmp_path / "whole")


def test_where_it_ended_between_checkpoints_it_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, UP_AND_DOWN)
    train(tmp_path / "run", resolve(*MEASURED), forty(), patience=1)
    assert status(tmp_path / "run")["last_checkpoint"] == "checkpoints/images-000000040"
    train(tmp_path / "run", resolve(*MEASURED), forty())
    train(tmp_path / "whole", resolve(*MEASURED), forty())
    alike(tmp_path / "run", tmp_path / "whole")


def test_patience_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted(monkeypatch, UP_AND_DOWN)
    monkeypatch.chdir(tmp_path)
    runs.write_recipe(tmp_path)
    runs.pictures(tmp_path / "faces", 40)
    command = ["pretrain", "tiny.yaml", "--data", "faces", "--patience", "2"]
    assert cli.main(command) == 2
    assert "--set measures.every_kimg=10" in capsys.readouterr().err
    settings = [part for setting in MEASURED for part in ("--set", setting)]
    assert cli.main([*command, *settings, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["images_seen"] == 48
    assert json.loads(out)["best"] == "runs/tiny-faces/checkpoints/best.json"
    assert "stopped: kid has not improved for 2 measures" in err
    assert "kid 6, the best" in err
    assert "best by kid, 6: images-000000032" in err
    assert cli.main(["sample", "runs/tiny-faces/checkpoints/best.json", "--count", "1"]) == 0
    assert "images-000000032" in capsys.readouterr().err


def test_patience_needs_measures(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="--patience waits for measures"):
        train(tmp_path / "run", resolve(), patience=3)


def test_only_what_is_clearly_better_is_waited_for() -> None:
    kid = BestSoFar(Criterion("kid", "f", 12), last_resolution=8)
    waits = []
    for images_seen, value in ((4, 9.0), (8, 8.9), (12, 8.7), (16, 7.9), (20, 7.8), (24, 6.9)):
        kid.add(line(images_seen, kid=value, kid_std=0.5))
        waits.append((kid.value, kid.waited))
    # By twice 0.5 is better: 7.9 than 9.0, but none of those between them; what is best is another matter.
    assert waits == [(9.0, 0), (8.9, 1), (8.7, 2), (7.9, 0), (7.8, 1), (6.9, 2)]
    coverage = BestSoFar(Criterion("coverage", "f", 12), last_resolution=8)
    coverage.add(line(4, coverage=0.3))
    coverage.add(line(8, coverage=0.31))
    assert coverage.waited == 0  # no deviation is known of it


# What fine-tuning does by default


@pytest.fixture
def tuned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., FinishedRun]:
    """Fine-tunes on forty pictures as if they were five hundred."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("animepggan.run.library.MEASURED_FROM", 40)
    runs.write_recipe(tmp_path, runs.FEW, "few")
    data = runs.pictures(tmp_path / "yui", 40, seed=9)

    def call(settings: Mapping[str, object] = {}, **options: Any) -> FinishedRun:
        values = {"measures.count": 12, **settings}
        return finetune(runs.trained(), data, recipe="few.yaml", settings=values, **options)

    return call


def measured_at(folder: Path) -> list[int]:
    return [line["images_seen"] for line in logged(folder) if line.get("kid") is not None]


def test_a_large_set_is_measured_by_default_and_a_small_one_is_not(
    tuned: Callable[..., FinishedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, dict.fromkeys(range(4, 49, 4), 5.0), kid_std=1.0)
    run = tuned(patience=0)
    assert run.images_seen == run.total_images == 48
    assert run.best == run.folder / "checkpoints" / "images-000000004"
    assert find_model(str(run.folder)).path == run.best
    told = json.loads((run.checkpoint / "config.json").read_text())["provenance"]["corpus"]
    assert 2 <= told["held_out"] <= 6  # about a tenth of forty
    small = tuned(settings={"measures.every_kimg": 0})
    assert (small.best, small.folder.name, measured_at(small.folder)) == (None, "yui-2", [])
    told = json.loads((small.checkpoint / "config.json").read_text())["provenance"]["corpus"]
    assert told["held_out"] is None
    monkeypatch.setattr("animepggan.run.library.MEASURED_FROM", 41)
    again = tuned()
    assert (again.folder, again.best) == (small.folder, None)


def test_it_ends_by_default_once_it_does_not_improve(
    tuned: Callable[..., FinishedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, {images: 5.0 - images / 1000 for images in range(4, 49, 4)}, kid_std=1.0)
    run = tuned()
    assert len(measured_at(run.folder)) == 1 + PATIENCE
    assert run.images_seen == measured_at(run.folder)[-1] < 48
    assert status(run.folder)["reason"].startswith("kid has not improved for 5 measures, since 4.996 at 0.004 kimg")
    assert run.best == run.folder / "checkpoints" / f"images-{run.images_seen:09d}"  # if only by a hair
    assert tuned(patience=0).images_seen == 48


def test_measures_take_a_tenth_of_the_time_and_a_run_that_goes_on_keeps_their_interval(
    tuned: Callable[..., FinishedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    class EnoughError(Exception):
        pass

    def stop(event: Event) -> None:
        if event.progress.images_seen == 24:
            raise EnoughError

    def slow(_: Measurer, state: Any) -> dict[str, Any]:
        time.sleep(1.0 if state.images_seen == 4 else 0.0)
        return {"kid": 5.0, "features": Means.label, "reference": "ten", "n": 12, "seed": 0}

    monkeypatch.setattr(Measurer, "measure", slow)
    with pytest.raises(EnoughError):
        tuned(watch=stop)
    (recorded,) = Path("runs/yui").glob("recipe.yaml")
    every = load_recipe(recorded).recipe.measures.every_kimg
    assert 0.0024 < every <= 0.048  # a twentieth of the run, had they been quick
    saved = json.loads((checkpoints_of(Path("runs/yui"))[-1] / "config.json").read_text())
    assert saved["provenance"]["recipe"]["measures"]["every_kimg"] == every
    run = tuned()
    assert run.folder == Path("runs/yui")
    assert load_recipe(recorded).recipe.measures.every_kimg == every
    assert [images for images in measured_at(run.folder) if images < every * 1000] == [4]
    assert measured_at(run.folder)[-1] == 48


def test_tensorboard_gets_the_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    scripted(monkeypatch, dict.fromkeys(UP_AND_DOWN, 2.0), swd={"16": 3.0})
    train(tmp_path / "run", resolve(*MEASURED, "log.tensorboard=true"), forty())
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    for name, value in (("kid", 2.0), ("swd/16", 3.0)):
        assert [(point.step, point.value) for point in events.Scalars(name)] == [(at, value) for at in UP_AND_DOWN]
