import csv
import io
import re

import pytest
from small_labs import RIGHT, STUB, WRONG, FakeGrader, write_labs

from happyllm_support.grading.labs import load_lab
from happyllm_support.grading.marks import (
    COLUMNS,
    Mark,
    as_csv,
    defused,
    mark,
    students,
    submission,
)


@pytest.fixture
def labs(tmp_path):
    folder = write_labs(tmp_path)
    return [load_lab(folder, "01")]


@pytest.fixture
def hand_in(tmp_path):
    def write(student, text, place=""):
        path = tmp_path / "class" / student / place / "counting.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return tmp_path / "class" / student

    return write


def graded(people, labs, grade=None):
    notes = []
    rows = list(mark(people, labs, grade or FakeGrader(None).grade, note=notes.append))
    return {(row.student, row.check): row for row in rows}, notes


@pytest.mark.parametrize("place", ["labs/lab01_counting", "lab01_counting", ""])
def test_where_a_file_may_lie(labs, hand_in, place):
    folder = hand_in("ada", WRONG, place)
    rows, notes = graded(students([folder], labs), labs)
    assert [(r.status, r.points, r.of) for r in rows.values()] == [
        ("PASS", 1, 1),
        ("FAIL", 0, 2),
    ] and not notes
    assert rows["ada", "mean"].diagnosis.startswith(
        "This is what comes out when the sum is divided by two"
    )


def test_the_deepest_place_counts_first(labs, hand_in):
    hand_in("ada", WRONG)
    folder = hand_in("ada", RIGHT, "lab01_counting")
    assert submission(folder, labs[0]) == folder / "lab01_counting" / "counting.py"


def test_a_missing_file_has_no_points(labs, tmp_path):
    (tmp_path / "class" / "bob").mkdir(parents=True)
    rows, notes = graded(students([tmp_path / "class" / "bob"], labs), labs)
    assert [(r.status, r.points, r.of) for r in rows.values()] == [
        ("no file", 0, 1),
        ("no file", 0, 2),
    ]
    assert (
        "no counting.py in the student's folder" in rows["bob", "mean"].diagnosis
        and not notes
    )


def test_a_broken_submission_does_not_stop_the_class(labs, hand_in):
    people = students(
        [hand_in("ada", RIGHT), hand_in("bob", "def total(:\n"), hand_in("cem", STUB)],
        labs,
    )
    rows, notes = graded(people, labs)
    assert (
        rows["bob", "mean"].status == "NOT GRADED" and rows["bob", "mean"].points == 0
    )
    assert (
        rows["ada", "mean"].status == "PASS" and rows["cem", "mean"].status == "NOT YET"
    )
    assert (
        len(notes) == 1
        and notes[0].startswith("bob, lab01: SyntaxError")
        and "\n" not in notes[0]
    )


def test_a_student_cannot_bring_checks(labs, hand_in):
    folder = hand_in("eve", STUB, "labs/lab01_counting")
    (folder / "labs" / "lab01_counting" / "checks.py").write_text("raise SystemExit")
    rows, _ = graded(students([folder], labs), labs)
    assert rows["eve", "total"].status == "NOT YET"


def test_what_is_no_student_is_refused_by_name(labs, hand_in, tmp_path):
    hand_in("ada", RIGHT)
    hand_in("bob", RIGHT, "lab01_counting")
    with pytest.raises(
        ValueError,
        match=r"class holds the folders of students; name these instead: .*class/\*",
    ):
        students([tmp_path / "class"], labs)
    with pytest.raises(ValueError, match=r"counting\.py is no folder"):
        students([tmp_path / "class" / "ada" / "counting.py"], labs)
    (tmp_path / "other" / "ada").mkdir(parents=True)
    with pytest.raises(ValueError, match="two students are called 'ada'"):
        students([tmp_path / "class" / "ada", tmp_path / "other" / "ada"], labs)


def test_the_csv_reads_back(labs, hand_in):
    rows, _ = graded(students([hand_in("Zoë, the 2nd", WRONG)], labs), labs)
    table = list(csv.DictReader(io.StringIO(as_csv(list(rows.values())))))
    assert (
        tuple(table[0]) == COLUMNS
        and [row["student"] for row in table] == ["Zoë, the 2nd"] * 2
    )
    assert [(row["lab"], row["check"], row["points"], row["of"]) for row in table] == [
        ("lab01", "total", "1", "1"),
        ("lab01", "mean", "0", "2"),
    ]


@pytest.mark.parametrize(
    "cell", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", " =1", "\n-1"]
)
def test_formulas_are_defused(cell):
    safe = "'" + re.sub(r"\s", " ", cell)
    assert defused(cell) == safe
    row = Mark(
        student=cell,
        lab="lab01",
        check="mean",
        status="FAIL",
        points=0,
        of=2,
        diagnosis=cell,
    )
    (read,) = csv.DictReader(io.StringIO(as_csv([row]), newline=""))
    assert read["student"] == read["diagnosis"] == safe and read["points"] == "0"


@pytest.mark.parametrize("cell", ["", " ", "ada", "a=b", "0"])
def test_other_cells_stay(cell):
    assert defused(cell) == cell
