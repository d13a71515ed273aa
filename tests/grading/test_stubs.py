import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from small_labs import RIGHT, STUB, write_labs

from happyllm_support.grading import stubs
from happyllm_support.grading.compare import CheckError
from happyllm_support.grading.labs import load_lab
from happyllm_support.grading.solution import places, source_of
from happyllm_support.grading.stubs import is_untouched, reset

NOW = datetime(2026, 1, 31, 12, 0, 5, tzinfo=UTC)


@pytest.fixture
def lab(tmp_path):
    return load_lab(write_labs(tmp_path), "01")


def test_the_file_is_kept_and_the_stub_put_in_its_place(lab):
    assert is_untouched(lab)
    lab.file.write_text(RIGHT)
    assert not is_untouched(lab)
    backup = reset(lab, now=NOW)
    assert (
        backup == lab.folder / "counting.py.20260131T120005Z.bak"
        and backup.read_text() == RIGHT
    )
    assert is_untouched(lab) and lab.file.read_text() == STUB


def test_an_earlier_backup_is_never_overwritten(lab):
    kept = []
    for text in ("one", "two", "three"):
        lab.file.write_text(text)
        kept.append(reset(lab, now=NOW))
    assert [path.read_text() for path in kept] == ["one", "two", "three"] and len(
        set(kept)
    ) == 3


def test_bytes_that_are_no_text_are_kept_too(lab):
    lab.file.write_bytes(b"\xff\x00\r\n")
    assert reset(lab, now=NOW).read_bytes() == b"\xff\x00\r\n"


def test_a_missing_file_is_restored(lab):
    lab.file.unlink()
    assert not is_untouched(lab) and reset(lab) is None and lab.file.read_text() == STUB


def test_when_the_stub_cannot_be_written_the_file_is_still_there(lab, monkeypatch):
    lab.file.write_text(RIGHT)

    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stubs, "write_whole", full)
    with pytest.raises(OSError, match="No space"):
        reset(lab, now=NOW)
    assert lab.file.read_text() == RIGHT


def test_half_a_backup_is_removed_and_stops_the_reset(lab, monkeypatch):
    lab.file.write_text(RIGHT)

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        reset(lab, now=NOW)
    assert lab.file.read_text() == RIGHT and not list(lab.folder.glob("*.bak"))


def test_without_a_stub_nothing_happens(lab):
    lab.file.write_text(RIGHT)
    stubs.stub_of(lab).unlink()
    with pytest.raises(
        ValueError, match=r"lab01_counting\.py is missing; `git checkout"
    ):
        reset(lab)
    assert lab.file.read_text() == RIGHT and not list(lab.folder.glob("*.bak"))


def test_a_folder_in_the_files_place_is_refused(lab):
    lab.file.unlink()
    lab.file.mkdir()
    with pytest.raises(ValueError, match="is a folder; move it away"):
        reset(lab)


def test_the_solution_is_the_package_source(lab):
    (place,) = places(lab.checks.values())
    source = source_of(place, Path())
    assert source.startswith("def home() -> Path:") and "HAPPYLLM_HOME" in source


@pytest.mark.parametrize(
    "place",
    [
        "happyllm_support.files:nothing",
        "happyllm_support.nothing:x",
        "math:pi",
        "math:",
    ],
)
def test_a_solution_that_is_not_there_is_our_error(place):
    with pytest.raises(CheckError, match="cannot be shown"):
        source_of(place, Path())
