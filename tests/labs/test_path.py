"""The way of a learner: no points, a typical mistake, its name, the points; in the
terminal and in a notebook.
"""

import functools
import re
import shutil
from pathlib import Path

import nbclient
import nbformat
import pytest

from happyllm_support.cli import main
from happyllm_support.grading.grader import Grader

ROOT = Path(__file__).resolve().parent.parent.parent
SOLUTIONS = Path(__file__).parent / "solutions"

# lab, file, function -> a wrong one, a right one, and words of the diagnosis
WAYS = {
    ("01", "lab01_tokenizers", "merge"): (
        """
def merge(ids, pair, new):
    out = []
    for i in range(len(ids)):
        if tuple(ids[i : i + 2]) == pair:
            out.append(new)
        elif not (i and tuple(ids[i - 1 : i + 1]) == pair):
            out.append(ids[i])
    return out
""",
        """
def merge(ids, pair, new):
    out = []
    for token in ids:
        out.append(token)
        if tuple(out[-2:]) == pair:
            out[-2:] = [new]
    return out
""",
        "",
    ),
    ("03", "lab03_attention", "sdpa"): (
        """
import torch

def sdpa(q, k, v, mask=None, scale=None):
    scores = q @ k.transpose(-2, -1)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(-1) @ v
""",
        """
import torch

def sdpa(q, k, v, mask=None, scale=None):
    scores = q @ k.transpose(-2, -1) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(-1) @ v
""",
        "the scores are not divided by sqrt(head_dim)",
    ),
    ("05", "lab05_llama2", "rms_norm"): (
        """
import torch

def rms_norm(x, weight, eps=1e-5):
    wide = x.float()
    rms = wide.pow(2).mean(-1, keepdim=True).sqrt() + eps
    return (wide / rms).to(x.dtype) * weight
""",
        """
import torch

def rms_norm(x, weight, eps=1e-5):
    wide = x.float()
    root = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    return (wide * root).to(x.dtype) * weight
""",
        "root",
    ),
}


@pytest.fixture
def labs(tmp_path):
    """A copy of the labs as they come."""
    shutil.copytree(
        ROOT / "labs",
        tmp_path / "labs",
        ignore=shutil.ignore_patterns("__pycache__", ".progress*", "*.bak"),
    )
    for stub in (tmp_path / "labs" / ".stubs").glob("*.py"):
        folder = tmp_path / "labs" / stub.stem
        shutil.copyfile(stub, folder / f"{stub.stem.partition('_')[2]}.py")
    return tmp_path / "labs"


@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"lab{way[0]}")
def test_in_the_terminal(way, labs, capsys, launcher, monkeypatch):
    # Each call starts a process that starts those of the checks: here one for all.
    lent = functools.partial(Grader, launcher=launcher)
    monkeypatch.setattr("happyllm_support.grading.grader.Grader", lent)
    number, folder, name = way
    wrong, right, says = WAYS[way]
    file = labs / folder / f"{folder.partition('_')[2]}.py"

    def grade(what):
        assert main(["lab", "grade", what, "--labs", str(labs)]) == 0
        return " ".join(capsys.readouterr().out.split())

    shown = grade(number)
    assert (
        re.search(r" 0 of \d+ points", shown)
        and "NOT YET" in shown
        and "Open " in shown
        and "PASS" not in shown
    )
    stub = file.read_text("utf-8")
    file.write_text(stub + wrong, "utf-8")
    shown = grade(f"{number}.{name}")
    assert "FAIL" in shown and "This is what comes out when" in shown and says in shown
    file.write_text(stub + right, "utf-8")
    assert "PASS" in grade(f"{number}.{name}")
    whole = (SOLUTIONS / f"lab{number}.py").read_text("utf-8")
    file.write_text(whole, "utf-8")
    shown = grade(number)
    assert "Well done" in shown and "FAIL" not in shown


def test_in_a_notebook(labs):
    # Each check starts a process that starts that of the check: here one for all.
    one_launcher = (
        "from functools import partial\n"
        "from happyllm_support.grading import check, notebook, processes\n"
        "launcher = processes.Launcher()\n"
        "notebook.Grader = partial(notebook.Grader, launcher=launcher)"
    )
    cells = [one_launcher]
    for (number, _, name), (wrong, right, _) in WAYS.items():
        cells += [
            f"{code}\nprint(check('lab{number}.{name}', {name}))"
            for code in (wrong, right)
        ]
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells]
    )
    nbclient.NotebookClient(
        notebook, timeout=200, resources={"metadata": {"path": str(labs)}}
    ).execute()
    printed = [
        " ".join("".join(o.text for o in cell.outputs).split())
        for cell in notebook.cells[1:]
    ]
    for (number, _, name), wrong, right in zip(
        WAYS, printed[::2], printed[1::2], strict=True
    ):
        says = WAYS[number, f"{_}", name][2]
        assert (
            f"lab{number}.{name}: FAIL" in wrong
            and "This is what comes out when" in wrong
            and says in wrong
        )
        assert f"lab{number}.{name}: PASS" in right
