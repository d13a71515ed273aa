import json
import multiprocessing
import os

import pytest

from happyllm_support.grading import progress
from happyllm_support.grading.diagnosis import Diagnosis
from happyllm_support.grading.judge import Status, Verdict
from happyllm_support.grading.progress import (
    RECORD_FILE,
    LabRecord,
    load_record,
    update_record,
)


def verdict(name, status, points=2, line=""):
    found = Diagnosis(symptom=line) if line else None
    reached = points if status is Status.PASS else 0
    return Verdict(
        id=f"lab03.{name}", status=status, points=reached, of=points, diagnosis=found
    )


NAMES = ["a", "b"]
FAILED = [verdict("a", Status.PASS), verdict("b", Status.FAIL, line="off by one")]
PASSED = [verdict("a", Status.PASS), verdict("b", Status.PASS)]


def keep(labs, verdicts, time):
    return update_record(
        labs, lambda kept: kept.add_verdicts("lab03", NAMES, verdicts, time=time)
    )


def test_what_is_recorded_comes_back(tmp_path):
    assert load_record(tmp_path) == (LabRecord(), "")
    assert keep(tmp_path, FAILED, "t1") == (True, "")
    kept, note = load_record(tmp_path)
    assert note == "" and kept.points("lab03") == 2 and kept.points("lab04") == 0
    assert (
        kept.passed("lab03", "a")
        and not kept.passed("lab03", "b")
        and not kept.passed("lab09", "a")
    )
    standing = kept.labs["lab03"]["b"]
    assert (standing.status, standing.points, standing.of, standing.line) == (
        "FAIL",
        0,
        2,
        "off by one",
    )
    assert (standing.first_passed, kept.labs["lab03"]["a"].first_passed) == ("", "t1")


def test_first_passed_stays_when_it_is_broken_and_mended(tmp_path):
    keep(tmp_path, PASSED, "t1")
    keep(tmp_path, FAILED, "t2")
    keep(tmp_path, PASSED, "t3")
    assert load_record(tmp_path)[0].labs["lab03"]["b"].first_passed == "t1"


def test_history_has_what_changed_and_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "LONGEST_HISTORY", 3)
    assert keep(tmp_path, FAILED, "t1")[0]
    before = os.stat(tmp_path / RECORD_FILE)
    assert not keep(tmp_path, FAILED, "t2")[0]
    assert os.stat(tmp_path / RECORD_FILE) == before  # not even written
    for time, verdicts in [("t3", PASSED), ("t4", FAILED), ("t5", PASSED)]:
        keep(tmp_path, verdicts, time)
    history = load_record(tmp_path)[0].history
    assert [(m.time, m.points, m.total) for m in history] == [
        ("t3", 4, 4),
        ("t4", 2, 2),
        ("t5", 4, 4),
    ]


def test_total_counts_all_labs(tmp_path):
    keep(tmp_path, PASSED, "t1")
    update_record(
        tmp_path,
        lambda kept: kept.add_verdicts(
            "lab04", ["c"], [verdict("c", Status.PASS, 1)], time="t2"
        ),
    )
    assert [(m.lab, m.points, m.total) for m in load_record(tmp_path)[0].history] == [
        ("lab03", 4, 4),
        ("lab04", 1, 5),
    ]


def test_grading_one_function_leaves_the_others_and_old_names_go(tmp_path):
    keep(tmp_path, PASSED, "t1")
    keep(tmp_path, [verdict("b", Status.FAIL, line="x")], "t2")
    assert {n: s.status for n, s in load_record(tmp_path)[0].labs["lab03"].items()} == {
        "a": "PASS",
        "b": "FAIL",
    }
    assert update_record(tmp_path, lambda kept: kept.add_verdicts("lab03", ["b"], []))[
        0
    ]
    assert list(load_record(tmp_path)[0].labs["lab03"]) == ["b"]


def test_hints_climb_and_the_last_is_repeated(tmp_path):
    seen = [
        update_record(tmp_path, lambda kept: kept.next_hint("lab03.a", 3))[0]
        for _ in range(5)
    ]
    assert seen == [(1, False), (2, False), (3, False), (3, True), (3, True)]
    assert update_record(tmp_path, lambda kept: kept.next_hint("lab03.b", 3))[0] == (
        1,
        False,
    )


VALID = {"format": progress.FORMAT, "labs": {}, "hints": {}, "history": []}
STANDING = {"status": "PASS", "points": 1, "of": 1, "line": "", "first_passed": ""}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[1]",
        b'{"format": "another"}',
        json.dumps({**VALID, "labs": [1]}).encode(),
        json.dumps(
            {**VALID, "labs": {"lab03": {"a": {**STANDING, "status": "<b>"}}}}
        ).encode(),
        json.dumps(
            {**VALID, "labs": {"lab03": {"a": {**STANDING, "points": "9"}}}}
        ).encode(),
        json.dumps(
            {**VALID, "labs": {"lab03": {"a": {**STANDING, "extra": 1}}}}
        ).encode(),
        json.dumps({**VALID, "hints": {"lab03.a": -1}}).encode(),
        json.dumps(
            {**VALID, "history": [{"time": 3, "lab": "lab03", "points": 1, "total": 1}]}
        ).encode(),
    ],
)
def test_a_damaged_or_foreign_file_is_put_aside_and_never_lost(tmp_path, content):
    (tmp_path / RECORD_FILE).write_bytes(content)
    (tmp_path / f"{RECORD_FILE}.broken").write_text("an earlier one")
    kept, note = load_record(tmp_path)
    assert (
        kept == LabRecord()
        and "\n" not in note
        and f"put aside as {RECORD_FILE}.broken.2" in note
    )
    assert (tmp_path / f"{RECORD_FILE}.broken.2").read_bytes() == content
    assert (tmp_path / f"{RECORD_FILE}.broken").read_text() == "an earlier one"
    assert load_record(tmp_path) == (LabRecord(), "")


def test_a_valid_file_is_not_put_aside(tmp_path):
    (tmp_path / RECORD_FILE).write_text(
        json.dumps({**VALID, "labs": {"lab03": {"a": STANDING}}})
    )
    assert (
        load_record(tmp_path)[1] == "" and load_record(tmp_path)[0].points("lab03") == 1
    )


def test_an_error_in_between_leaves_the_old_file_and_nothing_else(tmp_path):
    keep(tmp_path, FAILED, "t1")
    before = (tmp_path / RECORD_FILE).read_bytes()

    def fail(kept):
        kept.hints["lab03.a"] = 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        update_record(tmp_path, fail)
    assert (tmp_path / RECORD_FILE).read_bytes() == before and os.listdir(tmp_path) == [
        RECORD_FILE
    ]


def _count(folder, name, barrier):
    barrier.wait()
    for _ in range(100):
        update_record(folder, lambda kept: kept.next_hint(name, 1000))
        update_record(folder, lambda kept: kept.next_hint("both", 1000))


def test_two_graders_at_once_lose_nothing(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    others = [
        context.Process(target=_count, args=(tmp_path, name, barrier))
        for name in ("one", "two")
    ]
    for other in others:
        other.start()
    for other in others:
        other.join()
    assert [other.exitcode for other in others] == [0, 0]
    assert load_record(tmp_path)[0].hints == {"one": 100, "two": 100, "both": 200}
    assert os.listdir(tmp_path) == [RECORD_FILE]
