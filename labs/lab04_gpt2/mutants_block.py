"""Mistakes in modules: the MLP and the block."""

from __future__ import annotations

from torch import nn
from torch.nn import functional as F

from . import reference
from .checks import lab


class MLPWith(reference.GELUMLP):
    bend = staticmethod(reference.gelu)

    def forward(self, x):
        return self.down_proj(self.bend(self.up_proj(x)))


@lab.mutant("GELUMLP", "the bend is PyTorch's default GELU, the exact one")
class ExactMLP(MLPWith):
    bend = staticmethod(F.gelu)


@lab.mutant("GELUMLP", "the bend is ReLU")
class ReLUMLP(MLPWith):
    bend = staticmethod(F.relu)


@lab.mutant(
    "GELUMLP",
    "there is no bend between the two projections, so that both are one linear map",
)
class NoBend(MLPWith):
    bend = staticmethod(lambda x: x)


@lab.mutant("GELUMLP", "the bend is applied a second time, to what down_proj returns")
class BendTwice(MLPWith):
    def forward(self, x):
        return reference.gelu(super().forward(x))


@lab.mutant(
    "GELUMLP", "the bend is applied after both projections instead of between them"
)
class BendAfter(MLPWith):
    def forward(self, x):
        return reference.gelu(self.down_proj(self.up_proj(x)))


@lab.mutant(
    "GELUMLP", "the bend is applied to the input instead of between the projections"
)
class BendBefore(MLPWith):
    def forward(self, x):
        return self.down_proj(self.up_proj(reference.gelu(x)))


@lab.mutant(
    "GELUMLP",
    "x is added inside the MLP, although the block does that",
    section="The block, and then all of it",
)
class ResidualInside(MLPWith):
    def forward(self, x):
        return x + super().forward(x)


@lab.mutant("GELUMLP", "the projections are made without a bias")
class NoBiases(MLPWith):
    def __init__(self, d_model, d_ff):
        super().__init__(d_model, d_ff)
        self.up_proj = nn.Linear(d_model, d_ff, bias=False)
        self.down_proj = nn.Linear(d_ff, d_model, bias=False)


@lab.mutant("GELUMLP", "the width in between is 4 d_model whatever d_ff is")
class AlwaysFour(MLPWith):
    def __init__(self, d_model, d_ff):
        super().__init__(d_model, 4 * d_model)


# Block


@lab.mutant("Block", "nothing is added: each part's result replaces the stream")
class NoResidual(reference.Block):
    def forward(self, x):
        return self.mlp(self.mlp_norm(self.attn(self.attn_norm(x))))


@lab.mutant(
    "Block", "the parts are added to the normed stream instead of to the stream"
)
class ResidualFromNorm(reference.Block):
    def forward(self, x):
        x = self.attn_norm(x)
        x = x + self.attn(x)
        x = self.mlp_norm(x)
        return x + self.mlp(x)


@lab.mutant(
    "Block",
    "attention is added to the normed stream: x = attn_norm(x) has overwritten it",
)
class FirstResidualFromNorm(reference.Block):
    def forward(self, x):
        x = self.attn_norm(x)
        x = x + self.attn(x)
        return x + self.mlp(self.mlp_norm(x))


@lab.mutant(
    "Block", "the MLP is added to the normed stream: x = mlp_norm(x) has overwritten it"
)
class SecondResidualFromNorm(reference.Block):
    def forward(self, x):
        x = x + self.attn(self.attn_norm(x))
        x = self.mlp_norm(x)
        return x + self.mlp(x)


@lab.mutant(
    "Block", "nothing is added around attention: its result replaces the stream"
)
class NoFirstResidual(reference.Block):
    def forward(self, x):
        x = self.attn(self.attn_norm(x))
        return x + self.mlp(self.mlp_norm(x))


@lab.mutant("Block", "attention reads the stream without its norm")
class AttentionWithoutNorm(reference.Block):
    def forward(self, x):
        x = x + self.attn(x)
        return x + self.mlp(self.mlp_norm(x))


@lab.mutant(
    "Block",
    "the norms stand behind the additions (post-norm)",
    section="Norm before or norm after",
)
class PostNorm(reference.Block):
    def forward(self, x):
        x = self.attn_norm(x + self.attn(x))
        return self.mlp_norm(x + self.mlp(x))


@lab.mutant(
    "Block",
    "the norms are applied to what the parts return instead of to what they read",
)
class NormOfResult(reference.Block):
    def forward(self, x):
        x = x + self.attn_norm(self.attn(x))
        return x + self.mlp_norm(self.mlp(x))


@lab.mutant("Block", "attn_norm is used for both parts, and mlp_norm for none")
class OneNorm(reference.Block):
    def forward(self, x):
        x = x + self.attn(self.attn_norm(x))
        return x + self.mlp(self.attn_norm(x))


@lab.mutant("Block", "the two norms are exchanged")
class NormsExchanged(reference.Block):
    def forward(self, x):
        x = x + self.attn(self.mlp_norm(x))
        return x + self.mlp(self.attn_norm(x))


@lab.mutant(
    "Block", "attention and MLP read the same norm of the same stream, in parallel"
)
class Parallel(reference.Block):
    def forward(self, x):
        normed = self.attn_norm(x)
        return x + self.attn(normed) + self.mlp(normed)


@lab.mutant("Block", "the MLP reads the stream from before attention has written")
class MLPFromInput(reference.Block):
    def forward(self, x):
        return x + self.attn(self.attn_norm(x)) + self.mlp(self.mlp_norm(x))


@lab.mutant(
    "Block",
    "the MLP's result is added to the block's input, and what attention wrote is lost",
)
class AttentionLost(reference.Block):
    def forward(self, x):
        after = x + self.attn(self.attn_norm(x))
        return x + self.mlp(self.mlp_norm(after))


@lab.mutant("Block", "nothing is added around the MLP: its result replaces the stream")
class NoSecondResidual(reference.Block):
    def forward(self, x):
        return self.mlp(self.mlp_norm(x + self.attn(self.attn_norm(x))))


@lab.mutant("Block", "the MLP reads the stream without its norm")
class MLPWithoutNorm(reference.Block):
    def forward(self, x):
        x = x + self.attn(self.attn_norm(x))
        return x + self.mlp(x)


@lab.mutant("Block", "the MLP comes before attention")
class MLPFirst(reference.Block):
    def forward(self, x):
        x = x + self.mlp(self.mlp_norm(x))
        return x + self.attn(self.attn_norm(x))


@lab.mutant(
    "Block", "the additions are written as x += ..., which changes the caller's tensor"
)
class InPlace(reference.Block):
    def forward(self, x):
        x += self.attn(self.attn_norm(x))
        x += self.mlp(self.mlp_norm(x))
        return x
