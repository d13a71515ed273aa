"""The committed chapters: text and notebook agree, every cell ran, no output stores an
error.
"""

import os
import shutil
import subprocess
import sys

import nbformat
import pytest

from tools import nb

CHAPTERS = nb.find_chapters([])


@pytest.mark.parametrize("text", CHAPTERS, ids=lambda p: p.stem)
def test_pair_is_fit_to_be_committed(text):
    assert nb.check(text) == []


def test_every_notebook_has_its_text():
    notebooks = {p.stem for p in nb.CHAPTERS.glob("*.ipynb")}
    assert notebooks == {p.stem for p in CHAPTERS}


@pytest.mark.parametrize("text", CHAPTERS, ids=lambda p: p.stem)
def test_every_cell_is_compared(text):
    tags = {
        tag
        for cell in nbformat.read(text.with_suffix(".ipynb"), 4).cells
        for tag in cell.metadata.get("tags", [])
    }
    assert not {t for t in tags if t.lower().startswith("nbval")}, (
        "a cell that nbval ignores proves nothing"
    )


def nbval(folder, cells):
    """Run nbval, as `make test` calls it, over one notebook of (source, stored output)
    cells; return its report.
    """
    made = [
        nbformat.v4.new_code_cell(source, execution_count=1, outputs=[output])
        for source, output in cells
    ]
    kernel = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(
        nbformat.v4.new_notebook(cells=made, metadata={"kernelspec": kernel}),
        folder / "n.ipynb",
    )
    options = [
        "--nbval",
        "--nbval-current-env",
        "--nbval-sanitize-with",
        nb.ROOT / "tests" / "nbval.cfg",
    ]
    command = [
        sys.executable,
        "-m",
        "pytest",
        *options,
        "-p",
        "no:cacheprovider",
        folder,
    ]
    shutil.copy(nb.ROOT / "conftest.py", folder)
    environment = os.environ | {"PYTHONPATH": str(nb.ROOT)}
    return subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=environment
    ).stdout


def stdout(text):
    return nbformat.v4.new_output("stream", name="stdout", text=text + "\n")


def test_nbval_notices_a_wrong_number_and_a_changed_listing(tmp_path):
    """The proof of the proof: what is stored differs from what is computed, and the run
    must fail.
    """
    listing = {"text/markdown": "```python\nold\n```", "text/plain": "old"}
    cells = [
        ("print(1 + 1)", stdout("3")),
        (
            "from happyllm_support import claims, files\n"
            "claims.show(files.atomic_write_text)",
            nbformat.v4.new_output("display_data", listing),
        ),
    ]
    report = nbval(tmp_path, cells)
    assert (
        "2 failed" in report and "book/troubleshooting.md#nbval-mismatch" in report
    ), report


def test_sanitizer_cuts_only_behind_the_word_measured(tmp_path):
    cells = [
        ("print('time: measured 4 s')", stdout("time: measured 3 s")),
        ("print('a: 9, measured 2')", stdout("a: 1, measured 2")),
    ]
    report = nbval(tmp_path, cells)
    assert "1 failed, 1 passed" in report, report
