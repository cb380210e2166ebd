"""Whose drawings these are: read from the style files, which state artist, source and license."""

from __future__ import annotations

from collections.abc import Iterable

from animepggan.corpus.demo.styles import HEADS, style


def credits(styles: Iterable[str] = tuple(HEADS)) -> str:
    """Markdown that names the artist, the work and the license of each style."""
    lines = [
        "# Credits",
        "",
        "The demo corpora are remixes: parts that these artists drew, put together, recolored and placed by lot.",
        "",
    ]
    for name in styles:
        meta = style(name).meta()
        source, creator, license_ = meta.source(), meta.creator(), meta.license()
        work = _link(source.name() or name, source.url())
        lines.append(
            f"- {name}: {work} by {_link(creator.name() or 'unknown', creator.url())}, "
            f"license: {_link(license_.name() or 'not stated', license_.url())}"
        )
    return "\n".join(lines) + "\n"


def _link(text: str, url: str | None) -> str:
    return f"[{text}]({url})" if url else text
