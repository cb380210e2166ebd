"""Makes the base in the package again: draws its corpus, trains it, packs it into animepggan/base/, measures it there.

    scripts/train_base                    all of it; what is there already is not done again
    scripts/train_base --from MODEL       packs and measures a model that was trained elsewhere
    scripts/train_base --quick            proves the way through in a minute, away from the package

Packed are the three networks and config.json, less what tells of this machine; nothing that a run is resumed with.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

from measure_base import CORPUS, COUNT, SIZE, measure_base, what_looks_wrong
from measuring import machine, training_seconds

from animepggan.checkpoint import PACKAGED_BASE, WEIGHTS, find_model, read_config, read_tensors, verify, write_folder
from animepggan.cli.processor import has_bfloat16
from animepggan.corpus.demo import draw_demo

PACKAGE = Path(__file__).parents[1] / "animepggan" / PACKAGED_BASE
QUICK = ("schedule.fade_kimg=0.016", "schedule.stabilize_kimg=0.032")


def train(corpus: Path, output: Path, settings: list[str], precision: str, device: str) -> None:
    """Train, or go on with the run that is there."""
    command = [sys.executable, "-m", "animepggan", "pretrain", "base", "--data", str(corpus), "-o", str(output)]
    command += ["--precision", precision, "--device", device, *(part for each in settings for part in ("--set", each))]
    subprocess.run(command, check=True)


def pack(model: str, into: Path, trained_on: str) -> None:
    """Write a model's networks into the package; of config.json goes what names a place on this machine."""
    checkpoint = find_model(model, weights=WEIGHTS).path
    verify(checkpoint, WEIGHTS)
    config = read_config(checkpoint)
    provenance = config["provenance"]
    provenance["name"] = PACKAGED_BASE
    provenance["recipe"]["data"] = "demo:general"
    provenance["corpus"]["spec"] = "animepggan data demo general"
    provenance["trained"] = {"on": trained_on, "seconds": training_seconds(checkpoint.parents[1])}
    if places := [text for text in texts(config) if Path(text).is_absolute()]:
        sys.exit(f"config.json names places on this machine: {', '.join(places)}")
    card = into / "README.md"
    wrong = what_looks_wrong(card)
    tensors = {name: read_tensors(checkpoint / f"{name}.safetensors") for name in WEIGHTS}
    write_folder(into, tensors, config)
    not_yet = "Not measured yet: scripts/measure_base.py does that."
    card.write_text(f"# The base in the package\n\n{not_yet}\n\n{wrong}", encoding="utf-8")
    for path in into.iterdir():
        path.chmod(0o644)  # safetensors keeps what it writes from others
    print(f"{into}: {sum(path.stat().st_size for path in into.iterdir()) / 1e6:.1f} MB")


def texts(value: Any) -> list[str]:
    """Every text in what a JSON file held."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [text for each in value for text in texts(each)]
    return [value] if isinstance(value, str) else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="where the pictures are drawn to")
    parser.add_argument("--output", "-o", type=Path, default=Path("runs/base"), help="the run's folder")
    parser.add_argument("--into", type=Path, default=PACKAGE, help="where the weights go")
    parser.add_argument("--from", dest="model", metavar="MODEL", help="pack this model, and train none")
    parser.add_argument("--trained-on", default=machine(), help="machine and date for the card; by default these")
    parser.add_argument("--set", dest="settings", action="append", default=[], help="KEY=VALUE, as of pretrain")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16" if has_bfloat16() else "fp32")
    parser.add_argument("--device", default="auto", help="as of pretrain")
    parser.add_argument("--no-measure", action="store_true", help="leave the card for scripts/measure_base.py")
    parser.add_argument("--quick", action="store_true", help="few pictures and steps, all of it below runs/quick-base")
    options = parser.parse_args()
    count, out = COUNT, Path("runs/base-measured")
    if options.quick:
        quick = Path("runs/quick-base")
        options.corpus, options.output, options.into = quick / "corpus", quick / "run", quick / PACKAGED_BASE
        count, out = 60, quick / "measured"
        options.settings += QUICK
    if options.model is None:
        draw_demo("general", options.corpus, count=count, size=SIZE)
        train(options.corpus, options.output, options.settings, options.precision, options.device)
    pack(options.model or str(options.output), options.into, options.trained_on)
    if not options.no_measure:
        measure_base(str(options.into), out, corpus=options.corpus, card=options.into, quick=options.quick)


if __name__ == "__main__":
    main()
