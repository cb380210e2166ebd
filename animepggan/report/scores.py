"""An evaluation as people read it: a table for the terminal, and a sheet with the most suspicious pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from animepggan.corpus.names import printable
from animepggan.metrics.evaluate import Measures
from animepggan.metrics.memorization import EXPECTED, Memorization, Training
from animepggan.report.histogram import histogram
from animepggan.report.sheet import Section, Tile, write_sheet

ROWS = 16  # of a section


def rows(measures: Measures) -> list[tuple[str, str, str]]:
    """The table: measure, value, how to read it."""

    def number(value: float | None, digits: int = 4) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    def share(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.1f} %"

    deviation = "" if measures.kid_std is None else f" ± {measures.kid_std:.4f}"
    own, new = number(measures.ms_ssim_reference, 3), number(measures.nearest_new, 3)
    return [
        ("KID", number(measures.kid) + deviation, "0 is best"),
        ("Fréchet distance", number(measures.frechet, 2), "0 is best"),
        ("precision", number(measures.precision, 3), "1 is best: pictures that might be real"),
        ("recall", number(measures.recall, 3), "1 is best: real pictures that might be drawn"),
        ("density", number(measures.density, 3), "1 as the reference"),
        ("coverage", number(measures.coverage, 3), "1 is best"),
        ("diversity inside clusters", number(measures.cluster_diversity, 3), "1 as the reference"),
        *(
            (f"sliced Wasserstein, {level} px", number(distance, 1), "x 1000; 0 is best")
            for level, distance in measures.swd.items()
        ),
        ("MS-SSIM of pairs", number(measures.ms_ssim, 3), f"the reference's own: {own}"),
        ("copied", share(measures.copied_share), f"of new pictures: {100 * EXPECTED:g} %"),
        ("copied or blended", share(measures.blend_share), f"of new pictures: at most {200 * EXPECTED:g} %"),
        ("distance to the nearest", number(measures.nearest, 3), f"of new pictures: {new}"),
    ]


def conditions(measures: Measures) -> list[tuple[str, str]]:
    """What has to stand beside every number."""
    training = f"{measures.training}: {measures.training_n} pictures" if measures.training else "not looked at"
    return [
        ("measured", f"{measures.n} pictures at {measures.resolution} px, seed {measures.seed}"),
        ("features", measures.features or "none"),
        ("reference", measures.reference),
        ("training", training),
    ]


def table(measures: Measures) -> str:
    """All of it for the terminal."""
    lines = rows(measures)
    widths = [max(len(line[column]) for line in lines) for column in range(2)]
    shown = [f"{name:{widths[0]}}  {value:>{widths[1]}}  {hint}" for name, value, hint in lines]
    return "\n".join([*shown, *(f"{name}: {value}" for name, value in conditions(measures))])


def write(
    path: Path,
    subject: str,  # what was measured
    measures: Measures,
    found: Memorization,
    training: Training,
    pictures: NDArray[np.uint8],  # [n, r, r, 3], what was measured
    names: Sequence[str],  # of the n
) -> None:
    """Write the sheet: sample, neighbor, neighbor, blend."""
    near, blended = found.matches.distances[:, 0], found.matches.blended
    some = np.sort(np.random.default_rng(measures.seed).permutation(len(pictures))[:ROWS])
    how = (
        "A picture's distance to another is the share of what sets it apart from the mean training picture that the "
        "other does not explain, at the best place and contrast: 0 is a copy, 1 has nothing in common. "
    )
    source = (
        f"{training.count} pictures that are none of the training pictures"
        if training.left_out
        else f"{training.count} training pictures, each compared with all clusters but its own"
    )

    def shown(chosen: NDArray[np.int64]) -> Iterator[Sequence[Tile]]:
        return _rows(chosen, found, training, pictures, names)

    def spread(measured: NDArray[np.float64], new: NDArray[np.float64], threshold: float) -> str:
        return histogram([(new, "#999"), (measured, "#d33")], threshold, extent=(0, 1))

    sections = [
        Section(
            "Measures",
            "; ".join(measures.notes),
            table=[(name, f"{value}   ({hint})") for name, value, hint in rows(measures)],
        ),
        Section(
            "Distance to the nearest training picture",
            f"{how}Red: what was measured; gray: new pictures ({source}); the line: left of it, at "
            f"{training.copy_threshold:.3f}, a picture counts as a copy.",
            drawing=spread(near, training.new.distances[training.known, 0], training.copy_threshold),
        ),
        Section(
            "Distance to the best blend of two training pictures",
            f"The same for a * A + (1 - a) * B; below {training.blend_threshold:.3f} it counts as a blend.",
            drawing=spread(blended, training.new.blended[training.known], training.blend_threshold),
        ),
        Section(
            "Nearest to a training picture", f"{found.copied.sum()} of {len(pictures)} are copies. {_LEGEND}",
            rows=shown(np.argsort(near, kind="stable")[:ROWS]),
        ),
        Section(
            "Nearest to a blend", f"{found.blended.sum()} of {len(pictures)} are copies or blends. {_LEGEND}",
            rows=shown(np.argsort(blended, kind="stable")[:ROWS]),
        ),
        Section("Some, at random", _LEGEND, rows=shown(some)),
    ]  # fmt: skip
    note = "; ".join(f"{name}: {printable(value, 400)}" for name, value in conditions(measures))
    write_sheet(path, f"How good is {printable(subject)}?", note, sections)


_LEGEND = "From the left: the picture, A, B, the best blend of them. Framed: a copy or a blend."


def _rows(
    chosen: NDArray[np.int64],  # of the pictures
    found: Memorization,
    training: Training,
    pictures: NDArray[np.uint8],
    names: Sequence[str],
) -> Iterator[Sequence[Tile]]:
    """For each of the chosen: the picture, its neighbors, the blend of these; made as they are written."""
    pool = training.pool
    for index in chosen:
        pair = training.indices[found.matches.pair[index]]
        one, two = pool.pictures(pair)
        share = float(found.matches.share[index])
        blend = np.rint(share * one.astype(np.float64) + (1 - share) * two).astype(np.uint8)
        kind = "copy" if found.copied[index] else "blend" if found.blended[index] else ""
        near, blended = found.matches.distances[index, 0], found.matches.blended[index]
        yield [
            Tile(pictures[index], f"{names[index]} {kind}", marked=bool(kind)),
            Tile(one, f"A: {printable(pool.names[pair[0]])}, nearest at {near:.3f}"),
            Tile(two, f"B: {printable(pool.names[pair[1]])}"),
            Tile(blend, f"{share:.2f} A + {1 - share:.2f} B, at {blended:.3f}"),
        ]
