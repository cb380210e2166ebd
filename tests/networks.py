"""Small networks for tests, and the paper's and the article's values."""

from __future__ import annotations

from typing import Any

PAPER: dict[str, Any] = {
    "latent_dim": 512,
    "fmap_base": 8192,
    "fmap_max": 512,
    "norm": "after",
    "norm_first": True,
    "norm_latent": True,
    "to_rgb_gain": 1.0,
    "group_size": 4,
    "statistic": "stddev",
    "fused_down": False,
    "equalized_output": True,
}
ARTICLE: dict[str, Any] = {
    **PAPER,
    "fmap_base": 2048,
    "norm": "before",
    "norm_first": False,
    "norm_latent": False,
    "to_rgb_gain": 2**0.5,
    "group_size": "batch",
    "statistic": "variance",
    "equalized_output": False,
}


def tiny(resolution: int = 16, **changes: Any) -> dict[str, Any]:
    """An architecture of a few channels."""
    return {**PAPER, "latent_dim": 8, "fmap_base": 32, "fmap_max": 8, "resolution": resolution, **changes}
