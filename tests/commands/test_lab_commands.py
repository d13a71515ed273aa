"""`happyllm lab ...` on two small labs; the grader that starts processes is in the last
part only.
"""

import contextlib
import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_labs import HALF, RIGHT, STUB, WRONG, FakeGrader, use_fake, write_labs

from happyllm_support.cli import main
from happyllm_support.grading import progress, watch
from happyllm_support.grading.compare import CheckError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def labs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    use_fake(monkeypatch)
    return write_labs(tmp_path)


@pytest.fixture
def solve(labs):
    return lambda text: (labs / "lab01_counting" / "counting.py").write_text(text)


class Terminal(io.StringIO):
    """A standard input at which somebody answers."""

    def isatty(self):
        return True


@pytest.fixture
def answer(monkeypatch, capsys):
    """Call `happyllm` with a person at the terminal who types this."""

    def call(typed, *arguments):
        monkeypatch.setattr(sys, "stdin", Terminal(typed))
        code = main(list(arguments))
        return code, *capsys.readouterr()

    return call


# grade


def test_a_newcomer_sees_no_points_and_where_to_begin(run, labs):
    code, out, err = run("lab", "grade")
    assert code == 0 and not err
    assert (
        "Lab 01: Counting   0 of 3 points" in out
        and "Lab 02: Words   0 of 3 points" in out
    )
    assert "In all: 0 of 6 points." in out and out.count("NOT YET") == 3
    assert (
        "Open labs/lab01_counting/counting.py and write `total`" in out
        and "\x1b" not in out
    )
    assert max(map(len, out.splitlines())) <= 80 and not [
        line for line in out.splitlines() if line != line.rstrip()
    ]


def test_a_mistake_is_named_and_the_progress_is_kept(run, labs, solve):
    solve(WRONG)
    code, out, err = run("lab", "grade", "1")
    assert code == 0 and not err and "Lab 02" not in out and "In all" not in out
    assert "lab01.mean: FAIL" in out and "next hint    make lab-hint LAB=01.mean" in out
    assert (
        "when the sum is divided by two" in out
        and "Next: change `mean` in labs/lab01_counting/counting.py" in out
    )
    kept = json.loads((labs / ".progress.json").read_text())
    assert (
        kept["labs"]["lab01"]["mean"]["status"] == "FAIL" and len(kept["history"]) == 1
    )
    assert "1 of 6 points" in (labs / "progress.html").read_text()
    solve(RIGHT)
    out = run("lab", "grade", "lab01")[1]
    assert "Well done: all 3 points.\nNext: chapter 02" in out and "FAIL" not in out


def test_the_failures_of_one_lab_are_shown_in_detail_and_of_all_labs_the_first(
    run, labs, solve
):
    solve("def total(numbers):\n    return 0\n\n\ndef mean(numbers):\n    return 0.0\n")
    out = run("lab", "grade", "1")[1]
    assert "lab01.total: FAIL" in out and "lab01.mean: FAIL" in out
    out = run("lab", "grade")[1]
    assert "lab01.total: FAIL" in out and "lab01.mean: FAIL" not in out


def test_one_function(run, labs, solve):
    solve(RIGHT)
    out = run("lab", "grade", "01.total")[1]
    assert (
        "total" in out
        and "mean" not in out
        and "For the rest of the lab: make labs LAB=01" in out
    )
    assert list(json.loads((labs / ".progress.json").read_text())["labs"]["lab01"]) == [
        "total"
    ]


@pytest.mark.parametrize(("text", "code"), [(RIGHT, 0), (WRONG, 1), (STUB, 1)])
def test_strict(run, labs, solve, text, code):
    solve(text)
    assert run("lab", "grade", "01", "--strict")[0] == code
    assert run("lab", "grade", "01")[0] == 0
    assert run("lab", "grade", "--strict")[0] == 1


def test_json(run, labs, solve):
    solve(WRONG)
    code, out, err = run("lab", "grade", "--json")
    found = json.loads(out)
    assert (code, err, found["points"], found["of"]) == (0, "", 1, 6)
    assert [lab["lab"] for lab in found["labs"]] == ["lab01", "lab02"] and found[
        "errors"
    ] == found["notes"] == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["grade", "7"], "there is no lab '7'; write one of 01, 02"),
        (["grade", "01.men"], "lab01 has no function 'men'; perhaps you meant mean"),
        (["grade", "--labs", "."], "holds no labs"),
        (["grade", "--watch", "--json"], "--watch goes on until Ctrl-C"),
        (["hint", "7"], "there is no lab '7'"),
        (["hint", "01.x"], "lab01 has no function 'x'"),
        (["solution", "01.x"], "lab01 has no function 'x'"),
        (
            ["solution", "01"],
            "nobody can be asked, standard input is no terminal; add --yes",
        ),
        (["reset", "7"], "there is no lab '7'"),
        (["reset", "01.mean"], "a whole file is reset, not one function; write 01"),
        (["marks", "nowhere", "--output", "m.csv"], "nowhere is no folder"),
        (
            ["marks", ".", "--output", "m.csv", "--lab", "01.mean"],
            "marks are given for whole labs",
        ),
        (["grade", "--patience", "fast"], "'fast' is no number"),
    ],
)
def test_mistakes_are_one_line(refused, labs, arguments, expected):
    assert expected in refused("lab", *arguments)


def test_a_missing_or_unreadable_file(run, refused, labs):
    path = labs / "lab01_counting" / "counting.py"
    path.write_bytes(b"\xff")
    assert "counting.py is not UTF-8 (byte 0)" in refused("lab", "grade", "01")
    path.unlink()
    assert "counting.py is missing; make lab-reset LAB=01" in refused(
        "lab", "grade", "01"
    )
    code, out, _ = run("lab", "grade")
    assert (
        code == 0
        and "note: " in out
        and "make lab-reset LAB=01" in " ".join(out.split())
        and "Lab 02" in out
    )
    assert run("lab", "grade", "--strict")[0] == 1
    assert json.loads(run("lab", "grade", "--json")[1])["of"] == 6


class Failing(FakeGrader):
    """A grader whose first lab does not work."""

    error = CheckError("lab01.total: the check has compared nothing")

    def grade(self, lab, path=None, **options):
        if lab.id == "lab01":
            raise self.error
        return super().grade(lab, path, **options)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            CheckError("lab01.total: the check has compared nothing"),
            "lab01.total: the check has compared nothing",
        ),
        (RuntimeError("a\nb"), "lab01.total: a b"),
        (ValueError("x"), "lab01.total: x"),
        (KeyError(), "lab01.total: KeyError"),
    ],
)
def test_an_error_of_the_grader_is_one_line_and_spares_the_others(
    run, labs, monkeypatch, error, line
):
    use_fake(monkeypatch, Failing)
    monkeypatch.setattr(Failing, "error", error)
    code, out, err = run("lab", "grade")
    assert code == 3 and "Lab 02: Words" in out and "Traceback" not in out + err
    more = "add --debug to see more (happyllm lab grade ... --debug)"
    assert err == f"happyllm: error of the grader, not yours: {line}; {more}\n"
    code, out, err = run("lab", "grade", "01", "--debug")
    assert code == 3 and "Traceback" in err and not out


def test_a_lab_that_cannot_be_loaded(run, labs):
    (labs / "lab01_counting" / "checks.py").write_text("import nothing_of_that_name\n")
    code, out, err = run("lab", "grade")
    assert (
        code == 3
        and "Lab 02: Words" in out
        and "lab01: its own files cannot be loaded" in err
    )
    assert err.count("\n") == 1
    for command in (
        ["hint", "01"],
        ["solution", "01", "--yes"],
        ["reset", "01"],
        ["marks", ".", "--output", "m.csv"],
    ):
        code, out, err = run("lab", *command)
        assert code == 3 and err.count("\n") == 1 and "lab01: its own files" in err, (
            command
        )


def test_a_grader_that_cannot_start(run, labs, monkeypatch):
    class Refusing(FakeGrader):
        def __init__(self, *_, **__):
            raise CheckError("no process can be started")

    use_fake(monkeypatch, Refusing)
    code, out, err = run("lab", "grade")
    assert (
        (code, out) == (3, "")
        and "no process can be started" in err
        and err.count("\n") == 1
    )


def test_a_progress_file_that_cannot_be_written_undoes_nothing(run, labs, monkeypatch):
    def full(*_):
        raise OSError("cannot write x: No space left on device")

    monkeypatch.setattr(progress, "update_record", full)
    code, out, _ = run("lab", "grade")
    assert (
        code == 0
        and "Lab 01" in out
        and "the progress could not be kept" in out
        and "No space left" in out
    )


def test_a_damaged_progress_file_is_told(run, labs):
    (labs / ".progress.json").write_text("{")
    code, out, _ = run("lab", "grade")
    assert code == 0 and "put aside as .progress.json.broken" in " ".join(out.split())
    assert (labs / ".progress.json.broken").read_text() == "{"


# watch


def watching(monkeypatch, *saves):
    """Let `--watch` see these saves, then Ctrl-C."""
    pending = list(saves)

    def wait(self):
        if not pending:
            raise KeyboardInterrupt
        pending.pop(0)()
        return [path for path in self.paths if path.name == "counting.py"]

    monkeypatch.setattr(watch.Watcher, "wait", wait)


def test_watch_grades_what_was_saved_until_ctrl_c(run, labs, solve, monkeypatch):
    closed = FakeGrader.closed
    watching(monkeypatch, lambda: solve(WRONG), lambda: solve(RIGHT))
    code, out, err = run("lab", "grade", "--watch")
    first, second, third, end = out.split(
        "watching; save the file to grade again, Ctrl-C ends\n"
    )
    assert "Lab 02" in first and "Lab 02" not in second and "lab01.mean: FAIL" in second
    assert "Well done" in third and end.strip() == "no longer watching"
    assert (code, err) == (0, "") and FakeGrader.closed == closed + 1


def test_watch_survives_a_missing_and_a_half_written_file(
    run, labs, solve, monkeypatch
):
    path = labs / "lab01_counting" / "counting.py"
    watching(
        monkeypatch,
        path.unlink,
        lambda: path.write_bytes(b"\xff\xfe"),
        lambda: solve(RIGHT),
    )
    code, out, _ = run("lab", "grade", "01", "--watch")
    assert (
        code == 0
        and "is missing" in out
        and "is not UTF-8" in out
        and "Well done" in out
    )


def test_watch_survives_a_file_that_vanishes_while_it_is_graded(run, labs, monkeypatch):
    class Vanishing(FakeGrader):
        def grade(self, lab, path=None, **options):
            lab.file.unlink()
            return super().grade(lab, path, **options)

    use_fake(monkeypatch, Vanishing)
    watching(monkeypatch)
    code, out, err = run("lab", "grade", "01", "--watch")
    assert (code, err) == (0, "") and "has just been removed" in out


# hint


def test_hints_climb_for_the_first_function_that_does_not_pass(run, labs, solve):
    assert (
        run("lab", "hint", "1")[1]
        == "lab01.total, hint 1 of 3:\n\nfirst\n\nOne more: make lab-hint "
        "LAB=01.total\n"
    )
    assert "hint 2 of 3:\n\nsecond" in run("lab", "hint", "lab01")[1]
    assert (
        "hint 3 of 3:\n\nthird\n\nThere are no more. The solution: make lab-solution"
        in run("lab", "hint", "01")[1]
    )
    assert "hint 3 of 3 (the last one, again):\n\nthird" in run("lab", "hint", "01")[1]
    assert "lab01.mean, hint 1 of 2:\n\ndivide" in run("lab", "hint", "01.mean")[1]
    solve(HALF)
    run("lab", "grade")
    assert "lab01.mean, hint 2 of 2:\n\nby the length" in run("lab", "hint", "01")[1]
    solve(RIGHT)
    run("lab", "grade")
    assert "Every function of lab01 passes." in run("lab", "hint", "01")[1]
    assert (
        "lab01.total, hint 3 of 3 (the last one, again)"
        in run("lab", "hint", "01.total")[1]
    )


def test_hints_do_not_forget_what_was_graded(run, labs, solve):
    solve(HALF)
    run("lab", "grade")
    run("lab", "hint", "01")
    assert progress.load_record(labs)[0].points("lab01") == 1


# solution


@pytest.mark.parametrize(
    ("typed", "shown"),
    [("y\n", True), ("Yes\n", True), ("n\n", False), ("\n", False), ("", False)],
)
def test_a_solution_is_shown_after_asking(answer, labs, typed, shown):
    code, out, err = answer(typed, "lab", "solution", "01.total")
    assert code == 0 and not err
    listed, question, rest = out.partition("Show the solution of lab01.total? [y/N] ")
    assert (
        "happyllm_support.files.home" in listed
        and "def home" not in listed
        and question
    )
    assert ("def home() -> Path:" in rest) == shown and (
        "Nothing was shown." in rest
    ) != shown
    assert "\x1b" not in out


def test_yes_asks_nothing(run, labs):
    code, out, err = run("lab", "solution", "01", "--yes")
    assert (
        code == 0
        and not err
        and out.startswith(
            "# home, from happyllm_support/files.py\n\ndef home() -> Path:"
        )
    )
    assert "name no solution in the package" in run("lab", "solution", "02", "--yes")[1]


# reset


def test_reset_asks_and_keeps_a_backup(answer, labs, solve):
    path = labs / "lab01_counting" / "counting.py"
    assert "is still as it came; nothing to reset" in answer("", "lab", "reset", "1")[1]
    solve(RIGHT)
    assert (
        "Nothing was changed." in answer("n\n", "lab", "reset", "01")[1]
        and path.read_text() == RIGHT
    )
    code, out, err = answer("y\n", "lab", "reset", "01")
    (backup,) = path.parent.glob("counting.py.*.bak")
    assert (
        code == 0
        and not err
        and path.read_text() == STUB
        and backup.read_text() == RIGHT
    )
    assert f"Your file was kept as {os.path.relpath(backup)}." in out


def test_reset_without_a_terminal(run, refused, labs, solve):
    path = labs / "lab01_counting" / "counting.py"
    solve(RIGHT)
    assert (
        "nobody can be asked" in refused("lab", "reset", "01")
        and path.read_text() == RIGHT
    )
    assert run("lab", "reset", "01", "--yes")[0] == 0 and path.read_text() == STUB
    path.unlink()
    assert (
        run("lab", "reset", "01")[0] == 0 and path.read_text() == STUB
    )  # nothing can be lost, nobody is asked


# marks


@pytest.fixture
def pupils(labs, tmp_path):
    for name, text in (("ada", RIGHT), ("bob", "def total(:\n"), ("eve", None)):
        (tmp_path / "class" / name).mkdir(parents=True)
        if text:
            (tmp_path / "class" / name / "counting.py").write_text(text)
    return sorted((tmp_path / "class").iterdir())


def test_marks_go_on_after_a_broken_submission(run, labs, pupils):
    code, out, err = run(
        "lab", "marks", *pupils, "--output", "marks.csv", "--lab", "01"
    )
    rows = list(csv.DictReader(Path("marks.csv").read_text("utf-8").splitlines()))
    assert [(r["student"], r["check"], r["status"], r["points"]) for r in rows] == [
        ("ada", "total", "PASS", "1"),
        ("ada", "mean", "PASS", "2"),
        ("bob", "total", "NOT GRADED", "0"),
        ("bob", "mean", "NOT GRADED", "0"),
        ("eve", "total", "no file", "0"),
        ("eve", "mean", "no file", "0"),
    ]
    assert (
        code == 3
        and err.startswith("happyllm: not graded: bob, lab01: SyntaxError")
        and err.count("\n") == 1
    )
    assert "ada  3/3\nbob  0/3\neve  0/3\n3 students, 6 rows: marks.csv" in out
    assert not (labs / ".progress.json").exists()  # the teacher's own


def test_marks_replace_nothing_unless_told_to(run, refused, labs, pupils):
    Path("marks.csv").write_text("mine")
    assert "marks.csv exists; choose another name or add --force" in refused(
        "lab", "marks", pupils[0], "--output", "marks.csv"
    )
    assert Path("marks.csv").read_text() == "mine"
    assert run("lab", "marks", pupils[0], "--output", "marks.csv", "--force")[0] == 0
    assert (
        Path("marks.csv")
        .read_text()
        .startswith("student,lab,check,status,points,of,diagnosis\n")
    )


def test_marks_of_an_interrupted_run_are_not_written(run, labs, pupils, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeGrader, "grade", stop)
    assert run("lab", "marks", pupils[0], "--output", "marks.csv")[0] == 130
    assert not Path("marks.csv").exists()


# make


def make(*arguments):
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    of_an_outer_make = (
        "MAKEFLAGS",
        "MFLAGS",
        "MAKELEVEL",
        "LAB",
        "WATCH",
        "STRICT",
        "YES",
        "HAPPYLLM_PRISTINE_LABS",
    )
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in of_an_outer_make
    }
    command = ["make", "ENV=active", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["labs"], "grade"),
        (["labs", "LAB=03"], "grade 03"),
        (["labs", "LAB=03.sdpa", "WATCH=1"], "grade 03.sdpa --watch"),
        (["labs", "STRICT=1"], "grade --strict"),
        (["lab-hint", "LAB=03"], "hint 03"),
        (["lab-solution", "LAB=03", "YES=1"], "solution 03 --yes"),
        (["lab-reset", "LAB=03"], "reset 03"),
    ],
)
def test_targets_of_make(arguments, command):
    printed = make("-n", *arguments).stdout.splitlines()[-1]
    assert printed.split() == [
        "python",
        "-m",
        "happyllm_support",
        "lab",
        *command.split(),
    ]


@pytest.mark.parametrize("target", ["lab-hint", "lab-solution", "lab-reset"])
def test_make_without_a_lab_says_so_in_one_line(target):
    done = make(target)
    assert done.returncode == 2 and not done.stdout and done.stderr.count("\n") == 1
    assert f"say which lab, as in: make {target} LAB=03" in done.stderr


def test_what_a_learner_writes_is_not_linted_and_pristine_labs_are_checked_on_request():
    printed = make("-n", "lint").stdout
    excluded = re.search(r'ruff check \. --extend-exclude "([^"]*)"', printed)
    folders = sorted((ROOT / "labs").glob("lab[0-9][0-9]_*"))
    assert excluded and excluded[1].split(",") == [
        f"labs/{f.name}/{f.name.partition('_')[2]}.py" for f in folders
    ]
    assert 'test -z "" || python tools/labs.py check' in printed
    assert (
        'test -z "1" || python tools/labs.py check'
        in make("-n", "lint", "HAPPYLLM_PRISTINE_LABS=1").stdout
    )


# With the real grader, in a process of its own


def start(labs, *arguments):
    command = [
        sys.executable,
        "-m",
        "happyllm_support",
        "lab",
        *map(str, arguments),
        "--labs",
        str(labs),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=environment, **pipes)


@contextlib.contextmanager
def ended(process):
    """A test that fails does not wait for what would watch for ever."""
    try:
        yield
    except BaseException:
        process.kill()
        raise


def test_watch_in_a_process_of_its_own(tmp_path):
    labs = write_labs(tmp_path)
    file = labs / "lab01_counting" / "counting.py"
    with start(labs, "grade", "01", "--watch") as process, ended(process):
        assert process.stdout and process.stderr

        def until(words):
            lines = []
            while not lines or words not in lines[-1]:
                line = process.stdout.readline()
                assert line, process.stderr.read()
                lines.append(line)
            return "".join(lines)

        assert "0 of 3 points" in until("watching")
        file.write_text("print('hello')\n" + WRONG)
        shown = until("watching")
        assert (
            "when the sum is divided by two" in " ".join(shown.split())
            and "it printed   hello" in shown
        )
        file.unlink()
        assert "is missing" in until("watching")
        file.write_text(RIGHT)
        assert "Well done" in until("watching")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        left = (
            [int(pid) for pid in children.read_text().split()]
            if children.exists()
            else []
        )
        process.send_signal(signal.SIGINT)
        assert process.stdout.read().strip() == "no longer watching"
        assert process.wait(60) == 0 and process.stderr.read() == ""
    deadline = time.monotonic() + 30
    while left and time.monotonic() < deadline:
        left = [pid for pid in left if Path(f"/proc/{pid}").exists()]
        time.sleep(0.05)
    assert not left, "processes were left behind"


def test_marks_with_the_real_grader(tmp_path):
    labs = write_labs(tmp_path)
    for name, text in (("ada", RIGHT), ("bob", "def total(:\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "counting.py").write_text(text)
    output = tmp_path / "marks.csv"
    with start(
        labs,
        "marks",
        tmp_path / "ada",
        tmp_path / "bob",
        "--output",
        output,
        "--lab",
        "1",
    ) as process:
        _, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    rows = {
        (row["student"], row["check"]): row
        for row in csv.DictReader(output.read_text("utf-8").splitlines())
    }
    assert (
        rows["ada", "mean"]["points"] == "2"
        and rows["bob", "total"]["status"] == "FAIL"
    )
    assert "the file cannot be imported" in rows["bob", "total"]["diagnosis"]
