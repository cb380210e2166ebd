"""What `evaluate` found, as people read it: numbers, a table, and a sheet with the most suspicious pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from animepggan.corpus.names import printable
from animepggan.disk import expanded, write_json
from animepggan.metrics.memorization import EXPECTED, Memorization, TrainingPictures
from animepggan.metrics.quality import Measures
from animepggan.report.sheet import Section, Tile, histogram, write_sheet
from animepggan.report.verdict import verdict
from animepggan.sampling.files import output_errors

ROWS = 16  # of a section
_DISTANCE = (
    "A picture's distance to another is the share of what sets it apart from the mean training picture that the other "
    "does not explain, at the best place and contrast: 0 is a copy, 1 has nothing in common. "
)
_LEGEND = "From the left: the picture, A, B, the best blend of them. Framed: a copy or a blend."


@dataclass(frozen=True, eq=False)
class Evaluated:
    """What `evaluate` found; `print` shows it as a table."""

    measures: Measures  # the numbers, each explained there
    subject: str  # what was measured, as `evaluate` takes it
    name: str  # of it and of the reference, fit for a folder
    how: Mapping[str, Any]  # how its pictures were drawn
    pictures: NDArray[np.uint8]  # [n, r, r, 3]
    names: Sequence[str]  # of the n
    memorization: Memorization | None  # what each is nearest to; None: it was not looked for
    training: TrainingPictures | None

    def __str__(self) -> str:
        """A line a measure, what has to stand beside every number, and what they mean."""
        rows = self._rows()
        widths = [max(len(row[column]) for row in rows) for column in range(2)]
        shown = [f"{name:{widths[0]}}  {value:>{widths[1]}}  {hint}" for name, value, hint in rows]
        return "\n".join([*shown, *(f"{name}: {value}" for name, value in self._conditions()), "", self.verdict])

    @property
    def verdict(self) -> str:
        """What the numbers mean, in a sentence or two: good, on its way, too early, copying or collapsed."""
        return verdict(self.measures)

    def as_json(self) -> dict[str, Any]:
        """The numbers and how they came about, for a file or a log: plain values, no nan."""
        return {**self.measures.as_json(), "verdict": self.verdict, "model": self.subject, **self.how}

    def save(self, folder: str | Path) -> list[Path]:
        """Write measures.json and, where copies were looked for, sheet.html with the most suspicious pictures.

        Raises RecipeError where `folder` is a file.
        """
        folder = expanded(folder)
        with output_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        written = [folder / "measures.json"]
        write_json(written[0], self.as_json())
        if self.memorization is not None and self.training is not None:
            written.append(folder / "sheet.html")
            note = "; ".join(f"{name}: {printable(value, 400)}" for name, value in self._conditions())
            sections = self._sections(self.memorization, self.training)
            write_sheet(written[1], f"How good is {printable(self.subject)}?", note, sections)
        return written

    def _rows(self) -> list[tuple[str, str, str]]:
        """Measure, value, how to read it."""

        def number(value: float | None, digits: int = 4) -> str:
            return "-" if value is None else f"{value:.{digits}f}"

        def share(value: float | None) -> str:
            return "-" if value is None else f"{100 * value:.1f} %"

        measures = self.measures
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

    def _conditions(self) -> list[tuple[str, str]]:
        what = self.measures
        return [
            ("measured", f"{what.n} pictures at {what.resolution} px, seed {what.seed}"),
            ("features", what.features or "none"),
            ("reference", what.reference),
            ("training", f"{what.training}: {what.training_n} pictures" if what.training else "not looked at"),
        ]

    def _sections(self, found: Memorization, training: TrainingPictures) -> Iterator[Section]:
        near, blended = found.matches.distances[:, 0], found.matches.blended
        source = f"{training.count} training pictures, each compared with all clusters but its own"
        if training.left_out:
            source = f"{training.count} pictures that are none of the training pictures"

        def spread(measured: NDArray[np.float64], new: NDArray[np.float64], threshold: float) -> str:
            return histogram([(new, "#999"), (measured, "#d33")], threshold, extent=(0, 1))

        def first(values: NDArray[np.float64]) -> Iterator[Sequence[Tile]]:
            return self._tiles(found, training, np.argsort(values, kind="stable")[:ROWS])

        table = [(name, f"{value}   ({hint})") for name, value, hint in self._rows()]
        yield Section("Measures", " ".join([self.verdict, *(f"{note}." for note in self.measures.notes)]), table=table)
        yield Section(
            "Distance to the nearest training picture",
            f"{_DISTANCE}Red: what was measured; gray: new pictures ({source}); the line: left of it, at "
            f"{training.copy_threshold:.3f}, a picture counts as a copy.",
            drawing=spread(near, training.new.distances[training.known, 0], training.copy_threshold),
        )
        yield Section(
            "Distance to the best blend of two training pictures",
            f"The same for a * A + (1 - a) * B; below {training.blend_threshold:.3f} it counts as a blend.",
            drawing=spread(blended, training.new.blended[training.known], training.blend_threshold),
        )
        count = len(self.pictures)
        told = f"{found.copied.sum()} of {count} are copies. {_LEGEND}"
        yield Section("Nearest to a training picture", told, rows=first(near))
        told = f"{found.blended.sum()} of {count} are copies or blends. {_LEGEND}"
        yield Section("Nearest to a blend", told, rows=first(blended))
        some = np.sort(np.random.default_rng(self.measures.seed).permutation(count)[:ROWS])
        yield Section("Some, at random", _LEGEND, rows=self._tiles(found, training, some))

    def _tiles(
        self, found: Memorization, training: TrainingPictures, chosen: NDArray[np.int64]
    ) -> Iterator[Sequence[Tile]]:
        """For each of the chosen: the picture, its neighbors, the blend of these; made as they are written."""
        real = training.pictures
        for index in chosen:
            pair = training.indices[found.matches.pair[index]]
            one, two = real.pictures(pair)
            share = float(found.matches.share[index])
            blend = np.rint(share * one.astype(np.float64) + (1 - share) * two).astype(np.uint8)
            kind = "copy" if found.copied[index] else "blend" if found.blended[index] else ""
            near, blended = found.matches.distances[index, 0], found.matches.blended[index]
            yield [
                Tile(self.pictures[index], f"{self.names[index]} {kind}", marked=bool(kind)),
                Tile(one, f"A: {printable(real.names[pair[0]])}, nearest at {near:.3f}"),
                Tile(two, f"B: {printable(real.names[pair[1]])}"),
                Tile(blend, f"{share:.2f} A + {1 - share:.2f} B, at {blended:.3f}"),
            ]
