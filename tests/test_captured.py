"""The step as CUDA graphs, without a GPU: stand-ins that, as graphs do, know only the tensors of their recording."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import runs
import torch
from torch import Tensor, nn

from animepggan import cli
from animepggan.objectives import DiscriminatorLoss
from animepggan.training import captured, loop
from animepggan.training.state import State

OPTIONS: dict[str, tuple[str, ...]] = {
    "two batches of latents": (),
    "shared latents": ("objective.shared_latents=true",),
    "two critic steps": ("schedule.n_critic=2",),
    "lecam": ("lecam=0.1",),
    "r1-logistic": ("objective.name=r1-logistic",),
    "r3": ("objective.name=r3",),
    "diffaugment": ("augment=diffaugment",),
    "bf16": (),
}


class Recorder:
    """What torch.cuda does with a GPU, as far as its results go."""

    def __init__(self) -> None:
        self.recorded: list[str] = []
        self.replayed: list[str] = []

    def differentiable(self, module: nn.Module, sample: tuple[Tensor], **options: Any) -> Callable[[Tensor], Tensor]:
        recorder, name = self, module.function.__name__  # type: ignore[union-attr]
        (static,) = sample
        self.recorded.append(name)
        grad_mode = torch.is_grad_enabled()
        surface = [each for each in (static, *module.parameters()) if each.requires_grad]
        kept: dict[str, Any] = {}

        class Replayed(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, inputs: Tensor, *parameters: Tensor) -> Tensor:
                recorder.replayed.append(name)
                static.detach().copy_(inputs)
                with torch.set_grad_enabled(grad_mode):
                    kept["outputs"] = module(static)
                if "shown" in kept:
                    kept["shown"].copy_(kept["outputs"].detach())
                else:
                    kept["shown"] = kept["outputs"].detach().clone()
                return kept["shown"].detach()  # type: ignore[no-any-return]

            @staticmethod
            def backward(ctx: Any, delta: Tensor) -> tuple[Tensor | None, ...]:
                found = torch.autograd.grad(kept["outputs"], surface, delta, allow_unused=options["allow_unused_input"])
                by = {id(each): gradient for each, gradient in zip(surface, found, strict=True)}
                return tuple(by.get(id(each)) for each in (static, *module.parameters()))

        return lambda inputs: Replayed.apply(inputs, *module.parameters())  # type: ignore[no-any-return, no-untyped-call]

    def record(self, function: Callable[[], DiscriminatorLoss]) -> tuple[DiscriminatorLoss, Callable[[], None]]:
        self.recorded.append("wgan_gp")
        result = function()
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))  # type: ignore[attr-defined]
        parameters = list(cells["discriminator"].cell_contents.parameters())
        gradients = [parameter.grad for parameter in parameters]

        def replay() -> None:
            self.replayed.append("wgan_gp")
            for part, anew in zip(result, function(), strict=True):
                part.copy_(anew)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    gradient.copy_(parameter.grad)

        return result, replay


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", recorder.differentiable)
    monkeypatch.setattr(captured, "record", recorder.record)
    return recorder


def train(overrides: tuple[str, ...], precision: str, *, capture: bool) -> tuple[State, list[float]]:
    state = runs.state(*overrides, capture=capture)
    steps = loop.run(state, runs.schedule(state.recipe), runs.corpus(), precision=precision)
    return state, [step.loss_discriminator for step in steps]


@pytest.mark.parametrize("name", OPTIONS)
def test_replayed_steps_are_the_steps_that_they_stand_for(name: str, recorder: Recorder) -> None:
    precision = "bf16" if name == "bf16" else "fp32"
    plain, losses = train(OPTIONS[name], precision, capture=False)
    ours, replayed = train(OPTIONS[name], precision, capture=True)
    assert replayed == losses
    for role, network in plain.networks.items():
        found = ours.networks[role].state_dict()
        assert all(torch.equal(found[key], value) for key, value in network.state_dict().items()), role
    assert len(recorder.replayed) > len(recorder.recorded) > 0


def test_every_stage_records_its_own(recorder: Recorder) -> None:
    state, _ = train((), "fp32", capture=True)
    assert state.resolution == 8
    assert recorder.recorded.count("wgan_gp") == 2


def test_what_changes_from_step_to_step_is_not_recorded(recorder: Recorder) -> None:
    train(("lecam=0.1",), "fp32", capture=True)
    assert recorder.replayed.count("wgan_gp") == 1  # in the first step, which has no averages yet
    assert recorder.recorded.count("generate") == 4  # with a graph and without, at 4 and at 8 px


def test_frozen_layers_are_recorded_anew(recorder: Recorder) -> None:
    state = runs.state(capture=True)
    assert state.captured is not None
    latents = torch.randn(2, state.recipe.latent_dim)
    for frozen in (False, True):
        first = next(iter(state.generator.parameters())).requires_grad_(not frozen)
        state.captured.generate(state.generator, latents, 1.0, "fp32").sum().backward()
        assert (first.grad is None) == frozen
        state.generator.zero_grad()


@pytest.mark.parametrize(
    ("option", "said"),
    [("--device=cpu", "CUDA graphs need a CUDA device, and this run is on cpu"), ("--reference", "exclude each other")],
)
def test_a_cpu_has_no_graphs_to_replay(option: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["pretrain", "demo", "--capture", option]) == 2
    assert said in capsys.readouterr().err
