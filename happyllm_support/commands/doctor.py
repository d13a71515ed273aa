"""`happyllm doctor`: what this machine is, and what to do where something is wrong."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from happyllm_support.commands.output import format_bytes, format_table
from happyllm_support.machine.problems import Note, Problem, diagnose, notes
from happyllm_support.machine.report import GIB, MachineReport, inspect_machine
from happyllm_support.machine.versions import PackageVersion

VERDICTS = {
    "tested": "as tested",
    "newer": "newer than tested",
    "older": "older than tested",
    "accepted": "fits",
    "missing": "MISSING",
    "refused": "DOES NOT FIT",
}


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Describe this machine and say what to do about each problem (exit code 1 when
    there is one).
    """

    json: bool = False
    """Print the report as JSON."""

    def run(self) -> int:
        """Print the report; return 1 when there is a problem."""
        report = inspect_machine()
        problems, remarks = diagnose(report), notes(report)
        print(
            as_json(report, problems, remarks)
            if self.json
            else as_text(report, problems, remarks)
        )
        return 1 if problems else 0


def as_json(report: MachineReport, problems: list[Problem], remarks: list[Note]) -> str:
    """The report as one JSON object: the fields of `MachineReport`, `problems` (with
    `link`) and `notes`.
    """
    found = dataclasses.asdict(report)
    found["problems"] = [{**dataclasses.asdict(p), "link": p.link} for p in problems]
    found["notes"] = [dataclasses.asdict(note) for note in remarks]
    return json.dumps(found, ensure_ascii=False, indent=1)


def as_text(report: MachineReport, problems: list[Problem], remarks: list[Note]) -> str:
    """The report as plain text, the same on a terminal and in a pipe."""
    parts = [machine_table(report)]
    if report.packages:
        parts.append(package_table(report.packages))
    if remarks:
        parts.append("\n".join(f"note: {note.message}" for note in remarks))
    for problem in problems:
        parts.append(
            f"problem: {problem.message}\n   -> {problem.advice} (see {problem.link} "
            "in the book)"
        )
    parts.append(
        "no problems found"
        if not problems
        else f"{len(problems)} problem{'s' * (len(problems) > 1)} found"
    )
    return "\n\n".join(parts)


def machine_table(report: MachineReport) -> str:
    """One row for each part of the machine."""
    torch, cpu, memory, cache = report.torch, report.cpu, report.memory, report.cache
    threads = f"{torch.threads} thread{'s' * (torch.threads != 1)}"
    cores = f"{cpu.cores} cores" if cpu.cores != 1 else "1 core"
    rows = [
        ("Python", f"{report.python}  {report.executable}"),
        ("System", report.system),
        (
            "Torch",
            f"{torch.version}, {torch.build} build, {threads}"
            if torch.version
            else f"none ({torch.error})",
        ),
        ("CPU", f"{cpu.model}, {cores}, {cpu.usable} usable"),
        ("CPU features", " ".join(cpu.features) or "unknown"),
        ("Memory", f"{_gib(memory.total)}, {_gib(memory.available)} available"),
    ]
    rows += [
        ("GPU", f"{gpu.name} ({gpu.kind}), {_gib(gpu.memory_bytes)}")
        for gpu in report.gpus
    ] or [("GPU", "none")]
    rows += [
        ("Disk", f"{_gib(report.disk_free)} free for the cache"),
        (
            "Cache",
            f"{cache.path}, {format_bytes(cache.size_bytes)}, "
            f"{'' if cache.writable else 'NOT '}writable",
        ),
        ("Encoding", report.encoding),
        (
            "Checkout",
            report.checkout
            or "none (installed as a package; no tested pins to compare with)",
        ),
    ]
    return format_table(rows)


def package_table(packages: tuple[PackageVersion, ...]) -> str:
    """A row for each package that the core and the chapters need, and one for each
    other group.
    """
    rows = [("Package", "installed", "required", "tested", "")]
    groups = dict.fromkeys(p.group for p in packages)
    for group in groups:
        members = [p for p in packages if p.group == group]
        if group in ("core", "chapters"):
            rows += [
                (
                    p.name,
                    p.installed or "-",
                    p.required,
                    p.tested or "-",
                    VERDICTS[p.verdict],
                )
                for p in members
            ]
    for group in groups:
        if group not in ("core", "chapters"):
            members = [p for p in packages if p.group == group]
            counts = {
                verdict: sum(p.verdict == verdict for p in members)
                for verdict in VERDICTS
            }
            summary = ", ".join(
                f"{count} {VERDICTS[verdict]}"
                for verdict, count in counts.items()
                if count
            )
            rows.append((f"[{group}]", f"{len(members)} packages", "", "", summary))
    return format_table(rows)


def _gib(size: int | None) -> str:
    return "unknown" if size is None else f"{size / GIB:.1f} GiB"
