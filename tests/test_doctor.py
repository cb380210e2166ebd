"""`animepggan doctor`: what it tells, what it advises, and what it keeps to itself."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
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
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 7e9})())
    found = told(capsys)
    facts = found["facts"]
    assert facts["torch"] == torch.__version__
    assert facts["threads"] == str(torch.get_num_threads())
    assert facts["cache"] == f"{tmp_path / 'not-there-yet'}, 7 GB free"
    assert "video yes" in facts["extras"]
    assert re.fullmatch(r"\d+\.\d GB, \d+\.\d free", facts["memory"])
    assert "OMP_NUM_THREADS=1" in facts["settings"]
    assert "hf_secret" not in str(found)


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


def test_an_allocator_that_is_loaded_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    files = ["/usr/lib/libc.so.6", "[heap]", "/usr/lib/x86 64/libtcmalloc_minimal.so.4.5.9"]
    maps = [SimpleNamespace(path=file) for file in files]
    monkeypatch.setattr(psutil, "Process", lambda: SimpleNamespace(memory_maps=lambda: maps))
    assert doctor._allocator() == files[-1]
    monkeypatch.setattr(psutil, "Process", SimpleNamespace)  # of macOS
    assert doctor._allocator() is None


def test_an_extra_is_there_when_all_of_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        "torch>=2.7",
        'pillow>=4.3; extra == "curate"',
        'nowhere-to-be-found>=1; extra == "curate"',
        'pillow; extra == "crop"',
        'also-nowhere>=0.1; python_version >= "3.12" and extra == "crop"',
        'nothing; extra == "test"',
    ]
    monkeypatch.setattr(doctor, "requires", lambda name: lines)
    assert doctor.extras() == {"curate": False, "crop": True}
