"""Mistakes in drawing the initial weights."""

from __future__ import annotations

import math

import torch

from .checks import lab


def is_writer(name):
    return name.endswith(("o_proj.weight", "down_proj.weight"))


def usual(name, std):
    return std / 2 if name == "pos_emb.weight" else std


def drawing(std_of, *, gain=torch.ones, bias=torch.zeros):
    """An `initialise` with another standard deviation for matrices, or other gains and biases; None: drawn."""

    def initialise(shapes, n_layer, generator, std=0.02):
        drawn = {}
        for name, shape in shapes.items():
            constant = None if len(shape) == 2 else bias if name.endswith("bias") else gain
            if constant is None:
                scale = std_of(name, shape, n_layer, std) if len(shape) == 2 else std
                drawn[name] = scale * torch.randn(shape, generator=generator)
            else:
                drawn[name] = constant(shape)
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
    drawing(lambda name, shape, n, std: right(name.replace("up_proj", "down_proj"), shape, n, std)),
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
mistake("the biases are drawn at random", drawing(right, bias=None))
mistake("the gains of the norms are drawn like weights", drawing(right, gain=None))
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
