"""Keep chapters and their notebooks together:
`python tools/nb.py sync|run|format|check [CHAPTER ...]`.

`chapters/NN_name.md` (MyST) is what people edit. `chapters/NN_name.ipynb` beside it
holds the same cells and their outputs, and only this program writes it:

- `sync` takes over the text; outputs stay as long as no code cell has changed, and are
  dropped when one has.
- `run` executes chapters from the top and stores the outputs; `--missing` only those
  that have no valid ones.
- `format` lays out the code cells of the text as `ruff format` lays out a module.
- `check` names every pair that is out of step, every cell that never ran, every stored
  error.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from traitlets.config import Config

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from happyllm_support.experiments import chosen_scale  # noqa: E402  (the root is not on the path of a script)
from tools import kernel_env  # noqa: E402

CHAPTERS = ROOT / "chapters"
MAX_BYTES = 1_500_000
# Written by kernels and editors, and no part of the text.
VOLATILE_METADATA = {"execution", "trusted", "collapsed"}
LANGUAGE = {"name": "python"}


class NotebookError(Exception):
    """A problem in a chapter or in what was asked for; its text is what to print."""


def find_chapters(names: list[str]) -> list[Path]:
    """The chapters' text files: all of them, or those whose number (1, 01) or beginning
    (01_tok) is named.
    """
    everything = sorted(CHAPTERS.glob("[0-9][0-9]_*.md"))
    chosen: list[Path] = []
    for name in names:
        stem = name.zfill(2) if name.isdigit() else Path(name).stem
        matches = [p for p in everything if p.stem.startswith(stem)]
        if not matches:
            known = ", ".join(p.stem for p in everything) or "none"
            raise NotebookError(f"no chapter {name!r}; there are: {known}")
        chosen += matches
    return list(dict.fromkeys(chosen)) if names else everything


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The code cells of a notebook, in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def read_pair(text: Path) -> tuple[NotebookNode, NotebookNode | None]:
    """The notebook that the text describes, and the stored one with outputs."""
    path = text.with_suffix(".ipynb")
    stored = nbformat.read(path, as_version=4) if path.exists() else None
    return jupytext.read(text), stored


def merge(text: Path) -> NotebookNode:
    """The text's cells with the stored outputs, or without any when a code cell
    differs.

    A changed cell may change what every later cell prints, and an earlier one has been
    run with a kernel that has since ended: outputs are therefore kept all or not at
    all.
    """
    notebook, stored = read_pair(text)
    seen: Counter[str] = Counter()
    for cell in notebook.cells:
        # ids that depend on the text alone, so that diffs stay small
        kind_and_source = f"{cell.cell_type}\n{cell.source}".encode()
        digest = hashlib.sha256(kind_and_source).hexdigest()[:8]
        seen[digest] += 1
        cell["id"] = f"{digest}-{seen[digest]}"
    ours, theirs = code_cells(notebook), code_cells(stored) if stored else []
    if [c.source for c in ours] == [c.source for c in theirs]:
        for cell, old in zip(ours, theirs, strict=True):
            cell.outputs, cell.execution_count = old.outputs, old.execution_count
    kernel = notebook.metadata.get("kernelspec")
    if kernel is None:
        raise NotebookError(
            f"{text.name} names no kernelspec in its header; copy the header of "
            "another chapter"
        )
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": kernel, "language_info": LANGUAGE}
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def write(notebook: NotebookNode, path: Path) -> bool:
    """Store a notebook when it differs from the file; returns whether it did."""
    content = nbformat.writes(notebook, version=4) + "\n"
    if path.exists() and path.read_text("utf-8") == content:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(content, "utf-8")
    os.replace(temporary, path)
    return True


def sync(text: Path) -> None:
    """Take the text of a chapter over into its notebook."""
    if write(merge(text), text.with_suffix(".ipynb")):
        print(f"{text.stem}: notebook updated")


def format_cells(text: Path) -> None:
    """Lay out the code cells of a chapter's text with `ruff format`.

    Raises:
        NotebookError: a cell that is not Python.
    """
    notebook = jupytext.read(text)
    name = str(text.with_suffix(".ipynb"))
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--stdin-filename", name, "-"],
        input=nbformat.writes(notebook),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise NotebookError(f"{text.name}: {done.stderr.strip()}")
    before, at = text.read_text("utf-8"), 0
    content = before
    formatted = code_cells(nbformat.reads(done.stdout, as_version=4))
    for old, new in zip(code_cells(notebook), formatted, strict=True):
        at = content.index(f"\n{old.source}\n```", at) + 1
        content = content[:at] + new.source + content[at + len(old.source) :]
        at += len(new.source)
    if content != before:
        text.write_text(content, "utf-8")
        print(f"{text.stem}: code cells formatted")


def run(text: Path, timeout: int) -> None:
    """Execute a chapter from the top and store its outputs; with SCALE=gpu under
    build/gpu, else beside the text.

    Raises:
        NotebookError: a cell failed; the message shows it. The stored notebook stays as
            it was.
    """
    notebook = merge(text)
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    print(f"{text.stem} ...", end=" ", flush=True)
    start = time.perf_counter()
    resources = {"metadata": {"path": str(text.parent)}}
    options: dict[str, Any] = {
        "record_timing": False,
        "store_widget_state": False,
        "kernel_name": "python3",
    }
    # Without encryption the kernel warns about its open port, on every run.
    options["config"] = Config({"KernelManager": {"transport_encryption": "auto"}})
    try:
        NotebookClient(
            notebook, timeout=timeout, resources=resources, **options
        ).execute()
    except (CellExecutionError, TimeoutError) as error:
        print(f"failed after {time.perf_counter() - start:.1f} s", flush=True)
        raise NotebookError(f"{text.name}: {str(error).strip()}") from None
    print(f"{time.perf_counter() - start:.1f} s", flush=True)
    for cell in notebook.cells:
        for name in VOLATILE_METADATA & set(cell.metadata):
            del cell.metadata[name]
    notebook.metadata["language_info"] = LANGUAGE
    for problem in find_problems(notebook, text.stem):
        raise NotebookError(problem)
    write(
        notebook,
        (ROOT / "build" / "gpu" / "chapters" if wants_gpu() else text.parent)
        / f"{text.stem}.ipynb",
    )


def wants_gpu() -> bool:
    """Whether SCALE asks for chapters at GPU size."""
    try:
        return chosen_scale() == "gpu"
    except ValueError as error:
        raise NotebookError(str(error)) from None


def check(text: Path) -> list[str]:
    """Every reason for which this pair may not be committed, one line each."""
    described, stored = read_pair(text)
    if stored is None:
        return [
            f"{text.name}: no notebook beside it (make execute CHAPTER={text.stem[:2]})"
        ]
    problems: list[str] = []
    if _comparable(described) != _comparable(stored):
        problems.append(
            f"{text.stem}: text and notebook differ (make execute "
            f"CHAPTER={text.stem[:2]})"
        )
    problems += find_problems(stored, text.stem)
    size = text.with_suffix(".ipynb").stat().st_size
    if size > MAX_BYTES:
        problems.append(
            f"{text.stem}: the notebook has {size:,} bytes, more than {MAX_BYTES:,}"
        )
    return problems


def find_problems(notebook: NotebookNode, name: str) -> list[str]:
    """What makes the outputs of a notebook unfit, one line each."""
    problems: list[str] = []
    for number, cell in enumerate(code_cells(notebook), 1):
        tags, where = cell.metadata.get("tags", []), f"{name}: code cell {number}"
        mime = [kind for output in cell.outputs for kind in output.get("data", {})]
        if cell.execution_count is None and "skip-execution" not in tags:
            problems.append(f"{where} has never been run, nbval would pass it unseen")
        if "raises-exception" not in tags and any(
            o.output_type == "error" for o in cell.outputs
        ):
            problems.append(f"{where} stores an error")
        if any(o.get("name") == "stderr" for o in cell.outputs):
            problems.append(
                f"{where} wrote to stderr (a warning or a progress bar), which differs "
                "between machines"
            )
        if any(kind.startswith("application/vnd.jupyter.widget") for kind in mime):
            problems.append(
                f"{where} stores a widget, which pulls scripts from the network into "
                "the book"
            )
        if cell.source.rstrip().endswith(";"):
            problems.append(f"{where} ends in ';', which nbval does not honour")
    return problems


def main(arguments: list[str] | None = None) -> int:
    """Run one verb over chapters; 0 when all is well, 1 for problems in chapters, 2 for
    a wrong call.
    """
    parser = argparse.ArgumentParser(prog="nb", description=__doc__.splitlines()[0])
    parser.add_argument("verb", choices=["sync", "run", "format", "check"])
    parser.add_argument(
        "chapters", nargs="*", help="number or name, for example 01; all without one"
    )
    parser.add_argument(
        "--missing",
        action="store_true",
        help="run: only chapters without valid outputs",
    )
    parser.add_argument(
        "--timeout", type=int, default=1200, help="run: seconds allowed per cell"
    )
    options = parser.parse_args(arguments)
    try:
        chapters = find_chapters(options.chapters)
        if options.verb == "check":
            problems = [line for text in chapters for line in check(text)]
            print(
                "\n".join(problems)
                or f"{len(chapters)} chapters: text and outputs agree"
            )
            if problems:
                print("see book/troubleshooting.md#out-of-sync")
            return int(bool(problems))
        if options.verb in ("sync", "format"):
            for text in chapters:
                sync(text) if options.verb == "sync" else format_cells(text)
            return 0
        wants_gpu()  # a wrong SCALE is refused before the first chapter runs
        kernel_env.apply()
        for text in chapters:
            if options.missing and not find_problems(merge(text), text.stem):
                sync(text)
                continue
            run(text, options.timeout)
    except NotebookError as error:
        print(f"nb: error: {error}", file=sys.stderr)
        return 1
    return 0


def _comparable(notebook: NotebookNode) -> list[tuple[str, str, dict[str, Any]]]:
    """What must be the same on both sides: kind, source and lasting metadata of each
    cell.
    """
    return [
        (
            c.cell_type,
            c.source.rstrip("\n"),
            {k: v for k, v in c.metadata.items() if k not in VOLATILE_METADATA},
        )
        for c in notebook.cells
    ]


if __name__ == "__main__":
    sys.exit(main())
