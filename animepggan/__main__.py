"""`python -m animepggan` is the `animepggan` command."""

from __future__ import annotations

import sys

from animepggan.cli import main

if __name__ == "__main__":  # worker processes import this module too
    sys.exit(main())
