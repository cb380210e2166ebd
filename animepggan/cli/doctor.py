"""`animepggan doctor`: what this machine has, for a bug report, and what would make it faster."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distributions, requires
from pathlib import Path

import click
import psutil

from animepggan import __version__
from animepggan.cli.common import Console, common_options, resolve_device
from animepggan.cli.processor import has_bfloat16
from animepggan.cli.processor import name as processor_name
from animepggan.corpus.worker import cores

NEEDED = ("torch", "torchvision", "timm", "safetensors", "huggingface_hub", "PIL", "numpy")
"""Modules whose versions are told; that they import is tried, in a process of its own that may crash."""
_TRY = """
import importlib, sys
for name in sys.argv[1:]:
    try:
        print(name, importlib.import_module(name).__version__, flush=True)
    except Exception as error:
        print(name, f"{type(error).__name__}: {error}".splitlines()[0], flush=True)
"""
ALLOCATORS = ("tcmalloc", "jemalloc", "mimalloc")
"""Libraries that keep freed memory at hand, by a part of their file names."""
PREFIXES = ("OMP_", "MKL_", "KMP_", "ANIMEPGGAN_", "CUDA_", "LD_PRELOAD")
SETTINGS = ("HF_HUB_OFFLINE", "HF_ENDPOINT", "PYTORCH_CUDA_ALLOC_CONF")
"""Environment variables that change what we do, and hold no secret; PREFIXES: how others of them begin."""
SCARCE = 5e9  # bytes free on a disk
CUDA_INDEX = "https://download.pytorch.org/whl/cu130"
"""PyTorch's own index of wheels for NVIDIA cards: on Windows the default one has builds for CPUs only."""


@click.command()
@common_options
def command(console: Console) -> None:
    """Tell what this machine has and what would make it faster.

    Paste it into a bug report: it names versions, processor, GPUs, memory, folders and their free space, and nothing of
    your pictures. Exits 1 where something is broken.
    """
    broken: list[str] = []
    facts = dict(_facts(broken))
    advice = [] if broken else list(_advice())
    width = max(map(len, facts))
    lines = [f"{name:<{width}}  {value}" for name, value in facts.items()]
    lines += ["", *(f"broken: {each}" for each in broken), *(f"advice: {each}" for each in advice)]
    if not broken and not advice:
        lines.append("nothing to advise")
    console.result("\n".join(lines), {"facts": facts, "broken": broken, "advice": advice})
    if broken:
        raise click.exceptions.Exit(1)


def _facts(broken: list[str]) -> Iterator[tuple[str, str]]:
    yield "animepggan", f"{__version__} in {Path(__file__).parents[1]}"
    yield "Python", f"{platform.python_version()} in {sys.prefix}"
    yield "system", platform.platform()
    tried = subprocess.run([sys.executable, "-c", _TRY, *NEEDED], capture_output=True, text=True, check=False)
    found = dict(line.split(" ", 1) for line in tried.stdout.splitlines() if line.split(" ", 1)[0] in NEEDED)
    for module in NEEDED[: len(found) + 1]:  # the one after the last has ended the process
        told = found.get(module, f"ends Python with {tried.returncode}")
        if not told[0].isdigit():
            broken.append(f"{module} does not import: {told}")
            told = "does not import"
        yield module, told
    yield "extras", ", ".join(f"{name} {'yes' if there else 'no'}" for name, there in extras().items())
    yield "processor", f"{processor_name()}, {cores()} cores for this process"
    memory = psutil.virtual_memory()
    yield "memory", f"{memory.total / 1e9:.1f} GB, {memory.available / 1e9:.1f} free"
    if not broken:
        yield from _torch_facts()
    yield "allocator", _allocator() or "the system's"
    for name, folder in _folders().items():
        yield name, f"{folder}, {_free(folder) / 1e9:.0f} GB free"
    settings = sorted(name for name in os.environ if name.startswith(PREFIXES) or name in SETTINGS)
    yield "settings", ", ".join(f"{name}={os.environ[name]}" for name in settings) or "none"


def _torch_facts() -> Iterator[tuple[str, str]]:
    import torch

    bfloat16 = "in hardware" if has_bfloat16() else "emulated"
    yield "torch's CPU", f"{torch.backends.cpu.get_cpu_capability()}, bfloat16 {bfloat16}"
    yield "threads", str(torch.get_num_threads())
    gpus = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    told = "; ".join(f"{gpu.name}, {gpu.total_memory / 1e9:.0f} GB" for gpu in gpus)
    yield "GPUs", told or ("Apple's, by MPS" if torch.backends.mps.is_available() else "none that torch finds")
    yield "--device auto", str(resolve_device("auto"))


def _advice() -> Iterator[str]:
    import torch

    on_cpu = not torch.cuda.is_available()
    if on_cpu and (card := _nvidia_card()):
        if torch.version.cuda is None:
            yield (
                f"torch is a build for CPUs and leaves the {card} idle; this mends it (a card from before 2018, or an "
                f"older driver, wants cu126 in place of cu130):\n    {_reinstall()}"
            )
        else:
            yield f"torch is built for CUDA {torch.version.cuda} and cannot use the {card}: update the card's driver"
    if os.environ.get("OMP_WAIT_POLICY", "").lower() == "passive":
        yield "OMP_WAIT_POLICY=passive puts torch's threads to sleep between operations: unset it"
    if on_cpu and sys.platform == "linux" and _allocator() is None:
        yield (
            "a malloc that keeps freed memory can make training on a CPU faster: install tcmalloc (Debian: "
            "libtcmalloc-minimal4), start with LD_PRELOAD=libtcmalloc_minimal.so.4, and compare by scripts/benchmark"
        )
    if on_cpu and has_bfloat16():
        yield "this processor has bfloat16: --precision bf16 trains and draws faster, and rounds more"
    if torch.get_num_threads() > cores():
        yield f"torch takes {torch.get_num_threads()} threads and has {cores()} cores: give --threads {cores()}"
    if missing := [name for name, there in extras().items() if not there and name in ("curate", "measure")]:
        yield f"pip install 'animepggan[{','.join(missing)}]': a backbone for where the hub cannot be reached, and more"
    for name, folder in _folders().items():
        if _free(folder) < SCARCE:
            yield f"{name}: only {_free(folder) / 1e9:.1f} GB free at {folder}"


def _nvidia_card() -> str | None:
    """The name of the first NVIDIA card that its driver's own program finds here."""
    try:
        asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        names = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True).stdout.split("\n")
    except (OSError, subprocess.SubprocessError):
        return None
    return names[0].strip() or None


def _reinstall() -> str:
    """What puts a build of torch for NVIDIA cards in place of one for CPUs."""
    install = f"pip install torch torchvision --index-url {CUDA_INDEX}"
    if os.name == "nt":  # whose shells do not agree on how to join two commands, and where a wheel needs nothing else
        return f"{install} --force-reinstall --no-deps"
    return f"pip uninstall -y torch torchvision && {install}"


def extras() -> dict[str, bool]:
    """Which of the package's extras are installed whole; what only some Pythons want is not asked for."""
    found: dict[str, bool] = {}
    for line in requires("animepggan") or ():
        wanted = re.fullmatch(r"([\w.-]+)[^;]*;\s*extra\s*==\s*[\"']([\w-]+)[\"']", line)
        if wanted and wanted[2] not in ("test", "all"):
            there = any(distributions(name=wanted[1]))
            found[wanted[2]] = found.get(wanted[2], True) and there
    return found


def _allocator() -> str | None:
    """The file of an allocator other than the system's that this process has loaded."""
    maps = getattr(psutil.Process(), "memory_maps", list)  # macOS has none
    return next((each.path for each in maps() if any(name in Path(each.path).name for name in ALLOCATORS)), None)


def _folders() -> dict[str, Path]:
    from animepggan.disk import cache_folder

    home = os.environ.get("HF_HOME", "~/.cache/huggingface")
    hub = os.environ.get("HF_HUB_CACHE") or os.path.expanduser(f"{home}/hub")  # noqa: PTH111 (Path's may raise)
    return {"cache": cache_folder(), "hub's cache": Path(hub), "this folder": Path.cwd()}


def _free(folder: Path) -> float:
    """Bytes; of the nearest folder above that is there."""
    there = next(each for each in (folder, *folder.parents) if each.exists())
    return float(shutil.disk_usage(there).free)
