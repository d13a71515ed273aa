import io
import os
from dataclasses import replace

import pytest
from rich.console import Console
from small_labs import HALF, RIGHT, STUB, WRONG, FakeGrader, Status, write_labs

from happyllm_support.grading import report
from happyllm_support.grading.diagnosis import Diagnosis
from happyllm_support.grading.grader import Report
from happyllm_support.grading.judge import Verdict
from happyllm_support.grading.labs import load_lab
from happyllm_support.grading.reading import anchors, page_of
from happyllm_support.grading.report import (
    as_json,
    detail,
    facts,
    lab_table,
    next_step,
    printable,
)


@pytest.fixture
def labs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write_labs(tmp_path)
    return [load_lab(folder, name) for name in ("01", "02")]


def graded(lab, text):
    lab.file.write_text(text)
    return FakeGrader(lab.folder.parent).grade(lab)


def shown(renderable, *, width=80, terminal=False):
    out = io.StringIO()
    screen = Console(
        file=out,
        width=width,
        markup=False,
        highlight=False,
        force_terminal=terminal,
        no_color=None,
    )
    screen.print(renderable)
    return out.getvalue()


def failing(lab, symptom, **more):
    found = Diagnosis(symptom=symptom, section="Sums", **more)
    return Verdict(
        id=f"{lab.id}.total", status=Status.FAIL, points=0, of=1, diagnosis=found
    )


def test_the_table_has_points_status_and_one_line_each(labs):
    lines = shown(lab_table(graded(labs[0], WRONG))).splitlines()
    assert lines[0] == "Lab 01: Counting   1 of 3 points"
    assert lines[1].split() == ["total", "1/1", "PASS"]
    assert lines[2].split()[:3] == ["mean", "0/2", "FAIL"]
    assert "when the sum is divided by" in " ".join(" ".join(lines).split())
    lines = shown(lab_table(graded(labs[0], STUB))).splitlines()
    assert [line.split()[1:] for line in lines[1:]] == [
        ["0/1", "NOT", "YET"],
        ["0/2", "NOT", "YET"],
    ]


@pytest.mark.parametrize("width", [60, 80, 100])
def test_columns_are_aligned_and_nothing_is_too_wide(labs, width):
    lab = labs[0]
    long = (
        "the sum is off by "
        + "x" * 130
        + " and then some more words follow in this line"
    )
    verdicts = (
        failing(lab, long),
        Verdict(id="lab01.mean", status=Status.PASS, points=2, of=2),
    )
    text = shown(
        lab_table(Report(lab=lab, verdicts=verdicts, seconds=0.5)), width=width
    )
    lines = text.splitlines()
    assert max(map(len, lines)) <= width and "x" * 130 in "".join(
        line.strip() for line in lines
    )
    column = lines[1].index("FAIL")
    assert next(line for line in lines if "mean" in line).index("PASS") == column
    assert all(not line[: column + 4].strip() for line in lines[2:-1])
    assert (
        max(map(len, shown(detail(lab, verdicts[0]), width=width).splitlines()))
        <= width
    )


def test_a_repeated_diagnosis_is_said_once(labs):
    verdicts = tuple(
        failing(labs[0], "the file cannot be imported: it is broken") for _ in range(3)
    )
    text = shown(lab_table(Report(lab=labs[0], verdicts=verdicts, seconds=0.5)))
    assert text.count("cannot be imported") == 1 and text.count("as above") == 2


def test_colours_on_a_terminal_only(labs):
    table = lab_table(graded(labs[0], WRONG))
    assert "\x1b[" in shown(table, terminal=True) and "\x1b" not in shown(table)


def test_what_a_learner_prints_changes_no_colour_and_is_no_markup(labs):
    nasty = "[bold red]x[/] \x1b[31mred\x1b[0m \x07 \r\x1b]0;title\x07"
    verdict = Verdict(
        id="lab01.total",
        status=Status.FAIL,
        points=0,
        of=1,
        diagnosis=Diagnosis(symptom=nasty, cause=nasty, call=nasty),
        output=f"{nasty}\nsecond",
    )
    text = shown(detail(labs[0], verdict), width=200)
    assert text.count("[bold red]x[/] red ") == 4 and "second" in text
    assert not set(text) & {"\x1b", "\x07", "\r"}


def test_the_detail_of_a_failure(labs):
    verdict = graded(labs[0], WRONG).verdicts[1]
    found = dict(facts(labs[0], verdict))
    assert found["seen"].startswith("the mean is off: it is 4.5 instead of 3")
    assert (
        found["why"]
        == "This is what comes out when the sum is divided by two, whatever the length."
    )
    assert found["in the call"] == "mean([1, 2, 6])"
    assert found["read"] == 'chapter 01, section "Means, and x"'
    assert found["next hint"] == "make lab-hint LAB=01.mean"
    assert "it printed" not in found and "" not in found


def test_long_output_is_cut_and_says_so(labs):
    verdict = failing(labs[0], "x")
    object.__setattr__(verdict, "output", "\n".join(f"line {i}" for i in range(40)))
    printed = dict(facts(labs[0], verdict))["it printed"].splitlines()
    assert printed[0] == "(the last 12 lines)" and printed[1:] == [
        f"line {i}" for i in range(28, 40)
    ]


CHAPTER = """<section id="means">
<h2>Means, and <span class="math notranslate nohighlight">\\(x\\)</span>
<a class="headerlink" href="#means-and-x" title="Link">#</a></h2><h2>No link</h2>"""


def test_the_rendered_page_is_named_with_its_anchor(labs, tmp_path):
    verdict = graded(labs[0], WRONG).verdicts[1]
    book = tmp_path / "build" / "html"
    (book / "chapters").mkdir(parents=True)
    (book / "index.html").write_text("")
    assert "" not in dict(facts(labs[0], verdict))
    (book / "chapters" / "01_counting.html").write_text(CHAPTER)
    assert dict(facts(labs[0], verdict))[""] == os.path.join(
        "build", "html", "chapters/01_counting.html#means-and-x"
    )
    assert anchors(CHAPTER) == {"means and x": "means-and-x"}
    assert page_of(book, labs[0], "Another") == "chapters/01_counting.html"
    assert page_of(book, labs[1], "Means") == ""


def test_what_to_do_next(labs):
    first, second = labs
    untouched = [graded(lab, lab.file.read_text()) for lab in labs]
    line = next_step(untouched, labs).plain
    assert line.startswith(
        "Open labs/lab01_counting/counting.py and write `total` (about 10 minutes, 1 "
        "point)."
    )
    line = next_step([graded(first, HALF), untouched[1]], labs).plain
    assert (
        line
        == "Next: write `mean` in labs/lab01_counting/counting.py (about 20 minutes, 2 "
        "points)."
    )
    line = next_step([graded(first, WRONG), untouched[1]], labs).plain
    assert (
        line
        == "Next: change `mean` in labs/lab01_counting/counting.py, then\n  make labs "
        "LAB=01.mean"
    )
    done = graded(first, RIGHT)
    line = next_step([done], labs).plain
    assert (
        line
        == "Well done: all 3 points.\nNext: chapter 02 (chapters/02_words.ipynb), then "
        "make labs LAB=02"
    )
    one = replace(done, verdicts=done.verdicts[:1])
    assert (
        next_step([one], labs).plain
        == "Right. For the rest of the lab: make labs LAB=01"
    )
    last = graded(second, "def longest(text):\n    return max(text.split(), key=len)\n")
    assert (
        next_step([done, last], labs).plain
        == "Well done: all 6 points.\nThat was the last lab."
    )


def test_a_file_that_cannot_be_imported_is_to_be_mended(labs):
    line = "the file cannot be imported: raises SyntaxError"
    verdicts = tuple(failing(labs[0], line, everywhere=True) for _ in range(2))
    assert facts(labs[0], verdicts[0]) == [("seen", line)]
    line = next_step([Report(lab=labs[0], verdicts=verdicts, seconds=0.5)], labs).plain
    assert (
        line == "Next: mend labs/lab01_counting/counting.py, then\n  make labs LAB=01"
    )


def test_a_blocked_function_says_what_it_waits_for(labs):
    text = STUB.replace(
        '"""The mean."""\n    raise NotYet', "return total(numbers) / len(numbers)"
    )
    line = next_step([graded(labs[0], text)], labs).plain
    assert line.startswith("Open labs/lab01_counting/counting.py and write `total`")
    blocked = [v for v in graded(labs[0], text).verdicts if v.status is Status.BLOCKED]
    line = next_step(
        [Report(lab=labs[0], verdicts=tuple(blocked), seconds=0.5)], labs
    ).plain
    assert (
        line
        == "Next: mean waits for another function: calls total, which is not written "
        "yet"
    )


def test_json_has_everything(labs):
    found = as_json(graded(labs[0], WRONG))
    assert (found["lab"], found["points"], found["of"]) == ("lab01", 1, 3)
    passed, failed = found["checks"]
    assert (passed["id"], passed["status"], passed["line"]) == (
        "lab01.total",
        "PASS",
        "",
    )
    assert failed["symptom"].startswith("the mean is off") and failed[
        "cause"
    ].startswith("This is what comes out")
    assert failed["call"] == "mean([1, 2, 6])" and failed["section"] == "Means, and $x$"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\tb", "a    b"),
        ("\x1b[1;31mred\x1b[m", "red"),
        ("a\nb", "a b"),
        ("\x00\x9b", "\\x00\\x9b"),
        ("日本 é", "日本 é"),
    ],
)
def test_printable(text, expected):
    assert printable(text) == expected


def test_paths_far_away_are_absolute(tmp_path, monkeypatch):
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b" / "c")
    assert report.shown_path(tmp_path / "x.py") == str(tmp_path / "x.py")
    assert report.shown_path(tmp_path / "a" / "b" / "c" / "x.py") == "x.py"
