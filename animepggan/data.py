"""`check` and `curate`: look over a set of pictures before training on it, as `animepggan data` does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from animepggan.bar import Bar, Say, silent, unheard
from animepggan.corpus.curation import Curation, Report, curation_of, report_of
from animepggan.corpus.description import decisions_in, write_description, write_lines
from animepggan.corpus.facts import SEEN, Describer
from animepggan.corpus.names import printable
from animepggan.corpus.source import no_pictures
from animepggan.corpus.spec import Source, source_of
from animepggan.device import device_of
from animepggan.disk import cache_folder, make_folder
from animepggan.errors import AnimepgganError, DataError, ModelError, RecipeError, resource_errors
from animepggan.interop.backbones import PACKAGED, choose
from animepggan.interop.ccip import open_ccip
from animepggan.report.data_sheets import write_check, write_curation
from animepggan.review_page.server import Review, serve

LARGE = 20_000
"""Pictures up to which `check` lets a backbone look without being asked: more take it longer than decoding does."""


@resource_errors()
def check(
    data: str | Path | Source,
    *,
    output: str | Path | None = None,
    backbone: str | None = None,
    workers: int | None = None,
    device: str = "auto",
    bar: Bar = silent,
) -> Report:
    """Decode every picture of the SPEC `data` once and say what is in it; nothing in it is changed.

    - `output`: folder that gets sheet.html and bad.jsonl; None: nothing is written;
    - `backbone`: hub:owner/name[@revision], FILE.safetensors, ARCHITECTURE=FILE.safetensors, efficientnet-lite0,
      ccip (extra `ccip`), or none, which looks for no strangers; by default efficientnet-lite0 if it is
      installed, else DINOv2 small if it can be had, else none, and none for more than LARGE pictures;
    - `workers`: threads that decode; 0: the calling one; by default one a core;
    - `device`: auto, cpu, cuda, cuda:N or mps.

    Raises RecipeError where `output` is a file or below one, ResourceError for want of disk or memory, DataError where
    there are no pictures, ModelError and HubError where a backbone that was named cannot be had.
    """
    source = source_of(data)
    if not source.entries and not source.skipped:
        raise no_pictures(source.spec, source.skipped)
    folder = None if output is None else make_folder(output)
    chosen, unseen = _backbone(backbone, len(source), device)
    report = report_of(curation_of(source, chosen, workers=workers, scratch=folder, bar=bar), unseen)
    if folder is not None:
        write_lines(folder / "bad.jsonl", report.unusable())
        write_check(folder / "sheet.html", report, workers)
    return report


@resource_errors()
def curate(
    data: str | Path | Source,
    output: str | Path,
    *,
    backbone: str | None = None,
    keep: str | Path | Source | None = None,
    reject: str | Path | Source | None = None,
    near_limit: float | None = None,
    stranger_limit: float | None = None,
    workers: int | None = None,
    device: str = "auto",
    bar: Bar = silent,
    say: Say = unheard,
) -> Curation:
    """Find copies, near copies and strangers in the SPEC `data`, and describe them in `output`/corpus.jsonl, which
    training takes as its data; `output`/sheet.html shows them. Nothing is deleted, and what a person decided in an
    `output`/corpus.jsonl of before (`review`) stays as it is.

    - `backbone`, `workers`, `device`: as for `check`, but without `none` a backbone there has to be;
    - `keep`, `reject`: SPECs of example pictures of who belongs, and of who does not;
    - `near_limit`: difference up to which pictures are near copies, in units of noise; by default from the set;
    - `stranger_limit`: score above which pictures are left out; 1, the default: as far from her as her own farthest;
    - `say`: told which backbone looks.

    Raises what `check` raises, RecipeError also where `near_limit` is below 0, DataError where no picture can be used,
    and ModelError or HubError where there is no backbone.
    """
    if near_limit is not None and not near_limit >= 0:
        raise RecipeError(f"near_limit {near_limit:g} is not a number from 0 on")
    source = source_of(data)
    if not source.entries:
        raise no_pictures(source.spec, source.skipped)
    wanted, unwanted = (None if spec is None else source_of(spec) for spec in (keep, reject))
    folder = make_folder(output)
    by_hand = decisions_in(folder / "corpus.jsonl")
    chosen = None
    if backbone == "none":
        if wanted is not None or unwanted is not None:
            raise RecipeError("--keep and --reject are looked at with a backbone\nleave --backbone none away")
        say("strangers are not looked for: that takes a backbone")
    else:
        chosen = describer(backbone, device=device_of(device))
        say(f"looking with {chosen.label}")
    curation = curation_of(
        source,
        chosen,
        keep=wanted,
        reject=unwanted,
        near_limit=near_limit,
        stranger_limit=stranger_limit,
        workers=workers,
        scratch=folder,
        bar=bar,
    )
    curation = replace(curation, by_hand=by_hand)
    if not curation.facts:
        first = "".join(f": {bad}" for bad in list(curation.bad.values())[:1])
        raise DataError(f"{printable(source.spec)} holds no picture that can be used{first}")
    write_description(folder / "corpus.jsonl", curation.rows(), base=source.base)
    write_curation(folder / "sheet.html", curation, workers)
    return curation


@resource_errors()
def review(
    folder: str | Path,
    *,
    port: int = 0,
    backbone: str | None = None,
    workers: int | None = None,
    device: str = "auto",
    show: Say = unheard,
) -> Review:
    """Let a person say in a browser who belongs in what `curate` described in `folder`, until they press Done or the
    process is interrupted. Each decision is saved in `folder`/corpus.jsonl at once; nothing is deleted.

    - `port`: where the page is served, on 127.0.0.1 only; 0: any that is free;
    - `backbone`, `workers`, `device`: as for `curate`, which ranks again where the person asks for it;
    - `show`: told the page's address once it can be opened.

    Raises DataError where there is nothing to review, BusyError where it is being reviewed, RecipeError where the port
    is taken.
    """

    def rank(bar: Bar, pictures: Source, here: Path, keep: Source | None, reject: Source | None) -> None:
        curate(pictures, here, backbone=backbone, keep=keep, reject=reject, workers=workers, device=device, bar=bar)

    return serve(folder, rank, port=port, show=show)


def describer(spec: str | None, *, device: str | torch.device = "cpu") -> Describer:
    """The backbone that tells characters apart: CCIP by its name, `ccip`, or what `choose` takes, which is shown
    pictures of SEEN pixels. None: the packaged one, which `corpus.strangers` knows, or what `choose` makes of None.

    Raises ModelError and HubError.
    """
    if spec == "ccip":
        return open_ccip(device)
    if spec is None:
        try:
            return choose(PACKAGED, cache=cache_folder(), device=device).at(SEEN)
        except ModelError:
            pass
    return choose(spec, cache=cache_folder(), device=device).at(SEEN)


def _backbone(name: str | None, count: int, device: str) -> tuple[Describer | None, str]:
    """The backbone to look with, or None and why; that there is none is no error, unless one was asked for by name."""
    if name == "none":
        return None, "not looked for: that takes a backbone"
    if name is None and count > LARGE:
        return None, f"not looked for in over {LARGE:,} pictures unless a --backbone is named"
    where = device_of(device)
    try:
        return describer(name, device=where), ""
    except AnimepgganError as error:
        if name is not None:
            raise
        lines = str(error).splitlines()
        return None, "not looked for: " + "; ".join(dict.fromkeys((lines[0], lines[-1])))
