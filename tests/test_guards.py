"""The guards of conftest.py hold: a test that reaches for the network fails, and caches are the tests' own."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

import pytest


@pytest.mark.parametrize("address", ["192.0.2.1", "pypi.invalid", b"192.0.2.1"])
def test_no_test_reaches_the_network(address: str) -> None:
    with pytest.raises(RuntimeError, match="network"):
        socket.create_connection((address, 80), timeout=1)
    with socket.socket() as plug:
        for connect in (plug.connect, plug.connect_ex):
            with pytest.raises(RuntimeError, match="network"):
                connect((address, 80))


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost"])
def test_a_server_of_the_tests_is_reached(address: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection((address, server.getsockname()[1]), timeout=5).close()


def test_caches_and_tokens_of_the_user_are_out_of_reach() -> None:
    for name in ("ANIMEPGGAN_CACHE", "HF_HOME"):
        assert Path(os.environ[name]).is_relative_to(tempfile.gettempdir())
    assert "HF_TOKEN" not in os.environ
