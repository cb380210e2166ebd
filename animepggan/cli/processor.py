"""What this processor is called, and whether it has bfloat16."""

from __future__ import annotations

import platform
import re
from pathlib import Path


def has_bfloat16() -> bool:
    """Whether torch multiplies bfloat16 in hardware on this processor."""
    import torch

    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", _cpuinfo(), re.MULTILINE)
    told = flags is None or not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags.group(1).split())
    return told and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def name() -> str:
    """As its maker calls it, where that is told."""
    found = re.search(r"^model name\s*:\s*(.*)$", _cpuinfo(), re.MULTILINE)
    return found.group(1) if found else platform.processor() or platform.machine()


def _cpuinfo() -> str:
    """What Linux tells of the processor; empty elsewhere."""
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8") if path.is_file() else ""
