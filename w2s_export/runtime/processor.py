"""The processor: its name, and the instructions that decide which engine is the fastest."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")
_FEATURES = {  # as people call them: a flag of the kernel
    "AVX2": "avx2",
    "AVX512": "avx512f",
    "AVX512-BF16": "avx512_bf16",
    "AMX": "amx_bf16",
}


@dataclass(frozen=True, slots=True)
class Processor:
    """What a measurement must say of its machine."""

    name: str
    features: tuple[str, ...]
    """Of AVX2, AVX512, AVX512-BF16 and AMX; empty where the system does not tell."""

    def __str__(self) -> str:
        """E.g. `Intel(R) Xeon(R) Processor (AVX2, AVX512)`."""
        return f"{self.name} ({', '.join(self.features)})" if self.features else self.name


@cache
def processor() -> Processor:
    """This machine's processor."""
    try:
        text = _CPU_INFO.read_text(encoding="utf-8", errors="replace")
    except OSError:  # macOS, Windows
        return Processor(platform.processor() or platform.machine(), ())
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.M)
    flags = re.search(r"^flags\s*:\s*(.+)$", text, re.M)
    there = set(flags[1].split()) if flags else set()
    features = tuple(feature for feature, flag in _FEATURES.items() if flag in there)
    return Processor(name[1].strip() if name else platform.machine(), features)
