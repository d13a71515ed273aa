"""What the pages on the labs say is so: the list, the example, the complete lab for
teachers, the commands.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from happyllm_support import cli
from happyllm_support.grading import reading
from happyllm_support.grading.grader import Grader
from happyllm_support.grading.grader import Solution as Code
from happyllm_support.grading.judge import Status, judge_locally
from happyllm_support.grading.labs import Lab, load_lab
from happyllm_support.grading.processes import Launcher
from happyllm_support.grading.report import facts
from tools import labs as tool

ROOT = tool.ROOT
LABS = ROOT / "book" / "labs.md"
TEACHERS = ROOT / "book" / "teachers.md"
SOLVED = (
    "import torch\n\n\ndef unit_rows(x):\n    return x / torch.sqrt((x * "
    "x).sum(1))[:, None]\n"
)


def test_the_list_of_labs_is_that_of_the_folder() -> None:
    """`python tools/labs.py stubs` writes it."""
    path = ROOT / tool.TABLE
    assert path.read_bytes() == tool.expected(ROOT)[path], (
        "out of date: python tools/labs.py stubs"
    )
    assert "{include} labs_table.md" in LABS.read_text("utf-8")


def test_the_example_of_a_diagnosis_is_what_one_sees(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The block of the page, line ends aside, comes from the mistake that it shows."""
    lab = load_lab(ROOT / "labs", "03")
    says = "the scores are not divided by sqrt(head_dim)"
    (mistake,) = [mutant for mutant in lab.mutants_of("sdpa") if mutant.says == says]
    monkeypatch.setattr(
        reading, "BOOK", Path("nowhere")
    )  # no line with the path of the rendered page
    seen = facts(lab, judge_locally(lab, "sdpa", mistake.code))
    shown = re.search(
        r"^```text\n(lab03.sdpa: FAIL\n.*?)^```",
        LABS.read_text("utf-8"),
        re.MULTILINE | re.DOTALL,
    )
    assert shown and shown[1].split() == [
        "lab03.sdpa:",
        "FAIL",
        *" ".join(f"{a} {b}" for a, b in seen).split(),
    ]


@pytest.fixture
def tiny(tmp_path: Path) -> Lab:
    """The complete lab of the page for teachers, written where it says."""
    listings = r"^```\{code-block\} python\n:caption: (\S+)\n(.*?)^```"
    files = re.findall(listings, TEACHERS.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert [Path(name).name for name, _ in files] == [
        "vectors.py",
        "reference.py",
        "checks.py",
        "mutants.py",
    ]
    for name, text in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    return load_lab(tmp_path / "labs", "16")


def test_the_complete_lab_tells_right_from_wrong(tiny: Lab) -> None:
    """The reference passes, each wrong variant fails under its own name."""
    assert (
        judge_locally(tiny, "unit_rows", tiny.reference["unit_rows"]).status
        is Status.PASS
    )
    assert len(tiny.mutants) == 3
    for mutant in tiny.mutants:
        verdict = judge_locally(tiny, "unit_rows", mutant.code)
        assert (
            verdict.status is Status.FAIL
            and verdict.diagnosis
            and verdict.diagnosis.mutant is mutant
        )


def test_the_complete_lab_is_graded_as_any_other(tiny: Lab, launcher: Launcher) -> None:
    """In a process of its own: the stub, a right solution, and the shortcut that the
    page forbids.
    """
    shortcut = (
        "import torch\n\n\ndef unit_rows(x):\n    return "
        "torch.nn.functional.normalize(x, dim=-1)\n"
    )
    grader = Grader(tiny.folder.parent, launcher=launcher)
    assert grader.grade(tiny).verdicts[0].status is Status.NOT_YET
    assert grader.grade(tiny, Code(source=SOLVED, filename="a.py")).points == 2
    refused = grader.grade(tiny, Code(source=shortcut, filename="b.py"))
    assert refused.verdicts[0].status is Status.FAIL


def test_its_stub_and_its_entry_in_the_list_are_kept(
    tiny: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    """`tools/labs.py`: writes both, notices when either is out of date, and what is
    left over.
    """
    root = tiny.folder.parent.parent
    assert tool.main(["check"], root) == 1
    said = capsys.readouterr().err
    assert (
        "labs/.stubs/lab16_vectors.py is missing" in said
        and "book/labs_table.md is missing" in said
    )
    assert tool.main(["stubs"], root) == 0 and tool.main(["check"], root) == 0
    assert (
        root / "labs" / ".stubs" / "lab16_vectors.py"
    ).read_bytes() == tiny.file.read_bytes()
    assert "**16 Vectors**" in (root / tool.TABLE).read_text("utf-8")
    tiny.file.write_text(SOLVED)
    (root / "labs" / ".stubs" / "lab17_old.py").write_text("")
    assert tool.main(["check"], root) == 1
    said = capsys.readouterr().err
    assert (
        "lab16_vectors.py is out of date" in said
        and "lab17_old.py belongs to no lab" in said
    )
    (root / "labs" / "lab18_broken").mkdir()
    (root / "labs" / "lab18_broken" / "checks.py").write_text(
        "import nothing_of_that_name\n"
    )
    assert (
        tool.main(["check"], root) == 1
        and "lab18: its own files cannot be loaded" in capsys.readouterr().err
    )


@pytest.mark.parametrize("page", [LABS, TEACHERS], ids=lambda path: path.stem)
def test_commands_and_options_exist(
    page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each target of make is in the Makefile, each command and option is explained by
    its help.
    """
    text = page.read_text("utf-8")
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in set(re.findall(r"`make ([a-z-]+)", text)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    used = re.findall(r"happyllm lab ([a-z]+)([^`\n]*)", text)
    assert used
    for command, rest in used:
        assert cli.main(["lab", command, "--help"]) == 0
        explained = capsys.readouterr().out
        assert [
            option
            for option in re.findall(r"--[a-z]+", rest)
            if option not in explained
        ] == []


def test_exit_codes_are_those_of_the_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The table of the page, and the help."""
    rows: list[Any] = re.findall(
        r"^\| (\d) \| ", TEACHERS.read_text("utf-8"), re.MULTILINE
    )
    cli.main(["lab", "grade", "--help"])
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    codes = re.search(r"Exit codes: (.*?)\. Example", said)
    assert codes and rows == re.findall(r"(?:^|; )(\d) ", codes[1]) == [
        "0",
        "1",
        "2",
        "3",
    ]
