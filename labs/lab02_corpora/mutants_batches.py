"""Mistakes that people make in the batches of lab 02."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from . import reference
from .checks import lab

Batches = Iterator[tuple[Tensor, Tensor]]


def batches_of(
    ids: Tensor, B: int, T: int, starts: list[int], shift: int = 1
) -> Batches:
    """Batches of the windows that begin at these places, the targets `shift` tokens
    later.
    """
    for first in range(0, len(starts) - B + 1, B):
        group = starts[first : first + B]
        yield (
            torch.stack([ids[s : s + T] for s in group]),
            torch.stack([ids[s + shift : s + T + shift] for s in group]),
        )


def shuffled(n: int, seed: object) -> list[int]:
    """Numbers 0 to n - 1 in an order that the seed decides."""
    order = list(range(n))
    random.Random(f"{seed}").shuffle(order)
    return order


@lab.mutant(
    "batches", "the targets are not shifted: each token has itself as the target"
)
def batches_unshifted(
    ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0
) -> Batches:
    starts = [w * T for w in shuffled((len(ids) - 1) // T, f"{seed} {epoch}")]
    yield from batches_of(ids, batch_size, T, starts, shift=0)


@lab.mutant(
    "batches", "the targets are shifted twice: each is the token after the next"
)
def batches_shifted_twice(
    ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0
) -> Batches:
    longer = torch.cat([ids, ids[-1:]])
    starts = [w * T for w in shuffled((len(ids) - 1) // T, f"{seed} {epoch}")]
    yield from batches_of(longer, batch_size, T, starts, shift=2)


@lab.mutant(
    "batches",
    "the targets are rolled within the window, so that its last token predicts its "
    "first",
)
def batches_rolled(
    ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0
) -> Batches:
    for inputs, _ in reference.batches(ids, batch_size, T, seed=seed, epoch=epoch):
        yield inputs, inputs.roll(-1, dims=1)


@lab.mutant("batches", "inputs and targets are exchanged")
def batches_exchanged(
    ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0
) -> Batches:
    for inputs, targets in reference.batches(
        ids, batch_size, T, seed=seed, epoch=epoch
    ):
        yield targets, inputs


@lab.mutant(
    "batches",
    "the last batch is lost: the range of first windows ends at n - batch_size, "
    "itself not included",
)
def batches_lose_the_last_batch(
    ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0
) -> Batches:
    n = (len(ids) - 1) // T
    starts = [w * T for w in shuffled(n, f"{seed} {epoch}")]
    kept = len(range(0, n - batch_size, batch_size)) * batch_size
    yield from batches_of(ids, batch_size, T, starts[:kept])


@lab.mutant(
    "batches",
    "there is always one window too few: the 1 is taken off the windows and not only "
    "off the tokens",
)
def batches_one_too_few(
    ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0
) -> Batches:
    n = max((len(ids) - 1) // T - 1, 0)
    yield from batches_of(
        ids, batch_size, T, [w * T for w in shuffled(n, f"{seed} {epoch}")]
    )


@lab.mutant("batches", "windows begin at every token (stride 1), so that they overlap")
def batches_stride_one(
    ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0
) -> Batches:
    yield from batches_of(
        ids, batch_size, T, shuffled(max(len(ids) - T, 0), f"{seed} {epoch}")
    )


@lab.mutant(
    "batches",
    "windows are T + 1 tokens apart, so that every (T + 1)-th token is never an input",
)
def batches_stride_too_long(
    ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0
) -> Batches:
    starts = [w * (T + 1) for w in shuffled(len(ids) // (T + 1), f"{seed} {epoch}")]
    yield from batches_of(ids, batch_size, T, starts)


@lab.mutant("batches", "a single pair is returned where all batches are to be yielded")
def batches_returned(
    ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0
) -> tuple[Tensor, ...]:
    return next(reference.batches(ids, batch_size, T, seed=seed, epoch=epoch))


@lab.mutant(
    "batches",
    "the inputs are shuffled and the targets are not, or are those of other windows",
)
def batches_targets_in_order(
    ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0
) -> Batches:
    in_order = batches_of(ids, batch_size, T, list(range(0, len(ids) - T, T)))
    pairs = zip(
        reference.batches(ids, batch_size, T, seed=seed, epoch=epoch),
        in_order,
        strict=True,
    )
    yield from ((inputs, targets) for (inputs, _), (_, targets) in pairs)


@lab.mutant(
    "batches",
    "the targets are shuffled and the inputs are not, or are those of other windows",
)
def batches_inputs_in_order(
    ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0
) -> Batches:
    in_order = batches_of(ids, batch_size, T, list(range(0, len(ids) - T, T)))
    pairs = zip(
        reference.batches(ids, batch_size, T, seed=seed, epoch=epoch),
        in_order,
        strict=True,
    )
    yield from ((inputs, targets) for (_, targets), (inputs, _) in pairs)


@lab.mutant(
    "batches",
    "the last window is lost where nothing is left over: (N - 2) // T or the like",
)
def batches_lose_the_last(
    ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0
) -> Batches:
    yield from batches_of(
        ids,
        batch_size,
        T,
        [w * T for w in shuffled((len(ids) - 2) // T, f"{seed} {epoch}")],
    )


@lab.mutant(
    "batches",
    "a window counts that lacks its last target: one token more is needed than inputs",
)
def batches_past_the_end(
    ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0
) -> Batches:
    longer = torch.cat([ids, ids[:1]])
    yield from batches_of(
        longer,
        batch_size,
        T,
        [w * T for w in shuffled(len(ids) // T, f"{seed} {epoch}")],
    )


@lab.mutant("batches", "the windows are not shuffled")
def batches_in_order(
    ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0
) -> Batches:
    yield from batches_of(ids, batch_size, T, list(range(0, len(ids) - T, T)))


@lab.mutant("batches", "every epoch has the same order")
def batches_same_epochs(
    ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0
) -> Batches:
    yield from reference.batches(ids, batch_size, T, seed=seed, epoch=0)


@lab.mutant("batches", "the seed is ignored")
def batches_seed_ignored(
    ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0
) -> Batches:
    yield from reference.batches(ids, batch_size, T, seed=0, epoch=epoch)


@lab.mutant(
    "batches",
    "seed and epoch are added, so that epoch 1 of seed 0 is epoch 0 of seed 1",
)
def batches_added(
    ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0
) -> Batches:
    yield from batches_of(
        ids, batch_size, T, [w * T for w in shuffled((len(ids) - 1) // T, seed + epoch)]
    )


@lab.mutant(
    "batches",
    "the order comes from a generator without a seed, and nothing can be repeated",
)
def batches_unseeded(
    ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0
) -> Batches:
    yield from batches_of(
        ids,
        batch_size,
        T,
        [w * T for w in shuffled((len(ids) - 1) // T, random.random())],
    )


@lab.mutant(
    "batches",
    "windows are drawn again and again, so that some come twice in an epoch and "
    "others never",
)
def batches_with_replacement(
    ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0
) -> Batches:
    n = (len(ids) - 1) // T
    rng = random.Random(f"{seed} {epoch}")
    yield from batches_of(ids, batch_size, T, [rng.randrange(n) * T for _ in range(n)])


@lab.mutant(
    "batches",
    "the windows begin anywhere instead of at multiples of T, so they overlap",
)
def batches_anywhere(
    ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0
) -> Batches:
    n = (len(ids) - 1) // T
    yield from batches_of(
        ids, batch_size, T, shuffled(len(ids) - T, f"{seed} {epoch}")[:n]
    )


@lab.mutant(
    "batches",
    "the last windows make a batch that is too small instead of being left out",
)
def batches_small_last(
    ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0
) -> Batches:
    starts = [w * T for w in shuffled((len(ids) - 1) // T, f"{seed} {epoch}")]
    yield from batches_of(ids, batch_size, T, starts)
    if rest := len(starts) % batch_size:
        yield from batches_of(ids, rest, T, starts[-rest:])


@lab.mutant(
    "batches",
    "whole batches are shuffled, so that neighbours in the text always lie in the "
    "same batch",
)
def batches_of_neighbours(
    ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0
) -> Batches:
    groups = shuffled((len(ids) - 1) // T // batch_size, f"{seed} {epoch}")
    yield from batches_of(
        ids,
        batch_size,
        T,
        [(g * batch_size + i) * T for g in groups for i in range(batch_size)],
    )


@lab.mutant("batches", "the iterator never ends: epoch follows epoch")
def batches_without_end(
    ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0
) -> Batches:
    while True:
        yield from reference.batches(ids, batch_size, T, seed=seed, epoch=epoch)
        if len(ids) <= T:
            return
        epoch += 1


def _seeded(says: str, combine: Callable[[int, int], int | str]) -> None:
    """A variant whose generator begins with `combine(seed, epoch)`."""

    def batches(
        ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0
    ) -> Batches:
        order = list(range((len(ids) - 1) // T))
        random.Random(combine(seed, epoch)).shuffle(order)
        yield from batches_of(ids, batch_size, T, [w * T for w in order])

    batches.__name__ = f"batches_seeded_{len(lab.mutants)}"
    lab.mutant("batches", says)(batches)


_seeded(
    'seed and epoch are joined without a space, so that "1" + "10" and "11" + "0" are '
    "the same",
    lambda s, e: f"{s}{e}",
)
_seeded(
    "the generator starts from seed * 10 + epoch, so that epoch 10 is epoch 0 of the "
    "next seed",
    lambda s, e: 10 * s + e,
)
_seeded(
    "the generator starts from seed * 100 + epoch, which is another order than "
    "everybody's",
    lambda s, e: 100 * s + e,
)
_seeded(
    'the generator starts from f"{seed}-{epoch}", which is another order than '
    "everybody's",
    lambda s, e: f"{s}-{e}",
)
_seeded(
    'the generator starts from f"{epoch} {seed}": the two are exchanged',
    lambda s, e: f"{e} {s}",
)
_seeded(
    "Python's own hash() makes the seed, which is another one in every process",
    lambda s, e: hash(f"{s} {e}"),
)
_seeded(
    "hash((seed, epoch)) makes the seed, which is another order than everybody's",
    lambda s, e: hash((s, e)),
)


@lab.mutant(
    "batches",
    "the order of a seed is turned by one window per epoch, so that its epochs are "
    "related",
)
def batches_turned(
    ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0
) -> Batches:
    order = shuffled((len(ids) - 1) // T, f"{seed} 0")
    turn = epoch % max(len(order), 1)
    yield from batches_of(
        ids, batch_size, T, [w * T for w in order[turn:] + order[:turn]]
    )


@lab.mutant(
    "batches",
    "the order is drawn by torch.randperm; the docstring fixes another recipe",
)
def batches_by_torch(
    ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0
) -> Batches:
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order = torch.randperm((len(ids) - 1) // T, generator=generator).tolist()
    yield from batches_of(ids, batch_size, T, [w * T for w in order])
