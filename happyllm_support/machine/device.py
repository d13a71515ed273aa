"""What this machine is, what is wrong with it for this course, and how many threads to
use on it.

Nothing here needs torch: where it is missing or broken, the report says so instead of
failing.
"""

from __future__ import annotations

import codecs
import os
import platform
import shutil
import sys
from collections.abc import Iterator
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
    physical_cores,
    usable_cores,
)
from happyllm_support.machine.versions import PackageVersion, checkout, package_versions

GIB = 1024**3
PYTHON_SUPPORTED = ("3.11", "3.12")
MEMORY_NEEDED = (
    2 * GIB
)  # a chapter's kernel with torch and a small model peaks below this
DISK_NEEDED = 2 * GIB  # wikitext-103 or GPT-2's weights, twice while they are unpacked

GROUP_PURPOSE = {
    "chapters": "chapters",
    "book": "rendering of the book (`make book`)",
    "test": "tests (`make test`)",
}

TROUBLESHOOTING = "troubleshooting.html"
CODES = (  # each is also the name of its section in the troubleshooting page
    "python-version",
    "torch-missing",
    "torch-version",
    "package-missing",
    "package-version",
    "little-memory",
    "little-disk",
    "cache-not-writable",
    "no-gpu",
    "threads",
    "not-utf8-terminal",
)


@dataclass(frozen=True, kw_only=True)
class DownloadFolder:
    """The folder for downloads (`HAPPYLLM_HOME`)."""

    path: str
    size_bytes: int
    writable: bool


@dataclass(frozen=True, kw_only=True)
class MachineReport:
    """Everything that `happyllm doctor` prints."""

    python: str
    executable: str
    system: str
    torch: TorchBuild
    cpu: Cpu
    memory: Memory
    gpus: tuple[Gpu, ...]
    unused_gpu: bool
    """An NVIDIA driver is present, but this torch cannot use it."""
    packages: tuple[PackageVersion, ...]
    checkout: str | None
    """The root of the checkout; None when the package is installed without one."""
    disk_free: int | None
    """Free bytes where the cache lies."""
    cache: DownloadFolder
    encoding: str
    """The encoding of standard output."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something that will stop or spoil the course on this machine, and what to do
    about it.
    """

    code: str
    """One of `CODES`."""
    message: str
    advice: str

    @property
    def link(self) -> str:
        """Where the book says more."""
        return f"{TROUBLESHOOTING}#{self.code}"


@dataclass(frozen=True, kw_only=True)
class Note:
    """Something worth knowing that stops nothing."""

    code: str
    """One of `CODES`."""
    message: str


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


def recommended_threads() -> int:
    """How many threads one torch process should use here: one for each physical core
    that this process may use.

    Matrix products gain nothing from a second thread on the same core, and more threads
    than cores slow one another.
    """
    return max(1, min(physical_cores(), usable_cores()))


def diagnose(report: MachineReport) -> list[Problem]:
    """Name what is wrong, each with one line of advice; an empty list means that the
    course can start.
    """
    return [
        *_python_problems(report),
        *_torch_problems(report),
        *_package_problems(report),
        *_resource_problems(report),
    ]


def notes(report: MachineReport) -> list[Note]:
    """Name what is worth knowing but stops nothing: no GPU, versions other than the
    tested ones, missing extras.
    """
    found: list[Note] = []
    if report.unused_gpu:
        found.append(
            Note(
                code="no-gpu",
                message="an NVIDIA GPU seems to be present, but this build of torch "
                "cannot use it; every chapter runs "
                "without one, and `make setup TORCH=cuda` changes the build",
            )
        )
    elif not report.gpus:
        found.append(
            Note(
                code="no-gpu",
                message="no GPU: every chapter runs without one (SCALE=cpu, the "
                "default)",
            )
        )
    for package in report.packages:
        if package.verdict in ("newer", "older"):
            text = (
                f"{package.name} {package.installed} is {package.verdict} than the "
                f"tested {package.tested}"
            )
            found.append(
                Note(
                    code="torch-version"
                    if package.name == "torch"
                    else "package-version",
                    message=text,
                )
            )
        elif package.verdict == "refused" and not _matters(report, package.group):
            text = (
                f"{package.name} {package.installed} does not fit; the "
                f"{package.group} need {package.required}"
            )
            found.append(Note(code="package-version", message=text))
    for group in ("chapters", "book", "test"):
        absent = [
            p.name
            for p in report.packages
            if p.group == group and p.verdict == "missing"
        ]
        if absent and not _matters(report, group):
            text = (
                f"not installed, needed only for the {GROUP_PURPOSE[group]}: "
                f"{', '.join(absent)}"
            )
            found.append(Note(code="package-missing", message=text))
    cores = min(report.cpu.cores, report.cpu.usable)
    if report.torch.threads is not None and report.torch.threads < cores:
        text = (
            f"torch uses {report.torch.threads} of {cores} cores; OMP_NUM_THREADS "
            "says how many"
        )
        found.append(Note(code="threads", message=text))
    return found


def _python_problems(report: MachineReport) -> Iterator[Problem]:
    if report.python.rpartition(".")[0] not in PYTHON_SUPPORTED:
        yield Problem(
            code="python-version",
            message=f"Python {report.python} is not supported; the course runs on "
            f"{' and '.join(PYTHON_SUPPORTED)}",
            advice=f"install Python {PYTHON_SUPPORTED[-1]} and make a new environment "
            "with it",
        )


def _torch_problems(report: MachineReport) -> Iterator[Problem]:
    torch = report.torch
    if torch.version is None:
        state = (
            "PyTorch is not installed"
            if torch.missing
            else f"PyTorch cannot be imported: {torch.error}"
        )
        yield Problem(
            code="torch-missing",
            message=state,
            advice=_install(report, "torch", "make setup TORCH=cpu"),
        )
    elif any(p.name == "torch" and p.verdict == "refused" for p in report.packages):
        required = next(p.required for p in report.packages if p.name == "torch")
        yield Problem(
            code="torch-version",
            message=f"PyTorch {torch.version} is too old; required is {required}",
            advice=_install(report, f"'{required}'", "make setup TORCH=cpu"),
        )
    usable = report.cpu.usable
    if torch.threads is not None and torch.threads > usable:
        yield Problem(
            code="threads",
            message=f"torch would use {torch.threads} threads on {usable} usable "
            "cores, where they slow one another",
            advice=f"export OMP_NUM_THREADS={max(1, min(report.cpu.cores, usable))}",
        )


def _package_problems(report: MachineReport) -> Iterator[Problem]:
    relevant = [
        p for p in report.packages if p.name != "torch" and _matters(report, p.group)
    ]
    missing = [
        p
        for p in relevant
        if p.verdict == "missing" and p.group in ("core", "chapters")
    ]
    if missing:
        yield Problem(
            code="package-missing",
            message=f"not installed: {', '.join(p.name for p in missing)}",
            advice=_install(
                report, " ".join(f"'{p.required}'" for p in missing), "make setup"
            ),
        )
    for package in relevant:
        if package.verdict == "refused":
            yield Problem(
                code="package-version",
                message=f"{package.name} {package.installed} does not fit; required "
                f"is {package.required}",
                advice=_install(report, f"'{package.required}'", "make setup"),
            )


def _resource_problems(report: MachineReport) -> Iterator[Problem]:
    available, free = report.memory.available, report.disk_free
    if available is not None and available < MEMORY_NEEDED:
        yield Problem(
            code="little-memory",
            message=f"only {available / GIB:.1f} GiB of memory free; a chapter may "
            f"need {MEMORY_NEEDED // GIB} GiB",
            advice="close other programs, or give the container or virtual machine "
            "more memory",
        )
    if free is not None and free < DISK_NEEDED:
        yield Problem(
            code="little-disk",
            message=f"only {free / GIB:.1f} GiB free at {report.cache.path}; "
            f"downloads need {DISK_NEEDED // GIB} GiB",
            advice="free space, or set HAPPYLLM_HOME to a folder on a larger disk",
        )
    if not report.cache.writable:
        yield Problem(
            code="cache-not-writable",
            message=f"the cache folder {report.cache.path} cannot be written",
            advice="set HAPPYLLM_HOME to a folder that you may write, such as "
            "~/happyllm",
        )
    if not _is_utf8(report.encoding):
        yield Problem(
            code="not-utf8-terminal",
            message=f"the terminal's encoding is {report.encoding}; Chinese text will "
            "appear as \\u escapes",
            advice="export PYTHONUTF8=1, or choose a UTF-8 locale such as C.UTF-8",
        )


def _matters(report: MachineReport, group: str) -> bool:
    """Whether a package of this group is needed here: the core everywhere, the extras
    only in a checkout.
    """
    return group == "core" or (report.checkout is not None and group == "chapters")


def _install(report: MachineReport, packages: str, target: str) -> str:
    return f"run `{target}`" if report.checkout else f"run `pip install {packages}`"


def _is_utf8(encoding: str) -> bool:
    try:
        return codecs.lookup(encoding).name == "utf-8"
    except LookupError:
        return False


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
