"""Which keys a query may see, decided by where the tokens stand and not by where they
lie in an array.

Every token has a position (its index within its document) and a segment (the number of
its document within the row; 0 is padding). The rule:

    A query sees a key of the same segment whose position is not later.

Left padding, several documents in a row, requests of unequal length and a cache of past
keys are all that one rule, and every query sees at least itself:

    segments    0  0  1  1       a row that is padded on the left: two tokens
    positions   0  0  0  1
    allowed     x  x  .  .       padding sees padding, which nobody reads,
                x  x  .  .
                .  .  x  .       and is not seen by tokens
                .  .  x  x
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

EVERYTHING = slice(None)


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

    Raises:
        ValueError: segments of queries without those of keys, or the other way round.
    """

    q_positions: Int64[Tensor, "#B T"]
    k_positions: Int64[Tensor, "#B S"]
    q_segments: Int64[Tensor, "#B T"] | None = None
    k_segments: Int64[Tensor, "#B S"] | None = None
    slopes: Float[Tensor, " H"] | None = None

    def __post_init__(self) -> None:
        if (self.q_segments is None) != (self.k_segments is None):
            given = "queries" if self.k_segments is None else "keys"
            raise ValueError(f"only the {given} have segments; expected both or none")

    @classmethod
    def causal(
        cls, length: int, device: torch.device | str | None = None
    ) -> AttentionMask:
        """The mask of one document: each token sees itself and what comes before it."""
        positions = torch.arange(length, device=device)[None]
        return cls(positions, positions)

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
            same = self.k_segments[:, None, columns] == self.q_segments[:, rows, None]
            visible = visible & same
        return visible[:, None]  # (B, 1, T, S): the same for every head

    def bias(
        self, rows: slice = EVERYTHING, columns: slice = EVERYTHING
    ) -> Float[Tensor, "#B H T S"] | None:
        """What ALiBi adds to the scores, -slope x distance; None without slopes."""
        if self.slopes is None:
            return None
        distance = self.q_positions[:, rows, None] - self.k_positions[:, None, columns]
        return -self.slopes[:, None, None] * distance[:, None]  # (B, H, T, S)

    def dense(self) -> Bool[Tensor, "#B 1 T S"] | Float[Tensor, "#B H T S"]:
        """All of it as one tensor, which is what the naive and the fused kernel take.

        Returns:
            `allowed()`, or with slopes what is to be added to the scores: the bias, and
            -infinity where a key is hidden.
        """
        bias = self.bias()
        return (
            self.allowed()
            if bias is None
            else bias.masked_fill(~self.allowed(), -math.inf)
        )
