"""The record of the benchmarks: `results.json`, the machine it was taken on, and the
table for the book.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.compare import Comparison, Measurement
from happyllm_support.files import atomic_write_json, atomic_write_text

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results.json"
TABLE = ROOT / "book" / "benchmarks_table.md"
LIBRARIES = ("numpy", "torch", "regex", "tokenizers", "tiktoken")


def hardware() -> dict[str, Any]:
    """Describe this machine: processor, cores, memory, Python and the libraries
    compared.
    """
    versions: dict[str, str] = {}
    for library in LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            versions[library] = "absent"
    return {
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
    }


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def as_row(comparison: Comparison, measured: Measurement) -> dict[str, Any]:
    """A row of `results.json`; figures are rounded to four significant digits."""
    row = {
        "row": comparison.name,
        "workload": measured.workload,
        "peer": measured.peer,
        "ours": _round(measured.ours),
        "theirs": _round(measured.theirs),
        "unit": measured.unit,
        "ratio": _round(measured.ratio),
        "floor": comparison.floor,
        "equal": measured.equal,
        "threads": comparison.threads,
        "date": date.today().isoformat(),
    }
    return row | ({"note": measured.note} if measured.note else {})


def load(path: Path = RESULTS) -> dict[str, Any]:
    """Read the results, or an empty record where there are none yet."""
    if not path.exists():
        return {"hardware": {}, "rows": []}
    return json.loads(path.read_text(encoding="utf-8"))


def merge(
    old: dict[str, Any],
    rows: Sequence[dict[str, Any]],
    machine: dict[str, Any],
    order: Sequence[str],
) -> dict[str, Any]:
    """Replace the rows that were measured and keep the others, which remember the
    machine they were measured on.

    Args:
        old: the results so far.
        rows: the rows just measured.
        machine: what they were measured on; becomes the record's.
        order: names of all rows there are; rows of other names are forgotten.
    """
    kept = {row["row"]: row for row in old["rows"]}
    if old["hardware"] and old["hardware"] != machine:
        kept = {name: {"hardware": old["hardware"]} | row for name, row in kept.items()}
    for row in kept.values():
        if row.get("hardware") == machine:
            del row["hardware"]
    kept |= {row["row"]: row for row in rows}
    return {"hardware": machine, "rows": [kept[name] for name in order if name in kept]}


def save(results: dict[str, Any], path: Path = RESULTS, table: Path = TABLE) -> None:
    """Write the results and the book's table, each whole or not at all."""
    atomic_write_json(path, results)
    atomic_write_text(table, markdown_table(results))


def markdown_table(results: dict[str, Any]) -> str:
    """The table that the book includes, in Markdown."""
    lines = [
        "| row | workload | ours | peer | ratio | floor | same output |",
        "|:--|:--|--:|:--|--:|--:|:-:|",
    ]
    notes: list[str] = []
    for row in results["rows"]:
        unit = row["unit"]
        cells = (
            row["row"],
            row["workload"],
            f"{number(row['ours'])} {unit}",
            f"{row['peer']}: {number(row['theirs'])} {unit}",
            f"**{number(row['ratio'])}**",
            number(row["floor"]),
            "yes" if row["equal"] else "**no**",
        )
        lines.append(
            "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"
        )
        if "note" in row:
            notes.append(f"- *{row['row']}*: {row['note']}")
        if "hardware" in row:
            notes.append(
                f"- *{row['row']}* was measured on another machine: "
                f"{describe(row['hardware'])}, {row['date']}."
            )
    machine = (
        [f"Measured on: {describe(results['hardware'])}."]
        if results["hardware"]
        else ["Nothing measured yet."]
    )
    return "\n".join([*lines, "", *machine, *([""] if notes else []), *notes]) + "\n"


def describe(machine: dict[str, Any]) -> str:
    """One line about a machine."""
    libraries = ", ".join(
        f"{name} {number}" for name, number in machine["versions"].items()
    )
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory']}, "
        f"{machine['system']}, "
        f"Python {machine['python']}, {libraries}"
    )


def number(value: float) -> str:
    """A figure with at most three significant digits, and thousands separated: 0.312,
    15.4, 8,190.
    """
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 1000 else f"{rounded:g}"


def _round(value: float) -> float:
    return float(f"{value:.4g}")
