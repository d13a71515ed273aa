"""LLaMA2: rotary positions, RMSNorm, SwiGLU, grouped-query attention, no biases.

    x = tok_emb[ids]
    x = block(x)                                 n_layer times, queries and keys rotated by their positions
    logits = lm_head(final_norm(x))

Source: H. Touvron et al., "LLaMA: Open and Efficient Foundation Language Models", 2023,
and "Llama 2: Open Foundation and Fine-Tuned Chat Models", 2023; sizes of the released
models from their configurations.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from happyllm_support.model.attention import Attention, check_heads, check_kernel
from happyllm_support.model.context import build_context
from happyllm_support.model.layers import (
    Block,
    RMSNorm,
    SwiGLU,
    check_positive,
    check_sizes,
    initialise_normal,
)
from happyllm_support.model.masks import Cache
from happyllm_support.model.positions import RopeScaling, RotaryPositions
from happyllm_support.model.rope_scaling import check_frequencies


@dataclass(frozen=True, kw_only=True)
class Llama2Config:
    """The sizes of a LLaMA2. The defaults are those of the 7B model.

    Attributes:
        vocab_size: V, number of token ids.
        max_seq_len: a longer sequence is refused; the weights do not depend on it.
        n_layer: number of blocks.
        n_head: query heads; divides d_model.
        n_kv_head: heads of keys and values; divides n_head.
        d_model: C, width of the residual stream.
        d_ff: width inside the MLP.
        rope_theta: base of the rotary frequencies.
        rope_scaling: how they are stretched past the trained length; None: not at all.
        norm_eps: added to mean squares.
        attention_bias: whether the attention projections have biases.
        mlp_bias: whether the MLP's projections have biases.
        tie_embeddings: whether the embedding is also the head.
        dropout: probability, in training, for weights, for what parts add to the
            stream, and after the embedding.
        init_std: standard deviation of initial weights.
        kernel: attention kernel: "sdpa", "naive" or "online".

    Raises:
        ValueError: numbers that are not positive, heads that do not divide, frequencies
            that cannot be, an unknown kernel.
    """

    vocab_size: int = 32000
    max_seq_len: int = 4096
    n_layer: int = 32
    n_head: int = 32
    n_kv_head: int = 32
    d_model: int = 4096
    d_ff: int = 11008
    rope_theta: float = 10000.0
    rope_scaling: RopeScaling | None = None
    norm_eps: float = 1e-5
    attention_bias: bool = False
    mlp_bias: bool = False
    tie_embeddings: bool = False
    dropout: float = 0.0
    init_std: float = 0.02
    kernel: str = "sdpa"

    def __post_init__(self) -> None:
        check_sizes(
            self,
            "vocab_size",
            "max_seq_len",
            "n_layer",
            "n_head",
            "n_kv_head",
            "d_model",
            "d_ff",
        )
        check_heads(self.d_model, self.n_head, self.n_kv_head)
        check_positive(self, "norm_eps", "init_std", "rope_theta")
        check_kernel(self.kernel, self.dropout)
        if self.d_model // self.n_head % 2:
            size = (
                f"d_model {self.d_model} / n_head {self.n_head} = "
                f"{self.d_model // self.n_head}"
            )
            raise ValueError(
                f"heads of {size} dimensions cannot be rotated in pairs; the number "
                "has to be even"
            )
        check_frequencies(
            self.d_model // self.n_head, self.rope_theta, self.rope_scaling
        )


TINY = Llama2Config(
    vocab_size=512,
    max_seq_len=256,
    n_layer=3,
    n_head=4,
    n_kv_head=2,
    d_model=96,
    d_ff=256,
)
SMALL = Llama2Config(
    vocab_size=6144,
    max_seq_len=512,
    n_layer=8,
    n_head=8,
    n_kv_head=4,
    d_model=512,
    d_ff=1376,
    tie_embeddings=True,
)
LLAMA_215M = Llama2Config(
    vocab_size=6144,
    max_seq_len=1024,
    n_layer=18,
    n_head=16,
    n_kv_head=8,
    d_model=1024,
    d_ff=2752,
    tie_embeddings=True,
)
LLAMA_242M = Llama2Config(
    vocab_size=32000,
    max_seq_len=1024,
    n_layer=18,
    n_head=16,
    n_kv_head=8,
    d_model=1024,
    d_ff=2752,
    tie_embeddings=True,
)
LLAMA2_7B = Llama2Config()
LLAMA2_13B = Llama2Config(n_layer=40, n_head=40, n_kv_head=40, d_model=5120, d_ff=13824)
LLAMA2_70B = Llama2Config(n_layer=80, n_head=64, n_kv_head=8, d_model=8192, d_ff=28672)


class Llama2(nn.Module):
    """The model of the module's head; `with torch.device("meta")` it takes no memory,
    for counting.

    Args:
        config: its sizes.
        generator: source of the initial weights; None: PyTorch's global one.
    """

    def __init__(
        self, config: Llama2Config, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.tok_emb = nn.Embedding(config.vocab_size, config.d_model)
        self.rotary = RotaryPositions(
            config.d_model // config.n_head,
            theta=config.rope_theta,
            scaling=config.rope_scaling,
        )
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(self._block() for _ in range(config.n_layer))
        self.final_norm = RMSNorm(config.d_model, config.norm_eps)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.tie_weights()
        self.initialise(generator)

    def _block(self) -> Block:
        c = self.config
        return Block(
            RMSNorm(c.d_model, c.norm_eps),
            Attention(
                c.d_model,
                c.n_head,
                c.n_kv_head,
                bias=c.attention_bias,
                dropout=c.dropout,
                kernel=c.kernel,
            ),
            RMSNorm(c.d_model, c.norm_eps),
            SwiGLU(c.d_model, c.d_ff, bias=c.mlp_bias),
            dropout=c.dropout,
        )

    def tie_weights(self) -> None:
        """Make the head and the embedding one tensor, where the configuration ties
        them.
        """
        if self.config.tie_embeddings:
            self.lm_head.weight = self.tok_emb.weight

    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Draw initial weights: std init_std, / sqrt(2 n_layer) where a part writes
        into the stream; biases 0.
        """
        c = self.config
        initialise_normal(
            self,
            c.init_std,
            residual_std=c.init_std * (2 * c.n_layer) ** -0.5,
            generator=generator,
        )

    def forward(
        self,
        ids: Int64[Tensor, "B T"],
        *,
        positions: Int64[Tensor, "B T"] | None = None,
        segments: Int64[Tensor, "B T"] | None = None,
        cache: Cache | None = None,
        last_only: bool = False,
    ) -> Float[Tensor, "B T V"]:
        """Score every token of the vocabulary as the next one.

        Args:
            ids: tokens, below vocab_size.
            positions: index of each within its document; None: counted from 0, or on
                from the cache.
            segments: number of its document within the row, 0 for padding; None: each
                row is one document.
            cache: keys and values of earlier tokens, extended by this call.
            last_only: compute the last column only, which is what generation needs.

        Returns:
            Unnormalised log-probabilities; (B, 1, V) with `last_only`.

        Raises:
            ValueError: ids out of range, shapes that do not fit, a sequence longer than
                max_seq_len.
        """
        x = self.hidden(ids, positions=positions, segments=segments, cache=cache)
        return self.lm_head(x[:, -1:] if last_only else x)

    def hidden(
        self,
        ids: Int64[Tensor, "B T"],
        *,
        positions: Int64[Tensor, "B T"] | None = None,
        segments: Int64[Tensor, "B T"] | None = None,
        cache: Cache | None = None,
    ) -> Float[Tensor, "B T C"]:
        """The residual stream after the last norm, which the head reads; arguments as
        in `forward`.
        """
        c = self.config
        context = build_context(
            ids,
            positions,
            segments,
            cache,
            vocab_size=c.vocab_size,
            max_seq_len=c.max_seq_len,
            rotary=self.rotary,
        )
        x = self.dropout(self.tok_emb(ids))  # (B, T, C)
        for layer, block in enumerate(self.blocks):
            x = block(x, context, layer)
        context.finish()
        return self.final_norm(x)

    def num_parameters(self) -> int:
        """Number of parameters; a tied head counts once."""
        return sum(parameter.numel() for parameter in self.parameters())
