"""What people get wrong when they wire the model of lab 05: a part forgotten,
exchanged, or in the wrong place.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from . import reference
from .checks import lab
from .mutants_model import SHARE, TURN, _Llama

# ---- the stream


@lab.mutant(
    "SmallLlama", "the first residual line is missing: attention replaces the stream"
)
class NoFirstResidual(_Llama):
    def layer(self, block, x, rope):
        x = self.attention(block.attn, block.attn_norm(x), rope)
        return x + block.mlp(block.mlp_norm(x))


@lab.mutant(
    "SmallLlama", "the second residual line is missing: the MLP replaces the stream"
)
class NoSecondResidual(_Llama):
    def layer(self, block, x, rope):
        x = x + self.attention(block.attn, block.attn_norm(x), rope)
        return block.mlp(block.mlp_norm(x))


@lab.mutant("SmallLlama", "the two norms of a block are exchanged")
class NormsExchanged(_Llama):
    def layer(self, block, x, rope):
        x = x + self.attention(block.attn, block.mlp_norm(x), rope)
        return x + block.mlp(block.attn_norm(x))


@lab.mutant("SmallLlama", "the norm in front of attention is left out")
class NoAttentionNorm(_Llama):
    def layer(self, block, x, rope):
        x = x + self.attention(block.attn, x, rope)
        return x + block.mlp(block.mlp_norm(x))


@lab.mutant("SmallLlama", "the norm in front of the MLP is left out")
class NoMLPNorm(_Llama):
    def layer(self, block, x, rope):
        x = x + self.attention(block.attn, block.attn_norm(x), rope)
        return x + block.mlp(x)


@lab.mutant("SmallLlama", "both norms of a block are left out")
class NoNorms(_Llama):
    def layer(self, block, x, rope):
        x = x + self.attention(block.attn, x, rope)
        return x + block.mlp(x)


@lab.mutant("SmallLlama", "the MLP comes first in each block, and attention after it")
class MLPFirst(_Llama):
    def layer(self, block, x, rope):
        x = x + block.mlp(block.mlp_norm(x))
        return x + self.attention(block.attn, block.attn_norm(x), rope)


@lab.mutant("SmallLlama", "the attention is left out: only the MLP adds to the stream")
class NoAttention(_Llama):
    def layer(self, block, x, rope):
        return x + block.mlp(block.mlp_norm(x))


@lab.mutant("SmallLlama", "the MLP is left out: only attention adds to the stream")
class NoMLP(_Llama):
    def layer(self, block, x, rope):
        return x + self.attention(block.attn, block.attn_norm(x), rope)


@lab.mutant(
    "SmallLlama",
    "attention adds to the stream in place (x += ...), which the backward pass cannot "
    "undo",
)
class InPlace(_Llama):
    def layer(self, block, x, rope):
        x += self.attention(block.attn, block.attn_norm(x), rope)
        x += block.mlp(block.mlp_norm(x))
        return x


@lab.mutant(
    "SmallLlama", "the last norm comes in front of the blocks instead of behind them"
)
class FinalNormFirst(_Llama):
    def stream(self, x, rope):
        return super().stream(self.final_norm(x), rope)

    def head(self, x):
        return self.lm_head(x)


@lab.mutant(
    "SmallLlama",
    "what the blocks return is not assigned: block(x, ...) instead of x = block(x, "
    "...)",
)
class Unassigned(_Llama):
    def stream(self, x, rope):
        return x


@lab.mutant(
    "SmallLlama",
    "every block reads the embedding, and only the last one's result is kept",
)
class LastAlone(_Llama):
    def stream(self, x, rope):
        return [self.layer(block, x, rope) for block in self.blocks][-1]


@lab.mutant("SmallLlama", "the last block is skipped")
class LastSkipped(_Llama):
    def stream(self, x, rope):
        for block in self.blocks[:-1]:
            x = self.layer(block, x, rope)
        return x


@lab.mutant("SmallLlama", "the blocks run from the last to the first")
class Backwards(_Llama):
    def stream(self, x, rope):
        for block in reversed(self.blocks):
            x = self.layer(block, x, rope)
        return x


@lab.mutant("SmallLlama", "norm_eps reaches the last norm, but the blocks have 1e-5")
class EpsLostInBlocks(_Llama):
    def __init__(self, *sizes, norm_eps=1e-5, **settings):
        super().__init__(*sizes, **settings)
        self.final_norm.eps = norm_eps


@lab.mutant("SmallLlama", "the embedding is detached, so that it does not learn")
class Detached(_Llama):
    def embed(self, ids):
        return self.tok_emb(ids).detach()


@lab.mutant("SmallLlama", "probabilities (softmax) are returned instead of logits")
class Probabilities(_Llama):
    def head(self, x):
        return super().head(x).softmax(-1)


@lab.mutant(
    "SmallLlama", "log-probabilities (log_softmax) are returned instead of logits"
)
class LogProbabilities(_Llama):
    def head(self, x):
        return super().head(x).log_softmax(-1)


# ---- inside attention


@lab.mutant("SmallLlama", "the heads are joined, but o_proj is left out")
class NoOutputProjection(_Llama):
    def attention(self, attn, x, rope):
        q, k, v = (
            self.split(attn, p(x)) for p in (attn.q_proj, attn.k_proj, attn.v_proj)
        )
        q, k, v = self.rotate(q, k, v, rope)
        return self.join(
            self.attend(q, self.share(k, attn.n_head), self.share(v, attn.n_head))
        )


@lab.mutant("SmallLlama", "keys and values are exchanged")
class KeysForValues(_Llama):
    def attention(self, attn, x, rope):
        q, v, k = (
            self.split(attn, p(x)) for p in (attn.q_proj, attn.k_proj, attn.v_proj)
        )
        q, k, v = self.rotate(q, k, v, rope)
        return attn.o_proj(
            self.join(
                self.attend(q, self.share(k, attn.n_head), self.share(v, attn.n_head))
            )
        )


class _Dealt(_Llama):
    """Keys or values, or none of them, dealt in turn."""

    keys = values = False

    def attention(self, attn, x, rope):
        q, k, v = (
            self.split(attn, p(x)) for p in (attn.q_proj, attn.k_proj, attn.v_proj)
        )
        q, k, v = self.rotate(q, k, v, rope)
        k, v = (
            self.dealt(k, attn.n_head, self.keys),
            self.dealt(v, attn.n_head, self.values),
        )
        return attn.o_proj(self.join(self.attend(q, k, v)))

    def dealt(self, x, n_head, in_turn):
        return (
            x.repeat(1, n_head // x.shape[1], 1, 1)
            if in_turn
            else self.share(x, n_head)
        )


@lab.mutant(
    "SmallLlama",
    "the values are dealt in turn (`repeat`) and the keys in groups, as is right",
    section=SHARE,
)
class ValuesInTurn(_Dealt):
    values = True


@lab.mutant(
    "SmallLlama",
    "the keys are dealt in turn (`repeat`) and the values in groups, as is right",
    section=SHARE,
)
class KeysInTurn(_Dealt):
    keys = True


@lab.mutant(
    "SmallLlama",
    "cosines and sines are exchanged on the way to the rotation",
    section=TURN,
)
class CosForSin(_Llama):
    def rotate(self, q, k, v, rope):
        return super().rotate(q, k, v, rope[::-1])


@lab.mutant(
    "SmallLlama", "only the keys are turned, and the queries are not", section=TURN
)
class OnlyKeys(_Llama):
    def rotate(self, q, k, v, rope):
        return q, reference.apply_rope(k, *rope), v


@lab.mutant("SmallLlama", "all rows get the positions of the first one", section=TURN)
class PositionsOfTheFirstRow(_Llama):
    def forward(self, ids, *, positions=None):
        return super().forward(
            ids,
            positions=None if positions is None else positions[:1].expand_as(positions),
        )


@lab.mutant("SmallLlama", "queries and keys are turned twice", section=TURN)
class TurnedTwice(_Llama):
    def rotate(self, q, k, v, rope):
        q, k, v = super().rotate(q, k, v, rope)
        return super().rotate(q, k, v, rope)


class _ByHand(_Llama):
    """Attention written out; each variant below changes one step."""

    def attend(self, q, k, v):
        later = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).triu(1)
        return self.weights(q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5, later) @ v

    def weights(self, scores, later):
        return scores.masked_fill(later, -torch.inf).softmax(-1)


@lab.mutant(
    "SmallLlama", "the softmax runs over the queries (dim=-2) instead of over the keys"
)
class SoftmaxOverQueries(_ByHand):
    def weights(self, scores, later):
        return scores.masked_fill(later, -torch.inf).softmax(-2)


@lab.mutant(
    "SmallLlama",
    "the mask comes behind the softmax, so that weights no longer sum to 1",
)
class MaskedAfterSoftmax(_ByHand):
    def weights(self, scores, later):
        return scores.softmax(-1).masked_fill(later, 0.0)


@lab.mutant("SmallLlama", "the mask sets scores to 0 instead of to minus infinity")
class MaskedWithZero(_ByHand):
    def weights(self, scores, later):
        return scores.masked_fill(later, 0.0).softmax(-1)


@lab.mutant("SmallLlama", "the softmax is left out")
class NoSoftmax(_ByHand):
    def weights(self, scores, later):
        return scores.masked_fill(later, 0.0)


@lab.mutant(
    "SmallLlama",
    "the scores are divided by D instead of by its root, or by the root twice",
)
class DividedByD(_Llama):
    def attend(self, q, k, v):
        return F.scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=1 / q.shape[-1]
        )
