"""Command line over recipe over base over default; and the way back to text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from animepggan.errors import ModelError, RecipeError
from animepggan.recipe import Recipe, Resolved, dump, load_recipe, recipe_difference
from animepggan.recipe.document import parse
from animepggan.recipe.keys import LEAVES, SECTIONS, leaves, nest
from animepggan.recipe.text import value_text

RECIPE = """\
name: small
data: faces
resolution: 64
schedule:
  batch_size: {64: 8, default: 32}
  learning_rate: 1e-4
"""


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.yaml").write_text(RECIPE)


def test_values_and_origins() -> None:
    resolved = load_recipe("x.yaml", overrides=["seed=7"], settings={"data": "others", "base": None})
    recipe = resolved.recipe
    assert (recipe.name, recipe.data, recipe.base, recipe.seed, recipe.resolution) == ("small", "others", None, 7, 64)
    assert recipe.schedule.batch_size == {64: 8, "default": 32}
    assert recipe.schedule.learning_rate == 1e-4
    assert resolved.file == "x.yaml"
    assert list(resolved.origins) == list(LEAVES)
    set_somewhere = {key: origin for key, origin in resolved.origins.items() if origin != "default"}
    assert set_somewhere == {
        "name": "recipe",
        "data": "command line",
        "seed": "command line",
        "resolution": "recipe",
        "schedule.batch_size": "recipe",
        "schedule.learning_rate": "recipe",
    }


def test_defaults_are_the_documented_ones() -> None:
    assert leaves(Recipe(name="x")) == {
        "name": "x",
        "data": None,
        "base": None,
        "seed": 0,
        "resolution": 256,
        "latent_dim": 512,
        "mirror": False,
        "random_shift": 0,
        "background": "#ffffff",
        "max_bad": 0.01,
        "augment": "none",
        "apa": False,
        "lecam": 0.0,
        "freeze_discriminator": 0,
        "l2sp": 0.0,
        "miner": 0.0,
        "extend": 0,
        "extend_data": None,
        "extend_share": 0.5,
        "returns": 0,
        "network.fmap_base": 8192,
        "network.fmap_max": 512,
        "network.group_size": 4,
        "network.statistic": "stddev",
        "network.fused_down": True,
        "network.norm": "after",
        "network.norm_first": True,
        "network.norm_latent": True,
        "network.to_rgb_gain": 1.0,
        "network.equalized_output": True,
        "network.miner": False,
        "schedule.fade_kimg": 800,
        "schedule.stabilize_kimg": 800,
        "schedule.batch_size": 16,
        "schedule.learning_rate": 0.001,
        "schedule.ramp_kimg": 0.0,
        "schedule.decay_kimg": 0.0,
        "schedule.n_critic": 1,
        "optimizer.beta1": 0.0,
        "optimizer.beta2": 0.99,
        "optimizer.eps": 1e-8,
        "optimizer.reset": True,
        "objective.name": "wgan-gp",
        "objective.gradient_penalty": 10.0,
        "objective.penalty_target": 1.0,
        "objective.drift": 0.001,
        "objective.r1_gamma": 1.0,
        "objective.r1_every": 16,
        "objective.shared_latents": False,
        "augmentation.strength": 1.0,
        "augmentation.target": 0.6,
        "augmentation.ramp_kimg": 500.0,
        "ema.half_life_kimg": 10.0,
        "ema.ramp": 0.05,
        "checkpoints.every_kimg": 500.0,
        "checkpoints.keep": 2,
        "previews.every_kimg": 100.0,
        "previews.columns": 8,
        "previews.rows": 4,
        "measures.every_kimg": 0.0,
        "measures.name": "kid",
        "measures.count": 500,
        "measures.hold_out": 0.1,
        "measures.backbone": None,
        "log.every_kimg": 1.0,
        "log.tensorboard": False,
    }


def test_whole_numbers_become_floats_where_floats_are_wanted() -> None:
    value = load_recipe("x.yaml", overrides=["ema.half_life_kimg=3"]).recipe.ema.half_life_kimg
    assert isinstance(value, float)
    assert value == 3


@pytest.mark.parametrize(
    ("overrides", "batch_size"),
    [
        (["schedule.batch_size=4"], 4),
        (["schedule.batch_size={4: 64, default: 16}"], {4: 64, "default": 16}),
        (["schedule.batch_size.64=4"], {64: 4, "default": 32}),
        (["schedule.batch_size.16=4"], {16: 4, 64: 8, "default": 32}),
        (["schedule.batch_size.default=4"], {64: 8, "default": 4}),
        (["schedule.batch_size=4", "schedule.batch_size.64=8"], {64: 8, "default": 4}),
        (["schedule.batch_size.64=8", "schedule.batch_size=4"], 4),
        (["schedule={batch_size: 12}"], 12),
        ([" schedule . batch_size = 4 "], 4),
    ],
)
def test_overrides_of_a_map(overrides: list[str], batch_size: object) -> None:
    resolved = load_recipe("x.yaml", overrides=overrides)
    assert resolved.recipe.schedule.batch_size == batch_size
    assert resolved.origins["schedule.batch_size"] == "command line"


def test_an_entry_turns_a_number_into_a_map() -> None:
    recipe = load_recipe("x.yaml", overrides=["schedule.learning_rate.64=1e-5", "schedule.fade_kimg.8=3"]).recipe
    assert recipe.schedule.learning_rate == {64: 1e-5, "default": 1e-4}
    assert recipe.schedule.fade_kimg == {8: 3, "default": 800}


def test_options_win_over_set() -> None:
    resolved = load_recipe(
        "x.yaml",
        overrides=["seed=1", "schedule.batch_size.64=12"],
        settings={"seed": 2, "schedule.batch_size": 20},
    )
    assert resolved.recipe.seed == 2
    assert resolved.recipe.schedule.batch_size == 20


def base_values() -> dict[str, Any]:
    """A base's recipe as a checkpoint's JSON holds it, no value of which is a default."""
    values: dict[str, object] = {
        "name": "base",
        "data": "base-data",
        "base": "older",
        "seed": 99,
        "resolution": 128,
        "latent_dim": 64,
        "mirror": True,
        "random_shift": 4,
        "background": "#000000",
        "max_bad": 0.5,
        "augment": "adaptive",
        "apa": True,
        "lecam": 0.1,
        "freeze_discriminator": 16,
        "l2sp": 0.1,
        "miner": 3,
        "extend": 128,
        "extend_data": "older-data",
        "extend_share": 0.3,
        "returns": 3,
        "network.fmap_base": 1024,
        "network.fmap_max": 128,
        "network.group_size": "batch",
        "network.statistic": "variance",
        "network.fused_down": False,
        "network.norm": "before",
        "network.norm_first": False,
        "network.norm_latent": False,
        "network.to_rgb_gain": 1.5,
        "network.equalized_output": False,
        "network.miner": True,
        "schedule.fade_kimg": 1,
        "schedule.stabilize_kimg": {128: 5, "default": 2},
        "schedule.batch_size": {64: 24, 128: 6, "default": 48},
        "schedule.learning_rate": 0.003,
        "schedule.ramp_kimg": 4,
        "schedule.decay_kimg": 2,
        "schedule.n_critic": 2,
        "optimizer.beta1": 0.5,
        "optimizer.beta2": 0.9,
        "optimizer.eps": 1e-6,
        "optimizer.reset": False,
        "objective.name": "r3",
        "objective.gradient_penalty": 5,
        "objective.penalty_target": 2,
        "objective.drift": 0,
        "objective.r1_gamma": 3,
        "objective.r1_every": 4,
        "objective.shared_latents": True,
        "augmentation.strength": 0.4,
        "augmentation.target": 0.5,
        "augmentation.ramp_kimg": 100,
        "ema.half_life_kimg": 3,
        "ema.ramp": 0.1,
        "checkpoints.every_kimg": 7,
        "checkpoints.keep": 9,
        "previews.every_kimg": 8,
        "previews.columns": 2,
        "previews.rows": 2,
        "measures.every_kimg": 5,
        "measures.name": "swd",
        "measures.count": 100,
        "measures.hold_out": 0.2,
        "measures.backbone": "other.safetensors",
        "log.every_kimg": 6,
        "log.tensorboard": True,
    }
    recipe = Recipe.model_validate(nest(values))
    assert {key for key, old, new in recipe_difference(recipe, Recipe(name="x"))} == set(LEAVES)
    loaded = json.loads(json.dumps(recipe.model_dump(mode="json")))
    assert isinstance(loaded, dict)
    return loaded


NEVER = {
    *("name", "data", "seed", "base", "max_bad", "returns"),
    *("augment", "apa", "lecam", "freeze_discriminator", "l2sp", "miner", "extend", "extend_data", "extend_share"),
    *("augmentation.strength", "augmentation.target", "augmentation.ramp_kimg"),
    *("schedule.fade_kimg", "schedule.stabilize_kimg", "schedule.ramp_kimg", "schedule.decay_kimg"),
    *("checkpoints.every_kimg", "checkpoints.keep", "log.every_kimg", "log.tensorboard"),
    *("previews.every_kimg", "previews.columns", "previews.rows"),
    *(f"measures.{name}" for name in ("every_kimg", "name", "count", "hold_out", "backbone")),
}


def test_inherit_takes_all_that_is_not_set_and_belongs_to_the_model() -> None:
    Path("y.yaml").write_text("name: fine\nschedule: {learning_rate: 1e-4}\n")
    base = Recipe.model_validate(base_values())
    before = load_recipe("y.yaml", overrides=["latent_dim=32"])
    after = before.inherit(base_values())
    inherited = {key for key, origin in after.origins.items() if origin == "base"}
    assert inherited == set(LEAVES) - NEVER - {"latent_dim", "schedule.learning_rate"}
    values, bases, befores = leaves(after.recipe), leaves(base), leaves(before.recipe)
    for key in LEAVES:
        assert values[key] == (bases if key in inherited else befores)[key], key
    assert after.recipe.schedule.batch_size == {64: 24, 128: 6, "default": 48}
    assert after.file == "y.yaml"


def test_inherit_takes_dotted_keys_too() -> None:
    resolved = load_recipe("x.yaml")
    assert resolved.inherit(leaves(Recipe.model_validate(base_values()))) == resolved.inherit(base_values())


def test_a_map_of_the_recipe_is_not_mixed_with_the_bases() -> None:
    after = load_recipe("x.yaml").inherit(base_values())
    assert after.recipe.schedule.batch_size == {64: 8, "default": 32}
    assert after.origins["schedule.batch_size"] == "recipe"


def test_an_entry_set_on_the_command_line_lies_over_the_inherited_map() -> None:
    Path("y.yaml").write_text("name: fine\n")
    after = load_recipe("y.yaml", overrides=["schedule.batch_size.64=4"]).inherit(base_values())
    assert after.recipe.schedule.batch_size == {64: 4, 128: 6, "default": 48}
    assert after.origins["schedule.batch_size"] == "command line"


def test_inherit_passes_over_unknown_keys_and_missing_ones() -> None:
    resolved = load_recipe("x.yaml")
    after = resolved.inherit({"flux": 3, "network": {"capacitor": 1, "fmap_max": 64}})
    assert recipe_difference(resolved.recipe, after.recipe) == [("network.fmap_max", 512, 64)]
    assert resolved.inherit({}) == resolved


def test_a_base_that_grows_fades_in_as_long_as_it_stabilizes() -> None:
    """And not for the 800 kimg that pretraining takes by default."""
    Path("y.yaml").write_text("name: fine\n")
    overrides = ["extend=128", "resolution=128"]
    grown = load_recipe("y.yaml", overrides=overrides).settled("500", {"schedule.stabilize_kimg": 60.0})
    assert (grown.recipe.schedule.fade_kimg, grown.origins["schedule.fade_kimg"]) == (60, "preset 500")
    by_map = load_recipe("y.yaml", overrides=[*overrides, "schedule.stabilize_kimg={64: 0, 128: 30}"])
    assert by_map.recipe.schedule.fade_kimg == {64: 0, 128: 30}
    given = load_recipe("y.yaml", overrides=[*overrides, "schedule.fade_kimg=5"])
    assert given.recipe.schedule.fade_kimg == 5
    assert load_recipe("y.yaml").recipe.schedule.fade_kimg == 800


def test_another_value_comes_from_where_the_first_one_came() -> None:
    settled = load_recipe("x.yaml").settled("500", {"measures.every_kimg": 3.0, "lecam": 0.1})
    again = settled.revalued("measures.every_kimg", 7.0)
    assert (again.recipe.measures.every_kimg, again.recipe.lecam) == (7, 0.1)
    assert again.origins == settled.origins


def test_a_preset_lies_between_the_recipe_and_the_base() -> None:
    Path("y.yaml").write_text("name: fine\nlecam: 0.3\n")
    preset = {"lecam": 0.1, "mirror": False, "ema.ramp": 0.2, "schedule.batch_size": {8: 4, "default": 2}}
    overrides = ["mirror=true", "schedule.batch_size.16=3", "network.group_size=batch"]
    after = load_recipe("y.yaml", overrides=overrides).inherit(base_values()).settled("500", preset)
    assert (after.recipe.lecam, after.origins["lecam"]) == (0.3, "recipe")
    assert (after.recipe.mirror, after.origins["mirror"]) == (True, "command line")
    assert (after.recipe.ema.ramp, after.origins["ema.ramp"]) == (0.2, "preset 500")
    assert after.recipe.schedule.batch_size == {8: 4, 16: 3, "default": 2}
    assert after.origins["ema.half_life_kimg"] == "base"
    assert "  ramp: 0.2  # preset 500" in dump(after).splitlines()


def test_inherit_from_a_damaged_base() -> None:
    with pytest.raises(ModelError, match=r"^the base's recipe: latent_dim: needs a whole number, not the text \"x\"$"):
        load_recipe("x.yaml").inherit({"latent_dim": "x"})


def test_inherit_checks_what_does_not_go_together() -> None:
    with pytest.raises(RecipeError, match=r"^x.yaml:5: schedule.batch_size: 32 .* network.group_size 5"):
        load_recipe("x.yaml").inherit({"network": {"group_size": 5}})


def test_difference() -> None:
    a = load_recipe("x.yaml").recipe
    b = load_recipe("x.yaml", overrides=["seed=3", "schedule.batch_size=8", "ema.ramp=1"]).recipe
    assert recipe_difference(a, a) == []
    assert recipe_difference(a, b) == [
        ("seed", 0, 3),
        ("schedule.batch_size", {64: 8, "default": 32}, 8),
        ("ema.ramp", 0.05, 1.0),
    ]


def test_dump_is_grouped_and_says_where_each_value_came_from() -> None:
    Path("x.yaml").write_text("name: x\nschedule: {batch_size: {default: 32, 64: 8}}\n")
    lines = dump(load_recipe("x.yaml", overrides=["background='#000000'"]).inherit({"latent_dim": 64})).splitlines()
    assert lines[0] == "# Resolved from x.yaml: every value, and where it came from."
    assert "name: x  # recipe" in lines
    assert "data: null  # default" in lines
    assert "latent_dim: 64  # base" in lines
    assert 'background: "#000000"  # command line' in lines
    assert lines.index("schedule:") < lines.index("  batch_size: {64: 8, default: 32}  # recipe")
    assert "  eps: 1.0e-08  # default" in lines
    assert len(lines) == 1 + len(LEAVES) + len(SECTIONS)


def test_dump_with_descriptions_loads_too() -> None:
    resolved = load_recipe("x.yaml")
    text = dump(resolved, describe=True)
    assert "  keep: 2  # default; how many of these are kept, the newest; ends of stages all are" in text
    Path("z.yaml").write_text(text)
    assert load_recipe("z.yaml").recipe == resolved.recipe


floats = st.floats(1e-300, 1e300) | st.integers(1, 10**9)


def by_resolution(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keys = st.sampled_from([4, 8, 16, 32, 64, 128, 256, 512, 1024])
    maps = st.builds(lambda entries, default: {**entries, "default": default}, st.dictionaries(keys, values), values)
    return values | maps


ODD_TEXTS = [
    *("yes", "No", "on", "y", "null", "~", "true", "False", "1e-4", "64", "0x10", "010", "1:30", "2001-01-01", ".inf"),
    *("#x", "a: b", "a #b", " x ", "- x", "*x", "!x", "&x", "%", "@", "x:", "...", "---", "<<", "[x]", "{x}", "a, b"),
    *(
        "/x/y",
        "hub:a/b@c:d",
        "C:\\x",
        "'",
        '"',
        "\\",
        "\t",
        "\n",
        "\ufeff",
        "\x85",
        "\xa0",
        "\u2028",
        "結衣",
        "\U0001f600",
    ),
]
texts = st.text(min_size=1, max_size=30) | st.sampled_from(ODD_TEXTS)
recipes = st.fixed_dictionaries(
    {"name": st.from_regex(r"\A[A-Za-z0-9結][\w.-]{0,20}\Z", fullmatch=True).filter(str.isprintable)},
    optional={
        "data": st.none() | texts,
        "base": st.none() | texts,
        "seed": st.integers(0, 2**63 - 1),
        "resolution": st.sampled_from([4, 64, 1024]),
        "mirror": st.booleans(),
        "background": st.from_regex(r"\A#[0-9a-fA-F]{6}\Z", fullmatch=True),
        "max_bad": st.floats(0, 1),
        "network.group_size": st.just("batch"),
        "network.norm": st.sampled_from(["after", "before"]),
        "network.to_rgb_gain": floats,
        "schedule.fade_kimg": by_resolution(floats),
        "schedule.batch_size": by_resolution(st.integers(1, 100).map(lambda n: 4 * n)),
        "schedule.learning_rate": by_resolution(floats),
        "optimizer.beta1": st.floats(0, 0.999),
        "optimizer.eps": floats,
        "log.tensorboard": st.booleans(),
    },
)


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_odd_texts_stay_texts_for_us_and_for_readers_of_yaml_1_1(text: str) -> None:
    assert parse(f"key: {value_text(text)}  # comment").value == {"key": text}
    assert yaml.safe_load(f"key: {value_text(text)}  # comment") == {"key": text}


@pytest.mark.parametrize("number", [0, 64, 1e-8, 1e16, 0.1, 1e-300, 3.0, True, False, None])
def test_numbers_stay_numbers_for_readers_of_yaml_1_1(number: object) -> None:
    assert parse(f"key: {value_text(number)}").value == {"key": number}
    assert yaml.safe_load(f"key: {value_text(number)}") == {"key": number}


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(recipes, st.sampled_from(["x.yaml", "a\nb.yaml", "結 衣.yaml", "a # b"]))
def test_dump_is_loaded_back_as_the_same_recipe(tmp_path: Path, values: dict[str, object], file: str) -> None:
    recipe = Recipe.model_validate(nest(values))
    path = tmp_path / "dumped.yaml"
    path.write_text(dump(Resolved(recipe, dict.fromkeys(LEAVES, "base"), file)), encoding="utf-8")
    loaded = load_recipe(path)
    assert loaded.recipe == recipe
    assert set(loaded.origins.values()) == {"recipe"}
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
