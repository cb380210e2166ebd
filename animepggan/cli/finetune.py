"""`animepggan finetune`: a base model, trained further on one character."""

from __future__ import annotations

import click

from animepggan.cli.common import Console, common_options
from animepggan.cli.training import Options, load_corpus, load_recipe, say_inherited, train, training_options


@click.command()
@click.option("--base", metavar="MODEL", help="Checkpoint folder, run folder, or hub:owner/name[@revision].")
@click.option("--recipe", metavar="RECIPE", help="Path or shipped name.  [default: yui or yui-few, by the data]")
@training_options
@common_options
def command(console: Console, base: str | None, recipe: str | None, options: Options) -> None:
    """Train a base model further on a small set of one character.

    Recipe values that are not set are inherited from the base, and printed. Without --recipe, the number of different
    pictures in the data chooses between the shipped `yui` and `yui-few`.
    """
    device = options.prepare()
    from animepggan.errors import RecipeError
    from animepggan.transfer import FEW, check_fit, open_base

    resolved = load_recipe(console, recipe or "yui", options, base=base)
    if resolved.recipe.base is None:
        raise RecipeError("no base: say which model to start from with --base (a folder, a run, or hub:owner/name)")
    start = open_base(resolved.recipe.base)
    console.say(f"base: {start.found.path}" + (f" at commit {start.found.commit}" if start.found.commit else ""))
    resolved = resolved.inherit(start.recipe_values())
    check_fit(resolved.recipe, start)
    corpus = None
    if recipe is None:
        corpus = load_corpus(console, resolved)
        chosen = "yui-few" if corpus.distinct < FEW else "yui"
        console.say(
            f"recipe: {chosen}, for {corpus.distinct} different pictures (yui-few below {FEW}, yui from there on)"
        )
        if chosen != "yui":
            before = resolved.recipe
            resolved = load_recipe(console, chosen, options, base=base).inherit(start.recipe_values())
            check_fit(resolved.recipe, start)
            decoding = ("data", "resolution", "random_shift", "background", "max_bad")
            if any(getattr(before, key) != getattr(resolved.recipe, key) for key in decoding):
                corpus = None
    say_inherited(console, resolved)
    if options.dry_run:
        from animepggan.cli.plan import print_plan

        print_plan(console, resolved, device, precision=options.precision, probe=not options.no_probe)
        return
    train(console, resolved, corpus or load_corpus(console, resolved), options, device, start)
