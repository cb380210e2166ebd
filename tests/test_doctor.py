"""`animepggan doctor`: what it tells, what it advises, and what it keeps to itself."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from animepggan import cli
from animepggan.cli.doctor import NEEDED
from animepggan.corpus.worker import cores


@pytest.fixture(autouse=True)
def packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """What a process of its own imports instead of torch and its like, which take seconds: a folder to write to."""
    folder = tmp_path / "packages"
    folder.mkdir()
    for name in NEEDED:
        (folder / f"{name}.py").write_text("__version__ = '1.2.3'\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    return folder


@pytest.fixture
def extras(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Let this be what the package's metadata asks for."""

    def require(*lines: str) -> None:
        metadata = tmp_path / "site" / "animepggan-0.dist-info" / "METADATA"
        metadata.parent.mkdir(parents=True, exist_ok=True)
        metadata.write_text("Name: animepggan\nVersion: 0\n" + "".join(f"Requires-Dist: {line}\n" for line in lines))
        monkeypatch.syspath_prepend(str(tmp_path / "site"))

    return require


def told(capsys: pytest.CaptureFixture[str], code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert cli.main(["doctor", "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_it_tells_versions_processor_threads_and_folders(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    disk_space: Callable[[float], None],
) -> None:
    monkeypatch.setenv("ANIMEPGGAN_CACHE", str(tmp_path / "not-there-yet"))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    disk_space(7e9)
    found = told(capsys)
    facts = found["facts"]
    assert {facts[name] for name in NEEDED} == {"1.2.3"}
    assert facts["threads"] == str(torch.get_num_threads())
    assert facts["cache"] == f"{tmp_path / 'not-there-yet'}, 7 GB free"
    assert "video yes" in facts["extras"]
    assert re.fullmatch(r"\d+\.\d GB, \d+\.\d free", facts["memory"])
    assert "OMP_NUM_THREADS=1" in facts["settings"]
    assert "hf_secret" not in str(found)


@pytest.mark.slow  # three to six seconds to import all of them
def test_what_it_tries_is_what_is_installed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH")
    found = told(capsys)
    assert found["broken"] == []
    assert found["facts"]["torch"] == torch.__version__


def test_a_package_that_does_not_import_is_named_and_nothing_is_advised(
    capsys: pytest.CaptureFixture[str], packages: Path
) -> None:
    (packages / "timm.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    found = told(capsys, code=1)
    assert found["broken"] == ["timm does not import: RuntimeError: operator torchvision::nms does not exist"]
    assert found["advice"] == []
    assert found["facts"]["timm"] == "does not import"


def test_a_package_that_ends_the_process_is_named(capsys: pytest.CaptureFixture[str], packages: Path) -> None:
    (packages / "torch.py").write_text("import os\nos._exit(9)\n")
    assert told(capsys, code=1)["broken"] == ["torch does not import: ends Python with 9"]


@pytest.mark.skipif(sys.platform != "linux", reason="allocators are advised on Linux")
def test_it_advises_what_applies_here(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    gpus: Callable[[int], None],
    bfloat16: Callable[[bool], None],
    disk_space: Callable[[float], None],
    extras: Callable[..., None],
) -> None:
    loaded = ["/usr/lib/libc.so.6", "[heap]"]
    threads = torch.get_num_threads()

    def maps() -> list[SimpleNamespace]:
        return [SimpleNamespace(path=file) for file in loaded]

    def found() -> dict[str, Any]:
        with monkeypatch.context() as patch:  # what holds while it looks
            patch.setattr(psutil, "Process", lambda: SimpleNamespace(memory_maps=maps))
            return told(capsys)

    def advice() -> str:
        return " ".join(found()["advice"])

    gpus(0)
    bfloat16(False)
    disk_space(1e12)
    extras()
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert "tcmalloc" in advice()
    loaded.append("/usr/lib/x86 64/libtcmalloc_minimal.so.4.5.9")
    assert found()["facts"]["allocator"] == loaded[-1]
    assert advice() == ""
    bfloat16(True)
    assert "--precision bf16" in advice()
    gpus(1)
    assert advice() == ""
    assert found()["facts"]["GPUs"] == "A GPU, 8 GB"
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    assert "unset it" in advice()
    torch.set_num_threads(cores() + 1)
    try:
        assert f"give --threads {cores()}" in advice()
    finally:
        torch.set_num_threads(threads)
    disk_space(1e8)
    assert "0.1 GB free" in advice()
    extras('nowhere-to-be-found>=1; extra == "curate"', 'nowhere-to-be-found>=1; extra == "video"')
    assert "animepggan[curate]'" in advice()


def test_an_extra_is_there_when_all_of_it_is(
    capsys: pytest.CaptureFixture[str], extras: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "Process", SimpleNamespace)  # of macOS, which tells of no allocator
    extras(
        "torch>=2.7",
        'pillow>=4.3; extra == "curate"',
        'nowhere-to-be-found>=1; extra == "curate"',
        'pillow; extra == "crop"',
        'also-nowhere>=0.1; python_version >= "3.12" and extra == "crop"',
        'nothing; extra == "test"',
    )
    facts = told(capsys)["facts"]
    assert facts["extras"] == "curate no, crop yes"
    assert facts["allocator"] == "the system's"


@pytest.fixture
def nvidia(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An NVIDIA card, as its driver's program tells."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'NVIDIA GeForce RTX 3060'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")
@pytest.mark.usefixtures("nvidia")
def test_a_build_for_cpus_beside_an_nvidia_card_is_named_with_the_line_that_mends_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, gpus: Callable[[int], None]
) -> None:
    gpus(0)
    monkeypatch.setattr(torch.version, "cuda", None)
    advice = told(capsys)["advice"][0]
    assert "a build for CPUs and leaves the NVIDIA GeForce RTX 3060 idle" in advice
    line = advice.splitlines()[1].strip()
    assert line == (
        "pip uninstall -y torch torchvision && "
        "pip install torch torchvision --index-url https://download.pytorch.org/whl/cu130"
    )
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert "built for CUDA 13.0 and cannot use the NVIDIA GeForce RTX 3060" in told(capsys)["advice"][0]
    gpus(1)
    assert "RTX 3060" not in str(told(capsys)["advice"])
