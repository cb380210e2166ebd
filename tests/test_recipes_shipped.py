"""The recipes that come with the program: they load, they say what the issue and the papers say, they open well."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from animepggan.recipe import Recipe, load_recipe, schedule_of, schema, shipped, title
from animepggan.schedule import resolutions
from animepggan.transfer import PRESETS, Preset, preset_for

NAMES = ["anime", "anime-128", "anime-64", "article", "base", "demo", "demo-yui", "paper", "yui", "yui-few"]
FINE_TUNING = {"demo-yui", "yui", "yui-few"}


def recipe(name: str) -> Recipe:
    return load_recipe(name).recipe


def test_all_are_there() -> None:
    assert [path.stem for path in shipped()] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_it_loads_and_has_a_schedule(name: str) -> None:
    loaded = recipe(name)
    assert loaded.name == name
    assert loaded.data
    first = loaded.resolution if name in FINE_TUNING else 4
    schedule = schedule_of(loaded, first_resolution=first)
    assert [stage.resolution for stage in schedule.stages] == resolutions(first, loaded.resolution)
    assert schedule.at(schedule.total_images).alpha == 1


@pytest.mark.parametrize("path", shipped(), ids=lambda path: path.stem)
def test_it_opens_with_title_command_and_cost(path: Path) -> None:
    lines = path.read_text().splitlines()
    header = lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))]
    assert 10 < len(title(path)) < 100
    verb = "finetune --recipe" if path.stem in FINE_TUNING else "pretrain"
    assert any(re.match(rf"#     animepggan {verb} (recipes/)?{path.stem}(\.yaml)?( |$)", line) for line in header)
    assert any(line.startswith("# Cost and result:") for line in header)


@pytest.mark.parametrize("path", shipped(), ids=lambda path: path.stem)
def test_it_is_valid_by_the_json_schema_that_editors_use(path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    text = re.sub(r"\b1e-8\b", "1.0e-8", path.read_text())  # a float to YAML 1.1, too
    values = yaml.safe_load(text)
    for key, value in values.get("schedule", {}).items():  # JSON's keys are text
        values["schedule"][key] = {str(k): v for k, v in value.items()} if isinstance(value, dict) else value
    validator = jsonschema.Draft202012Validator(schema())
    assert [error.message for error in validator.iter_errors(values)] == []
    for wrong in ({"name": "x", "nme": 1}, {"name": "x", "resolution": 100}, {"seed": 1}):
        assert not validator.is_valid(wrong)
    assert not validator.is_valid({"name": "x", "schedule": {"batch_size": {"5": 1}}})
    assert not validator.is_valid({"name": "x", "network": {"group_size": 1}})


def test_every_key_is_described_in_the_schema() -> None:
    document = schema()
    sections = [document, *document["$defs"].values()]
    described = [section["properties"][key].get("description") for section in sections for key in section["properties"]]
    assert len(described) > 40
    assert all(described)


def test_anime() -> None:
    assert [(recipe(name).resolution, recipe(name).data) for name in ("anime", "anime-128", "anime-64")] == [
        (256, "data/anime-faces"),
        (128, "data/anime-faces"),
        (64, "hub:datasets/huggan/anime-faces@67ebcf8c69b45feb3883d695f04227078a6c9da9"),
    ]
    assert all(recipe(name).mirror for name in ("anime", "anime-128", "anime-64"))


def test_paper() -> None:
    """Karras et al. 2018, appendix A.1."""
    paper = recipe("paper")
    schedule = schedule_of(paper, first_resolution=4)
    batches = [stage.phases[0].batch_size for stage in schedule.stages]
    assert batches == [16, 16, 16, 16, 16, 16, 14, 6, 3]
    for phase in schedule.phases:
        assert 800_000 <= phase.end - phase.start < 800_000 + phase.batch_size
        assert phase.learning_rate == 0.001
    assert [phase.name for phase in schedule.phases] == ["stabilize"] + ["fade", "stabilize"] * 8
    assert paper.network.group_size == "batch"
    assert paper.network.statistic == "stddev"
    assert (paper.optimizer.beta1, paper.optimizer.beta2, paper.optimizer.eps) == (0, 0.99, 1e-8)
    assert (paper.objective.gradient_penalty, paper.objective.penalty_target, paper.objective.drift) == (10, 1, 0.001)


def test_article() -> None:
    article = recipe("article")
    network = article.network
    channels = [min(2 * network.fmap_base // side, network.fmap_max) for side in resolutions(4, 256)]
    assert channels == [512, 512, 256, 128, 64, 32, 16]
    assert network.to_rgb_gain == pytest.approx(2**0.5, abs=1e-15)
    assert (network.statistic, network.group_size, network.norm) == ("variance", "batch", "before")
    switches = (network.fused_down, network.norm_first, network.norm_latent, network.equalized_output)
    assert not any((*switches, article.optimizer.reset))
    assert article.random_shift == 16
    fade = schedule_of(article, first_resolution=4).phases[1]
    assert (fade.end - fade.start) // fade.batch_size == 1 / 0.00005


@pytest.mark.parametrize("name", sorted(FINE_TUNING))
def test_fine_tuning_leaves_the_network_to_the_base(name: str) -> None:
    loaded = load_recipe(name)
    assert not [key for key, origin in loaded.origins.items() if key.startswith("network.") and origin != "default"]


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_what_a_preset_says_no_recipe_that_leads_to_it_says(preset: Preset) -> None:
    loaded = load_recipe(preset.recipe).settled(preset.name, preset.values)
    assert all(loaded.origins[key] == f"preset {preset.name}" for key in preset.values)
    assert loaded.origins["schedule.learning_rate"] == "default"
    assert loaded.recipe.schedule.ramp_kimg > 0


def test_the_borders_between_presets_are_geometric_means() -> None:
    sizes = [1, 50, 158, 159, 500, 1414, 1415, 4000, 10**6]
    assert [preset_for(size).clusters for size in sizes] == [50, 50, 50, 500, 500, 500, 4000, 4000, 4000]
    first, *others = (load_recipe(preset.recipe).recipe for preset in PRESETS)
    for key in ("data", "random_shift", "background", "max_bad"):  # the pictures are decoded before the preset is known
        assert {getattr(each, key) for each in others} == {getattr(first, key)}


def test_the_demos_draw_their_own_pictures() -> None:
    assert (recipe("demo").resolution, recipe("demo").data, recipe("demo-yui").data) == (32, "demo:general", "demo:yui")
