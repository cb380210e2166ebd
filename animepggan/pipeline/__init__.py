"""`start`: from screenshots and videos to a model of her and a page that shows it, by the library's own calls.

    her/
      start.json       what it was made from, and what each step came to
      stills/          out of videos
      faces/NAME/      out of each source of pictures
      set/             corpus.jsonl and sheet.html: copies joined, strangers set aside, your decisions
      run/             the fine-tuning run
      grid.png, film.gif, index.html

Each step goes on where it was stopped, and is not done again while what it was made from stays the same.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, get_args

from animepggan.bar import Bar, Say, silent, unheard
from animepggan.corpus.faces.crop import CROPS_FOLDER
from animepggan.corpus.faces.crop import crop as cut_faces
from animepggan.corpus.folders import folder_stamp
from animepggan.corpus.frames import frames as take_stills
from animepggan.corpus.names import printable
from animepggan.corpus.source import Source, short_name
from animepggan.corpus.spec import source_of
from animepggan.corpus.sweep import some_of
from animepggan.data import curate as describe
from animepggan.disk import locked, make_folder, replacing, write_json
from animepggan.errors import DataError, ModelError, resource_errors
from animepggan.model import Model, load
from animepggan.pipeline.material import Material, check_extras, look_over
from animepggan.pipeline.page import Shown, write_page
from animepggan.run import FinishedRun, finetune
from animepggan.run.library import Settings, Watch
from animepggan.sampling.draw import Precision
from animepggan.sampling.files import output_file, write_png
from animepggan.sampling.film import write_film
from animepggan.sampling.grid import enlarge, grid, legible_scale

Step = Literal["frames", "crop", "curate", "review", "finetune", "draw"]
STEPS: tuple[Step, ...] = get_args(Step)
Review = Callable[[Path], object]
"""Lets a person look over the described set in a folder, and returns when they are done."""

RECORD = "start.json"
SHOWN, FACES, FRAMES, FPS, PREVIEWS = 32, 8, 96, 20, 8  # of the grid, the film and the page


@dataclass(frozen=True)
class Started:
    """What `start` left; None is what it has not come to."""

    folder: Path
    description: Path | None = None  # set/corpus.jsonl
    run: FinishedRun | None = None
    page: Path | None = None


@resource_errors()
def start(
    sources: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    base: str | Path | None = None,
    keep: str | Path | None = None,
    reject: str | Path | None = None,
    until: Step | None = None,
    settings: Settings = (),
    seed: int | None = None,
    device: str = "auto",
    precision: Precision = "fp32",
    workers: int | None = None,
    review: Review | None = None,
    watch: Watch = unheard,
    bar: Bar = silent,
    say: Say = unheard,
    warn: Say = unheard,
) -> Started:
    """Make a model of the character in `sources` (folders, archives, videos and SPECs, mixed) in the folder `output`.

    Stills are taken out of videos, faces cut (square faces are taken as they are), copies joined and strangers set
    aside, the set shown to `review`, `base` (by default the one in the package) fine-tuned, and a grid, a film and
    a page drawn. `keep` and `reject` are SPECs of example pictures, as for `curate`; `until` is the last step to do;
    `settings`, `seed`, `device` and `precision` are for `finetune`, `workers` for `crop` and `curate`; `watch`, `bar`,
    `say` and `warn` as in `finetune`.

    A second call goes on where the first ended; more sources may come, none may go. Raises RecipeError where an extra
    is missing or `output` is a file, DataError where nothing can be used, BusyError where another `start` works there,
    ModelError where `output` was made from other sources, and what the steps raise.
    """
    listed = _listed(sources)
    material = look_over(listed)
    check_extras(material)
    folder = make_folder(output)
    busy = f"{printable(str(folder))}: another start works there; wait for it, or choose another --output"
    with locked(folder / ".start.lock", busy):
        job = _Job(folder, say, bar, workers, device)
        job.agree([str(each) for each in listed])
        steps = STEPS[: STEPS.index(until) + 1] if until else STEPS
        description, run, page = folder / "set" / "corpus.jsonl", None, None
        if material.videos:
            job.frames(material)
        if "crop" in steps:
            job.crop(material)
        if "curate" in steps:
            job.curate(description, keep, reject)
        if "review" in steps:
            job.review(description.parent, review)
        if "finetune" in steps:
            with job.step("finetune", _hash(description)) as row:
                run = finetune(
                    base,
                    description,
                    settings=settings,
                    seed=seed,
                    device=device,
                    precision=precision,
                    output=job.run_folder(description),
                    watch=watch,
                    bar=bar,
                    say=say,
                    warn=warn,
                )
                row |= {"run": run.folder.name, "images_seen": run.images_seen}
        if run is not None and "draw" in steps:
            page = job.draw(run)
    return Started(folder, description if "curate" in steps else None, run, page)


def _listed(sources: str | Path | Sequence[str | Path]) -> list[str | Path]:
    return [sources] if isinstance(sources, str | Path) else list(sources)


@dataclass(eq=False)
class _Job:
    """The folder of one `start`, and what it has come to."""

    folder: Path
    say: Say
    bar: Bar
    workers: int | None
    device: str
    record: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        path = self.folder / RECORD
        if path.is_file():
            try:
                self.record = dict(json.loads(path.read_text(encoding="utf-8")))
            except ValueError:
                self.say(f"{printable(str(path))}: damaged; its steps are gone through again")
        self.record.setdefault("sources", [])
        self.record.setdefault("steps", {})

    def agree(self, sources: list[str]) -> None:
        """Note the sources; ModelError where one that the folder was made from is not among them."""
        if gone := [each for each in self.record["sources"] if each not in sources]:
            raise ModelError(
                f"{printable(str(self.folder))}: was made from {gone[0]}, too\n"
                "name all of its sources again (more may come), or choose another --output"
            )
        self.record["sources"] = sources
        self._write()

    def _write(self) -> None:
        write_json(self.folder / RECORD, self.record)

    @contextmanager
    def step(self, name: Step, stamp: str) -> Iterator[dict[str, Any]]:
        """A step's row of the record, written when the block ends well."""
        began = time.monotonic()
        row: dict[str, Any] = {"stamp": stamp}
        yield row
        row["seconds"] = round(time.monotonic() - began, 1)
        self.record["steps"][name] = row
        self._write()

    def is_done(self, name: Step, stamp: str) -> bool:
        return (self.record["steps"].get(name) or {}).get("stamp") == stamp

    def frames(self, material: Material) -> None:
        stills = self.folder / "stills"
        self.say(f"stills: taking them out of {_count(len(material.videos), 'video')}")
        with self.step("frames", "") as row:
            summary = take_stills(material.videos, stills, bar=self.bar)
            row |= {"stills": summary.stills}
        for bad in summary.unreadable:
            self.say(f"stills: nothing taken from {bad}")
        self.say(f"stills: {summary.stills}")
        if summary.stills:
            material.uncut.append(source_of(stills))

    def crop(self, material: Material) -> None:
        """Cut the faces of each source into a folder of its own."""
        faces = make_folder(self.folder / "faces")
        total = 0
        with self.step("crop", "") as row:
            for source in material.uncut:
                self.say(f"faces: looking for them in {_count(len(source.entries), 'picture')} of {source.name}")
                summary = cut_faces(source, faces / _place(source), workers=self.workers, bar=self.bar)
                self.say(
                    f"faces: {summary.crops} cut, {summary.rejected} left out, "
                    f"{summary.without_face} pictures without a face"
                )
                total += summary.crops
            for source in material.cut:
                count = self._copy(source, faces / _place(source))
                self.say(f"faces: {_count(count, 'picture')} of {source.name} are square faces, and not cut again")
                total += count
            row |= {"faces": total}
        if not total:
            raise DataError(
                "no face was found in any of the sources\n"
                "`animepggan data crop SOURCE` has options for small, tilted and doubtful faces"
            )

    def _copy(self, source: Source, folder: Path) -> int:
        """Bring pictures that are faces already into the folder, once."""
        pictures = make_folder(folder / CROPS_FOLDER)
        for number, entry in enumerate(source.entries, 1):
            name = sha256(f"{entry.name}\0{entry.stamp}".encode("utf-8", "surrogatepass")).hexdigest()[:10]
            path = pictures / f"{short_name(Path(entry.name).stem)}-{name}{Path(entry.name).suffix.lower()}"
            if not path.is_file():
                with entry.open() as file, replacing(path) as partly:
                    partly.write_bytes(file.read())
            self.bar("faces", number, len(source.entries))
        return len(source.entries)

    def curate(self, description: Path, keep: str | Path | None, reject: str | Path | None) -> None:
        faces, folder = self.folder / "faces", description.parent
        examples = [None if spec is None else source_of(spec).stamp for spec in (keep, reject)]
        stamp = _hash_of([folder_stamp(faces), *examples])
        if self.is_done("curate", stamp) and description.is_file():
            self.say("set: as it was")
            return
        self.say("set: looking for copies and strangers")
        with self.step("curate", stamp) as row:
            made = describe(
                faces,
                folder,
                keep=keep,
                reject=reject,
                workers=self.workers,
                device=self.device,
                bar=self.bar,
                say=self.say,
            )
            row |= {"counts": made.counts}
        self.say("set: " + "; ".join(f"{name} {value}" for name, value in made.counts.items()))
        if made.unsure:
            self.say(made.unsure)

    def review(self, folder: Path, review: Review | None) -> None:
        if review is not None and not self.is_done("review", _stamp_of(self.record, "curate")):
            with self.step("review", _stamp_of(self.record, "curate")):
                review(folder)
        elif review is None:
            self.say(f"review: {printable(str(folder / 'sheet.html'))} shows what was left out; to decide by clicking,")
            self.say(f"  animepggan data review {printable(str(folder))}, and then this command again")

    def run_folder(self, description: Path) -> Path:
        """`run`, and `run-2` and so on where a run there was trained on another set."""
        runs = self.record.setdefault("runs", {})
        content = _hash(description)
        if content not in runs:
            runs[content] = "run" if not runs else f"run-{len(runs) + 1}"
            self._write()
        return self.folder / str(runs[content])

    def draw(self, run: FinishedRun) -> Path:
        """Grid, film and page."""
        model = load(run.folder, device=self.device)
        drawing = model.path.name
        page = self.folder / "index.html"
        self.say("drawing a grid, a film and a page")
        with self.step("draw", drawing):
            scale = legible_scale(model.resolution)
            sheet = enlarge(grid(list(model.sample(range(SHOWN))), 8), scale)
            with output_file(self.folder / "grid.png") as file:
                write_png(sheet, file, {**model.texts, "seeds": f"0-{SHOWN - 1}"})
            write_film(_counted(model, self.bar), self.folder / "film.gif", FPS, scale)
            self._page(page, model, run)
        return page

    def _page(self, page: Path, model: Model, run: FinishedRun) -> None:
        counts = self.record["steps"]["curate"]["counts"]
        previews = sorted((run.folder / "previews").glob("images-*.png"))
        where = printable(os.path.relpath(self.folder))
        hers = f"{where}/{run.folder.name}"
        write_page(
            page,
            self.folder.resolve().name,
            f"Drawn by a model that was fine-tuned on her: {model.resolution} px, {run.images_seen / 1000:g} kimg.",
            film=Shown(self.folder / "film.gif", "A walk from face to face"),
            sheet=Shown(self.folder / "grid.png", f"Seeds 0 to {SHOWN - 1}"),
            numbers={name: f"{count:,}" for name, count in counts.items() if count},
            real=Shown(run.folder / "previews" / "real.png"),
            previews=[Shown(path, f"{int(path.stem[7:]) / 1000:g} kimg") for path in some_of(previews, PREVIEWS)],
            commands=[
                (f"animepggan sample {hers} --count 16 --scale 4", "more pictures of her"),
                (f"animepggan sample {hers} --grid --truncation 0.7", "cleaner, less varied"),
                (f"animepggan interpolate {hers} -o walk.mp4", "a film"),
                (f"animepggan evaluate {hers} --data {where}/set/corpus.jsonl", "how good it is"),
                (f"animepggan data review {where}/set", "look the set over again"),
            ],
            links={
                "the set": "set/sheet.html",
                "what was cut and what not": "faces/",
                "the run": f"{run.folder.name}/",
            },
        )


def _counted(model: Model, bar: Bar) -> Iterator[Any]:
    for number, frame in enumerate(model.interpolate(range(FACES), frames=FRAMES), 1):
        bar("film", number, FRAMES)
        yield frame


def _place(source: Source) -> str:
    """A source's folder below faces/: readable, and another for each place."""
    place = os.path.abspath(source.base) if os.path.exists(source.base) else source.base  # noqa: PTH100, PTH110
    return f"{source.name}-{sha256(place.encode('utf-8', 'surrogatepass')).hexdigest()[:6]}"


def _stamp_of(record: dict[str, Any], step: Step) -> str:
    return str((record["steps"].get(step) or {}).get("stamp", ""))


def _hash_of(values: list[str | None]) -> str:
    return sha256(json.dumps(values).encode()).hexdigest()


def _hash(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
