"""Which keys a query may see, decided by where the tokens stand and not by where they
lie in an array.

Every token has a position (its index within its document) and a segment (the number of
its document within the row; 0 is padding). A query sees a key of the same segment at
the same or an earlier position, and padding neither sees nor is seen. Left padding,
several documents in a row, requests of unequal length and a cache of past keys are all
that one rule:

    segments    0  1  1  1       a row that is padded on the left: three tokens
    positions   0  0  1  2
    allowed     .  .  .  .       the padding sees nothing
                .  x  .  .
                .  x  x  .
                .  x  x  x
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

EVERYTHING = slice(None)


class Cache(Protocol):
    """Keys and values of tokens that a model has already seen. Its owner is the caller,
    never the model.
    """

    @property
    def length(self) -> int:
        """S_past, how many places per row are filled."""
        ...

    @property
    def positions(self) -> Int64[Tensor, "B S_past"]:
        """Position of each place."""
        ...

    @property
    def segments(self) -> Int64[Tensor, "B S_past"]:
        """Segment of each place, 0 where a row is padded."""
        ...

    def write(
        self,
        layer: int,
        keys: Float[Tensor, "B K T D"],
        values: Float[Tensor, "B K T D"],
    ) -> tuple[Float[Tensor, "B K S D"], Float[Tensor, "B K S D"]]:
        """Store the keys and values of T new tokens in one layer; return all S_past + T
        of that layer.
        """
        ...

    def advance(
        self, positions: Int64[Tensor, "B T"], segments: Int64[Tensor, "B T"]
    ) -> None:
        """Count the T new tokens as past; called once, after the last layer has
        written.
        """
        ...


@dataclass(frozen=True)
class AttentionMask:
    """The rule above for one forward pass, evaluated whole or a block at a time.

    Attributes:
        q_positions: (B, T) positions of the queries; (1, T) when all rows are alike.
        k_positions: (B, S) or (1, S), positions of the keys.
        q_segments: (B, T), or None when everything belongs to one document.
        k_segments: (B, S), or None.
        slopes: (H,) slopes of ALiBi, which pushes a score down by slope x distance;
            None without.
        plain: nothing but "no look ahead": S = T, positions in order, one document, no
            slopes.

    Raises:
        ValueError: slopes in a mask that is called plain.
    """

    q_positions: Int64[Tensor, "#B T"]
    k_positions: Int64[Tensor, "#B S"]
    q_segments: Int64[Tensor, "#B T"] | None = None
    k_segments: Int64[Tensor, "#B S"] | None = None
    slopes: Float[Tensor, " H"] | None = None
    plain: bool = False

    def __post_init__(self) -> None:
        if self.plain and self.slopes is not None:
            raise ValueError(
                "a plain mask has no slopes, the kernels would ignore them; leave "
                "plain or slopes out"
            )

    @classmethod
    def causal(
        cls, length: int, device: torch.device | str | None = None
    ) -> AttentionMask:
        """The mask of `length` tokens of one document: each sees itself and what comes
        before it.
        """
        positions = torch.arange(length, device=device)[None]
        return cls(positions, positions, plain=True)

    def allowed(
        self, rows: slice = EVERYTHING, columns: slice = EVERYTHING
    ) -> Bool[Tensor, "#B 1 T S"]:
        """True where a query (row) may see a key (column).

        Args:
            rows: which of the T queries.
            columns: which of the S keys.
        """
        visible = (
            self.k_positions[:, None, columns] <= self.q_positions[:, rows, None]
        )  # (B, T, S)
        if self.q_segments is not None and self.k_segments is not None:
            q_segments = self.q_segments[:, rows, None]
            visible = (
                visible
                & (self.k_segments[:, None, columns] == q_segments)
                & (q_segments > 0)
            )
        return visible[:, None]  # (B, 1, T, S): the same for every head

    def bias(
        self, rows: slice = EVERYTHING, columns: slice = EVERYTHING
    ) -> Float[Tensor, "#B H T S"] | None:
        """What ALiBi adds to the scores, -slope x (query position - key position); None
        without slopes.
        """
        if self.slopes is None:
            return None
        distance = (
            self.q_positions[:, rows, None] - self.k_positions[:, None, columns]
        )  # (B, T, S)
        return -self.slopes[:, None, None] * distance[:, None]

    @cached_property
    def dense(self) -> Bool[Tensor, "#B 1 T S"]:
        """`allowed()` for all rows and columns, computed once for all layers of a
        forward pass.
        """
        return self.allowed()

    @cached_property
    def sees_something(self) -> Bool[Tensor, "#B 1 T 1"] | None:
        """False for queries that may see no key at all; None when there can be no such
        query.
        """
        return None if self.plain else self.dense.any(dim=-1, keepdim=True)
