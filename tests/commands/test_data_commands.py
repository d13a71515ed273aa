import dataclasses
import errno
import hashlib
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from happyllm_support.commands import data
from happyllm_support.commands.data import parse_fractions, reservoir_sample
from happyllm_support.text.corpora import download, registry


def test_list_as_table_and_json(run):
    _, out, _ = run("data", "list")
    row = next(line for line in out.splitlines() if line.startswith("tinyshakespeare"))
    assert "1.1 MB" in row and row.endswith("no")
    found = json.loads(run("data", "list", "--json")[1])
    assert {c["name"]: c["size"] for c in found}["tinyshakespeare"] == 1_115_394


def test_sample_is_seeded_and_filtered(run, corpus):
    corpus.write_text(
        "".join(f"English number {i}\n\n中文第{i}号\n\n" for i in range(50)), "utf-8"
    )
    first = run("data", "sample", corpus, "-n", "4")[1]
    assert first.count("--- ") == 4 and "--- 4 of 4 (" in first
    assert run("data", "sample", corpus, "-n", "4")[1] == first
    assert run("data", "sample", corpus, "-n", "4", "--seed", "1")[1] != first
    out = run("data", "sample", corpus, "--number", "9", "--language", "zh", "--jsonl")[
        1
    ]
    texts = [json.loads(line)["text"] for line in out.splitlines()]
    assert len(texts) == 9 and all(text.startswith("中文第") for text in texts)
    assert (
        len(run("data", "sample", corpus, "-n", "1000", "--jsonl")[1].splitlines())
        == 100
    )


def test_sample_cuts_long_documents(run, tmp_path):
    (tmp_path / "long.txt").write_text("a" * 5000)
    out = run("data", "sample", tmp_path / "long.txt", "--max-chars", "100")[1]
    assert "a" * 100 + "\n[... 4,900 more characters]" in out and "a" * 101 not in out


def test_sample_of_the_story_world(run):
    chinese = run("data", "sample", "storyworld", "--language", "zh", "-n", "2")[1]
    assert chinese == run("data", "sample", "storyworld-zh", "-n", "2")[1]
    assert any("\u4e00" <= c <= "\u9fff" for c in chinese)


def test_reservoir_gives_every_document_the_same_chance():
    counts = [0] * 10
    for seed in range(3000):
        for item in reservoir_sample(map(str, range(10)), 3, seed):
            counts[int(item)] += 1
    assert sum(counts) == 9000 and all(
        780 < count < 1020 for count in counts
    )  # 900 expected, deviation 25


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train=0.9,valid=0.1", {"train": 0.9, "valid": 0.1}),
        ("all=1", {"all": 1.0}),
        (" a = 0.5 , b=.5", {"a": 0.5, "b": 0.5}),
    ],
)
def test_fractions_are_read(text, expected):
    assert parse_fractions(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "train",
        "train=x",
        "train=0.5",
        "train=1.5,valid=-0.5",
        "a=.5,a=.5",
        "../a=1",
        "a=nan",
    ],
)
def test_bad_fractions_are_refused(text):
    with pytest.raises(ValueError, match="--split"):
        parse_fractions(text)


class Server(HTTPServer):
    """A web server for one file, that can cut a body short."""

    body, sent = b"", None


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        assert isinstance(server, Server)
        self.send_response(200)
        self.send_header("Content-Length", str(len(server.body)))
        self.end_headers()
        self.wfile.write(server.body[: server.sent])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    """A corpus named `local-test` that comes from this machine."""
    with Server(("127.0.0.1", 0), Handler) as served:
        served.body = b"one document\n\nanother document\n" * 100
        part = download.RemoteFile(
            path="local-test.txt",
            size=len(served.body),
            digest="sha256:" + hashlib.sha256(served.body).hexdigest(),
            urls=(f"http://127.0.0.1:{served.server_port}/file",),
        )
        entry = registry.Corpus(
            name="local-test",
            kind="download",
            language="English",
            licence="",
            description="",
            citation="",
            parts={"all": part},
        )
        monkeypatch.setitem(registry.REGISTRY, "local-test", entry)
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield served
        served.shutdown()


GPT2_PARTS = {
    name: f"the content of {name}\n".encode()
    for name in registry.REGISTRY["gpt2"].parts
}


@pytest.fixture
def small_gpt2(monkeypatch, tmp_path):
    """The entry `gpt2` with the paths that it has, and small contents that come from
    this machine.
    """
    real = registry.REGISTRY["gpt2"]
    parts = {}
    for name, content in GPT2_PARTS.items():
        (tmp_path / name).write_bytes(content)
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        urls = ((tmp_path / name).as_uri(),)
        parts[name] = dataclasses.replace(
            real.parts[name], size=len(content), digest=digest, urls=urls
        )
    monkeypatch.setitem(
        registry.REGISTRY, "gpt2", dataclasses.replace(real, parts=parts)
    )
    return tmp_path


def test_fetching_gpt2_brings_weights_and_vocabulary(run, small_gpt2, cache):
    assert GPT2_PARTS.keys() == {
        "config.json",
        "model.safetensors",
        "encoder.json",
        "vocab.bpe",
    }
    assert run("data", "fetch", "gpt2") == (0, f"{cache / 'gpt2'}\n", "")
    assert {
        path.name: path.read_bytes() for path in (cache / "gpt2").iterdir()
    } == GPT2_PARTS


def test_another_file_in_place_of_gpt2s_weights_is_refused(refused, small_gpt2, cache):
    (small_gpt2 / "model.safetensors").write_bytes(
        GPT2_PARTS["model.safetensors"].swapcase()
    )
    line = refused("data", "fetch", "gpt2")
    assert (
        "cannot fetch model.safetensors" in line
        and "it was refused and deleted" in line
    )
    assert not list((cache / "gpt2").glob("model.safetensors*"))


def test_fetch_then_use(run, server, cache):
    assert "no" in run("data", "list")[1].partition("local-test")[2].splitlines()[0]
    code, out, err = run("data", "fetch", "local-test")
    assert (code, out, err) == (0, f"{cache / 'local-test.txt'}\n", "")
    assert (cache / "local-test.txt").read_bytes() == server.body
    assert "document" in run("data", "sample", "local-test")[1]


def test_truncated_and_wrong_downloads_are_refused(refused, run, server, cache):
    server.sent = 1000
    line = refused("data", "fetch", "local-test")
    assert "local-test.txt" in line and "1,000 bytes are kept" in line
    assert not (cache / "local-test.txt").exists()
    server.sent = None
    assert run("data", "fetch", "local-test")[0] == 0
    (cache / "local-test.txt").write_bytes(b"x" * len(server.body))
    line = refused("data", "sample", "local-test")
    assert (
        "local-test.txt is not the registered file: sha256:" in line
        and "delete it" in line
    )
    assert "#wrong-hash in the book" in line
    (cache / "local-test.txt").unlink()
    server.body = b"y" * len(server.body)
    line = refused("data", "fetch", "local-test")
    assert "expected sha256:" in line and "#wrong-hash in the book" in line
    assert os.listdir(cache) == []


def test_interrupted_fetching_says_that_it_goes_on(run, server, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(data.ProgressBar, "show", interrupt)
    code, out, err = run("data", "fetch", "local-test")
    assert (code, out) == (130, "") and err.startswith(
        "happyllm: interrupted, what has arrived is kept"
    )
    monkeypatch.undo()


def test_unreachable_server_is_one_line(refused, server):
    server.shutdown()
    server.server_close()
    line = refused("data", "fetch", "local-test")
    assert (
        "cannot fetch local-test.txt from http://127.0.0.1" in line
        and "#no-network in the book" in line
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["data", "sample", "tinyshakespear"], "did you mean tinyshakespeare?"),
        (["data", "sample", "tinyshakespeare"], "happyllm data fetch tinyshakespeare"),
        (["data", "sample", "gpt2-weights"], "not a corpus"),
        (["data", "sample", "storyworld", "-n", "0"], "--number 0"),
        (
            ["data", "sample", "storyworld-en", "--language", "zh", "-n", "2"],
            "no document in the language 'zh'",
        ),
        (["data", "sample", "storyworld", "--documents", "line"], "storyworld"),
        (["data", "fetch", "nothing"], "no corpus named 'nothing'"),
        (["data", "fetch", "wikitext-2/training"], "no part 'training'"),
        (["data", "fetch", "python-docs"], "needs no download"),
    ],
)
def test_mistakes_with_corpora(refused, arguments, expected):
    assert expected in refused(*arguments)


# Preparing


def prepared(folder):
    """Every file of a dataset with its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_prepare_then_open(run, corpus, trained, tmp_path):
    from happyllm_support.text.shards.dataset import open_dataset
    from happyllm_support.text.tokenizer.tokenizer import Tokenizer

    corpus.write_text(
        "".join(f"Document number {i}.\n\n第{i}篇。\n\n" for i in range(40))
        + "twice\n\ntwice\n",
        "utf-8",
    )
    code, out, err = run(
        "data", "prepare", corpus, "--tokenizer", trained, "--output", tmp_path / "set"
    )
    assert (
        (code, err) == (0, "")
        and "exact duplicate" in out
        and f"written to {tmp_path / 'set'}" in out
    )
    tokenizer = Tokenizer.load(trained)
    documents = [
        tokenizer.decode(ids, skip_special=True)
        for split in ("train", "valid", "test")
        for ids in open_dataset(tmp_path / "set", split).documents()
    ]
    assert sorted(documents) == sorted(
        {d for d in corpus.read_text("utf-8").split("\n\n")[:-1]} | {"twice"}
    )
    # The folder's tokenizer may be named by the folder.
    assert run("tokenizer", "encode", "boat", "--tokenizer", tmp_path / "set")[0] == 0


def test_prepare_does_not_depend_on_workers_and_takes_options(
    run, corpus, trained, tmp_path
):
    options = [
        "--split",
        "train=0.5,valid=0.5",
        "--min-chars",
        "20",
        "--keep-duplicates",
        "--no-bos",
        "--shard-tokens",
        "99",
    ]
    for name, workers in (("one", 1), ("two", 2)):
        output = tmp_path / name
        code, out, err = run(
            "data", "prepare", corpus, "storyworld-en", "--stories", "10",
            "--tokenizer", trained, "--output", output, "--workers", workers, *options,
        )  # fmt: skip
        assert (
            (code, err) == (0, "")
            and "too short" in out
            and "exact duplicate" not in out
        )
    assert prepared(tmp_path / "one") == prepared(tmp_path / "two")
    options = json.loads((tmp_path / "one" / "index.json").read_text())["options"]
    assert (options["add_bos"], options["add_eos"]) == (False, True)
    assert sorted(os.listdir(tmp_path / "one")) == [
        "index.json",
        "tokenizer.json",
        "train",
        "valid",
    ]


def test_prepare_replaces_only_when_told_to(run, refused, corpus, trained, tmp_path):
    command = [
        "data",
        "prepare",
        corpus,
        "--tokenizer",
        trained,
        "--output",
        tmp_path / "set",
    ]
    assert run(*command)[0] == 0
    before = prepared(tmp_path / "set")
    assert "is there already" in refused(*command)
    assert prepared(tmp_path / "set") == before
    assert run(*command, "--force", "--split", "all=1")[0] == 0
    assert "all/shard-00000.tokens" in prepared(tmp_path / "set")


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        (b"good\n\nbad \xff\n", [], "corpus.txt is not UTF-8: byte 0xff at offset 10"),
        (b"cut off \xe8\xaf", [], "at offset 8; it ends inside a character"),
        (b"", [], "corpus.txt"),
        (b" \n\n", [], "corpus.txt"),
        (
            b"text\n",
            ["--min-chars", "99"],
            "cleaning removed all 1 documents: 1 too short",
        ),
        (b"text\n", ["--split", "train=0.9"], "--split train=0.9 sum to 0.9"),
        (b"text\n", ["--workers", "0"], "workers is 0"),
        (b"text\n", ["--tokenizer", "nothing.json"], "no tokenizer 'nothing.json'"),
        (b"text\n", ["--tokenizer", "gpt2"], "happyllm data fetch gpt2-vocabulary"),
        (b"text\n", ["--near-duplicates", "2"], "near_duplicates 2.0"),
        (b"text\n", ["--separator", ""], "separator is empty"),
    ],
)
def test_mistakes_in_preparing_leave_nothing(
    refused, tmp_path, trained, content, options, expected
):
    (tmp_path / "corpus.txt").write_bytes(content)
    command = [
        "data",
        "prepare",
        tmp_path / "corpus.txt",
        "--tokenizer",
        trained,
        "--output",
        tmp_path / "set",
    ]
    assert expected in refused(*command, *options)
    assert os.listdir(tmp_path) == ["corpus.txt"]


def test_json_lines_without_the_field_are_refused_by_line(refused, tmp_path, trained):
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n{"body": "y"}\n')
    line = refused(
        "data",
        "prepare",
        tmp_path / "a.jsonl",
        "--tokenizer",
        trained,
        "--output",
        tmp_path / "set",
    )
    assert "a.jsonl:2: no field 'text'" in line and not (tmp_path / "set").exists()


def test_a_full_disk_while_preparing_leaves_nothing(
    refused, corpus, trained, tmp_path, monkeypatch
):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    line = refused(
        "data", "prepare", corpus, "--tokenizer", trained, "--output", tmp_path / "set"
    )
    assert (
        "set" in line
        and "No space left on device" in line
        and "#disk-full in the book" in line
    )
    assert os.listdir(tmp_path) == ["corpus.txt"]


def test_interrupted_preparing_leaves_nothing(
    run, corpus, trained, tmp_path, monkeypatch
):
    from happyllm_support.text.tokenizer.tokenizer import Tokenizer

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Tokenizer, "encode", interrupt)
    code, out, err = run(
        "data", "prepare", corpus, "--tokenizer", trained, "--output", tmp_path / "set"
    )
    assert (code, out, err) == (
        130,
        "",
        "happyllm: interrupted, nothing was left half-written\n",
    )
    assert os.listdir(tmp_path) == ["corpus.txt"]


# Inspecting a dataset


@pytest.fixture
def dataset(run, corpus, trained, tmp_path):
    corpus.write_text(
        "".join(f"Document number {i}.\n第{i}篇。\n\n" for i in range(40)), "utf-8"
    )
    command = [
        "data",
        "prepare",
        corpus,
        "--tokenizer",
        trained,
        "--output",
        tmp_path / "set",
    ]
    assert run(*command, "--split", "train=0.5,valid=0.5,test=0")[0] == 0
    return tmp_path / "set"


def test_inspect_describes_every_split(run, dataset, trained):
    from happyllm_support.text.shards.dataset import open_dataset
    from happyllm_support.text.tokenizer.tokenizer import Tokenizer

    code, out, err = run("data", "inspect", dataset, "--tokenizer", trained)
    tokenizer = Tokenizer.load(trained)
    assert (
        (code, err) == (0, "")
        and tokenizer.fingerprint in out
        and "320 ids" in out
        and "verified" not in out
    )
    rows = {
        line.split()[0]: line.split()[1:] for line in out.splitlines() if line.strip()
    }
    for split in ("train", "valid"):
        part = open_dataset(dataset, split)
        longest = max(len(ids) for ids in part.documents())
        share = f"{part.n_tokens / part.n_bytes:.3f}"
        counts = [f"{n:,}" for n in (len(part), part.n_tokens, part.n_bytes)]
        table, begins = (
            line.split(maxsplit=1)[1]
            for line in out.splitlines()
            if line.startswith(split)
        )
        assert table.split() == [*counts, share, str(longest), "1"]
        assert begins == "begins: " + tokenizer.decode(part.document(0)).replace(
            "\n", "\\n"
        )
    assert rows["test"] == ["0", "0", "0", "-", "-", "0"]
    assert (
        "\nverified: every shard has" in run("data", "inspect", dataset, "--verify")[1]
    )


def test_inspect_shortens_a_long_document(run, trained, tmp_path):
    (tmp_path / "long.txt").write_text("船" * 300, "utf-8")
    command = [
        "data",
        "prepare",
        tmp_path / "long.txt",
        "--tokenizer",
        trained,
        "--output",
        tmp_path / "set",
    ]
    assert run(*command, "--split", "train=1", "--no-bos")[0] == 0
    assert run("data", "inspect", tmp_path / "set")[1].endswith(
        f"\ntrain begins: {'船' * 97}...\n"
    )


def overwrite(path, at, content):
    raw = bytearray(path.read_bytes())
    raw[at : at + len(content)] = content
    path.write_bytes(raw)


def test_inspect_refuses_another_vocabulary_and_damage(
    refused, run, dataset, corpus, tmp_path
):
    other = tmp_path / "other.json"
    assert (
        run("tokenizer", "train", corpus, "--vocab-size", "300", "--output", other)[0]
        == 0
    )
    line = refused("data", "inspect", dataset, "--tokenizer", other)
    assert (
        "set was written with vocabulary" in line
        and "#other-vocabulary in the book" in line
    )
    assert "no tokenizer 'nothing'" in refused(
        "data", "inspect", dataset, "--tokenizer", "nothing"
    )
    assert "nothing is no dataset" in refused("data", "inspect", "nothing")
    own = (dataset / "tokenizer.json").read_bytes()
    (dataset / "tokenizer.json").write_bytes(other.read_bytes())
    assert "tokenizer.json has fingerprint" in refused("data", "inspect", dataset)
    (dataset / "tokenizer.json").write_bytes(own)

    shard = dataset / "valid" / "shard-00000.tokens"
    overwrite(shard, 530, b"\x01")
    assert run("data", "inspect", dataset)[0] == 0
    assert "shard-00000.tokens has SHA-256" in refused(
        "data", "inspect", dataset, "--verify"
    )
    overwrite(shard, 512, b"\xff\xff")
    assert "shard-00000.tokens, document 0: id 65535 is out of range" in refused(
        "data", "inspect", dataset
    )
    assert "shard-00000.tokens holds id 65535 at token 0" in refused(
        "data", "inspect", dataset, "--verify"
    )
    shard.write_bytes(shard.read_bytes()[:-1])
    assert "shard-00000.tokens is truncated" in refused("data", "inspect", dataset)
    shard.unlink()
    assert "shard-00000.tokens is missing" in refused("data", "inspect", dataset)
