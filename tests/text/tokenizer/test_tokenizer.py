import itertools
import pickle
import tracemalloc
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_bpe import MIXED, small_model, small_tokenizer, texts

from happyllm_support.text.tokenizer import tokenizer as tokenizer_module
from happyllm_support.text.tokenizer.bpe import DEFAULT_SPECIALS, BPEModel
from happyllm_support.text.tokenizer.streaming import SettledText
from happyllm_support.text.tokenizer.tokenizer import Tokenizer

BACKENDS = ("tiktoken", "python")


@pytest.fixture(params=BACKENDS)
def tokenizer(request):
    return Tokenizer(small_model(), request.param)


@pytest.mark.parametrize("pattern", ["bilingual", "gpt2"])
@settings(max_examples=150, deadline=None)
@given(text=texts)
def test_both_backends_give_the_same_ids_and_the_text_back(pattern, text):
    fast, plain = (small_tokenizer(pattern, backend) for backend in BACKENDS)
    for allowed in ((), "all", {"<|eos|>"}):
        ids = fast.encode(text, allowed_special=allowed)
        assert ids == plain.encode(text, allowed_special=allowed)
        assert fast.decode(ids, errors="strict") == text


@settings(max_examples=200, deadline=None)
@given(
    data=st.one_of(
        st.binary(max_size=60),
        st.lists(
            st.sampled_from([b"\xff", b"\xe8\xaf", b"the cat ", b"\xed\xa0\x80"])
        ).map(b"".join),
    )
)
def test_every_byte_string_comes_back(data):
    for backend in BACKENDS:
        tokenizer = small_tokenizer(backend=backend)
        assert tokenizer.decode_bytes(tokenizer.encode_bytes(data)) == data


def test_all_bytes_and_all_pairs_of_them(tokenizer):
    data = bytes(itertools.chain.from_iterable(itertools.product(range(256), repeat=2)))
    assert tokenizer.decode_bytes(tokenizer.encode_bytes(data)) == data
    assert tokenizer.decode_bytes(range(256)) == bytes(range(256))


def test_valid_bytes_are_encoded_as_text(tokenizer):
    assert tokenizer.encode_bytes(MIXED.encode()) == tokenizer.encode(MIXED)
    assert len(tokenizer.encode(MIXED)) < 0.6 * len(MIXED.encode())


def test_special_tokens_only_where_allowed(tokenizer):
    eos, pad = tokenizer.special_tokens["<|eos|>"], tokenizer.special_tokens["<|pad|>"]
    text = "a<|eos|>b<|pad|>"
    assert not {eos, pad} & set(tokenizer.encode(text))
    assert tokenizer.encode(text, allowed_special={"<|eos|>"}).count(eos) == 1
    assert pad not in tokenizer.encode(text, allowed_special={"<|eos|>"})
    assert tokenizer.encode(text, allowed_special="all") == [97, eos, 98, pad]
    assert tokenizer.encode("ab", add_bos=True, add_eos=True) == [
        tokenizer.bos_id,
        *tokenizer.encode("ab"),
        eos,
    ]
    assert tokenizer.decode([97, eos, 98]) == "a<|eos|>b"
    assert tokenizer.decode([97, eos, 98], skip_special=True) == "ab"


def test_markers_have_ids_of_their_own(tokenizer):
    ids = [tokenizer.special_tokens[name] for name in DEFAULT_SPECIALS]
    assert len(set(ids)) == 7 and min(ids) == tokenizer.vocab_size - 7
    assert (tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id) == tuple(ids[:3])


def test_longer_special_token_wins(tokenizer):
    model = BPEModel(
        merges=(), pattern="gpt2", special_tokens={"<a>": 256, "<a>>": 257}
    )
    assert Tokenizer(model, tokenizer.backend).encode(
        "<a>><a>", allowed_special="all"
    ) == [257, 256]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda t: t.encode("x", allowed_special={"<|foo|>"}),
            r"unknown special token '<\|foo\|>'; expected <\|pad\|>, <\|b",
        ),
        (
            lambda t: t.encode("x", allowed_special="<|eos|>"),
            r"allowed_special is '<\|eos\|>'; expected 'all' or a",
        ),
        (
            lambda t: list(t.encode_iterable(["x"], allowed_special=["?"])),
            r"unknown special token '\?'",
        ),
        (
            lambda t: t.encode("ab\ud800c"),
            r"lone surrogate U\+D800 at position 2: .* errors='replace'",
        ),
        (
            lambda t: t.encode("\udfff", add_eos=True),
            r"lone surrogate U\+DFFF at position 0",
        ),
        (
            lambda t: list(t.encode_iterable(["abc", "d\ud800"])),
            r"lone surrogate U\+D800 at position 4",
        ),
        (
            lambda t: t.encode("x", errors="ignore"),
            r"errors is 'ignore'; expected 'strict' or 'replace'",
        ),
        (
            lambda t: t.decode([97, -1]),
            r"id -1 is out of range; expected 0 to \d+, as vocab_size is \d+",
        ),
        (lambda t: t.decode_bytes([t.vocab_size]), r"id \d+ is out of range"),
        (lambda t: list(t.decode_stream([10**9])), r"id 1000000000 is out of range"),
        (
            lambda t: t.decode([1.5]),
            r"1\.5 is a float and no id; expected whole numbers, as `\.tolist\(\)`",
        ),
        (
            lambda t: t.decode(np.array([97, 10**6])),
            r"id np.int64\(1000000\) is out of range",
        ),
        (lambda t: t.decode(torch.tensor([97])), r"tensor\(97\) is a Tensor and no id"),
        (lambda t: t.token_bytes(-5), r"id -5 is out of range"),
    ],
)
def test_wrong_use_is_one_line(tokenizer, call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call(tokenizer)
    assert "\n" not in str(caught.value)


def test_a_vocabulary_without_markers_says_so():
    bare = Tokenizer(BPEModel(merges=(), pattern="gpt2"))
    assert bare.pad_id is bare.bos_id is bare.eos_id is None
    for option, name in (("add_bos", "bos"), ("add_eos", "eos")):
        with pytest.raises(
            ValueError, match=rf"no <\|{name}\|>; its special tokens: none"
        ):
            bare.encode("x", **{option: True})


def test_lone_surrogates_are_replaced_when_asked(tokenizer):
    ids = tokenizer.encode(
        "a\ud800b\udc00<|eos|>", errors="replace", allowed_special="all"
    )
    assert (
        tokenizer.decode(ids) == "a\ufffdb\ufffd<|eos|>" and ids[-1] == tokenizer.eos_id
    )
    assert list(
        tokenizer.encode_iterable(["a\ud83d", "\ude00"], errors="replace")
    ) == tokenizer.encode("a\ufffd\ufffd")


@pytest.mark.parametrize("pattern", ["bilingual", "gpt2", r"[a-z]+ [a-z]+|\S"])
@settings(max_examples=80, deadline=None)
@given(text=texts, data=st.data())
def test_chunks_give_the_ids_of_the_joined_text(pattern, text, data):
    text = text * data.draw(st.integers(1, 3))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    chunks = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    tokenizer = small_tokenizer(pattern)
    with pytest.MonkeyPatch.context() as patch:  # look for a cut at every chunk
        patch.setattr(
            tokenizer_module, "SettledText", partial(SettledText, block_size=1)
        )
        for allowed in ((), "all"):
            ids = list(
                tokenizer.encode_iterable(
                    chunks, allowed_special=allowed, add_bos=True, add_eos=True
                )
            )
            assert ids == tokenizer.encode(
                text, allowed_special=allowed, add_bos=True, add_eos=True
            )


def test_streaming_memory_does_not_grow_with_the_text(tokenizer):
    def peak(n):
        tracemalloc.start()
        count = sum(
            1
            for _ in tokenizer.encode_iterable(
                (MIXED for _ in range(n)), allowed_special="all"
            )
        )
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return count, used

    peak(1)
    (few, small), (many, large) = peak(400), peak(2000)
    assert many == 5 * few and large < 1.5 * small


def test_streamed_text_is_the_decoded_text(tokenizer):
    ids = [*tokenizer.encode(MIXED), 0xE8, 0xAF, tokenizer.eos_id, 0xF0]
    shown = list(tokenizer.decode_stream(ids))
    assert "".join(shown) == tokenizer.decode(ids) and "" not in shown
    assert list(tokenizer.decode_stream([0xE8, 0xAF, 0xAD, 97])) == ["语", "a"]
    with pytest.raises(UnicodeDecodeError):
        tokenizer.decode([0xE8], errors="strict")


def test_batches(tokenizer):
    assert tokenizer.encode_batch(["a", "", MIXED], add_eos=True) == [
        [97, tokenizer.eos_id],
        [tokenizer.eos_id],
        tokenizer.encode(MIXED, add_eos=True),
    ]


def test_saved_and_loaded_it_is_the_same(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "t.json")
    loaded = Tokenizer.load(tmp_path / "t.json", tokenizer.backend)
    assert (
        loaded.model == tokenizer.model
        and loaded.model.report == tokenizer.model.report
    )
    assert loaded.fingerprint == tokenizer.fingerprint and loaded.encode(
        MIXED
    ) == tokenizer.encode(MIXED)


def test_it_travels_to_other_processes(tokenizer):
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert copy.backend == tokenizer.backend and copy.encode(MIXED) == tokenizer.encode(
        MIXED
    )


def test_two_merges_may_not_make_the_same_token():
    with pytest.raises(ValueError, match="two merges make the same token; expected"):
        Tokenizer(BPEModel(merges=((1, 2), (256, 3), (2, 3), (1, 258)), pattern="gpt2"))
