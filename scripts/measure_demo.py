"""How near the demo's samples come to held-out pictures, so that a broken demo cannot look fine in a log.

The sliced Wasserstein distance to one half of the held-out originals, for four sets of as many pictures: the fine-tuned
model's samples; the other half, which is what a perfect model would reach; the base's samples, from which
fine-tuning started; and, where the base is a run, the samples of its own 4 px stage, enlarged, which know nothing of a
face.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from measuring import originals, samples
from torch import Tensor

from animepggan.checkpoint import find_model, load_generator
from animepggan.corpus import Corpus
from animepggan.metrics.sliced_wasserstein import sliced_wasserstein

WORST_SHARE = 0.5
"""A demo whose samples are not at least so much nearer than its 4 px stage's, or else its base's, is broken."""


def drawn(checkpoint: Path, count: int, side: int) -> Tensor:
    """`count` pictures of a model, enlarged to `side`: [count, 3, side, side]."""
    loaded = load_generator(checkpoint)
    return samples(loaded.generator, loaded.alpha, count, side)


def main() -> int:
    """Print the table; 1 where the samples are no better than they should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", help="run folder of the base, or `base`, which comes with the package")
    parser.add_argument("tuned", help="run folder of the fine-tuned model")
    parser.add_argument("held_out", type=Path, help="`animepggan data demo yui` with another seed")
    parser.add_argument("--only-print", action="store_true", help="do not judge")
    arguments = parser.parse_args()
    tuned = find_model(arguments.tuned).path
    side = load_generator(tuned).generator.resolution
    corpus = Corpus.load(originals(arguments.held_out), resolution=side)
    real = corpus.batch(0, len(corpus), resolution=side, seed=0, mirror=False)  # in a random order
    half = len(real) // 2
    sets = {
        "the other half of the real set": real[half : 2 * half],
        "fine-tuned model": drawn(tuned, half, side),
        "base before fine-tuning": drawn(find_model(arguments.base).path, half, side),
    }
    worst = "base before fine-tuning"
    if (first := Path(arguments.base, "checkpoints", "stage-0004")).is_dir():
        worst = "4 px stage, enlarged"
        sets[worst] = drawn(first, half, side)
    print(f"sliced Wasserstein distance x 1000 to {half} held-out pictures")
    means = {}
    for name, pictures in sets.items():
        distances = sliced_wasserstein(pictures, real[:half])
        means[name] = sum(distances.values()) / len(distances)
        levels = "  ".join(f"{level} px {distance:6.1f}" for level, distance in distances.items())
        print(f"{name:32s}{levels}  mean {means[name]:6.1f}")
    floor = means["the other half of the real set"]
    share = (means["fine-tuned model"] - floor) / (means[worst] - floor)
    print(f"on the way from the real set (0) to this (1), {worst}: {share:.2f}, must be below {WORST_SHARE}")
    return 0 if arguments.only_print or share < WORST_SHARE else 1


if __name__ == "__main__":
    sys.exit(main())
