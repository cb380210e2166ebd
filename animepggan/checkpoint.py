"""Checkpoints: self-describing folders of safetensors, written whole or not at all, found, verified and loaded.

    config.json                 architecture, position in the schedule, provenance
    generator_ema.safetensors   what is sampled
    generator.safetensors, discriminator.safetensors
    resume.safetensors          Adam's moments: what a run needs to go on, bit for bit
    manifest.json               sizes and sha256 of the others; written last

Every weights file carries the architecture in its own metadata, one key with canonical JSON, so that it can be used
alone. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from animepggan.disk import PARTIAL, expanded, hidden_beside, make_folder, sha256_of, sync_file, sync_folder
from animepggan.errors import ModelError, RecipeError, ResourceError, disk_is_full
from animepggan.networks import (
    Architecture,
    Generator,
    build_discriminator,
    build_generator,
    check_architecture,
    complete,
)

FORMAT = 1
METADATA_KEY = "animepggan"
CONFIG = "config.json"
MANIFEST = "manifest.json"
RESUME = "resume"
WEIGHTS = ("generator_ema", "generator", "discriminator")
SAMPLED = f"{WEIGHTS[0]}.safetensors"
BEST = "checkpoints/best.json"
"""In a run folder: which checkpoint a measure chose."""
PACKAGED_BASE = "base"
"""As a MODEL: the base that comes with the package, which lies in it under that name; `./base` is a folder here."""

Network = TypeVar("Network", bound=nn.Module)


# ---------------------------------------------------------------- writing


def write_folder(
    folder: Path,
    tensors: Mapping[str, Mapping[str, torch.Tensor]],  # by file name without its ending
    config: Mapping[str, Any],
) -> None:
    """Write a checkpoint folder: into a hidden sibling first, then renamed, so that `folder` is complete or not there.

    ResourceError where the disk is too small (before anything is written), full, or not to be written to,
    RecipeError where `folder` would lie below a file; what was there stays as it was.
    """
    make_folder(folder.parent)
    needed = sum(value.nbytes for group in tensors.values() for value in group.values())
    free = shutil.disk_usage(folder.parent).free
    if free < needed + 1_000_000:
        raise ResourceError(
            f"{folder}: the checkpoint needs {needed / 1e6:.0f} MB and the disk has {free / 1e6:.0f} MB free\n"
            "make room, then run the same command again: it goes on from the last checkpoint"
        )
    there = folder.resolve()  # "." has no name
    partial = hidden_beside(there, PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        told = {key: config[key] for key in ("format", "architecture", "position")}
        metadata = {METADATA_KEY: json.dumps(told, sort_keys=True, separators=(",", ":"))}
        (partial / CONFIG).write_text(_text_of(config), encoding="utf-8", newline="\n")
        for name, group in tensors.items():
            path = partial / f"{name}.safetensors"
            save_file({key: value.contiguous() for key, value in group.items()}, path, metadata=metadata)
            shutil.copymode(partial / CONFIG, path)  # safetensors lets nobody but the owner read what it writes
        manifest = {
            path.name: {"size": path.stat().st_size, "sha256": sha256_of(path)} for path in sorted(partial.iterdir())
        }
        (partial / MANIFEST).write_text(_text_of({"files": manifest}), encoding="utf-8", newline="\n")
        for path in partial.iterdir():
            sync_file(path)
        sync_folder(partial)
        if folder.exists() and not any(folder.iterdir()):  # perhaps where the caller stands: it stays the same folder
            for path in sorted(partial.iterdir(), key=lambda path: path.name == MANIFEST):
                path.rename(folder / path.name)
            partial.rmdir()
        else:
            if folder.exists():  # only ever one that was found damaged
                discard(folder)
            partial.rename(folder)
        sync_folder(folder.parent)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        full = disk_is_full(error)
        raise ResourceError(
            f"{folder}: not written, {'the disk is full' if full else error}; the checkpoints before it are whole\n"
            f"{'make room' if full else 'mend that'}, then run the same command again: it goes on from the last of them"
        ) from error


def _text_of(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"


def discard(folder: Path) -> None:
    """Remove a checkpoint folder, if it is there; wherever that is cut short, no half of it is left under its name."""
    hidden = hidden_beside(folder, f".old{PARTIAL}")
    shutil.rmtree(hidden, ignore_errors=True)
    with suppress(FileNotFoundError):
        folder.rename(hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def tidy(folders: Path) -> None:
    """Remove what a killed process left in `folders`: checkpoints half written and half removed."""
    for partial in folders.glob(f".*{PARTIAL}"):
        shutil.rmtree(partial, ignore_errors=True)


# ---------------------------------------------------------------- reading


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a checkpoint folder; ModelError where it is missing, damaged or of a newer format."""
    path = folder / CONFIG
    try:
        return _checked(read_json(path), path)
    except FileNotFoundError:
        raise ModelError(f"{folder}: no checkpoint here ({CONFIG} is missing)") from None


def read_json(path: Path) -> Any:
    """What a JSON file holds; FileNotFoundError where there is none, ModelError where it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:  # an OSError, too
        raise
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: damaged: {error}") from error


def _checked(config: Any, path: Path) -> dict[str, Any]:
    """What config.json or the metadata of a weights file says, with the architecture's defaults filled in."""
    if not isinstance(config, dict) or not isinstance(config.get("format"), int):
        raise ModelError(f"{path}: not a checkpoint of animepggan")
    if config["format"] > FORMAT:
        raise ModelError(f"{path}: format {config['format']} is newer than this version knows; update animepggan")
    position = config.get("position")
    if not isinstance(config.get("architecture"), dict) or not isinstance(position, dict):
        raise ModelError(f"{path}: damaged: architecture or position is missing")
    alpha, images_seen = position.get("alpha"), position.get("images_seen")
    if not isinstance(alpha, (int, float)) or not 0 <= alpha <= 1:
        raise ModelError(f"{path}: damaged: position.alpha is {alpha!r}")
    if not isinstance(images_seen, int) or images_seen < 0:
        raise ModelError(f"{path}: damaged: position.images_seen is {images_seen!r}")
    try:
        check_architecture(config["architecture"])
    except ValueError as error:
        raise ModelError(f"{path}: damaged: {error}") from error
    return {**config, "architecture": complete(config["architecture"])}


def verify(folder: Path, weights: Sequence[str] | None = None) -> None:
    """Hold a checkpoint's files against manifest.json; ModelError names the first that is missing or differs.

    `weights`: the weights files that matter, by name without ending; None: all, resume.safetensors included.
    """
    path = folder / MANIFEST
    try:
        files = read_json(path)["files"]
        listed = {name: (entry["size"], entry["sha256"]) for name, entry in files.items()}
    except FileNotFoundError:
        raise ModelError(f"{folder}: incomplete: {MANIFEST} is missing") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: damaged: it lists no files") from error
    for name in (CONFIG, *(f"{name}.safetensors" for name in (weights or (*WEIGHTS, RESUME)))):
        file = folder / name
        if not file.is_file():
            raise ModelError(f"{folder}: incomplete: {name} is missing")
        try:
            whole = (file.stat().st_size, sha256_of(file)) == listed.get(name) or (
                name == CONFIG and _as_written(read_json(file)) == listed.get(name)
            )
        except OSError as error:
            raise ModelError(f"{file}: cannot be read: {error.strerror}") from error
        if not whole:
            raise ModelError(f"{file}: damaged: it is not the file that {MANIFEST} describes")


def _as_written(config: Any) -> tuple[int, str]:
    """Size and sha256 of config.json as it is written; git and editors write the same with other ends of lines."""
    data = _text_of(config).encode()
    return len(data), hashlib.sha256(data).hexdigest()


@contextmanager
def open_weights(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """An open safetensors file, whose tensors are read when asked for, and its metadata (architecture, position).

    ModelError where the file is missing, damaged, or not ours.
    """
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(METADATA_KEY)
            if text is None:
                raise ModelError(f"{path}: not written by animepggan: its metadata has no {METADATA_KEY!r}")
            try:
                metadata = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise ModelError(f"{path}: damaged metadata: {error}") from error
            yield file, _checked(metadata, path)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except (OSError, SafetensorError, RuntimeError) as error:  # the last: torch could not map the file into memory
        raise ModelError(f"{path}: damaged, or not a safetensors file: {error}") from error


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of one of our files, on the CPU; ModelError as `open_weights`, and where a number is not finite."""
    with open_weights(path) as (file, _):
        return {name: require_finite(file.get_tensor(name), name, path) for name in file.keys()}  # noqa: SIM118


def require_finite(tensor: torch.Tensor, name: str, path: Path) -> torch.Tensor:
    """`tensor`; ModelError where it holds NaN or an infinity."""
    if tensor.numel() and not torch.stack(tensor.aminmax()).isfinite().all():
        raise ModelError(f"{path}: {name} holds numbers that are not finite\ntake a checkpoint from before that")
    return tensor


def without_place(spec: str) -> str:
    """A SPEC or MODEL as a checkpoint, which travels, may tell it: of a path the last part, or `run/checkpoint`."""
    if spec.startswith(("hub:", "demo:")):
        return spec
    path = expanded(spec).absolute()
    return f"{path.parents[1].name}/{path.name}" if path.parent.name == "checkpoints" else path.name


def look_up(value: Any, *keys: str) -> Any:
    """A value deep in what a JSON file held; None where there is none, or a part on the way is no map."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


# ---------------------------------------------------------------- networks


@dataclass(frozen=True)
class Loaded:
    """A generator ready to draw."""

    generator: Generator  # the EMA weights, in evaluation mode, float32
    alpha: float  # where its resolution's fade-in stood
    config: dict[str, Any]  # config.json, or the file's own metadata
    path: Path  # the weights file


def load_generator(path: Path, device: str | torch.device = "cpu") -> Loaded:
    """The EMA generator of a checkpoint folder, or of a lone weights file of a generator; ModelError otherwise."""
    file = path / SAMPLED if path.is_dir() else path
    generator, metadata = read_network(build_generator, file)
    config = read_config(path) if path.is_dir() and (path / CONFIG).is_file() else metadata
    generator.requires_grad_(False).eval()
    generator.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Loaded(generator, float(metadata["position"]["alpha"]), config, file)


def load_networks(folder: Path) -> dict[str, nn.Module]:
    """All three networks of a checkpoint folder, by their file's name; ModelError where they are not of one model."""
    architecture = read_config(folder)["architecture"]
    networks: dict[str, nn.Module] = {}
    for role in WEIGHTS:
        file = folder / f"{role}.safetensors"
        build: Callable[[Architecture], nn.Module] = build_discriminator if role == "discriminator" else build_generator
        networks[role], metadata = read_network(build, file)
        if metadata["architecture"] != architecture:
            raise ModelError(f"{file}: damaged: its architecture is not the one that {CONFIG} beside it tells")
    return networks


def read_network(build: Callable[[Architecture], Network], file: Path) -> tuple[Network, dict[str, Any]]:
    """The network in a weights file and the file's metadata; ModelError where its tensors are not what that says, or
    hold numbers that are not finite.

    `build` makes the network without memory first, and shapes are compared before a tensor is read: a file that lies
    about its size is refused before anything is allocated.
    """
    with open_weights(file) as (weights, metadata):
        with torch.device("meta"):
            network = build(metadata["architecture"])
        wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
        found = {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
        for name in sorted(wanted.keys() | found.keys()):
            if wanted.get(name) != found.get(name):
                raise ModelError(
                    f"{file}: does not fit its own architecture: {name} is {found.get(name, 'missing')}, "
                    f"not {wanted.get(name, 'expected')}"
                )
        tensors = {name: weights.get_tensor(name) for name in wanted}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise ModelError(f"{file}: {name} holds {tensor.dtype}, not numbers with a fraction")
        require_finite(tensor, name, file)
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
    return network, metadata


# ---------------------------------------------------------------- finding


@dataclass(frozen=True)
class FoundModel:
    """A model on this disk, and where it came from."""

    path: Path  # a checkpoint folder or a lone weights file
    spec: str  # what the user asked for, or the path that was chosen for them
    commit: str | None = None  # of a hub repository


def find_model(model: str | None, *, runs: Path = Path("runs"), weights: Sequence[str] = WEIGHTS[:1]) -> FoundModel:
    """The place of a model: a checkpoint folder, a lone weights file, a run folder (the checkpoint that its best.json
    names, else its newest), a run's checkpoints/best.json, `hub:owner/name[@revision][:sub]`, or `base`, which comes
    with the package; for None, the newest checkpoint under `runs` by the save time it records, else that base.

    `weights` are the files that will be read, so that no others are fetched from the hub. ModelError where there is no
    such model, HubError where the hub does not answer.
    """
    if model is None:
        return _newest_of_all(runs) or find_model(PACKAGED_BASE, runs=runs)
    if model == PACKAGED_BASE:
        folder = Path(str(resources.files("animepggan") / PACKAGED_BASE))
        if not (folder / CONFIG).is_file():
            raise ModelError("the base that comes with animepggan is missing from this installation; install it again")
        return FoundModel(folder, PACKAGED_BASE)
    if model.startswith("hub:"):
        from animepggan import hub

        files = [CONFIG, MANIFEST, *(f"{name}.safetensors" for name in weights)]
        local = hub.fetch(model, allow_patterns=files)
        return FoundModel(_inside(local.path, model), model, local.revision)
    try:
        path = expanded(model)
        if path.exists():
            return FoundModel(_inside(path, model), model)
    except (OSError, ValueError, RecipeError) as error:  # a name too long, no permission, a null byte, no such user
        raise ModelError(f"{model!a}: cannot be looked up: {error}") from error
    raise ModelError(
        f"{model}: no such model; give a checkpoint folder, a weights file, a run folder, hub:owner/name, or "
        f"{PACKAGED_BASE}, which comes with animepggan"
    )


def _inside(path: Path, model: str) -> Path:
    """The checkpoint that `path` is or names, or the best one of the run that it is, else that run's newest."""
    if path.name == Path(BEST).name and path.is_file():
        return _named_in(path)
    if path.is_file() or (path / CONFIG).is_file() or (path / SAMPLED).is_file():
        return path
    if checkpoints := checkpoints_of(path):
        try:
            return _named_in(path / BEST)
        except (FileNotFoundError, ModelError):  # never measured, or damaged: the run writes it anew when it goes on
            return checkpoints[-1]
    if (path / "recipe.yaml").is_file():
        raise ModelError(f"{model}: this run has no checkpoint yet")
    raise ModelError(f"{model}: no checkpoint and no run in this folder")


def _named_in(best: Path) -> Path:
    """The checkpoint that a best.json names; FileNotFoundError where there is none, ModelError where it is no use."""
    try:
        folder = best.parent / str(read_json(best)["checkpoint"])
    except (KeyError, TypeError) as error:
        raise ModelError(f"{best}: damaged: it names no checkpoint") from error
    if not (folder / MANIFEST).is_file():
        raise ModelError(f"{best}: names {folder.name}, and that checkpoint is not there")
    return folder


def checkpoints_of(run: Path) -> list[Path]:
    """A run's checkpoints, oldest first by the images seen; those that are half there or damaged come before all."""
    folders = [path.parent for path in run.glob(f"checkpoints/[!.]*/{MANIFEST}")]
    return sorted(folders, key=lambda folder: (position_of(folder), folder.name))


def position_of(folder: Path) -> int:
    """The images that a checkpoint has seen; -1 where it is half there, or its config.json does not say."""
    value = _value_in(folder, "position", "images_seen")
    return value if isinstance(value, int) else -1


def _value_in(folder: Path, *keys: str) -> Any:
    """A value of config.json; None where that is damaged or the checkpoint half there, for who loads it to tell."""
    try:
        return look_up(read_json(folder / CONFIG), *keys) if (folder / SAMPLED).is_file() else None
    except (OSError, ModelError):
        return None


def _newest_of_all(runs: Path) -> FoundModel | None:
    folders = [path.parent for path in runs.glob(f"*/checkpoints/[!.]*/{MANIFEST}")]
    if not folders:
        return None
    newest = max(folders, key=lambda each: (str(_value_in(each, "provenance", "saved_at") or ""), position_of(each)))
    return FoundModel(newest, str(newest))
