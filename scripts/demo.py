"""The main job end to end, on this machine, without a GPU or a hub.

    scripts/demo            a quarter of an hour on two cores, after the install
    scripts/demo --quick    proves the way through in two minutes; the faces are not worth looking at

Draws the demo corpora. Then, on a core each: pretrains recipes/demo.yaml at 32 px and fine-tunes recipes/demo-yui.yaml
on the character; and fine-tunes the base that comes with the package on the same girl at 64 px. Samples a grid, an
interpolation and a sheet that shows her beside the base, and measures what came out. What is there already is not done
again: an interrupted demo goes on where it stopped.

The front page shows that sheet: cp samples/demo/real-base-hers.png scripts/pictures/demo.png
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HERS_KIMG = 8
"""Of fine-tuning at 64 px: what the other core has time for while this one does the job at 32 px."""
# One thread for networks this small: a second one makes a step a fifth faster on an idle machine, and several times
# slower where anything else wants a core.
ONE_THREAD = ("--threads", "1")
SHORT = ("--set", "schedule.fade_kimg=0.4", "--set", "schedule.stabilize_kimg=0.6")
HELD_OUT, COLUMNS = 1500, 8
SECONDS_BETWEEN_LINES = 10.0
interrupted: list[int] = []  # the Ctrl-C: children get it too, save, and end as the demo then does


def say(text: str) -> None:
    print(f"scripts/demo: {text}", file=sys.stderr, flush=True)


def program(*arguments: object) -> list[str]:
    command = [str(argument) for argument in arguments]
    say("animepggan " + " ".join(command))
    return [sys.executable, "-m", "animepggan", *command]


def run(*arguments: object) -> None:
    """Call the program; where it fails, the demo ends as it did."""
    process = subprocess.Popen(program(*arguments))
    try:
        if process.wait():
            sys.exit(process.returncode)
    finally:
        if process.poll() is None:
            process.terminate()  # it saves first
            process.wait()


@contextmanager
def beside(log: Path, *arguments: object) -> Iterator[None]:
    """Let the program run on another core, its lines in `log`, and wait for its end."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(program(*arguments), stdout=file, stderr=subprocess.STDOUT)
    say(f"  that goes on beside what follows, on another core; its lines stand in {log}")
    try:
        yield
        said = ""
        while process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(SECONDS_BETWEEN_LINES)
            *_, line = ["", *log.read_text(encoding="utf-8", errors="replace").splitlines()]
            if line != said:
                said = line
                say(f"  {said}")
        if process.returncode:
            sys.exit(process.returncode)
    finally:
        if process.poll() is None and not interrupted:  # a Ctrl-C reached it too: it is saving already
            process.terminate()
        process.wait()


def three_rows(hers: Path, held_out: Path, path: Path) -> None:
    """A sheet of real pictures, what the base draws and what the model tuned from it draws of the same seeds."""
    import numpy as np
    from measuring import originals, training_seconds
    from PIL import Image, ImageDraw, ImageFont

    from animepggan import load
    from animepggan.corpus import Corpus
    from animepggan.sampling.grid import enlarge, grid, legible_scale

    base, tuned = load("base"), load(hers)
    side, height = tuned.resolution, 26
    real = Corpus.load(originals(held_out), resolution=side).pictures(np.arange(COLUMNS), resolution=side)
    minutes = training_seconds(hers) / 60
    rows = {
        "real: pictures of her that training never saw": real,
        "base: what comes with the package draws": base.sample(range(COLUMNS)),
        f"hers: the same seeds after {minutes:.0f} minutes of fine-tuning on one core": tuned.sample(range(COLUMNS)),
    }
    bands = []
    for text, pictures in rows.items():
        sheet = enlarge(grid(list(pictures), COLUMNS), legible_scale(side))
        label = Image.new("RGB", (sheet.shape[1], height), "white")
        ImageDraw.Draw(label).text((4, 4), text, "black", ImageFont.load_default(15))
        bands += [np.asarray(label), sheet]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(bands)).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few pictures and steps; all of it in other folders")
    quick = parser.parse_args().quick
    from animepggan.cli.processor import has_bfloat16

    os.chdir(ROOT)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, lambda number, _: interrupted.append(number))
    started = time.monotonic()
    runs = Path("runs/quick" if quick else "runs")
    base, tuned, hers = runs / "demo-general", runs / "demo-yui-yui", runs / "demo-hers"
    held_out, pictures = runs / "demo-held-out", Path("samples", "quick" if quick else "demo")
    short = SHORT if quick else ()
    general, yui = "demo:general", "demo:yui"
    if quick:
        general, yui = str(runs / "corpora" / "general"), str(runs / "corpora" / "yui")
        run("data", "demo", "general", "--count", 400, "--size", 64, "-o", general)
        run("data", "demo", "yui", "--count", 300, "--size", 64, "-o", yui)
    else:
        from animepggan.corpus.demo import cached

        say("drawing demo:general and demo:yui into the cache, unless they are there")
        cached("general")
        cached("yui")
    run("data", "demo", "yui", "--count", 300 if quick else HELD_OUT, "--size", 64, "--seed", 1, "-o", held_out)
    kimg = f"schedule.stabilize_kimg={0.2 if quick else HERS_KIMG}"
    often = ("--set", "checkpoints.every_kimg=2", "--set", "previews.every_kimg=1")
    fast = ("--precision", "bf16") if has_bfloat16() else ()
    tuning = ("finetune", "--data", yui, "-o", hers, *ONE_THREAD, *fast, "--set", kimg, *often)
    with beside(runs / "demo-hers.log", *tuning):
        run("pretrain", "recipes/demo.yaml", "--data", general, "-o", base, *ONE_THREAD, *short)
        recipe = ("--recipe", "recipes/demo-yui.yaml")
        run("finetune", *recipe, "--base", base, "--data", yui, "-o", tuned, *ONE_THREAD, *short)
        run("sample", tuned, "--grid", "--count", 32, "--columns", 8, "-o", pictures)
        run("interpolate", tuned, "--frames", 60, "--fps", 20, "-o", pictures / "interpolation.gif")
    sheet = pictures / "real-base-hers.png"
    three_rows(hers, held_out, sheet)
    say("measuring the samples against pictures that training never saw")
    verdict = 0
    for pair in ((base, tuned), ("base", hers)):
        judge = [sys.executable, "scripts/measure_demo.py", *map(str, (*pair, held_out))]
        done = subprocess.run([*judge, *(["--only-print"] if quick else [])], check=False)
        verdict = max(verdict, done.returncode)
    say(f"done in {time.monotonic() - started:.0f} s; look at")
    newest = max((base / "previews").glob("images-*.png"))
    for file in (base / "previews" / "real.png", newest, pictures / "grid.png", pictures / "interpolation.gif", sheet):
        print(file)
    sys.exit(verdict)


if __name__ == "__main__":
    main()
