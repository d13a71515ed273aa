"""What the blocks of one forward pass share: where the tokens stand, what they may see,
how they are rotated.

A model's `hidden` takes ids and, where rows are unlike, positions and segments. They
are checked here, once, and turned into what attention needs; the blocks pass it on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from happyllm_support.model.cache import Cache
from happyllm_support.model.masks import AttentionMask
from happyllm_support.model.rope import RotaryPositions

Kernel = Literal["naive", "sdpa", "online"]
"""The three ways to compute attention; the numbers are the same."""


@dataclass(frozen=True)
class Context:
    """Of one forward pass.

    Attributes:
        positions: (B, T), or (1, T) when all rows are alike and there is no cache.
        mask: what the kernel needs beside queries, keys and values. None: no look ahead
            among the tokens of this pass, and nothing else. A tensor, boolean or added
            to the scores; for the online kernel the rule itself, asked block by block.
        rope: cosines and sines, (B, 1, T, D) each; None without rotary positions.
        cache: keys and values of earlier tokens; None without.
        kernel: which function computes attention.
    """

    positions: Int64[Tensor, "#B T"]
    mask: (
        Bool[Tensor, "#B 1 T S"] | Float[Tensor, "#B H T S"] | AttentionMask | None
    ) = None
    rope: tuple[Float[Tensor, "#B 1 T D"], Float[Tensor, "#B 1 T D"]] | None = None
    cache: Cache | None = None
    kernel: Kernel = "sdpa"


def build_context(
    ids: Int64[Tensor, "B T"],
    positions: Int64[Tensor, "B T"] | None,
    segments: Int64[Tensor, "B T"] | None,
    cache: Cache | None,
    *,
    vocab_size: int,
    max_seq_len: int,
    rotary: RotaryPositions | None = None,
    kernel: Kernel = "sdpa",
) -> Context:
    """Check what a model was given and turn it into what its blocks need.

    Args:
        ids: the new tokens.
        positions: where they stand in their documents; None: they count on from the
            cache, segment by segment, or from 0 in segments that are new; 0 for
            padding.
        segments: which document of the row they belong to, 0 for padding; None: all one
            document, which the cache, if there is one, must not hold several of.
        cache: earlier tokens' keys and values; it reserves places for the new ones.
        vocab_size: ids have to be below it.
        max_seq_len: positions have to be below it, whatever the length of the row.
        rotary: the model's rotary positions, if it has them.
        kernel: which function will compute attention.

    Raises:
        ValueError: shapes or dtypes that do not fit, ids, positions or segments out of
            range, a sequence longer than the model takes, no segments after a cache of
            several documents, or a cache that is full.
    """
    check_inputs(ids, positions, segments, cache, vocab_size, max_seq_len)
    if positions is None and segments is None and cache is None:
        positions = torch.arange(ids.shape[1], device=ids.device)[None]  # (1, T)
        rope = None if rotary is None else rotary(positions)
        return Context(positions, None, rope, None, kernel)
    if segments is None:
        segments = torch.ones_like(ids)
    if positions is None:
        positions = count_positions(segments, cache)
        if readable(positions) and (length := int(positions.max()) + 1) > max_seq_len:
            raise too_long(length, max_seq_len)
    k_positions, k_segments = (
        (positions, segments) if cache is None else cache.reserve(positions, segments)
    )
    rule = AttentionMask(positions, k_positions, segments, k_segments)
    mask = rule if kernel == "online" else rule.dense()
    rope = None if rotary is None else rotary(positions)
    return Context(positions, mask, rope, cache, kernel)


def count_positions(
    segments: Int64[Tensor, "B T"], cache: Cache | None = None
) -> Int64[Tensor, "B T"]:
    """Count in each segment, on from where a cache has left off; 0 in padding.

    >>> count_positions(torch.tensor([[0, 0, 7, 7, 7, 8]]))
    tensor([[0, 0, 0, 1, 2, 0]])

    Args:
        segments: of the new tokens.
        cache: earlier tokens; None: there are none.
    """
    places = torch.arange(segments.shape[1], device=segments.device).expand_as(segments)
    begins = torch.ones_like(segments, dtype=torch.bool)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    positions = places - torch.where(begins, places, 0).cummax(dim=1).values
    if cache is not None and cache.positions.shape[1]:
        same = cache.segments[:, None] == segments[:, :, None]  # (B, T, S)
        last = torch.where(same, cache.positions[:, None], -1).amax(dim=-1)  # (B, T)
        positions = positions + last + 1
    return torch.where(segments > 0, positions, 0)


def check_inputs(
    ids: Tensor,
    positions: Tensor | None,
    segments: Tensor | None,
    cache: Cache | None,
    vocab_size: int,
    max_seq_len: int,
) -> None:
    """Raise ValueError for what no model can read.

    Numbers are looked at where that makes nobody wait: on the CPU, outside of
    torch.compile. An accelerator reports an id that is out of range by itself.
    """
    limits = {"ids": vocab_size, "positions": max_seq_len, "segments": None}
    for name, given in zip(limits, (ids, positions, segments), strict=True):
        if given is None and name != "ids":
            continue
        if not isinstance(given, Tensor):
            raise ValueError(
                f"{name} are of type {type(given).__name__}; expected a tensor"
            )
        if given.dtype not in (torch.int64, torch.int32):
            raise ValueError(
                f"{name} are {given.dtype}; expected torch.int64 or torch.int32"
            )
        if given.ndim != 2 or given.numel() == 0 or given.shape != ids.shape:
            raise misshapen(name, given, ids)
        if given.device.type == "cpu" and not torch.compiler.is_compiling():
            lowest, highest = given.aminmax()
            low, high = int(lowest), int(highest)
            limit = limits[name]
            if low < 0 or (limit is not None and high >= limit):
                raise out_of_range(name, low, high, limit)
    if positions is None and segments is None and cache is None:
        if ids.shape[1] > max_seq_len:
            raise too_long(ids.shape[1], max_seq_len)
    elif cache is not None:
        check_continuation(ids, segments, cache)


def check_continuation(ids: Tensor, segments: Tensor | None, cache: Cache) -> None:
    """Raise ValueError unless it is known which documents of a cache are continued."""
    if cache.positions.shape[0] != ids.shape[0]:
        raise ValueError(
            f"a cache of {cache.positions.shape[0]} rows cannot continue with ids of "
            f"{ids.shape[0]} rows"
        )
    if segments is None and readable(cache.segments) and (cache.segments > 1).any():
        raise ValueError(
            "the cache holds several documents per row; give segments, which say whom "
            "new tokens continue"
        )


def readable(values: Tensor) -> bool:
    """Whether numbers can be looked at without making an accelerator wait."""
    return values.device.type == "cpu" and not torch.compiler.is_compiling()


def misshapen(name: str, given: Tensor, ids: Tensor) -> ValueError:
    """What to raise about a shape."""
    expected = f"that of ids, {tuple(ids.shape)}"
    if name == "ids":
        expected = "(batch, tokens) with at least one token"
    return ValueError(f"{name} have shape {tuple(given.shape)}; expected {expected}")


def out_of_range(name: str, low: int, high: int, limit: int | None) -> ValueError:
    """What to raise about numbers."""
    expected = {
        "ids": f"0 to vocab_size - 1, which is {(limit or 0) - 1}",
        "positions": f"0 to max_seq_len - 1, which is {(limit or 0) - 1}",
        "segments": "0, for padding, or more",
    }
    return ValueError(f"{name} reach from {low} to {high}; expected {expected[name]}")


def too_long(length: int, max_seq_len: int) -> ValueError:
    """What to raise about a document."""
    return ValueError(
        f"a sequence of {length} tokens is longer than the model's max_seq_len "
        f"{max_seq_len}"
    )
