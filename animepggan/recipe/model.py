"""What a recipe may hold: every key with its type, range, default and unit. No default is stated anywhere else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
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


def _resolution(value: int) -> int:
    if value not in RESOLUTIONS:
        raise PydanticCustomError("resolution", "needs a power of two from 4 to 1024")
    return value


def _side_or_off(value: int) -> int:
    if value != 0 and value not in RESOLUTIONS[1:]:
        raise PydanticCustomError("resolution", "needs a power of two from 8 to 1024, or 0 for off")
    return value


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


def _name(value: str) -> str:
    if not (_NAME.fullmatch(value) and value.isprintable() and len(value) <= 64):
        raise PydanticCustomError("name", "needs a name fit for a folder: a letter or digit first, no spaces or /")
    return value


def _color(value: str) -> str:
    if not _COLOR.fullmatch(value):
        raise PydanticCustomError("color", 'needs a color as "#rrggbb"')
    return value


Name = Annotated[str, AfterValidator(_name)]
Text = Annotated[str, Field(min_length=1)]
Color = Annotated[str, AfterValidator(_color), WithJsonSchema({"type": "string", "pattern": f"^{_COLOR.pattern}$"})]
Resolution = Annotated[int, AfterValidator(_resolution), WithJsonSchema({"type": "integer", "enum": [*RESOLUTIONS]})]
SideOrOff = Annotated[
    int, AfterValidator(_side_or_off), WithJsonSchema({"type": "integer", "enum": [0, *RESOLUTIONS[1:]]})
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
ByResolution = Annotated[
    Annotated[Number, Tag(NUMBER)] | Annotated[dict[MapKey, Number], ONE_OR_MORE, Tag(MAP)],
    Discriminator(lambda value: MAP if isinstance(value, Mapping) else NUMBER),
]


class _Strict(BaseModel):
    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True, protected_namespaces=()
    )


class NetworkOptions(_Strict):
    """Both networks; the architecture of a checkpoint."""

    fmap_base: int = Field(
        default=8192, ge=1, description="feature maps at resolution R are 2 * fmap_base / R, at most fmap_max"
    )
    fmap_max: int = Field(default=512, ge=1, description="most feature maps of a layer")
    group_size: GroupSize = Field(
        default=4, description="images over which the minibatch statistic is taken: a number, or batch for all"
    )
    statistic: Literal["stddev", "variance"] = Field(
        default="stddev", description="minibatch statistic: stddev (the paper's) or variance (the article's)"
    )
    fused_down: bool = Field(
        default=True, description="the discriminator pools before bias and activation, as in the authors' code"
    )
    norm: Literal["after", "before"] = Field(
        default="after", description="the generator's pixel norm comes after or before the activation"
    )
    norm_first: bool = Field(default=True, description="pixel norm after the generator's first layer, too")
    norm_latent: bool = Field(default=True, description="pixel norm of the latent")
    to_rgb_gain: float = Field(default=1.0, gt=0, description="gain of the to_rgb weights at run time")
    equalized_output: bool = Field(
        default=True, description="equalized learning rate on the discriminator's last linear layer, too"
    )
    miner: bool = Field(default=False, description="a small network on the latent comes first; see the key miner")


class ScheduleOptions(_Strict):
    """How long each stage lasts and what holds in it; kimg are thousands of real images shown."""

    fade_kimg: ByResolution[Kimg] = Field(
        default=800.0, description="length of the fade-in, kimg; the first stage has none"
    )
    stabilize_kimg: ByResolution[Kimg] = Field(default=800.0, description="length of the stabilize phase, kimg")
    batch_size: ByResolution[Images] = Field(default=16, description="real images a step")
    learning_rate: ByResolution[Rate] = Field(default=0.001, description="Adam's learning rate, both networks")
    ramp_kimg: float = Field(
        default=0.0, ge=0, description="the learning rate rises linearly from 0 over the run's first so many kimg"
    )
    n_critic: int = Field(default=1, ge=1, description="discriminator steps a generator step")


class OptimizerOptions(_Strict):
    """Adam, for both networks."""

    beta1: float = Field(default=0.0, ge=0, lt=1, description="decay of the first moment, a step")
    beta2: float = Field(default=0.99, ge=0, lt=1, description="decay of the second moment, a step")
    eps: float = Field(default=1e-8, gt=0, description="added to the root of the second moment")
    reset: bool = Field(default=True, description="Adam starts afresh at each new resolution")


class ObjectiveOptions(_Strict):
    """The adversarial loss and its penalties."""

    name: Literal["wgan-gp", "r1-logistic", "r3"] = Field(
        default="wgan-gp", description="the loss: wgan-gp, r1-logistic or r3 (relativistic, with R1 and R2)"
    )
    gradient_penalty: float = Field(default=10.0, ge=0, description="wgan-gp: weight of the gradient penalty (lambda)")
    penalty_target: float = Field(
        default=1.0, gt=0, description="wgan-gp: norm that the penalty pulls the gradient to (gamma)"
    )
    drift: float = Field(default=0.001, ge=0, description="wgan-gp: weight of the squared score of real images")
    r1_gamma: float = Field(default=1.0, ge=0, description="r1-logistic, r3: weight (gamma) of R1, and of R2 in r3")
    r1_every: int = Field(default=16, ge=1, description="r1-logistic: steps from one R1 penalty to the next")
    shared_latents: bool = Field(
        default=False,
        description="the generator's step takes the latents of the discriminator's: one drawing a step, not two",
    )


class AugmentationOptions(_Strict):
    """How strong `augment` is, and what steers it and `apa`."""

    strength: float = Field(
        default=1.0, gt=0, le=1, description="augment diffaugment: probability of each transformation"
    )
    target: float = Field(
        default=0.6, gt=0, lt=1, description="augment adaptive, apa: r_v, the share of learning by heart aimed at"
    )
    ramp_kimg: float = Field(
        default=500.0, gt=0, description="augment adaptive, apa: kimg that move the strength or share from 0 to 1"
    )


class EmaOptions(_Strict):
    """The averaged generator, the one that pictures are drawn from."""

    half_life_kimg: float = Field(default=10.0, ge=0, description="half-life of the average, kimg; 0 averages nothing")
    ramp: float = Field(
        default=0.05,
        gt=0,
        description="the half-life is never more than this share of the images that the run has seen",
    )


class CheckpointOptions(_Strict):
    """Checkpoints between the ends of the stages."""

    every_kimg: float = Field(default=500.0, gt=0, description="kimg from one checkpoint to the next")
    keep: int = Field(default=2, ge=1, description="how many of these are kept, the newest; ends of stages all are")


class PreviewOptions(_Strict):
    """Grids of the same latents, drawn as training goes."""

    every_kimg: float = Field(default=100.0, gt=0, description="kimg from one preview to the next")
    columns: int = Field(default=8, ge=1, description="pictures across")
    rows: int = Field(default=4, ge=1, description="pictures down")


class MeasureOptions(_Strict):
    """How good the pictures are, measured as training goes."""

    every_kimg: float = Field(default=0.0, ge=0, description="kimg from one measure to the next; 0 measures nothing")
    name: Literal["kid", "frechet", "swd", "coverage"] = Field(
        default="kid", description="which one chooses the best checkpoint: kid, frechet, swd or coverage"
    )
    count: int = Field(default=500, ge=4, description="pictures that are drawn and measured")
    hold_out: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="share of the clusters, 1000 at most, that is not trained on where anything is measured against it",
    )
    backbone: Text | None = Field(
        default=None, description="as evaluate's --backbone; empty: its default, and none where swd chooses"
    )


class LogOptions(_Strict):
    """The run's log."""

    every_kimg: float = Field(default=1.0, gt=0, description="kimg from one line of log.jsonl to the next")
    tensorboard: bool = Field(default=False, description="also write TensorBoard events (extra: report)")


class Recipe(_Strict):
    """Everything that decides a training run, but for the pictures and the base themselves."""

    name: Name = Field(description="short name; run folders are named after it")
    data: Text | None = Field(
        default=None, description="the corpus: a folder, zip, tar, hub:datasets/owner/name, demo:general or demo:yui"
    )
    base: Text | None = Field(
        default=None, description="the checkpoint that fine-tuning starts from; empty trains from nothing"
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="decides every random number of the run")
    resolution: Resolution = Field(default=256, description="side of the final pictures, pixels")
    latent_dim: int = Field(default=512, ge=1, description="length of the latent")
    mirror: bool = Field(default=False, description="show each picture left-right mirrored half of the time")
    random_shift: int = Field(
        default=0, ge=0, description="pixels: a box is cut at random from pictures decoded that much larger; 0 is off"
    )
    background: Color = Field(default="#ffffff", description='color under transparent pictures, "#rrggbb"')
    max_bad: float = Field(
        default=0.01, ge=0, le=1, description="share of pictures that may be unreadable before the run refuses to start"
    )
    augment: Literal["none", "diffaugment", "adaptive"] = Field(
        default="none", description="what the discriminator sees is augmented: always, or as far as it learns by heart"
    )
    apa: bool = Field(
        default=False, description="drawn pictures pass for real ones as far as the discriminator learns by heart"
    )
    lecam: float = Field(
        default=0.0, ge=0, description="weight of the scores' distance from the other kind's average; 0 is off"
    )
    freeze_discriminator: SideOrOff = Field(
        default=0, description="fine-tuning: the base's discriminator trains below this resolution alone; 0 is off"
    )
    l2sp: float = Field(
        default=0.0, ge=0, description="fine-tuning: weight of the pull to the base's weights, both networks; 0 is off"
    )
    miner: float = Field(
        default=0.0, ge=0, description="fine-tuning: kimg that a network on the latent trains alone; 0 adds none"
    )
    extend: SideOrOff = Field(
        default=0, description="fine-tuning: grow the base to this resolution, which the run then has; 0 is off"
    )
    extend_data: Text | None = Field(
        default=None, description="extend: the base's corpus, shown among the pictures while a stage fades in"
    )
    extend_share: float = Field(default=0.5, ge=0, le=1, description="extend: the share of pictures from extend_data")
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
        found = [] if info.context == LAYER else contradictions(self)
        if found:
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
                if ("schedule.batch_size", message) not in found:
                    found.append(("schedule.batch_size", message))
    return found


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
