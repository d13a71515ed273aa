"""What people get wrong in the whole model of lab 05."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from . import reference
from .checks import lab

TURN = "RoPE: turning instead of adding"
PAIRS = "Which two channels make a pair?"
SHARE = "Grouped-query attention: who shares a key"

# ---- SmallLlama


class _Llama(reference.SmallLlama):
    """Right, and on one page; each variant below changes one method."""

    def forward(self, ids, *, positions=None):
        positions = (
            torch.arange(ids.shape[1]).expand_as(ids)
            if positions is None
            else positions
        )
        return self.head(self.stream(self.embed(ids), self.rotary(positions)))

    def embed(self, ids):
        return self.tok_emb(ids)

    def stream(self, x, rope):
        for block in self.blocks:
            x = self.layer(block, x, rope)
        return x

    def head(self, x):
        return self.lm_head(self.final_norm(x))

    def layer(self, block, x, rope):
        x = x + self.attention(block.attn, block.attn_norm(x), rope)
        return x + block.mlp(block.mlp_norm(x))

    def attention(self, attn, x, rope):
        q, k, v = (
            self.split(attn, p(x)) for p in (attn.q_proj, attn.k_proj, attn.v_proj)
        )
        q, k, v = self.rotate(q, k, v, rope)
        out = self.attend(q, self.share(k, attn.n_head), self.share(v, attn.n_head))
        return attn.o_proj(self.join(out))

    def split(self, attn, x):
        return x.unflatten(-1, (-1, attn.head_dim)).transpose(1, 2)

    def join(self, x):
        return x.transpose(1, 2).flatten(2)

    def rotate(self, q, k, v, rope):
        return reference.apply_rope(q, *rope), reference.apply_rope(k, *rope), v

    def share(self, x, n_head):
        return x.repeat_interleave(n_head // x.shape[1], dim=1)

    def attend(self, q, k, v):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)


@lab.mutant("SmallLlama", "the last norm is left out")
class NoFinalNorm(_Llama):
    def head(self, x):
        return self.lm_head(x)


@lab.mutant(
    "SmallLlama",
    "the head is tied to the embedding; LLaMA2 has one of its own",
    section="Two blocks side by side",
)
class Tied(_Llama):
    def __init__(self, *sizes, **settings):
        super().__init__(*sizes, **settings)
        self.lm_head.weight = self.tok_emb.weight


@lab.mutant(
    "SmallLlama",
    "the embedding is multiplied by sqrt(d_model), as in the first transformer",
)
class ScaledEmbedding(_Llama):
    def embed(self, ids):
        return self.tok_emb(ids) * self.tok_emb.embedding_dim**0.5


@lab.mutant(
    "SmallLlama", "both parts add to the normed stream instead of to the stream itself"
)
class NormedResidual(_Llama):
    def layer(self, block, x, rope):
        x = block.attn_norm(x)
        x = x + self.attention(block.attn, x, rope)
        x = block.mlp_norm(x)
        return x + block.mlp(x)


@lab.mutant(
    "SmallLlama", "attention adds to the normed stream instead of to the stream itself"
)
class NormedBeforeAttention(_Llama):
    def layer(self, block, x, rope):
        x = block.attn_norm(x)
        x = x + self.attention(block.attn, x, rope)
        return x + block.mlp(block.mlp_norm(x))


@lab.mutant(
    "SmallLlama", "the MLP adds to the normed stream instead of to the stream itself"
)
class NormedBeforeMLP(_Llama):
    def layer(self, block, x, rope):
        x = x + self.attention(block.attn, block.attn_norm(x), rope)
        x = block.mlp_norm(x)
        return x + block.mlp(x)


@lab.mutant("SmallLlama", "nothing is added: each part replaces the stream")
class NoResidual(_Llama):
    def layer(self, block, x, rope):
        x = self.attention(block.attn, block.attn_norm(x), rope)
        return block.mlp(block.mlp_norm(x))


@lab.mutant(
    "SmallLlama",
    "the norms come behind the sums (post-norm) instead of in front of the parts",
)
class PostNorm(_Llama):
    def layer(self, block, x, rope):
        x = block.attn_norm(x + self.attention(block.attn, x, rope))
        return block.mlp_norm(x + block.mlp(x))


@lab.mutant(
    "SmallLlama",
    "attention and MLP read the same stream, side by side, instead of one after the "
    "other",
)
class Parallel(_Llama):
    def layer(self, block, x, rope):
        return (
            x
            + self.attention(block.attn, block.attn_norm(x), rope)
            + block.mlp(block.mlp_norm(x))
        )


@lab.mutant("SmallLlama", "attn_norm is used in front of the MLP, too")
class OneNorm(_Llama):
    def layer(self, block, x, rope):
        x = x + self.attention(block.attn, block.attn_norm(x), rope)
        return x + block.mlp(block.attn_norm(x))


@lab.mutant("SmallLlama", "every layer is the first block")
class FirstBlockOnly(_Llama):
    def stream(self, x, rope):
        for _ in self.blocks:
            x = self.layer(self.blocks[0], x, rope)
        return x


@lab.mutant("SmallLlama", "RoPE is left out", section=TURN)
class NoRope(_Llama):
    def rotate(self, q, k, v, rope):
        return q, k, v


@lab.mutant(
    "SmallLlama", "only the queries are turned, and the keys are not", section=TURN
)
class OnlyQueries(_Llama):
    def rotate(self, q, k, v, rope):
        return reference.apply_rope(q, *rope), k, v


@lab.mutant("SmallLlama", "the values are turned, too", section=TURN)
class ValuesTurned(_Llama):
    def rotate(self, q, k, v, rope):
        return tuple(reference.apply_rope(x, *rope) for x in (q, k, v))


@lab.mutant(
    "SmallLlama", "queries and keys are turned in opposite directions", section=TURN
)
class Opposite(_Llama):
    def rotate(self, q, k, v, rope):
        return (
            reference.apply_rope(q, *rope),
            reference.apply_rope(k, rope[0], -rope[1]),
            v,
        )


@lab.mutant(
    "SmallLlama", "RoPE pairs neighbours (interleaved) instead of halves", section=PAIRS
)
class Interleaved(_Llama):
    def rotate(self, q, k, v, rope):
        return (
            reference.apply_rope_interleaved(q, *rope),
            reference.apply_rope_interleaved(k, *rope),
            v,
        )


@lab.mutant("SmallLlama", "the given positions are ignored", section=TURN)
class PositionsIgnored(_Llama):
    def forward(self, ids, *, positions=None):
        return super().forward(ids)


@lab.mutant(
    "SmallLlama",
    "rope_theta is ignored and 10,000 used",
    section="Fast pairs and slow pairs",
)
class ThetaIgnored(_Llama):
    def __init__(self, *sizes, rope_theta=10000.0, **settings):
        super().__init__(*sizes, **settings)


@lab.mutant(
    "SmallLlama",
    "norm_eps is ignored and 1e-5 used",
    section="RMSNorm: a LayerNorm that does not centre",
)
class EpsIgnored(_Llama):
    def __init__(self, *sizes, norm_eps=1e-5, **settings):
        super().__init__(*sizes, **settings)


@lab.mutant("SmallLlama", "norm_eps reaches the blocks, but the last norm has 1e-5")
class EpsForgottenLast(_Llama):
    def __init__(self, *sizes, **settings):
        super().__init__(*sizes, **settings)
        self.final_norm.eps = 1e-5


@lab.mutant(
    "SmallLlama",
    "key heads are dealt in turn (`repeat`) instead of in groups (`repeat_interleave`)",
    section=SHARE,
)
class DealtInTurn(_Llama):
    def share(self, x, n_head):
        return x.repeat(1, n_head // x.shape[1], 1, 1)


@lab.mutant("SmallLlama", "all query heads read the first key head", section=SHARE)
class FirstKeyHead(_Llama):
    def share(self, x, n_head):
        return x[:, :1].expand(-1, n_head, -1, -1)


@lab.mutant(
    "SmallLlama",
    "heads are split as (D, H) instead of as (H, D), so that their channels are mixed",
)
class SplitTheOtherWay(_Llama):
    def split(self, attn, x):
        return x.unflatten(-1, (attn.head_dim, -1)).permute(0, 3, 1, 2)


@lab.mutant(
    "SmallLlama",
    "(B, T, C) is viewed as (B, H, T, D) without a transposition, which mixes tokens "
    "and heads",
)
class ViewedAsHeads(_Llama):
    def split(self, attn, x):
        return x.reshape(x.shape[0], -1, x.shape[1], attn.head_dim)


@lab.mutant(
    "SmallLlama",
    "the heads are joined without transposing back, which mixes tokens and heads",
)
class JoinedWithoutTranspose(_Llama):
    def join(self, x):
        return x.reshape(x.shape[0], x.shape[2], -1)


@lab.mutant("SmallLlama", "there is no causal mask: tokens see those behind them")
class NotCausal(_Llama):
    def attend(self, q, k, v):
        return F.scaled_dot_product_attention(q, k, v)


@lab.mutant(
    "SmallLlama", "the mask is transposed: tokens see only what comes after them"
)
class SeesLater(_Llama):
    def attend(self, q, k, v):
        mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).triu()
        return F.scaled_dot_product_attention(q, k, v, mask)


@lab.mutant("SmallLlama", "the mask is off by one: each token also sees the next one")
class SeesNext(_Llama):
    def attend(self, q, k, v):
        mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril(1)
        return F.scaled_dot_product_attention(q, k, v, mask)


@lab.mutant("SmallLlama", "the scores are not divided by sqrt(D)")
class Unscaled(_Llama):
    def attend(self, q, k, v):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=1.0)


@lab.mutant(
    "SmallLlama", "the scores are divided by sqrt(d_model) instead of by sqrt(D)"
)
class ScaledByModel(_Llama):
    def attend(self, q, k, v):
        return F.scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=self.tok_emb.embedding_dim**-0.5
        )
