"""What the blocks of one forward pass share: where the tokens stand, what they may see,
how they are rotated.

A model's `forward` takes ids and, where rows are unlike, positions and segments. They
are checked here, once, and turned into what attention needs; the blocks pass it on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from happyllm_support.model.masks import AttentionMask, Cache
from happyllm_support.model.positions import RotaryPositions


@dataclass(frozen=True)
class Context:
    """Of one forward pass.

    Attributes:
        positions: (B, T), or (1, T) when all rows are alike and there is no cache.
        segments: (B, T), or None when every row is one document without padding.
        mask: which keys each query may see.
        rope: cosines and sines, (B, 1, T, D) each; None without rotary positions.
        cache: keys and values of earlier tokens; None without.
    """

    positions: Int64[Tensor, "#B T"]
    segments: Int64[Tensor, "#B T"] | None
    mask: AttentionMask
    rope: tuple[Float[Tensor, "#B 1 T D"], Float[Tensor, "#B 1 T D"]] | None = None
    cache: Cache | None = None

    @classmethod
    def plain(cls, length: int, device: torch.device | str | None = None) -> Context:
        """One document from its beginning, without rotation and cache."""
        mask = AttentionMask.causal(length, device)
        return cls(mask.q_positions, None, mask)

    def finish(self) -> None:
        """Tell the cache, if there is one, that all layers have written; the model
        calls it after its last block.
        """
        if self.cache is not None:
            segments = (
                torch.ones_like(self.positions)
                if self.segments is None
                else self.segments
            )
            self.cache.advance(self.positions, segments)


def build_context(
    ids: Int64[Tensor, "B T"],
    positions: Int64[Tensor, "B T"] | None,
    segments: Int64[Tensor, "B T"] | None,
    cache: Cache | None,
    *,
    vocab_size: int,
    max_seq_len: int,
    rotary: RotaryPositions | None = None,
    slopes: Float[Tensor, " H"] | None = None,
) -> Context:
    """Check what a model was given and turn it into what its blocks need.

    Args:
        ids: the new tokens.
        positions: where they stand in their documents; None: they count on from the
            cache, segment by segment, or from 0 in segments that are new; 0 for
            padding.
        segments: which document of the row they belong to, 0 for padding; None: all one
            document, which the cache, if there is one, must not hold several of.
        cache: earlier tokens' keys and values.
        vocab_size: ids have to be below it.
        max_seq_len: every position has to be below it, whatever the length of the row.
        rotary: the model's rotary positions, if it has them.
        slopes: the model's ALiBi slopes, if it has them.

    Raises:
        ValueError: shapes or dtypes that do not fit, ids, positions or segments out of
            range, a sequence longer than the model takes, or no segments after a cache
            of several documents.
    """
    _check_given(ids, positions, segments, cache, vocab_size, max_seq_len)
    past = 0 if cache is None else cache.length
    plain = positions is None and segments is None and past == 0 and slopes is None
    if cache is not None and past:
        segments = torch.ones_like(ids) if segments is None else segments
        positions = (
            _within(max_seq_len, positions_after(cache, segments))
            if positions is None
            else positions
        )
        k_positions = torch.cat([cache.positions, positions], dim=1)  # (B, S)
        k_segments = torch.cat([cache.segments, segments], dim=1)
    else:
        if positions is None:
            row = torch.arange(ids.shape[1], device=ids.device)[None]  # (1, T)
            positions = (
                row
                if segments is None
                else _within(max_seq_len, positions_within(segments))
            )
        positions = positions if cache is None else positions.expand_as(ids)
        k_positions, k_segments = positions, segments
    mask = AttentionMask(positions, k_positions, segments, k_segments, slopes, plain)
    return Context(
        positions, segments, mask, None if rotary is None else rotary(positions), cache
    )


def positions_within(segments: Int64[Tensor, "B T"]) -> Int64[Tensor, "B T"]:
    """Count from 0 in each run of equal segments, not in padding: [0, 0, 7, 7, 7, 8]
    gives [0, 0, 0, 1, 2, 0].
    """
    index = torch.arange(segments.shape[1], device=segments.device).expand_as(segments)
    begins = torch.ones_like(segments, dtype=torch.bool)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    return torch.where(
        segments > 0, index - torch.where(begins, index, 0).cummax(dim=1).values, 0
    )


def positions_after(
    cache: Cache, segments: Int64[Tensor, "B T"]
) -> Int64[Tensor, "B T"]:
    """Count on from where the cache has left off in each token's segment, from 0 in
    segments that are new to it.
    """
    same = cache.segments[:, None] == segments[:, :, None]  # (B, T, S_past)
    last = torch.where(same, cache.positions[:, None], -1).amax(dim=-1)  # (B, T)
    return torch.where(segments > 0, last + 1 + positions_within(segments), 0)


def check_range(name: str, values: Int64[Tensor, "B T"], limit: int, why: str) -> None:
    """Raise ValueError unless 0 <= values < limit; skipped on the meta device and while
    compiling.
    """
    if not _readable(values):
        return
    low, high = (int(v) for v in torch.aminmax(values))
    if low < 0 or high >= limit:
        raise ValueError(
            f"{name} reach from {low} to {high}; allowed are 0 to {limit - 1}, because "
            f"{why}"
        )


def _check_given(
    ids: Tensor,
    positions: Tensor | None,
    segments: Tensor | None,
    cache: Cache | None,
    vocab_size: int,
    max_seq_len: int,
) -> None:
    if ids.ndim != 2 or ids.numel() == 0:
        raise ValueError(
            f"ids have shape {tuple(ids.shape)}; expected (batch, tokens) with at "
            "least one token"
        )
    for name, given in (("ids", ids), ("positions", positions), ("segments", segments)):
        if given is not None and given.dtype not in (torch.int64, torch.int32):
            raise ValueError(
                f"{name} are {given.dtype}; expected whole numbers, torch.int64 or "
                "torch.int32"
            )
        if given is not None and given.shape != ids.shape:
            raise ValueError(
                f"{name} have shape {tuple(given.shape)}; expected that of ids, "
                f"{tuple(ids.shape)}"
            )
    check_range("ids", ids, vocab_size, f"the vocabulary has {vocab_size}")
    if positions is not None:
        check_range(
            "positions",
            positions,
            max_seq_len,
            f"the model's max_seq_len is {max_seq_len}",
        )
    if segments is not None and _readable(segments) and int(segments.min()) < 0:
        raise ValueError(
            f"segments reach down to {int(segments.min())}; allowed are 0, for "
            "padding, and above"
        )
    if (
        positions is None
        and segments is None
        and not (cache is not None and cache.length)
    ):
        _check_length(ids.shape[1], max_seq_len)
    if cache is None:
        return
    if cache.positions.shape[0] != ids.shape[0]:
        raise ValueError(
            f"a cache of {cache.positions.shape[0]} rows cannot continue with ids of "
            f"{ids.shape[0]} rows"
        )
    if (
        segments is None
        and cache.length
        and _readable(cache.segments)
        and int(cache.segments.max()) > 1
    ):
        raise ValueError(
            "the cache holds several documents per row; give segments, which say whom "
            "new tokens continue"
        )


def _within(max_seq_len: int, positions: Tensor) -> Tensor:
    """Counted positions, once they are known to be below max_seq_len."""
    if _readable(positions):
        _check_length(int(positions.max()) + 1, max_seq_len)
    return positions


def _check_length(length: int, max_seq_len: int) -> None:
    if length > max_seq_len:
        raise ValueError(
            f"a sequence of {length} tokens is longer than the model's max_seq_len "
            f"{max_seq_len}"
        )


def _readable(values: Tensor) -> bool:
    """Whether numbers can be looked at: not on the meta device, and not while
    compiling.
    """
    return not (values.is_meta or torch.compiler.is_compiling())
