"""GPT-2: learned positions, LayerNorm before each part, GELU, and the embedding used a
second time as the head.

    x = tok_emb[ids] + pos_emb[positions]
    x = block(x)                                 n_layer times
    logits = final_norm(x) tok_emb^T

Source: A. Radford et al., "Language Models are Unsupervised Multitask Learners", 2019,
section 2.3, and the released code, github.com/openai/gpt-2 (initial standard
deviations, the tanh form of GELU).
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
    GELUMLP,
    Block,
    LayerNorm,
    check_activation,
    check_positive,
    check_sizes,
    initialise_normal,
    tie_head,
)
from happyllm_support.model.positions import LearnedPositions


@dataclass(frozen=True, kw_only=True)
class GPT2Config:
    """The sizes of a GPT-2. The defaults are those of the 124M model.

    Attributes:
        vocab_size: V, number of token ids.
        max_seq_len: number of learned positions; a longer sequence is refused.
        n_layer: number of blocks.
        n_head: attention heads; divides d_model.
        d_model: C, width of the residual stream.
        d_ff: width inside the MLP; None: 4 d_model.
        norm_eps: added to variances.
        activation: of the MLP, a name in `layers.ACTIVATIONS`.
        init_std: standard deviation of initial weights; half of it for positions.

    Raises:
        ValueError: numbers that are not positive, heads that do not divide, an unknown
            name.
    """

    vocab_size: int = 50257
    max_seq_len: int = 1024
    n_layer: int = 12
    n_head: int = 12
    d_model: int = 768
    d_ff: int | None = None
    norm_eps: float = 1e-5
    activation: str = "gelu_tanh"
    init_std: float = 0.02

    def __post_init__(self) -> None:
        check_sizes(self, "vocab_size", "max_seq_len", "n_layer", "n_head", "d_model")
        if self.d_ff is not None:
            check_sizes(self, "d_ff")
        check_positive(self, "norm_eps", "init_std")
        check_heads(self.d_model, self.n_head, self.n_head)
        check_activation(self.activation)

    @property
    def mlp_width(self) -> int:
        """Width inside the MLP: d_ff, or 4 d_model where d_ff is None."""
        return 4 * self.d_model if self.d_ff is None else self.d_ff

    @property
    def n_kv_head(self) -> int:
        """Every head has its own keys and values."""
        return self.n_head


TINY = GPT2Config(
    vocab_size=512, max_seq_len=256, n_layer=3, n_head=4, d_model=96
)  # 0.4M: learns stories on a laptop
GPT2_124M = GPT2Config()
GPT2_355M = GPT2Config(n_layer=24, n_head=16, d_model=1024)
GPT2_774M = GPT2Config(n_layer=36, n_head=20, d_model=1280)
GPT2_1558M = GPT2Config(n_layer=48, n_head=25, d_model=1600)


class GPT2(nn.Module):
    """The model of the module's head; `with torch.device("meta")` it takes no memory,
    for counting.

    Args:
        config: its sizes.
        generator: source of the initial weights; None: PyTorch's global one.
    """

    def __init__(
        self, config: GPT2Config, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.kernel: Kernel = "sdpa"
        device = torch.get_default_device()
        with torch.device("meta"):  # modules draw nothing; `initialise` draws it all
            self.tok_emb = nn.Embedding(config.vocab_size, config.d_model)
            self.pos_emb = LearnedPositions(config.max_seq_len, config.d_model)
            self.dropout = nn.Dropout(0.0)
            self.blocks = nn.ModuleList(self._block() for _ in range(config.n_layer))
            self.final_norm = LayerNorm(config.d_model, config.norm_eps)
            self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.to_empty(device=device)
        self.initialise(generator)

    def _block(self) -> Block:
        c = self.config
        return Block(
            LayerNorm(c.d_model, c.norm_eps),
            Attention(c.d_model, c.n_head, bias=True),
            LayerNorm(c.d_model, c.norm_eps),
            GELUMLP(c.d_model, c.mlp_width, activation=c.activation),
        )

    def tie_weights(self) -> None:
        """Make head and embedding one tensor, after what may have parted them.

        Raises:
            ValueError: the head is no plain linear map any more.
        """
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
        nn.init.normal_(self.pos_emb.weight, std=c.init_std / 2, generator=generator)

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
            kernel=self.kernel,
        )
        x = self.tok_emb(ids) + self.pos_emb(context.positions)  # (B, T, C)
        x = self.dropout(x)
        for layer, block in enumerate(self.blocks):
            x = block(x, context, layer)
        if cache is not None:
            cache.commit()
        return self.final_norm(x)

    def num_parameters(self) -> int:
        """Number of parameters; the tied head counts once."""
        return sum(parameter.numel() for parameter in self.parameters())
