"""The walk is closed, of one speed, and on the sphere."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from animepggan.sampling.latents import closed_walk, latents_of, slerp


def angle(a: Tensor, b: Tensor) -> float:
    a, b = a.double() / a.double().norm(), b.double() / b.double().norm()
    return 2 * math.atan2(float((a - b).norm()), float((a + b).norm()))


def test_a_quarter_circle_by_hand() -> None:
    half = slerp(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 3.0]), 0.5)
    assert torch.allclose(half, 2 * torch.tensor([0.5, 0.5]).sqrt())  # 45 degrees; the norm halfway from 1 to 3
    third = slerp(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), 1 / 3)
    assert torch.allclose(third, torch.tensor([math.cos(math.pi / 6), math.sin(math.pi / 6)]))


@given(st.integers(0, 999), st.integers(0, 999), st.integers(2, 64), st.floats(0, 1))
def test_slerp_turns_at_constant_speed_and_moves_the_norm_linearly(a: int, b: int, size: int, fraction: float) -> None:
    start, end = latents_of([a, b], size)
    point = slerp(start, end, fraction)
    assert point.dtype == start.dtype
    assert angle(start, point) == pytest.approx(fraction * angle(start, end), abs=1e-5)
    assert angle(point, end) == pytest.approx((1 - fraction) * angle(start, end), abs=1e-5)
    assert float(point.norm()) == pytest.approx(float(start.norm() + fraction * (end.norm() - start.norm())), rel=1e-5)


def test_slerp_between_parallel_latents() -> None:
    start = torch.tensor([3.0, 4.0, 0.0])
    assert torch.equal(slerp(start, start, 0.3), start)
    assert torch.allclose(slerp(start, 3 * start, 0.5), 2 * start)
    nearly = start + torch.tensor([0.0, 0.0, 1e-6])
    assert torch.allclose(slerp(start, nearly, 0.5), start, atol=1e-5)


@pytest.mark.parametrize("wobble", [0.0, 1e-7])
def test_slerp_between_opposite_latents_keeps_off_the_center(wobble: float) -> None:
    start = torch.tensor([3.0, 4.0, 0.0])
    end = -start + torch.tensor([0.0, 0.0, wobble])
    points = [slerp(start, end, step / 8) for step in range(9)]
    for step, point in enumerate(points):
        assert float(point.norm()) == pytest.approx(5)
        assert angle(start, point) == pytest.approx(step * math.pi / 8, abs=1e-5)
    assert torch.allclose(points[-1], end, atol=1e-5)


def test_the_start_of_a_way_is_the_latent_itself() -> None:
    start, end = latents_of([1, 2], 512)
    assert slerp(start, end, 0.0) is start


def test_slerp_from_zero_is_a_straight_line() -> None:
    assert torch.allclose(slerp(torch.zeros(3), torch.tensor([2.0, 0.0, 0.0]), 0.5), torch.tensor([1.0, 0.0, 0.0]))


@pytest.mark.parametrize(("count", "frames"), [(2, 2), (3, 60), (4, 60), (7, 60), (3, 10)])
def test_the_walk_is_closed_and_its_steps_are_equal(count: int, frames: int) -> None:
    latents = list(latents_of(range(count), 512))
    points = list(closed_walk(latents, frames))
    assert len(points) == frames
    assert torch.equal(points[0], latents[0])
    # Where each frame stands, in segments, measured on the latents and not by the code's own arithmetic.
    for frame, point in enumerate(points):
        segment = int(frame * count / frames + 1e-9)
        start, end = latents[segment], latents[(segment + 1) % count]
        gone = angle(start, point) / angle(start, end)
        assert segment + gone == pytest.approx(frame * count / frames, abs=1e-4)
    end, total = points[-1], angle(latents[-1], latents[0])
    assert angle(end, latents[0]) == pytest.approx(total * count / frames, abs=1e-4)


def test_every_seed_is_met_when_the_frames_are_a_multiple_of_their_number() -> None:
    latents = list(latents_of([5, 9, 2], 512))
    points = list(closed_walk(latents, 60))
    for index, latent in enumerate(latents):
        assert torch.equal(points[20 * index], latent)
