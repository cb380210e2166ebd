"""Measures at what learning rates and batches training on one character collapses, from a base and from scratch.

    .venv/bin/python scripts/measure_collapse.py GENERAL HER HELD_OUT [-o WORK] [--kimg N] [--rows NAME,...]

GENERAL: pictures of other characters, for the base; HER: 50 or more of one character; HELD_OUT: others of her, never
trained on. All at 32 px by the recipe `demo` with wider networks, on one thread in bf16. A run or a measure that WORK
holds already is not made again, so that it may be stopped at any time. Prints a table for scripts/results/collapse.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measuring import machine

from animepggan.checkpoint import checkpoints_of, read_config

NETWORK = ("network.fmap_base=512", "network.fmap_max=128")
UP_TO_32 = 35  # kimg of demo's schedule until 32 px has faded in


@dataclass(frozen=True)
class Row:
    """A run, and after how many kimg it is measured."""

    name: str
    rate: float
    batch: int
    pictures: int | None  # None: all of them
    at: tuple[int, ...]
    base: bool = True


ROWS = (
    Row("old", 0.02, 4, None, (8,)),
    Row("default", 0.005, 8, None, (8, 16)),
    Row("old-50", 0.02, 4, 50, (8,)),
    Row("rate-0.01", 0.01, 4, None, (8, 16)),
    Row("rate-0.01-8", 0.01, 8, None, (8, 16)),
    Row("default-50", 0.005, 8, 50, (8, 16)),
    Row("rate-0.002", 0.002, 8, None, (8, 16)),
    Row("scratch-0.01", 0.01, 8, None, (60, 80), base=False),
    Row("scratch-0.005", 0.005, 8, None, (60, 80), base=False),
)


def animepggan(*words: str) -> str:
    """What the command line prints; its warnings and errors go to the terminal."""
    command = [sys.executable, "-m", "animepggan", *words, "--threads", "1", "--quiet"]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def settings(*values: str) -> list[str]:
    """As options."""
    return [word for value in values for word in ("--set", value)]


def train(folder: Path, words: list[str], total: int, rate: float, batch: int, stabilize: str) -> None:
    """A run in `folder`, or the rest of it."""
    status = folder / "status.json"
    if status.is_file() and json.loads(status.read_text())["state"] == "finished":
        return
    values = settings(
        f"schedule.learning_rate={rate}",
        f"schedule.batch_size={batch}",
        f"schedule.stabilize_kimg={stabilize}",
        "returns=0",
        f"checkpoints.every_kimg={4 if total < UP_TO_32 else 10}",
        "checkpoints.keep=99",
        f"previews.every_kimg={4 if total < UP_TO_32 else 10}",
        "log.every_kimg=0.5",
    )
    animepggan(*words, *values, "--precision", "bf16", "-o", str(folder))


def pretrain(folder: Path, data: Path, total: int, rate: float, batch: int) -> None:
    """`total` kimg from nothing."""
    words = ["pretrain", "demo", "--data", str(data), *settings(*NETWORK)]
    train(folder, words, total, rate, batch, f"{{4: 4, 8: 6, 16: 10, default: {total - UP_TO_32}}}")


def few(data: Path, count: int, folder: Path) -> Path:
    """A folder of the first `count` pictures."""
    folder.mkdir(exist_ok=True)
    for path in sorted(data.iterdir())[:count]:
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def measured(checkpoint: Path, held_out: Path, folder: Path) -> dict[str, Any]:
    """The measures of as many drawn pictures as there are real ones, taken once."""
    if not (folder / "measures.json").is_file():
        count = sum(1 for _ in held_out.iterdir())
        words = ("--data", str(held_out), "--count", str(count), "--backbone", "efficientnet-lite0", "-o", str(folder))
        animepggan("evaluate", str(checkpoint), *words)
    found: dict[str, Any] = json.loads((folder / "measures.json").read_text())
    return found


def told(row: Row, run: Path, held_out: Path) -> str:
    """The table's line."""
    at = {read_config(each)["position"]["images_seen"] // 1000: each for each in checkpoints_of(run)}
    found = [measured(at[kimg], held_out, run.parent / f"{run.name}-{kimg}") for kimg in row.at]
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    warned = [f"{line['images_seen'] / 1000:g}" for line in log if line.get("warnings")]
    cells = [
        f"{row.rate:g}, {row.batch}",
        str(row.pictures or "all"),
        "yes" if row.base else "no",
        ", ".join(f"{1000 * each['kid']:.0f} at {kimg}" for each, kimg in zip(found, row.at, strict=True)),
        f"{found[-1]['recall']:.2f}",
        f"{max(line['gradient_penalty'] for line in log):.3g}",
        f"{min(line['variety'] for line in log):.2f}",
        warned[0] if warned else "never",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Train and measure what is missing, row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("general", "her", "held_out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("collapse"))
    parser.add_argument("--kimg", type=int, default=60, help="of the base")
    parser.add_argument("--rows", default=",".join(row.name for row in ROWS))
    options = parser.parse_args()
    work: Path = options.output
    work.mkdir(parents=True, exist_ok=True)
    rows = [row for row in ROWS if row.name in options.rows.split(",")]
    if any(row.base for row in rows):
        pretrain(work / "base", options.general, options.kimg, 0.01, 8)
    print(f"{machine()}; base of {options.kimg} kimg\n")
    print(
        "| rate, batches | pictures | base | KID x 1000 | recall | highest penalty | least variety | warned at kimg |"
    )
    print(f"|{'---|' * 8}")
    for row in rows:
        data = few(options.her, row.pictures, work / f"few-{row.pictures}") if row.pictures else options.her
        run, total = work / row.name, row.at[-1]
        if row.base:
            words = ["finetune", "--recipe", "yui-few", "--base", str(work / "base"), "--data", str(data)]
            train(run, words, total, row.rate, row.batch, str(total))
        else:
            pretrain(run, data, total, row.rate, row.batch)
        print(told(row, run, options.held_out), flush=True)


if __name__ == "__main__":
    main()
