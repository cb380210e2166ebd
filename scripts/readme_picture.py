"""Enlarge what scripts/demo drew for the README: scripts/pictures/demo.png from samples/demo/grid.png."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

FACTOR = 3


def main() -> None:
    """Pixels are repeated, not smoothed: the picture shows what was drawn."""
    with Image.open("samples/demo/grid.png") as grid:
        enlarged = grid.resize((grid.width * FACTOR, grid.height * FACTOR), Image.Resampling.NEAREST)
    path = Path("scripts/pictures/demo.png")
    path.parent.mkdir(exist_ok=True)
    enlarged.save(path, optimize=True)
    print(path)


if __name__ == "__main__":
    main()
