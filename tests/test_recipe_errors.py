"""Every way in which a recipe can be wrong has its message, with file, line, key and the nearest valid key."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from animepggan.errors import RecipeError
from animepggan.recipe import Recipe, load_recipe


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def errors(text: str, *overrides: str, **settings: object) -> list[str]:
    Path("x.yaml").write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe("x.yaml", overrides=overrides, settings=settings)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("network:\n  fmap_bse: 3", "3: network.fmap_bse: unknown key; did you mean network.fmap_base?"),
        ("fade_kimg: 3", "2: fade_kimg: unknown key; did you mean schedule.fade_kimg?"),
        ("Mirror: true", "2: Mirror: unknown key; did you mean mirror?"),
        ("latent-dim: 4", "2: latent-dim: unknown key; did you mean latent_dim?"),
        ("shedule: {n_critic: 2}", "2: shedule: unknown key; did you mean schedule?"),
        ("foo: {n_critic: 2}", "2: foo: unknown key; did you mean schedule.n_critic?"),
        ("ema: {wobble: 2}", "2: ema.wobble: unknown key; ema has half_life_kimg, ramp"),
        (
            "ema.ramp: 1",
            '2: "ema.ramp": unknown key; in a file write `ema:` and below it, indented, `ramp:`',
        ),
        ("resolution: 64.0", "2: resolution: needs a whole number, not 64.0"),
        ('resolution: "64"', '2: resolution: needs a whole number, not the text "64"'),
        ("resolution: true", "2: resolution: needs a whole number, not true"),
        ("resolution: 100", "2: resolution: needs a power of two from 4 to 1024, not 100"),
        ("resolution: 2", "2: resolution: needs a power of two from 4 to 1024, not 2"),
        ("resolution: 2048", "2: resolution: needs a power of two from 4 to 1024, not 2048"),
        ("mirror: yes", '2: mirror: needs true or false, not the text "yes"'),
        ("mirror: 1", "2: mirror: needs true or false, not 1"),
        ("data: 2019", "2: data: needs text, not 2019; put it in quotes"),
        ('data: "\\ud800"', '2: data: needs text that UTF-8 can hold, not the text "\\ud800"'),
        ('data: ""', '2: data: needs text, not the text ""'),
        ("background: #00ff00", "2: background: needs text, not nothing; quote text that starts with #"),
        ("background: white", '2: background: needs a color as "#rrggbb", not the text "white"'),
        ("seed: -1", "2: seed: needs at least 0, not -1"),
        ("seed: 9223372036854775808", "2: seed: needs less than 9223372036854775808, not 9223372036854775808"),
        ("max_bad: 1.5", "2: max_bad: needs at most 1, not 1.5"),
        ("optimizer: {eps: 0}", "2: optimizer.eps: needs more than 0, not 0"),
        ("optimizer: {beta2: 1}", "2: optimizer.beta2: needs less than 1, not 1"),
        ("optimizer: {beta1: .nan}", "2: optimizer.beta1: needs a finite number, not nan"),
        ("optimizer: {beta1: 1e999}", "2: optimizer.beta1: needs a finite number, not inf"),
        ("optimizer:", "2: optimizer: needs keys below it (beta1, beta2, eps, reset), not nothing"),
        ("optimizer: adam", '2: optimizer: needs keys below it (beta1, beta2, eps, reset), not the text "adam"'),
        ("network: {group_size: 1}", "2: network.group_size: needs a whole number of at least 2, or batch, not 1"),
        ("network: {group_size: 4.0}", "2: network.group_size: needs a whole number of at least 2, or batch, not 4.0"),
        ("network: {norm: none}", '2: network.norm: needs after or before, not the text "none"'),
        ("objective: {name: lsgan}", '2: objective.name: needs wgan-gp, r1-logistic or r3, not the text "lsgan"'),
        ("schedule: {batch_size: 8.5}", "2: schedule.batch_size: needs a whole number, not 8.5"),
        ("schedule: {batch_size: 0}", "2: schedule.batch_size: needs at least 1, not 0"),
        ("schedule: {batch_size: {}}", "2: schedule.batch_size: needs an entry, not an empty map"),
        ("schedule: {batch_size: [4]}", "2: schedule.batch_size: needs a whole number, not a list"),
        (
            "schedule:\n  batch_size:\n    default: 8\n    5: 16",
            "5: schedule.batch_size.5: a key is a power of two from 4 to 1024, or default",
        ),
        (
            "schedule:\n  batch_size:\n    default: 8\n    64: true",
            "5: schedule.batch_size.64: needs a whole number, not true",
        ),
        ("schedule: {learning_rate: {default: 0}}", "2: schedule.learning_rate.default: needs more than 0, not 0"),
        ("schedule: {fade_kimg: -1}", "2: schedule.fade_kimg: needs at least 0, not -1"),
        (
            "schedule: {batch_size: {4: 16}}",
            "2: schedule.batch_size: has no value for resolution 256, nor a default",
        ),
        (
            "schedule:\n  batch_size: {256: 14, default: 16}",
            "3: schedule.batch_size: 14 at resolution 256 is no multiple of network.group_size 4; "
            "take 12 or 16, or network.group_size: batch",
        ),
        ("name: y", "2: name: given twice, first on line 1"),
        ("data: !!str x", "2: data: tags (!!str) are not allowed"),
    ],
)
def test_one_error(text: str, error: str) -> None:
    assert errors(f"name: x\n{text}\n") == [f"x.yaml:{error}"]


@pytest.mark.parametrize("name", ["a b", "a/b", "../a", ".a", "-a", "x" * 65, "a\\b", "a\u200bb"])
def test_a_name_must_be_fit_for_a_folder(name: str) -> None:
    (error,) = errors(f"name: '{name}'\n")
    assert error.startswith("x.yaml:1: name: needs a name fit for a folder")


def test_everything_wrong_is_reported_at_once_by_line() -> None:
    text = """\
resolution: 100
network: &a
  fmap_bse: 64
  fmap_max: 64.0
  fmap_max: 32
schedule:
  batch_size: {5: 16, 64: 8.5, default: true}
ema: *a
"""
    assert errors(text, "network.nrm=after", "seed=-1", "mirror", latent_dim=0) == [
        "x.yaml:1: resolution: needs a power of two from 4 to 1024, not 100",
        "x.yaml:2: network: anchors (&a) are not allowed",
        "x.yaml:3: network.fmap_bse: unknown key; did you mean network.fmap_base?",
        "x.yaml:4: network.fmap_max: needs a whole number, not 64.0",
        "x.yaml:5: network.fmap_max: given twice, first on line 4",
        "x.yaml:7: schedule.batch_size.5: a key is a power of two from 4 to 1024, or default",
        "x.yaml:7: schedule.batch_size.64: needs a whole number, not 8.5",
        "x.yaml:7: schedule.batch_size.default: needs a whole number, not true",
        "x.yaml:8: ema: aliases (*a) are not allowed; write the value out",
        "--set network.nrm=after: unknown key; did you mean network.norm?",
        "--set seed=-1: needs at least 0, not -1",
        "--set mirror: needs key=value, as in --set schedule.batch_size=8",
        "--latent-dim: latent_dim: needs at least 1, not 0",
        "x.yaml: name: missing; every recipe has one",
    ]


def test_a_section_given_twice_is_checked_both_times() -> None:
    assert errors("name: x\nema: {ramp: 0}\nema: {half_life: 3}\n") == [
        "x.yaml:2: ema.ramp: needs more than 0, not 0",
        "x.yaml:3: ema: given twice, first on line 2",
        "x.yaml:3: ema.half_life: unknown key; did you mean ema.half_life_kimg?",
    ]


def test_keys_that_look_like_marks_of_our_own_are_unknown_keys() -> None:
    first, second = errors('name: x\n"<map>": 3\nschedule: {"<number>": 3}\n')
    assert first.startswith('x.yaml:2: "<map>": unknown key; a recipe has name, data')
    assert second.startswith('x.yaml:3: schedule."<number>": unknown key; ')


def test_a_syntax_error_does_not_hide_what_came_before() -> None:
    assert errors("seed: x\nmirror: a: b\nnetwork: 3\n") == [
        'x.yaml:1: seed: needs a whole number, not the text "x"',
        "x.yaml:2: not YAML: mapping values are not allowed here; check colons and indentation",
    ]


@pytest.mark.parametrize(
    ("override", "error"),
    [
        ("network.fmap_bse=3", "unknown key; did you mean network.fmap_base?"),
        ("netwrok.fmap_base=3", "unknown key; did you mean network?"),
        ("seed=1.5", "needs a whole number, not 1.5"),
        ("seed.x=1", "needs a whole number, not a map"),
        ("network=3", "needs keys below it"),
        ("network={fmap_bse: 3}", "network.fmap_bse: unknown key; did you mean network.fmap_base?"),
        ("schedule.batch_size={5: 3}", "schedule.batch_size.5: a key is a power of two from 4 to 1024, or default"),
        ("schedule.batch_size.5=3", "a key is a power of two from 4 to 1024, or default"),
        ("schedule.batch_size.64=x", 'needs a whole number, not the text "x"'),
        ("background=#ffffff", "needs text, not nothing; quote text that starts with #"),
        ("seed=*x", "aliases (*x) are not allowed; write the value out"),
        ("seed=!!int 3", "tags (!!int) are not allowed"),
        ("seed={1", "not YAML:"),
        ("=3", "needs key=value"),
        ("schedule.batch_size=14", "schedule.batch_size: 14 is no multiple of network.group_size 4"),
    ],
)
def test_an_override_is_named_in_its_error(override: str, error: str) -> None:
    (line,) = errors("name: x\n", override)
    assert line.startswith(f"--set {override}: {error}")


def test_long_and_unprintable_values_stay_on_one_short_line() -> None:
    (line,) = errors('name: x\nmirror: "\\n\\e[31m' + "y" * 500 + '"\n')
    assert len(line) < 150
    assert line.isprintable()


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "x.yaml: empty; a recipe is lines of `key: value`"),
        (b"# nothing\n", "x.yaml: empty; a recipe is lines of `key: value`"),
        (b"- a\n- b\n", "x.yaml: not a recipe but a list; a recipe is lines of `key: value`"),
        (b"just words\n", 'x.yaml: not a recipe but the text "just words"; a recipe is lines of `key: value`'),
        (b"{}\n", "x.yaml: name: missing; every recipe has one"),
        (b"name: x\n\xff\xfe\n", "x.yaml:2: not UTF-8 text; save the file as UTF-8"),
        (b"name: x\n---\nname: y\n", "x.yaml:2: a second document starts; a recipe is one"),
        (b"name: x\n" + b"#" * 300_000, "x.yaml: 293 KiB, too large for a recipe (at most 256 KiB)"),
        (b"a: " + b"[" * 50_000, "x.yaml:1: a.0.0: nested too deep for a recipe"),
    ],
)
def test_files_that_are_no_recipe(content: bytes, error: str) -> None:
    Path("x.yaml").write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        load_recipe("x.yaml")
    assert error in str(caught.value).splitlines()


def test_a_file_with_a_byte_order_mark_and_crlf_loads() -> None:
    Path("x.yaml").write_bytes(b"\xef\xbb\xbfname: x\r\nseed: 3\r\n")
    assert load_recipe("x.yaml").recipe == Recipe(name="x", seed=3)


def test_a_folder() -> None:
    Path("runs/demo").mkdir(parents=True)
    with pytest.raises(RecipeError, match=r"^runs/demo: a folder; a recipe is a .yaml file$"):
        load_recipe("runs/demo")
    Path("runs/demo/recipe.yaml").write_text("name: x")
    with pytest.raises(RecipeError, match=r"^runs/demo: a folder; did you mean runs/demo/recipe.yaml\?$"):
        load_recipe("runs/demo")


def test_a_pipe_is_refused_and_not_waited_for() -> None:
    os.mkfifo("pipe.yaml")
    with pytest.raises(RecipeError, match=r"pipe\.yaml: not a regular file"):
        load_recipe("pipe.yaml")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file() -> None:
    Path("x.yaml").write_text("name: x")
    Path("x.yaml").chmod(0)
    with pytest.raises(RecipeError, match=r"x\.yaml: cannot be read: Permission denied"):
        load_recipe("x.yaml")


def test_a_recipe_made_in_python_is_held_to_the_same() -> None:
    with pytest.raises(ValueError, match="14 is no multiple"):
        Recipe.model_validate({"name": "x", "schedule": {"batch_size": 14}})
    with pytest.raises(ValueError, match="frozen"):
        Recipe(name="x").seed = 1  # type: ignore[misc]
