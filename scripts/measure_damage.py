"""How much of the damage to JPEGs is noticed: files as long as before or shorter, hurt somewhere in their pixels' data.

The pictures are smooth colors with a little noise, made here; damage comes at random places, the same in every start.
"""

from __future__ import annotations

import argparse
import io
import random
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from measuring import machine
from PIL import Image

from animepggan.corpus.decode import decode
from animepggan.corpus.headers import DecodeError

SIDE = 256  # pixels
KINDS: dict[str, dict[str, Any]] = {
    "as cameras write them": {},
    "optimized": {"optimize": True},
    "restart markers": {"restart_marker_rows": 1},
    "progressive": {"progressive": True},
}


def overwritten(data: bytes, at: int, chance: random.Random, *, size: int, noise: bool) -> bytes:
    return data[:at] + (chance.randbytes(size) if noise else bytes(size)) + data[at + size :]


def lost(data: bytes, at: int, _: random.Random, *, size: int) -> bytes:
    return data[:at] + data[at + size :]


def cut(data: bytes, at: int, _: random.Random) -> bytes:
    return data[:at]


DAMAGE: dict[str, Callable[[bytes, int, random.Random], bytes]] = {
    "cut off": cut,
    "512 bytes lost": partial(lost, size=512),
    "512 bytes of zeros": partial(overwritten, size=512, noise=False),
    "512 random bytes": partial(overwritten, size=512, noise=True),
    "64 random bytes": partial(overwritten, size=64, noise=True),
    "1 random byte": partial(overwritten, size=1, noise=True),
}


def jpeg(seed: int, **options: Any) -> bytes:
    chance = np.random.default_rng(seed)
    coarse = Image.fromarray(chance.integers(0, 256, (12, 12, 3), np.uint8))
    values = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) + chance.normal(0, 3, (SIDE, SIDE, 1))
    file = io.BytesIO()
    Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(file, "jpeg", quality=85, **options)
    return file.getvalue()


def is_noticed(data: bytes) -> bool:
    try:
        decode(io.BytesIO(data), resolution=8, background=(0, 0, 0))
    except DecodeError:
        return True
    return False


def main() -> int:
    """Print the shares; 1 where a whole file is called damaged."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=120, help="files of each kind and damage")
    count = parser.parse_args().count
    print(f"{machine()}; noticed of {count} files each")
    print(f"{'':24s}{'whole':>20s}" + "".join(f"{name:>20s}" for name in DAMAGE))
    wrong = 0
    for kind, options in KINDS.items():
        files = [jpeg(seed, **options) for seed in range(6)]
        whole = sum(map(is_noticed, files))
        wrong += whole
        shares = []
        for harm in DAMAGE.values():
            noticed = 0
            for number in range(count):
                chance, data = random.Random(number), files[number % len(files)]
                noticed += is_noticed(
                    harm(data, chance.randrange(data.index(b"\xff\xda") + 14, len(data) - 614), chance)
                )
            shares.append(noticed / count)
        print(f"{kind:24s}{whole / len(files):20.0%}" + "".join(f"{share:20.0%}" for share in shares), flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
