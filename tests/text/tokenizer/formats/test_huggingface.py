import json

import pytest
from hypothesis import given, settings
from small_bpe import MIXED, small_tokenizer, texts

from happyllm_support.text.tokenizer.bpe import BPEModel
from happyllm_support.text.tokenizer.formats.huggingface import (
    from_huggingface,
    to_huggingface,
)
from happyllm_support.text.tokenizer.tokenizer import Tokenizer

tokenizers = pytest.importorskip("tokenizers")


@pytest.fixture(scope="module", params=["bilingual", "gpt2"])
def exported(request, tmp_path_factory):
    """Our tokenizer, Hugging Face's of the same merges, and its file."""
    ours = small_tokenizer(request.param)
    path = tmp_path_factory.mktemp("hf") / "tokenizer.json"
    to_huggingface(ours, path)
    return ours, tokenizers.Tokenizer.from_file(str(path)), path


def test_ids_are_equal_on_hard_text(exported):
    ours, hugging_face, _ = exported

    @settings(max_examples=400, deadline=None)
    @given(texts)
    def check(text):
        ids = ours.encode(text, allowed_special="all")
        assert hugging_face.encode(text, add_special_tokens=False).ids == ids
        assert hugging_face.decode(ids, skip_special_tokens=False) == text

    check()


def test_special_tokens_go_along(exported):
    ours, hugging_face, _ = exported
    assert hugging_face.get_vocab_size() == ours.vocab_size
    for text, token in ours.special_tokens.items():
        assert hugging_face.encode(text).ids == [token]
    # Hugging Face leaves special tokens out unless told
    assert hugging_face.decode([97, ours.eos_id]) == "a"


def test_what_is_written_for_hugging_face_is_read_back(exported):
    ours, _, path = exported
    assert from_huggingface(path).fingerprint == ours.fingerprint
    old = json.loads(path.read_text("utf-8"))
    old["model"]["merges"] = [
        " ".join(pair) for pair in old["model"]["merges"]
    ]  # as older releases wrote them
    path.with_name("old.json").write_text(json.dumps(old))
    assert from_huggingface(path.with_name("old.json")).fingerprint == ours.fingerprint


def test_a_tokenizer_that_hugging_face_trained(tmp_path):
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE())
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    theirs.train_from_iterator([MIXED] * 3, trainer)
    theirs.add_special_tokens(["<|endoftext|>"])
    theirs.save(str(tmp_path / "t.json"))
    ours = from_huggingface(tmp_path / "t.json")
    assert (
        ours.encode(MIXED) == theirs.encode(MIXED).ids
        and ours.eos_id == ours.vocab_size - 1
    )


AROUND = ["a <|eos|> b", "x<|eos|>9", " \n<|eos|> \n", "<|eos|><|pad|> ", "_<|eos|>"]


@pytest.mark.parametrize(
    ("field", "means_the_same"),
    [
        ("lstrip", False),
        ("rstrip", False),
        ("single_word", False),
        ("special", True),
        ("normalized", True),
    ],
)
def test_options_of_special_tokens_that_change_ids_are_refused(
    tmp_path, field, means_the_same
):
    path = tmp_path / "tokenizer.json"
    ours = small_tokenizer()
    to_huggingface(ours, path)
    content = json.loads(path.read_text("utf-8"))
    eos = next(t for t in content["added_tokens"] if t["content"] == "<|eos|>")
    eos[field] = not eos[field]
    path.write_text(json.dumps(content))
    theirs = tokenizers.Tokenizer.from_file(str(path))
    same = [
        theirs.encode(text).ids == ours.encode(text, allowed_special="all")
        for text in AROUND
    ]
    assert all(same) == means_the_same
    if means_the_same:
        assert from_huggingface(path).fingerprint == ours.fingerprint
        return
    with pytest.raises(
        ValueError, match=rf"added token '<\|eos\|>' has {field} = True; expected false"
    ) as caught:
        from_huggingface(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("specials", [("<a>", "<a><b>"), ("bc", "ab"), ("bc", "abcd")])
def test_special_tokens_that_are_looked_for_one_after_the_other(tmp_path, specials):
    path = tmp_path / "tokenizer.json"
    ids = {text: 256 + number for number, text in enumerate(specials)}
    ours = Tokenizer(BPEModel(merges=(), pattern="gpt2", special_tokens=ids))
    to_huggingface(ours, path)
    assert from_huggingface(path).fingerprint == ours.fingerprint
    path.write_text(change(path, "added_tokens", 1, "normalized", value=True))
    theirs, text = tokenizers.Tokenizer.from_file(str(path)), "<a><b>abcd"
    assert theirs.encode(text).ids != ours.encode(text, allowed_special="all")
    with pytest.raises(
        ValueError,
        match=f"'{specials[1]}' has normalized = True and overlaps '{specials[0]}'",
    ):
        from_huggingface(path)


def change(path, *keys, value):
    content = json.loads(path.read_text("utf-8"))
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    return json.dumps(content)


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("model",), None, "is not a Hugging Face tokenizer: it has no 'model' object"),
        (
            ("model", "type"),
            "Unigram",
            "holds a 'Unigram' model; expected byte-level 'BPE'",
        ),
        (("model", "byte_fallback"), True, "uses byte_fallback = True"),
        (
            ("model", "merges"),
            [["t", "h"], ["a"]],
            r"merge 2 is \['a'\]; expected a pair of tokens",
        ),
        (
            ("model", "merges"),
            [["q", "zzz"]],
            "merge 1, 'q' with 'zzz', uses 'zzz', which no earlier merge makes",
        ),
        (
            ("model", "merges"),
            [],
            "is neither a special token nor made by one of the 0 merges",
        ),
        (
            ("model", "vocab"),
            None,
            "is not a Hugging Face tokenizer: it has no 'vocab' object",
        ),
        (
            ("model", "merges"),
            5,
            "is not a Hugging Face tokenizer: its 'merges' is no list",
        ),
        (
            ("normalizer",),
            {"type": "NFC"},
            "normalizes text with 'NFC'; expected no normalizer",
        ),
        (
            ("pre_tokenizer",),
            {"type": "Whitespace"},
            "cuts text with 'Whitespace'; expected ByteLevel",
        ),
        (
            ("pre_tokenizer",),
            {"type": "ByteLevel", "add_prefix_space": True},
            "cuts text with 'ByteLevel'",
        ),
        (("pre_tokenizer",), None, "cuts text with None"),
        (
            ("added_tokens",),
            [{"id": 3}],
            r"added token \{'id': 3\} has no content and id",
        ),
    ],
)
def test_hugging_face_files_that_would_give_other_ids(tmp_path, keys, value, message):
    path = tmp_path / "tokenizer.json"
    to_huggingface(small_tokenizer(), path)
    path.write_text(change(path, *keys, value=value))
    with pytest.raises(ValueError, match=rf"tokenizer\.json.*{message}") as caught:
        from_huggingface(path)
    assert "\n" not in str(caught.value)
