"""Both models compile into one graph, forward, backward and a cached step, and compute
what they compute uncompiled.
"""

import pytest
import torch
from small_models import MODELS, build, close, some_ids
from torch.nn import functional as F

from happyllm_support.inference.generation import decode_step, prefill
from happyllm_support.inference.kv_cache import ContiguousCache

every_model = pytest.mark.parametrize("name", MODELS)


def loss_and_gradients(run, model, ids, **where):
    model.zero_grad()
    loss = F.cross_entropy(run(ids, **where).flatten(0, 1), ids.roll(-1, 1).flatten())
    loss.backward()
    return loss.detach(), [parameter.grad.clone() for parameter in model.parameters()]


@every_model
def test_forward_and_backward(name):
    model = build(name, n_layer=1, dtype=torch.float32)
    compiled = torch.compile(model, fullgraph=True)
    ids = some_ids(2, 8)
    loss, gradients = loss_and_gradients(compiled, model, ids)
    expected_loss, expected = loss_and_gradients(model, model, ids)
    assert abs(float(loss - expected_loss)) < 1e-5 < float(loss)
    largest = max(float(gradient.abs().max()) for gradient in expected)
    for found, right in zip(gradients, expected, strict=True):
        assert (found - right).abs().max() < 1e-4 * largest
        assert right.abs().max() > 0


@every_model
def test_padded_and_packed_rows(name):
    """With the graph run eagerly: what matters here is that there is one graph."""
    model = build(name, n_layer=2)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    ids, segments = (
        some_ids(2, 6),
        torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 2, 2, 0]]),
    )
    close(compiled(ids, segments=segments), model(ids, segments=segments))
    positions = torch.arange(6).expand(2, 6) * 2
    close(compiled(ids, positions=positions), model(ids, positions=positions))


@every_model
def test_a_cached_step_is_compiled_once_for_all_steps(name):
    torch._dynamo.reset()
    model = build(name, n_layer=1, dtype=torch.float32)
    backend = {"gpt2": "aot_eager", "llama2": "inductor"}[name]  # once is enough
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    ids, segments = some_ids(2, 5), torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    caches = [ContiguousCache.for_model(model, 2, 16) for _ in range(2)]
    for cache in caches:
        prefill(model, cache, ids, segments)
    torch._dynamo.utils.counters.clear()
    for step in range(4):
        if step == 2:  # rows of unequal length from here on
            for cache in caches:
                cache.truncate([4, 6])
        new = some_ids(2, seed=step)
        expected = decode_step(model, caches[0], new)
        close(decode_step(compiled, caches[1], new), expected, 1e-4)
        assert caches[0].lengths == caches[1].lengths
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
