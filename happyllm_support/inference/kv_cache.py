"""A cache of keys and values: what a model need not compute again for earlier tokens.

    cache = ContiguousCache.for_model(model, n_rows=2, capacity=512)
    logits = model(ids, cache=cache, last_only=True)           # 100 tokens each
    logits = model(next_ids, cache=cache, last_only=True)      # one more each

One buffer per layer, made once, (B, K, S, D) for S places per row. Rows fill up on
their own: each new token goes behind the last one of its row, so rows may be of unequal
length, lose their end (`truncate`) or everything (`free`), and be used again.

On the CPU, attention reads the places up to the longest row. Elsewhere, and inside
torch.compile, it reads whole buffers: every step then has one shape, and nothing is
read back from the device. The rule of `model.masks` hides places that are not filled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from happyllm_support.model.attention import Attention
from happyllm_support.model.cache import UNFILLED
from happyllm_support.model.context import readable
from happyllm_support.model.language_model import LanguageModel


class ContiguousCache:
    """Keys and values of B rows with S places each; a `model.cache.Cache`.

    Memory: 2 n_layer B K S D numbers from the beginning, however many are filled.

    Args:
        n_layer: layers of the model.
        n_rows: B.
        n_kv_head: K, heads of keys and values.
        head_dim: D.
        capacity: S, the most tokens that a row can hold, padding included.
        dtype: of keys and values.
        device: where they are.

    Attributes:
        keys: one (B, K, S, D) per layer.
        values: one (B, K, S, D) per layer.
        positions: (B, S), of the token in each place.
        segments: (B, S), -1 in places that are not filled.
        filled: (B,), how many places of each row are.

    Raises:
        ValueError: a size below 1.
    """

    def __init__(
        self,
        n_layer: int,
        n_rows: int,
        n_kv_head: int,
        head_dim: int,
        capacity: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        sizes = {"n_layer": n_layer, "n_rows": n_rows, "n_kv_head": n_kv_head}
        for name, size in (
            sizes | {"head_dim": head_dim, "capacity": capacity}
        ).items():
            if size < 1:
                raise ValueError(f"{name} is {size}; expected at least 1")
        shape = (n_rows, n_kv_head, capacity, head_dim)
        self.keys = [
            torch.zeros(shape, dtype=dtype, device=device) for _ in range(n_layer)
        ]
        self.values = [torch.zeros_like(keys) for keys in self.keys]
        self.positions = torch.zeros(n_rows, capacity, dtype=torch.long, device=device)
        self.segments = torch.full_like(self.positions, UNFILLED)
        self.filled = torch.zeros(n_rows, dtype=torch.long, device=device)
        self._reserved: tuple[Tensor, int | None, int, Tensor, Tensor] | None = None
        """Places, the first of them if rows are alike, the end, what goes there."""

    @classmethod
    def for_model(
        cls,
        model: LanguageModel | nn.Module,
        n_rows: int,
        capacity: int,
        *,
        dtype: torch.dtype | None = None,
    ) -> ContiguousCache:
        """An empty cache of a model's shape and device.

        Args:
            model: GPT-2, LLaMA2 or what else is made of `Attention`.
            n_rows: B.
            capacity: S.
            dtype: None is that of the weights; under autocast it is another.

        Raises:
            ValueError: a size below 1, or a model without `Attention` layers.
        """
        layers = [layer for layer in model.modules() if isinstance(layer, Attention)]
        if not layers:
            raise ValueError(f"{type(model).__name__} has no attention layer to cache")
        like = layers[0].k_proj.weight
        return cls(
            len(layers),
            n_rows,
            layers[0].n_kv_head,
            layers[0].head_dim,
            capacity,
            dtype=dtype or like.dtype,
            device=like.device,
        )

    def __getitem__(self, rows: slice) -> ContiguousCache:
        """A cache of some rows, in the same memory: `cache[2:3]` is that of row 2."""
        part = object.__new__(type(self))
        part.keys = [keys[rows] for keys in self.keys]
        part.values = [values[rows] for values in self.values]
        part.positions, part.segments = self.positions[rows], self.segments[rows]
        part.filled, part._reserved = self.filled[rows], None
        return part

    @property
    def capacity(self) -> int:
        """S, places per row."""
        return self.positions.shape[1]

    @property
    def lengths(self) -> list[int]:
        """How many places of each row are filled, read from the device."""
        return cast("list[int]", self.filled.tolist())

    def reserve(
        self, positions: Int64[Tensor, "B T"], segments: Int64[Tensor, "B T"]
    ) -> tuple[Int64[Tensor, "B S"], Int64[Tensor, "B S"]]:
        """Choose the places behind the last token of each row.

        Returns:
            Positions and segments of the places that `write` is going to return.

        Raises:
            ValueError: a row has no room for T more tokens. Looked at on the CPU,
                outside of torch.compile; elsewhere PyTorch refuses the place.
        """
        n_new = positions.shape[1]
        start, stop = None, self.capacity
        if readable(self.filled):
            lengths = self.lengths
            stop = max(lengths) + n_new
            start = lengths[0] if min(lengths) == max(lengths) else None
            if stop > self.capacity:
                raise ValueError(
                    f"the cache has {self.capacity} places per row, {max(lengths)} of "
                    f"them filled: no room for {n_new} more"
                )
        places = self.filled[:, None] + torch.arange(n_new, device=self.filled.device)
        self._reserved = places, start, stop, positions, segments
        return (
            self.positions.scatter(1, places, positions)[:, :stop],
            self.segments.scatter(1, places, segments)[:, :stop],
        )

    def write(
        self,
        layer: int,
        keys: Float[Tensor, "B K T D"],
        values: Float[Tensor, "B K T D"],
    ) -> tuple[Float[Tensor, "B K S D"], Float[Tensor, "B K S D"]]:
        """Put keys and values into the reserved places; return those of all places.

        Raises:
            ValueError: they are of another model than the cache, or gradients are
                asked for, which cannot flow through a buffer.
        """
        assert self._reserved is not None, "write comes after reserve"
        places, start, stop, *_ = self._reserved
        if layer >= len(self.keys) or not _alike(keys, self.keys[layer]):
            raise self._unfit(layer, keys)
        if keys.requires_grad:
            raise ValueError(
                "a cache keeps no gradients; call the model under torch.no_grad()"
            )
        every_row = torch.arange(len(places), device=places.device)[:, None]
        filled: list[Tensor] = []
        for buffer, new in ((self.keys[layer], keys), (self.values[layer], values)):
            if start is not None:  # all rows alike, the quick way
                buffer[:, :, start:stop] = new
            else:
                buffer[every_row, :, places] = new.transpose(1, 2)  # (B, T, K, D)
            filled.append(buffer[:, :, :stop])
        return filled[0], filled[1]

    def commit(self) -> None:
        """Count the new tokens as past."""
        assert self._reserved is not None, "commit comes after reserve"
        places, _, _, positions, segments = self._reserved
        self.positions.scatter_(1, places, positions)
        self.segments.scatter_(1, places, segments)
        self.filled += places.shape[1]
        self._reserved = None

    def truncate(self, lengths: int | Sequence[int] | Int64[Tensor, " B"]) -> None:
        """Take back the last tokens, as if they had never been read.

        Args:
            lengths: how many places of each row stay filled; one number for all rows.
                A tensor on an accelerator is not looked at.

        Raises:
            ValueError: not one number per row, or one that is negative or larger than
                what is filled.
        """
        keep = torch.as_tensor(lengths, device=self.filled.device)
        if keep.ndim and keep.shape != self.filled.shape:
            raise ValueError(
                f"{keep.numel()} lengths for {len(self.filled)} rows; expected one each"
            )
        keep = keep.expand_as(self.filled)
        looked_at = not isinstance(lengths, Tensor) or readable(lengths)
        if looked_at and bool(((keep < 0) | (keep > self.filled)).any()):
            raise ValueError(
                f"rows of {self.lengths} places cannot be cut to {keep.tolist()}; "
                "expected 0 to what is filled"
            )
        gone = torch.arange(self.capacity, device=keep.device) >= keep[:, None]
        self.segments.masked_fill_(gone, UNFILLED)
        self.filled.copy_(keep)

    def free(self, rows: Sequence[int] | None = None) -> None:
        """Empty some rows, or all, for other texts.

        Raises:
            ValueError: a row that is not there.
        """
        for row in range(len(self.filled)) if rows is None else rows:
            if not 0 <= row < len(self.filled):
                raise ValueError(f"row {row}; expected 0 to {len(self.filled) - 1}")
            self[row : row + 1].truncate(0)

    def _unfit(self, layer: int, keys: Tensor) -> ValueError:
        has = self.keys[0]
        return ValueError(
            f"layer {layer} writes {keys.shape[1]} heads of {keys.shape[3]} in "
            f"{keys.dtype}; the cache has {len(self.keys)} layers of {has.shape[1]} "
            f"heads of {has.shape[3]} in {has.dtype}"
        )


def _alike(keys: Tensor, buffer: Tensor) -> bool:
    """Whether heads, their size and the dtype are those of a buffer."""
    sizes = keys.shape[1] == buffer.shape[1] and keys.shape[3] == buffer.shape[3]
    return sizes and keys.dtype == buffer.dtype
