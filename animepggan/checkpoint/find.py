"""Where checkpoints are: MODEL, as the command line takes it, to a folder or file on this disk; and those of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from animepggan.checkpoint.files import CONFIG, MANIFEST, look_up, read_json
from animepggan.errors import ModelError

PREFIX = "hub:"
SAMPLED = "generator_ema.safetensors"
BEST = "checkpoints/best.json"
"""In a run folder: which checkpoint a measure chose."""


@dataclass(frozen=True)
class FoundModel:
    """A model on this disk, and where it came from."""

    path: Path  # a checkpoint folder or a lone weights file
    spec: str  # what the user asked for, or the path that was chosen for them
    commit: str | None = None  # of a hub repository


def find(model: str | None, *, runs: Path = Path("runs"), weights: tuple[str, ...] = ("generator_ema",)) -> FoundModel:
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
        return FoundModel(_inside(local.path, model), model, local.revision)
    try:
        path = Path(model).expanduser()
        if path.exists():
            return FoundModel(_inside(path, model), model)
    except (OSError, RuntimeError, ValueError) as error:  # a name too long, no permission, no such user, a null byte
        raise ModelError(f"{model!a}: cannot be looked up: {error}") from error
    raise ModelError(
        f"{model}: no such model; give a checkpoint folder, a weights file, a run folder, or hub:owner/name"
    )


def _inside(path: Path, model: str) -> Path:
    """The checkpoint that `path` is or names, or the newest one of the run that it is."""
    if path.name == Path(BEST).name and path.is_file():
        return _named_by(path)
    if path.is_file() or (path / CONFIG).is_file() or (path / SAMPLED).is_file():
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
    """A run's checkpoints, oldest first by the images seen; those that are half there or damaged come before all."""
    return sorted(_in(run, f"checkpoints/*/{MANIFEST}"), key=lambda folder: (position_of(folder), folder.name))


def position_of(folder: Path) -> int:
    """The images that a checkpoint has seen; -1 where it is half there, or its config.json does not say."""
    value = look_up(_config_of(folder), "position", "images_seen")
    return value if isinstance(value, int) else -1


def _config_of(folder: Path) -> Any:
    """What config.json holds; None where it is damaged or the checkpoint is half there, for who loads it to tell."""
    try:
        return read_json(folder / CONFIG) if (folder / SAMPLED).is_file() else None
    except (OSError, ModelError):
        return None


def _in(root: Path, pattern: str) -> list[Path]:
    return [path.parent for path in root.glob(pattern) if not path.parent.name.startswith(".")]


def _newest_of_all(runs: Path) -> FoundModel:
    folders = _in(runs, f"*/checkpoints/*/{MANIFEST}")
    if not folders:
        raise ModelError(
            f"no MODEL given and no checkpoint under {runs}/; train one (`animepggan pretrain demo`) or name a model"
        )
    saved_at = {folder: look_up(_config_of(folder), "provenance", "saved_at") or "" for folder in folders}
    newest = max(folders, key=lambda folder: (str(saved_at[folder]), position_of(folder)))
    return FoundModel(newest, str(newest))
