"""One run as a whole: its folder, its checkpoints, where it begins, and the loop of what follows from each step.

`pretrain` and `finetune` are the ways in, for the command line as for other programs.
"""

from __future__ import annotations

from animepggan.run.begin import Inputs, RunOptions
from animepggan.run.library import FinishedRun, finetune, pretrain
from animepggan.run.run import Event, Run, open_run

__all__ = ["Event", "FinishedRun", "Inputs", "Run", "RunOptions", "finetune", "open_run", "pretrain"]
