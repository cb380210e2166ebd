"""`animepggan evaluate`: a model's pictures, or a folder of them, in numbers and on a sheet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from animepggan.cli.common import POSITIVE, Console, apply_threads, check_device, common_options, output_option
from animepggan.cli.sample import drawing_options, open_model

if TYPE_CHECKING:
    from animepggan.model import Model


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
    help="Measure against N clusters of --data only, or a share of them (0.2): those it was not trained on.",
)
@click.option(
    "--count", metavar="N", type=POSITIVE, help="How many pictures.  [default: 1000 of a model, all of a folder]"
)
@click.option(
    "--seed",
    metavar="S",
    type=click.IntRange(0, (1 << 32) - 1),
    default=0,
    help="Seeds S, S+1, ... are drawn; the measures' own draws follow from it too.",
)
@click.option(
    "--backbone",
    metavar="NAME",
    help="hub:owner/name[@revision], FILE.safetensors, efficientnet-lite0, or none.  [default: DINOv2 small if it can "
    "be had, else efficientnet-lite0]",
)
@click.option(
    "--batch-size", metavar="N", type=POSITIVE, default=32, help="Pictures that the backbone looks at at once."
)
@drawing_options
@output_option("evaluations/<run>-<checkpoint>-<data name>")
@common_options
def command(console: Console, /, subject: str, threads: int | None, output: Path | None, **options: Any) -> None:
    """Measure how good a model's pictures are, or those of a folder.

    MODEL_OR_FOLDER is a model, of which pictures are drawn, or a folder, an archive or another SPEC of pictures. They
    are measured against a picture of each cluster of --data: copies and near copies count as one.

    KID, Fréchet distance, precision, recall, density and coverage compare embeddings of a backbone; the sliced
    Wasserstein distance and MS-SSIM need none. A picture is a copy when it is nearer to a training picture than 99 of
    100 new pictures are, and a blend when a mixture of two of them is. The output folder gets measures.json and
    sheet.html, which shows the nearest ones.

    The last lines say what the numbers mean: good, on its way, too early, copying or collapsed.
    """
    from animepggan.evaluation import evaluate, is_model

    apply_threads(threads)
    measured: Model | str = subject
    if is_model(subject):
        check_device(console, options["device"], options["precision"])
        measured = open_model(console, subject, options["device"])
    with console.bars() as bar:
        found = evaluate(measured, bar=bar, say=console.say, warn=console.warn, **options)
    written = found.save(output or Path("evaluations", found.name))
    console.result("\n".join([str(found), *map(str, written)]), {**found.as_json(), "files": written})
