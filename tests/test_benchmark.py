"""The benchmark measures what it says, keeps what it measured and does not measure it again."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from animepggan.training import convolution

SCRIPTS = Path(__file__).parents[1] / "scripts"
CASE = "small/4/steady/before"
SIZES = [
    *itertools.product(["small"], [4, 8, 16], ["steady"]),
    ("small", 8, "fade"),
    *(pytest.param((*each, "steady"), marks=pytest.mark.slow) for each in [("small", 32), ("full", 4), ("full", 8)]),
]


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import benchmark

    return benchmark


def run(benchmark: Any, patch: pytest.MonkeyPatch, results: Path, *arguments: str) -> None:
    """The command, in this process: a child would spend seconds on importing torch."""

    def child(case: Any, options: Any) -> Any:
        return benchmark.measure(case, options.batch_size, options.seconds)

    patch.setattr(benchmark, "child", child)
    options = ["--seconds", "0.1", "--threads", "1", "--batch-size", "4", *arguments]
    patch.setattr("sys.argv", ["benchmark", "--only", CASE, "--results", str(results), *options])
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
    assert len(found["ratios"]) >= 5
    assert found["plain_seconds"] > 0 < found["fast_seconds"]
    table = first.out.splitlines()
    assert "1 thread, its processor time, 4 images a step" in table[0]
    assert len(table) == 5
    assert table[-1].startswith("| small | 4 | steady | - | **")
    assert "bf16" not in first.out  # of which nothing was measured

    run(benchmark, monkeypatch, results)
    assert capsys.readouterr() == (first.out, "")
    run(benchmark, monkeypatch, results, "--again")
    assert len(results.read_text().splitlines()) == 2
    # Other conditions are another measurement.
    run(benchmark, monkeypatch, results, "--batch-size", "8")
    assert "measuring" in capsys.readouterr().err


def test_every_case_trains_by_both_steps_on_the_same_networks(benchmark: Any) -> None:
    cases = list(benchmark.cases())
    assert len({case.key for case in cases}) == len(cases) == 3 * (6 + 5 + 3 + 2)
    for case in cases:
        if case.widths == "small" and case.resolution in (4, 8):
            plain, fast = (benchmark.Stepper(case, 4, plain=plain) for plain in (True, False))
            assert plain.state.reference
            assert not fast.state.reference
            assert plain.state.architecture == fast.state.architecture
            assert plain.state.architecture["fused_down"] == (case.variant != "after")
            assert plain.precision == "fp32"
            assert fast.precision == ("bf16" if case.variant == "bf16" else "fp32")
            assert plain.moment.resolution == case.resolution
            assert (plain.moment.alpha < 1) == (case.phase == "fade")
            assert min(plain(), fast()) > 0


def test_the_ratio_is_plain_time_over_fast_time(benchmark: Any) -> None:
    case = benchmark.Case("small", 4, "steady", "after")
    found = {
        "case": case.key,
        "ratios": [1.0, 2.0, 3.0, 4.0, 5.0],
        "plain_seconds": 3.0,
        "fast_seconds": 1.0,
        "plain_memory": 2e6,
        "fast_memory": 1e6,
    }
    told = "| small | 4 | steady | 3 | **3.00** (1.50-4.50), 1 of 2 MB |"
    assert benchmark.table({case.key: found}, "here").splitlines()[-1] == told


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "-".join(map(str, size)))
@pytest.mark.parametrize("variant", ["after", "before", "bf16"])
def test_peak_memory_is_not_above_the_plain_steps(
    size: tuple[str, int, str], variant: str, benchmark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolution, "_kept", {})  # memory that earlier steps of this process have left
    case = benchmark.Case(*size, variant)
    plain, fast = (benchmark.memory_of(benchmark.Stepper(case, 16, plain=plain)) for plain in (True, False))
    assert 0 < fast <= plain


def test_memory_is_the_most_that_is_held_at_once(benchmark: Any) -> None:
    def step() -> None:
        first = torch.zeros(1 << 20)
        del first
        second = torch.zeros(1 << 19), torch.zeros(1 << 19)
        del second

    assert benchmark.memory_of(step) == pytest.approx(4 << 20, rel=0.01)
