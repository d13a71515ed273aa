"""Everything that is known about this machine, in one report.

Nothing here needs torch: where it is missing or broken, the report says so instead of
failing.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from happyllm_support.files import home
from happyllm_support.machine.hardware import (
    Cpu,
    Gpu,
    Memory,
    TorchBuild,
    inspect_cpu,
    inspect_memory,
    inspect_torch,
)
from happyllm_support.machine.versions import PackageVersion, checkout, package_versions

GIB = 1024**3


@dataclass(frozen=True, kw_only=True)
class DownloadFolder:
    """The folder for downloads (`HAPPYLLM_HOME`).

    Attributes:
        path: where it is or will be.
        size_bytes: of all files in it.
        writable: whether this process may write there.
    """

    path: str
    size_bytes: int
    writable: bool


@dataclass(frozen=True, kw_only=True)
class MachineReport:
    """Everything that `happyllm doctor` prints.

    Attributes:
        python: its version.
        executable: its path.
        system: name, release and architecture.
        torch: the installed build.
        cpu: the processor.
        memory: main memory.
        gpus: accelerators that torch can use.
        unused_gpu: an NVIDIA driver is present, but this torch cannot use it.
        packages: what is required beside what is installed.
        checkout: its root; None when the package is installed without one.
        disk_free: bytes where the cache lies; None where it cannot be found out.
        cache: the folder for downloads.
        encoding: of standard output.
    """

    python: str
    executable: str
    system: str
    torch: TorchBuild
    cpu: Cpu
    memory: Memory
    gpus: tuple[Gpu, ...]
    unused_gpu: bool
    packages: tuple[PackageVersion, ...]
    checkout: str | None
    disk_free: int | None
    cache: DownloadFolder
    encoding: str


def inspect_machine() -> MachineReport:
    """Look at this machine. Writes nothing; imports torch if that can be imported."""
    torch_build, gpus = inspect_torch()
    cache = _inspect_cache()
    root = checkout()
    driver = (
        Path("/proc/driver/nvidia/version").exists()
        or shutil.which("nvidia-smi") is not None
    )
    return MachineReport(
        python=platform.python_version(),
        executable=sys.executable,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        torch=torch_build,
        cpu=inspect_cpu(),
        memory=inspect_memory(),
        gpus=gpus,
        unused_gpu=driver and not gpus,
        packages=package_versions(),
        checkout=str(root) if root else None,
        disk_free=_disk_free(Path(cache.path)),
        cache=cache,
        encoding=sys.stdout.encoding or "unknown",
    )


def _inspect_cache() -> DownloadFolder:
    path = home()
    size = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                size += os.lstat(os.path.join(folder, name)).st_size
            except OSError:
                continue  # removed while we look
    existing = _existing_parent(path)
    writable = existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
    return DownloadFolder(path=str(path), size_bytes=size, writable=writable)


def _disk_free(path: Path) -> int | None:
    try:
        return shutil.disk_usage(_existing_parent(path)).free
    except OSError:
        return None


def _existing_parent(path: Path) -> Path:
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
