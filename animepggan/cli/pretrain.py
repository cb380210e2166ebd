"""`animepggan pretrain`: a base model from a corpus."""

from __future__ import annotations

import click

from animepggan.cli.common import Console, common_options
from animepggan.cli.training import Options, training_options


@click.command()
@click.argument("recipe")
@training_options
@common_options
def command(console: Console, recipe: str, options: Options) -> None:
    """Grow a base model as RECIPE says: a path, or the name of a shipped recipe.

    The run goes to runs/<recipe>-<data name>. Started again, it goes on where it stopped.
    """
    device = options.prepare(console)
    from animepggan.run.library import pretrain, pretraining_recipe

    if options.dry_run:
        from animepggan.cli.dry_run import print_plan

        resolved = pretraining_recipe(recipe, **options.values(), say=console.say)
        print_plan(console, resolved, options, device)
        return
    options.train(console, device, lambda **given: pretrain(recipe, **given))
