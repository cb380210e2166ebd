"""Runs the test suite: scripts/test [--all] [pytest's arguments]; without bash, python scripts/run_tests.py.

  --all    the long sweeps and full-width runs too (marker `slow`)

A process a core takes a file of tests at a time, unless -n says how many (-n 0: none but this one). Paths are relative
to the project's folder. scripts/test makes .venv and installs what is missing first.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

IN_ONE_PROCESS = ("-n", "--numprocesses", "--pdb", "--trace")


def main() -> int:
    """Pytest's exit code."""
    arguments = sys.argv[1:]
    if {"-h", "--help"} & {*arguments}:
        print((__doc__ or "").strip())
        return 0
    everything = "--all" in arguments
    arguments = [argument for argument in arguments if argument != "--all"]
    told = "every test" if everything else "the tests that are not marked slow (--all runs those too)"
    print(f"scripts/test: running {told}", file=sys.stderr, flush=True)
    several = [] if any(argument.startswith(IN_ONE_PROCESS) for argument in arguments) else ["-n", "auto"]
    several += ["--dist", "loadfile"] if several else []
    selection = [] if everything else ["-m", "not slow"]
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    command = [sys.executable, "-m", "pytest", *several, *selection, *arguments]
    return subprocess.call(command, cwd=Path(__file__).parents[1])


if __name__ == "__main__":
    sys.exit(main())
