import contextlib
import errno
import json
import os
import stat
import threading
import time

import pytest

from happyllm_support import files


def test_atomic_path_replaces_only_on_success(tmp_path):
    target = tmp_path / "deep" / "out.txt"
    with files.atomic_path(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    with pytest.raises(KeyboardInterrupt), files.atomic_path(target) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "new"
    assert os.listdir(target.parent) == ["out.txt"]


def test_no_file_is_readable_by_others_for_a_moment(tmp_path, monkeypatch):
    """Two threads write under umask 077 while one looks at all permissions."""
    seen, done = set(), threading.Event()

    def write(name):
        while not done.is_set():
            files.atomic_write_text(tmp_path / name, "secret")
            with files.atomic_folder(tmp_path / f"{name}-folder", lambda path: None):
                pass
            (tmp_path / f"plain-{name}").unlink(missing_ok=True)
            (tmp_path / f"plain-{name}").touch()

    umask = os.umask

    def slow_umask(mask):
        previous = umask(mask)
        time.sleep(0.01)  # others take their turn before it is put back
        return previous

    monkeypatch.setattr(os, "umask", slow_umask)
    old = umask(0o077)
    writers = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    try:
        for writer in writers:
            writer.start()
        end = time.monotonic() + 1
        while time.monotonic() < end and len(seen) < 3:
            for path in tmp_path.iterdir():
                with contextlib.suppress(FileNotFoundError):
                    status = path.stat()
                    seen.add((stat.S_ISDIR(status.st_mode), status.st_mode & 0o777))
    finally:
        done.set()
        for writer in writers:
            writer.join()
        umask(old)
    assert seen == {(False, 0o600), (True, 0o700)}


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_permissions_are_those_of_any_new_file(tmp_path, monkeypatch, umask, mode):
    old = os.umask(umask)
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("changes all threads"))
    try:
        files.atomic_write_text(tmp_path / "file", "text")
        with files.atomic_folder(tmp_path / "folder", lambda path: None):
            pass
    finally:
        monkeypatch.undo()
        os.umask(old)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o777 & ~umask


def test_full_disk_is_one_line_that_names_the_file(tmp_path):
    target = tmp_path / "out.bin"
    message = r"cannot write .*out\.bin: No space left on device; nothing was left"
    with pytest.raises(OSError, match=message) as caught, files.atomic_path(target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_error_about_another_file_passes_unchanged(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match=r"missing\.txt"),
        files.atomic_path(tmp_path / "out"),
    ):
        open(tmp_path / "missing.txt").close()


def test_parent_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(OSError, match=r"cannot write .*file/out"),
        files.atomic_path(tmp_path / "file" / "out"),
    ):
        pass
    long = "x" * 250  # a name that leaves no room for the temporary one beside it
    with (
        pytest.raises(OSError, match=r"cannot write .*x: File name too long") as caught,
        files.atomic_path(tmp_path / long),
    ):
        raise AssertionError("the block must not run")
    assert ".tmp" not in str(caught.value)


def test_json_round_trip_keeps_non_ascii(tmp_path):
    files.atomic_write_json(tmp_path / "a.json", {"字": [1, 2]})
    raw = (tmp_path / "a.json").read_text("utf-8")
    assert json.loads(raw) == {"字": [1, 2]} and "字" in raw and raw.endswith("\n")


@pytest.mark.parametrize("block_bytes", [1, 2, 3, 5, 1 << 20])
def test_blocks_never_split_a_code_point(tmp_path, block_bytes):
    text = "a语\r\né😀\n" * 7
    (tmp_path / "t.txt").write_bytes(text.encode())
    assert "".join(files.read_text_blocks(tmp_path / "t.txt", block_bytes)) == text


@pytest.mark.parametrize("block_bytes", [1, 2, 3, 4, 100])
@pytest.mark.parametrize(
    ("content", "offset"),
    [(b"abc\xffdef", 3), ("语".encode() + b"\xe8\xaf", 3), (b"ab\xe8\xaf!!", 2)],
)
def test_invalid_utf8_names_file_and_offset(tmp_path, block_bytes, content, offset):
    (tmp_path / "bad.txt").write_bytes(content)
    with pytest.raises(
        ValueError, match=rf"bad\.txt is not UTF-8: byte 0x.. at offset {offset};"
    ) as caught:
        list(files.read_text_blocks(tmp_path / "bad.txt", block_bytes))
    assert ("probably cut off" in str(caught.value)) == content.endswith(b"\xaf")
    assert ("iconv" in str(caught.value)) != content.endswith(b"\xaf")


def test_iter_files(tmp_path):
    for name in ("b.txt", "a.md", "c.png", "sub/d.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    names = [p.name for p in files.iter_files([tmp_path])]
    assert names == ["a.md", "b.txt", "d.jsonl"]
    assert files.iter_files([tmp_path / "c.png"]) == [tmp_path / "c.png"]
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt.gz").write_bytes(b"\x1f\x8b")
    cases = {
        "no input files": [],
        "no such file": [tmp_path / "no"],
        "no text": [tmp_path / "empty"],
    }
    cases |= {
        r"a\.txt\.gz is compressed; unpack": [tmp_path / "a.txt.gz"],
        "a file or folder is empty; write .": [""],
    }
    for message, bad in cases.items():
        with pytest.raises(ValueError, match=message):
            files.iter_files(bad)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"a": [1,', "no valid JSON at line 1, column 10 of 9 bytes"),
        ("[1]", "a JSON object is expected, not list"),
        ('{"a": ' + "[" * 200_000 + "}", "its JSON cannot be read"),
        ('{"a": ' + "1" * 5000 + "}", "its JSON cannot be read"),
    ],
)
def test_json_that_is_none_is_refused_by_name(tmp_path, content, expected):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ValueError, match=r"x\.json is not a list of names: ") as caught:
        files.read_json(tmp_path / "x.json", "a list of names")
    assert expected in str(caught.value) and "\n" not in str(caught.value)
