"""What holds in every test: no network, folders of our own for what is cached, one CPU thread.

The environment is set while this file is imported: Hugging Face's library and torch read theirs once, when imported.
"""

from __future__ import annotations

import atexit
import errno
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hypothesis
import pytest

CACHE = Path(tempfile.mkdtemp(prefix="animepggan-tests-"))
atexit.register(shutil.rmtree, CACHE, ignore_errors=True)

os.environ["ANIMEPGGAN_CACHE"] = str(CACHE / "animepggan")
os.environ["HF_HOME"] = str(CACHE / "huggingface")
os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"  # for child processes, which the guard below does not reach
for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE"):
    os.environ.pop(name, None)
# One thread is quicker on nets as small as the tests', and the number of threads is part of what a run computes.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# How long an example takes says nothing on a shared machine.
hypothesis.settings.register_profile("animepggan", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("animepggan")

LOOPBACK = {"localhost", "::1", "", None}


def _is_loopback(host: object) -> bool:
    if isinstance(host, bytes):
        host = host.decode()
    return host in LOOPBACK or (isinstance(host, str) and host.startswith("127."))


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Iterator[None]:
    """Refuse every address that is not of this machine, and every look-up of one."""

    def refuse(host: object) -> None:
        raise RuntimeError(f"a test reached for the network: {host!r}")

    def guarded(connect: Callable[..., Any]) -> Callable[..., Any]:
        def checked(this: socket.socket, address: Any) -> Any:
            if this.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
                refuse(address[0])
            return connect(this, address)

        return checked

    look_up = socket.getaddrinfo

    def checked_look_up(host: Any, *arguments: Any, **options: Any) -> Any:
        if not _is_loopback(host):
            refuse(host)
        return look_up(host, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded(socket.socket.connect))
        patch.setattr(socket.socket, "connect_ex", guarded(socket.socket.connect_ex))
        patch.setattr(socket, "getaddrinfo", checked_look_up)
        yield


# What is outside of the program, as a test wants it. Each may be called again in the same test.


@pytest.fixture
def disk_space(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """So many bytes are free on every disk."""

    def free(size: float) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=10**15, used=10**15, free=size))

    return free


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """The disk fills up: syncing a file fails after so many more of them."""
    real = os.fsync

    def after(files: int) -> None:
        left = iter(range(files))

        def fsync(number: int) -> None:
            if next(left, None) is None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(number)

        monkeypatch.setattr(os, "fsync", fsync)

    return after


@pytest.fixture
def offline_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No hub, and a cache of the test's own: the folder that `test_hub.fill_cache` fills."""
    from huggingface_hub import constants

    for name, value in (("HF_HUB_CACHE", str(tmp_path / "hub")), ("HF_HUB_OFFLINE", True)):
        monkeypatch.setattr(constants, name, value)
    return tmp_path


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """So many CUDA devices, and none of Apple's."""
    import torch

    def found(count: int) -> None:
        for where, name, value in (
            (torch.backends.mps, "is_available", False),
            (torch.cuda, "is_available", count > 0),
            (torch.cuda, "device_count", count),
            (torch.cuda, "get_device_properties", SimpleNamespace(name="A GPU", total_memory=8e9)),
        ):
            monkeypatch.setattr(where, name, lambda *_, value=value: value)

    return found


@pytest.fixture
def bfloat16(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """A processor that multiplies bfloat16, or does not."""
    from animepggan.cli import doctor, processor

    def has(it: bool) -> None:
        for module in (processor, doctor):
            monkeypatch.setattr(module, "has_bfloat16", lambda: it)

    return has


@pytest.fixture
def temporary_folder(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Where temporary files are made; it need not exist."""

    def at(folder: Path) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(folder))

    return at
