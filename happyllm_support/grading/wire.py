"""Values between the grader and the process that runs a learner's code: plain data out,
plain data back.

A message is a JSON tree and the buffers that it refers to. Nothing in it can be
executed, which is why this is not pickle: what a learner's process sends is read by the
grader, and must not be able to make it do anything.

    length of the tree (8 bytes) | tree, UTF-8 JSON | buffer | buffer | ...

JSON's own values stand for themselves; everything else is an object with one key that
names its type.
"""

from __future__ import annotations

import functools
import hashlib
import json
import random
import re
import struct
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np

MAX_DEPTH = 100
WHOLE = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
ARRAYS = frozenset(
    {"bool", *WHOLE, "float16", "float32", "float64", "complex64", "complex128"}
)  # those torch has, too


class Stream:
    """Values that the learner's code receives one by one, as an iterator; the workbench
    counts how many it took.
    """

    def __init__(self, values: list[Any]) -> None:
        self.values = values


class Handle:
    """An object that stays with the learner's code: a module, a decoder, an iterator.
    Only its number travels.
    """

    def __init__(self, number: int, type_name: str, *, iterator: bool = False) -> None:
        self.number = number
        self.type_name = type_name
        self.iterator = iterator

    def __repr__(self) -> str:
        return article(self.type_name)


def article(noun: str) -> str:
    """The noun with its article: "an object", "a list"."""
    return (
        f"an {noun}"
        if noun[:1].lower() in tuple("aeiou") and not noun.startswith("uint")
        else f"a {noun}"
    )


def encode(value: Any, *, keep: Callable[[Any], Handle] | None = None) -> bytes:
    """Turn a value into a message.

    Args:
        value: None, bool, int, float, str, bytes, list, tuple, set, dict, tensor, NumPy
            array, random generator, `Stream` or `Handle`, nested at most 100 deep.
        keep: called with every other object; returns the handle that stands for it.

    Raises:
        TypeError: another type, and no `keep`.
        ValueError: nested too deeply, or within itself.
    """
    buffers: list[bytes] = []
    tree = json.dumps(_encode(value, buffers, keep, 0), allow_nan=True).encode("ascii")
    return b"".join([struct.pack(">Q", len(tree)), tree, *buffers])


def decode(message: bytes, *, found: Callable[[Handle], Any] | None = None) -> Any:
    """Turn a message back into the value.

    Args:
        message: what `encode` made.
        found: called with every handle; returns what it stands for. Without it the
            handle itself.

    Raises:
        ValueError: the message is damaged.
    """
    try:
        (length,) = struct.unpack_from(">Q", message)
        tree = json.loads(message[8 : 8 + length])
        return _decode(tree, memoryview(message)[8 + length :], found)
    except (
        struct.error,
        LookupError,
        TypeError,
        ValueError,
        RuntimeError,
        OverflowError,
        MemoryError,
    ) as error:
        raise ValueError(f"damaged message: {type(error).__name__}: {error}") from None


def digest(value: Any) -> str:
    """A hash of a value's type and content; handles and random generators, which change
    in use, count as equal.
    """
    return hashlib.sha256(
        encode(_without_state(value), keep=lambda _: Handle(0, ""))
    ).hexdigest()


def _without_state(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        items = [_without_state(item) for item in cast("list[Any]", value)]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, dict):
        return {
            key: _without_state(item)
            for key, item in cast("dict[Any, Any]", value).items()
        }
    if isinstance(value, Handle):
        return Handle(0, "")  # as `keep` does where the object itself is at hand
    if isinstance(value, Stream):
        return (
            "a stream",
            _without_state(value.values),
        )  # to have been read is no change, other values are
    if isinstance(value, random.Random) or type(value).__name__ == "Generator":
        return None
    return value


def _encode(
    value: Any, buffers: list[bytes], keep: Callable[[Any], Handle] | None, depth: int
) -> Any:
    import torch

    def inner(item: Any) -> Any:
        return _encode(item, buffers, keep, depth + 1)

    def buffer(data: bytes) -> list[int]:
        start = sum(map(len, buffers))
        buffers.append(data)
        return [start, len(data)]

    if depth > MAX_DEPTH:
        raise ValueError(
            f"a value is nested more than {MAX_DEPTH} deep, or contains itself"
        )
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, torch.Tensor):
        if _dtype_name(value.dtype) not in _dtypes():
            raise TypeError(
                f"a {_dtype_name(value.dtype)} tensor cannot be sent; convert it to "
                "float32, say"
            )
        flat = torch.Tensor.contiguous(
            torch.Tensor.detach(value).cpu().resolve_conj().resolve_neg()
        ).reshape(-1)
        data = flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
        return {"tensor": [_dtype_name(flat.dtype), list(value.shape), buffer(data)]}
    if (
        isinstance(value, np.ndarray)
        and cast("np.ndarray[Any, Any]", value).dtype.name in ARRAYS
    ):
        array = cast("np.ndarray[Any, Any]", value)
        data = array.astype(array.dtype.newbyteorder("<")).tobytes()
        return {"array": [array.dtype.name, list(array.shape), buffer(data)]}
    if isinstance(value, np.generic):
        return inner(value.item())
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": buffer(bytes(cast("bytes", value)))}
    if isinstance(value, list):
        return [inner(item) for item in cast("list[Any]", value)]
    if isinstance(value, tuple):
        return {"tuple": [inner(item) for item in cast("tuple[Any, ...]", value)]}
    if isinstance(value, (set, frozenset)):
        ordered = sorted(
            cast("set[Any]", value),
            key=lambda item: encode(item, keep=lambda _: Handle(0, "")),
        )
        return {"set": [inner(item) for item in ordered]}
    if isinstance(value, dict):
        return {
            "dict": [
                [inner(key), inner(item)]
                for key, item in cast("dict[Any, Any]", value).items()
            ]
        }
    if isinstance(value, torch.dtype):
        return {"dtype": _dtype_name(value)}
    if isinstance(value, torch.Generator):
        return {"generator": buffer(value.get_state().numpy().tobytes())}
    if isinstance(value, random.Random):
        return {"random": inner(value.getstate())}
    if isinstance(value, Stream):
        return {"stream": inner(value.values)}
    if keep is not None and not isinstance(value, Handle):
        value = keep(value)
    if isinstance(value, Handle):
        return {"handle": [value.number, value.type_name, value.iterator]}
    raise TypeError(
        f"{article(type(cast('Any', value)).__name__)} cannot be sent; plain data, "
        "tensors and arrays can"
    )


def _decode(
    tree: Any, buffers: memoryview, found: Callable[[Handle], Any] | None
) -> Any:
    import torch

    def inner(item: Any) -> Any:
        return _decode(item, buffers, found)

    def buffer(place: list[int]) -> bytearray:
        start, length = place
        if start < 0 or length < 0 or start + length > len(buffers):
            raise ValueError("damaged message: a buffer is missing")
        return bytearray(buffers[start : start + length])

    if tree is None or isinstance(tree, (bool, int, float, str)):
        return tree
    if isinstance(tree, list):
        return [inner(item) for item in cast("list[Any]", tree)]
    ((kind, content),) = cast("dict[str, Any]", tree).items()
    match kind:
        case "tensor":
            name, shape, place = content
            dtype, data = _dtypes()[name], buffer(place)
            return (
                torch.frombuffer(data, dtype=dtype)
                if data
                else torch.empty(0, dtype=dtype)
            ).reshape(shape)
        case "array":
            name, shape, place = content
            if name not in ARRAYS:
                raise ValueError(f"an array of {name}")
            return np.frombuffer(
                buffer(place), dtype=np.dtype(name).newbyteorder("<")
            ).reshape(shape)
        case "bytes":
            return bytes(buffer(content))
        case "tuple":
            return tuple(inner(item) for item in content)
        case "set":
            return {_hashable(inner(item)) for item in content}
        case "dict":
            return {_hashable(inner(key)): inner(item) for key, item in content}
        case "dtype":
            return _dtypes()[content]
        case "generator":
            state = torch.frombuffer(buffer(content), dtype=torch.uint8).clone()
            return torch.Generator().set_state(state)
        case "random":
            rng = random.Random()
            rng.setstate(inner(content))
            return rng
        case "stream":
            return Stream(inner(content))
        case "handle":
            number, type_name, iterator = content
            handle = Handle(int(number), str(type_name), iterator=bool(iterator))
            return handle if found is None else found(handle)
        case _:
            raise ValueError(f"damaged message: unknown kind {kind!r}")


@functools.cache
def _dtypes() -> dict[str, Any]:
    """The types of tensors that can travel. Not all: PyTorch crashes when it makes
    quantized tensors from bytes.
    """
    import torch

    everything = {
        value for value in vars(torch).values() if isinstance(value, torch.dtype)
    }
    names = {_dtype_name(dtype): dtype for dtype in everything}
    return {
        name: dtype
        for name, dtype in names.items()
        if re.fullmatch(r"bool|(u?int|b?float|complex)\d\w*", name)
    }


def _dtype_name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def _hashable(value: Any) -> Any:
    """A set within a set, or as a key, was a frozenset; both travel as "set"."""
    if isinstance(value, set):
        return frozenset(cast("set[Any]", value))
    return (
        tuple(map(_hashable, cast("tuple[Any, ...]", value)))
        if isinstance(value, tuple)
        else value
    )


def is_iterator(value: Any) -> bool:
    """Whether an object yields its values one by one (a generator, say), as opposed to
    a list.
    """
    return isinstance(value, Iterator)
