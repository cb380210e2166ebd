"""What a recipe may hold: every key with its type, range, default and unit. No default is stated anywhere else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from animepggan.schedule import Schedule, resolutions

RESOLUTIONS = tuple(resolutions(4, 1024))
BY_RESOLUTION = frozenset(
    {"schedule.fade_kimg", "schedule.stabilize_kimg", "schedule.batch_size", "schedule.learning_rate"}
)
"""The keys that take a number or a map by resolution."""

LAYER = {"layer": True}
"""Validation context for a part of a recipe: keys are checked one by one, contradictions between keys are not."""

NUMBER, MAP = "<number>", "<map>"  # what pydantic adds to the place of an error inside a number or a map

Number = TypeVar("Number")

_NAME = re.compile(r"[^\W_][^\s/\\:*?\"<>|]*")
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")


def _must(kind: str, needs: str, fits: Callable[[Any], bool]) -> AfterValidator:
    def check(value: Any) -> Any:
        if not fits(value):
            raise PydanticCustomError(kind, needs)
        return value

    return AfterValidator(check)


def _map_key(value: object) -> int | str:
    if value == "default":
        return "default"
    if isinstance(value, str) and value.isascii() and value.isdecimal():  # JSON and YAML keys are text
        value = int(value) if str(int(value)) == value else value
    if type(value) is int and value in RESOLUTIONS:
        return value
    raise PydanticCustomError("resolution_key", "a key is a power of two from 4 to 1024, or default")


def _group_size(value: object) -> int | str:
    if value == "batch" or (type(value) is int and value >= 2):
        return value
    raise PydanticCustomError("group_size", "needs a whole number of at least 2, or batch")


def _fits_a_folder(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and name.isprintable() and len(name) <= 64


Name = Annotated[
    str, _must("name", "needs a name fit for a folder: a letter or digit first, no spaces or /", _fits_a_folder)
]
Text = Annotated[str, Field(min_length=1)]
Color = Annotated[
    str,
    _must("color", 'needs a color as "#rrggbb"', lambda value: _COLOR.fullmatch(value) is not None),
    WithJsonSchema({"type": "string", "pattern": f"^{_COLOR.pattern}$"}),
]
Resolution = Annotated[
    int,
    _must("resolution", "needs a power of two from 4 to 1024", RESOLUTIONS.__contains__),
    WithJsonSchema({"type": "integer", "enum": [*RESOLUTIONS]}),
]
OFF_OR_SIDE = (0, *RESOLUTIONS[1:])
SideOrOff = Annotated[
    int,
    _must("resolution", "needs a power of two from 8 to 1024, or 0 for off", OFF_OR_SIDE.__contains__),
    WithJsonSchema({"type": "integer", "enum": [*OFF_OR_SIDE]}),
]
MapKey = Annotated[
    int | str,
    PlainValidator(_map_key),
    WithJsonSchema({"type": "string", "pattern": f"^({'|'.join(map(str, RESOLUTIONS))}|default)$"}),
]
GroupSize = Annotated[
    int | Literal["batch"],
    PlainValidator(_group_size),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 2}, {"const": "batch"}]}),
]
ONE_OR_MORE = Field(min_length=1, json_schema_extra={"additionalProperties": False})
Kimg = Annotated[float, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)]
Images = Annotated[int, Field(ge=1)]
OneOrByResolution = Annotated[
    Annotated[Number, Tag(NUMBER)] | Annotated[dict[MapKey, Number], ONE_OR_MORE, Tag(MAP)],
    Discriminator(lambda value: MAP if isinstance(value, Mapping) else NUMBER),
]


def key(default: object, description: str, **limits: Any) -> Any:
    """A key that need not be given; `description` says what it means, with its unit."""
    return Field(default=default, description=description, **limits)


class _Strict(BaseModel):
    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True, protected_namespaces=()
    )


class NetworkOptions(_Strict):
    """Both networks; the architecture of a checkpoint."""

    fmap_base: int = key(8192, "feature maps at resolution R are 2 * fmap_base / R, at most fmap_max", ge=1)
    fmap_max: int = key(512, "most feature maps of a layer", ge=1)
    group_size: GroupSize = key(4, "images over which the minibatch statistic is taken: a number, or batch for all")
    statistic: Literal["stddev", "variance"] = key(
        "stddev", "minibatch statistic: stddev (the paper's) or variance (the article's)"
    )
    fused_down: bool = key(True, "the discriminator pools before bias and activation, as in the authors' code")
    norm: Literal["after", "before"] = key("after", "the generator's pixel norm comes after or before the activation")
    norm_first: bool = key(True, "pixel norm after the generator's first layer, too")
    norm_latent: bool = key(True, "pixel norm of the latent")
    to_rgb_gain: float = key(1.0, "gain of the to_rgb weights at run time", gt=0)
    equalized_output: bool = key(True, "equalized learning rate on the discriminator's last linear layer, too")
    miner: bool = key(False, "a small network on the latent comes first; see the key miner")


class ScheduleOptions(_Strict):
    """How long each stage lasts and what holds in it; kimg are thousands of real images shown."""

    fade_kimg: OneOrByResolution[Kimg] = key(
        800.0, "length of the fade-in, kimg; the first stage has none; with extend as long as stabilize_kimg by default"
    )
    stabilize_kimg: OneOrByResolution[Kimg] = key(800.0, "length of the stabilize phase, kimg")
    batch_size: OneOrByResolution[Images] = key(16, "real images a step")
    learning_rate: OneOrByResolution[Rate] = key(0.001, "Adam's learning rate, both networks")
    ramp_kimg: float = key(0.0, "the learning rate rises linearly from 0 over the run's first so many kimg", ge=0)
    decay_kimg: float = key(0.0, "the learning rate falls linearly to 0 over the run's last so many kimg", ge=0)
    n_critic: int = key(1, "discriminator steps a generator step", ge=1)


class OptimizerOptions(_Strict):
    """Adam, for both networks."""

    beta1: float = key(0.0, "decay of the first moment, a step", ge=0, lt=1)
    beta2: float = key(0.99, "decay of the second moment, a step", ge=0, lt=1)
    eps: float = key(1e-8, "added to the root of the second moment", gt=0)
    reset: bool = key(True, "Adam starts afresh at each new resolution")


class ObjectiveOptions(_Strict):
    """The adversarial loss and its penalties."""

    name: Literal["wgan-gp", "r1-logistic", "r3"] = key(
        "wgan-gp", "the loss: wgan-gp, r1-logistic or r3 (relativistic, with R1 and R2)"
    )
    gradient_penalty: float = key(10.0, "wgan-gp: weight of the gradient penalty (lambda)", ge=0)
    penalty_target: float = key(1.0, "wgan-gp: norm that the penalty pulls the gradient to (gamma)", gt=0)
    drift: float = key(0.001, "wgan-gp: weight of the squared score of real images", ge=0)
    r1_gamma: float = key(1.0, "r1-logistic, r3: weight (gamma) of R1, and of R2 in r3", ge=0)
    r1_every: int = key(16, "r1-logistic: steps from one R1 penalty to the next", ge=1)
    shared_latents: bool = key(
        False, "the generator's step takes the latents of the discriminator's: one drawing a step, not two"
    )


class AugmentationOptions(_Strict):
    """How strong `augment` is, and what steers it and `apa`."""

    strength: float = key(1.0, "augment diffaugment: probability of each transformation", gt=0, le=1)
    target: float = key(0.6, "augment adaptive, apa: r_v, the share of learning by heart aimed at", gt=0, lt=1)
    ramp_kimg: float = key(500.0, "augment adaptive, apa: kimg that move the strength or share from 0 to 1", gt=0)


class EmaOptions(_Strict):
    """The averaged generator, the one that pictures are drawn from."""

    half_life_kimg: float = key(10.0, "half-life of the average, kimg; 0 averages nothing", ge=0)
    ramp: float = key(0.05, "the half-life is never more than this share of the images that the run has seen", gt=0)


class CheckpointOptions(_Strict):
    """Checkpoints between the ends of the stages."""

    every_kimg: float = key(500.0, "kimg from one checkpoint to the next", gt=0)
    keep: int = key(2, "how many of these are kept, the newest; ends of stages all are", ge=1)


class PreviewOptions(_Strict):
    """Grids of the same latents, drawn as training goes."""

    every_kimg: float = key(100.0, "kimg from one preview to the next", gt=0)
    columns: int = key(8, "pictures across", ge=1)
    rows: int = key(4, "pictures down", ge=1)


class MeasureOptions(_Strict):
    """How good the pictures are, measured as training goes."""

    every_kimg: float = key(0.0, "kimg from one measure to the next; 0 measures nothing", ge=0)
    name: Literal["kid", "frechet", "swd", "coverage"] = key(
        "kid", "which one chooses the best checkpoint: kid, frechet, swd or coverage"
    )
    count: int = key(500, "pictures that are drawn and measured", ge=4)
    hold_out: float = key(
        0.1,
        "share of the clusters, 500 at most, that is not trained on where anything is measured against it",
        gt=0,
        lt=1,
    )
    backbone: Text | None = key(None, "as evaluate's --backbone; empty: its default, and none where swd chooses")


class LogOptions(_Strict):
    """The run's log."""

    every_kimg: float = key(1.0, "kimg from one line of log.jsonl to the next", gt=0)
    tensorboard: bool = key(False, "also write TensorBoard events (extra: report)")


class Recipe(_Strict):
    """Everything that decides a training run, but for the pictures and the base themselves."""

    name: Name = Field(description="short name; run folders are named after it")
    data: Text | None = key(None, "the corpus: a folder, zip, tar, hub:datasets/owner/name, demo:general or demo:yui")
    base: Text | None = key(None, "the checkpoint that fine-tuning starts from; empty trains from nothing")
    seed: int = key(0, "decides every random number of the run", ge=0, lt=2**63)
    resolution: Resolution = key(256, "side of the final pictures, pixels")
    latent_dim: int = key(512, "length of the latent", ge=1)
    mirror: bool = key(False, "show each picture left-right mirrored half of the time")
    random_shift: int = key(0, "pixels: a box is cut at random from pictures decoded that much larger; 0 is off", ge=0)
    background: Color = key("#ffffff", 'color under transparent pictures, "#rrggbb"')
    max_bad: float = key(0.01, "share of pictures that may be unreadable before the run refuses to start", ge=0, le=1)
    augment: Literal["none", "diffaugment", "adaptive"] = key(
        "none", "what the discriminator sees is augmented: always, or as far as it learns by heart"
    )
    apa: bool = key(False, "drawn pictures pass for real ones as far as the discriminator learns by heart")
    lecam: float = key(0.0, "weight of the scores' distance from the other kind's average; 0 is off", ge=0)
    freeze_discriminator: SideOrOff = key(
        0, "fine-tuning: the base's discriminator trains below this resolution alone; 0 is off"
    )
    l2sp: float = key(0.0, "fine-tuning: weight of the pull to the base's weights, both networks; 0 is off", ge=0)
    miner: float = key(0.0, "fine-tuning: kimg that a network on the latent trains alone; 0 adds none", ge=0)
    extend: SideOrOff = key(0, "fine-tuning: grow the base to this resolution, which the run then has; 0 is off")
    extend_data: Text | None = key(None, "extend: the base's corpus, shown among the pictures while a stage fades in")
    extend_share: float = key(0.5, "extend: the share of pictures from extend_data", ge=0, le=1)
    returns: int = key(
        0, "how often a run that goes wrong goes back to its last good checkpoint, at half the rate; 0: it warns", ge=0
    )
    network: NetworkOptions = Field(default_factory=NetworkOptions, description="both networks")
    schedule: ScheduleOptions = Field(default_factory=ScheduleOptions, description="stages, batches, learning rates")
    optimizer: OptimizerOptions = Field(default_factory=OptimizerOptions, description="Adam")
    objective: ObjectiveOptions = Field(default_factory=ObjectiveOptions, description="loss and penalties")
    augmentation: AugmentationOptions = Field(
        default_factory=AugmentationOptions, description="strength of augment, and what steers it and apa"
    )
    ema: EmaOptions = Field(default_factory=EmaOptions, description="the averaged generator")
    checkpoints: CheckpointOptions = Field(default_factory=CheckpointOptions, description="what is saved in between")
    previews: PreviewOptions = Field(default_factory=PreviewOptions, description="grids drawn as training goes")
    measures: MeasureOptions = Field(
        default_factory=MeasureOptions, description="how good the pictures are, as training goes"
    )
    log: LogOptions = Field(default_factory=LogOptions, description="log.jsonl and TensorBoard")

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> Recipe:
        if info.context != LAYER and (found := contradictions(self)):
            raise ValueError("; ".join(f"{key}: {message}" for key, message in found))
        return self


def contradictions(recipe: Recipe) -> list[tuple[str, str]]:
    """Keys that are fine alone but not together, each with what is wrong."""
    found: list[tuple[str, str]] = []
    if recipe.extend and recipe.resolution != recipe.extend:
        found.append(("resolution", f"is {recipe.resolution}, and extend grows to {recipe.extend}; leave it out"))
    if recipe.extend_data is not None and not recipe.extend:
        found.append(("extend_data", "is for a base that grows, and extend does not say to what"))
    for key in ("stabilize_kimg", "batch_size", "learning_rate"):
        value = getattr(recipe.schedule, key)
        if isinstance(value, Mapping) and recipe.resolution not in value and "default" not in value:
            found.append((f"schedule.{key}", f"has no value for resolution {recipe.resolution}, nor a default"))
    group_size, batch_size = recipe.network.group_size, recipe.schedule.batch_size
    if group_size != "batch":
        batches: Mapping[int | str, int] = batch_size if isinstance(batch_size, Mapping) else {"default": batch_size}
        for resolution in resolutions(4, recipe.resolution):
            batch = batches.get(resolution, batches.get("default", group_size))
            if batch > group_size and batch % group_size:
                where = f" at resolution {resolution}" if resolution in batches else ""
                lower = batch - batch % group_size
                cure = f"take {lower} or {lower + group_size}, or network.group_size: batch"
                message = f"{batch}{where} is no multiple of network.group_size {group_size}; {cure}"
                found.append(("schedule.batch_size", message))
    return list(dict.fromkeys(found))


def _fields(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _fields(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field


LEAVES: dict[str, FieldInfo] = dict(_fields(Recipe, ""))
"""Every key that holds a value, dotted (`network.fmap_base`), in the order of the model. A map is one value."""

SECTIONS: dict[str, FieldInfo] = {name: field for name, field in Recipe.model_fields.items() if name not in LEAVES}
"""Every key that holds other keys."""


def flatten(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """`{"network": {"fmap_base": 64}}` to `{"network.fmap_base": 64}`; keys that no recipe has are left out."""
    flat: dict[str, object] = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        if key in LEAVES:
            flat[key] = value
        elif isinstance(value, Mapping):
            flat |= flatten(value, f"{key}.")
    return flat


def nest(flat: Mapping[str, object]) -> dict[str, object]:
    """The inverse of `flatten`."""
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        section, _, name = key.rpartition(".")
        (nested.setdefault(section, {}) if section else nested)[name] = value
    return nested


def leaves(recipe: Recipe) -> dict[str, object]:
    """Every value of `recipe` by its dotted key, in the order of the model."""
    return flatten(recipe.model_dump())


def schedule_of(recipe: Recipe, *, first_resolution: int) -> Schedule:
    """The stages from `first_resolution` (4, or the base's resolution) to the recipe's; RecipeError if one is empty."""
    lengths = {name: value for name, value in recipe.schedule if name != "n_critic"}
    return Schedule(first_resolution=first_resolution, last_resolution=recipe.resolution, **lengths)


def schema() -> dict[str, Any]:
    """The JSON Schema of a recipe file, draft 2020-12."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Recipe.model_json_schema()}
