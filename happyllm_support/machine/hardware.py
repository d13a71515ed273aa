"""Processor, memory, accelerators and torch build of this machine, as far as this
process may use them.

Affinity and container limits are applied: what counts is what a training run would get.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CGROUP = Path("/sys/fs/cgroup")
CPU_FEATURES = {  # name in the report -> the flags (x86, then arm) that show it
    "avx2": ("avx2",),
    "avx512": ("avx512f",),
    "bf16": ("avx512_bf16", "bf16"),
    "amx": ("amx_tile",),
    "neon": ("asimd",),
    "sve": ("sve",),
    "i8mm": ("i8mm",),
}


@dataclass(frozen=True, kw_only=True)
class Cpu:
    """The processor, as far as this process may use it.

    Attributes:
        model: its name.
        cores: physical ones.
        logical: logical ones (with simultaneous multithreading).
        usable: logical ones that this process may use.
        features: those of `CPU_FEATURES`, which matter for speed.
    """

    model: str
    cores: int
    logical: int
    usable: int
    features: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Main memory: the machine's, or the container's where that is less.

    Attributes:
        total: bytes, None where it cannot be found out.
        available: bytes that can be had now.
    """

    total: int | None
    available: int | None


@dataclass(frozen=True, kw_only=True)
class TorchBuild:
    """The installed PyTorch, or why it cannot be used.

    Attributes:
        version: None where it cannot be imported.
        build: `CPU`, `CUDA 12.6` or `ROCm 6.2`.
        threads: that one operator uses (`torch.get_num_threads()`).
        error: why it cannot be imported; empty when it can.
        missing: not installed at all, as opposed to broken.
    """

    version: str | None = None
    build: str = ""
    threads: int | None = None
    error: str = ""
    missing: bool = False


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One accelerator that torch can use.

    Attributes:
        kind: `cuda`, `mps` or `xpu`.
        name: what it calls itself.
        memory_bytes: None where it shares the main memory.
    """

    kind: str
    name: str
    memory_bytes: int | None


def inspect_cpu() -> Cpu:
    """Describe the processor."""
    model, flags = _model_and_flags()
    return Cpu(
        model=model,
        cores=physical_cores(),
        logical=os.cpu_count() or 1,
        usable=usable_cores(),
        features=tuple(
            name for name, shown_by in CPU_FEATURES.items() if flags & set(shown_by)
        ),
    )


def inspect_memory() -> Memory:
    """Describe the main memory."""
    try:
        import psutil
    except ImportError:
        return Memory(total=None, available=None)
    machine = psutil.virtual_memory()
    total, available = int(machine.total), int(machine.available)
    limit = _number(CGROUP / "memory.max") or _number(
        CGROUP / "memory/memory.limit_in_bytes"
    )
    used = _number(CGROUP / "memory.current") or _number(
        CGROUP / "memory/memory.usage_in_bytes"
    )
    if limit is not None and used is not None and limit < total:
        reclaimable = re.search(
            r"^inactive_file (\d+)", read_or_empty(CGROUP / "memory.stat"), re.MULTILINE
        )
        free = limit - used + (int(reclaimable.group(1)) if reclaimable else 0)
        total, available = limit, min(available, max(0, free))
    return Memory(total=total, available=available)


def inspect_torch() -> tuple[TorchBuild, tuple[Gpu, ...]]:
    """Describe torch and its accelerators, or say why it cannot be imported."""
    try:
        with warnings.catch_warnings():
            # an old driver is a finding, not a line on stderr
            warnings.simplefilter("ignore")
            import torch

            cuda, hip = torch.version.cuda, torch.version.hip
            build = f"CUDA {cuda}" if cuda else f"ROCm {hip}" if hip else "CPU"
            found = TorchBuild(
                version=str(torch.__version__),
                build=build,
                threads=torch.get_num_threads(),
            )
            return found, _inspect_gpus(torch)
    except ModuleNotFoundError as error:
        return TorchBuild(error=_first_line(error), missing=error.name == "torch"), ()
    # a half-installed torch can raise anything, and a doctor must survive to say so
    except Exception as error:
        return TorchBuild(error=f"{type(error).__name__}: {_first_line(error)}"), ()


def _inspect_gpus(torch: Any) -> tuple[Gpu, ...]:
    if torch.cuda.is_available():
        found = [
            torch.cuda.get_device_properties(i)
            for i in range(torch.cuda.device_count())
        ]
        return tuple(
            Gpu(kind="cuda", name=p.name, memory_bytes=p.total_memory) for p in found
        )
    if torch.backends.mps.is_available():
        return (Gpu(kind="mps", name="Apple GPU", memory_bytes=None),)
    if torch.xpu.is_available():
        names = [torch.xpu.get_device_name(i) for i in range(torch.xpu.device_count())]
        return tuple(Gpu(kind="xpu", name=name, memory_bytes=None) for name in names)
    return ()


def physical_cores() -> int:
    """Count physical cores, or logical ones where only these are known."""
    try:
        import psutil
    except ImportError:
        return os.cpu_count() or 1
    return psutil.cpu_count(logical=False) or os.cpu_count() or 1


def usable_cores() -> int:
    """Count the logical cores of this process: affinity, and quota rounded up."""
    affinity = (
        len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1
    )
    quota = container_cores(CGROUP)
    return affinity if quota is None else min(affinity, quota)


def container_cores(cgroup: Path) -> int | None:
    """Return the quota of a cgroup (version 2 or 1) in whole cores, rounded up.

    None where it has none.
    """
    quota, _, period = read_or_empty(cgroup / "cpu.max").partition(" ")
    if not quota:
        quota = read_or_empty(cgroup / "cpu/cpu.cfs_quota_us")
        period = read_or_empty(cgroup / "cpu/cpu.cfs_period_us")
    if not quota.strip().isdigit() or not period.strip().isdigit():
        return None  # no limit ("max" or "-1"), or no such file
    return max(1, -(-int(quota) // int(period)))


def read_or_empty(path: Path) -> str:
    """Return the text of a system file, empty when it is not there."""
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = read_or_empty(path).strip()
    return int(text) if text.isdigit() else None


def _model_and_flags() -> tuple[str, set[str]]:
    info = read_or_empty(Path("/proc/cpuinfo"))
    if info:
        model = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
        flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", info, re.MULTILINE)
        name = model.group(1).strip() if model else platform.machine()
        return name, set(flags.group(1).split()) if flags else set()
    if sys.platform == "darwin":
        flags = set(_sysctl("machdep.cpu.leaf7_features").lower().split())
        if platform.machine() == "arm64":
            flags |= {"asimd"} | (
                {"bf16"} if _sysctl("hw.optional.arm.FEAT_BF16") == "1" else set[str]()
            )
        return _sysctl("machdep.cpu.brand_string") or platform.machine(), flags
    return platform.processor() or platform.machine(), set()


def _sysctl(name: str) -> str:
    try:
        result = subprocess.run(
            ["sysctl", "-n", name],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip()


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
