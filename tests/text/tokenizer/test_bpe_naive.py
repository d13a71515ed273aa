"""The textbook's two functions, on the examples that their docstrings give, and its
loop on a known sentence.
"""

from __future__ import annotations

from happyllm_support.text.tokenizer.bpe import BPEConfig
from happyllm_support.text.tokenizer.bpe_naive import (
    count_pairs,
    merge_pair,
    train_bpe_naive,
)


def test_count_pairs() -> None:
    assert count_pairs([[1, 2, 3], [1, 2], [4]]) == {(1, 2): 2, (2, 3): 1}
    assert count_pairs([[5, 5, 5]]) == {(5, 5): 2}


def test_merge_pair() -> None:
    assert merge_pair([1, 2, 3, 1, 2], (1, 2), 4) == [4, 3, 4]
    assert merge_pair([5, 5, 5], (5, 5), 6) == [6, 5]
    assert merge_pair([1], (1, 2), 4) == [1]


def test_the_wikipedia_example() -> None:
    # aaabdaaabac: aa -> Z, then ab -> Y (twice, like Za, but "a" < "Z" here), then ZY
    # -> X.
    config = BPEConfig(vocab_size=259, pattern="gpt2", special_tokens=())
    assert train_bpe_naive(["aaabdaaabac"], config).merges == (
        (97, 97),
        (97, 98),
        (256, 257),
    )
