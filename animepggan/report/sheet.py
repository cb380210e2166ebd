"""Contact sheets: one HTML file with thumbnails and histograms in it. No script, nothing fetched."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from animepggan.corpus.decode import open_picture
from animepggan.corpus.spec import Bad, Entry
from animepggan.corpus.sweep import sweep
from animepggan.disk import replacing
from animepggan.sampling.grid import enlarge

_THUMBNAIL = 128  # pixels, the longer side
WIDTH, HEIGHT = 760, 130  # pixels of a histogram, in all
FLOOR = 108  # where its bars stand; the numbers are below
BINS = 80

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --note: #777; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5rem auto; padding: 0 1rem; max-width: 84rem; }
h1 { font-size: 1.5rem; margin: 0 0 .3rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 .2rem; }
p { margin: .2rem 0 .8rem; }
.note, figcaption { color: var(--note); }
.tiles { display: flex; flex-wrap: wrap; gap: .5rem; }
.row { border-top: 1px solid var(--line); padding: .5rem 0; }
figure { margin: 0; width: 128px; }
figure.marked { outline: 3px solid #d33; outline-offset: 1px; }
img { display: block; width: 128px; height: 128px; object-fit: contain; background: #8882; }
figcaption { font-size: .72rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; } td, th { padding: .15rem .8rem .15rem 0; text-align: left; }
td.number { font-variant-numeric: tabular-nums; }
"""


@dataclass(frozen=True)
class Tile:
    """One picture of a sheet with what is said under it."""

    picture: NDArray[np.uint8]  # [h, w, 3], RGB, of any size
    caption: str = ""
    marked: bool = False  # framed, to be found at a glance


@dataclass(frozen=True)
class Section:
    """A heading, a line or two, and pictures; in rows of their own (a cluster each) or all in one."""

    title: str
    note: str = ""
    rows: Iterable[Sequence[Tile]] = ()
    table: Sequence[tuple[str, str]] = field(default=())  # name and value
    drawing: str = ""  # SVG, as it is


def write_sheet(path: Path, title: str, note: str, sections: Iterable[Section]) -> None:
    """Write a sheet to `path`, replacing it whole; of generated sections and rows one is held at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial, partial.open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.writelines(_page(title, note, sections))


def _page(title: str, note: str, sections: Iterable[Section]) -> Iterator[str]:
    yield (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>\n"
        f'<h1>{html.escape(title)}</h1><p class="note">{html.escape(note)}</p>\n'
    )
    for section in sections:
        yield f"<h2>{html.escape(section.title)}</h2>\n"
        if section.note:
            yield f'<p class="note">{html.escape(section.note)}</p>\n'
        if section.table:
            yield "<table>"
            for name, value in section.table:
                yield f'<tr><th>{html.escape(name)}</th><td class="number">{html.escape(value)}</td></tr>'
            yield "</table>\n"
        yield section.drawing
        for row in section.rows:
            yield '<div class="tiles row">\n'
            yield from map(_figure, row)
            yield "</div>\n"
    yield "</body></html>\n"


def _figure(tile: Tile) -> str:
    factor = max(1, _THUMBNAIL // max(tile.picture.shape[:2]))  # small faces pixel by pixel: browsers would smear them
    thumbnail = Image.fromarray(enlarge(tile.picture, factor))
    thumbnail.thumbnail((_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    thumbnail.save(buffer, "WEBP", quality=80)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    marked = ' class="marked"' if tile.marked else ""
    caption = f"<figcaption>{html.escape(tile.caption)}</figcaption>" if tile.caption else ""
    return f'<figure{marked}><img src="data:image/webp;base64,{data}" alt="" loading="lazy">{caption}</figure>\n'


def thumbnails_at(
    entries: Sequence[Entry], places: Iterable[int], workers: int | None
) -> dict[int, NDArray[np.uint8] | None]:
    """[h, w, 3] of the picture files at these places among the entries; None of one that is gone by now."""

    def thumbnail(_: Entry, file: BinaryIO) -> NDArray[np.uint8]:
        image = open_picture(file).image
        image.thumbnail((_THUMBNAIL, _THUMBNAIL))
        return np.array(image)

    shown = sorted(set(places))
    found = sweep([entries[place] for place in shown], thumbnail, workers=workers)
    return {place: None if isinstance(made, Bad) else made for place, (_, made) in zip(shown, found, strict=True)}


def histogram(
    spreads: Sequence[tuple[NDArray[np.floating], str]],  # values, and the color of their bars
    limit: float,
    *,
    extent: tuple[float, float] | None = None,  # values; None: from the least to the greatest
    logarithmic: bool = False,  # in the counts, so that a bar of one picture is seen beside one of thousands
) -> str:
    """How values are spread, as shares of each of `spreads`, and a line at `limit`; nothing where there are none."""
    every = np.concatenate([values for values, _ in spreads])
    if not len(every):
        return ""
    low, high = extent or (float(min(every.min(), limit)), float(max(every.max(), limit)) + 1e-6)
    shown = np.log1p if logarithmic else np.asarray
    shares = [shown(np.histogram(values, BINS, (low, high))[0]) / shown(max(1, len(values))) for values, _ in spreads]
    highest = max(float(heights.max()) for heights in shares) or 1.0
    step = WIDTH / BINS
    drawn = "".join(
        f'<rect x="{place * step:.1f}" y="{FLOOR - height:.1f}" width="{step - 1:.1f}" height="{height:.1f}" '
        f'fill="{color}" fill-opacity=".6"/>'
        for heights, (_, color) in zip(shares, spreads, strict=True)
        for place, height in enumerate(heights / highest * (FLOOR - 4))
        if height
    )
    at = (limit - low) / (high - low) * WIDTH
    line = f'<line x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{FLOOR}" stroke="#d33" stroke-width="2"/>'
    numbers = _number(low, 0, "start") + _number(high, WIDTH, "end")
    if 0.08 * WIDTH < at < 0.92 * WIDTH:  # else it would stand on one of those
        numbers += _number(limit, at, "middle", "#d33")
    axis = f'<line x1="0" x2="{WIDTH}" y1="{FLOOR}" y2="{FLOOR}" stroke="#777"/>'
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" aria-label="histogram">'
        f"{drawn}{axis}{line}{numbers}</svg>\n"
    )


def _number(value: float, at: float, anchor: str, color: str = "#777") -> str:
    place = f'x="{at:.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}"'
    return f'<text {place} font-size="12" fill="{color}">{value:.2f}</text>'
