import json

import pytest
from hypothesis import given, settings
from small_bpe import MIXED, small_model, small_tokenizer, texts

from happyllm_support.text.tokenizer.bpe import BPEModel
from happyllm_support.text.tokenizer.formats.huggingface import (
    from_huggingface,
    to_huggingface,
    to_tiktoken,
)
from happyllm_support.text.tokenizer.tokenizer import Tokenizer

tokenizers = pytest.importorskip("tokenizers")


@pytest.fixture(scope="module", params=["bilingual", "gpt2"])
def exported(request, tmp_path_factory):
    """Ours, tiktoken's and Hugging Face's tokenizer of the same merges."""
    ours = small_tokenizer(request.param)
    path = tmp_path_factory.mktemp("hf") / "tokenizer.json"
    to_huggingface(ours, path)
    return ours, to_tiktoken(ours), tokenizers.Tokenizer.from_file(str(path)), path


def test_ids_are_equal_on_hard_text(exported):
    ours, tiktoken, hugging_face, _ = exported

    @settings(max_examples=400, deadline=None)
    @given(texts)
    def check(text):
        assert tiktoken.encode_ordinary(text) == ours.encode(text)
        ids = ours.encode(text, allowed_special="all")
        assert tiktoken.encode(text, allowed_special="all") == ids
        assert hugging_face.encode(text, add_special_tokens=False).ids == ids
        assert (
            tiktoken.decode(ids)
            == hugging_face.decode(ids, skip_special_tokens=False)
            == text
        )

    check()


def test_special_tokens_go_along(exported):
    ours, tiktoken, hugging_face, _ = exported
    assert tiktoken.n_vocab == hugging_face.get_vocab_size() == ours.vocab_size
    for text, token in ours.special_tokens.items():
        assert (
            tiktoken.encode(text, allowed_special="all")
            == hugging_face.encode(text).ids
            == [token]
        )
    assert (
        hugging_face.decode([97, ours.eos_id]) == "a"
    )  # Hugging Face leaves special tokens out unless told


def test_what_is_written_for_hugging_face_is_read_back(exported):
    ours, _, _, path = exported
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


def test_text_between_matches_is_kept_in_tiktoken_too():
    ours = Tokenizer(small_model(r"\p{L}+o? \p{L}+", 400))
    encoding = to_tiktoken(ours)
    assert (
        ours.backend == "tiktoken"
        and encoding.decode(encoding.encode_ordinary(MIXED)) == MIXED
    )
    assert encoding.encode_ordinary(MIXED) == Tokenizer(ours.model, "python").encode(
        MIXED
    )


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (r"\p{L}*", "can match the empty string"),
        (r"\m\w+|\s|\S", "tiktoken cannot compile"),
    ],
)
def test_patterns_that_tiktoken_cannot_run(pattern, message):
    with pytest.raises(ValueError, match=message) as caught:
        to_tiktoken(Tokenizer(BPEModel(merges=(), pattern=pattern), "python"))
    assert "\n" not in str(caught.value)


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
            "holds a 'Unigram' model; only byte-level 'BPE'",
        ),
        (("model", "byte_fallback"), True, "uses byte_fallback = True"),
        (
            ("model", "merges"),
            [["t", "h"], ["a"]],
            r"merge 2 is \['a'\]; a pair of tokens is expected",
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
            "normalizes text with 'NFC'; only no normalizer",
        ),
        (
            ("pre_tokenizer",),
            {"type": "Whitespace"},
            "cuts text with 'Whitespace'; supported are ByteLevel",
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
