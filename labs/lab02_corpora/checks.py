"""What is graded in lab 02."""

from __future__ import annotations

import math
import random
from collections import Counter

import torch

from happyllm_support.grading.compare import (
    expect,
    expect_close,
    expect_equal,
    kind_of,
    right_so_far,
)
from happyllm_support.grading.labs import Lab
from happyllm_support.grading.remote import Remote

from . import reference
from .answers import Taken, accepted, drawn, fullness_of, starts_of, usable
from .by_hand import (
    EPOCHS,
    PETS,
    PLANS,
    RELATED,
    TEXTS,
    TWICE,
    derivations,
    formula,
    fullness,
    places,
    some_documents,
    some_grammar,
    starts_by_recipe,
)

lab = Lab("Corpora", minutes=120)

UNIT = "The unit: bits per byte"
SURPRISE = "How surprising is a story?"
COUNTING = "Counting: the first language model"
LEAKS = "Leaks"
ROWS = "Rows"
APART = "Keeping documents apart"
AGAIN = "The same batches again"
SUMS = (
    (0.7, 0.2, 0.1),
    (0.5, 0.3, 0.2 + 4e-10),
    (0.5, 0.3, 0.2 - 4e-10),
)  # 1 but for rounding
NO_SUMS = (0.8, 0.1, 0.0), (0.5, 0.3, 0.2 + 5e-9), (0.5, 0.3, 0.2 - 5e-9)


# ---- bits per byte


@lab.check(
    points=1,
    section=UNIT,
    hints=(
        "Three things change between the loss of a model and bits per byte: the sum "
        "over tokens, the unit of the surprise, and what it is divided by.",
        "A nat is 1 / ln 2 bits. How many bytes a text has, only its encoded form "
        "knows: `text.encode()`.",
        "float(losses.sum()) / math.log(2) / len(text.encode()), after the empty text "
        "has been refused.",
    ),
    solution=(
        "labs.lab02_corpora.reference:bits_per_byte",
        "happyllm_support.text.storyworld.world:StoryWorld.bits_per_byte",
    ),
)
def bits_per_byte(bits_per_byte: Remote) -> None:
    ln2 = math.log(2)
    example = torch.tensor([ln2, 3 * ln2], dtype=torch.float64)
    expect_close(bits_per_byte(example, "ab"), 2.0, "the example of the docstring")
    expect_close(
        bits_per_byte(example, "é"), 2.0, "the result for one character of two bytes"
    )
    rng = torch.Generator().manual_seed(1)
    for text in (
        "The duck found a red kite.\n",
        "小鸭子找到了一只红色的风筝。",
        "é" * 3 + "x",
    ):
        losses = 5 * torch.rand(7, generator=rng)
        got = bits_per_byte(losses, text)
        total = 0.0
        for loss in losses.tolist():
            total += loss
        expect_close(
            got,
            total / len(text.encode("utf-8")) * math.log2(math.e),
            f"the result for {text!r}",
        )
        expect_close(
            got, reference.bits_per_byte(losses, text), f"the result for {text!r}"
        )
    text = "Ein Bär, ein 熊."
    uniform = torch.full((len(text.encode()),), math.log(256))
    expect_close(
        bits_per_byte(uniform, text),
        8.0,
        "what a model pays that gives each of 256 bytes the same chance",
    )
    if right_so_far():
        bits_per_byte.raises(ValueError, torch.zeros(0), "")


# ---- entropy


@lab.check(
    points=3,
    section=SURPRISE,
    hints=(
        "Start with a nonterminal whose rules hold only words: its entropy is the sum "
        "of -p ln p.",
        "If a rule is drawn, with probability p, then all that its symbols cost has "
        "to be paid as well: each occurrence, and only then. So what follows is "
        "weighted with p.",
        "Write a function of one symbol that calls itself for the symbols of each "
        "rule, and remember its result in a dict (or functools.cache does), or the "
        "check runs out of time. Words cost 0; rules with p = 0 are skipped, since "
        "they have no logarithm.",
        "H[A] = sum(p * (-math.log(p) + sum(H(symbol) for symbol in body)) for p, "
        "body in grammar[A] if p > 0)",
    ),
    solution=(
        "labs.lab02_corpora.reference:entropy",
        "happyllm_support.text.storyworld.exact:entropy",
    ),
)
def entropy(entropy: Remote) -> None:
    bits = 1.5 + 0.75  # the animal; what it does, for all but hens
    expect_close(
        entropy(PETS, "story"),
        bits * math.log(2),
        "the entropy of the chapter's five stories",
    )
    choice = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
    expect_close(
        entropy(TWICE, "S"),
        math.log(2) + choice,
        "the entropy where a symbol is used twice",
    )
    expect_close(
        entropy(TWICE, "A"), choice, "the entropy from the second nonterminal on"
    )
    for seed in (3, 4, 7):
        grammar = some_grammar(seed)
        got = entropy(grammar, "N0")
        listed = math.fsum(-p * math.log(p) for p in derivations(grammar, ["N0"]))
        expect_close(
            got, listed, "the entropy, compared with a list of all derivations,"
        )
        expect_close(
            got,
            reference.entropy(grammar, "N0"),
            "the entropy of a grammar with six nonterminals",
        )
    doubling: reference.Grammar = {
        f"D{i}": [(1.0, [f"D{i + 1}", f"D{i + 1}"])] for i in range(40)
    }
    doubling["D40"] = [(0.3, ["x"]), (0.7, ["y"])]
    each = -0.3 * math.log(0.3) - 0.7 * math.log(0.7)
    expect_close(
        entropy(doubling, "D0"), 2.0**40 * each, "the entropy of a text of 2^40 words"
    )
    never = {
        "S": [(0.2, ["x"]), (0.0, ["T", "T"]), (0.8, ["T", "y"])],
        "T": [(0.6, ["x"]), (0.4, ["y"])],
    }
    expect_close(
        entropy(never, "S"),
        reference.entropy(never, "S"),
        "the entropy with a rule of probability 0",
    )
    if not right_so_far():
        return
    for ps in SUMS:
        got = accepted(
            entropy,
            {"S": [(p, [f"w{p}"]) for p in ps]},
            "S",
            what=f"{ps}, which sum to 1 but for rounding",
        )
        if not right_so_far():
            return
        expect_close(
            got, math.fsum(-p * math.log(p) for p in ps), f"the entropy of {ps}"
        )
    for ps in NO_SUMS:
        entropy.raises(ValueError, {"S": [(p, ["x"]) for p in ps]}, "S")
    if right_so_far():
        entropy.raises(
            ValueError,
            {"S": [(0.5, ["x"]), (0.5, ["y"])], "unused": [(0.5, ["x"]), (0.4, ["y"])]},
            "S",
        )


# ---- n-grams


@lab.check(
    points=3,
    section=COUNTING,
    hints=(
        "One table is enough for all orders: for each context, a tuple of 0 to n - 1 "
        "tokens, a Counter of the tokens that came after it.",
        "At position i of a document the contexts are ids[i:i], ids[i-1:i], "
        "ids[i-2:i] ..., as far as the document and the order allow. The total of a "
        "context is the sum of its counter.",
        "probs: begin with 1 / V for every token, then go from the empty context to "
        "the longest one; at each step (counts + p) / (total + 1). A context that "
        "was never seen leaves p as it is, all by itself.",
        "surprise: for i, token in enumerate(ids): -log(self.probs(ids[:i])[token]).",
    ),
    solution=("labs.lab02_corpora.reference:NGram",),
)
def NGram(NGram: Remote) -> None:
    small = NGram(2, 3)
    small.learn([0, 1, 0])
    small.learn([0, 0])
    first, second = [(4 + 1 / 3) / 6, (1 + 1 / 3) / 6, (1 / 3) / 6], [0.0, 0.0, 0.0]
    for token, count in enumerate((1, 1, 0)):
        second[token] = (count + first[token]) / 3
    expect_close(
        small.probs([]),
        torch.tensor(first, dtype=torch.float64),
        "the prediction for the first token",
    )
    expect_close(
        small.probs([0]),
        torch.tensor(second, dtype=torch.float64),
        "the prediction after a 0",
    )
    paid = torch.tensor(
        [-math.log(first[0]), -math.log(second[1])], dtype=torch.float64
    )
    expect_close(small.surprise([0, 1]), paid, "the surprise at 0, 1")
    vocab_size = 7  # the last token never occurs
    documents, unseen = (
        some_documents(14, seed=1),
        [*some_documents(2, seed=2), [2, 6, 0, 5, 5, 6, 1]],
    )
    for n in (1, 3, 4):
        model, known = NGram(n, vocab_size), reference.NGram(n, vocab_size)
        for document in documents:
            model.learn(document)
            known.learn(document)
        for context in ([], [0], [1, 0], [6, 1], [3, 0, 1, 0], [5, 5, 5, 2, 1, 0]):
            got = model.probs(context)
            k = min(n, len(context) + 1)
            want = [
                formula(documents, k, vocab_size, context, token)
                for token in range(vocab_size)
            ]
            what = f"the prediction of order {n} after {context}"
            if not expect_close(got, torch.tensor(want, dtype=torch.float64), what):
                continue
            expect_close(
                float(got.sum()), 1.0, f"the sum of {what.removeprefix('the ')}"
            )
        for ids in unseen:
            got = model.surprise(ids)
            expect_close(
                got, known.surprise(ids), f"the surprise of order {n} at {ids}"
            )
            ps = [
                formula(documents, min(n, i + 1), vocab_size, ids[:i], token)
                for i, token in enumerate(ids)
            ]
            want = torch.tensor([-math.log(p) for p in ps], dtype=torch.float64)
            expect_close(got, want, f"the surprise of order {n} at {ids}")
        expect_close(
            model.probs([0, 1]),
            known.probs([0, 1]),
            "the prediction after some text was measured",
        )


# ---- splits


@lab.check(
    points=3,
    section=LEAKS,
    numeric=False,
    hints=(
        "Nothing may matter but the text itself: not its place in the list, not what "
        "else is there, not which process asks. Python's own hash() of a string is "
        "another one in every process.",
        "First the key: lower case in the sense of `casefold`, and then only "
        "characters for which `isalnum()` holds; that keeps Chinese. Whatever copies "
        "have in common must be all that the hash sees.",
        "hashlib.blake2b(key.encode(), digest_size=8, salt=...).digest() are 8 "
        "bytes; int.from_bytes(..., 'big') / 2**64 lies between 0 and 1. Cutting a "
        "longer digest to 8 bytes is another hash.",
        "Add up the shares while you go through them, and take the first part whose "
        "sum is larger than u.",
    ),
    solution=(
        "happyllm_support.text.corpora.splits:split_of",
        "happyllm_support.text.corpora.splits:normalized",
    ),
)
def split(split: Remote) -> None:
    half = {"train": 0.5, "valid": 0.5}
    parts = {"train": 0.5, "valid": 0.3, "test": 0.2}
    got = split(TEXTS, parts)
    n = len(TEXTS)
    if not isinstance(got, list) or len(got) != n:
        what = (
            f"the result is {kind_of(got)} for {n} documents; expected is a list "
            "with the name of a part for each"
        )
        expect(
            False,
            f"{what}, copies included; is a return missing?"
            if got is None
            else f"{what}, copies included",
        )
        return
    copies = {got[i] for i in (0, 1, 2, 4, 5)}
    what = (
        "copies that differ in case, white space and punctuation (an underscore, "
        "too) do not lie in the same part"
    )
    expect(len(copies) == 1 and got[6] == got[7], what)
    expect_equal(
        got, reference.split(TEXTS, parts), f"the split of {n} documents by the recipe"
    )
    example = ["A cat.", "a  CAT", "A pig."]
    expect_equal(
        split(example, half),
        ["valid", "valid", "train"],
        "the example of the docstring",
    )
    rng = random.Random(3)
    for seed in (1, 2):
        many = [
            f"Story {rng.randrange(1000)} of {rng.choice(['a duck', '小猫'])}."
            for _ in range(60)
        ]
        once, reversed_ = split(many, parts, seed), split(many[::-1], parts, seed)
        expect(
            once == reversed_[::-1],
            "a document's part depends on where it stands in the list",
        )
        expect(
            split(many, parts, seed=seed) == once,
            "the same call gives another split the second time",
        )
        expect_equal(
            split(many[7:19], parts, seed),
            once[7:19],
            "the split of 12 of 60 documents",
        )
        expect_equal(
            once,
            reference.split(many, parts, seed),
            f"the split of 60 documents by the recipe, with seed {seed},",
        )
    numbers = [f"document {i}" for i in range(500)]
    train, other = (
        split(numbers, {"train": 0.8, "valid": 0.2}),
        split(numbers, {"train": 0.8, "valid": 0.2}, 5),
    )
    share = Counter(train).get("train", 0) / 500
    expect(
        0.74 < share < 0.86,
        f"of 500 documents, {share:.0%} are in a part that should have 80 %",
    )
    both = sum(a == b == "valid" for a, b in zip(train, other, strict=False)) / 500
    expect(
        0.015 < both < 0.075,
        f"{both:.1%} are in a part of 20 % with either of two seeds; 4 % are expected "
        "by chance",
    )
    if not right_so_far():
        return
    for ps in SUMS:
        shares = dict(zip(("train", "valid", "test"), ps, strict=True))
        got = accepted(
            split, TEXTS, shares, what=f"{ps}, which sum to 1 but for rounding"
        )
        if not right_so_far():
            return
        expect_equal(
            got, reference.split(TEXTS, shares), f"the split with the shares {ps}"
        )
    for ps in NO_SUMS:
        split.raises(
            ValueError, TEXTS, dict(zip(("train", "valid", "test"), ps, strict=True))
        )
    split.raises(ValueError, TEXTS, {"train": 1.2, "valid": -0.2})


# ---- rows


@lab.check(
    points=2,
    section=ROWS,
    hints=(
        "Sort the numbers of the documents by length, longest first. Then decide one "
        "document at a time, and never move one that has its place.",
        "Keep the room that is left in each row. Among the rows with room >= length, "
        "the fullest one is the one with the least room.",
        "fitting = [r for r in range(len(rows)) if room[r] >= length]; if there are "
        "any, the document goes into min(fitting, key=room.__getitem__).",
    ),
    solution=(
        "happyllm_support.text.shards.packing:plan_best_fit",
        "happyllm_support.text.shards.packing:_best_fit",
    ),
)
def best_fit(best_fit: Remote) -> None:
    # The first ones leave no choice between documents or rows, so that all wrong code
    # shows alike.
    cases = list(PLANS)
    rng = random.Random(11)
    cases += [
        ([rng.randrange(1, 20) for _ in range(n)], T)
        for n, T in ((15, 20), (40, 31), (25, 64))
    ]
    for lengths, T in cases:
        if len(set(lengths)) < len(lengths) and not right_so_far():
            return
        rows = best_fit(lengths, T)
        what = (
            f"{lengths} in rows of {T}"
            if len(lengths) < 15
            else f"{len(lengths)} documents in rows of {T}"
        )
        filled = fullness_of(rows, lengths, T, what)
        if filled is None:
            continue
        known = reference.best_fit(lengths, T)
        wanted = sorted(sum(lengths[number] for number in row) for row in known)
        expect_equal(
            filled, wanted, f"{what}: the list of how full the rows are, sorted,"
        )
        expect_equal(
            filled,
            fullness(lengths, T),
            f"{what}: the list of how full the rows are, sorted,",
        )
        if lengths == [9, 5, 7, 3, 6]:
            plan = sorted(sorted(row) for row in rows)
            expect_equal(
                plan,
                [[0, 3], [1, 2], [4]],
                "the example of the docstring, with everything sorted,",
            )
    if right_so_far():
        best_fit.raises(ValueError, [3, 13, 5], 12)


@lab.check(
    points=3,
    section=APART,
    hints=(
        "Begin with four arrays that are all padding: ids of pad_id, targets of "
        "-100, positions and segments of 0. Then write each document over its places.",
        "A document of n tokens that begins at place `at` covers at to at + n - 1, "
        "but has only n - 1 targets: its last token has none, whatever lies to the "
        "right of it.",
        "targets[b, at : at + n - 1] = document[1:], positions[b, at : at + n] = 0 "
        "... n - 1, and the segment is the number of the document within the row, "
        "from 1.",
    ),
    solution=("happyllm_support.text.shards.packing:fill_rows",),
)
def fill_rows(fill_rows: Remote) -> None:
    cases: list[tuple[list[list[list[int]]], int, dict[str, int]]] = [
        ([[[11, 12, 13], [21, 22]]], 6, {}),
        (
            [[[11, 12, 13, 14]], [[21], [31, 32]], [[41, 42], [51, 52, 53]]],
            5,
            {"pad_id": 9},
        ),
        ([[[5, 6, 5, 6], [7, 8, 9]], [[3, 4], [2], [8, 7, 6]]], 8, {"pad_id": 1}),
    ]
    for rows, T, options in cases:
        got = fill_rows(rows, T, **options)
        known, loops = (
            reference.fill_rows(rows, T, **options),
            places(rows, T, options.get("pad_id", 0)),
        )
        if not isinstance(got, dict):
            expect_equal(got, known)
            return
        if not expect_equal(
            sorted(got),
            ["ids", "positions", "segments", "targets"],
            "the list of the arrays' names",
        ):
            return
        for name in ("ids", "segments", "positions", "targets"):
            expect_equal(
                got[name], known[name], f"the array {name} for {rows} in rows of {T}"
            )
            expect_equal(
                got[name], loops[name], f"the array {name} for {rows} in rows of {T}"
            )
    if right_so_far():
        fill_rows.raises(ValueError, [[[1, 2], [3, 4]], [[5, 6, 7], [8, 9]]], 4)


# ---- batches


@lab.check(
    points=3,
    section=AGAIN,
    hints=(
        "How many windows have all their targets? The last one needs a token more "
        "than it has inputs.",
        "Make a list of the windows' numbers, shuffle it with the generator of the "
        "docstring, and cut the list into pieces of batch_size.",
        "n = (len(ids) - 1) // T; window w has the inputs ids[w * T : w * T + T] and "
        "the targets ids[w * T + 1 : w * T + T + 1]. torch.stack makes a batch of "
        "them.",
        'order = list(range(n)), then random.Random(f"{seed} {epoch}").shuffle(order); '
        "for first in range(0, n - "
        "batch_size + 1, batch_size) yield the windows of order[first : first + "
        "batch_size].",
    ),
    solution=(
        "labs.lab02_corpora.reference:batches",
        "happyllm_support.text.shards.batches:TokenBatches",
    ),
)
def batches(batches: Remote) -> None:
    # Tokens, B, T, batches: one window, none, four windows that fill two batches, five
    # of which one is left, four.
    line = torch.arange(100, 200) * 3
    short: list[tuple[Taken | None, tuple[int, int, int], int, str]] = []
    for n, B, T, count in (
        (6, 1, 5, 1),
        (5, 1, 5, 0),
        (13, 2, 3, 2),
        (16, 2, 3, 2),
        (15, 2, 3, 2),
    ):
        what = f"{n} tokens with T = {T}" + (f" and batches of {B}" if B > 1 else "")
        taken = drawn(batches(line[:n], B, T, seed=0), what)
        if taken is None:
            return
        short.append((taken, (n, B, T), count, what))
    for taken, (n, B, T), count, what in short:
        if taken is None or not usable(taken, count, (B, T), what):
            return
        if n == T + 1:
            right = expect_equal(taken[0][0], line[None, :T], f"the inputs of {what}")
            if not (
                expect_equal(
                    taken[0][1], line[None, 1 : T + 1], f"the targets of {what}"
                )
                and right
            ):
                return
    # 101 tokens are 25 windows of 4, in batches of 3: 8 batches, and one window is left
    # out. 97 tokens are 24 windows.
    B, T = 3, 4
    epochs: dict[tuple[int, int, int], list[list[int]]] = {}
    for n, seed, epoch in EPOCHS:
        what = f"{n} tokens with T = {T} (seed {seed}, epoch {epoch})"
        ids = torch.arange(n) + 1000
        taken = drawn(batches(ids, B, T, seed=seed, epoch=epoch), what)
        if taken is None or not usable(taken, 8, (B, T), what):
            return
        starts = starts_of(taken, ids, T, what)
        if starts is None:
            return
        key = (n, seed, epoch)
        expect(
            epochs.get(key, starts) == starts,
            f"{what}: the same call gives other batches the second time",
        )
        epochs[key] = starts
    for one, other, what in RELATED:
        expect(epochs[one] != epochs[other], what)
    together = [
        {frozenset(batch) for batch in epochs[key]} for key in ((97, 0, 0), (97, 7, 2))
    ]
    expect(
        together[0] != together[1],
        "the same windows lie together in a batch in every epoch",
    )
    if not right_so_far():
        return
    for n, seed, epoch in EPOCHS[1:]:
        what = f"{n} tokens (seed {seed}, epoch {epoch})"
        taken = drawn(batches(torch.arange(n), B, T, seed=seed, epoch=epoch), what)
        if taken is None or not usable(taken, 8, (B, T), what):
            return
        starts = torch.cat([inputs[:, 0] for inputs, _ in taken]).tolist()
        known = starts_by_recipe(n, T, seed, epoch)[: 8 * B]
        what = (
            f"{what}: the places where the windows of the first batch begin are "
            f"{starts[:B]}"
        )
        if not expect(
            starts == known,
            f'{what}; by random.Random(f"{{seed}} {{epoch}}").shuffle they are '
            f"{known[:B]}",
        ):
            return
        want = [
            inputs
            for inputs, _ in reference.batches(
                torch.arange(n), B, T, seed=seed, epoch=epoch
            )
        ]
        expect_equal(
            torch.stack([inputs for inputs, _ in taken]),
            torch.stack(want),
            f"all inputs of {n} tokens",
        )
