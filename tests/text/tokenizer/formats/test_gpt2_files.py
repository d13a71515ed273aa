import json
import os
from pathlib import Path

import pytest
from small_bpe import MIXED, small_model

from happyllm_support.text.tokenizer.bpe import BPEModel
from happyllm_support.text.tokenizer.formats.gpt2_files import (
    check_merges,
    load_gpt2_files,
    token_to_string,
)
from happyllm_support.text.tokenizer.tokenizer import Tokenizer

HOME = Path(os.environ.get("HAPPYLLM_HOME", "~/.cache/happyllm")).expanduser()


def as_gpt2_files(model, folder):
    """Write `model` as GPT-2's two files."""
    strings = [
        token_to_string(token) for token in model.token_bytes[: 256 + len(model.merges)]
    ]
    vocabulary = {
        string: token for token, string in enumerate(strings)
    } | model.special_tokens
    (folder / "encoder.json").write_text(json.dumps(vocabulary))
    lines = [f"{strings[left]} {strings[right]}" for left, right in model.merges]
    (folder / "vocab.bpe").write_text(
        "\n".join(["#version: 0.2", *lines, ""]), encoding="utf-8"
    )
    return folder / "encoder.json", folder / "vocab.bpe"


def test_characters_for_bytes():
    assert token_to_string(" café\n".encode()) == "ĠcafÃ©Ċ"
    assert [token_to_string(bytes([b])) for b in (0, 32, 33, 126, 127, 173)] == [
        "Ā",
        "Ġ",
        "!",
        "~",
        "ġ",
        "Ń",
    ]
    every = token_to_string(bytes(range(256)))
    assert len(set(every)) == 256 and every.isprintable()


def test_the_two_files_give_the_model(tmp_path):
    model = small_model("gpt2")
    files = as_gpt2_files(model, tmp_path)
    assert load_gpt2_files(*files) == model
    assert Tokenizer.from_gpt2(*files).encode(MIXED) == Tokenizer(model).encode(MIXED)


def swap(lines, a, b):
    lines[a], lines[b] = lines[b], lines[a]
    return lines


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda m: swap(m, 1, 2),
            r"vocab\.bpe does not match .*json: merge 1, .* should have id 256, but",
        ),
        (
            lambda m: m[:50] + m[51:],
            r"vocab\.bpe does not match .*json: merge 50, .* should have id 305",
        ),
        (
            lambda m: [*m[:50], *m[-1:]],
            r"neither a special token nor made by one of the 49 merges; a vocabulary",
        ),
        (lambda m: [*m[:-1], m[1], ""], r"merge \d+, .* makes .* a second time"),
        (
            lambda m: [*m[:-1], "a qqq", ""],
            r"merge \d+, 'a' with 'qqq', uses 'qqq', which no earlier merge makes",
        ),
        (
            lambda m: [*m[:-1], "z q", ""],
            r"merge \d+, 'z' with 'q', should have id \d+, but 'zq' has id none",
        ),
        (
            lambda m: m[1:],
            r"vocab\.bpe is no merge file: line 1 is .*, expected '#version: 0\.2'",
        ),
        (
            lambda m: m[:-1],
            r"vocab\.bpe is cut off: its last line, \d+, has no line end",
        ),
        (
            lambda m: [*m[:3], "abc", *m[3:]],
            r"vocab\.bpe, line 4: 'abc' is not two tokens with a space",
        ),
        (
            lambda m: [*m[:3], "a b c", *m[3:]],
            r"vocab\.bpe, line 4: 'a b c' is not two tokens",
        ),
    ],
)
def test_merges_that_do_not_match(tmp_path, change, message):
    vocabulary, merges = as_gpt2_files(small_model("gpt2"), tmp_path)
    lines = merges.read_text("utf-8").split("\n")
    merges.write_text("\n".join(change(lines)), encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        load_gpt2_files(vocabulary, merges)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda text: text[:-20],
            r"encoder\.json is not a GPT-2 vocabulary: no valid JSON at line 1, column",
        ),
        (
            lambda text: "[1, 2]",
            r"encoder\.json is not a GPT-2 vocabulary: .*object.* list",
        ),
        (
            lambda text: text.replace('"a": 97', '"a": 98'),
            r"encoder\.json: id 98 of 'b' is given twice",
        ),
        (
            lambda text: text.replace('"a": 97', '"a": "97"'),
            r"encoder\.json: 'a' has id '97'; expected whole numbers 0 to",
        ),
        (
            lambda text: text.replace('"a": 97', '"a": 9999'),
            r"encoder\.json: 'a' has id 9999; expected whole numbers 0 to",
        ),
        (
            lambda text: text.replace('"a": 97', '"語": 97'),
            r"encoder\.json: byte 0x61 has id None; expected the ids 0 to 255",
        ),
    ],
)
def test_vocabularies_that_are_none(tmp_path, change, message):
    vocabulary, merges = as_gpt2_files(small_model("gpt2"), tmp_path)
    vocabulary.write_text(change(vocabulary.read_text()), encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        load_gpt2_files(vocabulary, merges)
    assert "\n" not in str(caught.value)


def test_a_token_that_can_never_occur_is_refused():
    # "abc" is made from a and bc, but ab is merged first: who looks up whole pieces
    # says 258, who merges says 256, 99.
    model = BPEModel(merges=((97, 98), (98, 99), (97, 257)), pattern="gpt2")
    with pytest.raises(
        ValueError,
        match=r"here: token 258, b'abc', can never occur; .* merge to \[256, 99\]",
    ):
        check_merges(model, "here")
    check_merges(small_model(), "here")


def test_files_with_such_a_token_are_refused(tmp_path):
    files = as_gpt2_files(
        BPEModel(merges=((97, 98), (98, 99), (97, 257)), pattern="gpt2"), tmp_path
    )
    strings = json.loads(files[0].read_text())
    assert [strings[name] for name in ("ab", "bc", "abc")] == [256, 257, 258]
    with pytest.raises(
        ValueError, match=r"vocab\.bpe does not match .*: token 258, .* can never occur"
    ):
        load_gpt2_files(*files)


def gpt2_files():
    for folder in (HOME / "gpt2", HOME):
        if (folder / "encoder.json").exists() and (folder / "vocab.bpe").exists():
            return folder / "encoder.json", folder / "vocab.bpe"
    pytest.skip(f"GPT-2's encoder.json and vocab.bpe are not in {HOME}")


@pytest.mark.parametrize("backend", ["tiktoken", "python"])
def test_gpt2_itself(backend):
    tokenizer = Tokenizer.from_gpt2(*gpt2_files(), backend=backend)
    assert tokenizer.vocab_size == 50257 and tokenizer.eos_id == 50256
    assert tokenizer.encode("Hello, world!") == [15496, 11, 995, 0]
    assert tokenizer.encode("<|endoftext|>", allowed_special="all") == [50256]
    assert tokenizer.decode(tokenizer.encode(MIXED)) == MIXED
