"""Lab 04: GPT-2, from its smallest part to the loading of a released checkpoint.

Replace each `raise NotYet`; `make labs LAB=04` says how far you are. README.md has the
tasks one by one. Axes: B rows, T tokens, C = d_model, V = vocab_size. Modules and
parameters are named as in the chapter. Arguments stay as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from happyllm_support.grading import NotYet


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """Give each vector mean 0 and variance 1, then a learned gain and shift.

        (x - mean) / sqrt(variance + eps) * weight + bias

    Mean and variance are those of the C numbers of one token; the variance is the mean
    of the squared differences from the mean (divided by C, not C - 1). Take the
    differences first: they stay exact when the mean is large.

    Args:
        x: (..., C), any number of axes in front.
        weight: (C,) gain.
        bias: (C,) shift.
        eps: added to the variance, inside the root.

    Returns:
        The same shape and dtype as x. `F.layer_norm` is banned here, and so are the
        group, instance and batch norm.

    Example: x = [1, 3], weight = [1, 1], bias = [0, 10], eps = 0 -> [-1, 11].
    """
    raise NotYet


def gelu(x: Tensor) -> Tensor:
    """The bend in GPT-2's MLP, in the form with tanh with which it was trained.

        x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))

    It has to stay finite for large numbers of either sign, and gradients have to flow
    through it.

    Args:
        x: any shape, a floating-point dtype.

    Returns:
        The same shape and dtype. PyTorch's own GELU is banned here.

    Example: gelu(1) = 0.841192, gelu(-1) = -0.158808; the exact form gives 0.841345 and
    -0.158655.
    """
    raise NotYet


class GELUMLP(nn.Module):
    """GPT-2's MLP, applied to each token by itself: down_proj(gelu(up_proj(x))).

    Args:
        d_model: C, width of input and output.
        d_ff: width in between.

    Attributes:
        up_proj: an `nn.Linear` from d_model to d_ff, with a bias.
        down_proj: an `nn.Linear` from d_ff to d_model, with a bias.
    """

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        raise NotYet

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to (..., C). What the MLP returns is added to the stream by the
        block, not here.
        """
        raise NotYet


class Block(nn.Module):
    """One layer of GPT-2: the stream x is read through a norm, and what a part makes of
    it is added. Twice.

        x = x + attn(attn_norm(x))
        x = x + mlp(mlp_norm(x))

    Args:
        attn_norm: the norm in front of attention. All four are modules from (B, T, C)
            to (B, T, C).
        attn: attention.
        mlp_norm: the norm in front of the MLP.
        mlp: the MLP.

    Attributes:
        attn_norm, attn, mlp_norm, mlp: the four parts, under these names.
    """

    def __init__(
        self, attn_norm: nn.Module, attn: nn.Module, mlp_norm: nn.Module, mlp: nn.Module
    ) -> None:
        super().__init__()
        raise NotYet

    def forward(self, x: Tensor) -> Tensor:
        """Map the stream (B, T, C) to the stream after this layer; x itself stays as it
        is.
        """
        raise NotYet


def initialise(
    shapes: dict[str, tuple[int, ...]],
    n_layer: int,
    generator: torch.Generator,
    std: float = 0.02,
) -> dict[str, Tensor]:
    """Draw GPT-2's initial weights.

    What a tensor gets depends on its name and its number of axes:

        two axes                      normal, mean 0, standard deviation std
          but `...o_proj.weight`      std / sqrt(2 n_layer): it writes into the stream
          and `...down_proj.weight`   the same
          but `pos_emb.weight`        std / 2
        one axis, `...bias`           zeros
        one axis, `...weight`         ones: the gain of a norm

    Draw one tensor after the other, in the order of `shapes`, so that a seed says what
    each of them gets. The normal distribution is not cut off: some numbers lie beyond
    three standard deviations.

    Args:
        shapes: of each parameter by name, such as {"blocks.0.attn.q_proj.weight": (96,
            96), ...}. It may hold fewer blocks than the model has.
        n_layer: number of blocks of the model.
        generator: where all random numbers come from.
        std: standard deviation.

    Returns:
        A float32 tensor for each name.

    Example: with n_layer = 8, `blocks.0.attn.o_proj.weight` has the standard deviation
    0.02 / sqrt(16) = 0.005.
    """
    raise NotYet


# Given: the parts around yours. Attention is what lab 03 was about.


class LayerNorm(nn.LayerNorm):
    """The formula of `layer_norm` as a module, with parameters `weight` and `bias`; eps
    is 1e-5.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model, eps=1e-5)


class Attention(nn.Module):
    """Causal attention with n_head heads; parameters q_proj, k_proj, v_proj, o_proj,
    each with a bias.
    """

    def __init__(self, d_model: int, n_head: int) -> None:
        super().__init__()
        self.n_head = n_head
        self.q_proj = nn.Linear(d_model, d_model)
        self.k_proj = nn.Linear(d_model, d_model)
        self.v_proj = nn.Linear(d_model, d_model)
        self.o_proj = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Let each token of x (B, T, C) average the values of those up to it."""
        q, k, v = (
            proj(x).unflatten(-1, (self.n_head, -1)).transpose(1, 2)  # (B, H, T, D)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(out.transpose(1, 2).flatten(2))  # (B, T, C)


class StandIn(nn.Module):
    """tanh(proj(x)): in the place of the MLP when `Block` is graded, so that no mistake
    counts twice.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.proj = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to (..., C)."""
        return torch.tanh(self.proj(x))


# Yours again.


class GPT2(nn.Module):
    """The whole model; the table of embeddings is used a second time as the head.

        x = tok_emb[ids] + pos_emb[0 .. T - 1]
        x = block(x)                                 n_layer times
        logits = final_norm(x) tok_emb^T

    `tok_emb.weight` and `lm_head.weight` are ONE parameter under two names. So a change
    of one is a change of the other, its gradient is the sum over both uses, it counts
    once, and an optimizer sees it once.

    Args:
        vocab_size: V.
        max_seq_len: number of positions.
        n_layer: number of blocks.
        n_head: heads of each.
        d_model: C. Inside the MLP the width is 4 C.

    Attributes:
        tok_emb, pos_emb: `nn.Embedding`s with V and max_seq_len rows.
        blocks: an `nn.ModuleList` of `Block`s, of `LayerNorm`, `Attention`, `LayerNorm`
            and `GELUMLP`.
        final_norm: a `LayerNorm`.
        lm_head: an `nn.Linear` from C to V without bias.
    """

    def __init__(
        self, vocab_size: int, max_seq_len: int, n_layer: int, n_head: int, d_model: int
    ) -> None:
        super().__init__()
        raise NotYet

    def forward(self, ids: Tensor) -> Tensor:
        """Score every token as the next one: int64 (B, T) to logits (B, T, V)."""
        raise NotYet

    def num_parameters(self) -> int:
        """How many numbers are learned; the shared table counts once."""
        raise NotYet

    def load(self, parameters: dict[str, Tensor]) -> None:
        """Take over weights; embedding and head are still one parameter afterwards.

        Whether the model gets copies of the tensors or these themselves is up to you.

        Args:
            parameters: a tensor for each parameter, by name, but for `lm_head.weight`:
                it is `tok_emb.weight`.
        """
        raise NotYet


def load_conv1d(tensors: dict[str, Tensor], n_layer: int) -> dict[str, Tensor]:
    """Translate a GPT-2 checkpoint of Hugging Face into our names and shapes.

    Its linear layers are `Conv1D`s: x @ weight + bias, so that a weight is (in, out),
    where an `nn.Linear` has (out, in). And the projections of q, k and v are one,
    `c_attn`: weight (C, 3 C) and bias (3 C,), the outputs of q first, then those of k,
    then those of v.

        wte.weight                           tok_emb.weight: a table, no Conv1D
        wpe.weight                           pos_emb.weight: the same
        h.{i}.ln_1.{weight,bias}             blocks.{i}.attn_norm.{weight,bias}
        h.{i}.attn.c_attn.{weight,bias}      blocks.{i}.attn.{q,k,v}_proj.{weight,bias}
        h.{i}.attn.c_proj.{weight,bias}      blocks.{i}.attn.o_proj.{weight,bias}
        h.{i}.ln_2.{weight,bias}             blocks.{i}.mlp_norm.{weight,bias}
        h.{i}.mlp.c_fc.{weight,bias}         blocks.{i}.mlp.up_proj.{weight,bias}
        h.{i}.mlp.c_proj.{weight,bias}       blocks.{i}.mlp.down_proj.{weight,bias}
        ln_f.{weight,bias}                   final_norm.{weight,bias}

    Some files have the prefix "transformer." in front of these names. Some hold
    `h.{i}.attn.bias` and `h.{i}.attn.masked_bias` (with that prefix, if there is one),
    which are no parameters but the causal mask and its number, and `lm_head.weight`
    (always without it), which is `wte.weight` again: these three are left out of the
    result. Nothing else is ignored. The result may hold views of the checkpoint's
    tensors.

    Args:
        tensors: the checkpoint; it stays as it is.
        n_layer: number of blocks, 0 <= i < n_layer.

    Returns:
        Our parameters by name, each shaped as in `GPT2`; no `lm_head.weight`.

    Raises:
        ValueError: a tensor of the table is missing, or there is one that nobody knows;
            the message has its name.

    Example: c_attn.weight (8, 24) -> q_proj.weight (8, 8), the transpose of its columns
    0 to 7.
    """
    raise NotYet
