"""Mistakes that people make in lab 02 when they plan rows and fill them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from . import reference
from .checks import lab

# ---- rows

Choice = Callable[[list[int], int], int | None]


def rows_by(
    lengths: list[int], T: int, order: list[int], choose: Choice, *, check: bool = True
) -> list[list[int]]:
    """Place documents in this order; `choose(rooms, length)` gives the row, None for a
    new one.
    """
    if check and any(length > T for length in lengths):
        raise ValueError
    rows: list[list[int]] = []
    rooms: list[int] = []
    for number in order:
        row = choose(rooms, lengths[number])
        if row is None:
            row = len(rows)
            rows.append([])
            rooms.append(T)
        rows[row].append(number)
        rooms[row] -= lengths[number]
    return rows


def longest_first(lengths: list[int]) -> list[int]:
    """The numbers of documents, by length."""
    return sorted(range(len(lengths)), key=lambda number: -lengths[number])


def fullest(rooms: list[int], length: int) -> int | None:
    """The row with the least room that is enough."""
    return min(
        (r for r in range(len(rooms)) if rooms[r] >= length),
        key=rooms.__getitem__,
        default=None,
    )


@lab.mutant(
    "best_fit",
    "each document goes into the first row that has room (first fit) instead of the "
    "fullest",
)
def first_fit(lengths: list[int], T: int) -> list[list[int]]:
    def first(rooms: list[int], length: int) -> int | None:
        return next((r for r, room in enumerate(rooms) if room >= length), None)

    return rows_by(lengths, T, longest_first(lengths), first)


@lab.mutant(
    "best_fit",
    "each document goes into the emptiest row that has room (worst fit) instead of "
    "the fullest",
)
def worst_fit(lengths: list[int], T: int) -> list[list[int]]:
    def emptiest(rooms: list[int], length: int) -> int | None:
        return max(
            (r for r in range(len(rooms)) if rooms[r] >= length),
            key=rooms.__getitem__,
            default=None,
        )

    return rows_by(lengths, T, longest_first(lengths), emptiest)


@lab.mutant(
    "best_fit", "only the last row is tried before a new one is opened (next fit)"
)
def next_fit(lengths: list[int], T: int) -> list[list[int]]:
    def last(rooms: list[int], length: int) -> int | None:
        return len(rooms) - 1 if rooms and rooms[-1] >= length else None

    return rows_by(lengths, T, longest_first(lengths), last)


@lab.mutant(
    "best_fit", "the documents are taken in their own order instead of longest first"
)
def unsorted(lengths: list[int], T: int) -> list[list[int]]:
    return rows_by(lengths, T, list(range(len(lengths))), fullest)


@lab.mutant("best_fit", "the documents are taken shortest first")
def shortest_first(lengths: list[int], T: int) -> list[list[int]]:
    return rows_by(
        lengths, T, sorted(range(len(lengths)), key=lambda i: lengths[i]), fullest
    )


@lab.mutant(
    "best_fit",
    "a row in which the document would fit exactly is passed over (> for >=)",
)
def never_full(lengths: list[int], T: int) -> list[list[int]]:
    return rows_by(
        lengths,
        T,
        longest_first(lengths),
        lambda rooms, length: fullest(rooms, length + 1),
    )


@lab.mutant("best_fit", "a row is given one token more than it has places")
def one_too_many(lengths: list[int], T: int) -> list[list[int]]:
    return rows_by(
        lengths,
        T,
        longest_first(lengths),
        lambda rooms, length: fullest(rooms, length - 1),
    )


@lab.mutant("best_fit", "every document is given a row of its own")
def one_per_row(lengths: list[int], T: int) -> list[list[int]]:
    return rows_by(lengths, T, longest_first(lengths), lambda rooms, length: None)


@lab.mutant(
    "best_fit",
    "documents are numbered as they are after sorting instead of as they were given",
)
def sorted_numbers(lengths: list[int], T: int) -> list[list[int]]:
    longest = sorted(lengths, reverse=True)
    return rows_by(longest, T, list(range(len(lengths))), fullest)


@lab.mutant("best_fit", "documents are numbered from 1 instead of from 0")
def from_one(lengths: list[int], T: int) -> list[list[int]]:
    return [
        [number + 1 for number in row]
        for row in rows_by(lengths, T, longest_first(lengths), fullest)
    ]


@lab.mutant(
    "best_fit",
    "a document is found by its length (lengths.index), which is the first of equally "
    "long ones",
)
def found_by_length(lengths: list[int], T: int) -> list[list[int]]:
    rows = rows_by(lengths, T, longest_first(lengths), fullest)
    return [[lengths.index(lengths[number]) for number in row] for row in rows]


@lab.mutant(
    "best_fit",
    "the documents themselves are sorted, so that the caller's list is changed",
)
def sorts_in_place(lengths: list[int], T: int) -> list[list[int]]:
    lengths.sort(reverse=True)
    return rows_by(lengths, T, list(range(len(lengths))), fullest)


@lab.mutant(
    "best_fit", "the lengths of the documents are returned instead of their numbers"
)
def lengths_returned(lengths: list[int], T: int) -> list[list[int]]:
    return [
        [lengths[number] for number in row]
        for row in rows_by(lengths, T, longest_first(lengths), fullest)
    ]


@lab.mutant("best_fit", "a document that is longer than a row is not refused")
def too_long_accepted(lengths: list[int], T: int) -> list[list[int]]:
    return rows_by(lengths, T, longest_first(lengths), fullest, check=False)


# ---- filled rows

Rows = list[list[list[int]]]


def arrays(rows: Rows, T: int, pad_id: int) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """The right arrays, where there is padding, and where a document has its last
    token.
    """
    right = reference.fill_rows(rows, T, pad_id)
    padding = right["segments"] == 0
    return right, padding, ~padding & (right["targets"] == -100)


@lab.mutant(
    "fill_rows", "the targets are not shifted: each token has itself as the target"
)
def unshifted(rows: Rows, T: int, pad_id: int = 0) -> dict[str, Tensor]:
    right, padding, _ = arrays(rows, T, pad_id)
    return {**right, "targets": right["ids"].masked_fill(padding, -100)}


@lab.mutant(
    "fill_rows", "the targets are shifted twice: each is the token after the next"
)
def shifted_twice(rows: Rows, T: int, pad_id: int = 0) -> dict[str, Tensor]:
    right, _, _ = arrays(rows, T, pad_id)
    later = torch.full_like(right["targets"], -100)
    later[:, :-1] = right["targets"][:, 1:]
    return {**right, "targets": later.masked_fill(right["targets"] == -100, -100)}


@lab.mutant(
    "fill_rows", "the targets are shifted to the wrong side: each is the token before"
)
def shifted_backwards(rows: Rows, T: int, pad_id: int = 0) -> dict[str, Tensor]:
    right, padding, _ = arrays(rows, T, pad_id)
    before = right["ids"].roll(1, dims=1)
    return {
        **right,
        "targets": before.masked_fill(padding | (right["positions"] == 0), -100),
    }


@lab.mutant(
    "fill_rows",
    "targets cross documents: the last token of one predicts the first of the next",
)
def crossing(rows: Rows, T: int, pad_id: int = 0) -> dict[str, Tensor]:
    right, padding, _ = arrays(rows, T, pad_id)
    following, empty = right["ids"].roll(-1, dims=1), padding.roll(-1, dims=1)
    empty[:, -1] = True
    return {**right, "targets": following.masked_fill(padding | empty, -100)}


@lab.mutant(
    "fill_rows", "the last token before the padding has the padding as its target"
)
def into_padding(rows: Rows, T: int, pad_id: int = 0) -> dict[str, Tensor]:
    right, padding, ends = arrays(rows, T, pad_id)
    before_padding = ends & padding.roll(-1, dims=1)
    before_padding[:, -1] = False
    return {**right, "targets": right["targets"].masked_fill(before_padding, pad_id)}


@lab.mutant(
    "fill_rows", "padding is trained on: its targets are pad_id instead of -100"
)
def padding_trained_on(rows: Rows, T: int, pad_id: int = 0) -> dict[str, Tensor]:
    right, padding, _ = arrays(rows, T, pad_id)
    return {**right, "targets": right["targets"].masked_fill(padding, pad_id)}


@lab.mutant(
    "fill_rows",
    "the last token of the row has the first as its target: the row is rolled round",
)
def rolled(rows: Rows, T: int, pad_id: int = 0) -> dict[str, Tensor]:
    right, _, ends = arrays(rows, T, pad_id)
    targets = right["targets"].clone()
    targets[:, -1] = torch.where(ends[:, -1], right["ids"][:, 0], targets[:, -1])
    return {**right, "targets": targets}


@lab.mutant(
    "fill_rows",
    "positions run through the row instead of restarting with each document",
)
def running_positions(rows: Rows, T: int, pad_id: int = 0) -> dict[str, Tensor]:
    right, padding, _ = arrays(rows, T, pad_id)
    return {
        **right,
        "positions": torch.arange(T).expand(len(rows), T).masked_fill(padding, 0),
    }


@lab.mutant("fill_rows", "positions count from 1")
def positions_from_one(rows: Rows, T: int, pad_id: int = 0) -> dict[str, Tensor]:
    right, padding, _ = arrays(rows, T, pad_id)
    return {**right, "positions": (right["positions"] + 1).masked_fill(padding, 0)}


@lab.mutant("fill_rows", "positions go on counting at padding")
def positions_at_padding(rows: Rows, T: int, pad_id: int = 0) -> dict[str, Tensor]:
    right, padding, _ = arrays(rows, T, pad_id)
    return {
        **right,
        "positions": torch.where(
            padding, torch.arange(T).expand(len(rows), T), right["positions"]
        ),
    }


@lab.mutant(
    "fill_rows", "segments count from 0, so that the first document looks like padding"
)
def segments_from_zero(rows: Rows, T: int, pad_id: int = 0) -> dict[str, Tensor]:
    right, _, _ = arrays(rows, T, pad_id)
    return {**right, "segments": (right["segments"] - 1).clamp(min=0)}


@lab.mutant("fill_rows", "segments count on from row to row instead of from 1 in each")
def segments_run_on(rows: Rows, T: int, pad_id: int = 0) -> dict[str, Tensor]:
    right, padding, _ = arrays(rows, T, pad_id)
    before = torch.tensor([sum(map(len, rows[:b])) for b in range(len(rows))])
    return {
        **right,
        "segments": (right["segments"] + before[:, None]).masked_fill(padding, 0),
    }


@lab.mutant(
    "fill_rows",
    "padding belongs to the segment of the last document instead of to segment 0",
)
def padding_in_last_segment(rows: Rows, T: int, pad_id: int = 0) -> dict[str, Tensor]:
    right, _, _ = arrays(rows, T, pad_id)
    return {**right, "segments": right["segments"].cummax(dim=1).values}


@lab.mutant("fill_rows", "the whole row is one segment")
def one_segment(rows: Rows, T: int, pad_id: int = 0) -> dict[str, Tensor]:
    right, _, _ = arrays(rows, T, pad_id)
    return {**right, "segments": right["segments"].clamp(max=1)}


@lab.mutant("fill_rows", "the ids at padding are 0 whatever pad_id is")
def pad_id_ignored(rows: Rows, T: int, pad_id: int = 0) -> dict[str, Tensor]:
    return reference.fill_rows(rows, T)


@lab.mutant("fill_rows", "the padding lies on the left")
def padded_left(rows: Rows, T: int, pad_id: int = 0) -> dict[str, Tensor]:
    right, _, _ = arrays(rows, T, pad_id)
    free = [T - sum(map(len, row)) for row in rows]
    return {
        n: torch.stack([line.roll(k) for line, k in zip(a, free, strict=True)])
        for n, a in right.items()
    }


@lab.mutant("fill_rows", "a row with more tokens than places is cut instead of refused")
def too_full_accepted(rows: Rows, T: int, pad_id: int = 0) -> dict[str, Tensor]:
    longest = max(T, *(sum(map(len, row)) for row in rows)) if rows else T
    return {
        name: array[:, :T]
        for name, array in reference.fill_rows(rows, longest, pad_id).items()
    }
