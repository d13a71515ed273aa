"""What lab 01 grades."""

from __future__ import annotations

import codecs
import random
from collections.abc import Iterator
from itertools import islice

from happyllm_support.grading.compare import expect, expect_equal, kind_of
from happyllm_support.grading.labs import Lab
from happyllm_support.grading.remote import Remote
from happyllm_support.grading.wire import Stream

from . import reference
from .oracles import encode_on_strings, noise, special_on_strings, spelled, train_on_strings

lab = Lab(
    "Tokenizers",
    minutes=90,
    no_imports=("tiktoken", "tokenizers", "sentencepiece", "transformers"),
)

SENTENCE = "the cat sat, the fat cat sat, and the hat"  # the chapter's
ITS_MERGES = [(97, 116), (104, 101), (116, 257), (99, 256), (115, 256), (32, 258), (32, 259), (32, 260)]
STORY = (
    "Mei had a red kite. The kite flew over the river, over the hill and over the red roofs. Look, said Mei, "
    "look at the kite!! The river looked back; 12 + 12 = 24.\n\n"
    "小梅有一只红风筝。风筝飞过小河，飞过小山，飞过红屋顶。小梅说：看，风筝！小河看着小梅笑了。🙂🙂\n"
)


@lab.check(
    points=1,
    section="By hand",
    hints=(
        "Neighbours in a word of n ids make n - 1 pairs; itertools.pairwise yields them.",
        "A word that occurs ten times adds ten to each place where a pair stands in it.",
        "For each (ids, n) of words.items(), for each pair of pairwise(ids): counts[pair] += n, with a Counter.",
    ),
    solution=("happyllm_support.text.bpe_naive:count_pairs",),
)
def pair_counts(pair_counts: Remote) -> None:
    expect_equal(pair_counts({(1, 2, 3): 10, (1, 2): 3}), {(1, 2): 13, (2, 3): 10}, "the count of the example")
    expect_equal(pair_counts({(7, 7, 7): 5}), {(7, 7): 10}, "the count of (7, 7, 7), five times")
    expect_equal(pair_counts({(5, 300, 5): 2}), {(5, 300): 2, (300, 5): 2}, "the count of (5, 300, 5), twice")
    expect_equal(pair_counts({(9,): 4, (8, 9, 9, 9, 9, 8): 1}), {(8, 9): 1, (9, 9): 3, (9, 8): 1})
    expect_equal(pair_counts({(4,): 3}), {}, "the count of a word of one id")
    rng = random.Random(1)
    words = {tuple(rng.choices((1, 2, 3, 258), k=rng.randrange(1, 9))): rng.randrange(1, 6) for _ in range(40)}
    got = pair_counts(words)
    slow = {
        (a, b): sum(
            n * sum((word[i], word[i + 1]) == (a, b) for i in range(len(word) - 1)) for word, n in words.items()
        )
        for a in (1, 2, 3, 258)
        for b in (1, 2, 3, 258)
    }
    expect_equal(got, slow, "the count of 40 words")
    expect_equal(got, dict(reference.pair_counts(words)), "the count of 40 words")


@lab.check(
    points=1,
    section="By hand",
    hints=(
        "Walk through the list with an index, and build a new list.",
        "After a replacement the walk goes on two places further, otherwise one.",
        "The last id has no right neighbour: look at ids[i + 1] only where i + 1 < len(ids), but append ids[i] anyway.",
    ),
    solution=("happyllm_support.text.bpe_naive:merge_pair",),
)
def merge(merge: Remote) -> None:
    expect_equal(merge([1, 2, 3, 1, 2], (1, 2), 4), [4, 3, 4], "merge([1, 2, 3, 1, 2], (1, 2), 4)")
    expect_equal(merge([1, 1, 1], (1, 1), 2), [2, 1], "merge([1, 1, 1], (1, 1), 2)")
    expect_equal(merge([5, 1, 1, 1, 1, 1, 6], (1, 1), 300), [5, 300, 300, 1, 6], "a run of five")
    expect_equal(merge([2, 1, 2, 1], (1, 2), 9), [2, 9, 1], "merge([2, 1, 2, 1], (1, 2), 9)")
    expect_equal(merge([1, 3, 2, 1, 1, 2, 2], (1, 2), 9), [1, 3, 2, 1, 9, 2], "merge([1, 3, 2, 1, 1, 2, 2], (1, 2), 9)")
    expect_equal(merge([7], (7, 7), 9), [7], "a list of one id")
    expect_equal(merge([], (7, 7), 9), [], "an empty list")
    rng = random.Random(2)
    for n in (2, 9, 40, 41):
        ids = rng.choices((1, 2, 3), k=n)
        for pair in ((1, 1), (1, 2), (2, 1)):
            got = merge(ids, pair, 77)
            expect_equal(got, list(bytes(ids).replace(bytes(pair), bytes([77]))), f"{n} ids with {pair} merged")
            expect_equal(got, reference.merge(ids, pair, 77), f"{n} ids with {pair} merged")


@lab.check(
    points=3,
    section="By hand",
    needs=("pair_counts", "merge"),
    hints=(
        "Count the pieces first: Counter(pretokenize(text)). Then keep the ids of each different piece, as a tuple, "
        "with its count.",
        "One round: pairs = pair_counts(words); choose the best; put merge(...) of each word into a new dictionary. "
        "Counts change with every merge, so count again in each round.",
        "The best is min(pairs, key=lambda p: (-pairs[p], rank(p[0]), rank(p[1]))).",
        "Three ways to stop: vocab_size - 256 merges are there, no pair is left, or the best one occurs less than "
        "min_frequency times.",
    ),
    solution=("happyllm_support.text.bpe_naive:train_bpe_naive", "happyllm_support.text.bpe:learn_merges"),
)
def train(train: Remote) -> None:
    expect_equal(train("aab aab ab", 258), [(97, 98), (97, 256)], 'train("aab aab ab", 258)')
    expect_equal(train(SENTENCE, 300), ITS_MERGES, f"train({SENTENCE!r}, 300)")
    expect_equal(train(SENTENCE, 261), ITS_MERGES[:5], f"train({SENTENCE!r}, 261)")
    rare = [(97, 98), (99, 100), (32, 256), (32, 257)]
    expect_equal(train("ab ab ab ab cd cd cd ef", 300, 3), rare, 'train("ab ab ab ab cd cd cd ef", 300, 3)')
    for text, size, frequency, what in (
        ("the cat", 256, 1, "no room for a merge"),
        ("", 300, 1, "an empty text"),
        ("a b c", 300, 2, "a text in which nothing occurs twice"),
        ("yx", 300, 1, "a text in which one merge leaves nothing to merge"),
        ("xaaax xaaax caaac cac cacac", 300, 1, "runs of equal letters"),
        ("zz aa mm zz aa mm", 300, 2, "ties between letters"),
        ("a a a a b b b c, c, c, c,", 300, 1, "ties with the space"),
        ("abcd abcd abcd bcda bcda", 300, 2, "ties with merged tokens"),
        ("éa éa aé aé 语语 语语", 275, 1, "ties between bytes that are no letters"),
    ):
        got = train(text, size, frequency)
        expect_equal(got, reference.train(text, size, frequency), f"train with {what}, {text!r},")
        expect_equal(got, train_on_strings(text, size, frequency), f"train with {what}, {text!r},")
    rng = random.Random(3)
    for text, size, frequency in ((noise(rng, 150), 280, 2), (noise(rng, 61, "ab "), 300, 1), (STORY * 2, 290, 2)):
        got = train(text, size, frequency)
        expect_equal(got, reference.train(text, size, frequency), f"train on {len(text)} characters")
        expect_equal(got, train_on_strings(text, size, frequency), f"train on {len(text)} characters")
    train.raises(ValueError, "the cat", 255)


@lab.check(
    points=3,
    section="By hand",
    needs=("merge",),
    hints=(
        "A dictionary {pair: 256 + k} says of each pair whether it is among the merges, and how early: a smaller id "
        "was learned earlier.",
        "For each piece: while some neighbouring pair is in the dictionary, take the one with the smallest id and call "
        "merge with it.",
        "min((table[pair] for pair in pairwise(ids) if pair in table), default=None) is the next id to make; "
        "merges[id - 256] is its pair.",
    ),
    solution=("happyllm_support.text.merging:merge_by_scan",),
)
def encode(encode: Remote) -> None:
    expect_equal(encode("abc", [(98, 99), (97, 98)]), [97, 256], 'encode("abc", [(98, 99), (97, 98)])')
    expect_equal(
        encode("the cat sat", ITS_MERGES), [258, 262, 263], 'encode("the cat sat"), with the chapter\'s merges'
    )
    rat = [258, 32, 114, 256, 32, 240, 159, 153, 130]
    expect_equal(encode("the rat 🙂", ITS_MERGES), rat, 'encode("the rat 🙂"), with the chapter\'s merges')
    expect_equal(encode("aaa aaaaaa", [(97, 97), (256, 97)]), [257, 32, 256, 256, 256])
    expect_equal(encode("", ITS_MERGES), [], "an empty text")
    expect_equal(encode("a é", []), [97, 32, 195, 169], 'encode("a é", []), no merges,')
    expect_equal(encode("cat, a b", [(116, 44), (97, 32)]), list(b"cat, a b"), "with merges that cross pieces")
    a, b, c, d = b"abcd"
    for merges, text in (
        ([(c, d), (b, c), (257, d)], "bcd abcd"),
        ([(b, c), (a, b), (a, 256)], "abc abcabc"),
        ([(c, d), (a, b), (256, 257)], "cdabcdabab"),
        ([(b, b), (a, b), (256, 256), (257, b)], "abbb abbbbb bbbbbbb"),
        ([(a, b), (c, d), (256, 257), (b, c), (b, 257)], "abcd bcd bcbcd"),
    ):
        got = encode(text, merges)
        expect_equal(got, reference.encode(text, merges), f"encode({text!r}, {merges})")
        expect_equal(got, encode_on_strings(text, merges), f"encode({text!r}, {merges})")
    rng = random.Random(4)
    for letters, size in (("abc ", 300), ("abcde, ", 280), ("小河飞过", 300)):
        merges = reference.train(noise(rng, 200, letters), size, 1)
        text = noise(rng, 101, letters)
        got = encode(text, merges)
        expect_equal(got, reference.encode(text, merges), f"encode on {len(text)} characters")
        expect_equal(got, encode_on_strings(text, merges), f"encode on {len(text)} characters")
    merges = reference.train(STORY, 330)
    ids = encode(STORY, merges)
    vocab = spelled(merges)
    spells = isinstance(ids, list) and all(isinstance(i, int) and 0 <= i < len(vocab) for i in ids)
    if expect(spells, f"it returns something else than ids from 0 to {len(vocab) - 1}"):
        expect_equal(
            b"".join(vocab[token] for token in ids).decode(errors="replace"), STORY, "the text that the ids spell"
        )


@lab.check(
    points=2,
    section="Nothing is unknown",
    numeric=False,
    hints=(
        "Begin with a list of the bytes of each id: [bytes([b]) for b in range(256)].",
        "Each merge appends the bytes of its left token followed by those of its right token; both are in the list "
        "already.",
        "Join the bytes of all ids first and decode once at the end. Check the range before you look anything up: a "
        "list takes negative indices.",
    ),
    solution=(
        "happyllm_support.text.tokenizer:Tokenizer.decode",
        "happyllm_support.text.tokenizer:Tokenizer.decode_bytes",
        "happyllm_support.text.bpe:BPEModel",
    ),
)
def decode(decode: Remote) -> None:
    expect_equal(decode([97, 256], [(97, 98), (256, 99)]), "aab", "decode([97, 256], [(97, 98), (256, 99)])")
    expect_equal(decode([262, 44], ITS_MERGES), " cat,", "decode([262, 44], the chapter's merges)")
    expect_equal(decode([97, 257], [(97, 98), (256, 99)]), "aabc", "decode([97, 257], [(97, 98), (256, 99)])")
    expect_equal(decode([0xE8, 0xAF, 0xAD], []), "语", "the three bytes of 语")
    expect_equal(decode([258, 262, 263], ITS_MERGES), "the cat sat", "decode([258, 262, 263], the chapter's merges)")
    expect_equal(decode([], ITS_MERGES), "", "the text of no ids")
    expect_equal(decode([98, 0, 10, 255, 97], []), "b\0\n\ufffda", "decode([98, 0, 10, 255, 97], [])")
    expect_equal(decode([65, 0xF0, 0x9F, 66, 0xE8], []), "A\ufffdB\ufffd", "two broken characters")
    merges = reference.train(STORY, 330)
    expect_equal(decode(reference.encode(STORY, merges), merges), STORY, "a text that has been encoded")
    vocab = spelled(merges)
    rng = random.Random(5)
    for n in (1, 30, 31):
        ids = [rng.randrange(len(vocab)) for _ in range(n)] + [len(vocab) - 1]
        got = decode(ids, merges)
        expect_equal(got, reference.decode(ids, merges), f"the text of {n + 1} random ids")
        expect_equal(got, b"".join(vocab[i] for i in ids).decode("utf-8", "replace"), f"the text of {n + 1} random ids")
    for ids in ([97, 258], [-1], [97, -257], [256 + len(ITS_MERGES) + 40]):
        decode.raises(ValueError, ids, ITS_MERGES if len(ids) == 1 else ITS_MERGES[:2])


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


@lab.check(
    points=3,
    section="Writing half a character",
    numeric=False,
    hints=(
        "Keep the bytes that are not yet text in a buffer. Each id adds its bytes; what is complete is yielded, "
        "the rest stays.",
        "codecs.getincrementaldecoder knows which bytes are complete. By hand: UnicodeDecodeError has .start, and its "
        '.reason is "unexpected end of data" where more bytes could help.',
        'decoder = codecs.getincrementaldecoder("utf-8")(errors="replace"); text = decoder.decode(vocab[token]) for '
        'each id; decoder.decode(b"", final=True) at the end.',
    ),
    solution=("happyllm_support.text.streaming:Utf8Stream", "happyllm_support.text.tokenizer:Tokenizer.decode_stream"),
)
def decode_stream(decode_stream: Remote) -> None:
    for ids, what in (
        ([104, 105, 263, 33], "ASCII"),
        ([97, *"语é🙂言".encode(), 98], "one byte per token"),
        ([258, 259, 97, 258, 259], "a token that ends in half a character"),
        ([256, 257, 0xA8, 0x80, 262, 0x82, 264, 260, 261, 10], "tokens with halves at both ends"),
    ):
        _follow(decode_stream, ids, what)
    for ids, ending, what in (
        ([97, 260, 0x99], "a\ufffd", "an emoji without its last byte at the end"),
        ([263, 258], "thea\ufffd", "a letter and half a character at the end"),
        ([256], "\ufffd", "half a character and nothing else"),
        ([], "", "no ids"),
        ([255, 0xAD, 97], "\ufffd\ufffda", "two bytes that are no character before a letter"),
    ):
        _joined(decode_stream, ids, ending, what)
    broken = [97, 256, 98, 263, *"小".encode(), 263, 99, 100]
    steps = _joined(decode_stream, broken, "a\ufffdbthe小thecd", "a broken character in the middle")
    prompt = any(taken < len(broken) and "the" in text for taken, text in steps or [])
    expect(prompt, "after bytes that can never become a character nothing comes out until the stream ends")
    rng = random.Random(6)
    ids = [rng.randrange(256, len(VOCAB)) if rng.random() < 0.6 else rng.randrange(256) for _ in range(60)]
    _joined(decode_stream, ids, b"".join(VOCAB[i] for i in ids).decode("utf-8", "replace"), "60 random tokens")


def _steps(decode_stream: Remote, ids: list[int], what: str) -> list[tuple[int, str]] | None:
    """After each text that came: how many ids had been taken, and all the text so far."""
    parts = decode_stream(Stream(ids), VOCAB)
    if not isinstance(parts, Iterator):
        expect(False, f"for {what} it returns {kind_of(parts)}; expected is a generator, which yields text as ids come")
        return None
    steps: list[tuple[int, str]] = []
    for part in islice(parts, 8 * len(ids) + 8):
        if not isinstance(part, str):
            expect(False, f"for {what} it yields {kind_of(part)}; expected is text")
            return None
        if part:
            steps.append((decode_stream.taken()[-1], (steps[-1][1] if steps else "") + part))
    return steps


def _joined(decode_stream: Remote, ids: list[int], want: str, what: str) -> list[tuple[int, str]] | None:
    """Everything that is yielded for `ids` is `want`."""
    steps = _steps(decode_stream, ids, what)
    if steps is not None:
        expect_equal(steps[-1][1] if steps else "", want, f"the joined text for {what}")
        package = "".join(reference.decode_stream(iter(ids), VOCAB))
        assert package == want, (package, want)
    return steps


def _follow(decode_stream: Remote, ids: list[int], what: str) -> None:
    """Valid text: each character comes when its last byte is there, before another id is taken."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    complete = [""]  # after so many ids
    for token in ids:
        complete.append(complete[-1] + decoder.decode(VOCAB[token]))
    steps = _joined(decode_stream, ids, complete[-1], what)
    before = ""
    for taken, text in steps or []:
        due = complete[max(taken - 1, 0)]
        late = f"{what}: {taken} ids were taken when {text!r} had come, but {due!r} was complete one id earlier"
        if not expect(len(before) >= len(due), late):
            return
        early = f"{what}: after {taken} ids {text!r} has come out; the complete characters are {complete[taken]!r}"
        if not expect(complete[taken].startswith(text), early):
            return
        before = text


@lab.check(
    points=2,
    section="Special tokens that a user can type",
    needs=("encode",),
    hints=(
        "Find the special tokens that are allowed, and encode what lies between them.",
        "re.split with a group keeps what it splits at: re.split('(x|y)', 'axb') -> ['a', 'x', 'b']. The marks in a "
        "special token mean something in a regular expression, so re.escape each.",
        "Of several alternatives a regular expression takes the first that fits, so sort them by length, longest "
        "first. Without an allowed token there is nothing to split.",
    ),
    solution=(
        "happyllm_support.text.streaming:SpecialSplitter",
        "happyllm_support.text.tokenizer:Tokenizer.encode",
    ),
)
def encode_special(encode_special: Remote) -> None:
    special = {"<|end|>": 300, "<|user|>": 301, "<|end|><|user|>": 310, "!<": 7, "cat": 302}
    merges = [*ITS_MERGES, (46, 60), (32, 60), (33, 60), (60, 124), (124, 62)]
    bytes_of_end = [97, 60, 124, 101, 110, 100, 124, 62]
    expect_equal(encode_special("a<|end|>", [], {"<|end|>": 300}, {"<|end|>"}), [97, 300], "the example, allowed,")
    expect_equal(encode_special("a<|end|>", [], {"<|end|>": 300}), bytes_of_end, "the example, not allowed,")
    expect_equal(
        encode_special("<|end|><|end|>", merges, special, ["<|end|>"]), [300, 300], "nothing but special tokens"
    )
    for text, allowed in (
        ("the cat sat.<|end|> the hat<|user|>the cat", {"<|end|>", "<|user|>"}),
        ("the cat sat.<|end|> the hat<|user|>the cat", {"<|end|>"}),
        ("sat <|end|> hat.<|end|> fat", {"<|end|>"}),
        ("hat<|end|><|user|>sat<|end|> <|user|>", {"<|end|>", "<|user|>", "<|end|><|user|>"}),
        ("hat!<|end|>sat", {"<|end|>", "!<"}),
        ("end|user<>", {"<|end|>", "<|user|>"}),
        ("cats", {"cat"}),
        ("sat<|end|>cat<|end|>", {"<|end|>"}),
        ("cat", set()),
        ("", {"cat"}),
        ("sat.<|end|>.<|user|>", set()),
    ):
        got = encode_special(text, merges, special, allowed)
        what = f"encode_special({text!r}, allowed={sorted(allowed)})"
        expect_equal(got, reference.encode_special(text, merges, special, allowed), what)
        expect_equal(got, special_on_strings(text, merges, special, allowed), what)
    encode_special.raises(ValueError, "a<|end|>", merges, special, {"<|end|>", "<|fin|>"})
