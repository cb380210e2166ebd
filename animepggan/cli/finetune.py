"""`animepggan finetune`: a base model, trained further on one character."""

from __future__ import annotations

from typing import Any

import click

from animepggan.cli.common import Console, common_options, output_option
from animepggan.cli.training import prepare, recipe_options, train, training_options


@click.command()
@click.option(
    "--base",
    metavar="MODEL",
    help="Checkpoint folder, run folder, or hub:owner/name[@revision].  [default: base, which comes with animepggan]",
)
@click.option("--recipe", metavar="RECIPE", help="Path or shipped name.  [default: yui or yui-few, by the data]")
@training_options
@output_option("runs/<character>, from where her pictures lie; runs/<character>-2 rather than another's")
@common_options
def command(console: Console, /, threads: int | None, dry_run: bool, no_probe: bool, **options: Any) -> None:
    """Train a base model further on a small set of one character.

    Recipe values that are not set come from a preset, which the number of clusters in the data chooses (copies and near
    copies count as one), and then from the base: recipe.yaml in the run's folder tells where each came from. Without
    --recipe, the preset chooses between the shipped `yui` and `yui-few`, too.

    The same command goes on where the run stopped. A run that goes wrong goes back to its last good checkpoint and on
    at half the learning rate. Of 500 clusters or more a tenth is held out to measure against: the best checkpoint is
    kept, and the run ends when it no longer improves.
    """
    prepare(console, threads, options)
    from animepggan.run.library import Callbacks, finetune, finetuning_recipe, preset_of

    if dry_run:
        from animepggan.cli.dry_run import print_plan

        given = {key: options[key] for key in ("base", "recipe")} | recipe_options(options)
        with console.bars() as bar:
            tell = Callbacks(bar, console.say, console.warn)
            resolved, start, _ = finetuning_recipe(**given, tell=tell, without_data=True)
        console.say(f"recipe {resolved.recipe.name}, {preset_of(resolved)}")
        print_plan(console, resolved, start, options, probe=not no_probe)
    else:
        train(console, finetune, **options)
