import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_tokenizer import ByteTokenizer

from happyllm_support.files import atomic_path
from happyllm_support.text.corpora.splits import split_of
from happyllm_support.text.shards import prepare as prepare_module
from happyllm_support.text.shards.dataset import file_sha256, open_dataset
from happyllm_support.text.shards.prepare import prepare
from happyllm_support.text.tokenizer.bpe import BPEModel
from happyllm_support.text.tokenizer.tokenizer import Tokenizer

DOCUMENTS = [
    f"Story {i} of many. 第{i}篇。" + "so it went on " * (i % 7) for i in range(400)
]
FRACTIONS = {"train": 0.8, "valid": 0.2}


def contents(folder: Path):
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def decoded(dataset):
    return [
        bytes(token for token in ids.tolist() if token < 256).decode()
        for ids in dataset.documents()
    ]


def test_documents_come_back_by_split_and_in_order(tmp_path):
    report = prepare(
        DOCUMENTS,
        ByteTokenizer(),
        tmp_path / "data",
        fractions=FRACTIONS,
        seed=5,
        shard_tokens=3000,
    )
    for split in FRACTIONS:
        dataset = open_dataset(
            tmp_path / "data",
            split,
            vocabulary=ByteTokenizer().fingerprint,
            verify=True,
        )
        expected = [text for text in DOCUMENTS if split_of(text, FRACTIONS, 5) == split]
        assert decoded(dataset) == expected and len(expected) > 40
        assert all(ids[0] == 256 and ids[-1] == 257 for ids in dataset.documents())
        n_bytes = sum(len(text.encode()) for text in expected)
        assert dataset.n_bytes == n_bytes and dataset.n_tokens == n_bytes + 2 * len(
            expected
        )
        assert dataset.pad_id == 258 and json.loads(
            (dataset.root / "tokenizer.json").read_text()
        ) == vars(ByteTokenizer())
        told = report.splits[split]
        assert (told.documents, told.tokens, told.bytes) == (
            len(expected),
            dataset.n_tokens,
            n_bytes,
        )
        assert told.shards == len(dataset.shards) > 1
        assert told.tokens_per_byte == pytest.approx(dataset.n_tokens / n_bytes)
        assert all(shard.header.n_tokens <= 3000 for shard in dataset.shards)
    assert (
        report.total.documents == 400
        and report.empty_documents == 0
        and report.folder == tmp_path / "data"
    )


def test_bytes_do_not_depend_on_the_number_of_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare_module, "BUNDLE_BYTES", 1000)
    for workers in (1, 2, 3):
        prepare(
            DOCUMENTS,
            ByteTokenizer(),
            tmp_path / str(workers),
            workers=workers,
            shard_tokens=5000,
        )
    monkeypatch.setattr(prepare_module, "BUNDLE_DOCUMENTS", 1)
    prepare(DOCUMENTS, ByteTokenizer(), tmp_path / "single", shard_tokens=5000)
    one = contents(tmp_path / "1")
    assert len(one) > 6 and one == contents(tmp_path / "2") == contents(
        tmp_path / "3"
    ) == contents(tmp_path / "single")


@settings(deadline=None, max_examples=25)
@given(
    texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=12), max_size=15),
    shard_tokens=st.integers(1, 30),
)
def test_any_documents(tmp_path_factory, texts, shard_tokens):
    folder = tmp_path_factory.mktemp("any") / "data"
    full = [text for text in texts if text]
    options = {
        "fractions": {"train": 1.0},
        "shard_tokens": shard_tokens,
        "add_bos": False,
        "add_eos": False,
    }
    if not full:
        with pytest.raises(
            ValueError,
            match=rf"empty corpus: {len(texts)} documents, none with any text",
        ):
            prepare(texts, ByteTokenizer(), folder, **options)
        assert list(folder.parent.iterdir()) == []
        return
    report = prepare(texts, ByteTokenizer(), folder, **options)
    dataset = open_dataset(folder, verify=True)
    assert dataset.n_tokens == sum(
        len(text.encode()) for text in full
    )  # neither bos nor eos
    assert decoded(dataset) == full and report.empty_documents == len(texts) - len(full)


def test_paths_stand_for_the_documents_in_them(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\ntwo\n")
    (tmp_path / "b.jsonl").write_text('{"text": "three"}\n')
    for number, source in enumerate(
        [tmp_path / "a.txt", [tmp_path / "a.txt", "four", tmp_path / "b.jsonl"]]
    ):
        prepare(
            source,
            ByteTokenizer(),
            tmp_path / f"data{number}",
            fractions={"train": 1.0},
        )
    assert decoded(open_dataset(tmp_path / "data0")) == ["one", "two"]
    assert decoded(open_dataset(tmp_path / "data1")) == ["one", "two", "four", "three"]


def test_split_key_keeps_relatives_together(tmp_path):
    texts = [f"{family} {member}" for family in range(30) for member in range(4)]
    prepare(
        texts,
        ByteTokenizer(),
        tmp_path / "data",
        fractions=FRACTIONS,
        split_key=lambda text: text.split()[0],
    )
    datasets = [open_dataset(tmp_path / "data", split) for split in FRACTIONS]
    train, valid = (
        {text.split()[0] for text in decoded(dataset)} for dataset in datasets
    )
    assert train and valid and not train & valid and len(train | valid) == 30


def test_progress_counts_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare_module, "BUNDLE_DOCUMENTS", 100)
    seen = []
    prepare(
        ["", *DOCUMENTS],
        ByteTokenizer(),
        tmp_path / "data",
        progress=lambda *done: seen.append(done),
    )
    sizes = [len(text.encode()) for text in DOCUMENTS]
    assert seen == [
        ("preparing", sum(sizes[:count]), None) for count in (100, 200, 300, 400, 400)
    ]


@pytest.mark.parametrize(
    ("documents", "options", "message"),
    [
        (
            [],
            {},
            "empty corpus: 0 documents, none with any text; nothing to write to .*data",
        ),
        (["", ""], {}, "empty corpus: 2 documents"),
        ("text", {}, "documents is one string; give a list"),
        ([b"bytes"], {}, "a document is a bytes; expected a str"),
        (
            ["ok", "a\ud800b"],
            {},
            r"document 1 holds the lone surrogate \\ud800, which is not text",
        ),
        (["ok", "refuse me"], {}, "this text is refused"),
        (["ok", "refuse me"], {"workers": 2}, "this text is refused"),
        ([Path("missing.txt")], {"workers": 2}, "no such file or folder: missing.txt"),
        (["a"], {"workers": 0}, "workers is 0; expected at least 1"),
        (["a"], {"fractions": {"train": 0.5}}, "fractions must sum to 1"),
        (["a"], {"fractions": {"../x": 1.0}}, "split '../x' is no name for a folder"),
        (["a"], {"shard_tokens": 0}, "shard_tokens is 0; expected at least 1"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    tmp_path, documents, options, message
):
    with pytest.raises(ValueError, match=message) as caught:
        prepare(documents, ByteTokenizer(), tmp_path / "data", **options)
    assert os.listdir(tmp_path) == [] and "\n" not in str(caught.value)


def test_tokenizers_that_do_not_fit_leave_nothing(tmp_path):
    for tokenizer, message in [
        (
            ByteTokenizer(bos_id=None),
            "add_bos is set, and the tokenizer has no bos token; use add_bos=False",
        ),
        (ByteTokenizer(offset=250), "holds id 347; the vocabulary has ids 0 to 299"),
        (ByteTokenizer(vocab_size=0), "vocab_size is 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            prepare(["a"], tokenizer, tmp_path / "data")
    with pytest.raises(
        RuntimeError, match=r"a worker process failed:(?s:.*)KeyError: 'broken'"
    ):
        prepare(["a", "break"], ByteTokenizer(), tmp_path / "data", workers=2)
    assert os.listdir(tmp_path) == []


def test_an_error_in_writing_ends_the_processes_and_closes_the_files(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(prepare_module, "BUNDLE_BYTES", 100)
    writers = []

    class Remembered(prepare_module.SplitWriter):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            writers.append(self)

    monkeypatch.setattr(prepare_module, "SplitWriter", Remembered)
    with pytest.raises(
        ValueError, match="holds id 349; the vocabulary has ids 0 to 348"
    ) as caught:
        prepare(
            ["c" * 100] * 50,
            ByteTokenizer(offset=250, vocab_size=349),
            tmp_path / "data",
            workers=2,
        )
    assert caught.value  # its traceback still holds every local variable
    assert not any(
        "spawn_main" in " ".join(child.cmdline())
        for child in psutil.Process().children()
    )
    files = [writer._file for writer in writers if writer._file is not None]
    assert len(files) == 1 and files[0].closed and os.listdir(tmp_path) == []


def test_existing_folder_is_kept_until_the_new_one_is_complete(tmp_path):
    folder = tmp_path / "data"
    prepare(["old"], ByteTokenizer(), folder)
    before = contents(folder)
    with pytest.raises(
        ValueError,
        match=r"data exists; choose another folder, or ask for it to be replaced",
    ):
        prepare(["new"], ByteTokenizer(), folder)

    def interrupted():
        yield "new"
        assert contents(folder) == before
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(interrupted(), ByteTokenizer(), folder, overwrite=True)
    assert contents(folder) == before and os.listdir(tmp_path) == ["data"]
    prepare(["new"], ByteTokenizer(), folder, fractions={"train": 1.0}, overwrite=True)
    assert decoded(open_dataset(folder)) == ["new"] and os.listdir(tmp_path) == ["data"]


def test_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    """A limit on the size of files makes a write in the middle of a shard fail as a
    full disk does.
    """
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(
            OSError,
            match=r"cannot write .*data: File too large; nothing was left behind",
        ) as caught:
            prepare(
                ["word " * 4000] * 20,
                ByteTokenizer(),
                tmp_path / "data",
                fractions={"train": 1.0},
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (
        "\n" not in str(caught.value)
        and ".tmp" not in str(caught.value)
        and os.listdir(tmp_path) == []
    )


@pytest.mark.parametrize("write_whole", [nullcontext, atomic_path])
def test_full_disk_while_the_tokenizer_is_saved(tmp_path, monkeypatch, write_whole):
    def full(self, path):
        with write_whole(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(ByteTokenizer, "save", full)
    with pytest.raises(
        OSError,
        match=r"^cannot write .*/data: No space left on device; nothing was left",
    ):
        prepare(["a"], ByteTokenizer(), tmp_path / "data")
    assert os.listdir(tmp_path) == []


def test_source_that_cannot_be_read_is_not_blamed_on_the_folder(tmp_path):
    def source():
        yield (tmp_path / "gone.txt").read_text()

    with pytest.raises(FileNotFoundError, match=r"gone\.txt"):
        prepare(source(), ByteTokenizer(), tmp_path / "data")
    assert os.listdir(tmp_path) == []


SCRIPT = """
import sys, itertools
sys.path.insert(0, {tests!r})
from pathlib import Path
from tiny_tokenizer import ByteTokenizer
from happyllm_support.text.shards.prepare import prepare

if __name__ == "__main__":
    endless = (f"document {{i}} " * 50 for i in itertools.count())
    folder, fractions = Path(sys.argv[1]), {{"train": 1.0}}
    try:
        prepare(endless, ByteTokenizer(), folder, workers=2, fractions=fractions)
    except KeyboardInterrupt:
        sys.exit("interrupted")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent as a signal")
def test_control_c_ends_the_processes_and_leaves_nothing(tmp_path):
    script, work = tmp_path / "script.py", tmp_path / "work"
    work.mkdir()
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parents[1])))
    command = [sys.executable, str(script), str(work / "data")]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        # until it is in full swing
        while not any(file.stat().st_size for file in work.rglob("*.tokens")):
            assert process.poll() is None
            time.sleep(0.02)
        children = psutil.Process(process.pid).children()
        assert len(children) >= 2
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
        _, errors = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert (process.returncode, errors.strip()) == (1, "interrupted")
    psutil.wait_procs(children, timeout=30)
    assert (
        not any(child.is_running() for child in children) and list(work.iterdir()) == []
    )


def test_index_lists_the_hash_of_every_shard(tmp_path):
    prepare(DOCUMENTS, ByteTokenizer(), tmp_path / "data", shard_tokens=4000, seed=3)
    index = json.loads((tmp_path / "data" / "index.json").read_text())
    assert index["options"] == {
        "fractions": {"train": 0.9, "valid": 0.05, "test": 0.05},
        "seed": 3,
        "add_bos": True,
        "add_eos": True,
    }
    listed = {
        s["file"]: s["sha256"]
        for split in index["splits"].values()
        for s in split["shards"]
    }
    shards = [name for name in contents(tmp_path / "data") if "/" in name]
    assert (
        listed == {name: file_sha256(tmp_path / "data" / name) for name in shards}
        and len(shards) > 3
    )


def test_the_course_tokenizer_in_other_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare_module, "BUNDLE_BYTES", 2000)
    merges = tuple((ord(a), ord(b)) for a, b in ("in", "th", "st", "we"))
    specials = {"<|pad|>": 260, "<|bos|>": 261, "<|eos|>": 262}
    tokenizer = Tokenizer(
        BPEModel(merges=merges, pattern="bilingual", special_tokens=specials)
    )
    documents = [*DOCUMENTS, "the text <|eos|> is ordinary"]
    for workers in (1, 2):
        prepare(
            documents,
            tokenizer,
            tmp_path / str(workers),
            workers=workers,
            fractions={"train": 1.0},
        )
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    dataset = open_dataset(
        tmp_path / "2", vocabulary=tokenizer.fingerprint, verify=True
    )
    loaded = Tokenizer.load(dataset.root / "tokenizer.json")
    assert loaded.fingerprint == dataset.vocabulary and dataset.pad_id == 260
    assert [
        loaded.decode(ids.tolist()[1:-1]) for ids in dataset.documents()
    ] == documents
    assert all(
        (ids[0], ids[-1]) == (261, 262) and 262 not in ids[:-1]
        for ids in dataset.documents()
    )
