import random

import pytest

from happyllm_support.text.corpora.near_duplicates import NearDuplicateIndex, jaccard


def story(seed, words=120):
    rng = random.Random(seed)
    return " ".join(
        "".join(rng.choices("abcdefghij", k=rng.randint(2, 7))) for _ in range(words)
    )


def test_jaccard_worked_example():
    assert jaccard("abcd", "abce", shingle=2) == pytest.approx(
        2 / 4
    )  # ab bc cd | ab bc ce
    assert jaccard("a  b", "a b", shingle=2) == 1.0
    assert jaccard("语言模型", "语言", shingle=2) == pytest.approx(1 / 3)


def test_finds_the_first_of_a_group():
    index = NearDuplicateIndex(0.8)
    original = story(1)
    edited = original.replace(original.split()[60], "changed", 1)
    assert jaccard(original, edited) > 0.9
    assert index.match(original, label="one") is None
    assert index.match(story(2), label="two") is None
    assert index.match(edited, label="three") == "one"
    assert index.match(original, label="four") == "one"
    assert index.match(story(2) + " more", label="five") == "two"


def test_agrees_with_exact_similarity_far_from_the_threshold():
    for seed in range(20):
        words = story(seed).split()
        for kept, expected in ((115, True), (40, False)):
            index = NearDuplicateIndex(0.6)
            other = " ".join(words[:kept] + story(1000 + seed, 120 - kept).split())
            index.match(" ".join(words), label="first")
            similarity = jaccard(" ".join(words), other)
            assert (similarity > 0.75) if expected else (similarity < 0.35)
            assert (index.match(other) == "first") is expected


def test_candidates_below_the_threshold_are_not_matches(monkeypatch):
    index = NearDuplicateIndex(0.9)
    words = story(1).split()
    assert index.match(" ".join(words), label="first") is None
    monkeypatch.setattr(
        index._lsh, "query", lambda sketch: [0]
    )  # the search may propose too much
    assert index.match(" ".join(words[:60] + story(2, 60).split())) is None
    assert index.match(" ".join(words)) == "first"


def test_short_documents_are_compared_too():
    index = NearDuplicateIndex(0.8)
    assert index.match("好", label="hao") is None
    assert index.match("坏", label="huai") is None
    assert index.match(" 好 ") == "hao"


def test_errors(monkeypatch):
    for threshold in (0.0, 1.0, -3.0):
        with pytest.raises(
            ValueError,
            match=f"threshold {threshold} is out of range; expected between 0 and 1",
        ):
            NearDuplicateIndex(threshold)
    with pytest.raises(ValueError, match="shingle 0 is out of range"):
        NearDuplicateIndex(0.5, shingle=0)
    monkeypatch.setitem(__import__("sys").modules, "datasketch", None)
    with pytest.raises(
        ValueError,
        match="near duplicates need the datasketch library; run `pip install "
        "datasketch`",
    ):
        NearDuplicateIndex(0.5)
