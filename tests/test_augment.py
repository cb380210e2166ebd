"""What augmentation means: each transformation by itself, the probability, the gradients, and the controller."""

from __future__ import annotations

import pytest
import torch

from animepggan.augment import LIMIT, Controller, augment


def pictures(n: int = 64, side: int = 16) -> torch.Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


def standing(seen: torch.Tensor) -> tuple[slice, slice]:
    """Rows and columns of what is left of a picture [side, side] that was nowhere 0, moved and not cut out of."""
    rows, columns = seen.ne(0).any(1).nonzero(), seen.ne(0).any(0).nonzero()
    return slice(int(rows.min()), int(rows.max()) + 1), slice(int(columns.min()), int(columns.max()) + 1)


def test_strength_0_changes_nothing_and_a_picture_is_a_function_of_its_numbers() -> None:
    real = pictures()
    assert augment(real, 0.0, "real", 0, 8) is real
    once, again = augment(real, 1.0, "real", 0, 8), augment(real, 1.0, "real", 0, 8)
    assert torch.equal(once, again)
    assert not torch.equal(once, augment(real, 1.0, "real", 0, 16))
    assert not torch.equal(once, augment(real, 1.0, "fake", 0, 8))


def test_color_keeps_hue_and_order_of_channels() -> None:
    """Brightness, saturation and contrast are the same affine map for a gray axis and a color axis of one picture."""
    real = (torch.rand(400, 3, 1, 1) * 2 - 1).expand(400, 3, 8, 8)  # of one color, so that no shift shows
    seen = augment(real, 1.0, "real", 0)
    left = seen.ne(0).any(1, keepdim=True)  # of the cutout and of what came in from outside
    chroma = real - real.mean(1, keepdim=True)
    chroma_seen = seen - seen.mean(1, keepdim=True)
    factor = (chroma * chroma_seen).sum(dim=(1, 2, 3)) / (chroma * left).square().sum(dim=(1, 2, 3))
    torch.testing.assert_close(chroma_seen, chroma * left * factor[:, None, None, None], atol=1e-5, rtol=0)
    assert factor.min() >= 0, "a negative factor would be the opposite hue"
    assert factor.max() > 1.5
    assert factor.min() < 0.2


def test_translation_moves_whole_pixels_and_fills_with_gray() -> None:
    real = torch.rand(3000, 1, 16, 16).expand(3000, 3, 16, 16) + 3  # gray, and nowhere 0 however dark
    found = set()
    for before, after in zip(real[:, 0], augment(real, 0.5, "real", 0)[:, 0], strict=True):
        rows, columns = standing(after)
        moved = after[rows, columns]
        if moved.eq(0).any():  # by the cutout, which never takes a whole row
            continue
        height, width = moved.shape
        source = before[16 - height if rows.start == 0 else 0 :, 16 - width if columns.start == 0 else 0 :]
        source = source[:height, :width]
        # But for brightness and contrast, the same for every pixel.
        scaled, expected = ((part - part.mean()) / part.std() for part in (moved, source))
        torch.testing.assert_close(scaled, expected, atol=1e-4, rtol=0)
        found.add((columns.start or width - 16, rows.start or height - 16))
    assert {x for x, _ in found} == {-2, -1, 0, 1, 2} == {y for _, y in found}


def test_cutout_blanks_a_square_of_half_the_side() -> None:
    seen = augment(torch.full((8000, 3, 16, 16), 3.0), 0.9, "real", 0)[:, 0]
    still = seen[:, [0, -1]].ne(0).any(2).all(1) & seen[..., [0, -1]].ne(0).any(1).all(1)  # not moved
    blank = seen[still].eq(0)
    areas = blank.sum(dim=(1, 2))
    assert len(areas) > 500
    assert int(areas.max()) == 64
    assert int(areas[areas > 0].min()) >= 16, "its center lies inside"
    assert areas.gt(0).float().mean().item() == pytest.approx(0.9, abs=0.05)
    covered = blank.float().mean(0)
    assert covered.min() > 0.05, "every pixel is blanked at times"


@pytest.mark.parametrize("strength", [0.25, 0.7])
def test_strength_is_the_probability_of_each(strength: float) -> None:
    real = torch.zeros(4000, 3, 4, 4)  # only brightness shows
    moved = augment(real, strength, "real", 0).ne(0).any(dim=3).any(dim=2).any(dim=1)
    assert moved.float().mean().item() == pytest.approx(strength, abs=0.03)


def test_gradients_reach_the_pictures() -> None:
    real = pictures(3, 8).double().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: augment(x, 1.0, "fake", 3), (real,))


def test_layout_and_type_stay() -> None:
    real = pictures().to(memory_format=torch.channels_last)
    seen = augment(real, 0.5, "real", 0)
    assert seen.shape == real.shape
    assert seen.dtype == real.dtype
    assert seen.is_contiguous(memory_format=torch.channels_last)


def run(controller: Controller, train: float, validation: float, fake: float, kimg: float) -> Controller:
    for _ in range(int(kimg * 1000 / 16)):
        controller = controller.update(train, validation, fake, images=16, target=0.6, ramp_kimg=100)
    return controller


def test_controller_rises_while_training_pictures_are_overfitted_and_falls_when_not() -> None:
    memorized = run(Controller(), 2.0, -0.5, -1.0, 20)
    assert memorized.overfitting == pytest.approx(2.5 / 3)
    assert memorized.strength == pytest.approx(0.2)
    forgot = run(memorized, 2.0, 1.9, -1.0, 10)
    assert 0.1 < forgot.strength < 0.2


def test_overfitting_needs_no_sign_of_a_score() -> None:
    assert run(Controller(), 2.0, -0.5, -1.0, 5).overfitting == pytest.approx(
        run(Controller(), 102.0, 99.5, 99.0, 5).overfitting
    )


def test_controller_stays_between_0_and_its_limit() -> None:
    assert run(Controller(), 2.0, -0.9, -1.0, 200).strength == LIMIT
    assert run(Controller(), 2.0, 2.0, -1.0, 5).strength == 0.0


def test_no_gap_between_real_and_fake_is_no_overfitting() -> None:
    assert run(Controller(), -1.0, 0.0, 1.0, 5).strength == 0.0
