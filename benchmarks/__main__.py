"""`python -m benchmarks [FILTER...]`: run comparisons, write results and table, and say
what missed its floor.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import results
from benchmarks.compare import Comparison

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "RAYON_NUM_THREADS",
)


def main() -> int:
    """Run what was asked for; 0 if every row is equal and reaches its floor, 1 if not,
    2 for a mistake in the call.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "filters",
        nargs="*",
        metavar="FILTER",
        help="run rows whose name contains one of these",
    )
    home = os.environ.get("HAPPYLLM_HOME", "~/.cache/happyllm")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(home),
        help="folder with the real files (default: %(default)s)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="measure and print, but write nothing"
    )
    parser.add_argument(
        "--list", action="store_true", help="print the rows and what they need"
    )
    parser.add_argument("--measure", help=argparse.SUPPRESS)  # one row, in this process
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.data = options.data.expanduser()
    if options.measure:
        return measure(options.measure, options.data, options.out)

    from benchmarks.rows import COMPARISONS

    if options.list:
        for comparison in COMPARISONS:
            print(comparison.name, *comparison.needs)
        return 0
    chosen = [
        c
        for c in COMPARISONS
        if not options.filters or any(f in c.name for f in options.filters)
    ]
    if not chosen:
        names = ", ".join(c.name for c in COMPARISONS)
        print(
            f"benchmarks: error: no row matches {' '.join(options.filters)!r}; there "
            f"are {names}",
            file=sys.stderr,
        )
        return 2
    rows: list[dict[str, Any]] = []
    for comparison in chosen:
        missing = [
            name for name in comparison.needs if not (options.data / name).exists()
        ]
        if missing:
            print(
                f"{comparison.name}: skipped, {options.data} has no "
                f"{', '.join(missing)}; its old result is kept"
            )
            continue
        print(f"{comparison.name} ...", flush=True)
        rows.append(run_alone(comparison, options.data))
        if (
            not options.dry_run
        ):  # after every row, so that an interruption loses one row at most
            order = [c.name for c in COMPARISONS]
            results.save(
                results.merge(results.load(), [rows[-1]], results.hardware(), order)
            )
    print_table(rows)
    return (
        0 if all(row["equal"] and row["ratio"] >= row["floor"] for row in rows) else 1
    )


def run_alone(comparison: Comparison, data: Path) -> dict[str, Any]:
    """Measure one row in a fresh process whose thread limits hold from its first
    import.
    """
    limits = dict.fromkeys(THREAD_VARIABLES, str(comparison.threads))
    parallel = {"TOKENIZERS_PARALLELISM": "true" if comparison.threads > 1 else "false"}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "row.json"
        command = [
            sys.executable,
            "-m",
            "benchmarks",
            "--measure",
            comparison.name,
            "--data",
            str(data),
            "--out",
            str(out),
        ]
        subprocess.run(
            command, env=os.environ | limits | parallel, cwd=results.ROOT, check=True
        )
        return json.loads(out.read_text(encoding="utf-8"))


def measure(name: str, data: Path, out: Path) -> int:
    """Measure the row `name` here and write it to `out`."""
    from benchmarks.rows import COMPARISONS

    comparison = next(c for c in COMPARISONS if c.name == name)
    out.write_text(
        json.dumps(results.as_row(comparison, comparison.measure(data))),
        encoding="utf-8",
    )
    return 0


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print the rows just measured."""
    table = Table(
        "row", "workload", "peer", "ours", "theirs", "ratio", "floor", "same output"
    )
    for row in rows:
        reached = "green" if row["ratio"] >= row["floor"] else "red"
        table.add_row(
            row["row"],
            row["workload"],
            row["peer"],
            f"{results.number(row['ours'])} {row['unit']}",
            f"{results.number(row['theirs'])} {row['unit']}",
            f"[{reached}]{results.number(row['ratio'])}[/]",
            results.number(row["floor"]),
            "yes" if row["equal"] else "[red]no[/]",
        )
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    for row in rows:
        if "note" in row:
            console.print(f"{row['row']}: {row['note']}", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
