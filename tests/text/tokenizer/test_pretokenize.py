"""Pre-tokenization: the pieces of known sentences, exact cover, equality with Hugging
Face, and safe places to cut.
"""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from happyllm_support.text.tokenizer.pretokenize import (
    BILINGUAL_PATTERN,
    GPT2_PATTERN,
    PATTERNS,
    compile_pattern,
    ends_for_itself,
    pattern_source,
    pretokenize,
    safe_cut,
)

MIXED = st.text(
    st.sampled_from(
        list("ab's’tLl 1٣,。我们长安々かé\u0301\u200d😀\n\r\t\u3000\xa0\x85\x1c\x00")
    ),
    max_size=40,
)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("It's 2024, ok", ["It", "'s", " ", "202", "4", ",", " ok"]),
        ("We’ll 'start", ["We", "’ll", " '", "start"]),
        ("x'start he'd (’tis)", ["x", "'", "start", " he", "'d", " (’", "tis", ")"]),
        ("'select", ["'", "select"]),
        ("我们去长安了。「好」", ["我们去长", "安了", "。「", "好", "」"]),
        ("用GPT模型", ["用", "GPT", "模型"]),
        ("a  b\n\n  c\td", ["a", " ", " b", "\n\n", " ", " c", "\t", "d"]),
        ("e\u0301te\u0301 x=1", ["e\u0301te\u0301", " x", "=", "1"]),
    ],
)
def test_bilingual_pieces(text: str, pieces: list[str]) -> None:
    assert pretokenize(text, "bilingual") == pieces


def test_gpt2_pieces() -> None:
    assert pretokenize("It's 2024,  我们去长安了。\n\n x", "gpt2") == [
        *("It", "'s", " 2024", ",", " ", " 我们去长安了", "。", "\n\n", " x")
    ]


@settings(deadline=None)
@given(MIXED | st.text(max_size=30))
def test_every_text_is_covered_exactly(text: str) -> None:
    for name in PATTERNS:
        pieces = pretokenize(text, name)
        assert "".join(pieces) == text
        assert all(pieces)


@settings(deadline=None)
@given(MIXED)
def test_pieces_are_those_of_hugging_face(text: str) -> None:
    from tokenizers import Regex, pre_tokenizers

    for source in (GPT2_PATTERN, BILINGUAL_PATTERN):
        split = pre_tokenizers.Split(Regex(source), "isolated")
        assert [piece for piece, _ in split.pre_tokenize_str(text)] == pretokenize(
            text, source
        )


@settings(deadline=None)
@given(MIXED, MIXED)
def test_cutting_at_a_safe_place_changes_no_piece(left: str, right: str) -> None:
    text = left + right
    for stop in range(len(text) + 1):
        position = safe_cut(text, stop)
        if position is None:
            continue
        assert 0 < position < stop
        for name in PATTERNS:
            assert pretokenize(text[:position], name) + pretokenize(
                text[position:], name
            ) == pretokenize(text, name)


@pytest.mark.parametrize(
    ("text", "stop", "position"),
    [
        ("one two three", 9, 7),
        ("one two three", 3, None),
        ("a    b", 5, 1),
        ("   a", 3, None),
        ("无空格", 3, None),
    ],
)
def test_safe_cut(text: str, stop: int, position: int | None) -> None:
    assert safe_cut(text, stop) == position


@pytest.mark.parametrize(
    ("text", "end", "expected"),
    [
        ("we, you", 2, True),
        ("  we", 1, False),  # alone it would be two spaces
        ("'re们", 3, False),  # alone it would be a contraction
        ("’LL\u0301", 3, False),
        ("'re.", 3, True),  # is one
        ("'ro们", 3, True),
        ("我们去长安", 4, True),
    ],
)
def test_ends_for_itself(text: str, end: int, expected: bool) -> None:
    assert ends_for_itself(text, end) == expected


def test_what_a_pattern_of_ones_own_leaves_out_is_kept() -> None:
    assert pretokenize("ab12cd!", r"[a-z]+") == ["ab", "12", "cd", "!"]
    assert pretokenize("aab", r"a*") == ["aa", "b"]


@pytest.mark.parametrize(
    "text",
    [
        " " * 1_000_000,
        "a" * 1_000_000,
        "好" * 1_000_000,
        "!" * 1_000_000,
        "' " * 500_000,
    ],
)
def test_long_runs_take_linear_time(text: str) -> None:
    start = time.process_time()
    for name in PATTERNS:
        assert sum(map(len, pretokenize(text, name))) == len(text)
    safe_cut(text, len(text))
    assert (
        time.process_time() - start < 30
    )  # quadratic time would take hours; this is no benchmark


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("gpt3", "unknown pattern 'gpt3'; expected one of gpt2, bilingual or"),
        ("", "unknown pattern ''"),
        ("[a-", "bad regular expression '[a-'"),
        ("(a)|b", "capturing group"),
    ],
)
def test_bad_patterns(pattern: str, message: str) -> None:
    with pytest.raises(ValueError) as error:
        compile_pattern(pattern)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_pattern_source() -> None:
    assert pattern_source("gpt2") == GPT2_PATTERN
    assert pattern_source("a+") == "a+"
