"""Which colors a picture is made of: by them drawn characters are told apart, and a backbone hardly sees them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

_BINS = (4, 8, 8)  # of lightness 0 to 100 and of a* and b*
_FROM, _TO = -56, 64  # of a* and b*: where nearly all drawn colors lie; those outside count in the bins at the border


def palettes(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Histograms over CIE L*a*b* of uint8 [n, h, w, 3], sRGB: float32 [n, 256].

    Of each bin the square root of its share: Euclidean distance is then sqrt(2) times that of Hellinger, 0 to sqrt(2).
    """
    found = np.empty((len(pictures), _BINS[0] * _BINS[1] * _BINS[2]), np.float32)
    for index, pixels in enumerate(pictures):
        lab = np.asarray(ImageCms.applyTransform(Image.fromarray(pixels), _TO_LAB)).reshape(-1, 3)
        lightness = lab[:, 0].astype(np.int64) * _BINS[0] // 256
        a, b = ((lab[:, 1:].view(np.int8).astype(np.int64) - _FROM) * _BINS[1] // (_TO - _FROM)).clip(0, _BINS[1] - 1).T
        counts = np.bincount((lightness * _BINS[1] + a) * _BINS[2] + b, minlength=found.shape[1])
        found[index] = np.sqrt(counts / len(lab))
    return found


_TO_LAB = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
