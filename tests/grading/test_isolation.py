"""Cheats and accidents: each scores 0 where it matters, is told so in one line, and
leaves nothing behind.
"""

import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from cheats import CHEATS, Cheat
from probe_lab import RIGHT, make_lab

from happyllm_support.grading.grader import Grader, Solution
from happyllm_support.grading.judge import GraderError, Status
from happyllm_support.grading.processes import Launcher


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return make_lab(tmp_path_factory.mktemp("probe"))


@pytest.fixture(scope="module")
def grader(lab, launcher):
    grader = Grader(lab.folder.parent, launcher=launcher)
    # Now the process that starts the checks is there.
    grader.run(lab, "double", Solution(source=RIGHT, filename="probe.py"))
    return grader


PACKAGE = Path(__file__).resolve().parent.parent.parent / "happyllm_support"


def all_files(lab):
    return sorted(
        path for path in lab.folder.parent.rglob("*") if "__pycache__" not in path.parts
    )


def processes_of(mark):
    """Every process on this machine that was started, by whatever way, under this mark
    in the environment.
    """
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if (
                process.environ().get("HAPPYLLM_TEST_MARK") == mark
                and process.pid != os.getpid()
            ):
                found.add(process.pid)
    return found


@pytest.fixture
def mark(monkeypatch):
    monkeypatch.setenv("HAPPYLLM_TEST_MARK", secrets.token_hex(8))
    return os.environ["HAPPYLLM_TEST_MARK"]


def below(pid):
    return {process.pid for process in psutil.Process(pid).children(recursive=True)}


@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_or_an_accident_scores_nothing_and_leaves_nothing(
    name, lab, grader, monkeypatch, tmp_path
):
    cheat = CHEATS[name]
    lab.file.write_text(
        cheat.source(
            LABS=str(lab.folder.parent),
            PACKAGE=str(PACKAGE),
            OUTSIDE=str(tmp_path / "outside"),
        )
    )
    before = lab.file.read_bytes()
    files = all_files(lab)
    monkeypatch.setitem(
        lab.checks, "double", replace(lab.checks["double"], seconds=cheat.seconds)
    )
    processes = below(os.getpid())
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))

    verdict = grader.run(lab, "double", Solution.from_file(lab.file))

    assert (verdict.status, verdict.points) == (Status.FAIL, 0), verdict
    assert cheat.says in verdict.diagnosis.symptom, verdict.diagnosis
    assert "\n" not in verdict.diagnosis.symptom
    assert lab.file.read_bytes() == before
    assert all_files(lab) == files
    assert list(tmp_path.rglob("*")) == [tmp_path / "scratch"]
    assert below(os.getpid()) == processes
    assert (
        grader.run(lab, "double", Solution(source=RIGHT, filename="probe.py")).status
        is Status.PASS
    )


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_threads_and_processes_are_ended_with_the_check(method, lab, mark):
    before = below(os.getpid())
    with Launcher(method) as launcher:
        grader = Grader(lab.folder.parent, launcher=launcher)
        for name in CHEATS:
            if not name.startswith("leaves a "):
                continue
            source = CHEATS[name].source()
            verdict = grader.run(
                lab, "double", Solution(source=source, filename="probe.py")
            )
            assert verdict.status is Status.FAIL, name
            assert CHEATS[name].says in verdict.diagnosis.symptom, name
            (_starts_the_others,) = below(os.getpid()) - before
    assert below(os.getpid()) == before and processes_of(mark) == set()


def test_a_group_is_ended_also_where_orphans_cannot_be_found(tmp_path):
    """Outside Linux an orphan is nobody's child here; its group is then all that is
    known of it.
    """
    orphan = (
        "import subprocess, sys; print(subprocess.Popen(['sleep', '1000']).pid, "
        "flush=True)"
    )
    code = f"""
import os, psutil, subprocess, sys
from happyllm_support.grading import spawner
child = subprocess.Popen([sys.executable, "-c", {orphan!r}], start_new_session=True,
                         stdout=subprocess.PIPE, text=True)
pid = int(child.stdout.readline())
child.wait()
psutil.Process.children = lambda *a, **k: []
spawner.end_descendants(group=child.pid)
print(pid)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    with contextlib.suppress(psutil.NoSuchProcess):
        assert psutil.Process(int(done.stdout)).status() == psutil.STATUS_ZOMBIE


def test_the_process_that_forks_has_run_no_operator():
    """A fork after the first matrix product would hang; what `preload` does is watched,
    in a process of its own.
    """
    code = """
import torch
from torch.profiler import ProfilerActivity, profile
from happyllm_support.grading import child
with profile(activities=[ProfilerActivity.CPU]) as seen:
    child.preload()
print([event.key for event in seen.key_averages() if event.key.startswith("aten::")])
with profile(activities=[ProfilerActivity.CPU]) as seen:
    torch.ones(2, 2) @ torch.ones(2, 2)
print(any(event.key == "aten::mm" for event in seen.key_averages()))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["[]", "True"]


@pytest.fixture(params=["fork", "spawn"])
def each_launcher(request, launcher):
    """One for each way of starting a process."""
    if request.param == launcher.method:
        yield launcher
    else:
        with Launcher(request.param) as other:
            yield other


def test_both_ways_of_starting_a_process_agree(each_launcher, lab):
    source = f"""{RIGHT}

def total(x):
    from happyllm_support.grading import NotYet
    raise NotYet

def Counter(n):
    import os
    os._exit(0)
"""
    grader = Grader(lab.folder.parent, launcher=each_launcher)
    report = grader.grade(lab, Solution(source=source, filename="probe.py"))
    statuses = [verdict.status.value for verdict in report.verdicts]
    assert statuses == ["PASS", "NOT YET", "FAIL"]
    assert "exit code 0" in report.verdicts[2].line


def test_matrix_products_and_gradients_work_after_a_fork(lab, grader):
    heavy = Cheat(
        "",
        "import torch\na = torch.rand(600, 600, requires_grad=True)\n(a @ "
        "a).sum().backward()\nreturn x + x",
    ).source()
    assert (
        grader.run(lab, "double", Solution(source=heavy, filename="probe.py")).status
        is Status.PASS
    )


def test_a_fork_server_that_was_killed_is_the_graders_error_and_the_next_run_works(
    lab, mark
):
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
    source = Cheat(
        "", "for i in range(100):\n    print('line', i, '\\x1b[31m')\nreturn x"
    ).source()
    verdict = grader.run(lab, "double", Solution(source=source, filename="probe.py"))
    assert (
        verdict.output.splitlines()[-1].startswith("line 99")
        and "\x1b" not in verdict.output
    )
    assert len(verdict.output.splitlines()) <= 20


def test_of_what_it_prints_the_failed_call_is_shown(lab, grader):
    source = (
        "def total(x):\n    print('rows', len(x))\n    return x.sum(-1)\n\ndef "
        "double(x):\n    return x + x\n"
    )
    assert (
        grader.run(lab, "total", Solution(source=source, filename="probe.py")).output
        == "rows 2"
    )
    source = "def double(x):\n    print('rows', len(x))\n    return x + len(x)\n"
    verdict = grader.run(lab, "double", Solution(source=source, filename="probe.py"))
    assert (
        verdict.output == "rows 2"
        and verdict.diagnosis.call == "double(float32 (2, 3))"
    )  # the second has one row
    source = (
        "def double(x):\n    print('rows', len(x))\n    return x + x if len(x) == 2 "
        "else x\n"
    )
    assert (
        grader.run(lab, "double", Solution(source=source, filename="probe.py")).output
        == "rows 1"
    )


def test_patience_multiplies_the_time_limit(lab, launcher):
    slow = Solution(
        source=Cheat("", "import time\ntime.sleep(0.6)\nreturn x + x").source(),
        filename="probe.py",
    )
    # 20 s become 0.4 s
    grader = Grader(lab.folder.parent, patience=0.02, launcher=launcher)
    assert "not done after 0.4 s" in grader.run(lab, "double", slow).line
    with pytest.raises(ValueError, match="patience 0 must be a positive number"):
        Grader(lab.folder.parent, patience=0)


@pytest.mark.parametrize(
    ("ending", "says"),
    [
        ("double = 3", "it raises TypeError: 'int' object is not callable"),
        ("del double", "the file defines no double"),
    ],
)
def test_a_name_that_is_no_function_or_missing(ending, says, lab, grader):
    verdict = grader.run(
        lab, "double", Solution(source=f"{RIGHT}\n{ending}\n", filename="probe.py")
    )
    assert verdict.status is Status.FAIL and verdict.diagnosis.symptom.startswith(says)
