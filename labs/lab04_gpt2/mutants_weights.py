"""Mistakes in drawing the initial weights."""

from __future__ import annotations

import math

import torch
from torch import nn

from .checks import lab


def is_writer(name):
    return name.endswith(("o_proj.weight", "down_proj.weight"))


def usual(name, std):
    return std / 2 if name == "pos_emb.weight" else std


def drawing(std_of, *, gain=torch.ones, bias=torch.zeros, order=list):
    """An `initialise` with another standard deviation for matrices, or other gains and
    biases; None: drawn.
    """

    def initialise(shapes, n_layer, generator, std=0.02):
        drawn = {}
        for name, shape in order(shapes.items()):
            constant = (
                None if len(shape) == 2 else bias if name.endswith("bias") else gain
            )
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
    return lambda name, shape, n_layer, std: (
        std * factor(n_layer) if is_writer(name) else usual(name, std)
    )


def mistake(says, code, **settings):
    """Declare a variant that is made by a call."""
    code.__name__ = says.replace(" ", "_")
    lab.mutant("initialise", says, **settings)(code)


mistake(
    "the matrices that write into the stream are as large as the others",
    drawing(scaled_by(lambda n: 1)),
)
mistake(
    "the writers are divided by n_layer, without a root",
    drawing(scaled_by(lambda n: 1 / n)),
)
mistake(
    "the writers are divided by 2 n_layer, without the root",
    drawing(scaled_by(lambda n: 1 / (2 * n))),
)
mistake(
    "the writers are divided by the root of n_layer, although each block has two of "
    "them",
    drawing(scaled_by(lambda n: n**-0.5)),
)
mistake(
    "the writers are multiplied by the root of 2 n_layer",
    drawing(scaled_by(lambda n: (2 * n) ** 0.5)),
)
mistake(
    "all matrices are scaled down, also those that do not write into the stream",
    drawing(
        lambda name, shape, n_layer, std: usual(name, std) / math.sqrt(2 * n_layer)
    ),
)
mistake(
    "o_proj is scaled down, and down_proj is not",
    drawing(
        lambda name, shape, n, std: (
            usual(name, std) / (math.sqrt(2 * n) if "o_proj" in name else 1)
        )
    ),
)
mistake(
    "up_proj is scaled down as well, which does not write into the stream",
    drawing(
        lambda name, shape, n, std: right(
            name.replace("up_proj", "down_proj"), shape, n, std
        )
    ),
)
mistake(
    "each matrix has the standard deviation of Xavier's rule",
    drawing(lambda name, shape, n_layer, std: math.sqrt(2 / sum(shape))),
    section="What an untrained model pays",
)
mistake(
    "std is taken for the variance",
    drawing(
        lambda name, shape, n_layer, std: math.sqrt(right(name, shape, n_layer, std))
    ),
)
mistake(
    "the square of std is taken for the standard deviation",
    drawing(lambda name, shape, n_layer, std: right(name, shape, n_layer, std) ** 2),
)
mistake(
    "the table of positions is drawn like the other tables, not with half the "
    "standard deviation",
    drawing(
        lambda name, shape, n_layer, std: (
            right(name, shape, n_layer, std) * (2 if "pos_emb" in name else 1)
        )
    ),
    section="What an untrained model pays",
)
mistake(
    "the embeddings keep the standard deviation 1 that PyTorch gives them",
    drawing(
        lambda name, shape, n_layer, std: (
            1.0 if "_emb" in name else right(name, shape, n_layer, std)
        )
    ),
    section="What an untrained model pays",
)
mistake(
    "the argument std is not used, and 0.02 always is",
    drawing(lambda name, shape, n, _: right(name, shape, n, 0.02)),
)
mistake(
    "the positions get 0.01, whatever the argument std is",
    drawing(
        lambda name, shape, n, std: (
            0.01 if "pos_emb" in name else right(name, shape, n, std)
        )
    ),
)
mistake(
    "the writers get 0.02 over a root, whatever the argument std is",
    drawing(
        lambda name, shape, n, std: right(
            name, shape, n, 0.02 if is_writer(name) else std
        )
    ),
)
mistake(
    "every projection is scaled down (proj is in its name), also those that do not "
    "write into the stream",
    drawing(
        lambda name, shape, n, std: (
            std / math.sqrt(2 * n) if "proj" in name else usual(name, std)
        )
    ),
)
mistake(
    "the tensors are drawn in the alphabetical order of their names",
    drawing(right, order=sorted),
)
mistake(
    "the tensors are drawn in the reverse order of shapes",
    drawing(right, order=lambda items: reversed(list(items))),
)
mistake("the biases are drawn at random", drawing(right, bias=None))
mistake("the gains of the norms are drawn like weights", drawing(right, gain=None))
mistake(
    "the gains of the norms are 0, which silences every part",
    drawing(right, gain=torch.zeros),
)


@lab.mutant(
    "initialise",
    "the numbers are drawn evenly between two limits instead of from a normal "
    "distribution",
)
def evenly(shapes, n_layer, generator, std=0.02):
    drawn = {
        name: torch.zeros(shape) if name.endswith("bias") else torch.ones(shape)
        for name, shape in shapes.items()
    }
    for name, shape in shapes.items():
        if len(shape) == 2:
            limit = right(name, shape, n_layer, std) * math.sqrt(3)
            drawn[name] = limit * (2 * torch.rand(shape, generator=generator) - 1)
    return drawn


@lab.mutant(
    "initialise",
    "the numbers are drawn evenly from -std to std, which is neither normal nor wide "
    "enough",
)
def evenly_within_std(shapes, n_layer, generator, std=0.02):
    drawn = {
        name: torch.zeros(shape) if name.endswith("bias") else torch.ones(shape)
        for name, shape in shapes.items()
    }
    for name, shape in shapes.items():
        if len(shape) == 2:
            drawn[name] = right(name, shape, n_layer, std) * (
                2 * torch.rand(shape, generator=generator) - 1
            )
    return drawn


@lab.mutant(
    "initialise", "the numbers are drawn evenly from 0 to std, and none is negative"
)
def positive(shapes, n_layer, generator, std=0.02):
    drawn = {
        name: torch.zeros(shape) if name.endswith("bias") else torch.ones(shape)
        for name, shape in shapes.items()
    }
    for name, shape in shapes.items():
        if len(shape) == 2:
            drawn[name] = right(name, shape, n_layer, std) * torch.rand(
                shape, generator=generator
            )
    return drawn


def cut_off_at(limit):
    """The normal distribution without what lies beyond."""

    def initialise(shapes, n_layer, generator, std=0.02):
        drawn = drawing(right)(
            {name: shape for name, shape in shapes.items() if len(shape) == 1},
            n_layer,
            generator,
        )
        for name, shape in shapes.items():
            if len(shape) == 2:
                scale = right(name, shape, n_layer, std)
                tensor, end = torch.empty(shape), limit * scale
                drawn[name] = nn.init.trunc_normal_(
                    tensor, 0.0, scale, -end, end, generator=generator
                )
        return drawn

    return initialise


mistake("the normal distribution is cut off at two standard deviations", cut_off_at(2))
mistake(
    "the normal distribution is cut off at three standard deviations", cut_off_at(3)
)


@lab.mutant(
    "initialise",
    "only the matrices are in the result: biases and gains are tensors like others",
)
def only_matrices(shapes, n_layer, generator, std=0.02):
    return drawing(right)(
        {name: shape for name, shape in shapes.items() if len(shape) == 2},
        n_layer,
        generator,
        std,
    )


@lab.mutant("initialise", "the tensors are float64, not float32")
def in_double(shapes, n_layer, generator, std=0.02):
    return {
        name: tensor.double()
        for name, tensor in drawing(right)(shapes, n_layer, generator, std).items()
    }


@lab.mutant(
    "initialise",
    "the numbers come from PyTorch's global generator instead of the given one",
)
def global_numbers(shapes, n_layer, generator, std=0.02):
    return drawing(right)(shapes, n_layer, torch.default_generator, std)


@lab.mutant(
    "initialise", "a generator with a fixed seed is used instead of the given one"
)
def fixed_seed(shapes, n_layer, generator, std=0.02):
    return drawing(right)(shapes, n_layer, torch.Generator().manual_seed(0), std)


@lab.mutant(
    "initialise",
    "the generator is set back before each tensor, so that equal shapes get equal "
    "numbers",
)
def set_back(shapes, n_layer, generator, std=0.02):
    start, drawn = generator.get_state(), {}
    for name, shape in shapes.items():
        drawn |= drawing(right)({name: shape}, n_layer, generator.set_state(start), std)
    return drawn
