"""Colors that a file names by number, not by a profile (ITU-T H.273, "CICP"; PNG's gamma), as an ICC profile.

So that all colors go one way: `decode` turns profiles into sRGB.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

Curve = NDArray[np.float64]
Chromaticities = tuple[float, ...]
"""x and y of red, green, blue and white."""

_D65, _C = (0.3127, 0.3290), (0.310, 0.316)
_PRIMARIES: dict[int, Chromaticities] = {
    1: (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, *_D65),
    4: (0.67, 0.33, 0.21, 0.71, 0.14, 0.08, *_C),
    5: (0.64, 0.33, 0.29, 0.60, 0.15, 0.06, *_D65),
    6: (0.63, 0.34, 0.31, 0.595, 0.155, 0.07, *_D65),
    7: (0.63, 0.34, 0.31, 0.595, 0.155, 0.07, *_D65),
    8: (0.681, 0.319, 0.243, 0.692, 0.145, 0.049, *_C),
    9: (0.708, 0.292, 0.17, 0.797, 0.131, 0.046, *_D65),  # BT.2020
    11: (0.68, 0.32, 0.265, 0.69, 0.15, 0.06, 0.314, 0.351),
    12: (0.68, 0.32, 0.265, 0.69, 0.15, 0.06, *_D65),  # Display P3
    22: (0.63, 0.34, 0.295, 0.605, 0.155, 0.077, *_D65),
}
_SRGB = _PRIMARIES[1]
_WHITE = 203.0  # cd/m² of white in HDR (ITU-R BT.2408); what is brighter is white
_STEPS = 1024


def _srgb(value: Curve) -> Curve:
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _pq(value: Curve) -> Curve:
    """SMPTE ST 2084."""
    root = value ** (32 / 2523)
    light = np.maximum(root - 107 / 128, 0) / (2413 / 128 - 2392 / 128 * root)
    return np.asarray(10_000 / _WHITE * light ** (8192 / 1305))


def _hlg(value: Curve) -> Curve:
    """ITU-R BT.2100, on a screen of 1000 cd/m²."""
    scene = np.where(value <= 0.5, value**2 / 3, (np.exp((value - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    return np.asarray(1000 / _WHITE * scene**1.2)


_CURVES: dict[int, Callable[[Curve], Curve]] = {
    4: lambda value: value**2.2,
    5: lambda value: value**2.8,
    8: lambda value: value,
    16: _pq,
    17: lambda value: value**2.6 * 52.37 / 48,
    18: _hlg,
}
"""To linear light, white at 1; BT.709's and what is not here is shown as sRGB's, as players do."""


@cache
def profile_of_numbers(primaries: int, transfer: int) -> bytes | None:
    """The profile of colors by their numbers in H.273; None for those of sRGB and unknown ones."""
    if primaries not in _PRIMARIES and transfer not in _CURVES:
        return None
    curve = _CURVES.get(transfer, _srgb)
    chromaticities = _PRIMARIES.get(primaries, _SRGB)
    return None if (curve, chromaticities) == (_srgb, _SRGB) else _profile(chromaticities, curve)


def profile_of_gamma(gamma: float, chromaticities: Chromaticities | None) -> bytes | None:
    """The profile that PNG's gAMA and cHRM (white, red, green, blue) stand for; None for what nobody can mean."""
    if not 0.1 <= gamma <= 10:
        return None
    ordered = _SRGB if chromaticities is None else (*chromaticities[2:], *chromaticities[:2])
    return _profile(ordered, lambda value: np.asarray(value ** (1 / gamma)))


def _profile(chromaticities: Chromaticities, curve: Callable[[Curve], Curve]) -> bytes | None:
    """ICC.1:2001-04, a matrix and a curve."""
    points = np.array(chromaticities).reshape(4, 2)
    if not (points[:, 1] > 0).all():
        return None
    xyz = np.stack([points[:, 0] / points[:, 1], np.ones(4), (1 - points.sum(axis=1)) / points[:, 1]])
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    d50 = np.array([0.9642, 1.0, 0.8249])
    adapted = np.linalg.inv(bradford) @ np.diag(bradford @ d50 / (bradford @ xyz[:, 3])) @ bradford
    columns = adapted @ xyz[:, :3] * np.linalg.solve(xyz[:, :3], xyz[:, 3])
    table = np.clip(curve(np.linspace(0, 1, _STEPS)), 0, 1)
    curved = b"curv\0\0\0\0" + struct.pack(">I", _STEPS) + np.round(table * 65535).astype(">u2").tobytes()

    def place(values: NDArray[np.float64]) -> bytes:
        return b"XYZ \0\0\0\0" + np.round(values * 65536).astype(">i4").tobytes()

    tags = {
        b"wtpt": place(d50),
        **{key: place(column) for key, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns.T, strict=True)},
    }
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curved)
    listed, body = struct.pack(">I", len(tags)), b""
    for key, data in tags.items():
        listed += struct.pack(">4sII", key, 128 + 4 + 12 * len(tags) + len(body), len(data))
        body += data
    size = 128 + len(listed) + len(body)
    head = struct.pack(">I4sI12s12s4s", size, b"", 0x02400000, b"mntrRGB XYZ ", bytes(12), b"acsp")
    return head.ljust(68, b"\0") + place(d50)[8:].ljust(60, b"\0") + listed + body
