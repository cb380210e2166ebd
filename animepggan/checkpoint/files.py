"""The files of a checkpoint folder: written whole or not at all, and read back with every damage named.

    config.json                 architecture, position in the schedule, provenance
    generator_ema.safetensors   what is sampled
    generator.safetensors, discriminator.safetensors
    resume.safetensors          Adam's moments: what a run needs to go on, bit for bit
    manifest.json               sizes and sha256 of the others; written last

Every weights file carries the architecture in its own metadata, one key with canonical JSON, so that it can be used
alone. Nothing is pickled.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from animepggan.disk import PARTIAL, sync_file, sync_folder
from animepggan.errors import ModelError, ResourceError
from animepggan.networks import check, complete

FORMAT = 1
METADATA_KEY = "animepggan"
CONFIG = "config.json"
MANIFEST = "manifest.json"
RESUME = "resume"
WEIGHTS = ("generator_ema", "generator", "discriminator")


def canonical_json(value: object) -> str:
    """One text for one value: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_folder(
    folder: Path,
    tensors: Mapping[str, Mapping[str, torch.Tensor]],  # by file name without its ending
    config: Mapping[str, Any],
) -> None:
    """Write a checkpoint folder: into a hidden sibling first, then renamed, so that `folder` is complete or not there.

    ResourceError where the disk is too small (before anything is written), full, or not to be written to; what was
    there stays as it was.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    needed = sum(value.nbytes for group in tensors.values() for value in group.values())
    free = shutil.disk_usage(folder.parent).free
    if free < needed + 1_000_000:
        raise ResourceError(
            f"{folder}: the checkpoint needs {needed / 1e6:.0f} MB and the disk has {free / 1e6:.0f} MB free\n"
            "make room, then run the same command again: it goes on from the last checkpoint"
        )
    partial = folder.with_name(f".{folder.name}{PARTIAL}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        metadata = {METADATA_KEY: canonical_json({key: config[key] for key in ("format", "architecture", "position")})}
        for name, group in tensors.items():
            path = partial / f"{name}.safetensors"
            save_file({key: value.contiguous() for key, value in group.items()}, path, metadata=metadata)
        (partial / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        manifest = {
            path.name: {"size": path.stat().st_size, "sha256": sha256_of(path)} for path in sorted(partial.iterdir())
        }
        (partial / MANIFEST).write_text(json.dumps({"files": manifest}, indent=2) + "\n", encoding="utf-8")
        for path in partial.iterdir():
            sync_file(path)
        sync_folder(partial)
        if folder.exists():  # only ever one that was found damaged
            discard(folder)
        partial.rename(folder)
        sync_folder(folder.parent)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        # safetensors reports the system's errors as its own, with the system's words.
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or os.strerror(errno.ENOSPC) in str(error)
        raise ResourceError(
            f"{folder}: not written, {'the disk is full' if full else error}; the checkpoints before it are whole\n"
            f"{'make room' if full else 'mend that'}, then run the same command again: it goes on from the last of them"
        ) from error


def discard(folder: Path) -> None:
    """Remove a checkpoint folder; wherever that is cut short, no half of it is left under its name."""
    hidden = folder.with_name(f".{folder.name}.old{PARTIAL}")
    shutil.rmtree(hidden, ignore_errors=True)
    folder.rename(hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def tidy(folders: Path) -> None:
    """Remove what a killed process left in `folders`: checkpoints half written and half removed."""
    for partial in folders.glob(f".*{PARTIAL}"):
        shutil.rmtree(partial, ignore_errors=True)


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
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: damaged: {error}") from error


def _checked(config: object, path: Path) -> dict[str, Any]:
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
        check(config["architecture"])
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
            whole = (file.stat().st_size, sha256_of(file)) == listed.get(name)
        except OSError as error:
            raise ModelError(f"{file}: cannot be read: {error.strerror}") from error
        if not whole:
            raise ModelError(f"{file}: damaged: it is not the file that {MANIFEST} describes")


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


def look_up(value: Any, *keys: str) -> Any:
    """A value deep in what a JSON file held; None where there is none, or a part on the way is no map."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value
