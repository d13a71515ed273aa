import errno
import json
import os
import re
from pathlib import Path

import pytest

from happyllm_support import files
from happyllm_support.cli import main
from happyllm_support.commands import tokenizer as commands
from happyllm_support.commands import train_tokenizer
from happyllm_support.text.tokenizer.tokenizer import Tokenizer

TEXT = "The boat <|eos|> 老人\n"
GPT2 = (
    Path(os.environ.get("HAPPYLLM_HOME", Path.home() / ".cache" / "happyllm")) / "gpt2"
)


# Training


def test_train_reports_and_saves(run, corpus, tmp_path):
    output = tmp_path / "deep" / "out.json"
    code, out, err = run(
        "tokenizer", "train", corpus, "--vocab-size", "300", "--output", output
    )
    assert (code, err) == (0, "")
    assert (
        re.search(r"^37 merges, 300 ids, \d+\.\d s\n", out)
        and f"written to {output}" in out
    )
    assert "stopped" not in out and "dropped" not in out
    tokenizer = Tokenizer.load(output)
    assert tokenizer.vocab_size == 300 and len(tokenizer.special_tokens) == 7


def test_train_says_when_it_stopped_early_and_what_it_dropped(run, corpus, tmp_path):
    out = run(
        "tokenizer",
        "train",
        corpus,
        "--min-frequency",
        "5",
        "--output",
        tmp_path / "a.json",
    )[1]
    assert "stopped because of min_frequency" in out and re.search(
        r"\([0-9,]+ ids fewer than asked for\)", out
    )
    corpus.write_text(" ".join(f"word{i % 7} rare{i}" for i in range(2000)))
    out = run(
        "tokenizer",
        "train",
        corpus,
        "--max-unique",
        "50",
        "--output",
        tmp_path / "b.json",
    )[1]
    assert re.search(
        r"dropped [0-9,]+ rare pieces \([0-9,]+ occurrences\) to stay within "
        "--max-unique",
        out,
    )


def test_train_takes_corpora_folders_and_json_lines(run, corpus, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.jsonl").write_text((json.dumps({"body": "a zebra"}) + "\n") * 50)
    (folder / "b.md").write_text("giraffe " * 50)
    code, _, err = run(
        "tokenizer", "train", folder, corpus, "storyworld-zh", "--stories", "50",
        "--field", "body", "--vocab-size", "700", "--output", tmp_path / "out.json",
    )  # fmt: skip
    assert (code, err) == (0, "")
    tokenizer = Tokenizer.load(tmp_path / "out.json")
    assert all(
        len(tokenizer.encode(word)) == 1 for word in (" zebra", " giraffe", " boat")
    )
    assert len(tokenizer.encode("body")) > 1  # the field's name is no text


@pytest.mark.parametrize(
    ("options", "between"),
    [(["--separator", "<cut>"], b"cut"), (["--documents", "line"], b"\n\n")],
)
def test_train_cuts_files_into_documents_when_told_to(run, tmp_path, options, between):
    (tmp_path / "corpus.txt").write_text("zebra<cut>\n\n" * 50)
    for name, more in (("whole", []), ("cut", options)):
        assert (
            run(
                "tokenizer",
                "train",
                tmp_path / "corpus.txt",
                "--output",
                tmp_path / name,
                *more,
            )[0]
            == 0
        )
        tokens = Tokenizer.load(tmp_path / name).model.token_bytes
        assert b"zebra" in tokens and (between in tokens) == (name == "whole")


def test_train_options_reach_the_trainer(run, corpus, tmp_path):
    results = {}
    for name, options in {
        "plain": [],
        "workers": ["--workers", "2"],
        "gpt2": ["--pattern", "gpt2"],
        "specials": ["--special-tokens", "<a>", "<b>"],
        "none": ["--special-tokens"],
    }.items():
        output = tmp_path / f"{name}.json"
        assert (
            run(
                "tokenizer",
                "train",
                corpus,
                "--vocab-size",
                "290",
                "--output",
                output,
                *options,
            )[0]
            == 0
        )
        results[name] = Tokenizer.load(output)
    assert results["plain"].fingerprint == results["workers"].fingerprint
    assert results["gpt2"].model.pattern != results["plain"].model.pattern
    assert results["specials"].special_tokens == {"<a>": 288, "<b>": 289}
    assert (
        results["none"].special_tokens == {} and len(results["none"].model.merges) == 34
    )


def test_train_replaces_only_when_told_to(run, refused, corpus, trained, tmp_path):
    output = tmp_path / "out.json"
    output.write_bytes(trained.read_bytes())
    command = ["tokenizer", "train", corpus, "--vocab-size", "270", "--output", output]
    assert f"{output} is there already" in refused(*command)
    assert output.read_bytes() == trained.read_bytes()
    assert run(*command, "--force")[0] == 0 and Tokenizer.load(output).vocab_size == 270


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        (b"good bad \xff", [], "corpus.txt is not UTF-8: byte 0xff at offset 9"),
        (b"", [], "corpus.txt"),
        (b"text", ["--vocab-size", "262"], "vocab_size is 262; expected at least 263"),
        (b"text", ["--special-tokens", "a", "a"], "special token 'a' is given twice"),
        (b"text", ["--special-tokens", ""], "special token is empty"),
        (
            b"text",
            ["--special-tokens", "a\udcff"],
            "special token 'a\\udcff' holds a lone surrogate",
        ),
        (b"text", ["--min-frequency", "0"], "min_frequency is 0"),
        (b"text", ["--workers", "0"], "workers is 0"),
        (b"text", ["--max-unique", "0"], "max_unique is 0"),
        (b"text", ["--output", "."], "the output . is a folder"),
        (
            b"text",
            ["--output", os.devnull, "--force"],
            f"the output {os.devnull} is no ordinary file",
        ),
    ],
)
def test_mistakes_in_training_leave_nothing(
    refused, tmp_path, content, options, expected
):
    (tmp_path / "corpus.txt").write_bytes(content)
    command = [
        "tokenizer",
        "train",
        tmp_path / "corpus.txt",
        "--output",
        tmp_path / "out.json",
    ]
    assert expected in refused(*command, *options)
    assert os.listdir(tmp_path) == ["corpus.txt"]


def test_train_without_or_with_unknown_sources(refused, corpus, tmp_path):
    assert "no source was given" in refused(
        "tokenizer", "train", "--output", tmp_path / "x"
    )
    assert "file or folder is empty" in refused(
        "tokenizer", "train", "", "--output", tmp_path / "x"
    )
    assert "did you mean storyworld" in refused(
        "tokenizer", "train", "storyworlds", "--output", tmp_path / "x"
    )
    assert "data fetch tinyshakespeare" in refused(
        "tokenizer", "train", "tinyshakespeare", "--output", tmp_path / "x"
    )
    (tmp_path / "empty").mkdir()
    assert "no text files in folder" in refused(
        "tokenizer", "train", tmp_path / "empty", "--output", tmp_path / "x"
    )
    assert "cannot write" in refused(
        "tokenizer", "train", corpus, "--output", corpus / "x"
    )


def test_a_full_disk_while_saving_leaves_nothing(
    refused, corpus, tmp_path, monkeypatch
):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "_flush_to_disk", full)
    line = refused("tokenizer", "train", corpus, "--output", tmp_path / "out.json")
    assert (
        "out.json: No space left on device" in line and "#disk-full in the book" in line
    )
    assert os.listdir(tmp_path) == ["corpus.txt"]


def test_interrupted_training_leaves_nothing(run, corpus, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(train_tokenizer.ProgressBar, "show", interrupt)
    code, out, err = run(
        "tokenizer", "train", corpus, "--output", tmp_path / "out.json"
    )
    assert (code, out, err) == (
        130,
        "",
        "happyllm: interrupted, nothing was left half-written\n",
    )
    assert os.listdir(tmp_path) == ["corpus.txt"]


# Encoding and decoding


@pytest.mark.parametrize("text", [TEXT, "", " ", "a\r\nb", "😀 e\u0301 \u0000"])
def test_three_ways_in_and_back_out(run, trained, tmp_path, text):
    (tmp_path / "text.txt").write_bytes(text.encode())
    expected = " ".join(map(str, Tokenizer.load(trained).encode(text))) + "\n"
    assert run("tokenizer", "encode", text, "--tokenizer", trained) == (0, expected, "")
    assert (
        run(
            "tokenizer",
            "encode",
            "--file",
            tmp_path / "text.txt",
            "--tokenizer",
            trained,
        )[1]
        == expected
    )
    assert (
        run("tokenizer", "encode", "--tokenizer", trained, stdin=text.encode())[1]
        == expected
    )
    assert run(
        "tokenizer", "decode", "--tokenizer", trained, stdin=expected.encode()
    ) == (0, text, "")
    if text:
        assert run(
            "tokenizer", "decode", *expected.split(), "--tokenizer", trained
        ) == (0, text, "")


def test_special_tokens_only_when_allowed(run, refused, trained):
    eos = str(Tokenizer.load(trained).eos_id)
    encode = ["tokenizer", "encode", "<|eos|><|bos|>", "--tokenizer", trained]
    assert eos not in run(*encode)[1].split()
    assert run(*encode, "--allow-special")[1].split() == [eos, str(int(eos) - 1)]
    only = run(*encode, "--allow", "<|eos|>")[1].split()
    assert only[0] == eos and len(only) > 2
    assert "unknown special token '<|stop|>'" in refused(*encode, "--allow", "<|stop|>")


def test_closed_standard_input_is_one_line(run, trained, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", None)
    assert main(["tokenizer", "encode", "--tokenizer", str(trained)]) == 2
    assert capsys.readouterr().err.startswith(
        "happyllm: error: standard input is closed; give the text or the ids"
    )


def test_pieces_are_one_line_each(run, trained):
    out = run("tokenizer", "encode", "boat\n老é", "--tokenizer", trained, "--pieces")[1]
    rows = [line.split("\t") for line in out.splitlines()]
    assert [int(token) for token, _ in rows] == Tokenizer.load(trained).encode(
        "boat\n老é"
    )
    assert "".join(piece for _, piece in rows) == "boat\\n老\\xc3\\xa9"


def test_numbers_survive_block_borders():
    text = "12 345\n6  789"
    for size in range(1, len(text) + 1):
        blocks = [text[i : i + size] for i in range(0, len(text), size)]
        assert list(commands._numbers(blocks)) == [12, 345, 6, 789]
    assert list(commands._numbers([])) == [] == list(commands._numbers([" ", "\n"]))


def test_a_large_file_is_streamed(run, trained, tmp_path):
    text = "The old man gave the boat to the girl. 女孩把船送给小狗。\n" * 4000
    (tmp_path / "large.txt").write_text(text, "utf-8")
    out = run(
        "tokenizer", "encode", "--file", tmp_path / "large.txt", "--tokenizer", trained
    )[1]
    assert [int(token) for token in out.split()] == Tokenizer.load(trained).encode(text)
    assert (
        run("tokenizer", "decode", "--tokenizer", trained, stdin=out.encode())[1]
        == text
    )


@pytest.mark.parametrize(
    ("arguments", "stdin", "expected"),
    [
        (["encode"], b"ab\xff", "standard input is not UTF-8: byte 0xff at offset 2"),
        (["encode", "x", "--file", "y"], b"", "both a text and --file"),
        (
            ["encode", "--file", "nothing.txt"],
            b"",
            "nothing.txt: No such file or directory",
        ),
        (["encode", "--file", "."], b"", ".: Is a directory"),
        (["encode", "a\udcffb"], b"", "lone surrogate"),
        (["decode", "320"], b"", "id 320 is out of range"),
        (["decode", "72", "320"], b"", "id 320 is out of range"),
        (["decode", "-1"], b"", "id -1 is out of range"),
        (["decode"], b"thirteen 12", "'thirteen' is not an id"),
        (["decode"], b"1" * 100_000, "is not an id"),
        (["decode"], b"1 2 \xff", "standard input is not UTF-8"),
        (["decode"], "１２".encode(), "'１２' is not an id"),
    ],
)
def test_mistakes_in_encoding_and_decoding(
    refused, trained, arguments, stdin, expected
):
    assert expected in refused(
        "tokenizer", *arguments, "--tokenizer", trained, stdin=stdin
    )


# Tokenizer files


def damaged(content):
    """Ways in which a tokenizer file can be wrong, each with what the line must say."""
    tokenizer = json.loads(content)
    return {
        "cut.json": (content[:200], "cut.json"),
        "list.json": (b"[]", "list.json"),
        "binary.json": (b"\xff\xfe\x00", "binary.json is not UTF-8"),
        "empty.json": (b"", "empty.json"),
        "other.json": (b'{"format": "something"}', "'something'"),
        "merge.json": (
            json.dumps({**tokenizer, "merges": [[1, 900]]}).encode(),
            "merge 0 joins ids (1, 900)",
        ),
        "changed.json": (
            json.dumps({**tokenizer, "merges": tokenizer["merges"][:-1]}).encode(),
            "changed.json",
        ),
        "bert.json": (
            b'{"added_tokens": [], "model": {"type": "WordPiece", "vocab": {}}}',
            "bert.json",
        ),
    }


@pytest.mark.parametrize("name", list(damaged(b'{"merges": [0]}')))
def test_damaged_tokenizer_files_are_refused_by_name(refused, trained, tmp_path, name):
    content, expected = damaged(trained.read_bytes())[name]
    (tmp_path / name).write_bytes(content)
    line = refused("tokenizer", "encode", "x", "--tokenizer", tmp_path / name)
    assert expected in line and name in line


def test_folders_without_a_tokenizer_are_refused(refused, tmp_path):
    assert "expected tokenizer.json, or encoder.json" in refused(
        "tokenizer", "inspect", tmp_path
    )
    (tmp_path / "vocab.bpe").write_text("#version: 0.2\n")
    assert "encoder.json: No such file" in refused("tokenizer", "inspect", tmp_path)
    (tmp_path / "encoder.json").write_text('{"a": 0}')
    assert "encoder.json" in refused("tokenizer", "inspect", tmp_path)


def test_hugging_face_files_are_read(run, trained, tmp_path):
    from happyllm_support.text.tokenizer.formats.huggingface import to_huggingface

    to_huggingface(Tokenizer.load(trained), tmp_path / "tokenizer.json")
    expected = run("tokenizer", "encode", TEXT, "--tokenizer", trained)[1]
    assert (
        run("tokenizer", "encode", TEXT, "--tokenizer", tmp_path / "tokenizer.json")[1]
        == expected
    )
    assert run("tokenizer", "encode", TEXT, "--tokenizer", tmp_path)[1] == expected


@pytest.mark.skipif(
    not (GPT2 / "vocab.bpe").exists(), reason="GPT-2's vocabulary is not in the cache"
)
def test_gpt2_from_the_cache(run, monkeypatch):
    monkeypatch.setenv("HAPPYLLM_HOME", str(GPT2.parent))
    assert run("tokenizer", "encode", "Hello world", "--tokenizer", "gpt2") == (
        0,
        "15496 995\n",
        "",
    )


# Inspecting


def test_inspect(run, trained, corpus):
    code, out, err = run(
        "tokenizer", "inspect", trained, "--longest", "2", "--text", "boat\n老é"
    )
    tokenizer = Tokenizer.load(trained)
    assert (
        (code, err) == (0, "")
        and "320 ids: 256 bytes, 57 merges" in out
        and tokenizer.fingerprint in out
    )
    assert "<|eos|> 315" in out and "bilingual" in out
    length = max(
        len(data) for token in range(313) if (data := tokenizer.token_bytes(token))
    )
    assert (
        sum(line.endswith(f" {length}") for line in out.splitlines()) == 2
    )  # 送给女孩 and 女孩把船
    n = len(tokenizer.encode("boat\n老é"))
    assert (
        f"7 characters, 10 B, {n} tokens: {n / 7:.3f} tokens per character, "
        f"{10 / n:.2f} bytes per token" in out
    )
    assert "\nbo|at|\\n|老|\\xc3|\\xa9\n" in out
    out = run("tokenizer", "inspect", trained, "--longest", "0", "--file", corpus)[1]
    text = corpus.read_text("utf-8")
    assert (
        f"{len(text):,} characters" in out
        and f"{len(tokenizer.encode(text)):,} tokens" in out
    )
    assert "longest" not in out
    assert "老" in run("tokenizer", "inspect", trained)[1]  # the examples


def test_inspect_refuses(refused, trained, tmp_path):
    assert "--longest -1" in refused("tokenizer", "inspect", trained, "--longest", "-1")
    assert "no tokenizer 'nothing'" in refused("tokenizer", "inspect", "nothing")
