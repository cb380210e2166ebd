"""`animepggan finetune`: a base model, trained further on one character."""

from __future__ import annotations

from typing import Any

import click

from animepggan.cli.common import Console, common_options
from animepggan.cli.training import prepare, recipe_options, train, training_options


@click.command()
@click.option(
    "--base",
    metavar="MODEL",
    help="Checkpoint folder, run folder, or hub:owner/name[@revision].  [default: base, which comes with animepggan]",
)
@click.option("--recipe", metavar="RECIPE", help="Path or shipped name.  [default: yui or yui-few, by the data]")
@training_options
@common_options
def command(console: Console, /, threads: int | None, dry_run: bool, no_probe: bool, **options: Any) -> None:
    """Train a base model further on a small set of one character.

    Recipe values that are not set come from a preset, which the number of clusters in the data chooses (copies and near
    copies count as one), and then from the base; both are printed. Without --recipe, the preset chooses between the
    shipped `yui` and `yui-few`, too.
    """
    prepare(console, threads, options)
    from animepggan.run.library import Callbacks, finetune, finetuning_recipe

    if dry_run:
        from animepggan.cli.dry_run import print_plan

        given = {key: options[key] for key in ("base", "recipe")} | recipe_options(options)
        with console.bars() as bar:
            tell = Callbacks(bar, console.say, console.warn)
            resolved, start, _ = finetuning_recipe(**given, tell=tell, without_data=True)
        print_plan(console, resolved, start, options, probe=not no_probe)
    else:
        train(console, finetune, **options)
