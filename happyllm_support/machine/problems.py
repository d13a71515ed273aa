"""What is wrong with this machine for the course, and what to do about it."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass

from happyllm_support.machine.report import GIB, MachineReport

PYTHON_SUPPORTED = ("3.11", "3.12")
# A chapter's kernel with torch and a small model peaks below this.
MEMORY_NEEDED = 2 * GIB
# Wikitext-103 or GPT-2's weights, twice while they are unpacked.
DISK_NEEDED = 2 * GIB

GROUP_PURPOSE = {
    "chapters": "chapters",
    "book": "rendering of the book (`make book`)",
    "test": "tests (`make test`)",
}

TROUBLESHOOTING = "troubleshooting.html"
# Each is also the name of its section in the troubleshooting page.
CODES = (
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
class Problem:
    """Something that will stop or spoil the course on this machine.

    Attributes:
        code: one of `CODES`.
        message: what is wrong.
        advice: what to do about it.
    """

    code: str
    message: str
    advice: str

    @property
    def link(self) -> str:
        """Where the book says more."""
        return f"{TROUBLESHOOTING}#{self.code}"


@dataclass(frozen=True, kw_only=True)
class Note:
    """Something worth knowing that stops nothing.

    Attributes:
        code: one of `CODES`.
        message: what it is.
    """

    code: str
    message: str


def diagnose(report: MachineReport) -> list[Problem]:
    """Name what is wrong, each with one line of advice; nothing when all is well."""
    return [
        *_python_problems(report),
        *_torch_problems(report),
        *_package_problems(report),
        *_resource_problems(report),
    ]


def notes(report: MachineReport) -> list[Note]:
    """Name what stops nothing: no GPU, versions not tested, missing extras."""
    return [*_gpu_notes(report), *_package_notes(report), *_thread_notes(report)]


def _gpu_notes(report: MachineReport) -> Iterator[Note]:
    if report.unused_gpu:
        yield Note(
            code="no-gpu",
            message="an NVIDIA GPU seems to be present, but this build of torch cannot "
            "use it; every chapter runs without one, and `make setup TORCH=cuda` "
            "changes the build",
        )
    elif not report.gpus:
        text = "no GPU: every chapter runs without one (SCALE=cpu, the default)"
        yield Note(code="no-gpu", message=text)


def _package_notes(report: MachineReport) -> Iterator[Note]:
    for package in report.packages:
        about = f"{package.name} {package.installed}"
        if package.verdict in ("newer", "older"):
            code = "torch-version" if package.name == "torch" else "package-version"
            text = f"{about} is {package.verdict} than the tested {package.tested}"
            yield Note(code=code, message=text)
        elif package.verdict == "refused" and not _matters(report, package.group):
            text = f"{about} does not fit; the {package.group} need {package.required}"
            yield Note(code="package-version", message=text)
    for group, purpose in GROUP_PURPOSE.items():
        absent = [
            package.name
            for package in report.packages
            if package.group == group and package.verdict == "missing"
        ]
        if absent and not _matters(report, group):
            names = ", ".join(absent)
            text = f"not installed, needed only for the {purpose}: {names}"
            yield Note(code="package-missing", message=text)


def _thread_notes(report: MachineReport) -> Iterator[Note]:
    threads, cores = report.torch.threads, min(report.cpu.cores, report.cpu.usable)
    if threads is not None and threads < cores:
        text = f"torch uses {threads} of {cores} cores; OMP_NUM_THREADS says how many"
        yield Note(code="threads", message=text)


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
        state = f"PyTorch cannot be imported: {torch.error}"
        if torch.missing:
            state = "PyTorch is not installed"
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
    """Whether a group of packages is needed here: the extras only in a checkout."""
    return group == "core" or (report.checkout is not None and group == "chapters")


def _install(report: MachineReport, packages: str, target: str) -> str:
    return f"run `{target}`" if report.checkout else f"run `pip install {packages}`"


def _is_utf8(encoding: str) -> bool:
    try:
        return codecs.lookup(encoding).name == "utf-8"
    except LookupError:
        return False
