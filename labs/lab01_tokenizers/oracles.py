"""The rules of lab 01 once more, by other means than the package's, as a second
opinion.
"""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

from . import reference

SENTENCE = "the cat sat, the fat cat sat, and the hat"  # the chapter's
ITS_MERGES = [
    (97, 116),
    (104, 101),
    (116, 257),
    (99, 256),
    (115, 256),
    (32, 258),
    (32, 259),
    (32, 260),
]
STORY = (
    "Mei had a red kite. The kite flew over the river, over the hill and over the "
    "red roofs. Look, said Mei, look at the kite!! The river looked back; 12 + 12 = "
    "24.\n"
    "\n"
    "小梅有一只红风筝。风筝飞过小河，飞过小山，飞过红屋顶。小梅说：看，风筝！小河看着小梅笑了。🙂🙂\n"
)

# What `train` is asked: text, vocab_size, min_frequency.
WITHOUT_TIES = (
    ("the cat", 256, 1),
    ("", 300, 1),
    ("a b c", 300, 2),
    ("yx", 300, 1),
    ("abababab", 300, 3),
    ("aaaab", 300, 2),
    ("zab ab ab abc", 300, 3),
)
WITH_TIES = (
    ("xaaax xaaax caaac cac cacac", 300, 1),
    ("zz aa mm zz aa mm", 300, 2),
    ("a a a a b b b c, c, c, c,", 300, 1),
    ("abcd abcd abcd bcda bcda", 300, 2),
    ("éa éa aé aé 语语 语语", 275, 1),
)

# What `encode` is asked: merges of which another order than the learned one makes
# something else.
A, B, C, D = b"abcd"
IN_WHICH_ORDER: tuple[tuple[str, list[tuple[int, int]]], ...] = (
    ("bcd abcd", [(C, D), (B, C), (257, D)]),
    ("abc abcabc", [(B, C), (A, B), (A, 256)]),
    ("cdabcdabab", [(C, D), (A, B), (256, 257)]),
    ("abbb abbbbb bbbbbbb", [(B, B), (A, B), (256, 256), (257, B)]),
    ("abcd bcd bcbcd", [(A, B), (C, D), (256, 257), (B, C), (B, 257)]),
)

# What `encode_special` is asked: text, and what is allowed.
SPECIAL = {"<|end|>": 300, "<|user|>": 301, "<|end|><|user|>": 310, "!<": 7, "cat": 302}
ALL_ALLOWED = (
    ("the cat sat.<|end|> the hat<|user|>the cat", ("<|end|>",)),
    ("sat <|end|> hat.<|end|> fat", ("<|end|>",)),
    ("cats", ("cat",)),
    ("", ("cat",)),
    ("the cat sat.<|end|> the hat<|user|>the cat", ("<|end|>", "<|user|>")),
    (
        "hat<|end|><|user|>sat<|end|> <|user|>",
        ("<|end|>", "<|user|>", "<|end|><|user|>"),
    ),
    ("hat!<|end|>sat", ("<|end|>", "!<")),
    ("end|user<>", ("<|end|>", "<|user|>")),
)
SOME_ALLOWED = (
    ("the cat sat.<|end|> the hat<|user|>the cat", ("<|end|>", "<|user|>")),
    ("the cat sat.<|end|> the hat<|user|>the cat", ("<|end|>",)),
    ("sat<|end|>cat<|end|>", ("<|end|>",)),
    ("end<|user|>.<|end|>hat", ("<|end|>",)),
)
NONE_ALLOWED = (
    "cat",
    "sat.<|end|>.<|user|>",
    "the cat sat.<|end|> the hat<|user|>the cat",
)

# 256 bytes, and tokens that break characters in two, for `decode_stream`
VOCAB = [bytes([b]) for b in range(256)] + [
    b"\xe8\xaf",  # 256: two thirds of 语
    b"\xad\xe8",  # the end of 语 and the beginning of 言
    b"a\xe9",
    b"\xbe\x99!",  # the end of 龙, and a mark
    b"\xf0\x9f",  # 260: half an emoji
    b"\x99\x82",
    b" kite\xf0\x9f\x99",
    b"the",
    "小河\n".encode(),
    b"\xa8\x80",
]


def written(name: str, *args: object) -> str:
    """A call as it stands in a program, to name its result in a message."""
    return f"{name}({', '.join(map(repr, args))})"


def noise(rng: random.Random, length: int, letters: str = "aab bc,") -> str:
    """Text of few letters, in which pairs repeat, overlap and tie."""
    return "".join(rng.choices(letters, k=length))


def code_points(text: str) -> list[str]:
    """The pieces of a text with a character per id, so that text methods can merge
    them.
    """
    return ["".join(map(chr, piece.encode())) for piece in reference.pretokenize(text)]


def train_on_strings(
    text: str, vocab_size: int, min_frequency: int
) -> list[tuple[int, int]]:
    """The rule of `train` once more, by other means: pairs of characters, merged with
    `str.replace`.
    """
    pieces, merges = code_points(text), []
    for new in range(256, vocab_size):
        found = [pair for piece in pieces for pair in pairwise(piece)]
        if not found:
            break
        counts = Counter(found)
        left, right = min(
            counts, key=lambda p: (-counts[p], *(reference.rank(ord(c)) for c in p))
        )
        if counts[left, right] < min_frequency:
            break
        merges.append((ord(left), ord(right)))
        pieces = [piece.replace(left + right, chr(new)) for piece in pieces]
    return merges


def encode_on_strings(text: str, merges: list[tuple[int, int]]) -> list[int]:
    """The rule of `encode` by other means: each merge in its turn, everywhere, by
    `str.replace`.
    """
    pieces = code_points(text)
    for k, (left, right) in enumerate(merges):
        pieces = [
            piece.replace(chr(left) + chr(right), chr(256 + k)) for piece in pieces
        ]
    return [ord(character) for piece in pieces for character in piece]


def counted_by_index(words: dict[tuple[int, ...], int]) -> dict[tuple[int, int], int]:
    """The rule of `pair_counts` by other means: for each pair of ids all places are
    searched.
    """
    known = {token for word in words for token in word}
    counts = {
        (a, b): sum(
            n * sum(word[i : i + 2] == (a, b) for i in range(len(word)))
            for word, n in words.items()
        )
        for a in known
        for b in known
    }
    return {pair: n for pair, n in counts.items() if n}


def spelled(merges: list[tuple[int, int]]) -> list[bytes]:
    """The bytes of each id."""
    vocab = [bytes([b]) for b in range(256)]
    for left, right in merges:
        vocab.append(vocab[left] + vocab[right])
    return vocab


def special_on_strings(
    text: str, merges: list[tuple[int, int]], special: dict[str, int], allowed: set[str]
) -> list[int]:
    """The rule of `encode_special` by other means: character by character."""
    ids: list[int] = []
    start = i = 0
    while i < len(text):
        here = [
            token for token in special if token in allowed and text.startswith(token, i)
        ]
        if here:
            token = max(here, key=len)
            ids += [*encode_on_strings(text[start:i], merges), special[token]]
            start = i = i + len(token)
        else:
            i += 1
    return ids + encode_on_strings(text[start:], merges)
