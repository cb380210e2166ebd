"""`animepggan data curate`: find copies, near copies and strangers, and write a description to train on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from animepggan.cli.common import NATURAL, Console, apply_threads, common_options, device_options, output_option
from animepggan.corpus.names import printable


@click.command()
@click.argument("data", metavar="SPEC")
@click.option(
    "--backbone",
    metavar="NAME",
    help="hub:owner/name[@revision], FILE.safetensors, ARCHITECTURE=FILE.safetensors, efficientnet-lite0, ccip, "
    "or none (copies only).  [default: efficientnet-lite0 if installed, else DINOv2 small from the hub]",
)
@click.option("--keep", metavar="SPEC", help="Example pictures of who belongs: they are kept.")
@click.option(
    "--reject", metavar="SPEC", help="Example pictures of who does not belong: left out, with what is like them."
)
@click.option(
    "--near-limit",
    metavar="X",
    type=click.FloatRange(min=0),
    help="Difference up to which pictures are near copies, in units of noise.  [default: from the set, 0.53 to 0.95]",
)
@click.option(
    "--stranger-limit",
    metavar="X",
    type=float,
    help="Score above which pictures are left out: 1 is as far as her own farthest.  [default: 1]",
)
@click.option("--workers", metavar="N", type=NATURAL, help="Threads; 0: one.  [default: all cores]")
@device_options
@output_option("data/curated-NAME, after the set")
@common_options
def command(console: Console, /, data: str, threads: int | None, output: Path | None, **options: Any) -> None:
    """Find copies, near copies and strangers in SPEC, and write PATH/corpus.jsonl, which --data takes.

    Nothing is deleted: in training a cluster of copies counts as one picture, and strangers are left out.
    PATH/sheet.html shows what was found, the most suspicious pictures first. Where it is wrong, `animepggan data
    review PATH` corrects it by clicking; curating into PATH again keeps what was decided there.
    """
    from animepggan import data as library
    from animepggan.corpus.spec import source_of

    source = source_of(data)
    folder = output or Path("data", f"curated-{source.name}")
    apply_threads(threads)
    with console.bars() as bar:
        curation = library.curate(source, folder, bar=bar, say=console.say, **options)
    description, sheet = folder / "corpus.jsonl", folder / "sheet.html"
    console.say("; ".join(f"{name} {value}" for name, value in curation.counts.items()))
    if curation.unsure:
        console.say(curation.unsure)
    shown = printable(str(folder))
    console.say(f"look at {printable(str(sheet))}; `animepggan data review {shown}` corrects it by clicking")
    console.result(str(description), {"description": description, "sheet": sheet, **curation.as_json()})
