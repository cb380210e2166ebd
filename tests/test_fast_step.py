"""The fast step's derivatives are the plain step's."""

from __future__ import annotations

import copy
import itertools
import statistics
from typing import Any

import pytest
import torch
from networks import tiny
from runs import CPU, corpus
from torch import Tensor, nn
from torch.autograd.profiler import profile

from animepggan.networks import Discriminator, Generator, build_discriminator, build_generator
from animepggan.networks.minimal import TILES
from animepggan.recipe import Recipe, schedule_of
from animepggan.recipe.keys import ObjectiveOptions
from animepggan.schedule import Moment
from animepggan.training import fast, reference
from animepggan.training.fast import convolution
from animepggan.training.loop import step
from animepggan.training.state import State

LATENTS = 8
TOLERANCE = 1e-10  # of each tensor's norm, in float64
RESOLUTIONS = [4, 8, 16, 32, *(pytest.param(side, marks=pytest.mark.slow) for side in (64, 128))]
D_OPTIONS = [
    {"statistic": statistic, "fused_down": fused_down, "group_size": group_size}
    for statistic, fused_down, group_size in itertools.product(("stddev", "variance"), (True, False), (2, 3, "batch"))
]
G_OPTIONS = [
    {"norm": norm, "norm_first": norm_first, "norm_latent": norm_latent}
    for norm, norm_first, norm_latent in itertools.product(("after", "before"), (True, False), (True, False))
]


def shaken(network: Any, dtype: torch.dtype = torch.float64) -> Any:
    """The network with biases that are not 0."""
    torch.manual_seed(1)
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return network.to(dtype=dtype, memory_format=torch.channels_last)


def discriminator(resolution: int, **options: Any) -> Discriminator:
    torch.manual_seed(0)
    return shaken(build_discriminator(tiny(resolution, **{"group_size": 3, **options})))


def generator(resolution: int, **options: Any) -> Generator:
    torch.manual_seed(0)
    # Four channels at least: pixel norm of a single one is its sign, whose derivative is all rounding.
    return shaken(build_generator(tiny(resolution, **{"fmap_base": 2 * max(16, resolution), **options})))


def alphas(resolution: int) -> tuple[float, ...]:
    return (1.0,) if resolution == 4 else (0.0, 0.3, 1.0)


def pictures(resolution: int, n: int = 6, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Real, fake and mix."""
    torch.manual_seed(2)
    real, fake = torch.randn(2, n, 3, resolution, resolution, dtype=torch.float64)
    return real.to(dtype), fake.to(dtype), torch.rand(n, dtype=torch.float64).to(dtype)


def gradients(network: nn.Module) -> dict[str, Tensor | None]:
    return {name: parameter.grad for name, parameter in network.named_parameters()}


def learn(
    module: Any, network: Discriminator, alpha: float, precision: str = "fp32", **objective: float
) -> tuple[list[float], dict[str, Tensor | None]]:
    """The parts of the loss, and every gradient, by one of the two modules."""
    network = copy.deepcopy(network)
    dtype = next(network.parameters()).dtype
    real, fake, mix = pictures(network.resolution, dtype=dtype)
    loss = module.wgan_gp(network, real, fake, mix, alpha, ObjectiveOptions(**objective), precision)
    return [part.item() for part in loss[:4]], gradients(network)


def draw(module: Any, network: Generator, alpha: float, precision: str = "fp32") -> tuple[Tensor, dict[str, Any]]:
    network = copy.deepcopy(network)
    torch.manual_seed(3)
    dtype = next(network.parameters()).dtype
    latents = torch.randn(5, network.latent_dim, dtype=torch.float64).to(dtype)
    drawn = module.generate(network, latents, alpha, precision)
    direction = torch.randn(drawn.shape, dtype=torch.float64).to(drawn.dtype)
    (drawn * direction).sum().backward()
    return drawn.detach(), gradients(network)


def close(one: Tensor, other: Tensor, tolerance: float = TOLERANCE) -> bool:
    return bool((one - other).norm() <= tolerance * one.norm())


def apart(plain: dict[str, Tensor | None], ours: dict[str, Tensor | None]) -> list[str]:
    """The gradients that differ."""
    assert plain.keys() == ours.keys()
    return [
        name
        for name, one in plain.items()
        if (one is None) != (ours[name] is None) or (one is not None and not close(one, ours[name]))
    ]


@pytest.mark.parametrize("resolution", RESOLUTIONS)
@pytest.mark.parametrize("options", D_OPTIONS, ids=lambda options: "-".join(map(str, options.values())))
def test_the_discriminators_gradient_is_the_plain_one(resolution: int, options: dict[str, Any]) -> None:
    network = discriminator(resolution, **options)
    for alpha in alphas(resolution):
        plain_loss, plain = learn(reference, network, alpha, penalty_target=0.7)
        loss, ours = learn(fast, network, alpha, penalty_target=0.7)
        assert loss == pytest.approx(plain_loss, rel=1e-12)
        assert apart(plain, ours) == []
        assert any(name.startswith(f"from_rgb.{resolution}.") for name, value in ours.items() if value is not None)


@pytest.mark.parametrize("resolution", RESOLUTIONS)
@pytest.mark.parametrize("options", G_OPTIONS, ids=lambda options: "-".join(map(str, options.values())))
def test_the_generators_pictures_and_gradient_are_the_plain_ones(resolution: int, options: dict[str, Any]) -> None:
    network = generator(resolution, **options)
    for alpha in alphas(resolution):
        plain_drawn, plain = draw(reference, network, alpha)
        drawn, ours = draw(fast, network, alpha)
        assert close(plain_drawn, drawn)
        assert apart(plain, ours) == []


@pytest.fixture
def minimal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Minimal filtering, in more than one part, for layers of any width."""
    monkeypatch.setattr(convolution, "WIDE", 1)
    for tile, most in ((2, 8), (4, 2)):
        monkeypatch.setitem(TILES, tile, most)


@pytest.mark.usefixtures("minimal")
@pytest.mark.parametrize("resolution", RESOLUTIONS)
@pytest.mark.parametrize("fused_down", [True, False])
def test_minimal_filtering_has_the_plain_gradients(resolution: int, fused_down: bool) -> None:
    judge, drawer = discriminator(resolution, fused_down=fused_down), generator(resolution)
    for alpha in alphas(resolution):
        assert apart(learn(reference, judge, alpha)[1], learn(fast, judge, alpha)[1]) == []
        assert apart(draw(reference, drawer, alpha)[1], draw(fast, drawer, alpha)[1]) == []


@pytest.mark.parametrize("fused_down", [True, False])
@pytest.mark.parametrize("trained", [True, False], ids=["trained", "frozen"])
def test_scores_have_the_plain_derivatives(fused_down: bool, trained: bool) -> None:
    network = discriminator(16, fused_down=fused_down).requires_grad_(trained)
    real, _, _ = pictures(16)
    for alpha in (0.3, 1.0):
        found = []
        for module in (reference, fast):
            network.zero_grad()
            inputs = real.clone().requires_grad_()
            scores = module.discriminate(network, inputs, alpha, "fp32")
            (scores * torch.arange(1, 7)).sum().backward()
            found.append({"scores": scores.detach(), "inputs": inputs.grad} | gradients(network))
        assert apart(*found) == []
        assert (found[1]["blocks.4.conv0.weight"] is not None) == trained


def test_a_discriminator_that_is_flat_has_a_finite_gradient() -> None:
    network = discriminator(8)
    for parameter in network.parameters():
        parameter.data.zero_()
    for module in (reference, fast):
        _, found = learn(module, network, 1.0)
        assert all(value.isfinite().all() for value in found.values() if value is not None)


FROZEN = [
    ("from_rgb", "blocks.16"),
    ("from_rgb", "blocks.16.conv0"),
    ("blocks.4",),
    ("from_rgb", "blocks"),
    ("blocks.8",),
]


@pytest.mark.parametrize("frozen", FROZEN, ids=" ".join)
@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_frozen_layers_get_no_gradient_and_change_no_other(frozen: tuple[str, ...], alpha: float) -> None:
    whole = discriminator(16)
    partly = copy.deepcopy(whole)
    still = {name for name, _ in partly.named_parameters() if name.startswith(frozen)}
    still -= {"blocks.4.linear.bias"}  # something has to be trained
    for name in still:
        partly.get_parameter(name).requires_grad_(False)
    expected = {name: None if name in still else value for name, value in learn(fast, whole, alpha)[1].items()}
    assert apart(expected, learn(fast, partly, alpha)[1]) == []


def test_gradients_lie_in_memory_as_their_parameters_do() -> None:
    judge, drawer = discriminator(16), generator(16)
    for network, found in ((judge, learn(fast, judge, 0.3)[1]), (drawer, draw(fast, drawer, 0.3)[1])):
        for name, value in found.items():
            parameter = network.get_parameter(name)
            assert value is None or (value.stride() == parameter.stride() and value.dtype == parameter.dtype)


def errors(exact: dict[str, Any], found: dict[str, Any]) -> list[float]:
    """Of each tensor, relative to its norm."""
    pairs = [(value, found[name]) for name, value in exact.items() if value is not None]
    return [((other - value).norm() / value.norm()).item() for value, other in pairs]


@pytest.mark.parametrize("kernels", ["fp32", "fp32 minimal", "bf16", pytest.param("fp32 wide", marks=pytest.mark.slow)])
@pytest.mark.parametrize("network", ["discriminator", "generator"])
def test_the_rounding_error_is_at_most_twice_the_plain_steps(
    network: str, kernels: str, request: pytest.FixtureRequest
) -> None:
    precision, _, kind = kernels.partition(" ")
    if kind == "minimal":
        request.getfixturevalue(kind)
    side, widths = (
        (8, {"fmap_base": 8192, "fmap_max": 512}) if kind == "wide" else (16, {"fmap_base": 512, "fmap_max": 32})
    )
    # A feature near 0 whose sign rounding turns outweighs all other errors, and in which of the two it happens is
    # chance: so the median over some networks.
    build: Any = build_discriminator if network == "discriminator" else build_generator
    derive: Any = learn if network == "discriminator" else draw
    found: dict[Any, list[float]] = {fast: [], reference: []}
    for seed in range(8):
        torch.manual_seed(seed)
        single = build(tiny(side, **widths, group_size=3)).to(memory_format=torch.channels_last)
        exact = derive(reference, copy.deepcopy(single).double(), 0.3)[1]
        for module, means in found.items():
            by_name = derive(module, single, 0.3, precision)[1]
            assert all(value is None or value.dtype == torch.float32 for value in by_name.values())
            means.append(statistics.mean(errors(exact, by_name)))
    ours, plain = statistics.median(found[fast]), statistics.median(found[reference])
    assert 0 < ours <= 2 * plain
    # Among so many features of a wide discriminator some sign turns nearly always, in either step.
    assert ours < (0.2 if precision == "bf16" else 1e-4 if kind == "wide" else 1e-5)


def test_nothing_is_kept_where_no_gradient_is_asked_for() -> None:
    with torch.no_grad():
        drawn = fast.generate(generator(8), torch.randn(2, LATENTS, dtype=torch.float64), 1.0, "fp32")
    assert not drawn.requires_grad


def memory_of(state: State, phase: str, precision: str) -> int:
    """The most bytes that tensors take in the first two steps, above those of the networks.

    Counted by torch's own bookkeeping: a process's resident memory also holds libraries' code and the heap's holes,
    which differ from run to run by more than a small step takes.
    """
    given = schedule_of(state.recipe, first_resolution=4)
    of = next(each for each in given.phases if (each.resolution, each.name) == (state.resolution, phase))
    moment = Moment(of.start, of, 0.5 if phase == "fade" else 1.0, 0.001)
    with profile(profile_memory=True) as found:
        for _ in range(2):
            step(state, given, moment, corpus(16, side=state.resolution), precision=precision)
    assert found.kineto_results is not None
    changes = [event for event in found.kineto_results.events() if event.name() == "[memory]"]
    changes.sort(key=lambda event: event.start_ns())
    return max(itertools.accumulate(event.nbytes() for event in changes))


NARROW, WIDE = (2048, 64), (8192, 512)
SIZES = [
    *((NARROW, side, "stabilize") for side in (4, 8, 16)),
    (NARROW, 8, "fade"),
    pytest.param((NARROW, 32, "stabilize"), marks=pytest.mark.slow),
    *(pytest.param((WIDE, side, "stabilize"), marks=pytest.mark.slow) for side in (4, 8)),
]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "-".join(map(str, size)))
@pytest.mark.parametrize(("fused_down", "precision"), [(False, "fp32"), (True, "fp32"), (True, "bf16")])
def test_peak_memory_is_not_above_the_plain_steps(
    size: tuple[tuple[int, int], int, str], fused_down: bool, precision: str
) -> None:
    (fmap_base, fmap_max), side, phase = size
    given = Recipe.model_validate(
        {
            "name": "memory",
            "resolution": side,
            "network": {"fmap_base": fmap_base, "fmap_max": fmap_max, "fused_down": fused_down},
            "schedule": {"batch_size": 16},
            "objective": {"shared_latents": fused_down},
        }
    )
    states = (State(given, side, CPU, reference=reference) for reference in (False, True))
    ours, plain = (memory_of(state, phase, precision) for state in states)
    assert 0 < ours <= 1.02 * plain  # at 4 px the latents weigh as much as all else
