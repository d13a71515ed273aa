"""Cheats and accidents: each scores 0 where it matters, is told so in one line, and leaves nothing behind."""

import contextlib
import os
import secrets
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from cheats import CHEATS, LEFT_BEHIND, Cheat
from probe_lab import FILES, RIGHT, make_lab

from happyllm_support.grading.grader import Grader, Solution
from happyllm_support.grading.judge import GraderError, Status


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return make_lab(tmp_path_factory.mktemp("probe"))


@pytest.fixture(scope="module")
def grader(lab):
    with Grader(lab.folder.parent) as grader:
        yield grader


PACKAGE = Path(__file__).resolve().parent.parent.parent / "happyllm_support"


def all_files(lab):
    return sorted(path for path in lab.folder.parent.rglob("*") if "__pycache__" not in path.parts)


def processes_of(mark):
    """Every process on this machine that was started, by whatever way, under this mark in the environment."""
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("HAPPYLLM_TEST_MARK") == mark and process.pid != os.getpid():
                found.add(process.pid)
    return found


@pytest.fixture
def mark(monkeypatch):
    monkeypatch.setenv("HAPPYLLM_TEST_MARK", secrets.token_hex(8))
    return os.environ["HAPPYLLM_TEST_MARK"]


def below(pid):
    return {process.pid for process in psutil.Process(pid).children(recursive=True)}


@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_or_an_accident_scores_nothing_and_leaves_nothing(name, lab, grader, monkeypatch, tmp_path):
    cheat = CHEATS[name]
    lab.file.write_text(cheat.source(LABS=str(lab.folder.parent), PACKAGE=str(PACKAGE)))
    before = lab.file.read_bytes()
    files = all_files(lab)
    monkeypatch.setitem(lab.checks, "double", replace(lab.checks["double"], seconds=cheat.seconds))
    processes = below(os.getpid())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    verdict = grader.run(lab, "double", Solution.from_file(lab.file))

    assert (verdict.status, verdict.points) == (Status.FAIL, 0), verdict
    assert cheat.says in verdict.diagnosis.symptom, verdict.diagnosis
    assert "\n" not in verdict.diagnosis.symptom
    assert lab.file.read_bytes() == before
    assert all_files(lab) == files
    assert list(tmp_path.iterdir()) == []
    assert len(below(os.getpid()) - processes) <= 1  # the process that starts them, when it was made for this
    assert grader.run(lab, "double", Solution(source=RIGHT, filename="probe.py")).status is Status.PASS


@pytest.mark.parametrize("name", LEFT_BEHIND)
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_threads_and_processes_are_ended_with_the_check(name, method, lab, mark):
    source = LEFT_BEHIND[name].source()
    with Grader(lab.folder.parent, method=method) as grader:
        grader.run(lab, "double", Solution(source=RIGHT, filename="probe.py"))
        before = below(os.getpid())
        verdict = grader.run(lab, "double", Solution(source=source, filename="probe.py"))
        assert verdict.status is Status.PASS  # the answer was right; the rest is swept up
        assert below(os.getpid()) == before
    assert processes_of(mark) == set()


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("source", ["right", "stub", "exit"])
def test_both_ways_of_starting_a_process_agree(method, source, lab):
    code = {"right": RIGHT, "stub": FILES["probe.py"], "exit": Cheat("", "import os\nos._exit(0)").source()}
    with Grader(lab.folder.parent, method=method) as grader:
        report = grader.grade(lab, Solution(source=code[source], filename="probe.py"))
    expected = {
        "right": ["PASS", "PASS", "PASS"],
        "stub": ["NOT YET", "NOT YET", "NOT YET"],
        "exit": ["FAIL", "BLOCKED", "PASS"],
    }
    assert [verdict.status.value for verdict in report.verdicts] == expected[source]


def test_matrix_products_and_gradients_work_after_a_fork(lab, grader):
    heavy = Cheat(
        "", "import torch\na = torch.rand(600, 600, requires_grad=True)\n(a @ a).sum().backward()\nreturn x + x"
    ).source()
    assert grader.run(lab, "double", Solution(source=heavy, filename="probe.py")).status is Status.PASS


def test_a_fork_server_that_was_killed_is_the_graders_error_and_the_next_run_works(lab, mark):
    with Grader(lab.folder.parent) as grader:
        right = Solution(source=RIGHT, filename="probe.py")
        assert grader.run(lab, "double", right).status is Status.PASS
        (server,) = [psutil.Process(pid) for pid in processes_of(mark)]
        server.kill()
        server.wait()
        started = time.monotonic()
        try:
            verdict = grader.run(lab, "double", right)
        except GraderError:
            verdict = grader.run(lab, "double", right)
        assert verdict.status is Status.PASS and time.monotonic() - started < 60


def test_what_the_code_prints_is_kept_for_the_report(lab, grader):
    source = Cheat("", "for i in range(100):\n    print('line', i, '\\x1b[31m')\nreturn x").source()
    verdict = grader.run(lab, "double", Solution(source=source, filename="probe.py"))
    assert verdict.output.splitlines()[-1].startswith("line 99") and "\x1b" not in verdict.output
    assert len(verdict.output.splitlines()) <= 20


def test_patience_multiplies_the_time_limit(lab):
    slow = Solution(source=Cheat("", "import time\ntime.sleep(0.6)\nreturn x + x").source(), filename="probe.py")
    with Grader(lab.folder.parent, patience=0.02) as grader:  # 20 s become 0.4 s
        assert "not done after 0.4 s" in grader.run(lab, "double", slow).line
    with pytest.raises(ValueError, match="patience 0 must be a positive number"):
        Grader(lab.folder.parent, patience=0)


@pytest.mark.parametrize(
    ("ending", "says"),
    [("double = 3", "it raises TypeError: 'int' object is not callable"), ("del double", "the file defines no double")],
)
def test_a_name_that_is_no_function_or_missing(ending, says, lab, grader):
    verdict = grader.run(lab, "double", Solution(source=f"{RIGHT}\n{ending}\n", filename="probe.py"))
    assert verdict.status is Status.FAIL and verdict.diagnosis.symptom.startswith(says)
