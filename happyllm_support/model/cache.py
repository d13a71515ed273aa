"""What a model asks of a cache: room for the keys and values of tokens it has seen.

A cache has a number of places per row. Each place holds one token's keys and values, in
every layer, with the token's position and segment; a place that is not filled has
segment -1, which no query has, so that the rule of `masks` hides it. The buffers may
therefore be larger than what is in them, and keep one shape from step to step.

A forward pass reserves places, writes into them layer by layer, and commits. One that
fails on the way has committed nothing: the cache is as it was.

The cache belongs to the caller, never to the model. `inference.kv_cache` has one.
"""

from __future__ import annotations

from typing import Protocol

from jaxtyping import Float, Int64
from torch import Tensor

UNFILLED = -1
"""Segment of a place that holds nothing."""


class Cache(Protocol):
    """Keys and values of earlier tokens, in B rows of S places."""

    @property
    def positions(self) -> Int64[Tensor, "B S"]:
        """Position of the token in each place."""
        ...

    @property
    def segments(self) -> Int64[Tensor, "B S"]:
        """Segment of the token in each place, -1 where there is none."""
        ...

    def reserve(
        self, positions: Int64[Tensor, "B T"], segments: Int64[Tensor, "B T"]
    ) -> tuple[Int64[Tensor, "B S"], Int64[Tensor, "B S"]]:
        """Choose places for T new tokens; called once per pass, before any `write`.

        Returns:
            Positions and segments of all places that `write` is going to return, those
            of the new tokens among them.

        Raises:
            ValueError: there is no room.
        """
        ...

    def write(
        self,
        layer: int,
        keys: Float[Tensor, "B K T D"],
        values: Float[Tensor, "B K T D"],
    ) -> tuple[Float[Tensor, "B K S D"], Float[Tensor, "B K S D"]]:
        """Store keys and values of the new tokens; return those of all places."""
        ...

    def commit(self) -> None:
        """Count the new tokens as past; called once, after the last layer."""
        ...
