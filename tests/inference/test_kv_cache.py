"""The contiguous cache: equal to no cache, for rows of unequal length, in any pieces,
after taking back and after a failure.
"""

import pytest
import torch
from small_models import MODELS, VOCAB, build, close, some_ids

from happyllm_support.inference.kv_cache import ContiguousCache
from happyllm_support.model.costs import kv_bytes_per_token

every_model = pytest.mark.parametrize("name", MODELS)
every_kernel = pytest.mark.parametrize("kernel", ["naive", "sdpa", "online"])


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


def everything(cache):
    """All that decides what a cache gives: what is filled, and what is there."""
    state = [cache.positions, cache.segments, cache.filled]
    seen = cache.segments >= 0
    for buffer in (*cache.keys, *cache.values):
        state.append(buffer.transpose(1, 2)[seen])
    return [tensor.clone() for tensor in state]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@every_kernel
@pytest.mark.parametrize(
    ("name", "grouped"),
    [
        ("gpt2", {}),
        ("llama2", {"n_kv_head": 4}),
        ("llama2", {"n_kv_head": 2}),
        ("llama2", {"n_kv_head": 1}),
    ],
)
@pytest.mark.parametrize("split", [[9], [1] * 9, [4, 5], [3, 1, 5]], ids=str)
def test_any_pieces_equal_the_whole(name, grouped, kernel, split):
    model = build(name, kernel=kernel, **grouped)
    ids = some_ids(2, 9)
    cache = ContiguousCache.for_model(model, 2, 11)
    columns = [model(chunk, cache=cache) for chunk in ids.split(split, dim=1)]
    close(torch.cat(columns, dim=1), model(ids))
    assert cache.lengths == [9, 9] and cache.capacity == 11
    assert cache.positions[:, :9].tolist() == [list(range(9))] * 2
    assert cache.segments.tolist() == [[1] * 9 + [-1] * 2] * 2


@every_kernel
@every_model
def test_unequal_rows_truncation_and_going_on(name, kernel):
    model = build(name, kernel=kernel)
    a, b = some_ids(1, 12, seed=1), some_ids(1, 12, seed=2)
    cache = ContiguousCache.for_model(model, 2, 12)
    model(torch.cat([a[:, :6], b[:, :6]]), cache=cache)
    cache.truncate([5, 2])
    assert cache.lengths == [5, 2]
    first = model(torch.cat([a[:, 5:8], b[:, 2:5]]), cache=cache)
    close(first[0], model(a[:, :8])[0, -3:])
    close(first[1], model(b[:, :5])[0, -3:])
    then = model(torch.cat([a[:, 8:9], b[:, 5:6]]), cache=cache)
    close(then[0], model(a[:, :9])[0, -1:])
    close(then[1], model(b[:, :6])[0, -1:])
    assert cache.lengths == [9, 6]


@every_model
def test_padded_rows_and_several_documents(name):
    model = build(name)
    first, second = some_ids(1, 8, seed=2), some_ids(1, 6, seed=3)
    cache = ContiguousCache.for_model(model, 1, 15)
    ids = torch.cat([torch.zeros(1, 1).long(), first[:, :6], second[:, :3]], dim=1)
    model(ids, segments=torch.tensor([[0] + [1] * 6 + [2] * 3]), cache=cache)
    new = torch.cat([second[:, 3:], first[:, 6:]], dim=1)
    logits = model(new, segments=torch.tensor([[2, 2, 2, 1, 1]]), cache=cache)
    close(logits[0, :3], model(second)[0, 3:])
    close(logits[0, 3:], model(first)[0, 6:])
    with pytest.raises(ValueError, match=r"^the cache holds several documents per row"):
        model(new[:, :1], cache=cache)


@every_model
def test_rows_are_freed_and_reused_while_others_go_on(name):
    model = build(name)
    a, b, c = (some_ids(1, 10, seed=seed) for seed in (1, 2, 3))
    cache = ContiguousCache.for_model(model, 2, 10)
    model(torch.cat([a[:, :5], b[:, :5]]), cache=cache)
    cache.free([1])
    assert cache.lengths == [5, 0] and (cache.segments[1] == -1).all()
    model(c[:, :7], cache=cache[1:2])  # another text moves in
    assert cache.lengths == [5, 7]
    logits = model(torch.cat([a[:, 5:8], c[:, 7:10]]), cache=cache)
    close(logits[0], model(a[:, :8])[0, -3:])
    close(logits[1], model(c)[0, -3:])
    cache.free()
    assert cache.lengths == [0, 0] and (cache.segments == -1).all()
    close(model(b.expand(2, -1), cache=cache), model(b).expand(2, -1, -1))


@every_model
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_pass_that_fails_leaves_the_cache_as_it_was(name, layer):
    model = build(name)
    ids = some_ids(2, 8)
    cache = ContiguousCache.for_model(model, 2, 9)
    model(ids[:, :4], cache=cache)
    cache.truncate([4, 3])
    before = everything(cache)
    handle = model.blocks[layer].mlp.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model(ids[:, 4:], cache=cache)
    handle.remove()
    assert same(everything(cache), before)
    with pytest.raises(ValueError, match=rf"which is {VOCAB - 1}"):
        model(ids[:, 4:] + 99, cache=cache)
    with pytest.raises(
        ValueError, match=r"^the cache has 9 places per row, 4 of them "
    ):
        model(some_ids(2, 6), cache=cache)
    assert same(everything(cache), before)
    logits = model(torch.stack([ids[0, 4:8], ids[1, 3:7]]), cache=cache)
    close(logits[0], model(ids)[0, 4:8])
    close(logits[1], model(ids)[1, 3:7])


def test_a_full_cache_is_refused_and_the_last_place_is_used():
    model = build("llama2")
    cache = ContiguousCache.for_model(model, 1, 5)
    model(some_ids(1, 4), cache=cache)
    model(some_ids(1, 1), cache=cache)
    message = "the cache has 5 places per row, 5 of them filled: no room for 1 more"
    with pytest.raises(ValueError, match=rf"^{message}$"):
        model(some_ids(1, 1), cache=cache)
    cache.truncate(4)
    assert model(some_ids(1, 1), cache=cache).shape == (1, 1, VOCAB)


def test_gradients_are_refused():
    model = build("gpt2")
    cache = ContiguousCache.for_model(model, 1, 5)
    with (
        torch.enable_grad(),
        pytest.raises(ValueError, match=r"^a cache keeps no grad"),
    ):
        model(some_ids(1, 2), cache=cache)
    assert cache.lengths == [0]


def test_a_cache_of_another_model_is_refused():
    cache = ContiguousCache.for_model(build("llama2", n_kv_head=1), 2, 5)
    for other in (build("llama2"), build("llama2", n_kv_head=1, n_layer=4)):
        with pytest.raises(
            ValueError, match=r"^layer \d writes . heads of 6 in .*; the c"
        ):
            other(some_ids(2, 3), cache=cache)
    half = build("llama2", n_kv_head=1, dtype=torch.float32)
    with pytest.raises(
        ValueError, match=r"in torch\.float32; the cache has 3 layers of"
    ):
        half(some_ids(2, 3), cache=cache)
    with pytest.raises(
        ValueError, match=r"^a cache of 2 rows cannot continue with ids"
    ):
        half(some_ids(3, 3), cache=cache)
    assert cache.lengths == [0, 0]


@every_model
def test_memory_is_what_the_model_says_it_costs(name):
    model = build(name, dtype=torch.float32)
    for dtype in (None, torch.bfloat16):
        cache = ContiguousCache.for_model(model, 3, 7, dtype=dtype)
        held = sum(buffer.nbytes for buffer in (*cache.keys, *cache.values))
        assert held == 3 * 7 * kv_bytes_per_token(model, dtype or torch.float32)


def test_a_cache_can_be_held_in_bf16_under_autocast():
    model = build("llama2", dtype=torch.float32)
    ids = some_ids(2, 8)
    cache = ContiguousCache.for_model(model, 2, 8, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = model(ids).float()
        found = torch.cat([model(part, cache=cache) for part in ids.split(4, 1)], 1)
    assert (found.float() - expected).abs().max() < 0.2 * expected.std()


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([1], "1 lengths for 2 rows; expected one each"),
        (
            [1, 5],
            r"rows of \[4, 4\] places cannot be cut to \[1, 5\]; expected 0 to .*",
        ),
        (-1, r"rows of \[4, 4\] places cannot be cut to \[-1, -1\]; expected 0 to .*"),
        (torch.tensor([5, 0]), r"rows of .* cannot be cut to \[5, 0\]; expected .*"),
    ],
)
def test_what_cannot_be_cut_is_refused(lengths, message):
    model = build("gpt2")
    cache = ContiguousCache.for_model(model, 2, 5)
    model(some_ids(2, 4), cache=cache)
    before = everything(cache)
    with pytest.raises(ValueError, match=rf"^{message}$"):
        cache.truncate(lengths)
    assert same(everything(cache), before)
    cache.truncate(torch.tensor([4, 0]))
    assert cache.lengths == [4, 0]


def test_bad_sizes_rows_and_models_are_refused():
    with pytest.raises(ValueError, match=r"^capacity is 0; expected at least 1$"):
        ContiguousCache.for_model(build("gpt2"), 2, 0)
    with pytest.raises(ValueError, match=r"^n_rows is 0; expected at least 1$"):
        ContiguousCache.for_model(build("gpt2"), 0, 2)
    with pytest.raises(ValueError, match=r"^Linear has no attention layer to cache$"):
        ContiguousCache.for_model(torch.nn.Linear(2, 2), 1, 2)
    with pytest.raises(ValueError, match=r"^row 2; expected 0 to 1$"):
        ContiguousCache.for_model(build("gpt2"), 2, 2).free([2])
