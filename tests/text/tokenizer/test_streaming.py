import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from small_bpe import texts

from happyllm_support.text.tokenizer.pretokenize import (
    BILINGUAL_PATTERN,
    GPT2_PATTERN,
    pretokenize,
)
from happyllm_support.text.tokenizer.streaming import (
    SettledText,
    SpecialSplitter,
    Utf8Stream,
    last_cut,
)

INVALID = [
    b"\xff",
    b"\x80\x80",
    b"\xe8\xaf",
    b"\xf0\x9f\x98",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xe8a",
]


def test_utf8_stream_shows_a_character_when_it_is_complete():
    stream = Utf8Stream()
    assert [stream.push(b) for b in (b"a\xe8\xaf", b"\xad", b"\xf0\x9f")] == [
        "a",
        "语",
        "",
    ]
    assert stream.flush() == "\ufffd"
    assert stream.push("é".encode()) == "é" and stream.flush() == ""


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=6), st.sampled_from(INVALID), texts.map(str.encode)
        ),
        max_size=8,
    ),
    st.data(),
)
def test_utf8_stream_replaces_as_python_does(parts, data):
    whole = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    stream = Utf8Stream()
    shown = [
        stream.push(whole[a:b])
        for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)
    ]
    assert "".join(shown) + stream.flush() == whole.decode("utf-8", errors="replace")
    one_by_one = Utf8Stream()
    assert "".join(
        one_by_one.push(bytes([b])) for b in whole
    ) + one_by_one.flush() == whole.decode("utf-8", "replace")


@pytest.mark.parametrize("pattern", [GPT2_PATTERN, BILINGUAL_PATTERN])
@settings(max_examples=200, deadline=None)
@given(text=texts)
def test_pieces_meet_at_the_cut(pattern, text):
    cut = last_cut(text)
    if cut is not None:
        assert 0 < cut < len(text)
        assert pretokenize(text[:cut], pattern) + pretokenize(
            text[cut:], pattern
        ) == pretokenize(text, pattern)


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("one two three", 7),
        ("one  two", 3),
        ("长安，长安", 2),
        ("it's", None),
        ("   ", None),
        ("", None),
        ("!?", None),
        (" a", None),
    ],
)
def test_where_text_is_cut(text, cut):
    assert last_cut(text) == cut


def test_letters_and_digits_to_python_are_so_to_the_patterns():
    """The cut before a mark relies on it."""
    points = "".join(chr(c) for c in range(0x110000) if chr(c).isalnum())
    assert regex.findall(r"[^\p{L}\p{N}]", points) == []


@pytest.mark.parametrize("pattern", [GPT2_PATTERN, BILINGUAL_PATTERN])
@settings(max_examples=150, deadline=None)
@given(parts=st.lists(texts, max_size=6), block_size=st.integers(1, 30))
def test_settled_text_is_the_text_cut_where_pieces_meet(pattern, parts, block_size):
    settled = SettledText(pattern, block_size)
    released = [*map(settled.push, parts), settled.flush()]
    assert "".join(released) == "".join(parts)
    pieces = [piece for block in released for piece in pretokenize(block, pattern)]
    assert pieces == pretokenize("".join(parts), pattern)


def test_settled_text_holds_a_bounded_amount():
    settled = SettledText(BILINGUAL_PATTERN, block_size=1000)
    held = 0
    for chunk in ["word and word, 我们去长安。"] * 2000:
        held += len(chunk) - len(settled.push(chunk))
        assert held < 2100
    assert len(settled.flush()) == held


def test_settled_text_searches_a_huge_run_once(monkeypatch):
    from happyllm_support.text.tokenizer import streaming

    searched = []
    monkeypatch.setattr(streaming, "last_cut", lambda text: searched.append(len(text)))
    settled = SettledText(GPT2_PATTERN, block_size=100)
    assert all(settled.push("x" * 10) == "" for _ in range(1000))
    assert settled.flush() == "x" * 10_000
    assert sum(searched) <= 10_000 + 100


def test_a_pattern_of_your_own_is_held_until_the_end():
    settled = SettledText(r"a b|\s|\S", block_size=1)
    assert [settled.push("a"), settled.push(" b c"), settled.flush()] == [
        "",
        "",
        "a b c",
    ]


SPECIALS = {"<|eos|>": 7, "<|eos|>!": 8, "<": 9}


def test_special_tokens_longest_first():
    assert SpecialSplitter(SPECIALS).split("a<|eos|>!<|eos|>b<c") == [
        "a",
        8,
        7,
        "b",
        9,
        "c",
    ]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from(["<|eos|>", "<|eos|>!", "<|e", "os|>", "!", "a", "<", "|>"]),
        max_size=12,
    ),
    st.data(),
)
def test_special_tokens_cut_in_two_are_found(parts, data):
    text = "".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    splitter = SpecialSplitter(SPECIALS)
    found = [
        part
        for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)
        for part in splitter.push(text[a:b])
    ]
    found += splitter.flush()

    def joined(parts):
        names = {token: name for name, token in SPECIALS.items()}
        return [names.get(p, p) for p in parts], [
            p for p in parts if isinstance(p, int)
        ]

    assert joined(found)[1] == joined(SpecialSplitter(SPECIALS).split(text))[1]
    assert "".join(joined(found)[0]) == text
