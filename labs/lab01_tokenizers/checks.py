"""What lab 01 grades."""

from __future__ import annotations

import random
from collections.abc import Collection

from happyllm_support.grading.compare import expect, expect_equal, right_so_far
from happyllm_support.grading.labs import Lab
from happyllm_support.grading.remote import Remote

from . import reference
from .oracles import (
    ALL_ALLOWED,
    IN_WHICH_ORDER,
    ITS_MERGES,
    NONE_ALLOWED,
    SENTENCE,
    SOME_ALLOWED,
    SPECIAL,
    STORY,
    VOCAB,
    WITH_TIES,
    WITHOUT_TIES,
    counted_by_index,
    encode_on_strings,
    noise,
    special_on_strings,
    spelled,
    train_on_strings,
    written,
)
from .streaming import follow, joined

lab = Lab(
    "Tokenizers",
    minutes=90,
    no_imports=("tiktoken", "tokenizers", "sentencepiece", "transformers"),
)


@lab.check(
    points=1,
    section="By hand",
    hints=(
        "Neighbours in a word of n ids make n - 1 pairs; itertools.pairwise yields "
        "them.",
        "A word that occurs ten times adds ten to each place where a pair stands in "
        "it.",
        "For each (ids, n) of words.items(), for each pair of pairwise(ids): "
        "counts[pair] += n, with a Counter.",
    ),
    solution=("happyllm_support.text.tokenizer.bpe_naive:count_pairs",),
)
def pair_counts(pair_counts: Remote) -> None:
    for words, want in (
        ({(1, 2, 3): 10, (1, 2): 3}, {(1, 2): 13, (2, 3): 10}),
        ({(7, 7, 7): 5}, {(7, 7): 10}),
        ({(5, 300, 5): 2}, {(5, 300): 2, (300, 5): 2}),
        ({(9,): 4, (8, 9, 9, 9, 9, 8): 1}, {(8, 9): 1, (9, 9): 3, (9, 8): 1}),
        ({(4,): 3}, {}),
    ):
        expect_equal(pair_counts(words), want, written("pair_counts", words))
    rng = random.Random(1)
    many = {
        tuple(rng.choices((1, 2, 3, 258), k=rng.randrange(1, 9))): rng.randrange(1, 6)
        for _ in range(40)
    }
    got = pair_counts(many)
    expect_equal(got, counted_by_index(many), "pair_counts of 40 words")
    expect_equal(got, dict(reference.pair_counts(many)), "pair_counts of 40 words")


@lab.check(
    points=1,
    section="By hand",
    hints=(
        "Walk through the list with an index, and build a new list.",
        "After a replacement the walk goes on two places further, otherwise one.",
        "The last id has no right neighbour: look at ids[i + 1] only where i + 1 < "
        "len(ids), but append ids[i] anyway. A slice of a list is a list and never "
        "equals a tuple.",
        "while i < len(ids): if tuple(ids[i : i + 2]) == pair, append new and go on "
        "with i + 2; otherwise append ids[i] and go on with i + 1. Begin with i = 0 "
        "and an empty list.",
    ),
    solution=("happyllm_support.text.tokenizer.bpe_naive:merge_pair",),
)
def merge(merge: Remote) -> None:
    for ids, pair, new, want in (
        ([2, 1], (1, 2), 9, [2, 1]),
        ([1, 2, 3, 1, 2], (1, 2), 4, [4, 3, 4]),
        ([1, 1, 1], (1, 1), 2, [2, 1]),
        ([5, 1, 1, 1, 1, 1, 6], (1, 1), 300, [5, 300, 300, 1, 6]),
        ([2, 1, 2, 1], (1, 2), 9, [2, 9, 1]),
        ([1, 3, 2, 1, 1, 2, 2], (1, 2), 9, [1, 3, 2, 1, 9, 2]),
        ([7], (7, 7), 9, [7]),
        ([], (7, 7), 9, []),
    ):
        expect_equal(merge(ids, pair, new), want, written("merge", ids, pair, new))
    rng = random.Random(2)
    for n in (2, 9, 40, 41):
        ids = rng.choices((1, 2, 3), k=n)
        for pair in ((1, 1), (1, 2), (2, 1)):
            got = merge(ids, pair, 77)
            what = f"merge of {n} ids, with {pair} and 77,"
            expect_equal(got, list(bytes(ids).replace(bytes(pair), bytes([77]))), what)
            expect_equal(got, reference.merge(ids, pair, 77), what)


@lab.check(
    points=3,
    section="By hand",
    needs=("pair_counts", "merge"),
    hints=(
        "Count the pieces first: Counter(pretokenize(text)). Then keep the ids of "
        "each different piece, as a tuple, with its count.",
        "One round: pairs = pair_counts(words); choose the best; put merge(...) of "
        "each word into a new dictionary. Counts change with every merge, so count "
        "again in each round.",
        "The best is min(pairs, key=lambda p: (-pairs[p], rank(p[0]), rank(p[1]))).",
        "Three ways to stop: vocab_size - 256 merges are there, no pair is left, or "
        "the best one occurs less than min_frequency times.",
    ),
    solution=(
        "happyllm_support.text.tokenizer.bpe_naive:train_bpe_naive",
        "happyllm_support.text.tokenizer.bpe:learn_merges",
    ),
)
def train(train: Remote) -> None:
    def compare(text: str, size: int, frequency: int) -> None:
        got = train(text, size, frequency)
        short = len(text) < 60
        what = (
            written("train", text, size, frequency)
            if short
            else f"what train learns from {len(text)} characters"
        )
        expect_equal(got, reference.train(text, size, frequency), what)
        expect_equal(got, train_on_strings(text, size, frequency), what)

    # How the text is cut, then everything else that shows without ties, and only then
    # the ties.
    for text, size, want in (
        ("ab,abab", 258, [(97, 98)]),
        ("x ab acb adb", 258, [(32, 97)]),
    ):
        expect_equal(train(text, size), want, written("train", text, size))
    if not right_so_far():
        return
    expect_equal(
        train("aab aab ab", 258),
        [(97, 98), (97, 256)],
        written("train", "aab aab ab", 258),
    )
    for text, size, frequency in WITHOUT_TIES:
        compare(text, size, frequency)
    if not right_so_far():
        return
    for size, n in ((258, 2), (261, 5), (300, 8)):
        expect_equal(
            train(SENTENCE, size), ITS_MERGES[:n], written("train", SENTENCE, size)
        )
    rare = [(97, 98), (99, 100), (32, 256), (32, 257)]
    text = "ab ab ab ab cd cd cd ef"
    expect_equal(train(text, 300, 3), rare, written("train", text, 300, 3))
    for text, size, frequency in WITH_TIES:
        compare(text, size, frequency)
    rng = random.Random(3)
    for text, size, frequency in (
        (noise(rng, 150), 280, 2),
        (noise(rng, 61, "ab "), 300, 1),
        (STORY * 2, 290, 2),
    ):
        compare(text, size, frequency)
    if right_so_far():
        train.raises(ValueError, "the cat", 255)


@lab.check(
    points=3,
    section="By hand",
    needs=("merge",),
    hints=(
        "A dictionary {pair: 256 + k} says of each pair whether it is among the "
        "merges, and how early: a smaller id was learned earlier.",
        "For each piece: while some neighbouring pair is in the dictionary, take the "
        "one with the smallest id and call merge with it.",
        "min((table[pair] for pair in pairwise(ids) if pair in table), default=None) "
        "is the next id to make; merges[id - 256] is its pair.",
    ),
    solution=("happyllm_support.text.tokenizer.merging:merge_by_scan",),
)
def encode(encode: Remote) -> None:
    def compare(text: str, merges: list[tuple[int, int]], what: str) -> None:
        got = encode(text, merges)
        expect_equal(got, reference.encode(text, merges), what)
        expect_equal(got, encode_on_strings(text, merges), what)

    crossing = [(116, 44), (97, 32)]  # between pieces, where nothing may be merged
    expect_equal(encode("a é", []), [97, 32, 195, 169], 'encode("a é", [])')
    expect_equal(
        encode("cat, a b", crossing),
        list(b"cat, a b"),
        written("encode", "cat, a b", crossing),
    )
    if not right_so_far():
        return
    expect_equal(
        encode("abc", [(98, 99), (97, 98)]),
        [97, 256],
        'encode("abc", [(98, 99), (97, 98)])',
    )
    rat = [258, 32, 114, 256, 32, 240, 159, 153, 130]
    for text, want in (("the cat sat", [258, 262, 263]), ("the rat 🙂", rat), ("", [])):
        expect_equal(
            encode(text, ITS_MERGES), want, f"encode({text!r}, the chapter's merges)"
        )
    runs = [(97, 97), (256, 97)]
    expect_equal(
        encode("aaa aaaaaa", runs),
        [257, 32, 256, 256, 256],
        written("encode", "aaa aaaaaa", runs),
    )
    for text, merges in IN_WHICH_ORDER:
        compare(text, merges, written("encode", text, merges))
    rng = random.Random(4)
    for letters, size in (("abc ", 300), ("abcde, ", 280), ("小河飞过", 300)):
        merges = reference.train(noise(rng, 200, letters), size, 1)
        text = noise(rng, 101, letters)
        compare(
            text, merges, f"encode of {len(text)} characters with {len(merges)} merges"
        )
    merges = reference.train(STORY, 330)
    ids = encode(STORY, merges)
    vocab = spelled(merges)
    spells = isinstance(ids, list) and all(
        isinstance(i, int) and 0 <= i < len(vocab) for i in ids
    )
    if expect(spells, f"it returns something else than ids from 0 to {len(vocab) - 1}"):
        text = b"".join(vocab[token] for token in ids).decode(errors="replace")
        expect_equal(text, STORY, "the text that the ids spell")


@lab.check(
    points=2,
    section="Nothing is unknown",
    numeric=False,
    hints=(
        "Begin with a list of the bytes of each id: [bytes([b]) for b in range(256)].",
        "Each merge appends the bytes of its left token followed by those of its "
        "right token; both are in the list already.",
        "Join the bytes of all ids first and decode once at the end. Check the range "
        "before you look anything up: a list takes negative indices.",
    ),
    solution=(
        "happyllm_support.text.tokenizer.tokenizer:Tokenizer.decode",
        "happyllm_support.text.tokenizer.tokenizer:Tokenizer.decode_bytes",
        "happyllm_support.text.tokenizer.bpe:BPEModel",
    ),
)
def decode(decode: Remote) -> None:
    for ids, merges, want in (
        ([97, 256], [(97, 98), (256, 99)], "aab"),
        ([262, 44], ITS_MERGES, " cat,"),
        ([97, 257], [(97, 98), (256, 99)], "aabc"),
        ([0xE8, 0xAF, 0xAD], [], "语"),
        ([258, 262, 263], ITS_MERGES, "the cat sat"),
        ([], ITS_MERGES, ""),
        ([98, 0, 10, 255, 97], [], "b\0\n\ufffda"),
        ([65, 0xF0, 0x9F, 66, 0xE8], [], "A\ufffdB\ufffd"),
    ):
        what = (
            f"decode({ids}, the chapter's merges)"
            if merges is ITS_MERGES
            else written("decode", ids, merges)
        )
        expect_equal(decode(ids, merges), want, what)
    merges = reference.train(STORY, 330)
    encoded = reference.encode(STORY, merges)
    expect_equal(
        decode(encoded, merges), STORY, f"decode of {len(encoded)} ids, a story's,"
    )
    vocab = spelled(merges)
    rng = random.Random(5)
    for n in (1, 30, 31):
        ids = [rng.randrange(len(vocab)) for _ in range(n)] + [len(vocab) - 1]
        got = decode(ids, merges)
        expect_equal(
            got, reference.decode(ids, merges), f"decode of {n + 1} random ids"
        )
        expect_equal(
            got,
            b"".join(vocab[i] for i in ids).decode("utf-8", "replace"),
            f"decode of {n + 1} random ids",
        )
    for ids in (
        [97, 308],
        [97, 258],
        [-1],
        [97, -257],
    ):  # far too large, too large by one, negative
        if right_so_far():
            decode.raises(ValueError, ids, ITS_MERGES[:2])


@lab.check(
    points=3,
    section="Writing half a character",
    numeric=False,
    hints=(
        "Keep the bytes that are not yet text in a buffer. Each id adds its bytes; "
        "what is complete is yielded, the rest stays.",
        "codecs.getincrementaldecoder knows which bytes are complete. By hand: "
        "UnicodeDecodeError has .start, and its "
        '.reason is "unexpected end of data" where more bytes could help.',
        'decoder = codecs.getincrementaldecoder("utf-8")(errors="replace"); text = '
        "decoder.decode(vocab[token]) for "
        'each id; decoder.decode(b"", final=True) at the end.',
    ),
    solution=(
        "happyllm_support.text.tokenizer.streaming:Utf8Stream",
        "happyllm_support.text.tokenizer.tokenizer:Tokenizer.decode_stream",
    ),
)
def decode_stream(decode_stream: Remote) -> None:
    for ids, what in (
        ([104, 105, 263, 33], "ASCII"),
        ([97, *"语é🙂言".encode(), 98], "one byte per token"),
        ([258, 259, 97, 258, 259], "a token that ends in half a character"),
        (
            [256, 257, 0xA8, 0x80, 262, 0x82, 264, 260, 261, 10],
            "tokens with halves at both ends",
        ),
    ):
        follow(decode_stream, ids, what)
    for ids, ending, what in (
        ([97, 260, 0x99], "a\ufffd", "an emoji without its last byte at the end"),
        ([263, 258], "thea\ufffd", "a letter and half a character at the end"),
        ([256], "\ufffd", "half a character and nothing else"),
        ([], "", "no ids"),
        (
            [255, 0xAD, 97],
            "\ufffd\ufffda",
            "two bytes that are no character before a letter",
        ),
    ):
        joined(decode_stream, ids, ending, what)
    broken = [97, 256, 98, 263, *"小".encode(), 263, 99, 100]
    steps = joined(
        decode_stream, broken, "a\ufffdbthe小thecd", "a broken character in the middle"
    )
    prompt = any(taken < len(broken) and "the" in text for taken, text in steps or [])
    expect(
        prompt,
        "after bytes that can never become a character nothing comes out until the "
        "stream ends",
    )
    rng = random.Random(6)
    ids = [
        rng.randrange(256, len(VOCAB)) if rng.random() < 0.6 else rng.randrange(256)
        for _ in range(60)
    ]
    joined(
        decode_stream,
        ids,
        b"".join(VOCAB[i] for i in ids).decode("utf-8", "replace"),
        "60 random tokens",
    )


@lab.check(
    points=2,
    section="Special tokens that a user can type",
    needs=("encode",),
    hints=(
        "Find the special tokens that are allowed, and encode what lies between them.",
        "re.split with a group keeps what it splits at: re.split('(x|y)', 'axb') -> "
        "['a', 'x', 'b']. The marks in a special token mean something in a regular "
        "expression, so re.escape each.",
        "Of several alternatives a regular expression takes the first that fits, so "
        "sort them by length, longest first. Without an allowed token there is "
        "nothing to split.",
        'pattern = "|".join(map(re.escape, sorted(allowed, key=len, reverse=True))); '
        "then for each part of "
        're.split(f"({pattern})", text): [special[part]] if part in allowed, else '
        "encode(part, merges).",
    ),
    solution=(
        "happyllm_support.text.tokenizer.streaming:SpecialSplitter",
        "happyllm_support.text.tokenizer.tokenizer:Tokenizer.encode",
    ),
)
def encode_special(encode_special: Remote) -> None:
    merges = [*ITS_MERGES, (46, 60), (32, 60), (33, 60), (60, 124), (124, 62)]

    def compare(text: str, special: dict[str, int], allowed: Collection[str]) -> None:
        got = encode_special(text, merges, special, allowed)
        what = f"encode_special({text!r}, merges, special, {sorted(allowed)})"
        expect_equal(
            got, reference.encode_special(text, merges, special, allowed), what
        )
        expect_equal(got, special_on_strings(text, merges, special, set(allowed)), what)

    # First everything that exists is allowed, then a part of it, then nothing, then
    # something that does not exist.
    end = {"<|end|>": 300}
    expect_equal(
        encode_special("a<|end|>", [], end, {"<|end|>"}),
        [97, 300],
        'encode_special("a<|end|>", ..., allowed={"<|end|>"})',
    )
    two = "<|end|><|end|>"
    expect_equal(
        encode_special(two, merges, end, ["<|end|>"]),
        [300, 300],
        f'encode_special({two!r}, ..., allowed=["<|end|>"])',
    )
    for text, allowed in ALL_ALLOWED:  # those with one token come first
        if len(allowed) > 1 and not right_so_far():
            return
        compare(text, {token: SPECIAL[token] for token in allowed}, list(allowed))
    if not right_so_far():
        return
    for text, allowed in SOME_ALLOWED:
        compare(text, SPECIAL, set(allowed))
    if not right_so_far():
        return
    bytes_of_end = [97, 60, 124, 101, 110, 100, 124, 62]
    expect_equal(
        encode_special("a<|end|>", [], end),
        bytes_of_end,
        'encode_special("a<|end|>", ..., allowed=())',
    )
    for text in NONE_ALLOWED:
        compare(text, SPECIAL, set())
    if right_so_far():
        encode_special.raises(
            ValueError, "a<|end|>", merges, SPECIAL, {"<|end|>", "<|fin|>"}
        )
