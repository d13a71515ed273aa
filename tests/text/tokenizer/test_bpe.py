"""Training: a worked example, the merges of Hugging Face and of the textbook, and what
is refused.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from happyllm_support.text.tokenizer.bpe import (
    BYTE_ORDER,
    DEFAULT_SPECIALS,
    BPEConfig,
    BPEModel,
    learn_merges,
    train_bpe,
)
from happyllm_support.text.tokenizer.bpe_naive import train_bpe_naive
from happyllm_support.text.tokenizer.counting import count_pretokens
from happyllm_support.text.tokenizer.pretokenize import (
    BILINGUAL_PATTERN,
    PATTERNS,
    pretokenize,
)

HOME = Path(os.environ.get("HAPPYLLM_HOME", Path.home() / ".cache" / "happyllm"))


def prose(seed: int, n_words: int) -> str:
    """English, Chinese, numbers, runs and rare bytes, with many ties."""
    rng = random.Random(seed)
    words = [
        "the",
        "cat",
        "sat",
        "on",
        "that",
        "banana",
        "bandana",
        "aaaa",
        "aaaaaaa",
        "mississippi's",
        "2024",
        "ÿ\x00",
    ]
    words += [
        "我们去长安",
        "明月几时有",
        "把酒问青天",
        "。",
        "，",
        "\n\n",
        "  ",
        "😀😀",
    ]
    return " ".join(
        "".join(rng.choices(words, k=rng.randint(1, 3))) for _ in range(n_words)
    )


def hugging_face_merges(
    documents: list[str], config: BPEConfig
) -> list[tuple[int, int]]:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERNS[config.pattern]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size - len(config.special_tokens),
        min_frequency=config.min_frequency,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(documents, trainer)
    printable = [
        chr(b)
        if b in range(33, 127) or b in {*range(161, 173), *range(174, 256)}
        else None
        for b in range(256)
    ]
    others = iter(range(256, 400))
    ids = {char or chr(next(others)): byte for byte, char in enumerate(printable)}
    merges: list[tuple[int, int]] = []
    for left, right in json.loads(tokenizer.to_str())["model"]["merges"]:
        merges.append((ids[left], ids[right]))
        ids[left + right] = 255 + len(merges)
    return merges


def test_worked_example() -> None:
    # aab aab ab: "ab" three times, then "a ab" twice.
    assert learn_merges({"aab": 2, "ab": 1}, 9) == [(97, 98), (97, 256)]
    assert learn_merges({"aab": 2, "ab": 1}, 1) == [(97, 98)]


@pytest.mark.parametrize(
    ("counts", "merges"),
    [
        ({"aaa": 3}, [(97, 97), (256, 97)]),  # [aa] a
        ({"aaaa": 1, "a": 5}, [(97, 97), (256, 256)]),  # [aa][aa]
        (
            {"aaaaa": 1},
            [(97, 97), (256, 97), (256, 257)],
        ),  # [aa][aa]a, and (256, 97) beats (256, 256): a tie of 1
        ({"abab": 2, "ba": 1}, [(97, 98), (256, 256), (98, 97)]),
    ],
)
def test_overlaps(counts: dict[str, int], merges: list[tuple[int, int]]) -> None:
    assert learn_merges(counts, 9, min_frequency=1) == merges


def test_ties_go_to_the_smallest_pair_in_gpt2s_order() -> None:
    # All pairs occur once. In GPT-2's order "!" comes first and the space (written
    # U+0120) after every letter.
    assert learn_merges(
        {" b": 1, "zz": 1, "é": 1, "!x": 1, "!a": 1}, 5, min_frequency=1
    ) == [
        *(
            (ord("!"), ord("a")),
            (ord("!"), ord("x")),
            (ord("z"), ord("z")),
            (0xC3, 0xA9),
            (ord(" "), ord("b")),
        )
    ]
    assert sorted(BYTE_ORDER) == list(range(256))
    assert (BYTE_ORDER[0], BYTE_ORDER[94], BYTE_ORDER[188], BYTE_ORDER[220]) == (
        0x21,
        0xA1,
        0x00,
        0x20,
    )


@pytest.mark.parametrize("pattern", ["gpt2", "bilingual"])
@pytest.mark.parametrize("min_frequency", [1, 2, 7])
@pytest.mark.parametrize("seed", range(3))
def test_merges_are_those_of_hugging_face(
    pattern: str, min_frequency: int, seed: int
) -> None:
    documents = [prose(10 * seed + i, 150) for i in range(8)]
    config = BPEConfig(vocab_size=900, pattern=pattern, min_frequency=min_frequency)
    model = train_bpe(documents, config)
    assert list(model.merges) == hugging_face_merges(documents, config)
    assert len(model.merges) > 100


@settings(deadline=None, max_examples=150)
@given(
    st.lists(
        st.text(st.sampled_from("aab 。天!"), max_size=60), min_size=1, max_size=4
    ).filter(lambda d: any(d)),
    st.integers(0, 40),
    st.integers(1, 3),
    st.sampled_from(["gpt2", "bilingual", "[^b]+"]),
    st.sampled_from([(), ("ab",), ("ab", "a b", "。")]),
)
def test_merges_are_those_of_the_textbook(
    documents: list[str],
    n_merges: int,
    min_frequency: int,
    pattern: str,
    specials: tuple[str, ...],
) -> None:
    config = BPEConfig(
        vocab_size=256 + len(specials) + n_merges,
        pattern=pattern,
        min_frequency=min_frequency,
        special_tokens=specials,
    )
    try:
        expected = train_bpe_naive(documents, config)
    except ValueError as error:
        assert "the corpus is empty" in str(error)  # nothing but special tokens
        return
    learned = train_bpe(documents, config)
    assert learned == expected
    assert learned.report == expected.report


def test_ids_beyond_16_bits() -> None:
    text = prose(1, 400)
    config = BPEConfig(vocab_size=356, special_tokens=())
    wide = BPEConfig(vocab_size=70_000, min_frequency=1, special_tokens=())
    all_of_it = train_bpe([text], wide)
    assert all_of_it.merges[:100] == train_bpe([text], config).merges[:300]
    assert (
        all_of_it.report is not None
        and all_of_it.report.stopped_because == "min_frequency"
    )


def test_real_text_as_hugging_face() -> None:
    path = HOME / "chinese-poetry" / "poetry.txt"
    if not path.exists():
        pytest.skip(f"{path} is absent (set HAPPYLLM_HOME)")
    text = path.read_text(encoding="utf-8")[:300_000]
    config = BPEConfig(vocab_size=2000, pattern="bilingual")
    assert list(train_bpe([text], config).merges) == hugging_face_merges([text], config)


def test_special_tokens_are_cut_out_and_never_merged_across() -> None:
    text = "x<|end|>" * 50
    with_specials = train_bpe([text], BPEConfig(vocab_size=300, pattern="gpt2"))
    assert with_specials.merges == ()  # what is left are 50 times one letter
    assert train_bpe(
        [text], BPEConfig(vocab_size=300, pattern="gpt2", special_tokens=())
    ).merges
    assert with_specials.special_tokens == {
        token: 256 + i for i, token in enumerate(DEFAULT_SPECIALS)
    }


def test_the_model() -> None:
    model = train_bpe([prose(0, 300)], BPEConfig(vocab_size=370))
    assert model.vocab_size == len(model.token_bytes) == 370
    assert model.token_bytes[:256] == [bytes([b]) for b in range(256)]
    for k, (left, right) in enumerate(model.merges):
        assert (
            model.token_bytes[256 + k]
            == model.token_bytes[left] + model.token_bytes[right]
        )
    assert model.token_bytes[-7:] == [token.encode() for token in DEFAULT_SPECIALS]
    assert model.pattern == BILINGUAL_PATTERN
    pieces = Counter(pretokenize(prose(0, 300), "bilingual"))
    assert model.report is not None
    assert (model.report.n_pretokens, model.report.n_unique) == (
        sum(pieces.values()),
        len(pieces),
    )
    assert model.report.stopped_because == "vocab_size"


def test_gpt2s_bytes_are_permuted() -> None:
    ids = tuple(BYTE_ORDER.index(b) for b in range(256))
    model = BPEModel(merges=((0, 1),), pattern="gpt2", byte_ids=ids)
    assert model.token_bytes[256] == b'!"'
    assert model.token_bytes[ids[0x20]] == b" "


def test_min_frequency_stops_training_without_an_error() -> None:
    model = train_bpe(
        ["ab ab ab cd"],
        BPEConfig(vocab_size=400, pattern="gpt2", min_frequency=2, special_tokens=()),
    )
    assert model.token_bytes[256:] == [b"ab", b" ab"]
    assert model.report is not None and model.report.stopped_because == "min_frequency"


def test_one_count_serves_several_vocabularies() -> None:
    documents = [prose(2, 200)]
    counts = count_pretokens(documents, "bilingual", special_tokens=DEFAULT_SPECIALS)
    for vocab_size in (300, 350):
        assert train_bpe(counts, BPEConfig(vocab_size=vocab_size)) == train_bpe(
            documents, BPEConfig(vocab_size=vocab_size), workers=2
        )
    with pytest.raises(ValueError, match="counts were made with pattern"):
        train_bpe(counts, BPEConfig(vocab_size=300, pattern="gpt2"))


def test_max_unique_is_reported() -> None:
    documents = [f"word{chr(97 + i % 26)}{chr(97 + i // 26)} the" for i in range(600)]
    model = train_bpe(
        documents,
        BPEConfig(vocab_size=300, pattern="gpt2", min_frequency=1),
        max_unique=100,
    )
    assert model.report is not None
    assert (
        model.report.dropped_unique > 400
        and model.report.dropped_pretokens >= model.report.dropped_unique
    )
    assert model.report.n_unique <= 100
    assert model.report.n_pretokens == 1200


def test_progress_counts_merges() -> None:
    calls: list[tuple[str, int, int | None]] = []
    train_bpe(
        [prose(0, 300)],
        BPEConfig(vocab_size=370),
        progress=lambda *call: calls.append(call),
    )
    merging = [
        done
        for stage, done, total in calls
        if stage == "merging" and total == 370 - 256 - 7
    ]
    assert merging == [64, 107]
    assert calls[0][0] == "counting"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"vocab_size": 262},
            "vocab_size is 262; expected at least 263 (256 bytes and 7 special tokens)",
        ),
        ({"vocab_size": 2**21}, "vocab_size is 2097152; expected at most 1048576"),
        (
            {"vocab_size": 300, "min_frequency": 0},
            "min_frequency is 0; expected at least 1",
        ),
        (
            {"vocab_size": 300, "special_tokens": ("<s>", "<s>")},
            "special token '<s>' is given twice",
        ),
        ({"vocab_size": 300, "special_tokens": ("",)}, "a special token is empty"),
        (
            {"vocab_size": 300, "special_tokens": "<s>"},
            "special_tokens is the string '<s>'; expected a tuple",
        ),
        (
            {"vocab_size": 300, "special_tokens": ("<\udcff>",)},
            "special token '<\\udcff>' holds a lone surrogate",
        ),
        ({"vocab_size": 300, "pattern": "gpt5"}, "unknown pattern 'gpt5'"),
        ({"vocab_size": 300, "pattern": "[a"}, "bad regular expression '[a'"),
    ],
)
def test_bad_configurations(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as error:
        BPEConfig(**options)  # type: ignore[arg-type]
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("documents", [[], [""], ["<|pad|><|end|>"]])
def test_an_empty_corpus(documents: list[str]) -> None:
    for train in (train_bpe, train_bpe_naive):
        with pytest.raises(ValueError, match="the corpus is empty"):
            train(documents, BPEConfig(vocab_size=300))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"merges": ((97, 256),)},
            "merge 0 joins ids (97, 256), but only ids below 256 exist",
        ),
        (
            {"merges": ((97, 98),), "special_tokens": {"<s>": 256}},
            "special tokens are {'<s>': 256}; expected the ids from 257 on",
        ),
        (
            {"merges": (), "byte_ids": (0,) * 256},
            "byte_ids is wrong; expected each of 0 to 255 once",
        ),
        ({"merges": (), "pattern": "(a)"}, "capturing group"),
    ],
)
def test_bad_models(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as error:
        BPEModel(**({"pattern": "gpt2"} | options))  # type: ignore[arg-type]
    assert message in str(error.value)
