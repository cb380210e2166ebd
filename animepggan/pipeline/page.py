"""The page at the end of `start`: her pictures, drawn and real, how the model came along, and what to type next."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from animepggan.disk import write_text

_STYLE = """
:root { color-scheme: light dark; --paper: #fffdfa; --ink: #222; --soft: #776; --line: #8883; --accent: #c2456b; }
@media (prefers-color-scheme: dark) { :root { --paper: #17161a; --ink: #eee; --soft: #a9a4a0; --accent: #ff8fb0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 2rem 1rem 4rem; }
h1 { font-size: clamp(1.8rem, 5vw, 2.8rem); margin: 0; letter-spacing: -.02em; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .6rem; }
p { margin: .3rem 0 1rem; max-width: 46rem; }
.soft, figcaption { color: var(--soft); font-size: .9rem; }
img { display: block; max-width: 100%; height: auto; border-radius: 8px; image-rendering: pixelated; }
.hero { display: grid; grid-template-columns: minmax(9rem, 1fr) 3fr; gap: 1.2rem; margin-top: 1.5rem; }
@media (max-width: 40rem) { .hero { grid-template-columns: 1fr; } .hero figure:first-child img { width: 60%; } }
figure { margin: 0; }
.hero figure:first-child img { width: 100%; }
.numbers { display: flex; flex-wrap: wrap; gap: .6rem 2.2rem; padding: 0; margin: 1rem 0; list-style: none; }
.numbers b { display: block; font-size: 1.5rem; font-variant-numeric: tabular-nums; }
.strip { display: flex; gap: .5rem; overflow-x: auto; padding-bottom: .5rem; }
.strip figure { flex: 0 0 auto; }
.strip img { height: 12rem; width: auto; max-width: none; }
pre { overflow-x: auto; padding: .9rem 1.1rem; border: 1px solid var(--line); border-radius: 8px; background: #8881;
  font: .88rem/1.7 ui-monospace, monospace; }
a { color: var(--accent); }
"""


@dataclass(frozen=True)
class Shown:
    """A picture file in the page, and what is said under it."""

    file: Path
    caption: str = ""


def write_page(
    path: Path,
    title: str,
    lead: str,
    *,
    film: Shown,
    sheet: Shown,
    numbers: Mapping[str, str],  # what is counted -> how many
    real: Shown | None = None,
    previews: Sequence[Shown] = (),  # as training went
    commands: Sequence[tuple[str, str]] = (),  # a command, and what it is for
    links: Mapping[str, str] = {},  # text -> a path relative to the page
) -> None:
    """Write one file with every picture in it, which opens from the disk; the links lead to the folder beside it."""
    write_text(
        path,
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body><main>\n"
        f"<h1>{html.escape(title)}</h1><p class=soft>{html.escape(lead)}</p>\n"
        f'<div class="hero">{_figure(film)}{_figure(sheet)}</div>\n'
        + "".join(_parts(numbers, real, previews, commands, links))
        + "</main></body></html>\n",
    )


def _parts(
    numbers: Mapping[str, str],
    real: Shown | None,
    previews: Sequence[Shown],
    commands: Sequence[tuple[str, str]],
    links: Mapping[str, str],
) -> Iterable[str]:
    counted = "".join(f"<li><b>{html.escape(value)}</b>{html.escape(name)}</li>" for name, value in numbers.items())
    yield f'<ul class="numbers">{counted}</ul>\n'
    if commands:
        yield "<h2>What to type next</h2>\n<pre>"
        width = max(len(command) for command, _ in commands)
        yield "\n".join(html.escape(f"{command:{width}}   # {what}") for command, what in commands)
        yield "</pre>\n"
    if previews:
        yield "<h2>How she came along</h2><p class=soft>The same seeds as training went.</p>\n"
        yield f'<div class="strip">{"".join(map(_figure, previews))}</div>\n'
    if real is not None:
        yield f"<h2>What it learned from</h2>\n{_figure(real)}\n"
    if links:
        yield "<h2>Beside this page</h2>\n<p>"
        yield " · ".join(
            f'<a href="{html.escape(to, quote=True)}">{html.escape(text)}</a>' for text, to in links.items()
        )
        yield "</p>\n"


def _figure(shown: Shown) -> str:
    kind = {".gif": "gif", ".webp": "webp", ".jpg": "jpeg"}.get(shown.file.suffix.lower(), "png")
    data = base64.b64encode(shown.file.read_bytes()).decode("ascii")
    caption = f"<figcaption>{html.escape(shown.caption)}</figcaption>" if shown.caption else ""
    alt = html.escape(shown.caption or "drawn faces", quote=True)
    return f'<figure><img src="data:image/{kind};base64,{data}" alt="{alt}">{caption}</figure>'
