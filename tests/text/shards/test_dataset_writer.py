import errno
import os
from pathlib import Path

import pytest
from small_dataset import write_dataset

from happyllm_support.text.shards import dataset_writer
from happyllm_support.text.shards.dataset_writer import whole_folder


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_folder_appears_whole_with_its_parents(tmp_path):
    with whole_folder(tmp_path / "a" / "b") as folder:
        (folder / "x").write_text("1")
        assert not (tmp_path / "a" / "b").exists() and folder.parent == tmp_path / "a"
    assert names(tmp_path) == ["a", "a/b", "a/b/x"]


def test_only_a_dataset_or_nothing_is_replaced(tmp_path):
    data = write_dataset(tmp_path / "data", [[1, 2]])
    (tmp_path / "empty").mkdir()
    for target in (data, tmp_path / "empty"):
        with whole_folder(target, overwrite=True) as folder:
            (folder / "new").write_text("1")
        assert names(target) == ["new"]
    assert names(tmp_path) == ["data", "data/new", "empty", "empty/new"]


def mixed(path):
    write_dataset(path, [[1, 2]])
    (path / "thesis.txt").write_text("years of work")


def linked(path):
    write_dataset(path.with_name("elsewhere"), [[1, 2]])
    path.symlink_to(path.with_name("elsewhere"))


def precious(path):
    path.mkdir()
    (path / "photo.png").write_text("x")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (mixed, "data holds thesis.txt, which is no part of a dataset"),
        (precious, "data holds no dataset and is not replaced"),
        (linked, "data is no folder; only a folder"),
        (
            lambda path: path.write_text("x"),
            "data is no folder; only a folder with a dataset can be replaced",
        ),
        (lambda path: path.symlink_to("nowhere"), "data is no folder"),
    ],
)
def test_nothing_else_is_ever_replaced(tmp_path, make, message):
    make(tmp_path / "data")
    before = names(tmp_path)
    for overwrite in (True, False):
        with (
            pytest.raises(
                ValueError,
                match=message if overwrite else "data exists; choose another",
            ),
            whole_folder(tmp_path / "data", overwrite=overwrite),
        ):
            raise AssertionError("the block must not run")
    assert names(tmp_path) == before


@pytest.mark.parametrize("failing", [0, 1])
def test_a_failed_exchange_puts_the_old_folder_back(tmp_path, monkeypatch, failing):
    data = write_dataset(tmp_path / "data", [[1, 2]])
    before = names(tmp_path)
    calls = []
    rename = Path.rename

    def rename_or_stop(self, target):
        calls.append(self)
        if len(calls) == failing + 1:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", rename_or_stop)
    with pytest.raises(KeyboardInterrupt), whole_folder(data, overwrite=True) as folder:
        (folder / "new").write_text("1")
    assert names(tmp_path) == before


def test_folder_that_appears_meanwhile_is_not_lost(tmp_path):
    for overwrite, message in (
        (False, "data exists; choose another folder"),
        (True, "data holds no dataset"),
    ):
        target = tmp_path / str(overwrite) / "data"
        with (
            pytest.raises(ValueError, match=message),
            whole_folder(target, overwrite=overwrite),
        ):
            precious(target)
        assert names(target.parent) == ["data", "data/photo.png"]


def test_errors_of_the_system_name_the_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    reason = r"cannot write .*file/data: (Not a directory|File exists)"
    with (
        pytest.raises(OSError, match=reason) as caught,
        whole_folder(tmp_path / "file" / "data"),
    ):
        raise AssertionError("the block must not run")
    assert "\n" not in str(caught.value) and ".tmp" not in str(caught.value)
    with (
        pytest.raises(
            OSError, match="No space left on device; nothing was left behind"
        ),
        whole_folder(tmp_path / "d"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with (
        pytest.raises(PermissionError, match="elsewhere"),
        whole_folder(tmp_path / "d"),
    ):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/elsewhere")
    assert names(tmp_path) == ["file"]


def test_split_writer_closes_its_open_file(tmp_path):
    writer = dataset_writer.SplitWriter(
        tmp_path / "train", shard_tokens=10, vocab_size=300, vocabulary="a" * 64
    )
    writer.write([1, 2], 2)
    writer.close()
    assert writer._file.closed
