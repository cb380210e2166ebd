"""A checkpoint describes itself, is written whole or not at all, and every damage to it is told."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import runs
import torch
from runs import copied, trained
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from test_hub import COMMIT, fill_cache

import animepggan.checkpoint
from animepggan.checkpoint import (
    WEIGHTS,
    checkpoints_of,
    find_model,
    load_generator,
    load_networks,
    read_config,
    read_network,
    read_tensors,
    tidy,
    verify,
    write_folder,
)
from animepggan.disk import sha256_of
from animepggan.errors import AnimepgganError, ModelError, ResourceError
from animepggan.networks import build_discriminator

NAMES = {"config.json", "manifest.json", *(f"{name}.safetensors" for name in runs.FILES)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The last checkpoint of a run, to be damaged."""
    return copied(trained() / "checkpoints" / "stage-0008", tmp_path / "stage-0008")


def read(folder: Path) -> None:
    """As a verb reads a model, all of it."""
    verify(folder)
    load_networks(folder)
    load_generator(folder)
    read_network(build_discriminator, folder / "discriminator.safetensors")


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    """Change a JSON file."""
    data = json.loads(path.read_text())
    path.write_text(json.dumps(change(data)))


def sign(folder: Path) -> None:
    """Make the manifest true again."""
    entries = {
        path.name: {"size": path.stat().st_size, "sha256": sha256_of(path)}
        for path in folder.iterdir()
        if path.name != "manifest.json"
    }
    (folder / "manifest.json").write_text(json.dumps({"files": entries}))


def rewrite(file: Path, tensors: dict[str, torch.Tensor] | None = None, **changes: object) -> None:
    """Write a weights file again, with other tensors or other values in its metadata."""
    with safe_open(file, framework="pt") as opened:
        metadata = json.loads(opened.metadata()["animepggan"])
    kept = load_file(file)
    for key, value in changes.items():
        part, _, name = key.partition("__")
        if name:
            metadata[part][name] = value
        else:
            metadata[part] = value
    save_file(kept if tensors is None else tensors, file, metadata={"animepggan": json.dumps(metadata)})


# What is in it


def test_a_checkpoint_folder_describes_itself(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == NAMES
    config = json.loads((folder / "config.json").read_text())
    assert config["format"] == 1
    given = runs.recipe()
    architecture = {"resolution": 8, "latent_dim": 8, **given.network.model_dump()}
    assert config["architecture"] == architecture
    assert config["position"] == {
        "images_seen": 64,
        "total_images": 64,
        "resolution": 8,
        "phase": "stabilize",
        "alpha": 1.0,
    }
    provenance = config["provenance"]
    assert provenance["base"] is None
    assert provenance["recipe"] == given.model_dump(mode="json")
    assert provenance["corpus"]["fingerprint"] == runs.corpus().fingerprint
    assert provenance["corpus"]["pictures"] == provenance["corpus"]["distinct"] == 24
    assert provenance["versions"]["torch"] == torch.__version__
    assert provenance["saved_at"].endswith("+00:00")
    for name in runs.FILES:
        with safe_open(folder / f"{name}.safetensors", framework="pt") as file:
            metadata = file.metadata()
        assert list(metadata) == ["animepggan"]
        told = json.loads(metadata["animepggan"])
        assert told == {key: config[key] for key in ("format", "architecture", "position")}
        assert metadata["animepggan"] == json.dumps(told, sort_keys=True, separators=(",", ":"))
    manifest = json.loads((folder / "manifest.json").read_text())["files"]
    assert set(manifest) == NAMES - {"manifest.json"}
    read(folder)


def test_the_manifest_is_the_last_file_written(tmp_path: Path) -> None:
    write(tmp_path / "stage-0004")
    written = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "stage-0004").iterdir()}
    assert written.keys() == NAMES
    assert written["manifest.json"] == max(written.values()) > written["config.json"]


@pytest.mark.parametrize("umask", [0o022, 0o077], ids=oct)
def test_weights_are_read_by_whoever_may_read_the_json_beside_them(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write(tmp_path / "stage-0004")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "stage-0004").iterdir()} == {0o666 & ~umask}


def test_a_lone_weights_file_is_enough_to_draw(folder: Path, tmp_path: Path) -> None:
    lone = tmp_path / "elsewhere.safetensors"
    shutil.copy(folder / "generator_ema.safetensors", lone)
    latents = torch.randn(3, 8)
    drawn, expected = load_generator(lone), load_generator(folder)
    assert drawn.alpha == 1.0
    assert torch.equal(drawn.generator(latents), expected.generator(latents))
    assert drawn.config["architecture"] == expected.config["architecture"]
    assert "provenance" not in drawn.config
    assert not drawn.generator.training
    assert not any(parameter.requires_grad for parameter in drawn.generator.parameters())
    assert {parameter.dtype for parameter in drawn.generator.parameters()} == {torch.float32}


def test_a_folder_with_nothing_but_the_averaged_generator_is_enough_to_draw(folder: Path) -> None:
    for name in NAMES - {"generator_ema.safetensors"}:
        (folder / name).unlink()
    assert load_generator(folder).alpha == 1.0
    assert find_model(str(folder)).path == folder


def test_half_precision_weights_are_read_as_float32(folder: Path) -> None:
    file = folder / "generator_ema.safetensors"
    rewrite(file, {name: value.bfloat16() for name, value in load_file(file).items()})
    assert {parameter.dtype for parameter in load_generator(file).generator.parameters()} == {torch.float32}


# Damage


def truncate(path: Path, keep: float = 0.5) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 0x10
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("name", sorted(NAMES))
@pytest.mark.parametrize("damage", [truncate, flip, Path.unlink, lambda path: path.write_bytes(b"")])
def test_every_damaged_file_is_named(folder: Path, name: str, damage: Callable[[Path], object]) -> None:
    damage(folder / name)
    with pytest.raises(ModelError) as caught:
        read(folder)
    message = str(caught.value)
    assert name in message
    assert caught.value.exit_code == 4
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("name", [*WEIGHTS, "resume"])
def test_a_manifest_that_leaves_a_file_out_does_not_vouch_for_it(folder: Path, name: str) -> None:
    edit(
        folder / "manifest.json",
        lambda data: {"files": {k: v for k, v in data["files"].items() if k != f"{name}.safetensors"}},
    )
    with pytest.raises(ModelError, match=rf"{name}\.safetensors: damaged"):
        verify(folder)


def test_only_the_weights_that_matter_need_be_there(folder: Path) -> None:
    for name in ("generator", "discriminator", "resume"):
        (folder / f"{name}.safetensors").unlink()
    verify(folder, ("generator_ema",))
    with pytest.raises(ModelError, match=r"incomplete: generator\.safetensors is missing"):
        verify(folder, WEIGHTS)
    flip(folder / "generator_ema.safetensors")
    with pytest.raises(ModelError, match=r"generator_ema\.safetensors: damaged"):
        verify(folder, ("generator_ema",))


@pytest.mark.parametrize(
    "text", ["", "no JSON", "[]", "7", "null", "{}", '{"files": []}', '{"files": {"config.json": 1}}', "[" * 10_000]
)
def test_a_manifest_that_is_none_is_damage(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text)
    with pytest.raises(ModelError, match=r"manifest\.json: damaged"):
        verify(folder)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("format", 2, "format 2 is newer"),
        ("format", "1", "not a checkpoint"),
        ("position", None, "position is missing"),
        ("architecture", [], "architecture or position is missing"),
        ("position__alpha", 7, "alpha is 7"),
        ("position__alpha", "1", "alpha is '1'"),
        ("position__alpha", float("nan"), "alpha is nan"),
        ("position__images_seen", None, "images_seen is None"),
        ("position__images_seen", -1, "images_seen is -1"),
        ("architecture__resolution", 1 << 40, "resolution is"),
        ("architecture__resolution", 12, "not a power of two"),
        ("architecture__fmap_max", 10**9, "fmap_max is"),
        ("architecture__latent_dim", 10**12, "latent_dim is"),
        ("architecture__latent_dim", -8, "latent_dim is"),
        ("architecture__norm", "sideways", "norm is"),
        ("architecture__surprise", 1, "surprise is unknown"),
    ],
)
def test_what_config_and_metadata_say_is_checked(folder: Path, key: str, value: object, told: str) -> None:
    def change(data: dict[str, Any]) -> dict[str, Any]:
        part, _, name = key.partition("__")
        return data | {part: data[part] | {name: value} if name else value}

    edit(folder / "config.json", change)
    with pytest.raises(ModelError, match=told) as caught:
        read_config(folder)
    assert "config.json" in str(caught.value)
    file = folder / "generator_ema.safetensors"
    rewrite(file, **{key: value})
    with pytest.raises(ModelError, match=told) as caught:
        load_generator(file)
    assert "generator_ema.safetensors" in str(caught.value)


@pytest.mark.parametrize("text", ["no JSON", "[]", "7", "null", "{}", "[" * 10_000, '{"format": 1}'])
def test_a_config_that_is_none_is_damage(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(ModelError, match=r"config\.json: "):
        load_generator(folder)
    save_file({"a": torch.zeros(2)}, folder / "generator_ema.safetensors", metadata={"animepggan": text})
    with pytest.raises(ModelError, match=r"generator_ema\.safetensors: "):
        load_generator(folder / "generator_ema.safetensors")


def test_other_peoples_files_are_told_from_ours(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.safetensors"
    save_file({"a": torch.zeros(2)}, foreign)
    with pytest.raises(ModelError, match=r"foreign\.safetensors: not written by animepggan"):
        load_generator(foreign)
    save_file({"a": torch.zeros(2)}, foreign, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="not written by animepggan"):
        load_generator(foreign)


def test_a_pickle_is_never_opened_as_one(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "owned"),)

    file = tmp_path / "generator_ema.safetensors"
    torch.save({"weights": Evil()}, file)
    with pytest.raises(ModelError, match="not a safetensors file"):
        load_generator(file)
    with pytest.raises(ModelError, match="not a safetensors file"):
        load_generator(tmp_path)
    assert not (tmp_path / "owned").exists()


def test_a_folder_in_the_place_of_a_file(folder: Path) -> None:
    file = folder / "generator_ema.safetensors"
    file.unlink()
    file.mkdir()
    with pytest.raises(ModelError, match="generator_ema"):
        load_generator(folder)
    with pytest.raises(ModelError, match="generator_ema"):
        verify(folder)


def test_shapes_that_are_not_the_architectures(folder: Path) -> None:
    file = folder / "generator_ema.safetensors"
    good = load_file(file)
    name = "blocks.8.conv0.weight"
    for tensors, told in (
        ({**good, name: torch.zeros(8, 8, 3, 4)}, rf"{name} is \(8, 8, 3, 4\), not \(8, 8, 3, 3\)"),
        ({key: value for key, value in good.items() if key != name}, f"{name} is missing"),
        ({**good, "stowaway": torch.zeros(1)}, r"stowaway is \(1,\), not expected"),
        ({**good, name: good[name].to(torch.int32)}, f"{name} holds torch.int32"),
        ({**good, name: good[name].to(torch.complex64)}, f"{name} holds torch.complex64"),
        ({}, "is missing"),
    ):
        rewrite(file, tensors)
        with pytest.raises(ModelError, match=told) as caught:
            load_generator(file)
        assert "generator_ema.safetensors" in str(caught.value)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("role", runs.FILES)
def test_weights_that_are_not_finite_are_refused(folder: Path, role: str, number: float) -> None:
    file = folder / f"{role}.safetensors"
    tensors = load_file(file)
    name = next(name for name in sorted(tensors) if tensors[name].numel() > 5)
    tensors[name].view(-1)[3] = number
    rewrite(file, tensors)
    with pytest.raises(ModelError, match="not finite") as caught:
        read_tensors(file)
    assert caught.value.exit_code == 4
    if role != "resume":
        told = rf"{role}\.safetensors: {re.escape(name)} holds numbers that are not finite"
        with pytest.raises(ModelError, match=told):
            load_networks(folder)


def test_a_generator_is_not_taken_for_a_discriminator(folder: Path) -> None:
    shutil.copy(folder / "generator.safetensors", folder / "discriminator.safetensors")
    with pytest.raises(ModelError, match=r"discriminator\.safetensors: does not fit"):
        read_network(build_discriminator, folder / "discriminator.safetensors")


def test_files_of_two_models_are_not_mixed(folder: Path) -> None:
    # The last linear layer's kind and the order of pooling show in no shape.
    rewrite(folder / "discriminator.safetensors", architecture__fused_down=False)
    sign(folder)
    verify(folder)
    with pytest.raises(ModelError, match=r"discriminator\.safetensors: damaged: its architecture"):
        load_networks(folder)


def header_of(size: int, tensors: dict[str, Any], metadata: dict[str, Any]) -> bytes:
    header = json.dumps({"__metadata__": {"animepggan": json.dumps(metadata)}, **tensors}).encode()
    return struct.pack("<Q", len(header) if size < 0 else size) + header


def test_sizes_that_a_file_only_claims_are_refused_without_memory(folder: Path) -> None:
    """The largest architecture allowed would take 10 GB and more; a file claims 8 GB."""
    import resource

    file = folder / "generator_ema.safetensors"
    rewrite(file, architecture__fmap_max=8192, architecture__fmap_base=65536, architecture__latent_dim=8192)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError, match="does not fit its own architecture"):
        load_generator(file)

    with safe_open(folder / "generator.safetensors", framework="pt") as opened:
        metadata = json.loads(opened.metadata()["animepggan"])
    size = 1 << 33
    claims = {"blocks.4.conv0.weight": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}
    for header_size in (-1, 1 << 62, 1 << 30):  # true, beyond the file, beyond what safetensors takes
        content = header_of(header_size, claims, metadata)
        file.write_bytes(content)
        with pytest.raises(ModelError, match="generator_ema"):
            load_generator(file)
    file.write_bytes(header_of(-1, claims, metadata))
    os.truncate(file, file.stat().st_size + size)  # a hole, not a disk's worth
    with pytest.raises(ModelError, match="does not fit its own architecture"):
        load_generator(file)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200_000  # kilobytes


# Writing


def write(folder: Path, value: float = 1.0, config: dict[str, Any] | None = None) -> None:
    told = json.loads((trained() / "checkpoints" / "stage-0008" / "config.json").read_text())
    write_folder(folder, {name: {"a": torch.full((1000,), value)} for name in runs.FILES}, config or told)


def value_in(folder: Path) -> float:
    verify(folder)
    return float(load_file(folder / "resume.safetensors")["a"][0])


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def failing_at(count: int, failure: Callable[..., object], real: Callable[..., Any]) -> Callable[..., Any]:
    """`real` until it is called for the `count`-th time."""
    calls = 0

    def called(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        return failure() if calls == count else real(*arguments, **options)

    return called


@pytest.mark.parametrize(
    ("where", "name", "times"),
    [
        (animepggan.checkpoint, "save_file", 4),
        (Path, "write_text", 2),
        (animepggan.checkpoint, "sha256_of", 5),
        (os, "fsync", 6),
        (Path, "rename", 1),
        (Path, "mkdir", 2),
    ],
    ids=lambda value: str(getattr(value, "__name__", value)),
)
@pytest.mark.parametrize("occupied", [False, True], ids=["free", "occupied"])
def test_whatever_fails_there_is_no_half_of_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: Any, name: str, times: int, occupied: bool
) -> None:
    write(tmp_path / "images-000000004", 4.0)
    for number in range(1, times + 1):
        target = tmp_path / f"images-{number:09d}0"
        if occupied:  # by one that was found damaged
            shutil.copytree(tmp_path / "images-000000004", target)
            (target / "config.json").unlink()
        with monkeypatch.context() as patch:
            patch.setattr(where, name, failing_at(number, full, getattr(where, name)))
            if (where, name, number) == (Path, "mkdir", 1):  # the folder of all checkpoints: the command line's matter
                with pytest.raises(OSError, match="No space left"):
                    write(target, 8.0)
            else:
                with pytest.raises(ResourceError, match="the disk is full") as caught:
                    write(target, 8.0)
                assert caught.value.exit_code == 6
                assert len(str(caught.value).splitlines()) <= 3
        assert value_in(tmp_path / "images-000000004") == 4.0
        assert not list(tmp_path.glob(".*"))
        if target.exists():  # only ever whole, or what was damaged before
            if occupied and not (target / "config.json").exists():
                shutil.rmtree(target)
            else:
                pytest.fail("nothing that can fail comes after the rename")
    write(tmp_path / "images-000000010", 8.0)
    assert value_in(tmp_path / "images-000000010") == 8.0


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (SafetensorError("Error: No space left on device (os error 28)"), "disk is full"),
        (SafetensorError("odd"), "odd"),
        (OSError(errno.EROFS, os.strerror(errno.EROFS)), "Read-only file system"),
    ],
)
def test_why_weights_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(animepggan.checkpoint, "save_file", fail)
    with pytest.raises(ResourceError, match=told):
        write(tmp_path / "stage-0004")
    assert not list(tmp_path.iterdir())


def test_too_small_a_disk_is_found_before_anything_is_written(
    tmp_path: Path, disk_space: Callable[[float], None]
) -> None:
    disk_space(900_000)
    with pytest.raises(ResourceError, match="0 MB and the disk has 1 MB free"):
        write(tmp_path / "stage-0004")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_is_full_for_real(small_disk: Path, disk_space: Callable[[float], None]) -> None:
    told = json.loads((trained() / "checkpoints" / "stage-0008" / "config.json").read_text())
    large = {name: {"a": torch.zeros(100_000)} for name in runs.FILES}  # 1.6 MB
    with pytest.raises(ResourceError, match="needs 2 MB and the disk has 1 MB free"):
        write_folder(small_disk / "stage-0004", large, told)
    assert not list(small_disk.iterdir())
    disk_space(10**9)  # as where a quota holds
    write(small_disk / "stage-0004", 4.0)
    with pytest.raises(ResourceError, match="the disk is full"):
        write_folder(small_disk / "stage-0008", large, told)
    assert [path.name for path in small_disk.iterdir()] == ["stage-0004"]
    assert value_in(small_disk / "stage-0004") == 4.0
    # To the last byte in the small files as well.
    with suppress(OSError), (small_disk / "ballast").open("wb", buffering=0) as ballast:
        while ballast.write(b"0" * 512):
            pass
    with pytest.raises(ResourceError, match="the disk is full"):
        write(small_disk / "stage-0008", 8.0)
    assert {path.name for path in small_disk.iterdir()} == {"stage-0004", "ballast"}
    (small_disk / "ballast").unlink()
    write(small_disk / "stage-0008", 8.0)
    assert value_in(small_disk / "stage-0008") == 8.0


def test_what_a_killed_process_left_is_cleared_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "stage-0004")
    (tmp_path / ".images-000000008.partial").mkdir()
    (tmp_path / ".images-000000008.partial" / "generator.safetensors").write_bytes(b"half")
    (tmp_path / ".keep").mkdir()
    tidy(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"stage-0004", ".keep"}
    tidy(tmp_path / "nowhere")


# Finding


def test_a_checkpoint_a_file_and_a_run_are_found(tmp_path: Path) -> None:
    run = copied(trained(), tmp_path / "run")
    stage = run / "checkpoints" / "stage-0004"
    assert find_model(str(stage)).path == stage
    lone = stage / "generator_ema.safetensors"
    assert find_model(str(lone)).path == lone
    found = find_model(str(run))
    assert found.path == run / "checkpoints" / "stage-0008"
    (run / "checkpoints" / "best.json").write_text('{"checkpoint": "images-000000048"}')
    assert find_model(str(run)).path == run / "checkpoints" / "images-000000048"
    for spoiled in ("{", "[]", '{"checkpoint": "images-7"}'):  # then the newest
        (run / "checkpoints" / "best.json").write_text(spoiled)
        assert find_model(str(run)).path == run / "checkpoints" / "stage-0008"
    assert found.spec == str(run)
    assert found.commit is None


def test_the_newest_of_a_run_is_the_one_that_saw_most_images(tmp_path: Path) -> None:
    run = copied(trained(), tmp_path / "run")
    assert runs.names(checkpoints_of(run)) == ["stage-0004", "images-000000048", "images-000000060", "stage-0008"]
    shutil.rmtree(run / "checkpoints" / "stage-0008")
    assert find_model(str(run)).path.name == "images-000000060"
    # What is incomplete or in the making is none.
    (run / "checkpoints" / "images-000000060" / "manifest.json").unlink()
    shutil.copytree(run / "checkpoints" / "stage-0004", run / "checkpoints" / ".stage-0008.partial")
    assert find_model(str(run)).path.name == "images-000000048"
    # One whose config cannot be read is the oldest.
    (run / "checkpoints" / "images-000000048" / "config.json").write_text("[" * 10_000)
    assert find_model(str(run)).path.name == "stage-0004"


def test_without_a_name_the_last_saved_under_runs_is_found(tmp_path: Path) -> None:
    # The one saved last has seen fewer images.
    one, two = (copied(trained(), tmp_path / "runs" / name) for name in ("one", "two"))

    def saved(folder: Path, at: str) -> None:
        edit(folder / "config.json", lambda data: data | {"provenance": data["provenance"] | {"saved_at": at}})

    for checkpoint in checkpoints_of(one) + checkpoints_of(two):
        saved(checkpoint, "2026-01-02T03:04:05.000000+00:00")
    saved(two / "checkpoints" / "stage-0004", "2026-01-02T03:04:05.000001+00:00")
    found = find_model(None, runs=tmp_path / "runs")
    assert found.path == two / "checkpoints" / "stage-0004"
    assert found.spec == str(found.path)
    (found.path / "config.json").write_text("[]")
    assert find_model(None, runs=tmp_path / "runs").path.name == "stage-0008"


def test_what_is_no_model_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "started").mkdir()
    (tmp_path / "started" / "recipe.yaml").touch()
    for model, told in (
        (str(tmp_path / "empty"), "no checkpoint and no run in this folder"),
        (str(tmp_path / "started"), "this run has no checkpoint yet"),
        (str(tmp_path / "nowhere"), "no such model"),
        ("a" * 5000, "cannot be looked up"),
        ("a\0b", "no such model|cannot be looked up"),
        ("~nobody-of-this-name/model", "cannot be looked up: .*there is no home folder"),
    ):
        with pytest.raises(ModelError, match=told) as caught:
            find_model(model)
        assert len(str(caught.value).splitlines()) <= 3


def test_without_a_run_the_base_in_the_package_is_found(tmp_path: Path) -> None:
    for found in (find_model(None, runs=tmp_path / "nowhere"), find_model("base", weights=WEIGHTS)):
        assert found.spec == "base"
        verify(found.path, WEIGHTS)
    files = [path for path in found.path.iterdir() if path.suffix == ".safetensors"]
    assert {path.stem for path in files} == set(WEIGHTS)
    assert sum(path.stat().st_size for path in files) <= 12e6
    assert (found.path / "README.md").is_file()
    assert load_generator(found.path).generator.resolution == 64


def test_a_model_of_the_hub_is_found_in_a_filled_cache(folder: Path, offline_hub: Path) -> None:
    content = {path.name: path.read_bytes() for path in folder.iterdir()}
    staged = {f"stage-0008/{name}": data for name, data in content.items()}
    fill_cache(offline_hub, "alice/base", COMMIT, content | staged)
    for spec in ("hub:alice/base", "hub:alice/base@main:stage-0008", f"hub:alice/base@{COMMIT}"):
        found = find_model(spec, weights=WEIGHTS)
        assert (found.spec, found.commit) == (spec, COMMIT)
        verify(found.path, WEIGHTS)
        assert load_generator(found.path).generator.resolution == 8
    with pytest.raises(AnimepgganError) as caught:
        find_model("hub:alice/other")
    assert caught.value.exit_code == 5
