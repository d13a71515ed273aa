"""Packing: which piece of which document lies in which row of T tokens, and what each
row then contains.

A plan is made from document lengths alone; rows are filled from it when a batch is
needed. Three ways to plan:

- `plan_concatenated`: documents end to end, cut every T tokens. Nothing is wasted,
  documents are cut.
- `plan_best_fit`: whole documents into the fullest row that has room. Only documents
  longer than T are cut.
- `plan_one_per_row`: a document a row. What is longer than T is lost, what is shorter
  is padded.

Filling turns rows into four (B, T) arrays. In a row with two documents a b c and x y of
which the second ends in it:

    ids        a  b  c  x  y  0
    targets    b  c -100  y -100 -100     the next token of the same document
    positions  0  1  2  0  1  0           restart in each document
    segments   1  1  1  2  2  0           documents count from 1; 0 is padding

A query may attend to a key of the same segment at the same or an earlier position. So
nothing attends to padding, segment 0, but padding.

Source: H. Ding et al., "Fewer Truncations Improve Language Modeling", ICML 2024
(best-fit packing); M. M. Krell et al., "Efficient Sequence Packing without
Cross-contamination", 2021 (positions and attention per document).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from happyllm_support.text.shards.arrays import Int64

# A target that no loss counts, the default of torch.nn.functional.cross_entropy.
IGNORE_INDEX = -100
PADDING_SEGMENT = 0


@dataclass(frozen=True)
class PackingStats:
    """What a plan costs.

    Attributes:
        rows: of `seq_len` places each.
        documents: empty ones included.
        tokens: those that lie in some row.
        tokens_dropped: those that lie in none.
        documents_cut: documents whose tokens do not lie together in one row.
        waste: share of all places in rows that are padding, 0 to 1.
    """

    rows: int
    documents: int
    tokens: int
    tokens_dropped: int
    documents_cut: int
    waste: float


@dataclass(frozen=True)
class Plan:
    """Pieces of documents in the order of the rows that hold them. Memory: 24 bytes per
    piece, 8 per row.

    Attributes:
        seq_len: T, places in a row.
        lengths: (n_documents,) tokens of each document.
        document: (P,) number of the document that piece p is from.
        start: (P,) index in that document of the piece's first token.
        length: (P,) tokens of the piece, 1 to T.
        row_starts: (R + 1,) row r holds pieces row_starts[r] to row_starts[r + 1] - 1,
            from its first place on.
        continuous: whether row r + 1 continues the text of row r.
    """

    seq_len: int
    lengths: Int64
    document: Int64
    start: Int64
    length: Int64
    row_starts: Int64
    continuous: bool

    def __len__(self) -> int:
        return len(self.row_starts) - 1

    def pieces(self, row: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield (p, document, start, length) of the pieces of a row, in their order."""
        for piece in range(int(self.row_starts[row]), int(self.row_starts[row + 1])):
            arrays = (self.document, self.start, self.length)
            document, start, length = (int(array[piece]) for array in arrays)
            yield piece, document, start, length

    def n_pieces(self, rows: npt.ArrayLike) -> Int64:
        """Return how many pieces lie in each of some rows, (B,); in row -1 none."""
        numbers = np.asarray(rows, np.int64)
        counts = self.row_starts[numbers + 1] - self.row_starts[numbers]
        return np.where(numbers < 0, 0, counts)

    def stats(self) -> PackingStats:
        """Count what the plan wastes, drops and cuts."""
        tokens, places = int(self.length.sum()), len(self) * self.seq_len
        whole = (self.length == self.lengths[self.document]).sum()
        return PackingStats(
            rows=len(self),
            documents=len(self.lengths),
            tokens=tokens,
            tokens_dropped=int(self.lengths.sum()) - tokens,
            documents_cut=int(np.count_nonzero(self.lengths) - whole),
            waste=1 - tokens / places if places else 0.0,
        )


def plan_concatenated(
    lengths: npt.ArrayLike,
    seq_len: int,
    *,
    order: npt.ArrayLike | None = None,
    skip: int = 0,
    whole_rows: bool = False,
) -> Plan:
    """Lay documents end to end and cut the line every `seq_len` tokens.

    Args:
        lengths: (n_documents,) tokens of each document.
        seq_len: T.
        order: (n_documents,) the order of the documents; as they are numbered where
            None.
        skip: tokens left out at the beginning of the line.
        whole_rows: leave out the tokens after the last full row; else that row is
            padded.
    """
    lengths, order = _checked(lengths, seq_len, order)
    ends = np.cumsum(lengths[order])  # where each document ends on the line
    total = int(ends[-1]) if len(ends) else 0
    if not 0 <= skip <= total:
        raise ValueError(f"skip is {skip}; expected 0 to the {total} tokens there are")
    last = total - (total - skip) % seq_len if whole_rows else total
    row_starts = np.append(np.arange(skip, last, seq_len), last)
    cuts = np.unique(np.concatenate([ends, row_starts]))
    cuts = cuts[(cuts >= skip) & (cuts <= last)]
    starts, ends_of_pieces = cuts[:-1], cuts[1:]
    place = np.searchsorted(ends, starts, side="right")  # of its document in the line
    document = order[place]
    return Plan(
        seq_len=seq_len,
        lengths=lengths,
        document=document,
        start=starts - (ends[place] - lengths[document]),
        length=ends_of_pieces - starts,
        row_starts=np.searchsorted(starts, row_starts),
        continuous=True,
    )


def plan_best_fit(
    lengths: npt.ArrayLike, seq_len: int, *, order: npt.ArrayLike | None = None
) -> Plan:
    """Put whole documents, longest first, each into the fullest row that has room for
    it (best-fit decreasing).

    A document longer than `seq_len` is cut into full rows, and its rest is packed like
    a document. O(n) steps for n documents: rows are found by the room they have left,
    and the set of rooms that occur is one integer of T + 1 bits.

    Args:
        lengths: (n_documents,) tokens of each document.
        seq_len: T.
        order: (n_documents,) which of equally long documents goes first; the number of
            rows does not depend on it.
    """
    lengths, order = _checked(lengths, seq_len, order)
    document, start, length = _pieces_of_at_most(seq_len, lengths, order)
    longest_first = np.argsort(-length, kind="stable")
    row = _best_fit(length[longest_first].tolist(), seq_len)
    by_row = longest_first[np.argsort(row, kind="stable")]
    rows = int(row.max()) + 1 if len(row) else 0
    return Plan(
        seq_len=seq_len,
        lengths=lengths,
        document=document[by_row],
        start=start[by_row],
        length=length[by_row],
        row_starts=np.searchsorted(np.sort(row), np.arange(rows + 1)),
        continuous=False,
    )


def plan_one_per_row(
    lengths: npt.ArrayLike, seq_len: int, *, order: npt.ArrayLike | None = None
) -> Plan:
    """Give each document a row of its own; `stats().tokens_dropped` counts what does
    not fit.

    Args:
        lengths: (n_documents,) tokens of each document; empty ones get no row.
        seq_len: T.
        order: (n_documents,) the order of the documents.
    """
    lengths, order = _checked(lengths, seq_len, order)
    document = order[lengths[order] > 0]
    return Plan(
        seq_len=seq_len,
        lengths=lengths,
        document=document,
        start=np.zeros(len(document), np.int64),
        length=np.minimum(lengths[document], seq_len),
        row_starts=np.arange(len(document) + 1),
        continuous=False,
    )


def _pieces_of_at_most(
    seq_len: int, lengths: Int64, order: Int64
) -> tuple[Int64, Int64, Int64]:
    """Cut documents into pieces of `seq_len` and a rest: document, start, length."""
    counts = -(-lengths[order] // seq_len)  # pieces per document; none for an empty one
    document = np.repeat(order, counts)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    start = (np.arange(len(document)) - first) * seq_len
    return document, start, np.minimum(lengths[document] - start, seq_len)


def _best_fit(lengths: list[int], seq_len: int) -> Int64:
    """Return the row of each piece, longest piece first.

    Rows with r places left lie on stack r; bit r of `rooms` says if it has any.
    """
    rows = np.empty(len(lengths), np.int64)
    stacks: list[list[int]] = [[] for _ in range(seq_len + 1)]
    rooms = 0
    opened = 0
    for index, length in enumerate(lengths):
        enough = rooms >> length
        if enough:
            lowest_bit = (enough & -enough).bit_length() - 1
            room = length + lowest_bit  # the smallest that is large enough
            row = stacks[room].pop()
            if not stacks[room]:
                rooms ^= 1 << room
        else:
            room, row = seq_len, opened
            opened += 1
        rows[index] = row
        if left := room - length:
            stacks[left].append(row)
            rooms |= 1 << left
    return rows


@dataclass(frozen=True)
class Rows:
    """Filled rows: four (B, T) int64 arrays, as described at the top of this file."""

    ids: Int64
    targets: Int64
    positions: Int64
    segments: Int64


def fill_rows(
    plan: Plan,
    rows: npt.ArrayLike,
    document: Callable[[int], npt.NDArray[np.integer[Any]]],
    *,
    cross_document: bool = False,
    pad_id: int = 0,
) -> Rows:
    """Fill rows of a plan with tokens.

    Args:
        plan: which pieces the rows hold.
        rows: (B,) row numbers; -1 gives a row of padding.
        document: returns the token ids of a document by its number.
        cross_document: treat a row as one text, as a plain GPT stream does: positions
            run through, there is one segment, and the last token of a document has the
            first of the next one as its target.
        pad_id: what `ids` holds at padding.

    Returns:
        (B, T) arrays.
    """
    numbers = np.asarray(rows, np.int64)
    if ((numbers < -1) | (numbers >= len(plan))).any():
        raise ValueError(
            f"rows are {numbers.min()} to {numbers.max()}; expected -1 to "
            f"{len(plan) - 1}"
        )
    shape = (len(numbers), plan.seq_len)
    ids = np.full(shape, pad_id, np.int64)
    targets = np.full(shape, IGNORE_INDEX, np.int64)
    positions = np.zeros(shape, np.int64)
    segments = np.full(shape, PADDING_SEGMENT, np.int64)
    count = np.arange(plan.seq_len)
    for b, row in enumerate(numbers.tolist()):
        at = 0
        pieces = plan.pieces(row) if row >= 0 else ()
        for segment, (piece, number, start, length) in enumerate(pieces, start=1):
            # with the token after the piece, where there is one
            tokens = document(number)[start : start + length + 1]
            end = at + length
            ids[b, at:end] = tokens[:length]
            targets[b, at : at + len(tokens) - 1] = tokens[1:]
            positions[b, at:end] = count[at:end] if cross_document else count[:length]
            segments[b, at:end] = 1 if cross_document else segment
            ends_document = len(tokens) == length
            if cross_document and ends_document and _text_continues(plan, row, piece):
                following = document(int(plan.document[piece + 1]))
                targets[b, end - 1] = following[int(plan.start[piece + 1])]
            at = end
    return Rows(ids, targets, positions, segments)


def _text_continues(plan: Plan, row: int, piece: int) -> bool:
    """Whether the text goes on, after a piece that ends its document, in the next."""
    limit = len(plan.document) if plan.continuous else int(plan.row_starts[row + 1])
    return piece + 1 < limit


def _checked(
    lengths: npt.ArrayLike, seq_len: int, order: npt.ArrayLike | None
) -> tuple[Int64, Int64]:
    if seq_len < 1:
        raise ValueError(f"seq_len is {seq_len}; expected at least 1")
    lengths = np.asarray(lengths, np.int64)
    if lengths.ndim != 1 or (lengths < 0).any():
        raise ValueError(
            f"lengths has shape {lengths.shape}; expected one non-negative number per "
            "document"
        )
    if order is None:
        return lengths, np.arange(len(lengths))
    order = np.asarray(order, np.int64)
    if not np.array_equal(np.sort(order), np.arange(len(lengths))):
        raise ValueError(f"order is no permutation of the {len(lengths)} documents")
    return lengths, order
