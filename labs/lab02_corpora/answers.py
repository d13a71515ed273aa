"""Whether an answer in lab 02 is of the right kind at all, before it is compared with
anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch

from happyllm_support.grading.compare import expect, expect_equal, kind_of
from happyllm_support.grading.remote import LearnerRaised, Remote

from .by_hand import is_plan

Taken = list[tuple[torch.Tensor, torch.Tensor]]


def accepted(function: Remote, *args: Any, what: str) -> Any:
    """The result of a call that right code does not refuse; a ValueError is the
    failure, None is returned then.
    """
    try:
        return function(*args)
    except LearnerRaised as raised:
        if raised.type_name != "ValueError":
            raise
        expect(False, f"it refuses {what} ({raised.message})")
        return None


def drawn(stream: Any, what: str) -> Taken | None:
    """What an iterator yields, up to 20 batches; None, and a failure, when it is no
    iterator.
    """
    if isinstance(stream, (tuple, torch.Tensor)):
        expect(
            False,
            f"{what}: the result is {kind_of(stream)}; yield the batches, one after "
            "the other",
        )
    elif not isinstance(stream, Iterator | list):
        missing = " (is a yield missing?)" if stream is None else ""
        expect(
            False,
            f"{what}: the result is {kind_of(stream)}{missing}; expected is an "
            "iterator",
        )
    else:
        return list(islice(stream, 20))
    return None


def usable(taken: Taken, n_batches: int, shape: tuple[int, int], what: str) -> bool:
    """Whether these are so many pairs of int64 tensors of this shape."""
    if not expect_equal(len(taken), n_batches, f"the number of batches of {what}"):
        return False
    for pair in taken:
        if not expect(
            isinstance(pair, (tuple, list)) and len(pair) == 2,
            f"{what}: a batch is no pair of inputs and targets",
        ):
            return False
        for name, tensor in zip(("inputs", "targets"), pair, strict=True):
            if not expect(
                isinstance(tensor, torch.Tensor), f"{what}: the {name} are no tensor"
            ):
                return False
            got = (tensor.dtype, tuple(tensor.shape))
            if not expect(
                got == (torch.int64, shape),
                f"{what}: the {name} are {got[0]} {got[1]}; expected int64 {shape}",
            ):
                return False
    return True


def starts_of(
    taken: Taken, ids: torch.Tensor, T: int, what: str
) -> list[list[int]] | None:
    """Where the windows of each batch begin in `ids`, which count up; notes what is
    wrong with them, None: hopeless.

    There are to be 24 of them in all.
    """
    starts = [[int(start - ids[0]) for start in inputs[:, 0]] for inputs, _ in taken]
    flat = [start for batch in starts for start in batch]
    if not expect(
        all(0 <= s < len(ids) - T for s in flat),
        f"{what}: a window begins at none of its places",
    ):
        return None
    for batch, (inputs, _) in zip(starts, taken, strict=True):
        expect_equal(
            inputs,
            torch.stack([ids[s : s + T] for s in batch]),
            f"the inputs of {what}",
        )
    expect(
        all(s % T == 0 for s in flat),
        f"{what}: windows do not begin at multiples of T, so they overlap",
    )
    expect(
        len(set(flat)) == 24,
        f"{what}: {24 - len(set(flat))} of 24 windows come again instead of others",
    )
    expect(flat != sorted(flat), f"{what}: the windows come in their order in the text")
    for batch, (_, targets) in zip(starts, taken, strict=True):
        expect_equal(
            targets,
            torch.stack([ids[s + 1 : s + T + 1] for s in batch]),
            f"the targets of {what}",
        )
    return starts


def fullness_of(rows: Any, lengths: list[int], T: int, what: str) -> list[int] | None:
    """How full the rows of a plan are, in order; None, and a failure, when it is no
    plan of these documents.
    """
    if not is_plan(rows):
        missing = "; is a return missing?" if rows is None else ""
        kind = (
            "a list of something else or of empty rows"
            if isinstance(rows, list)
            else kind_of(rows)
        )
        expect(
            False,
            f"{what}: the result is {kind}; expected is a list of lists of document "
            f"numbers{missing}",
        )
        return None
    placed = sorted(number for row in rows for number in row)
    if not expect(
        placed == list(range(len(lengths))),
        f"{what}: not every document lies in exactly one row",
    ):
        return None
    filled = sorted(sum(lengths[number] for number in row) for row in rows)
    return (
        filled
        if expect(filled[-1] <= T, f"{what}: a row holds {filled[-1]} tokens")
        else None
    )
