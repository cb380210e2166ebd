"""`animepggan pretrain`: a base model from a corpus."""

from __future__ import annotations

import click

from animepggan.cli.common import Console, common_options
from animepggan.cli.training import Options, load_corpus, load_recipe, train, training_options


@click.command()
@click.argument("recipe")
@training_options
@common_options
def command(console: Console, recipe: str, options: Options) -> None:
    """Grow a base model as RECIPE says: a path, or the name of a shipped recipe.

    The run goes to runs/<recipe>-<data name>. Started again, it goes on where it stopped.
    """
    device = options.prepare(console)
    from animepggan.errors import RecipeError

    resolved = load_recipe(console, recipe, options)
    if resolved.recipe.base is not None:
        raise RecipeError(f"{resolved.file}: has a base: `animepggan finetune --recipe {recipe}` trains it")
    if options.dry_run:
        from animepggan.cli.plan import print_plan

        print_plan(console, resolved, options, device)
        return
    train(console, resolved, load_corpus(console, resolved), options, device)
