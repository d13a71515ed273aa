"""Lab 05: LLaMA2 from its parts. Write what raises NotYet; README.md is the tour,
`make labs LAB=05` grades.

Nothing that a function is given may be changed by it.

Axes: B rows, T tokens, C d_model, H query heads, K key heads, D = C / H channels of a
head, V vocab_size. Positions count from 0. Channels are paired half-split, (i, i +
D/2), unless a name says interleaved.
"""

from __future__ import annotations

import math  # noqa: F401  # yours to use
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: F401  # yours to use

from happyllm_support.grading import NotYet

ScalingKind = Literal["linear", "ntk"]


def rms_norm(x: Tensor, weight: Tensor, eps: float = 1e-5) -> Tensor:
    """Scale each vector on the last axis to a root mean square of 1, then by a gain per
    channel.

        x / sqrt(mean(x^2) + eps) * weight

    The mean of squares is taken in fp32 also when x is bf16 or fp16: there, squares
    overflow or lose their small ones.

    Example: with x = [1, 7] the mean square is 25. Weight [1, 1] and eps 0 give
    [0.2, 1.4]; eps 11 gives 1/6 and 7/6.

    Args:
        x: (..., C), bf16, fp16 or fp32; not to be changed.
        weight: (C,), the gain, of the dtype of x; gradients reach it and x.
        eps: added to the mean of squares, inside the root.

    Returns:
        The shape and the dtype of x. (Whether you round to bf16 before or after the
        gain makes no difference here.)

    Forbidden: torch's own `rms_norm`, which is the exercise.
    """
    raise NotYet


def rope_frequencies(
    head_dim: int,
    theta: float = 10000.0,
    *,
    scaling: ScalingKind | None = None,
    factor: float = 1.0,
) -> Tensor:
    """Return by how many radians each pair of channels turns from one token to the
    next.

        none      f_i = theta^(-2i/D)                for i = 0 .. D/2 - 1
        linear    f_i / factor                       all pairs slow down alike
        ntk       the same f_i, with theta * factor^(D/(D-2)) in place of theta

    Under "ntk", pair 0 keeps its speed and the last pair turns exactly `factor` times
    slower.

    Example: rope_frequencies(8, 10000.0) -> [1, 0.1, 0.01, 0.001];
    with scaling="linear", factor=8.0 -> [0.125, 0.0125, 0.00125, 0.000125];
    with scaling="ntk", factor=8.0 -> [1, 0.05, 0.0025, 0.000125].

    Args:
        head_dim: D, channels of a head; even (and at least 4 for "ntk").
        theta: base of the frequencies.
        scaling: how they are changed for a longer context; None: not at all.
        factor: how many times longer the context becomes; at least 1. Without scaling
            it has no effect.

    Returns:
        (D/2,) in fp32.

    Raises:
        ValueError: `head_dim` is odd, or `scaling` is another word.
    """
    raise NotYet


class RotaryPositions(nn.Module):
    """Cosines and sines of the angles for any positions, computed once per forward pass
    and shared by all layers.

    At position p, pair i has turned by p f_i, with f from `rope_frequencies`. Nothing
    is learned: frequencies are a buffer, and not a parameter. There is no longest
    position, so a table of fixed length will not do.

    Example: RotaryPositions(4, theta=100.0) turns its pairs by 1 and 0.1 radians a
    token. For positions [[0, 3]] the cosines are [1, 1, 1, 1] and [cos 3, cos 0.3, cos
    3, cos 0.3]: the two halves of D are alike.

    Args:
        head_dim: D, channels of a head; even.
        theta: base of the frequencies.
        scaling: passed on to `rope_frequencies`.
        factor: passed on to `rope_frequencies`.
    """

    def __init__(
        self,
        head_dim: int,
        *,
        theta: float = 10000.0,
        scaling: ScalingKind | None = None,
        factor: float = 1.0,
    ) -> None:
        super().__init__()
        raise NotYet

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return cosines and sines, each (B, 1, T, D) in fp32: the 1 lets all heads
        share them.

        Args:
            positions: (B, T), whole numbers from 0, maybe beyond 100,000; every row has
                its own, and they need not be consecutive.
        """
        raise NotYet


def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (i, i + D/2) of each head: the half-split layout, that of Hugging
    Face and of this course.

        a = x[i], b = x[i + D/2]:    a' = a cos - b sin,    b' = b cos + a sin

    Example: by a quarter turn (cos = 0, sin = 1 everywhere), [1, 2, 3, 4] becomes
    [-3, -4, 1, 2].

    Args:
        x: (B, H, T, D) queries or keys, fp32 or bf16; not to be changed.
        cos: (B, 1, T, D) or (1, 1, T, D) in fp32, from `RotaryPositions`.
        sin: likewise.

    Returns:
        The shape and the dtype of x, computed in fp32.
    """
    raise NotYet


def apply_rope_interleaved(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (2i, 2i + 1) of each head: Meta's layout.

        a = x[2i], b = x[2i + 1]:    a' = a cos - b sin,    b' = b cos + a sin

    The result is interleaved again. `cos` and `sin` are the same ones that `apply_rope`
    takes, so the angle of pair i stands in their channel i (and once more in channel i
    + D/2), not in channel 2i.

    Example: by a quarter turn (cos = 0, sin = 1 everywhere), [1, 2, 3, 4] becomes
    [-2, 1, -4, 3].

    Args:
        x: (B, H, T, D) queries or keys, fp32 or bf16; not to be changed.
        cos: (B, 1, T, D) or (1, 1, T, D) in fp32, from `RotaryPositions`.
        sin: likewise.

    Returns:
        The shape and the dtype of x, computed in fp32.
    """
    raise NotYet


def interleaved_to_half_split(weight: Tensor, head_dim: int) -> Tensor:
    """Reorder the rows of a query or key projection, so that `apply_rope` does what
    `apply_rope_interleaved` did.

    Within each head, the rows 0, 2, 4, ... come first, then 1, 3, 5, ...; the heads
    stay where they are.

    Example: head_dim 6 and two heads: rows 0 .. 11 become 0, 2, 4, 1, 3, 5, 6, 8, 10,
    7, 9, 11.

    Args:
        weight: a projection's weight (n D, C) or its bias (n D,): n heads, one below
            the other; not to be changed.
        head_dim: D, channels of a head; even.

    Returns:
        The shape of `weight`.

    Raises:
        ValueError: the rows are not whole heads.
    """
    raise NotYet


class SwiGLU(nn.Module):
    """LLaMA's MLP: down(silu(gate(x)) * up(x)), each token by itself.

    Its parameters are `gate_proj.weight` and `up_proj.weight`, (d_ff, d_model) both,
    and `down_proj.weight`, (d_model, d_ff). There are no biases.

    Example: with d_model = d_ff = 1, gate 1, up 2 and down 3, x = 1 gives 3 * (silu(1)
    * 2) = 4.386.

    Args:
        d_model: C, width of input and output.
        d_ff: width in between.
    """

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        raise NotYet

    def forward(self, x: Tensor) -> Tensor:
        """Apply the MLP to every vector on the last axis of x, (..., C) -> (..., C)."""
        raise NotYet


class RMSNorm(nn.Module):
    """Your `rms_norm` with a weight that is learned. Its parameter is given, its
    forward is yours: one line.

    Args:
        d_model: C, length of the last axis.
        eps: added to the mean of squares.
    """

    def __init__(self, d_model: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x: Tensor) -> Tensor:
        """Norm every vector on the last axis of x, (..., C) -> (..., C)."""
        raise NotYet


class Attention(nn.Module):
    """Causal attention with grouped keys and rotary positions. Its parameters are
    given, its forward is yours.

    Args:
        d_model: C, width of the residual stream.
        n_head: H query heads of size D = C / H.
        n_kv_head: K heads of keys and values; divides n_head.
    """

    def __init__(self, d_model: int, n_head: int, n_kv_head: int) -> None:
        super().__init__()
        self.n_head, self.n_kv_head, self.head_dim = (
            n_head,
            n_kv_head,
            d_model // n_head,
        )
        self.q_proj = nn.Linear(d_model, n_head * self.head_dim, bias=False)
        self.k_proj = nn.Linear(d_model, n_kv_head * self.head_dim, bias=False)
        self.v_proj = nn.Linear(d_model, n_kv_head * self.head_dim, bias=False)
        self.o_proj = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Let each token gather from itself and those before it in its row.

        Query head h reads key head h // (H / K). `F.scaled_dot_product_attention` is
        allowed: attention was lab 03.

        Args:
            x: (B, T, C), the normed stream.
            cos: (B, 1, T, D), from `RotaryPositions`.
            sin: likewise.

        Returns:
            (B, T, C), what is to be added to the stream.
        """
        raise NotYet


class Block(nn.Module):
    """One layer: attention and MLP, each behind its norm. Its parts are given, its
    forward is yours.

    Args:
        d_model: C.
        n_head: H.
        n_kv_head: K.
        d_ff: width inside the MLP.
        norm_eps: eps of both norms.
    """

    def __init__(
        self, d_model: int, n_head: int, n_kv_head: int, d_ff: int, norm_eps: float
    ) -> None:
        super().__init__()
        self.attn_norm = RMSNorm(d_model, norm_eps)
        self.attn = Attention(d_model, n_head, n_kv_head)
        self.mlp_norm = RMSNorm(d_model, norm_eps)
        self.mlp = SwiGLU(d_model, d_ff)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Return the stream (B, T, C) after attention and MLP have added to it; the
        stream itself is never normed.
        """
        raise NotYet


class SmallLlama(nn.Module):
    """A whole LLaMA2.

    Embedding, `n_layer` blocks, a last norm, a head of its own:

        tok_emb.weight                          (V, C)
        blocks.0.attn_norm.weight               (C,)     and so on for every block
        blocks.0.attn.{q_proj,k_proj,v_proj,o_proj}.weight
        blocks.0.mlp_norm.weight                (C,)
        blocks.0.mlp.{gate_proj,up_proj,down_proj}.weight
        final_norm.weight                       (C,)
        lm_head.weight                          (V, C)

    These are all its parameters. The names count, since the grader loads weights by
    name.

    Args:
        vocab_size: V.
        n_layer: number of blocks.
        n_head: H.
        n_kv_head: K.
        d_model: C.
        d_ff: width inside the MLPs.
        rope_theta: base of the rotary frequencies.
        norm_eps: eps of all norms.
    """

    def __init__(
        self,
        vocab_size: int,
        n_layer: int,
        n_head: int,
        n_kv_head: int,
        d_model: int,
        d_ff: int,
        *,
        rope_theta: float = 10000.0,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        raise NotYet

    def forward(self, ids: Tensor, *, positions: Tensor | None = None) -> Tensor:
        """Score every token of the vocabulary as the next one.

        Args:
            ids: (B, T), tokens below V.
            positions: (B, T), where each token stands, growing along each row; None: 0
                .. T - 1 in all rows.

        Returns:
            (B, T, V) logits. Those of a token depend on it and on the tokens before it
            in its row.
        """
        raise NotYet
