"""MODEL, as the command line takes it, to a folder or file on this disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from animepggan.checkpoint.files import CONFIG, MANIFEST, read_json
from animepggan.errors import ModelError

PREFIX = "hub:"
BEST = "checkpoints/best.json"
"""In a run folder: which checkpoint a measure chose."""


@dataclass(frozen=True)
class Found:
    """A model on this disk, and where it came from."""

    path: Path  # a checkpoint folder or a lone weights file
    spec: str  # what the user asked for, or the path that was chosen for them
    commit: str | None = None  # of a hub repository


def find(model: str | None, *, runs: Path = Path("runs"), weights: tuple[str, ...] = ("generator_ema",)) -> Found:
    """The place of a model: a checkpoint folder, a lone weights file, a run folder (its newest checkpoint), a run's
    checkpoints/best.json (the one that it names), or `hub:owner/name[@revision][:sub]`; for None, the newest checkpoint
    under `runs` by the save time it records.

    `weights` are the files that will be read, so that no others are fetched from the hub. ModelError where there is no
    such model, HubError where the hub does not answer.
    """
    if model is None:
        return _newest_of_all(runs)
    if model.startswith(PREFIX):
        from animepggan import hub

        files = ["config.json", "manifest.json", *(f"{name}.safetensors" for name in weights)]
        local = hub.resolve(model, allow_patterns=files)
        return Found(_inside(local.path, model), model, local.revision)
    try:
        path = Path(model).expanduser()
        if path.exists():
            return Found(_inside(path, model), model)
    except (OSError, RuntimeError, ValueError) as error:  # a name too long, no permission, no such user, a null byte
        raise ModelError(f"{model!a}: cannot be looked up: {error}") from error
    raise ModelError(
        f"{model}: no such model; give a checkpoint folder, a weights file, a run folder, or hub:owner/name"
    )


def _inside(path: Path, model: str) -> Path:
    """The checkpoint that `path` is or names, or the newest one of the run that it is."""
    if path.name == Path(BEST).name and path.is_file():
        return _named_by(path)
    if path.is_file() or (path / CONFIG).is_file() or (path / "generator_ema.safetensors").is_file():
        return path
    checkpoints = checkpoints_of(path)
    if checkpoints:
        return checkpoints[-1]
    if (path / "recipe.yaml").is_file():
        raise ModelError(f"{model}: this run has no checkpoint yet")
    raise ModelError(f"{model}: no checkpoint and no run in this folder")


def _named_by(file: Path) -> Path:
    try:
        folder = file.parent / str(read_json(file)["checkpoint"])
    except (KeyError, TypeError) as error:
        raise ModelError(f"{file}: damaged: it names no checkpoint") from error
    if not (folder / MANIFEST).is_file():
        raise ModelError(f"{file}: names {folder.name}, and that checkpoint is not there")
    return folder


def checkpoints_of(run: Path) -> list[Path]:
    """A run's complete checkpoints, oldest first (by the images seen)."""
    return sorted(_complete(run, f"checkpoints/*/{MANIFEST}"), key=lambda folder: (_position(folder), folder.name))


def _complete(root: Path, pattern: str) -> list[Path]:
    return [path.parent for path in root.glob(pattern) if not path.parent.name.startswith(".")]


def _position(folder: Path) -> int:
    value = _said(folder, "position", "images_seen")
    return value if isinstance(value, int) else -1


def _saved_at(folder: Path) -> str:
    value = _said(folder, "provenance", "saved_at")
    return value if isinstance(value, str) else ""


def _said(folder: Path, *keys: str) -> Any:
    """A value of config.json; None where it cannot be had: what is wrong with it is for those to say who read it."""
    try:
        value = read_json(folder / CONFIG)
        for key in keys:
            value = value[key]
    except (OSError, ModelError, KeyError, TypeError):
        return None
    return value


def _newest_of_all(runs: Path) -> Found:
    folders = _complete(runs, f"*/checkpoints/*/{MANIFEST}")
    if not folders:
        raise ModelError(
            f"no MODEL given and no checkpoint under {runs}/; train one (`animepggan pretrain demo`) or name a model"
        )
    newest = max(folders, key=lambda folder: (_saved_at(folder), _position(folder)))
    return Found(newest, str(newest))
