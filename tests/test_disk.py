"""Writing whole files, locks, and where the cache is."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from animepggan import disk
from animepggan.errors import BusyError


def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with disk.replacing(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")

    def fail() -> None:
        with disk.replacing(path) as partial:
            partial.write_text("half")
            raise OSError

    with pytest.raises(OSError):  # noqa: PT011
        fail()
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


def test_a_name_of_all_the_length_there_is_can_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / ("桜" * 83 + ".txt")  # 253 of 255 bytes
    disk.write_text(path, "x\n", sync=True)
    assert path.read_text() == "x\n"


def test_a_lock_that_another_process_holds_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    code = """
import sys
from pathlib import Path
from animepggan.disk import locked
with locked(Path(sys.argv[1]), "taken"):
    pass
"""
    with disk.locked(path, "taken"):
        with pytest.raises(BusyError, match="taken"), disk.locked(path, "taken"):
            pass
        result = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
        assert "BusyError: taken" in result.stderr
    with disk.locked(path, "taken"):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_worked_on_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with disk.locked(tmp_path / "a.lock", "taken"):
        pass


def test_the_cache_folder_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANIMEPGGAN_CACHE", str(tmp_path))
    assert disk.cache_folder() == tmp_path
    monkeypatch.delenv("ANIMEPGGAN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    if sys.platform == "linux":
        assert disk.cache_folder() == tmp_path / "caches" / "animepggan"
