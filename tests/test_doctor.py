"""`animepggan doctor`: what it tells, what it advises, and what it keeps to itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from animepggan import cli
from animepggan.cli import doctor


def told(capsys: pytest.CaptureFixture[str], code: int = 0) -> dict[str, Any]:
    assert cli.main(["doctor", "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_it_tells_versions_processor_threads_and_folders(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ANIMEPGGAN_CACHE", str(tmp_path / "not-there-yet"))
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 7e9})())
    facts = told(capsys)["facts"]
    assert facts["torch"] == torch.__version__
    assert facts["threads"] == str(torch.get_num_threads())
    assert facts["cache"] == f"{tmp_path / 'not-there-yet'}, 7 GB free"
    assert "video yes" in facts["extras"]


def test_a_package_that_does_not_import_is_named_and_nothing_is_advised(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "timm.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = told(capsys, code=1)
    assert found["broken"] == ["timm does not import: RuntimeError: operator torchvision::nms does not exist"]
    assert found["advice"] == []
    assert found["facts"]["timm"] == "does not import"


def test_a_package_that_ends_the_process_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "torch.py").write_text("import os\nos._exit(9)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert told(capsys, code=1)["broken"] == ["torch does not import: ends Python with 9"]


def test_it_advises_what_applies_here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def advice(**changes: Any) -> str:
        with monkeypatch.context() as patch:
            patch.setattr(torch.cuda, "is_available", lambda: changes.get("gpu", False))
            patch.setattr(doctor, "_allocator", lambda: changes.get("allocator"))
            patch.setattr(doctor, "has_bfloat16", lambda: changes.get("bfloat16", False))
            patch.setattr(doctor, "cores", lambda: changes.get("cores", 64))
            patch.setattr(doctor, "_free", lambda folder: changes.get("free", 1e12))
            patch.setattr(doctor, "extras", lambda: changes.get("extras", {}))
            patch.setattr(doctor.sys, "platform", "linux")
            patch.setenv("OMP_WAIT_POLICY", changes.get("policy", "active"))
            return " ".join(doctor._advice())

    assert "tcmalloc" in advice()
    assert advice(allocator="/usr/lib/libtcmalloc_minimal.so.4") == ""
    assert advice(gpu=True, bfloat16=True) == ""
    assert "--precision bf16" in advice(bfloat16=True)
    assert "unset it" in advice(policy="PASSIVE")
    assert "give --threads 0" in advice(cores=0)
    assert "0.1 GB free" in advice(free=1e8)
    assert "animepggan[curate]" in advice(extras={"curate": False, "video": False})


def test_an_allocator_that_is_loaded_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    maps.write_text(
        "7f00-7f01 r--p 00000000 fe:00 1    /usr/lib/libc.so.6\n7f02-7f03 rw-p 00000000 00:00 0\n"
        "7f04-7f05 r-xp 00000000 fe:00 2    /usr/lib/x86 64/libtcmalloc_minimal.so.4.5.9\n"
    )
    monkeypatch.setattr(doctor, "Path", lambda name: maps if name == "/proc/self/maps" else Path(name))
    assert doctor._allocator() == "/usr/lib/x86 64/libtcmalloc_minimal.so.4.5.9"


def test_an_extra_is_there_when_all_of_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        "torch>=2.7",
        'imagehash>=4.3; extra == "curate"',
        'nowhere-to-be-found>=1; extra == "curate"',
        'pillow; extra == "crop"',
        'also-nowhere>=0.1; python_version >= "3.12" and extra == "crop"',
        'nothing; extra == "test"',
    ]
    monkeypatch.setattr(doctor, "requires", lambda name: lines)
    assert doctor.extras() == {"curate": False, "crop": True}


def test_no_secret_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "OMP_NUM_THREADS=1" in out
    assert "hf_secret" not in out
