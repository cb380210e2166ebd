"""The benchmark measures what it says, keeps what it measured and does not measure it again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
CASE = "demo/8/fp32"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import benchmark

    return benchmark


def run(benchmark: Any, patch: pytest.MonkeyPatch, results: Path, *arguments: str) -> None:
    """The command, in this process: another would spend seconds on importing torch."""
    options = ["--only", CASE, "--results", str(results), "--seconds", "0.1", "--without-peer", *arguments]
    patch.setattr("sys.argv", ["benchmark", *options])
    benchmark.main()


def test_a_case_is_measured_once_and_tabled(
    benchmark: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    results = tmp_path / "kept" / "benchmark.jsonl"
    run(benchmark, monkeypatch, results)
    first = capsys.readouterr()
    assert f"measuring {CASE}" in first.err
    (line,) = results.read_text().splitlines()
    found = json.loads(line)
    assert found["case"] == CASE
    assert found["seconds"].keys() == {"fast", "plain"}
    assert len(found["seconds"]["fast"]) == len(found["seconds"]["plain"]) >= 7
    assert min(found["seconds"]["fast"]) > 0
    table = first.out.splitlines()
    assert "1 thread, its processor time, 16 images a step" in table[0]
    assert sum(row.startswith("| demo | 8 | ") for row in table) == 1
    assert not any(row.startswith(("| anime", "| demo | 16")) for row in table)  # of which nothing was measured

    run(benchmark, monkeypatch, results)
    assert capsys.readouterr() == (first.out, "")
    run(benchmark, monkeypatch, results, "--again")
    assert len(results.read_text().splitlines()) == 2
    # Other conditions are another measurement.
    capsys.readouterr()
    kept = [{**json.loads(line), "machine": "another"} for line in results.read_text().splitlines()]
    results.write_text("".join(json.dumps(one) + "\n" for one in kept))
    run(benchmark, monkeypatch, results)
    assert "measuring" in capsys.readouterr().err


def test_the_two_steps_train_the_same_networks_as_their_recipe_does(benchmark: Any) -> None:
    cases = list(benchmark.cases())
    assert len({case.key for case in cases}) == len(cases) == 2 * (4 + 2)
    for case in cases:
        recipe = benchmark.recipe_of(case)
        assert (recipe.name, recipe.resolution) == (case.recipe, case.resolution)
        widths = recipe.network.fmap_base, recipe.network.fmap_max
        assert widths == {"demo": (256, 64), "anime": (8192, 512)}[recipe.name]
        assert recipe.latent_dim == recipe.network.fmap_max  # as the peer's discriminator has it
        assert recipe.schedule.batch_size == 16
        if case.recipe == "demo" and case.resolution == 8:
            fast, plain = (benchmark.Ours(case, reference=reference) for reference in (False, True))
            assert (fast.state.reference, plain.state.reference) == (False, True)
            assert fast.state.architecture == plain.state.architecture
            assert fast.precision == plain.precision == case.precision
            for contestant in (fast, plain):
                contestant()
                assert contestant.state.images_seen == 16


def test_a_ratio_is_the_others_time_over_ours_and_bold_where_a_goal_is_reached(benchmark: Any) -> None:
    seconds = {"fast": [1.0, 1, 1, 1, 1], "plain": [1.0, 2, 3, 4, 5], "peer": [1.9, 1.9, 1.9, 1.9, 1.9]}
    results = {CASE: {"case": CASE, "seconds": seconds}}
    rows = benchmark.table(results, "here").splitlines()
    assert rows[0] == "here"
    assert "| demo | 8 | **3.00** (1.50-4.50) | 1.90 (1.90-1.90) | - | - |" in rows
    assert "fp32 1.2 over autograd in the same precision and 2 over the peer's float32" in rows[-1]
