"""Attention weights of a finished model: that they are the ones used, and that looking
leaves no trace.
"""

from __future__ import annotations

import pytest
import torch
from small_models import MODELS, build, close, some_ids
from torch import Tensor, nn

from happyllm_support.model.attention import Attention, repeat_heads
from happyllm_support.model.context import build_context
from happyllm_support.model.inspection import attention_maps

every_model = pytest.mark.parametrize("name", MODELS)
SEGMENTS = torch.tensor([[0, 0, 1, 1, 1, 1, 1], [1, 1, 1, 2, 2, 2, 0]])


@every_model
def test_one_map_per_layer_whose_rows_sum_to_one(name):
    maps = attention_maps(build(name), some_ids(2, 7))
    assert [m.shape for m in maps] == [(2, 4, 7, 7)] * 3
    for m in maps:
        torch.testing.assert_close(m.sum(-1), torch.ones(2, 4, 7, dtype=m.dtype))
        assert (m.triu(1) == 0).all() and (m >= 0).all() and not m.requires_grad
    assert not torch.allclose(maps[0], maps[1])


@every_model
def test_padding_is_not_looked_at_and_documents_do_not_look_at_each_other(name):
    for m in attention_maps(build(name), some_ids(2, 7), segments=SEGMENTS):
        torch.testing.assert_close(m.sum(-1), torch.ones(2, 4, 7, dtype=m.dtype))
        assert (m[1, :, 3:, :3] == 0).all() and (m[0, :, 2:, :2] == 0).all()


def test_a_context_given_by_name_is_used():
    class Wrapper(nn.Module):
        """Blocks that hand the context on by name."""

        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(
            self, ids: Tensor, *, positions: Tensor | None, segments: Tensor | None
        ):
            context = build_context(
                ids,
                positions,
                segments,
                None,
                vocab_size=99,
                max_seq_len=99,
                rotary=self.model.rotary,
            )
            x = self.model.tok_emb(ids)
            for block in self.model.blocks:
                x = x + block.attn(x=block.attn_norm(x), context=context)
                x = x + block.mlp(block.mlp_norm(x))
            return x

    model = build("llama2")
    for segments in (None, SEGMENTS):
        expected = attention_maps(model, some_ids(2, 7), segments=segments)
        found = attention_maps(Wrapper(model), some_ids(2, 7), segments=segments)
        assert len(found) == 3
        for a, b in zip(found, expected, strict=True):
            close(a, b)


@every_model
@pytest.mark.parametrize("kernel", ["naive", "sdpa", "online"])
def test_they_are_the_weights_that_the_model_used(name, kernel):
    """Averaging the values with a layer's map and projecting them gives what that layer
    put out.
    """
    model = build(name, kernel=kernel)
    seen: list[tuple[Tensor, Tensor]] = []
    layers = [module for module in model.modules() if isinstance(module, Attention)]
    handles = [
        layer.register_forward_hook(
            lambda m, inputs, out: seen.append((inputs[0], out))
        )
        for layer in layers
    ]
    positions = torch.arange(7).expand(2, 7) * 2
    model(some_ids(2, 7), segments=SEGMENTS, positions=positions)
    for handle in handles:
        handle.remove()
    maps = attention_maps(model, some_ids(2, 7), segments=SEGMENTS, positions=positions)
    for layer, weights, (x, out) in zip(layers, maps, seen, strict=True):
        values = layer.v_proj(x).unflatten(-1, (-1, 6)).transpose(1, 2)
        averages = weights @ repeat_heads(values, 4)
        close(layer.o_proj(averages.transpose(1, 2).flatten(2)), out)


def hooks(model: nn.Module) -> int:
    return sum(
        len(module._forward_pre_hooks) + len(module._forward_hooks)
        for module in model.modules()
    )


@every_model
def test_looking_changes_nothing_and_leaves_nothing(name):
    model, ids = build(name), some_ids(2, 7)
    before = model(ids)
    first = attention_maps(model, ids)
    assert hooks(model) == 0
    assert all(
        torch.equal(a, b)
        for a, b in zip(first, attention_maps(model, ids), strict=True)
    )
    assert torch.equal(model(ids), before) and model(ids).requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


@every_model
def test_hooks_are_removed_also_after_a_failure(name):
    model = build(name)

    def fail(x: Tensor) -> Tensor:
        raise RuntimeError("in the middle")

    model.blocks[1].mlp.forward = fail
    with pytest.raises(RuntimeError, match="in the middle"):
        attention_maps(model, some_ids(2, 7))
    assert hooks(model) == 0
    with pytest.raises(ValueError, match=r"^ids reach from 40"):
        attention_maps(model, torch.full((1, 3), 40))
    assert hooks(model) == 0


@every_model
def test_a_model_in_training_is_looked_at_without_dropout_and_left_in_training(name):
    model, ids = build(name, dropout=0.4), some_ids(2, 7)
    expected = attention_maps(model, ids)
    model.train()
    assert all(
        torch.equal(a, b)
        for a, b in zip(expected, attention_maps(model, ids), strict=True)
    )
    assert all(module.training for module in model.modules())
