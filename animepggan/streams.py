"""Random numbers by name: every draw of a run comes from a stream that is a function of what it is for.

No generator lives across steps, so nothing random has to be saved: a resumed run asks for the same streams.
"""

from __future__ import annotations

import hashlib

import torch


def stream(purpose: str, *numbers: int) -> torch.Generator:
    """A CPU generator seeded by `purpose` and `numbers` (usually the seed and images_seen).

    Streams of different names are independent: the seed is a hash, not a sum of small integers. (Of its 63 bits torch's
    CPU generator takes 32, so among a million streams some pair shares its numbers; no two that meet in a step.)
    """
    key = ":".join([purpose, *map(str, numbers)]).encode()
    seed = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") >> 1
    return torch.Generator().manual_seed(seed)
