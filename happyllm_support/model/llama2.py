"""LLaMA2: rotary positions, RMSNorm, SwiGLU, grouped-query attention, no biases.

    x = tok_emb[ids]
    x = block(x)         n_layer times, queries and keys rotated by their positions
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

from happyllm_support.model.attention import Attention, check_heads
from happyllm_support.model.cache import Cache
from happyllm_support.model.context import Kernel, build_context
from happyllm_support.model.layers import (
    Block,
    RMSNorm,
    SwiGLU,
    check_positive,
    check_sizes,
    initialise_normal,
    tie_head,
)
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
        n_kv_head: heads of keys and values; divides n_head, which None stands for.
        d_model: C, width of the residual stream.
        d_ff: width inside the MLP.
        rope_theta: base of the rotary frequencies.
        rope_scaling: how they are stretched past the trained length; None: not at all.
        norm_eps: added to mean squares.
        attention_bias: whether the attention projections have biases.
        mlp_bias: whether the MLP's projections have biases.
        tie_embeddings: whether the embedding is also the head.
        init_std: standard deviation of initial weights.

    Raises:
        ValueError: numbers that are not positive, heads that do not divide, frequencies
            that cannot be, an unknown kernel.
    """

    vocab_size: int = 32000
    max_seq_len: int = 4096
    n_layer: int = 32
    n_head: int = 32
    n_kv_head: int = None  # pyright: ignore[reportAssignmentType]
    d_model: int = 4096
    d_ff: int = 11008
    rope_theta: float = 10000.0
    rope_scaling: RopeScaling | None = None
    norm_eps: float = 1e-5
    attention_bias: bool = False
    mlp_bias: bool = False
    tie_embeddings: bool = False
    init_std: float = 0.02

    def __post_init__(self) -> None:
        if self.n_kv_head is None:  # pyright: ignore[reportUnnecessaryComparison]
            object.__setattr__(self, "n_kv_head", self.n_head)
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
        if self.d_model // self.n_head % 2:
            size = (
                f"d_model {self.d_model} / n_head {self.n_head} = "
                f"{self.d_model // self.n_head}"
            )
            raise ValueError(
                f"heads of {size} dimensions cannot be rotated in pairs; the number "
                "has to be even"
            )
        scaling = self.rope_scaling
        if not isinstance(scaling, RopeScaling | None):  # pyright: ignore[reportUnnecessaryIsInstance]
            kind = type(scaling).__name__
            raise ValueError(
                f"rope_scaling is a {kind}; expected a RopeScaling or None"
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
        self.kernel: Kernel = "sdpa"
        device = torch.get_default_device()
        with torch.device("meta"):  # modules draw nothing; `initialise` draws it all
            self.tok_emb = nn.Embedding(config.vocab_size, config.d_model)
            self.rotary = RotaryPositions(
                config.d_model // config.n_head,
                theta=config.rope_theta,
                scaling=config.rope_scaling,
            )
            self.dropout = nn.Dropout(0.0)
            self.blocks = nn.ModuleList(self._block() for _ in range(config.n_layer))
            self.final_norm = RMSNorm(config.d_model, config.norm_eps)
            self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.to_empty(device=device)
        self.initialise(generator)

    def _block(self) -> Block:
        c = self.config
        return Block(
            RMSNorm(c.d_model, c.norm_eps),
            Attention(c.d_model, c.n_head, c.n_kv_head, bias=c.attention_bias),
            RMSNorm(c.d_model, c.norm_eps),
            SwiGLU(c.d_model, c.d_ff, bias=c.mlp_bias),
        )

    def tie_weights(self) -> None:
        """Make head and embedding one tensor, where the configuration ties them.

        Raises:
            ValueError: the head is no plain linear map any more.
        """
        if self.config.tie_embeddings:
            tie_head(self.lm_head, self.tok_emb)

    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights: std init_std, / sqrt(2 n_layer) where parts write to x."""
        c = self.config
        self.tie_weights()
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
        """Score every token as the next one; see `LanguageModel`."""
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
        """The residual stream after the last norm; see `LanguageModel`."""
        context = build_context(
            ids,
            positions,
            segments,
            cache,
            vocab_size=self.config.vocab_size,
            max_seq_len=self.config.max_seq_len,
            rotary=self.rotary,
            kernel=self.kernel,
        )
        x = self.dropout(self.tok_emb(ids))  # (B, T, C)
        for layer, block in enumerate(self.blocks):
            x = block(x, context, layer)
        if cache is not None:
            cache.commit()
        return self.final_norm(x)

    def num_parameters(self) -> int:
        """Number of parameters; a tied head counts once."""
        return sum(parameter.numel() for parameter in self.parameters())
