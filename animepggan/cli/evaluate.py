"""`animepggan evaluate`: a model's pictures, or a folder of them, in numbers and on a sheet."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from animepggan.cli.common import NO_BACKBONE, Console, apply_threads, common_options, output_option, resolve_device
from animepggan.cli.processor import warn_where_emulated
from animepggan.cli.sample import drawing_options, open_model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from animepggan.corpus.spec import Source
    from animepggan.metrics.pool import Bar, Embedder, Pool

DEFAULT_COUNT = 1000
LOOKED_AT = 32  # pictures of a set whose sides are asked
OF_MODELS = ("config.json", "generator_ema.safetensors", "checkpoints", "recipe.yaml")  # what a model's folder holds
OF_PICTURES = (".zip", ".tar", ".parquet", ".jsonl")
MAX_BAD = 0.01  # share of a folder's pictures


def _check_hold_out(_: click.Context, __: click.Parameter, value: float | None) -> float | None:
    if value is None or 0 < value < 1 or (value >= 1 and value == math.floor(value) and math.isfinite(value)):
        return value
    raise click.BadParameter(f"{value:g} is neither a share below 1 nor a whole number of clusters.")


@dataclass(frozen=True)
class Subject:
    """What is measured."""

    name: str  # fit for a folder's name
    spec: str
    count: int  # pictures
    resolution: int  # pixels
    background: str  # under transparent pictures
    trained_on: str | None  # SPEC of the training pictures, as the model tells; None: it does not
    draw: Callable[[Bar], tuple[NDArray[np.uint8], Sequence[str]]]  # the pictures, and what each is called
    how: dict[str, Any]  # what else to say beside the numbers


@click.command()
@click.argument("subject", metavar="MODEL_OR_FOLDER")
@click.option("--data", metavar="SPEC", required=True, help="The pictures to measure against.")
@click.option(
    "--train",
    metavar="SPEC",
    help="What the model was trained on, to look for copies in.  [default: as the model says, else --data]",
)
@click.option(
    "--hold-out",
    metavar="N",
    type=float,
    callback=_check_hold_out,
    help="Measure against N clusters of --data only, or a share of them (0.2): those it was not trained on.",
)
@click.option(
    "--count",
    metavar="N",
    type=click.IntRange(min=1),
    help=f"How many pictures.  [default: {DEFAULT_COUNT} of a model, all of a folder]",
)
@click.option(
    "--seed",
    metavar="S",
    type=click.IntRange(0, (1 << 32) - 1),
    default=0,
    show_default=True,
    help="Seeds S, S+1, ... are drawn; the measures' own draws follow from it too.",
)
@click.option(
    "--backbone",
    metavar="NAME",
    help="hub:owner/name[@revision], FILE.safetensors, efficientnet-lite0, or none.  [default: DINOv2 small if it can "
    "be had, else efficientnet-lite0]",
)
@click.option(
    "--batch-size",
    metavar="N",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    help="Pictures that the backbone looks at at once.",
)
@drawing_options
@output_option("evaluations/NAME, after what is measured")
@common_options
def command(
    console: Console,
    subject: str,
    data: str,
    train: str | None,
    hold_out: float | None,
    count: int | None,
    seed: int,
    backbone: str | None,
    batch_size: int,
    truncation: float,
    resolution: int | None,
    precision: Literal["fp32", "bf16"],
    device: str,
    threads: int | None,
    output: Path | None,
) -> None:
    """Measure how good a model's pictures are, or those of a folder.

    MODEL_OR_FOLDER is a model, of which pictures are drawn, or a folder, an archive or another SPEC of pictures. They
    are measured against a picture of each cluster of --data: copies and near copies count as one.

    KID, Fréchet distance, precision, recall, density and coverage compare embeddings of a backbone; the sliced
    Wasserstein distance and MS-SSIM need none. A picture is a copy when it is nearer to a training picture than 99 of
    100 new pictures are, and a blend when a mixture of two of them is. The output folder gets measures.json and
    sheet.html, which shows the nearest ones.
    """
    from animepggan.cli import evaluation
    from animepggan.corpus.demo.cache import cache_folder
    from animepggan.corpus.spec import resolve
    from animepggan.metrics.evaluate import MOST, evaluate, prepare
    from animepggan.metrics.pool import Pool

    apply_threads(threads)
    embedder = _open_backbone(console, backbone, cache_folder(), device)
    source = resolve(data)
    if _is_model(subject):
        chosen = _of_model(console, subject, count or DEFAULT_COUNT, seed, truncation, precision, resolution, device)
    else:
        chosen = _of_pictures(console, subject, source, count, seed, resolution)
    with console.bars() as bar:

        def load(spec: str | Source) -> Pool:
            return Pool.load(
                spec,
                resolution=chosen.resolution,
                background=chosen.background,
                cache=cache_folder(),
                bar=bar,
                say=console.say,
            )

        pool = load(source)
        trained, memorization = _training(console, load, chosen, data, train)
        reference = prepare(
            pool,
            train=trained,
            embedder=embedder,
            hold_out=hold_out,
            memorization=memorization,
            most=max(MOST, chosen.count),
            seed=seed,
            batch_size=batch_size,
        )
        pictures, names = chosen.draw(bar)
        found = evaluate(pictures, reference, seed=seed, bar=bar)
    for note in found.measures.notes:
        console.warn(note)
    folder = output or Path("evaluations", _plain(f"{chosen.name}-{pool.corpus.name}"))
    result = {**found.measures.as_json(), "model": chosen.spec, **chosen.how}
    text = evaluation.table(found.measures)
    _write_json(folder / "measures.json", result)
    written = [folder / "measures.json"]
    if found.memorization is not None and reference.training is not None:
        written.append(folder / "sheet.html")
        evaluation.write(written[-1], chosen.spec, found, reference.training, pictures, names)
    console.result("\n".join([text, *map(str, written)]), {**result, "files": written})


def _is_model(subject: str) -> bool:
    """Whether MODEL_OR_FOLDER names a model; else it names pictures."""
    from animepggan.hub import parse

    if subject.startswith("hub:"):
        return parse(subject).kind == "model"
    if subject.startswith("demo:"):
        return False
    path = Path(subject).expanduser()
    if path.is_dir():
        return any((path / name).exists() for name in OF_MODELS)
    return path.suffix.lower() not in OF_PICTURES


def _plain(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-.")


def _open_backbone(console: Console, spec: str | None, cache: Path, device: str) -> Embedder | None:
    """The backbone to embed with; None where none is wanted, or none can be had and none was named."""
    from animepggan.errors import HubError, ModelError

    if spec == NO_BACKBONE:
        return None
    from animepggan.interop.backbones import choose
    from animepggan.metrics.distances import require_fidelity

    try:
        require_fidelity()
        return choose(spec, cache=cache, device=resolve_device(device))
    except (ModelError, HubError) as error:
        if spec is not None:
            raise
        console.warn(f"only what needs no backbone is measured: {error}")
        return None


def _of_model(
    console: Console,
    model: str,
    count: int,
    seed: int,
    truncation: float,
    precision: Literal["fp32", "bf16"],
    resolution: int | None,
    device: str,
) -> Subject:
    from animepggan.metrics.store import room
    from animepggan.sampling.draw import draw
    from animepggan.sampling.latents import latents_of
    from animepggan.sampling.seeds import seeds_from

    seeds = seeds_from(seed, count)
    warn_where_emulated(console, precision, resolve_device(device))
    opened = open_model(console, model, device)
    provenance = opened.loaded.config.get("provenance") or {}
    side = resolution or opened.loaded.generator.resolution
    drawn = draw(
        opened.loaded,
        latents_of(seeds, opened.loaded.generator.latent_dim),
        truncation=truncation,
        precision=precision,
        resolution=side,
    )

    def pictures(bar: Bar) -> tuple[NDArray[np.uint8], Sequence[str]]:
        store = room(count, side)
        for index, picture in enumerate(drawn):
            store[index] = picture
            bar("draw", index + 1, count)
        return store, [f"seed {number}" for number in seeds]

    return Subject(
        name=opened.texts["model"],
        spec=opened.spec,
        count=count,
        resolution=side,
        background=str((provenance.get("recipe") or {}).get("background", "#ffffff")),
        trained_on=(provenance.get("corpus") or {}).get("spec"),
        draw=pictures,
        how={"truncation": truncation, "precision": precision},
    )


def _of_pictures(
    console: Console, spec: str, data: Source, count: int | None, seed: int, resolution: int | None
) -> Subject:
    import numpy as np

    from animepggan.corpus.decode import decode
    from animepggan.corpus.names import printable
    from animepggan.corpus.spec import Bad, resolve
    from animepggan.corpus.sweep import sweep
    from animepggan.errors import DataError
    from animepggan.metrics.store import room

    source = resolve(spec)
    if not source.entries:
        raise DataError(f"{printable(spec)} holds neither a model nor pictures")
    side = resolution or _common_side(source, data)
    entries = source.entries
    if count is not None and count < len(entries):
        chosen = np.sort(np.random.default_rng(seed).choice(len(entries), count, replace=False))
        entries = tuple(entries[index] for index in chosen)

    def pictures(bar: Bar) -> tuple[NDArray[np.uint8], Sequence[str]]:
        store = room(len(entries), side)
        names: list[str] = []
        bad: list[Bad] = []
        looks = sweep(entries, lambda _, file: decode(file, resolution=side, background=(255, 255, 255)))
        for done, (entry, found) in enumerate(looks, 1):
            if isinstance(found, Bad):
                bad.append(found)
            else:
                store[len(names)] = found
                names.append(entry.name)
            bar("read", done, len(entries))
        if bad:
            if len(bad) > MAX_BAD * len(entries):
                raise DataError(
                    f"{printable(spec)}: {len(bad)} of {len(entries)} pictures are unusable, as {bad[0]}\n"
                    "remove them first"
                )
            console.warn(f"{len(bad)} of {len(entries)} pictures are unusable and left out, as {bad[0]}")
        return store[: len(names)], names

    return Subject(source.name, spec, len(entries), side, "#ffffff", None, pictures, {})


def _common_side(*sources: Source) -> int:
    """The largest power of two that most pictures of every source have, 4 to 1024."""
    from statistics import median_low

    from animepggan.corpus.decode import open_picture
    from animepggan.corpus.spec import Bad
    from animepggan.corpus.sweep import sweep

    least = 1024
    for source in sources:
        some = source.entries[:: max(1, len(source) // LOOKED_AT)][:LOOKED_AT]
        sides = [
            found
            for _, found in sweep(some, lambda _, file: min(open_picture(file).image.size))
            if not isinstance(found, Bad)
        ]
        least = min(least, median_low(sides)) if sides else least
    return 1 << (max(4, least).bit_length() - 1)


def _training(
    console: Console, load: Callable[[str | Source], Pool], chosen: Subject, data: str, train: str | None
) -> tuple[Pool | None, bool]:
    """The pictures to look for copies in (None: those of --data), and whether there are any to look in."""
    from animepggan.errors import DataError, HubError

    spec = train or chosen.trained_on
    if spec is None or spec == data:
        return None, True
    try:
        return load(spec), True
    except (DataError, HubError) as error:
        if train is not None:
            raise
        first = str(error).splitlines()[0]
        console.warn(
            f"what the model was trained on is not here ({first}): copies are not looked for\nname it: --train SPEC"
        )
        return None, False


def _write_json(path: Path, value: object) -> None:
    from animepggan.sampling.files import replacing

    with replacing(path) as file:
        file.write((json.dumps(value, indent=2, allow_nan=False) + "\n").encode())
