"""Mistakes that people make in lab 04."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from . import reference
from .checks import lab

# layer_norm


@lab.mutant("layer_norm", "eps is added outside of the root")
def eps_outside(x, weight, bias, eps=1e-5):
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / (centred.square().mean(dim=-1, keepdim=True).sqrt() + eps) * weight + bias


@lab.mutant("layer_norm", "the argument eps is not used, and 1e-5 always is")
def eps_fixed(x, weight, bias, eps=1e-5):
    return reference.layer_norm(x, weight, bias)


@lab.mutant("layer_norm", "the variance is divided by C - 1, as torch.var and torch.std do by default")
def unbiased(x, weight, bias, eps=1e-5):
    return (x - x.mean(dim=-1, keepdim=True)) / torch.sqrt(x.var(dim=-1, keepdim=True) + eps) * weight + bias


@lab.mutant("layer_norm", "the mean is not subtracted: a root mean square norm with a shift")
def not_centred(x, weight, bias, eps=1e-5):
    return x / torch.sqrt(x.square().mean(dim=-1, keepdim=True) + eps) * weight + bias


@lab.mutant("layer_norm", "the mean is subtracted for the variance, but not from what is divided")
def numerator_not_centred(x, weight, bias, eps=1e-5):
    return x / torch.sqrt(x.var(dim=-1, correction=0, keepdim=True) + eps) * weight + bias


@lab.mutant("layer_norm", "the numbers are divided by the variance, without the root")
def no_root(x, weight, bias, eps=1e-5):
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / (centred.square().mean(dim=-1, keepdim=True) + eps) * weight + bias


@lab.mutant("layer_norm", "the statistics are taken over all tokens at once instead of over each one's C numbers")
def over_everything(x, weight, bias, eps=1e-5):
    centred = x - x.mean()
    return centred / torch.sqrt(centred.square().mean() + eps) * weight + bias


@lab.mutant("layer_norm", "the statistics are taken over the first axis (the batch), as a batch norm does")
def over_batch(x, weight, bias, eps=1e-5):
    centred = x - x.mean(dim=0, keepdim=True)
    return centred / torch.sqrt(centred.square().mean(dim=0, keepdim=True) + eps) * weight + bias


@lab.mutant("layer_norm", "the bias is not added")
def no_bias(x, weight, bias, eps=1e-5):
    return reference.layer_norm(x, weight, torch.zeros_like(bias), eps)


@lab.mutant("layer_norm", "the bias is added before the gain and is multiplied by it")
def bias_before_gain(x, weight, bias, eps=1e-5):
    return reference.layer_norm(x, weight, bias * weight, eps)


@lab.mutant("layer_norm", "the variance is the mean of squares minus the square of the mean, which cancels in float32")
def cancelling(x, weight, bias, eps=1e-5):
    mean = x.mean(dim=-1, keepdim=True)
    variance = x.square().mean(dim=-1, keepdim=True) - mean.square()
    return (x - mean) / torch.sqrt(variance + eps) * weight + bias


@lab.mutant("layer_norm", "mean and variance are cut off from the gradient, by detach() or no_grad()")
def detached(x, weight, bias, eps=1e-5):
    mean, variance = x.detach().mean(-1, keepdim=True), x.detach().var(-1, correction=0, keepdim=True)
    return (x - mean) / torch.sqrt(variance + eps) * weight + bias


# gelu

FACTOR = math.sqrt(2 / math.pi)


@lab.mutant("gelu", "the exact form with erf is used, which GPT-2 was not trained with")
def exact(x):
    return x / 2 * (1 + torch.erf(x / math.sqrt(2)))


@lab.mutant("gelu", "the approximation by a sigmoid, x sigmoid(1.702 x), is used")
def sigmoid(x):
    return x * torch.sigmoid(1.702 * x)


@lab.mutant("gelu", "it is ReLU")
def relu(x):
    return x.clamp(min=0)


@lab.mutant("gelu", "it is SiLU, x sigmoid(x)")
def silu(x):
    return x * torch.sigmoid(x)


@lab.mutant("gelu", "the factor is sqrt(2 pi) instead of sqrt(2 / pi)")
def wrong_factor(x):
    return x / 2 * (1 + torch.tanh(math.sqrt(2 * math.pi) * (x + 0.044715 * x**3)))


@lab.mutant("gelu", "the factor is 2 / pi, without the root")
def factor_without_root(x):
    return x / 2 * (1 + torch.tanh(2 / math.pi * (x + 0.044715 * x**3)))


@lab.mutant("gelu", "the coefficient of the cube is ten times too large, 0.44715")
def wrong_coefficient(x):
    return x / 2 * (1 + torch.tanh(FACTOR * (x + 0.44715 * x**3)))


@lab.mutant("gelu", "the cubic term is missing")
def no_cube(x):
    return x / 2 * (1 + torch.tanh(FACTOR * x))


@lab.mutant("gelu", "x is squared where it should be cubed")
def squared(x):
    return x / 2 * (1 + torch.tanh(FACTOR * (x + 0.044715 * x**2)))


@lab.mutant("gelu", "sqrt(2 / pi) multiplies x only and not the cubic term, a pair of brackets is missing")
def brackets(x):
    return x / 2 * (1 + torch.tanh(FACTOR * x + 0.044715 * x**3))


@lab.mutant("gelu", "the factor 1/2 is missing")
def no_half(x):
    return x * (1 + torch.tanh(FACTOR * (x + 0.044715 * x**3)))


@lab.mutant("gelu", "the 1 in front of tanh is missing")
def no_one(x):
    return x / 2 * torch.tanh(FACTOR * (x + 0.044715 * x**3))


@lab.mutant("gelu", "tanh is made of exponentials, which overflow for large numbers")
def overflowing(x):
    grown = torch.exp(2 * FACTOR * (x + 0.044715 * x**3))
    return x / 2 * (1 + (grown - 1) / (grown + 1))


# GELUMLP


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


@lab.mutant("GELUMLP", "there is no bend between the two projections, so that both are one linear map")
class NoBend(MLPWith):
    bend = staticmethod(lambda x: x)


@lab.mutant("GELUMLP", "the bend is applied a second time, to what down_proj returns")
class BendTwice(MLPWith):
    def forward(self, x):
        return reference.gelu(super().forward(x))


@lab.mutant("GELUMLP", "the bend is applied after both projections instead of between them")
class BendAfter(MLPWith):
    def forward(self, x):
        return reference.gelu(self.down_proj(self.up_proj(x)))


@lab.mutant("GELUMLP", "the bend is applied to the input instead of between the projections")
class BendBefore(MLPWith):
    def forward(self, x):
        return self.down_proj(self.up_proj(reference.gelu(x)))


@lab.mutant(
    "GELUMLP", "x is added inside the MLP, although the block does that", section="The block, and then all of it"
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


@lab.mutant("Block", "the parts are added to the normed stream instead of to the stream")
class ResidualFromNorm(reference.Block):
    def forward(self, x):
        x = self.attn_norm(x)
        x = x + self.attn(x)
        x = self.mlp_norm(x)
        return x + self.mlp(x)


@lab.mutant("Block", "the norms stand behind the additions (post-norm)", section="Norm before or norm after")
class PostNorm(reference.Block):
    def forward(self, x):
        x = self.attn_norm(x + self.attn(x))
        return self.mlp_norm(x + self.mlp(x))


@lab.mutant("Block", "the norms are applied to what the parts return instead of to what they read")
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


@lab.mutant("Block", "attention and MLP read the same norm of the same stream, in parallel")
class Parallel(reference.Block):
    def forward(self, x):
        normed = self.attn_norm(x)
        return x + self.attn(normed) + self.mlp(normed)


@lab.mutant("Block", "the MLP reads the stream from before attention has written")
class MLPFromInput(reference.Block):
    def forward(self, x):
        return x + self.attn(self.attn_norm(x)) + self.mlp(self.mlp_norm(x))


@lab.mutant("Block", "the MLP's result is added to the block's input, and what attention wrote is lost")
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


@lab.mutant("Block", "the additions are written as x += ..., which changes the caller's tensor")
class InPlace(reference.Block):
    def forward(self, x):
        x += self.attn(self.attn_norm(x))
        x += self.mlp(self.mlp_norm(x))
        return x


# initialise


def is_writer(name):
    return name.endswith(("o_proj.weight", "down_proj.weight"))


def usual(name, std):
    return std / 2 if name == "pos_emb.weight" else std


def drawing(std_of, *, gain=torch.ones, bias=torch.zeros):
    """An `initialise` with another standard deviation for matrices, or other gains and biases."""

    def initialise(shapes, n_layer, generator, std=0.02):
        drawn = {}
        for name, shape in shapes.items():
            if len(shape) == 2:
                drawn[name] = std_of(name, shape, n_layer, std) * torch.randn(shape, generator=generator)
            elif name.endswith("bias"):
                drawn[name] = bias(shape) if bias is torch.zeros else std * torch.randn(shape, generator=generator)
            else:
                drawn[name] = gain(shape) if gain is not torch.randn else std * torch.randn(shape, generator=generator)
        return drawn

    return initialise


def right(name, shape, n_layer, std):
    return std / math.sqrt(2 * n_layer) if is_writer(name) else usual(name, std)


def scaled_by(factor):
    """`right` with another factor for the writers."""
    return lambda name, shape, n_layer, std: std * factor(n_layer) if is_writer(name) else usual(name, std)


def mistake(says, code, **settings):
    """Declare a variant that is made by a call."""
    code.__name__ = says.replace(" ", "_")
    lab.mutant("initialise", says, **settings)(code)


mistake("the matrices that write into the stream are as large as the others", drawing(scaled_by(lambda n: 1)))
mistake("the writers are divided by n_layer, without a root", drawing(scaled_by(lambda n: 1 / n)))
mistake("the writers are divided by 2 n_layer, without the root", drawing(scaled_by(lambda n: 1 / (2 * n))))
mistake(
    "the writers are divided by the root of n_layer, although each block has two of them",
    drawing(scaled_by(lambda n: n**-0.5)),
)
mistake("the writers are multiplied by the root of 2 n_layer", drawing(scaled_by(lambda n: (2 * n) ** 0.5)))
mistake(
    "all matrices are scaled down, also those that do not write into the stream",
    drawing(lambda name, shape, n_layer, std: usual(name, std) / math.sqrt(2 * n_layer)),
)
mistake(
    "o_proj is scaled down, and down_proj is not",
    drawing(lambda name, shape, n, std: usual(name, std) / (math.sqrt(2 * n) if "o_proj" in name else 1)),
)
mistake(
    "up_proj is scaled down as well, which does not write into the stream",
    drawing(lambda name, shape, n, std: right(f"{name}".replace("up_proj", "down_proj"), shape, n, std)),
)
mistake(
    "each matrix has the standard deviation of Xavier's rule",
    drawing(lambda name, shape, n_layer, std: math.sqrt(2 / sum(shape))),
    section="What an untrained model pays",
)
mistake(
    "std is taken for the variance",
    drawing(lambda name, shape, n_layer, std: math.sqrt(right(name, shape, n_layer, std))),
)
mistake(
    "the square of std is taken for the standard deviation",
    drawing(lambda name, shape, n_layer, std: right(name, shape, n_layer, std) ** 2),
)
mistake(
    "the table of positions is drawn like the other tables, not with half the standard deviation",
    drawing(lambda name, shape, n_layer, std: right(name, shape, n_layer, std) * (2 if "pos_emb" in name else 1)),
    section="What an untrained model pays",
)
mistake(
    "the embeddings keep the standard deviation 1 that PyTorch gives them",
    drawing(lambda name, shape, n_layer, std: 1.0 if "_emb" in name else right(name, shape, n_layer, std)),
    section="What an untrained model pays",
)
mistake(
    "the argument std is not used, and 0.02 always is", drawing(lambda name, shape, n, _: right(name, shape, n, 0.02))
)
mistake("the biases are drawn at random", drawing(right, bias=torch.randn))
mistake("the gains of the norms are drawn like weights", drawing(right, gain=torch.randn))
mistake("the gains of the norms are 0, which silences every part", drawing(right, gain=torch.zeros))


@lab.mutant("initialise", "the numbers are drawn evenly between two limits instead of from a normal distribution")
def evenly(shapes, n_layer, generator, std=0.02):
    drawn = drawing(right)(shapes, n_layer, generator, std)
    for name, shape in shapes.items():
        if len(shape) == 2:
            limit = right(name, shape, n_layer, std) * math.sqrt(3)
            drawn[name] = limit * (2 * torch.rand(shape, generator=generator) - 1)
    return drawn


@lab.mutant("initialise", "the numbers come from PyTorch's global generator instead of the given one")
def global_numbers(shapes, n_layer, generator, std=0.02):
    return drawing(right)(shapes, n_layer, torch.default_generator, std)


@lab.mutant("initialise", "a generator with a fixed seed is used instead of the given one")
def fixed_seed(shapes, n_layer, generator, std=0.02):
    return drawing(right)(shapes, n_layer, torch.Generator().manual_seed(0), std)


@lab.mutant("initialise", "the generator is set back before each tensor, so that equal shapes get equal numbers")
def set_back(shapes, n_layer, generator, std=0.02):
    start, drawn = generator.get_state(), {}
    for name, shape in shapes.items():
        drawn |= drawing(right)({name: shape}, n_layer, generator.set_state(start), std)
    return drawn


# GPT2


@lab.mutant("GPT2", "the head is a copy of the embedding table instead of the table itself")
class TiedByCopy(reference.GPT2):
    def tie_weights(self):
        self.lm_head.weight = nn.Parameter(self.tok_emb.weight.detach().clone())


@lab.mutant("GPT2", "the head has a table of its own, which nothing ties to the embedding")
class NotTied(reference.GPT2):
    def tie_weights(self):
        pass

    def load(self, parameters):
        self.load_state_dict(parameters, strict=False)


@lab.mutant("GPT2", "head and embedding share memory through .data, but are two parameters")
class SharedMemory(reference.GPT2):
    def tie_weights(self):
        self.lm_head.weight = nn.Parameter(self.tok_emb.weight.detach())


@lab.mutant("GPT2", "load puts a new parameter in the place of the embedding, and the head keeps the old one")
class TieCutByLoad(reference.GPT2):
    def load(self, parameters):
        old = self.lm_head.weight
        super().load({name: tensor.clone() for name, tensor in parameters.items()})
        self.lm_head.weight = old


@lab.mutant("GPT2", "load gives embedding and head the same numbers as two new parameters")
class PartedByLoad(reference.GPT2):
    def load(self, parameters):
        super().load({name: tensor.clone() for name, tensor in parameters.items()})
        self.lm_head.weight = nn.Parameter(self.tok_emb.weight.detach().clone())


@lab.mutant("GPT2", "load insists on lm_head.weight, which the weights of a tied model do not have")
class StrictLoad(reference.GPT2):
    def load(self, parameters):
        self.load_state_dict(parameters)


@lab.mutant("GPT2", "the shared table is counted twice", section="Where the parameters are")
class CountedTwice(reference.GPT2):
    def num_parameters(self):
        return sum(tensor.numel() for tensor in self.state_dict().values())


class Rewritten(reference.GPT2):
    """The forward pass in pieces that variants replace."""

    def begin(self, ids):
        return self.tok_emb(ids) + self.pos_emb(torch.arange(ids.shape[1]))

    def forward(self, ids):
        x = self.begin(ids)
        for block in self.blocks:
            x = block(x)
        return self.end(x)

    def end(self, x):
        return self.lm_head(self.final_norm(x))


@lab.mutant("GPT2", "the head is not transposed: the stream is multiplied by the table as it is")
class NotTransposed(Rewritten):
    def end(self, x):
        return self.final_norm(x) @ self.tok_emb.weight


@lab.mutant("GPT2", "the last norm is missing")
class NoFinalNorm(Rewritten):
    def end(self, x):
        return self.lm_head(x)


@lab.mutant("GPT2", "the head returns probabilities instead of logits")
class Probabilities(Rewritten):
    def end(self, x):
        return super().end(x).softmax(dim=-1)


@lab.mutant("GPT2", "the positions are not added", section="Where it stands: positions")
class NoPositions(Rewritten):
    def begin(self, ids):
        return self.tok_emb(ids)


@lab.mutant("GPT2", "positions are counted backward from the last token", section="Where it stands: positions")
class BackwardPositions(Rewritten):
    def begin(self, ids):
        return self.tok_emb(ids) + self.pos_emb(torch.arange(ids.shape[1]).flip(0))


@lab.mutant("GPT2", "the table of positions is looked up with the ids", section="Where it stands: positions")
class PositionsFromIds(Rewritten):
    def begin(self, ids):
        return self.tok_emb(ids) + self.pos_emb(ids.clamp(max=self.pos_emb.num_embeddings - 1))


@lab.mutant(
    "GPT2", "the embeddings are multiplied by the root of d_model, as in the first transformer but not in GPT-2"
)
class ScaledEmbedding(Rewritten):
    def begin(self, ids):
        return self.tok_emb(ids) * self.config.d_model**0.5 + self.pos_emb(torch.arange(ids.shape[1]))


@lab.mutant("GPT2", "one block is used n_layer times: a list multiplied holds the same object again and again")
class OneBlock(reference.GPT2):
    def __init__(self, vocab_size, max_seq_len, n_layer, n_head, d_model):
        super().__init__(vocab_size, max_seq_len, n_layer, n_head, d_model)
        self.blocks = nn.ModuleList([self.blocks[0]] * n_layer)


@lab.mutant("GPT2", "only the first block is applied, the loop returns or is missing")
class FirstBlockOnly(Rewritten):
    def forward(self, ids):
        return self.end(self.blocks[0](self.begin(ids)))


# load_conv1d


def rows(n_layer):
    """Their names and ours, and what kind of tensor it is."""
    yield "wte.weight", "tok_emb.weight", "as it is"
    yield "wpe.weight", "pos_emb.weight", "as it is"
    for i in range(n_layer):
        for kind, how in (("weight", "turned"), ("bias", "as it is")):
            yield f"h.{i}.ln_1.{kind}", f"blocks.{i}.attn_norm.{kind}", "as it is"
            yield f"h.{i}.attn.c_attn.{kind}", f"blocks.{i}.attn.?_proj.{kind}", f"split {how}"
            yield f"h.{i}.attn.c_proj.{kind}", f"blocks.{i}.attn.o_proj.{kind}", how
            yield f"h.{i}.ln_2.{kind}", f"blocks.{i}.mlp_norm.{kind}", "as it is"
            yield f"h.{i}.mlp.c_fc.{kind}", f"blocks.{i}.mlp.up_proj.{kind}", how
            yield f"h.{i}.mlp.c_proj.{kind}", f"blocks.{i}.mlp.down_proj.{kind}", how
    yield "ln_f.weight", "final_norm.weight", "as it is"
    yield "ln_f.bias", "final_norm.bias", "as it is"


class Translation:
    """A right translation in pieces that variants replace."""

    def __call__(self, tensors, n_layer):
        stored = {self.short(name): tensor for name, tensor in tensors.items()}
        ours = {}
        for there, here, how in self.rows(n_layer):
            if there not in stored:
                self.missing(there)
                continue
            tensor = stored.pop(there)
            if how.startswith("split"):
                for part, piece in zip(self.order, self.split(tensor), strict=True):
                    ours[here.replace("?", part)] = piece
            else:
                ours[here] = self.turn(tensor, here) if how == "turned" else self.keep(tensor, here)
        for name in stored:
            self.left_over(name, ours, stored[name])
        return ours

    order = "qkv"
    rows = staticmethod(rows)

    def short(self, name):
        return name.removeprefix("transformer.")

    def turn(self, weight, here):
        return weight.T

    def keep(self, tensor, here):
        return tensor

    def split(self, fused):
        return (fused.T if fused.ndim == 2 else fused).chunk(3)

    def missing(self, name):
        raise ValueError(name)

    def left_over(self, name, ours, tensor):
        if not name.endswith((".attn.bias", ".attn.masked_bias")) and name != "lm_head.weight":
            raise ValueError(name)


def translation(says, **settings):
    """Declare a variant of `Translation`; what is declared is a function, as the lab asks for one."""

    def declare(kind):
        def load_conv1d(tensors, n_layer):
            return kind()(tensors, n_layer)

        load_conv1d.__name__ = kind.__name__
        lab.mutant("load_conv1d", says, **settings)(load_conv1d)
        return kind

    return declare


@translation("no weight of a Conv1D is transposed, and c_attn is split along its columns")
class NothingTurned(Translation):
    def turn(self, weight, here):
        return weight

    def split(self, fused):
        return fused.chunk(3, dim=-1)


@translation("o_proj is not transposed, which nobody notices because it is square")
class SquareNotTurned(Translation):
    def turn(self, weight, here):
        return weight if "o_proj" in here else weight.T


@translation("q, k and v are cut out of c_attn, and not transposed after that")
class PartsNotTurned(Translation):
    def split(self, fused):
        return fused.chunk(3, dim=-1)


@translation("weights are brought into the shape (out, in) by reshape, which does not transpose")
class Reshaped(Translation):
    def turn(self, weight, here):
        return weight.reshape(weight.shape[1], weight.shape[0])

    def split(self, fused):
        return (fused.reshape(fused.shape[1], fused.shape[0]) if fused.ndim == 2 else fused).chunk(3)


@translation("the embedding tables are transposed too, although they are no Conv1D")
class TablesTurned(Translation):
    def keep(self, tensor, here):
        return tensor.T if tensor.ndim == 2 else tensor


@translation("q and k are exchanged")
class KQV(Translation):
    order = "kqv"


@translation("c_attn is read as v, k, q")
class VKQ(Translation):
    order = "vkq"


@translation("k and v are exchanged")
class QVK(Translation):
    order = "qvk"


@translation("every third column of c_attn is taken for q, instead of its first third")
class Interleaved(Translation):
    def split(self, fused):
        return [(fused.T if fused.ndim == 2 else fused)[n::3] for n in range(3)]


@translation("the bias of c_attn is not split: q, k and v each get all of it")
class BiasNotSplit(Translation):
    def split(self, fused):
        return fused.T.chunk(3) if fused.ndim == 2 else [fused] * 3


@translation("the norms ln_1 and ln_2 of a block are exchanged")
class NormsSwapped(Translation):
    @staticmethod
    def rows(n_layer):
        other = {"ln_1": "ln_2", "ln_2": "ln_1"}
        for there, here, how in rows(n_layer):
            parts = [other.get(part, part) for part in there.split(".")]
            yield ".".join(parts), here, how


@translation("blocks are taken in the alphabetical order of their names, in which h.10 comes before h.2")
class Alphabetical(Translation):
    @staticmethod
    def rows(n_layer):
        order = sorted(map(str, range(n_layer)))
        for there, here, how in rows(n_layer):
            parts = here.split(".")
            if parts[0] == "blocks":
                parts[1] = str(order.index(parts[1]))
            yield there, ".".join(parts), how


@translation("tensors that nobody knows are ignored")
class UnknownIgnored(Translation):
    def left_over(self, name, ours, tensor):
        pass


@translation("missing tensors are ignored")
class MissingIgnored(Translation):
    def missing(self, name):
        pass


@translation("the causal mask, h.0.attn.bias, is taken for an unknown tensor")
class MaskRefused(Translation):
    def left_over(self, name, ours, tensor):
        if name != "lm_head.weight":
            raise ValueError(name)


@translation("the causal masks stay in the result")
class MaskKept(Translation):
    def left_over(self, name, ours, tensor):
        if name.endswith((".attn.bias", ".attn.masked_bias")):
            ours[name.replace("h.", "blocks.", 1)] = tensor
        else:
            super().left_over(name, ours, tensor)


@translation("lm_head.weight stays in the result, although the head is the embedding")
class HeadKept(Translation):
    def left_over(self, name, ours, tensor):
        super().left_over(name, ours, tensor)
        if name == "lm_head.weight":
            ours[name] = tensor


@translation("the prefix transformer. is not taken off")
class PrefixKept(Translation):
    def short(self, name):
        return name

    def left_over(self, name, ours, tensor):
        super().left_over(name.removeprefix("transformer."), ours, tensor)


@lab.mutant("load_conv1d", "what has been read is taken out of the caller's dict, with pop or del")
def emptied(tensors, n_layer):
    translated = Translation()(tensors, n_layer)
    tensors.clear()
    return translated


@lab.mutant("load_conv1d", "the caller's tensors are transposed in place, with t_()")
def turned_in_place(tensors, n_layer):
    for name, tensor in tensors.items():
        if ".c_" in name and tensor.ndim == 2:
            tensor.t_()
    straight = {name: t.T if ".c_" in name and t.ndim == 2 else t for name, t in tensors.items()}
    return Translation()(straight, n_layer)
