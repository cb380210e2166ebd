"""The plain step or the fast one, and in which precision: options of a command, not of a recipe."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from runs import pictures, write_recipe

from animepggan import cli
from animepggan.checkpoint import load_networks, read_config

SHORT = ("--set", "schedule.stabilize_kimg=0.008", "--set", "schedule.fade_kimg=0.008")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with a recipe and pictures in it."""
    monkeypatch.chdir(tmp_path)
    write_recipe(tmp_path)
    pictures(tmp_path / "faces")
    return tmp_path


def pretrain(output: str, *more: str) -> None:
    assert cli.main(["pretrain", "tiny.yaml", "--data", "faces", *SHORT, "-o", output, "--quiet", *more]) == 0


def test_reference_trains_by_the_plain_step_to_the_same_weights() -> None:
    pretrain("fast")
    pretrain("plain", "--reference")
    ours, plain = (load_networks(Path(run, "checkpoints", "stage-0008")) for run in ("fast", "plain"))
    differing = 0
    for role, network in plain.items():
        for name, value in network.named_parameters():
            torch.testing.assert_close(ours[role].get_parameter(name), value, rtol=1e-2, atol=1e-4, msg=name)
            differing += not torch.equal(ours[role].get_parameter(name), value)
    assert differing > 0  # by rounding: it is another step


def test_a_run_that_goes_on_in_another_precision_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    pretrain("run", "--precision", "bf16")
    config = read_config(Path("run/checkpoints/stage-0008"))
    assert config["provenance"]["precision"] == "bf16"
    capsys.readouterr()
    longer = ("--set", "schedule.stabilize_kimg=0.016", "--allow", "schedule.stabilize_kimg")
    pretrain("run", *longer)
    assert "run: trained in bf16 so far, goes on in fp32" in capsys.readouterr().err
    pretrain("run", *longer)
    assert "goes on in" not in capsys.readouterr().err
