"""`animepggan pretrain`: a base model from a corpus."""

from __future__ import annotations

from typing import Any

import click

from animepggan.cli.common import Console, common_options, output_option
from animepggan.cli.training import prepare, recipe_options, train, training_options


@click.command()
@click.argument("recipe")
@training_options
@output_option("runs/<recipe>-<data name>")
@common_options
def command(
    console: Console, /, recipe: str, threads: int | None, dry_run: bool, no_probe: bool, **options: Any
) -> None:
    """Grow a base model as RECIPE says: a path, or the name of a shipped recipe.

    The run goes to runs/<recipe>-<data name>. Started again, it goes on where it stopped.
    """
    prepare(console, threads, options)
    from animepggan.run.library import Callbacks, pretrain, pretraining_recipe

    if dry_run:
        from animepggan.cli.dry_run import print_plan

        resolved = pretraining_recipe(recipe, **recipe_options(options), tell=Callbacks(say=console.say))
        print_plan(console, resolved, None, options, probe=not no_probe)
    else:
        train(console, pretrain, recipe, **options)
