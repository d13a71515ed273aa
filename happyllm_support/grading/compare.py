"""How checks compare: each function notes what is wrong in one line, and lets the check
go on.

A tolerance is a share of the largest expected number, so that results near zero are
held to account and results in the thousands are not held to the impossible. An
expectation that zeros or a constant would meet is refused as the mistake of whoever
wrote the check.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from happyllm_support.grading.remote import Remote, RemoteIterator, session
from happyllm_support.grading.wire import article


class CheckError(Exception):
    """A check is wrong in itself: not the learner's mistake."""


def expect_close(
    got: Any,
    want: Any,
    what: str = "the result",
    *,
    tolerance: float = 1e-5,
    trivial: bool = False,
) -> bool:
    """Expect a tensor (or a number) with this shape, dtype and these values.

    Args:
        got: what the learner's code returned.
        want: a tensor, or a float.
        what: names the value in the message, as in "the output for the padded row".
        tolerance: largest allowed error, as a share of the largest magnitude in `want`.
        trivial: allow an expected value that is constant.

    Returns:
        Whether it is so; the failure has been noted.
    """
    import torch

    running = session()
    running.comparisons += 1
    if isinstance(want, (int, float)):
        if isinstance(got, bool) or not isinstance(got, (int, float)):
            running.fail(
                f"{what} is {kind_of(got)}; expected is a number", got=got, want=want
            )
            return False
        got_values, want_values = (
            torch.tensor(float(got), dtype=torch.float64),
            torch.tensor(want, dtype=torch.float64),
        )
    else:
        if not isinstance(got, torch.Tensor):
            running.fail(
                f"{what} is {kind_of(got)}; expected is {kind_of(want)}",
                got=got,
                want=want,
            )
            return False
        if got.shape != want.shape:
            shapes = (
                f"{what} has the shape {tuple(got.shape)}; expected is "
                f"{tuple(want.shape)}"
            )
            running.fail(shapes, got=got, want=want)
            return False
        if got.dtype != want.dtype:
            running.fail(
                f"{what} is {name_of(got.dtype)}; expected is {name_of(want.dtype)}",
                got=got,
                want=want,
            )
            return False
        if want.is_complex():
            raise CheckError(
                f"{what}: the expected values are complex; compare torch.view_as_real "
                "of both"
            )
        got_values, want_values = got.double(), want.double()
        if (
            not trivial
            and want.numel() > 1
            and bool((want_values == want_values.flatten()[0]).all())
        ):
            raise CheckError(
                f"{what}: the expected values are all {want_values.flatten()[0]}; a "
                "constant would pass"
            )
    if not bool(torch.isfinite(want_values).all()) and not trivial:
        raise CheckError(f"{what}: the expected values are not finite")
    finite = want_values[
        torch.isfinite(want_values)
    ].abs()  # a share of infinity would allow everything
    scale = float(finite.max()) if finite.numel() else 0.0
    if scale == 0.0 and not trivial:
        raise CheckError(
            f"{what}: the expected value is 0; a function that returns nothing but "
            "zeros would pass"
        )
    wrong = ~((got_values - want_values).abs() <= tolerance * scale)
    wrong &= ~(got_values == want_values)  # equal infinities
    if not bool(wrong.any()):
        return True
    error = (got_values - want_values).abs()[wrong]
    nans = bool(torch.isnan(got_values).any())
    first = cast(
        "list[int]", torch.nonzero(wrong.reshape(want_values.shape))[0].tolist()
    )
    place = f"[{', '.join(map(str, first))}]" if first else ""
    one, other = got_values[tuple(first)], want_values[tuple(first)]
    digits = next((d for d in (4, 7, 10) if _short(one, d) != _short(other, d)), 16)
    values = f"{_short(one, digits)} instead of {_short(other, digits)}"
    count = (
        f"{int(wrong.sum())} of {wrong.numel()} numbers differ, the first"
        if wrong.numel() > 1
        else "it"
    )
    largest = (
        "" if nans or wrong.numel() == 1 else f" (largest error {_short(error.max())})"
    )
    where = f" at {place}" if place else ""
    running.fail(
        f"{what} is off: {count}{where} is {values}{largest}", got=got, want=want
    )
    return False


def expect_equal(got: Any, want: Any, what: str = "the result") -> bool:
    """Expect exactly this value: whole numbers, text, bytes, lists of them, boolean or
    whole-number tensors.
    """
    import torch

    running = session()
    running.comparisons += 1
    if isinstance(want, torch.Tensor):
        if not isinstance(got, torch.Tensor):
            running.fail(
                f"{what} is {kind_of(got)}; expected is {kind_of(want)}",
                got=got,
                want=want,
            )
        elif got.shape != want.shape:
            shapes = (
                f"{what} has the shape {tuple(got.shape)}; expected is "
                f"{tuple(want.shape)}"
            )
            running.fail(shapes, got=got, want=want)
        elif got.dtype != want.dtype:
            running.fail(
                f"{what} is {name_of(got.dtype)}; expected is {name_of(want.dtype)}",
                got=got,
                want=want,
            )
        elif not torch.equal(got, want):
            wrong = got != want
            first = tuple(cast("list[int]", torch.nonzero(wrong)[0].tolist()))
            values = f"{got[first].item()} instead of {want[first].item()}"
            count = (
                f"{int(wrong.sum())} of {wrong.numel()} entries differ, the first at "
                f"{list(first)}"
            )
            running.fail(f"{what} is off: {count} is {values}", got=got, want=want)
        else:
            return True
        return False
    if same(got, want):
        return True
    if type(got) is not type(want):
        running.fail(
            f"{what} is {kind_of(got)}; expected is {kind_of(want)}", got=got, want=want
        )
    elif (
        isinstance(want, (list, tuple, str, bytes))
        and max(map(len, (cast("list[Any]", want), got))) > 8
    ):
        running.fail(f"{what} {_first_difference(got, want)}", got=got, want=want)
    else:
        running.fail(
            f"{what} is {_show(got)}; expected is {_show(want)}", got=got, want=want
        )
    return False


def expect(condition: bool, symptom: str) -> bool:
    """Expect something to hold; `symptom` is one line that says what is wrong when it
    does not.
    """
    running = session()
    running.comparisons += 1
    if not condition:
        running.fail(symptom)
    return bool(condition)


def right_so_far() -> bool:
    """Whether nothing has failed yet; a check that stops there lets one mistake be
    named before the next is seen.
    """
    return session().failure is None


def same(left: Any, right: Any, *, tolerance: float = 0.0, floor: float = 0.0) -> bool:
    """Whether two values have equal types, shapes and contents; numbers up to a share
    of the largest of `right`.

    Args:
        left: any value that a `wire` message can hold.
        right: the other one.
        tolerance: largest difference, as a share of the largest magnitude in a tensor.
        floor: least magnitude to take the share of, for tensors that hold nothing but
            rounding.
    """
    import torch

    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, (int, float)) and isinstance(right, (int, float)):
        return type(left) is type(right) and (
            left == right
            or abs(left - right) <= tolerance * max(abs(right), floor)
            or (left != left and right != right)
        )
    if type(left) is not type(right):
        return False
    if isinstance(left, torch.Tensor):
        if left.shape != right.shape or left.dtype != right.dtype:
            return False
        if left.is_complex():
            left, right = torch.view_as_real(left), torch.view_as_real(right)
        if not left.is_floating_point():
            return torch.equal(left, right)
        a, b = left.double(), right.double()
        finite = b[torch.isfinite(b)].abs()
        scale = max(float(finite.max()) if finite.numel() else 0.0, floor)
        near = (
            ((a - b).abs() <= tolerance * scale)
            | (a == b)
            | (torch.isnan(a) & torch.isnan(b))
        )
        return bool(near.all())
    if isinstance(left, np.ndarray):
        return same(
            torch.from_numpy(left.copy()),
            torch.from_numpy(right.copy()),
            tolerance=tolerance,
            floor=floor,
        )
    if isinstance(left, (list, tuple)):
        pairs = zip(cast("list[Any]", left), cast("list[Any]", right), strict=False)
        return len(cast("list[Any]", left)) == len(right) and all(
            same(a, b, tolerance=tolerance, floor=floor) for a, b in pairs
        )
    if isinstance(left, dict):
        mine = cast("dict[Any, Any]", left)
        return mine.keys() == right.keys() and all(
            same(mine[key], right[key], tolerance=tolerance, floor=floor)
            for key in mine
        )
    return bool(left == right)


def kind_of(value: Any) -> str:
    """What a value is, in words: "None", "a list of 3", "a float32 tensor of shape (2,
    3)".
    """
    import torch

    if value is None:
        return "None"
    if isinstance(value, torch.Tensor):
        return f"{article(name_of(value.dtype))} tensor of shape {tuple(value.shape)}"
    if isinstance(value, np.ndarray):
        return f"a NumPy array of shape {value.shape}"
    if isinstance(value, (list, tuple, set, dict, str, bytes)):
        return (
            f"a {type(cast('Any', value)).__name__} of {len(cast('list[Any]', value))}"
        )
    if isinstance(value, (bool, int, float)):
        return f"the {type(value).__name__} {_show(value)}"
    if isinstance(value, RemoteIterator):
        return "an iterator"
    return repr(value) if isinstance(value, Remote) else article(type(value).__name__)


def name_of(dtype: Any) -> str:
    """`float32` for `torch.float32`."""
    return str(dtype).removeprefix("torch.")


def _short(value: Any, digits: int = 4) -> str:
    number = float(value)
    return f"{number:.{digits}g}" if abs(number) < 1e5 else f"{number:.{digits - 1}e}"


def _show(value: Any, limit: int = 90) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 4]} ..."


def _first_difference(got: Any, want: Any) -> str:
    pairs = enumerate(zip(got, want, strict=False))
    index = next((i for i, (a, b) in pairs if not same(a, b)), min(len(got), len(want)))
    if index == len(got):
        return (
            f"ends after {len(got)} of {len(want)} items; {_show(want[index])} "
            "should follow"
        )
    if index == len(want):
        return (
            f"has {len(got)} items where {len(want)} are expected; the first too "
            f"many is {_show(got[index])}"
        )
    if isinstance(want, (str, bytes)):
        start = max(0, index - 15)
        there, here = _show(got[start : index + 15]), _show(want[start : index + 15])
        return f"differs from index {index} on: ... {there} instead of ... {here}"
    return (
        f"differs first at index {index}: {_show(got[index])} instead of "
        f"{_show(want[index])}"
    )
