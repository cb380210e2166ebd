"""What the processor can do, as far as it decides what to advise and to warn of."""

from __future__ import annotations

import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING

from animepggan.cli.common import Console

if TYPE_CHECKING:
    import torch


def warn_where_emulated(console: Console, precision: str, device: torch.device) -> None:
    """Warn where `precision` "bf16" would be slower than fp32, not faster."""
    if precision == "bf16" and device.type == "cpu" and not has_bfloat16():
        console.warn("this processor has no bfloat16: --precision bf16 is emulated, several times slower than fp32")


def has_bfloat16() -> bool:
    """Whether torch multiplies bfloat16 in hardware on this processor."""
    import torch

    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and _flag("avx512_bf16", "amx_bf16", "bf16")


def name() -> str:
    """As its maker calls it, where that is told."""
    found = re.search(r"^model name\s*:\s*(.*)$", _cpuinfo(), re.MULTILINE)
    return found.group(1) if found else platform.processor() or platform.machine()


def _cpuinfo() -> str:
    """What Linux tells of the processor; empty elsewhere."""
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _flag(*names: str) -> bool:
    """Whether the processor says that it has one of these; True where it does not say what it has."""
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", _cpuinfo(), re.MULTILINE)
    return found is None or not set(names).isdisjoint(found.group(1).split())
