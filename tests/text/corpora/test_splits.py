import math
import subprocess
import sys
from collections import Counter
from itertools import accumulate

import pytest

from happyllm_support.text.corpora.splits import (
    leakage,
    near_duplicate_key,
    normalized,
    select,
    split_of,
)

DOCUMENTS = [f"document number {i}, 第 {i} 篇" for i in range(20_000)]
LONG = (
    "It was the best of times, it was the worst of times, it was the age of "
    "wisdom, "
    "it was the age of foolishness."
)


def test_fractions_hold_on_average():
    fractions = {"train": 0.7, "valid": 0.2, "test": 0.1}
    counts = Counter(split_of(document, fractions, seed=5) for document in DOCUMENTS)
    for name, share in fractions.items():
        deviation = math.sqrt(share * (1 - share) * len(DOCUMENTS))
        assert abs(counts[name] - share * len(DOCUMENTS)) < 4 * deviation


def test_seeds_are_independent():
    half = {"a": 0.5, "b": 0.5}
    same = sum(split_of(d, half, 0) == split_of(d, half, 1) for d in DOCUMENTS)
    assert abs(same - len(DOCUMENTS) / 2) < 4 * math.sqrt(len(DOCUMENTS) / 4)


def test_the_split_is_the_content_alone_in_every_process():
    code = (
        "from happyllm_support.text.corpora.splits import split_of; "
        "print(*(split_of(f'{i} 语') for i in range(60)))"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert other == [split_of(f"{i} 语") for i in range(60)] and len(set(other)) > 1


def test_select_partitions_and_never_separates_exact_duplicates():
    documents = DOCUMENTS[:500] + DOCUMENTS[:250]
    parts = {name: list(select(documents, name)) for name in ("train", "valid", "test")}
    assert sorted(document for part in parts.values() for document in part) == sorted(
        documents
    )
    assert not set(parts["train"]) & (set(parts["valid"]) | set(parts["test"]))
    assert leakage(parts["train"], parts["valid"], passage=1000).exact == 0


def test_normalized_copies_share_a_split():
    assert (
        normalized("Hello,\n WORLD 语!")
        == normalized("hello world语")
        == "helloworld语"
    )
    pairs = [(f"Story {i}: The End", f"story {i} -  the end!") for i in range(300)]
    half = {"a": 0.5, "b": 0.5}
    assert all(
        split_of(x, half, key=normalized) == split_of(y, half, key=normalized)
        for x, y in pairs
    )
    assert any(split_of(x, half) != split_of(y, half) for x, y in pairs)


def test_near_duplicates_share_a_split():
    half = {"a": 0.5, "b": 0.5}
    groups = [
        [
            f"{i * 7919} {LONG[i:]} {i * 104729}" + tail
            for tail in ("", "!", " The end.")
        ]
        for i in range(30)
    ]
    key = near_duplicate_key(0.95)
    keys = [[key(document) for document in (group[0], group[0])] for group in groups]
    assert all(first == second for first, second in keys)
    key = near_duplicate_key(0.6)
    copies = [LONG, LONG.replace("wisdom", "reason"), LONG + " Yes."]
    assert len({key(copy) for copy in copies}) == 1 and key(
        "something else entirely"
    ) != key(LONG)
    for seed in range(20):
        assert len({split_of(copy, half, seed, key=key) for copy in copies}) == 1
    assert any(
        len({split_of(copy, half, seed) for copy in copies}) == 2 for seed in range(20)
    )


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        (
            {"train": 0.9, "valid": 0.2},
            "fractions must sum to 1; got train 0.9, valid 0.2, which sum to 1.1",
        ),
        (
            {"train": 1.5, "valid": -0.5},
            "fractions must lie between 0 and 1; got train 1.5, valid -0.5",
        ),
        ({"train": float("nan")}, "fractions must lie between 0 and 1"),
        ({}, "fractions must sum to 1; got none"),
    ],
)
def test_bad_fractions(fractions, message):
    with pytest.raises(ValueError, match=message):
        split_of("x", fractions)
    with pytest.raises(ValueError, match="fractions must"):
        select(["x"], "train", fractions)


def test_rounding_of_fractions_leaves_no_gap():
    tenths = {str(i): 0.1 for i in range(10)}
    *_, total = accumulate(
        tenths.values()
    )  # `sum` itself compensates from Python 3.12 on
    assert total != 1.0
    assert set(split_of(document, tenths) for document in DOCUMENTS[:2000]) == set(
        tenths
    )
    assert split_of("anything", {"none": 0.0, "all": 1.0}) == "all"


def test_unknown_split():
    with pytest.raises(
        ValueError, match="unknown split 'dev'; choose one of train, valid, test"
    ):
        select([], "dev")


def test_leakage_counts_shared_passages():
    train = ["The quick brown fox jumps over the lazy dog. " * 4, "short"]
    held_out = [
        "short",  # exact
        # 40 characters in common
        "He wrote: quick brown fox jumps over the lazy dog, and left.",
        "quick brown foxes",  # 15 in common
        "nothing of the kind",
    ]
    found = leakage(train, held_out, passage=20)
    assert (found.documents, found.exact, found.overlapping, found.share) == (
        4,
        1,
        2,
        0.5,
    )
    assert leakage(train, held_out, passage=60).overlapping == 1
    assert leakage(train, []).share == 0.0
    with pytest.raises(ValueError, match="passage 0 is out of range"):
        leakage([], [], passage=0)
