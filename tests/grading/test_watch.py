import os

import pytest

from happyllm_support.grading.watch import Watcher, look_at


class Over(Exception):
    """Nothing more happens."""


class Clock:
    """A sleep that takes no time and does the next thing of a list."""

    def __init__(self, *actions):
        self.actions = list(actions)
        self.slept = 0

    def __call__(self, pause):
        self.slept += 1
        if not self.actions:
            raise Over
        action = self.actions.pop(0)
        if action:
            action()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.py"
    path.write_text("one")
    return path


def test_nothing_changes_until_something_does(file):
    clock = Clock(None, None, lambda: file.write_text("longer"), None)
    assert Watcher([file], sleep=clock).wait() == [file]
    assert clock.slept == 4


def test_a_save_of_equal_length_is_seen(file):
    def save():
        file.write_text("two")
        os.utime(file, ns=(1, 1))

    assert Watcher([file], sleep=Clock(save, None)).wait() == [file]


def test_a_file_that_is_being_written_is_waited_for(file):
    steps = [
        lambda: file.write_text("ab" * 10),
        lambda: file.write_text("ab" * 20),
        lambda: file.write_text("ab" * 30),
    ]
    clock = Clock(*steps, None)
    assert Watcher([file], sleep=clock).wait() == [file]
    assert clock.slept == 4 and file.read_text() == "ab" * 30


def test_a_file_may_vanish_and_come_back(file):
    watcher = Watcher(
        [file],
        sleep=Clock(file.unlink, None, None, lambda: file.write_text("again"), None),
    )
    assert look_at(file) is not None
    assert watcher.wait() == [file] and look_at(file) is None
    assert watcher.wait() == [file] and look_at(file) is not None


def test_an_editor_that_replaces_the_file_is_seen(file):
    def replace():
        other = file.with_name("new")
        other.write_text("two")
        os.utime(other, ns=(os.stat(file).st_atime_ns, os.stat(file).st_mtime_ns))
        os.replace(other, file)

    assert Watcher([file], sleep=Clock(replace, None)).wait() == [file]


def test_only_what_changed_is_named_and_the_start_is_when_it_was_made(file, tmp_path):
    other = tmp_path / "b.py"
    watcher = Watcher([file, other], sleep=Clock(None, None))
    other.write_text("new")  # between the grading and the waiting
    assert watcher.wait() == [other]


def test_gone_and_back_as_it_was_is_no_change(file):
    hidden = file.with_name("hidden")

    def hide():
        os.rename(file, hidden)

    clock = Clock(hide, lambda: os.rename(hidden, file), None, None)
    with pytest.raises(Over):
        Watcher([file], sleep=clock).wait()
