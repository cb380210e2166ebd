"""How near `pretrain --dry-run` comes to a real run: time, memory and disk of each stage, at small widths.

Both are run as a user would run them, in processes of their own, on a shortened demo recipe; further arguments
(--reference, --precision bf16, --set ...) are given to both. A phase shows twice the images of one at twice its
resolution, so that a stage's first steps, which are slower, weigh little. Prints, for every stage, what was estimated,
what it was, and their ratio; exits 1 where one is off by more than 30 %.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from measuring import machine

from animepggan.schedule import resolutions

TOLERANCE = 0.3


def animepggan(*arguments: str) -> Any:
    """The JSON that a verb prints."""
    command = [sys.executable, "-m", "animepggan", *arguments, "--json", "--quiet"]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def real_run(folder: Path) -> tuple[dict[int, float], dict[int, float]]:
    """Seconds and most memory (bytes) by stage, from the log of a run."""
    seconds: dict[int, float] = defaultdict(float)
    memory: dict[int, float] = {}
    before = 0
    for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        seconds[record["resolution"]] += (record["images_seen"] - before) / record["images_per_second"]
        memory[record["resolution"]] = record["memory_mb"] * 1e6
        before = record["images_seen"]
    return seconds, memory


def main() -> int:
    """Print the table; 1 where an estimate is off."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kimg", type=float, default=0.4, help="length of the last stage's phases (default 0.4)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--fmap-base", type=int, default=2048)
    parser.add_argument("--fmap-max", type=int, default=64)
    arguments, more = parser.parse_known_args()
    options = ["demo", "--threads", str(arguments.threads), *more]
    kimg = ", ".join(
        f"{side}: {arguments.kimg * arguments.resolution / side}" for side in resolutions(4, arguments.resolution)
    )
    for setting in (
        f"resolution={arguments.resolution}",
        f"network.fmap_base={arguments.fmap_base}",
        f"network.fmap_max={arguments.fmap_max}",
        f"schedule.fade_kimg={{{kimg}}}",
        f"schedule.stabilize_kimg={{{kimg}}}",
        "log.every_kimg=0.1",
    ):
        options += ["--set", setting]
    widths = f"fmap_base {arguments.fmap_base}, fmap_max {arguments.fmap_max}"
    print(", ".join([machine(), f"{arguments.threads} thread(s)", widths, *filter(None, [" ".join(more)])]))
    plan = animepggan("pretrain", *options, "--dry-run")
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        animepggan("pretrain", *options, "-o", str(run))
        seconds, memory = real_run(run)
        disk = sum(path.stat().st_size for path in run.glob("checkpoints/stage-*/*"))
    rows: list[tuple[str, float, float, str]] = []
    for stage in plan["stages"]:
        resolution = stage["resolution"]
        rows.append((f"{resolution} px time", stage["seconds"], seconds[resolution], "s"))
        rows.append((f"{resolution} px memory", stage["memory_bytes"] / 1e6, memory[resolution] / 1e6, "MB"))
    rows.append(("in all time", plan["seconds"], sum(seconds.values()), "s"))
    rows.append(("stages on disk", sum(stage["checkpoint_bytes"] for stage in plan["stages"]) / 1e6, disk / 1e6, "MB"))
    print(f"{'':16s}{'estimate':>14s}{'run':>14s}{'ratio':>8s}")
    for name, estimate, measured, unit in rows:
        print(f"{name:16s}{estimate:10.1f} {unit:3s}{measured:10.1f} {unit:3s}{estimate / measured:8.2f}")
    worst = max(abs(estimate / measured - 1) for _, estimate, measured, _ in rows)
    print(f"furthest off: {worst:.0%}; at most {TOLERANCE:.0%} is promised")
    return 0 if worst <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
