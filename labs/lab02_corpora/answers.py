"""Whether an answer in lab 02 is of the right kind at all, before it is compared with anything."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch

from happyllm_support.grading.compare import expect, expect_equal, kind_of
from happyllm_support.grading.remote import LearnerRaised, Remote

Taken = list[tuple[torch.Tensor, torch.Tensor]]


def accepted(function: Remote, *args: Any, what: str) -> Any:
    """The result of a call that right code does not refuse; a ValueError is the failure, None is returned then."""
    try:
        return function(*args)
    except LearnerRaised as raised:
        if raised.type_name != "ValueError":
            raise
        expect(False, f"it refuses {what} ({raised.message})")
        return None


def drawn(stream: Any, what: str) -> Taken | None:
    """What an iterator yields, up to 20 batches; None, and a failure, when it is no iterator."""
    if isinstance(stream, (tuple, torch.Tensor)):
        expect(False, f"{what}: the result is {kind_of(stream)}; yield the batches, one after the other")
    elif not isinstance(stream, Iterator | list):
        missing = " (is a yield missing?)" if stream is None else ""
        expect(False, f"{what}: the result is {kind_of(stream)}{missing}; expected is an iterator")
    else:
        return list(islice(stream, 20))
    return None


def usable(taken: Taken, n_batches: int, shape: tuple[int, int], what: str) -> bool:
    """Whether these are so many pairs of int64 tensors of this shape."""
    if not expect_equal(len(taken), n_batches, f"the number of batches of {what}"):
        return False
    for pair in taken:
        if not expect(
            isinstance(pair, (tuple, list)) and len(pair) == 2, f"{what}: a batch is no pair of inputs and targets"
        ):
            return False
        for name, tensor in zip(("inputs", "targets"), pair, strict=True):
            if not expect(isinstance(tensor, torch.Tensor), f"{what}: the {name} are no tensor"):
                return False
            got = (tensor.dtype, tuple(tensor.shape))
            if not expect(
                got == (torch.int64, shape), f"{what}: the {name} are {got[0]} {got[1]}; expected int64 {shape}"
            ):
                return False
    return True
