"""Messages: what goes in comes out, and whatever else comes in does nothing but raise a
ValueError.
"""

import collections
import contextlib
import itertools
import json
import math
import random
import struct

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from happyllm_support.grading import wire
from happyllm_support.grading.compare import same

DTYPES = (
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int8,
    torch.bool,
)
DTYPES += (torch.uint8, torch.uint32, torch.complex64, torch.float8_e4m3fn)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
)
HASHABLE = (
    st.booleans()
    | st.integers()
    | st.text()
    | st.binary()
    | st.tuples(st.integers(), st.text())
)


@st.composite
def tensors(draw):
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    values = torch.arange(math.prod(shape)) % 5
    return values.reshape(shape).to(draw(st.sampled_from(DTYPES)))


VALUES = st.recursive(
    SCALARS | tensors(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(HASHABLE, inner, max_size=3)
        | st.sets(HASHABLE, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(VALUES)
def test_a_value_comes_back_with_its_type(value):
    back = wire.decode(wire.encode(value))
    assert same(back, value)
    assert wire.digest(back) == wire.digest(value)


def test_the_format_is_what_the_module_says():
    message = wire.encode({"a": b"xyz", "b": (1, 2.5)})
    (length,) = struct.unpack(">Q", message[:8])
    tree = json.loads(message[8 : 8 + length])
    assert tree == {"dict": [["a", {"bytes": [0, 3]}], ["b", {"tuple": [1, 2.5]}]]}
    assert message[8 + length :] == b"xyz"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (2, 0), (3,), (2, 3)])
def test_tensors_of_every_kind(dtype, shape):
    tensor = (torch.arange(math.prod(shape)) % 7).reshape(shape).to(dtype)
    back = wire.decode(wire.encode(tensor))
    assert back.dtype == dtype and back.shape == shape
    assert torch.equal(back.to(torch.complex64), tensor.to(torch.complex64))


def test_tensors_that_are_views_parameters_or_conjugates():
    base = torch.arange(12.0).reshape(3, 4)
    for tensor in (
        base.T,
        base[:, ::2],
        base.expand(2, 3, 4),
        torch.nn.Parameter(base),
        base.requires_grad_() * 2,
    ):
        assert torch.equal(wire.decode(wire.encode(tensor)), tensor)
    z = torch.complex(torch.ones(2), torch.arange(2.0))
    assert torch.equal(wire.decode(wire.encode(z.conj())), z.conj().resolve_conj())
    assert torch.equal(wire.decode(wire.encode(z.conj().imag)), -z.imag)


@pytest.mark.parametrize(
    "dtype", [">i4", "<i4", "f2", "f4", "f8", "?", "c8", "c16", "u1", ">f8"]
)
def test_arrays(dtype):
    array = np.arange(6).reshape(2, 3).astype(dtype)
    back = wire.decode(wire.encode(array.T))
    assert (
        isinstance(back, np.ndarray)
        and back.shape == (3, 2)
        and back.dtype.kind == array.dtype.kind
    )
    assert (back == array.T).all()
    torch.from_numpy(back.copy())  # whatever its byte order was


def test_numpy_numbers_and_subclasses_become_plain():
    point = collections.namedtuple("point", "x y")(1, 2)
    value = [
        np.float32(0.5),
        np.int64(3),
        np.bool_(True),
        collections.Counter("aa"),
        point,
        bytearray(b"x"),
    ]
    back = wire.decode(wire.encode(value))
    assert back == [0.5, 3, True, {"a": 2}, (1, 2), b"x"]
    assert [type(item) for item in back] == [float, int, bool, dict, tuple, bytes]


def test_random_generators_go_on_where_they_were():
    rng, generator = random.Random(3), torch.Generator().manual_seed(4)
    rng.random(), torch.rand(3, generator=generator)
    other_rng, other_generator = wire.decode(wire.encode([rng, generator]))
    assert other_rng.random() == rng.random()
    assert torch.equal(
        torch.rand(3, generator=other_generator), torch.rand(3, generator=generator)
    )


def test_streams_dtypes_and_handles():
    stream, dtype, handle = wire.decode(
        wire.encode([wire.Stream([1, b"a"]), torch.bfloat16, wire.Handle(3, "Box")])
    )
    assert stream.values == [1, b"a"] and dtype is torch.bfloat16
    assert (handle.number, handle.type_name, handle.iterator, repr(handle)) == (
        3,
        "Box",
        False,
        "a Box",
    )
    kept = []

    def keep(value):
        kept.append(value)
        return wire.Handle(
            len(kept) - 1, type(value).__name__, iterator=wire.is_iterator(value)
        )

    message = wire.encode([object(), iter([1]), {"x": (object(), 1)}], keep=keep)
    assert [type(value).__name__ for value in kept] == [
        "object",
        "list_iterator",
        "object",
    ]
    assert [kept[1], kept[2]] == [
        wire.decode(message, found=lambda h: kept[h.number])[i] for i in (1,)
    ] + [wire.decode(message, found=lambda h: kept[h.number])[2]["x"][0]]
    assert wire.decode(message)[1].iterator


def test_what_is_an_iterator():
    assert wire.is_iterator(iter([])) and wire.is_iterator(x for x in [])
    assert (
        not wire.is_iterator([])
        and not wire.is_iterator("a")
        and not wire.is_iterator(range(3))
    )


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (object(), "an object cannot be sent"),
        (np.array([object()]), "a ndarray cannot be sent"),
        (np.zeros(2, dtype=np.longdouble), "a ndarray cannot be sent"),
        (np.zeros(2, dtype="M8[s]"), "a ndarray cannot be sent"),
        (torch.empty(2, dtype=torch.bits8), "a bits8 tensor cannot be sent"),
    ],
)
def test_other_values_are_refused_by_name(value, says):
    with pytest.raises(TypeError, match=says):
        wire.encode(value)


def test_what_contains_itself_is_refused():
    nested = inner = []
    for _ in range(wire.MAX_DEPTH):
        inner.append([])
        inner = inner[0]
    assert wire.decode(wire.encode(nested)) == nested
    inner.append(nested)
    with pytest.raises(ValueError, match="contains itself"):
        wire.encode(nested)


def message_of(tree, buffers=b""):
    text = json.dumps(tree).encode()
    return struct.pack(">Q", len(text)) + text + buffers


DAMAGED = {
    "nothing": b"",
    "less than a length": b"1234567",
    "no tree": struct.pack(">Q", 5),
    "no JSON": struct.pack(">Q", 3) + b"abc",
    "a length beyond everything": struct.pack(">Q", 2**64 - 1) + b"[1]x",
    "no UTF-8": struct.pack(">Q", 2) + b'"\xff',
    "endless nesting": struct.pack(">Q", 200_000) + b"[" * 200_000,
    "an unknown kind": message_of({"pickle": "cos"}),
    "two kinds": message_of({"bytes": [0, 0], "set": []}),
    "no kind": message_of({}),
    "no buffer": message_of({"bytes": [0, 1]}),
    "a negative place": message_of({"bytes": [-4, 2]}, b"12345678"),
    "a negative length": message_of({"bytes": [4, -2]}, b"12345678"),
    "a place that is text": message_of({"bytes": ["0", 2]}, b"12"),
    "half a tensor": message_of({"tensor": ["float32", [2], [0, 7]]}, b"1234567"),
    "another shape": message_of({"tensor": ["float32", [3], [0, 8]]}, b"12345678"),
    "a huge shape": message_of(
        {"tensor": ["float32", [2**62, 2**62], [0, 8]]}, b"12345678"
    ),
    "a shape of text": message_of({"tensor": ["float32", ["2"], [0, 8]]}, b"12345678"),
    "no such type": message_of({"tensor": ["nonsense", [2], [0, 8]]}, b"12345678"),
    "a function as type": message_of({"tensor": ["load", [2], [0, 8]]}, b"12345678"),
    "a type that crashes PyTorch": message_of(
        {"tensor": ["qint8", [8], [0, 8]]}, b"12345678"
    ),
    "a function as dtype": message_of({"dtype": "load"}),
    "a list as dtype": message_of({"dtype": ["float32"]}),
    "objects": message_of({"array": ["O", [1], [0, 8]]}, b"12345678"),
    "records": message_of({"array": ["i4,i4", [1], [0, 8]]}, b"12345678"),
    "an array type that is a dict": message_of(
        {"array": [{"names": []}, [1], [0, 8]]}, b"12345678"
    ),
    "half an array": message_of({"array": ["float64", [1], [0, 7]]}, b"1234567"),
    "an unhashable key": message_of({"dict": [[[], 1]]}),
    "an unhashable item": message_of({"set": [[1]]}),
    "a dict of no pairs": message_of({"dict": [1]}),
    "a generator's state": message_of({"generator": [0, 3]}, b"123"),
    "a random state": message_of({"random": {"tuple": [3, {"tuple": [2**70]}, None]}}),
    "a random state of text": message_of({"random": "abc"}),
    "half a handle": message_of({"handle": [1]}),
    "a handle of text": message_of({"handle": ["x", "Box", False]}),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_message_is_a_value_error(name):
    with pytest.raises(ValueError):
        wire.decode(DAMAGED[name])


def test_a_truncated_message_is_a_value_error_wherever_it_ends():
    message = wire.encode([b"abc", torch.arange(3), "text", {"k": (1, {2, 3})}])
    for length in range(len(message)):
        with pytest.raises(ValueError):
            wire.decode(message[:length])


@settings(max_examples=200, deadline=None)
@given(VALUES, st.data())
def test_a_changed_message_is_another_value_or_a_value_error(value, data):
    message = bytearray(wire.encode(value))
    for _ in range(data.draw(st.integers(1, 3))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(
            st.integers(0, 255)
        )
    with contextlib.suppress(ValueError):
        wire.decode(bytes(message))


def test_a_digest_tells_contents_and_types_apart_but_not_states():
    values = [
        1,
        1.0,
        True,
        "1",
        b"1",
        [1],
        (1,),
        {1},
        {1: 1},
        None,
        [[1]],
        torch.tensor(1),
        torch.tensor(1.0),
        [1, 1],
    ]
    for a, b in itertools.combinations(values, 2):
        assert wire.digest(a) != wire.digest(b), (a, b)
    used, fresh = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    torch.rand(3, generator=used)
    assert wire.digest([used, random.Random(1)]) == wire.digest(
        [fresh, random.Random(2)]
    )
    assert wire.digest([object(), 1]) == wire.digest([wire.Handle(7, "object"), 1])
    assert wire.digest({"a": wire.Stream([1])}) != wire.digest({"a": wire.Stream([])})


def test_a_set_has_one_order_whatever_it_holds():
    several = [
        b"\0\0",
        b"\1",
        "b",
        "a",
        2,
        1,
        (2, b"x"),
        (1, b"yy"),
        frozenset({b"p", b"qq"}),
    ]
    assert wire.digest(set(several)) == wire.digest(set(reversed(several)))
    assert wire.decode(wire.encode(set(several))) == set(several)
    one, other = (
        {b"\x00\x00\x08\x186", b"\x01\x07\x01"},
        {b"\x01\x07\x01", b"\x00\x00\x08\x186"},
    )
    assert wire.encode(one) == wire.encode(other)
