"""`animepggan finetune`: a base model, trained further on one character."""

from __future__ import annotations

from typing import Any

import click

from animepggan.cli.common import Console, common_options
from animepggan.cli.training import Options, training_options


@click.command()
@click.option("--base", metavar="MODEL", help="Checkpoint folder, run folder, or hub:owner/name[@revision].")
@click.option("--recipe", metavar="RECIPE", help="Path or shipped name.  [default: yui or yui-few, by the data]")
@training_options
@common_options
def command(console: Console, base: str | None, recipe: str | None, options: Options) -> None:
    """Train a base model further on a small set of one character.

    Recipe values that are not set come from a preset, which the number of clusters in the data chooses (copies and near
    copies count as one), and then from the base; both are printed. Without --recipe, the preset chooses between the
    shipped `yui` and `yui-few`, too.
    """
    device = options.prepare(console)
    from animepggan.run.library import finetune, finetuning_recipe

    if options.dry_run:
        from animepggan.cli.dry_run import print_plan

        with console.bars() as bar:
            told: dict[str, Any] = {"bar": bar, "say": console.say, "warn": console.warn}
            chosen = finetuning_recipe(base, recipe=recipe, without_data=True, **options.values(), **told)
        print_plan(console, chosen.resolved, options, device, chosen.base)
        return
    options.train(console, device, lambda **given: finetune(base, recipe=recipe, **given))
