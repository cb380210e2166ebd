"""What augmentation means: each transformation by itself, the probability, the gradients, and the controller."""

from __future__ import annotations

import pytest
import torch

from animepggan import augment as module
from animepggan.augment import LIMIT, Controller, augment


def pictures(n: int = 64, side: int = 16) -> torch.Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


def only(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Leave of the transformations those named, and saturation, which gray pictures do not show."""
    if "brightness" not in names:
        monkeypatch.setattr(module, "BRIGHTNESS", 0.0)
    if "contrast" not in names:
        monkeypatch.setattr(module, "CONTRAST", (1.0, 1.0))
    if "shift" not in names:
        monkeypatch.setattr(module, "SHIFT", 0.0)
    if "cutout" not in names:
        monkeypatch.setattr(module, "CUTOUT", 0.0)


def test_strength_0_changes_nothing_and_a_picture_is_a_function_of_its_numbers() -> None:
    real = pictures()
    assert augment(real, 0.0, "real", 0, 8) is real
    once, again = augment(real, 1.0, "real", 0, 8), augment(real, 1.0, "real", 0, 8)
    assert torch.equal(once, again)
    assert not torch.equal(once, augment(real, 1.0, "real", 0, 16))
    assert not torch.equal(once, augment(real, 1.0, "fake", 0, 8))


def test_color_keeps_hue_and_order_of_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Brightness, saturation and contrast are the same affine map for a gray axis and a color axis of one picture."""
    only(monkeypatch, "brightness", "contrast")
    real = pictures(200, 4)
    seen = augment(real, 1.0, "real", 0)
    chroma = real - real.mean(1, keepdim=True)
    chroma_seen = seen - seen.mean(1, keepdim=True)
    factor = (chroma * chroma_seen).sum(dim=(1, 2, 3)) / chroma.square().sum(dim=(1, 2, 3))
    torch.testing.assert_close(chroma_seen, chroma * factor[:, None, None, None], atol=1e-5, rtol=0)
    assert factor.min() >= 0, "a negative factor would be the opposite hue"
    assert factor.max() > 1.5
    assert factor.min() < 0.2


def test_translation_moves_whole_pixels_and_fills_with_gray(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "shift")
    real = torch.rand(300, 1, 16, 16).expand(300, 3, 16, 16) + 1  # gray, and nowhere 0
    seen = augment(real, 1.0, "real", 0)
    found = set()
    for before, after in zip(real, seen, strict=True):
        rows, columns = after[0].ne(0).any(1).nonzero(), after[0].ne(0).any(0).nonzero()
        top, left = int(rows.min()), int(columns.min())
        height, width = int(rows.max()) + 1 - top, int(columns.max()) + 1 - left
        y, x = (top, left)
        source = before[0, 16 - height if y == 0 else 0 :, 16 - width if x == 0 else 0 :][:height, :width]
        torch.testing.assert_close(after[0, top : top + height, left : left + width], source)
        found.add((x or width - 16, y or height - 16))
    assert {x for x, _ in found} == {-2, -1, 0, 1, 2} == {y for _, y in found}


def test_cutout_blanks_a_square_of_half_the_side(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "cutout")
    seen = augment(torch.ones(500, 3, 16, 16), 1.0, "real", 0)
    blank = seen[:, 0].eq(0)
    assert int(blank.sum(dim=(1, 2)).max()) == 64
    assert int(blank.sum(dim=(1, 2)).min()) >= 16, "its center lies inside"
    covered = blank.float().mean(0)
    assert covered.min() > 0.05, "every pixel is blanked at times"


@pytest.mark.parametrize("strength", [0.25, 0.7])
def test_strength_is_the_probability_of_each(strength: float, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "brightness")
    real = torch.zeros(4000, 3, 4, 4)
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
