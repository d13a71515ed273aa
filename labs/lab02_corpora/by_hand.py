"""What the checks of lab 02 compare with: texts, grammars and documents, and answers by
plain loops.
"""

from __future__ import annotations

import random
from typing import Any

import torch

from . import reference

PETS: reference.Grammar = {
    "does": [(0.5, ["It ate."]), (0.5, ["It slept."])],
    "leaves": [(1.0, ["Then it left."])],
    "story": [
        (0.5, ["A cat came in.", "does", "leaves"]),
        (0.25, ["A dog came in.", "does", "leaves"]),
        (0.25, ["A hen came in.", "It ate.", "leaves"]),
    ],
}
TWICE: reference.Grammar = {
    "S": [(0.5, ["A", "A"]), (0.5, ["stop"])],
    "A": [(0.25, ["x"]), (0.75, ["y"])],
}


def some_grammar(seed: int) -> reference.Grammar:
    """Six nonterminals with two or three rules each; a rule uses later ones only."""
    rng = random.Random(seed)
    grammar: reference.Grammar = {}
    for i in range(6):
        weights = [rng.randrange(1, 9) for _ in range(rng.choice([2, 3]))]
        later = [f"N{j}" for j in range(i + 1, 6)] + ["a", "b"]
        rules = [
            (w / sum(weights), rng.choices(later, k=rng.randrange(1, 3)))
            for w in weights
        ]
        grammar[f"N{i}"] = rules
    return {
        name: grammar[name] for name in sorted(grammar, key=lambda name: rng.random())
    }


def derivations(grammar: reference.Grammar, symbols: list[str]) -> list[float]:
    """The probability of every derivation, one by one."""
    if not symbols:
        return [1.0]
    rest = derivations(grammar, symbols[1:])
    first = [
        p * q
        for p, body in grammar.get(symbols[0], [(1.0, [])])
        for q in derivations(grammar, body)
    ]
    return [p * q for p in first for q in rest]


def formula(
    documents: list[list[int]], k: int, vocab_size: int, context: list[int], token: int
) -> float:
    """p_k of the chapter, counted by looking through all documents again for every
    question.
    """
    if k == 0:
        return 1 / vocab_size
    before = context[len(context) - (k - 1) :]
    followers = [
        document[i]
        for document in documents
        for i in range(k - 1, len(document))
        if document[i - k + 1 : i] == before
    ]
    shorter = formula(documents, k - 1, vocab_size, context, token)
    return (followers.count(token) + shorter) / (len(followers) + 1)


def some_documents(n: int, seed: int) -> list[list[int]]:
    """Documents of 1 to 12 tokens below 6, of which some are frequent and repeat what
    came two before.
    """
    rng = random.Random(seed)
    documents: list[list[int]] = []
    for _ in range(n):
        ids: list[int] = []
        for _ in range(rng.randrange(1, 13)):
            repeat = len(ids) > 1 and rng.random() < 0.5
            ids.append(ids[-2] if repeat else min(rng.randrange(6), rng.randrange(6)))
        documents.append(ids)
    return documents


TEXTS = [
    "The shy duck found a kite.",
    "the shy duck found a kite",
    "  The shy\n duck found\ta KITE!! ",
    "The brave goat lost a lamp.",
    "Theshyduckfoundakite",
    "The_shy duck -- found_a kite",
    "小鸭子找到了风筝。",
    "小鸭子找到了风筝",
    "小山羊弄丢了灯笼。",
    "害羞的猫在池塘边等着朋友。",
    "勇敢的狐狸卖掉了帽子!",
    "The STRASSE is long",
    "The straße is long.",
    "Le café, 3 fois",
    "The brave goat lost a lamp.",
]


PLANS: list[tuple[list[int], int]] = [
    ([9, 5, 7, 3, 6], 12),
    ([4, 10, 3, 1], 10),
    ([15, 19, 5, 11, 2], 19),
    ([13, 1, 7, 4, 16, 12], 18),
    ([17, 12, 30, 9, 22, 5, 31, 14, 8, 3, 19, 11], 40),
    ([6, 6, 2, 6], 8),
]

# tokens, seed, epoch
EPOCHS = (
    (101, 0, 0),
    (101, 0, 0),
    (101, 0, 1),
    (101, 1, 0),
    (101, 1, 10),
    (101, 11, 0),
    (101, 1, 1),
    (101, 2, 0),
    (97, 0, 0),
    (97, 7, 2),
)


RELATED = (
    ((101, 0, 0), (101, 0, 1), "epoch 1 has the same order as epoch 0"),
    ((101, 0, 0), (101, 1, 0), "seed 1 has the same order as seed 0"),
    ((101, 0, 1), (101, 1, 0), "epoch 1 of seed 0 is epoch 0 of seed 1"),
    ((101, 1, 10), (101, 11, 0), "epoch 10 of seed 1 is epoch 0 of seed 11"),
    ((101, 1, 10), (101, 2, 0), "epoch 10 of seed 1 is epoch 0 of seed 2"),
    ((101, 11, 0), (101, 1, 1), "epoch 0 of seed 11 is epoch 1 of seed 1"),
)


def starts_by_recipe(n: int, T: int, seed: int, epoch: int) -> list[int]:
    """The places at which the windows begin, in the order that the docstring fixes."""
    starts = [start for start in range(0, n, T) if start + T + 1 <= n]
    random.Random(f"{seed} {epoch}").shuffle(starts)
    return starts


def is_plan(rows: Any) -> bool:
    """Whether a value is a list of lists (or tuples) of whole numbers, none of them
    empty.
    """
    return isinstance(rows, list) and all(
        isinstance(row, (list, tuple))
        and row
        and all(type(number) is int for number in row)
        for row in rows
    )


def fullness(lengths: list[int], T: int) -> list[int]:
    """How full the rows of best fit are, in order: every length from T down to 1, every
    row looked at.
    """
    used: list[int] = []
    for length in range(T, 0, -1):
        for _ in range(lengths.count(length)):
            best = -1
            for row, tokens in enumerate(used):
                if tokens + length <= T and (best < 0 or tokens > used[best]):
                    best = row
            if best < 0:
                used.append(length)
            else:
                used[best] += length
    return sorted(used)


def places(rows: list[list[list[int]]], T: int, pad_id: int) -> dict[str, torch.Tensor]:
    """The four arrays, place by place."""
    filled: dict[str, list[list[int]]] = {
        "ids": [],
        "targets": [],
        "positions": [],
        "segments": [],
    }
    for row in rows:
        line = [
            (ids[i], ids[i + 1] if i + 1 < len(ids) else -100, i, segment)
            for segment, ids in enumerate(row, start=1)
            for i in range(len(ids))
        ]
        line += [(pad_id, -100, 0, 0)] * (T - len(line))
        for name, values in zip(filled, zip(*line, strict=True), strict=True):
            filled[name].append(list(values))
    return {name: torch.tensor(values) for name, values in filled.items()}
