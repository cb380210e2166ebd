"""Differentiable augmentation of what the discriminator sees, real and drawn alike, and the controller of its strength.

The transformations are those of Zhao et al. 2020 ("Differentiable Augmentation for Data-Efficient GAN Training",
arXiv:2006.10738): color (brightness, saturation, contrast), translation, cutout. A hue shift and quarter turns are left
out on purpose: the color of her hair and eyes is the character.

Each of them is applied to a picture with the strength's probability, drawn on its own, as Karras et al. 2020 ("Training
Generative Adversarial Networks with Limited Data", arXiv:2006.06676, section 2.2) do, so that at any strength below 1
the generator has no reason to draw augmented pictures. Strength 1 is Zhao et al.'s own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from animepggan.streams import stream

BRIGHTNESS = 0.5  # added to [-1, 1]: at most this, either way
SATURATION = 2.0  # the distance from grey is multiplied by 0 to this
CONTRAST = (0.5, 1.5)  # the distance from the picture's mean is multiplied by a number from here
_SHIFT = 1 / 8  # of the side, at most, either way, in whole pixels
CUTOUT = 1 / 2  # of the side: the square that is blanked

LIMIT = 0.8
"""Most the controller asks for: above it augmented looks leak into what is drawn (arXiv:2006.06676, section 2.2)."""
HALF_LIFE = 2000.0  # images, of the controller's averages of scores


def augment(pictures: Tensor, strength: float, purpose: str, *numbers: int) -> Tensor:
    """`pictures` [n, 3, r, r] in [-1, 1], each transformed in its own way; may leave that range, as in the paper.

    `strength` in [0, 1] is the probability of each transformation. What is drawn is a function of `purpose` and
    `numbers` (see `streams`). Differentiable with respect to the pictures.
    """
    if strength <= 0.0:
        return pictures
    n, side = len(pictures), pictures.shape[-1]
    drawn = torch.rand(n, 12, generator=stream(f"augment/{purpose}", *numbers))
    chosen = drawn[:, 7:] < strength  # brightness, saturation, contrast, translation, cutout
    amounts = drawn[:, :7].to(pictures.device, pictures.dtype)
    chosen = chosen.to(pictures.device)

    def pick(column: int, value: Tensor, identity: float) -> Tensor:
        return torch.where(chosen[:, column], value, identity)[:, None, None, None]

    brightness = pick(0, (amounts[:, 0] * 2 - 1) * BRIGHTNESS, 0.0)
    saturation = pick(1, amounts[:, 1] * SATURATION, 1.0)
    contrast = pick(2, CONTRAST[0] + amounts[:, 2] * (CONTRAST[1] - CONTRAST[0]), 1.0)
    pictures = pictures + brightness
    gray = pictures.mean(dim=1, keepdim=True)
    pictures = gray + (pictures - gray) * saturation
    mean = pictures.mean(dim=(1, 2, 3), keepdim=True)
    pictures = mean + (pictures - mean) * contrast

    reach = int(side * _SHIFT + 0.5)
    shift = torch.floor(amounts[:, 3:5] * (2 * reach + 1)).long() - reach
    pictures = _translate(pictures, torch.where(chosen[:, 3, None], shift, 0))

    square = int(side * CUTOUT + 0.5)
    corner = torch.floor(amounts[:, 5:7] * (side + 1 - square % 2)).long() - square // 2
    return _blank(pictures, corner, torch.where(chosen[:, 4], square, 0))


def _translate(pictures: Tensor, shift: Tensor) -> Tensor:
    """Move picture i by `shift[i]` = (x, y) pixels; what comes in from outside is 0, mid-grey."""
    n, _, height, width = pictures.shape
    x = torch.arange(width, device=pictures.device) - shift[:, 0, None]
    y = torch.arange(height, device=pictures.device) - shift[:, 1, None]
    inside = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None, :]
    rows = torch.arange(n, device=pictures.device)[:, None, None]
    moved = pictures.permute(0, 2, 3, 1)[rows, y.clamp(0, height - 1)[:, :, None], x.clamp(0, width - 1)[:, None, :]]
    return (moved * inside[..., None]).permute(0, 3, 1, 2)


def _blank(pictures: Tensor, corner: Tensor, side: Tensor) -> Tensor:
    """Set a square of `side[i]` pixels to 0 whose left top is `corner[i]` = (x, y); it may reach over the edge."""
    x = torch.arange(pictures.shape[3], device=pictures.device)
    y = torch.arange(pictures.shape[2], device=pictures.device)
    across = (x >= corner[:, 0, None]) & (x < (corner[:, 0] + side)[:, None])
    down = (y >= corner[:, 1, None]) & (y < (corner[:, 1] + side)[:, None])
    return pictures * ~(down[:, :, None] & across[:, None, :])[:, None]


@dataclass(frozen=True)
class Controller:
    """The adaptive strength: raised while the discriminator overfits its training pictures, lowered else.

    Overfitting is r_v = (D_train - D_validation) / (D_train - D_fake), of scores averaged over the last images: 0 where
    pictures never shown score like those shown, 1 where they score like drawn ones (Karras et al. 2020,
    arXiv:2006.06676, equation 1). Unlike their r_t it needs no sign of a score, which WGAN's has not. The averages
    begin at 0, all three alike, and r_v is a ratio of their differences: right from the first scores on.

    The share of drawn pictures that pass for real ones (Jiang et al. 2021, arXiv:2111.06849) is steered by it too.
    """

    strength: float = 0.0
    train: float = 0.0  # averages of scores
    validation: float = 0.0
    fake: float = 0.0

    @property
    def overfitting(self) -> float:
        """r_v; 0 before the first scores, and where the discriminator cannot tell real from drawn."""
        gap = self.train - self.fake
        return (self.train - self.validation) / gap if gap > 0 else 0.0

    def update(
        self,
        train: float,  # mean scores of a step: of the training pictures,
        validation: float,  # of pictures held out,
        fake: float,  # of drawn ones
        *,
        images: int,  # seen in the step
        target: float,  # r_v that is aimed at, 0 to 1
        ramp_kimg: float,  # images, in thousands, that move the strength from 0 to 1
    ) -> Controller:
        """The controller after a step."""
        share = 0.5 ** (images / HALF_LIFE)
        averaged = replace(
            self,
            train=self.train * share + train * (1 - share),
            validation=self.validation * share + validation * (1 - share),
            fake=self.fake * share + fake * (1 - share),
        )
        move = images / (ramp_kimg * 1000)
        strength = self.strength + (move if averaged.overfitting > target else -move)
        return replace(averaged, strength=min(max(strength, 0.0), LIMIT))
