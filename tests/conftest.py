"""What holds in every test: no network, folders of our own for what is cached, one CPU thread.

The environment is set while this file is imported: Hugging Face's library and torch read theirs once, when imported.
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
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
