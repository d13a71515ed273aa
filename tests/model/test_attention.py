"""Attention: three kernels against loops over numbers, and the layer against PyTorch's
own and against itself.
"""

from __future__ import annotations

import pytest
import torch
from attention_cases import NAMES, attend, case, looped, off_by, tensors
from torch import nn

from happyllm_support.model.attention import (
    KERNELS,
    Attention,
    attention_weights,
    naive_attention,
)
from happyllm_support.model.context import Context, Kernel, count_positions
from happyllm_support.model.masks import AttentionMask
from happyllm_support.model.positions import RotaryPositions, apply_rope

EVERY_KERNEL = pytest.mark.parametrize("kernel", KERNELS)


def layer(n_kv_head: int, *, bias: bool = False, seed: int = 0) -> Attention:
    """C = 24, H = 4, D = 6 in fp64, with weights large enough for peaked scores."""
    torch.manual_seed(seed)
    attn = Attention(24, 4, n_kv_head, bias=bias).double()
    for parameter in attn.parameters():
        nn.init.normal_(parameter, std=0.4)
    return attn


def stream(n: int = 7, seed: int = 1) -> torch.Tensor:
    return torch.randn(
        2, n, 24, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def plain(kernel: Kernel) -> Context:
    return Context(torch.arange(7)[None], kernel=kernel)


def rows_of(
    segments: list[list[int]],
    rotary: RotaryPositions | None = None,
    kernel: Kernel = "naive",
) -> Context:
    s = torch.tensor(segments)
    positions = count_positions(s)
    mask = AttentionMask(positions, positions, s, s)
    rope = None if rotary is None else rotary(positions)
    return Context(
        positions, mask if kernel == "online" else mask.dense(), rope, kernel=kernel
    )


@pytest.mark.parametrize("n_kv_head", [4, 2, 1])
@pytest.mark.parametrize("name", NAMES)
def test_every_kernel_equals_loops_over_numbers(name, n_kv_head):
    x = case(name, n_kv_head)
    expected = looped(x)
    for kernel in KERNELS:
        assert off_by(attend(kernel, x), expected) < 1e-12


@EVERY_KERNEL
@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_the_slopes_of_the_outputs(name, kernel):
    x = case(name, 2)
    assert torch.autograd.gradcheck(
        lambda q, k, v: attend(kernel, x, q, k, v),
        x.leaves(),
        fast_mode=True,
        atol=1e-7,
        rtol=1e-5,
    )


@pytest.mark.parametrize("n_kv_head", [4, 2, 1])
@pytest.mark.parametrize("name", NAMES)
def test_every_kernel_has_the_same_gradients(name, n_kv_head):
    x = case(name, n_kv_head)
    push = tensors(n_kv_head, x.q.shape[2], 1, seed=5)[0]
    found = {}
    with torch.autograd.detect_anomaly(check_nan=True):
        for kernel in KERNELS:
            leaves = x.leaves()
            attend(kernel, x, *leaves).backward(push)
            found[kernel] = [leaf.grad for leaf in leaves]
    for kernel in ("sdpa", "online"):
        for grad, expected in zip(found[kernel], found["naive"], strict=True):
            assert off_by(grad, expected) < 1e-12, kernel


@EVERY_KERNEL
@pytest.mark.parametrize(
    "name", ["plain", "left padding", "alibi, packed", "padded past"]
)
def test_bf16_stays_as_near_as_its_eight_bits_allow(name, kernel):
    x = case(name, 2)
    q, k, v = (t.detach().bfloat16() for t in x.leaves())
    exact = attend("naive", x, q.double(), k.double(), v.double())
    out = attend(kernel, x, q, k, v)
    assert out.dtype == torch.bfloat16
    assert (
        off_by(out, exact) < 0.06
    )  # 2^-8 of the largest numbers; weights and scores are rounded too


@EVERY_KERNEL
def test_logits_of_ten_thousand_neither_overflow_nor_blur(kernel):
    x = case("plain", 4)
    q, k, v = x.leaves(torch.float32)
    out = attend(kernel, x, 100 * q, 100 * k, v)
    logits = (100 * q) @ (100 * k).mT / 6**0.5
    assert logits.abs().max() > 1e4
    winner = logits.masked_fill(torch.ones(9, 9).triu(1).bool(), -torch.inf).argmax(
        -1
    )  # so far apart that one key takes all
    assert off_by(out, v.gather(2, winner[..., None].expand(-1, -1, -1, 6))) < 1e-5
    out.square().sum().backward()
    assert (
        all(torch.isfinite(leaf.grad).all() for leaf in (q, k, v))
        and v.grad.abs().max() > 0.1
    )


@pytest.mark.parametrize("name", NAMES)
def test_weights_sum_to_one_over_what_is_seen(name):
    x = case(name, 2)
    mask = None if x.mask is None else x.mask.dense()
    weights = attention_weights(x.q, x.k, mask, causal=x.causal, scale=x.scale)
    expected = torch.ones(weights.shape[:3], dtype=torch.float64)
    assert torch.allclose(weights.sum(-1), expected, rtol=0, atol=1e-12)
    if x.mask is not None:
        assert (weights[(~x.mask.allowed()).expand_as(weights)] == 0).all()
    assert off_by(weights @ x.v.repeat_interleave(2, 1), looped(x)) < 1e-12


@pytest.mark.parametrize("kernel", ["naive", "sdpa"])
def test_dropout_drops_weights_and_keeps_the_mean(kernel):
    q, k, v = (x[:, :, :4].float() for x in tensors(4, 4, 4))
    torch.manual_seed(0)
    draws = torch.stack(
        [KERNELS[kernel](q, k, v, causal=True, dropout=0.25) for _ in range(3000)]
    )
    assert draws.std(0).max() > 0.2  # something is dropped
    error = (draws.mean(0) - naive_attention(q, k, v, causal=True)).abs() / (
        draws.std(0) / 3000**0.5 + 1e-6
    )
    assert error.max() < 5  # standard errors, over 192 numbers
    assert (
        draws[:, 0, 0, 0, 0].unique().numel() == 2
    )  # the first token's only weight is there or not


@EVERY_KERNEL
@pytest.mark.parametrize("bias", [False, True])
def test_multi_head_equals_pytorchs_layer(kernel, bias):
    attn, x = layer(4, bias=bias), stream()
    theirs = nn.MultiheadAttention(24, 4, bias=bias, batch_first=True).double()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(
            torch.cat([attn.q_proj.weight, attn.k_proj.weight, attn.v_proj.weight])
        )
        theirs.out_proj.weight.copy_(attn.o_proj.weight)
        if bias:
            theirs.in_proj_bias.copy_(
                torch.cat([attn.q_proj.bias, attn.k_proj.bias, attn.v_proj.bias])
            )
            theirs.out_proj.bias.copy_(attn.o_proj.bias)
    future = torch.ones(7, 7, dtype=torch.bool).triu(1)
    expected, weights = theirs(x, x, x, attn_mask=future, average_attn_weights=False)
    assert off_by(attn(x, plain(kernel)), expected) < 1e-12
    assert torch.equal(attn(x), attn(x, plain("sdpa"))), "without a context"
    q, k, _ = attn.project(x)
    assert off_by(attention_weights(q, k, causal=True), weights) < 1e-12


@EVERY_KERNEL
@pytest.mark.parametrize("n_kv_head", [2, 1])
def test_grouped_and_multi_query_are_multi_head_with_repeated_weights(
    kernel, n_kv_head
):
    few, many, x = layer(n_kv_head), layer(4), stream()
    assert few.k_proj.weight.shape == (6 * n_kv_head, 24)
    with torch.no_grad():
        for name in ("q_proj", "o_proj"):
            getattr(many, name).weight.copy_(getattr(few, name).weight)
        for name in ("k_proj", "v_proj"):
            heads = getattr(few, name).weight.view(n_kv_head, 6, 24)
            getattr(many, name).weight.copy_(
                heads.repeat_interleave(4 // n_kv_head, 0).flatten(0, 1)
            )
    assert off_by(few(x, plain(kernel)), many(x, plain(kernel))) < 1e-12


@EVERY_KERNEL
def test_rotary_positions_reach_queries_and_keys_but_not_values(kernel):
    attn, x = layer(2), stream()
    rotary, segments = RotaryPositions(6), [[1] * 7, [0, 0, 1, 1, 1, 1, 1]]
    context = rows_of(segments, rotary)
    q, k, v = (
        p(x).unflatten(-1, (-1, 6)).transpose(1, 2)
        for p in (attn.q_proj, attn.k_proj, attn.v_proj)
    )
    heads = naive_attention(
        apply_rope(q, *context.rope), apply_rope(k, *context.rope), v, context.mask
    )
    out = attn(x, rows_of(segments, rotary, kernel))
    assert off_by(out, attn.o_proj(heads.transpose(1, 2).flatten(2))) < 1e-12
    assert off_by(out, attn(x, rows_of(segments, None, kernel))) > 0.01, "no rotation"


@EVERY_KERNEL
def test_nothing_before_a_changed_token_changes(kernel):
    attn, x = layer(2), stream()
    y = x.clone()
    y[:, 4] += 1
    before, after = attn(x, plain(kernel)), attn(y, plain(kernel))
    assert torch.equal(before[:, :4], after[:, :4])
    assert ((before - after)[:, 4:].abs().amax(-1) > 1e-3).all()


@EVERY_KERNEL
def test_a_row_is_the_same_alone_padded_and_packed(kernel):
    attn, x = layer(2), stream()
    three, four = x[:1, :3], x[1:, :4]
    expected = torch.cat([attn(three), attn(four)], 1)
    packed = torch.cat([three, four], 1)
    out = attn(packed, rows_of([[1, 1, 1, 2, 2, 2, 2]], kernel=kernel))
    assert off_by(out, expected) < 1e-12
    padded = torch.cat([torch.cat([x[1:, 4:5], three], 1), four])
    out = attn(padded, rows_of([[0, 1, 1, 1], [1, 1, 1, 1]], kernel=kernel))
    assert off_by(torch.cat([out[:1, 1:], out[1:]], 1), expected) < 1e-12
    assert torch.isfinite(out).all(), "padding sees padding"


@pytest.mark.parametrize(
    ("sizes", "options", "words"),
    [
        ((24, 5), {}, ["d_model 24", "n_head 5"]),
        ((24, 4, 3), {}, ["n_kv_head 3", "n_head 4"]),
        ((24, 4, 0), {}, ["n_kv_head 0"]),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(sizes, options, words):
    with pytest.raises(ValueError) as refusal:
        Attention(*sizes, **options)
    assert "\n" not in str(refusal.value) and all(
        word in str(refusal.value) for word in words
    )


def test_key_heads_that_no_group_fits_are_refused():
    q, k, v = tensors(3, 5, 5)
    message = r"^3 key heads cannot be shared by 4 query heads; expected a K that .* H$"
    for kernel in KERNELS.values():
        with pytest.raises(ValueError, match=message):
            kernel(q, k, v)


@EVERY_KERNEL
def test_no_look_ahead_is_refused_where_it_has_no_or_two_meanings(kernel):
    run = KERNELS[kernel]
    with pytest.raises(
        ValueError, match=r"^causal with 2 queries and 5 keys; expected"
    ):
        run(*tensors(2, 2, 5), causal=True)
    x = case("causal by mask", 2)
    mask = x.mask if kernel == "online" else x.mask.dense()
    with pytest.raises(ValueError, match=r"^causal and a mask were both given; .*one"):
        run(x.q, x.k, x.v, mask, causal=True)
