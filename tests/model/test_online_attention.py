"""Online softmax: the idea for one query, every block size, exact gradients, precision,
memory, and what is refused.
"""

from __future__ import annotations

import pytest
import torch
from attention_cases import NAMES, SLOPES, Case, attend, case, off_by, tensors
from torch.utils._python_dispatch import TorchDispatchMode

from happyllm_support.model.attention import naive_attention
from happyllm_support.model.masks import AttentionMask
from happyllm_support.model.online_attention import online_attention, online_softmax_sum


class LargestTensor(TorchDispatchMode):
    """Notes the size of the largest tensor that any operation gives, in numbers."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, tuple | list) else [out]:
            self.numel = (
                max(self.numel, x.numel())
                if isinstance(x, torch.Tensor)
                else self.numel
            )
        return out


class CountProducts(TorchDispatchMode):
    """Counts matrix products."""

    n = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.n += func.overloadpacket in (torch.ops.aten.bmm, torch.ops.aten.baddbmm_)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("block", [1, 2, 3, 7, 50])
def test_the_idea_for_one_query(block):
    scores = torch.tensor(
        [0.0, 2.0, -1.0, 700.0, 699.0, 3.0, 701.0], dtype=torch.float64
    )  # the maximum keeps growing
    values = tensors(1, 1, 7)[2][0, 0]
    assert (
        off_by(online_softmax_sum(scores, values, block), scores.softmax(0) @ values)
        < 1e-12
    )


@pytest.mark.parametrize("block", [1, 2, 4, 5, 9, 64])
@pytest.mark.parametrize("name", NAMES)
def test_the_block_size_changes_nothing(name, block):
    x = case(name, 2)
    found, expected = x.leaves(), x.leaves()
    out = attend("online", x, *found, block=block)
    whole = attend("naive", x, *expected)
    push = tensors(2, out.shape[2], 1, seed=5)[0]
    out.backward(push)
    whole.backward(push)
    assert off_by(out, whole) < 1e-12
    for leaf, other in zip(found, expected, strict=True):
        assert off_by(leaf.grad, other.grad) < 1e-12


@pytest.mark.parametrize("name", ["causal by mask", "past", "alibi, packed"])
def test_every_entry_of_the_gradient_by_finite_differences(name):
    x = case(name, 1)
    q, k, v = (leaf.detach()[:, :, -6:, :3].requires_grad_() for leaf in x.leaves())
    columns = slice(-6, None)
    m = x.mask
    cut = [
        None if p is None else p[:, columns]
        for p in (m.q_positions, m.k_positions, m.q_segments, m.k_segments)
    ]
    mask = AttentionMask(*cut, m.slopes)
    assert torch.autograd.gradcheck(
        lambda *qkv: online_attention(*qkv, mask, block=4), (q, k, v)
    )


@pytest.mark.parametrize("ascending", [True, False])
def test_scores_that_grow_from_block_to_block_by_thousands(ascending):
    q = torch.ones(1, 1, 1, 1)
    k = torch.linspace(-1e4, 1e4, 12).view(1, 1, 12, 1)
    k, v = (k if ascending else k.flip(2)), torch.arange(12.0).view(1, 1, 12, 1)
    assert online_attention(q, k, v, block=5).item() == (11 if ascending else 0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_fp32(dtype):
    """With equal weights the average of 4,096 values is exact in fp32; summed in 8 bits
    it would stop growing.
    """
    q, k = torch.zeros(1, 2, 3, 4, dtype=dtype), torch.zeros(1, 1, 4096, 4, dtype=dtype)
    v = (
        torch.arange(4096)
        .remainder(3)
        .to(dtype)
        .view(1, 1, 4096, 1)
        .expand(-1, -1, -1, 4)
    )
    out = online_attention(q, k, v)
    assert out.dtype == dtype
    assert torch.equal(out, torch.full_like(out, float(v.double().mean())))


@pytest.mark.parametrize("name", ["plain", "left padding", "alibi"])
def test_bf16_gradients(name):
    x = case(name, 2)
    leaves = x.leaves(torch.bfloat16)
    exact = [leaf.detach().double().requires_grad_() for leaf in leaves]
    push = tensors(2, 9, 1, seed=5)[0].bfloat16()
    attend("online", x, *leaves, block=4).backward(push)
    attend("naive", x, *exact).backward(push.double())
    for leaf, other in zip(leaves, exact, strict=True):
        assert (
            leaf.grad.dtype == torch.bfloat16 and off_by(leaf.grad, other.grad) < 0.03
        )


def test_autocast_does_not_lower_the_sums():
    x = case("plain", 2)
    found, expected = x.leaves(torch.float32), x.leaves()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = attend("online", x, *found, block=4)
        out.square().sum().backward()
    attend("naive", x, *expected).square().sum().backward()
    assert out.dtype == torch.float32
    for leaf, other in zip(found, expected, strict=True):
        assert off_by(leaf.grad, other.grad) < 1e-5


def test_layouts_without_order_in_memory():
    """As the layer gives them: (B, T, H, D) transposed, and a gradient that is one
    expanded number.
    """
    found, expected = (
        [leaf.mT.contiguous().mT for leaf in case("plain", 2).leaves()]
        for _ in range(2)
    )
    for leaf in (*found, *expected):
        leaf.retain_grad()
    online_attention(*found, causal=True, block=4).sum().backward()
    naive_attention(*expected, causal=True).sum().backward()
    for leaf, other in zip(found[2:], expected[2:], strict=True):
        assert off_by(leaf.grad, other.grad) < 1e-12
    assert all(
        torch.allclose(a.grad, b.grad, atol=1e-12)
        for a, b in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize("slopes", [None, SLOPES])
def test_no_tensor_is_as_large_as_the_scores(slopes):
    n, block = 96, 16
    q, k, v = (x.requires_grad_() for x in tensors(2, n, n))
    places = torch.arange(n)[None]
    mask = None if slopes is None else AttentionMask(places, places, slopes=slopes)
    x = Case(q, k, v, mask, causal=mask is None)
    for kernel, largest in (
        ("online", 2 * 4 * max(n * 6, block * block)),
        ("naive", 2 * 4 * n * n),
    ):
        options = {"block": block} if kernel == "online" else {}
        with LargestTensor() as noted:
            attend(kernel, x, **options).sum().backward()
        assert noted.numel == largest
    saved = attend("online", x, block=block).grad_fn.saved_tensors
    assert max(x.numel() for x in saved) == 2 * 4 * n * 6


TWELVE = torch.arange(12)[None]


@pytest.mark.parametrize(
    ("mask", "causal", "blocks"),
    [
        (None, False, 36),
        (None, True, 21),
        (AttentionMask.causal(12), False, 21),
        (AttentionMask(*[TWELVE % 4] * 2, *[TWELVE // 4 + 1] * 2), False, 9),
    ],
    ids=["no mask", "causal", "causal by positions", "three documents"],
)
def test_blocks_that_no_query_sees_are_not_computed(mask, causal, blocks):
    q, k, v = tensors(4, 12, 12)
    with CountProducts() as products:
        online_attention(q, k, v, mask, causal=causal, block=2)
    assert products.n == 2 * blocks


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dropout": 0.1}, "dropout is 0.1"),
        ({"block": 0}, "block is 0"),
        ({"block": -2}, "-2"),
    ],
)
def test_what_it_cannot_do_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        online_attention(*tensors(2, 3, 3), **options)
