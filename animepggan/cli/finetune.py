"""`animepggan finetune`: a base model, trained further on one character."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from animepggan.cli.common import Console, common_options
from animepggan.cli.training import Options, load_corpus, load_recipe, say_origins, train, training_options

if TYPE_CHECKING:
    from animepggan.corpus import Corpus
    from animepggan.transfer import Preset


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
    from animepggan.errors import DataError, RecipeError
    from animepggan.transfer import PRESETS, check_fit, open_base, preset_values

    resolved = load_recipe(console, recipe or PRESETS[0].recipe, options, base=base)
    if resolved.recipe.base is None:
        raise RecipeError("no base: say which model to start from with --base (a folder, a run, or hub:owner/name)")
    start = open_base(resolved.recipe.base)
    console.say(f"base: {start.found.path}" + (f" at commit {start.found.commit}" if start.found.commit else ""))
    resolved = resolved.inherit(start.recipe_values())
    check_fit(resolved.recipe, start)
    corpus: Corpus | None = None
    try:
        corpus = load_corpus(console, resolved)
        preset = _preset(console, corpus)
    except DataError as error:
        if recipe is None or not options.dry_run:
            raise
        preset = PRESETS[0]
        first = str(error).splitlines()[0]
        console.warn(f"{first}\nthe plan is that for about {preset.clusters} clusters")
    if recipe is None:
        console.say(f"recipe: {preset.recipe}")
        if preset.recipe != PRESETS[0].recipe:
            resolved = load_recipe(console, preset.recipe, options, base=base).inherit(start.recipe_values())
    resolved = resolved.settled(preset.name, preset_values(preset, start))
    check_fit(resolved.recipe, start)
    say_origins(console, resolved)
    if options.dry_run:
        from animepggan.cli.plan import print_plan

        print_plan(console, resolved, options, device, start)
        return
    assert corpus is not None
    train(console, resolved, corpus, options, device, start)


def _preset(console: Console, corpus: Corpus) -> Preset:
    """The one for the size of the set, and why."""
    import numpy as np

    from animepggan.corpus.demo.cache import cache_folder
    from animepggan.metrics.split import clusters_in
    from animepggan.transfer import PRESETS, preset_for

    with console.bars() as bar:
        count = len(np.unique(clusters_in(corpus, cache=cache_folder(), bar=bar)))
    preset = preset_for(count)
    sizes = ", ".join(str(each.clusters) for each in PRESETS)
    console.say(f"preset: {preset.name}, for {count} clusters (there are presets for about {sizes})")
    return preset
