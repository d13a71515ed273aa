"""What is special to lab 03: true examples, right code of all kinds passes, of two
mistakes one is named.
"""

import math
import runpy
from pathlib import Path

import pytest
import torch

from happyllm_support.grading.grader import Grader, Solution
from happyllm_support.grading.judge import Status, judge_locally
from happyllm_support.grading.labs import load_lab

ROOT = Path(__file__).resolve().parent.parent.parent
LAB = load_lab(ROOT / "labs", "lab03")
SOLUTION = runpy.run_path(str(ROOT / "tests" / "labs" / "solutions" / "lab03.py"))


def rows(*numbers):
    return torch.tensor(numbers)[None, None, :, None]


@pytest.mark.parametrize(
    "code", [LAB.reference, SOLUTION], ids=["reference", "solution"]
)
def test_the_examples_of_the_docstrings(code):
    third = math.log(3)
    weights = code["softmax"](torch.tensor([[0.0, third], [1000.0, 1000.0]]))
    assert torch.allclose(weights, torch.tensor([[0.25, 0.75], [0.5, 0.5]]))

    positions, segments = torch.tensor([[0, 0, 1]]), torch.tensor([[0, 1, 1]])
    mask = code["mask_from_positions"](positions, positions, segments, segments)
    assert mask.tolist() == [
        [[[True, False, False], [False, True, False], [False, True, True]]]
    ]

    q, k, v = rows(1.0), rows(0.0, third), rows(10.0, 20.0)
    for seen, want in ((None, 17.5), ([True, False], 10.0)):
        mask = None if seen is None else torch.tensor([seen])
        assert code["sdpa"](q, k, v, mask).item() == pytest.approx(want)

    x = torch.arange(1.0, 9.0).view(1, 2, 4)
    heads = code["split_heads"](x, 2)
    assert heads.tolist() == [[[[1, 2], [5, 6]], [[3, 4], [7, 8]]]]
    assert torch.equal(code["join_heads"](heads), x)

    v = torch.tensor([10.0, 20.0]).view(1, 2, 1, 1)
    out = code["grouped_attention"](torch.ones(1, 4, 1, 1), torch.ones(1, 2, 1, 1), v)
    assert out.flatten().tolist() == [10, 10, 20, 20]

    blocks = [
        (torch.zeros(1, 1), torch.tensor([[10.0]])),
        (torch.tensor([[third]]), torch.tensor([[20.0]])),
    ]
    answers = [
        answer.item()
        for answer in code["attend_online"](torch.ones(1, 1), iter(blocks))
    ]
    assert answers == pytest.approx([10.0, 17.5])


def scores_of(q, k, scale):
    return q @ k.mT / math.sqrt(q.shape[-1]) if scale is None else q @ k.mT * scale


def sdpa_with_infinity(q, k, v, mask=None, scale=None):
    scores = scores_of(q, k, scale)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return scores.softmax(-1) @ v


def sdpa_with_the_lowest_number(q, k, v, mask=None, scale=None):
    scores = scores_of(q, k, scale)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(-1) @ v


def sdpa_with_a_mask_of_logarithms(q, k, v, mask=None, scale=None):
    bias = 0.0 if mask is None else mask.log()
    return (scores_of(q, k, scale) + bias).softmax(-1) @ v


def sdpa_scaling_the_queries(q, k, v, mask=None, scale=None):
    q = q * (q.shape[-1] ** -0.5 if scale is None else scale)
    scores = torch.einsum("bhtd,bhsd->bhts", q, k)
    if mask is not None:
        scores = torch.where(mask, scores, -1e30)
    return torch.matmul(scores.softmax(-1), v)


def sdpa_in_double(q, k, v, mask=None, scale=None):
    return sdpa_with_infinity(q.double(), k.double(), v.double(), mask, scale).to(
        q.dtype
    )


def sdpa_on_flat_heads(q, k, v, mask=None, scale=None):
    scores = torch.bmm(q.flatten(0, 1), k.flatten(0, 1).mT).view(
        *q.shape[:3], k.shape[2]
    )
    scores = scores * (q.shape[-1] ** -0.5 if scale is None else scale)
    bias = (
        torch.zeros_like(scores)
        if mask is None
        else torch.zeros_like(scores).masked_fill(~mask, -1e12)
    )
    return torch.softmax(scores + bias, dim=3) @ v


def sdpa_with_exponentials(q, k, v, mask=None, scale=None):
    scores = scores_of(q, k, scale)
    if mask is None:
        mask = torch.ones_like(scores).bool()
    top = scores.where(mask, -math.inf).amax(-1, keepdim=True)
    powers = (scores - top).where(mask, 0.0).exp().where(mask, 0.0)
    return powers / powers.sum(-1, keepdim=True) @ v


@pytest.mark.parametrize(
    "code",
    [
        sdpa_with_infinity,
        sdpa_with_the_lowest_number,
        sdpa_with_a_mask_of_logarithms,
        sdpa_scaling_the_queries,
        sdpa_in_double,
        sdpa_on_flat_heads,
        sdpa_with_exponentials,
    ],
)
def test_right_attention_of_all_kinds_passes(code):
    verdict = judge_locally(LAB, "sdpa", code)
    assert verdict.status is Status.PASS, verdict.diagnosis


def grouped_by_expanding(q, k, v, mask=None):
    B, K, S, D = k.shape
    size = q.shape[1] // K
    k, v = (
        x[:, :, None].expand(B, K, size, S, D).reshape(B, K * size, S, D)
        for x in (k, v)
    )
    return sdpa_with_infinity(q, k, v, mask)


def grouped_by_folding(q, k, v, mask=None):
    q = q.unflatten(1, (k.shape[1], -1))  # (B, K, H/K, T, D)
    scores = q @ k[:, :, None].mT / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask[:, :, None], -math.inf)
    return (scores.softmax(-1) @ v[:, :, None]).flatten(1, 2)


@pytest.mark.parametrize("code", [grouped_by_expanding, grouped_by_folding])
def test_right_groups_of_all_kinds_pass(code):
    verdict = judge_locally(LAB, "grouped_attention", code)
    assert verdict.status is Status.PASS, verdict.diagnosis


def online_from_the_lowest_number(q, blocks):
    top = torch.full((q.shape[0],), torch.finfo(q.dtype).min, dtype=q.dtype)
    total, out = (
        torch.zeros_like(top),
        torch.zeros_like(q),
    )  # out is the quotient, not the sum
    for keys, values in blocks:
        scores = q @ keys.T / math.sqrt(q.shape[1])
        new_top = torch.maximum(top, scores.max(dim=1).values)
        kept = total * torch.exp(top - new_top)
        powers = torch.exp(scores - new_top[:, None])
        total = kept + powers.sum(dim=1)
        out = (out * kept[:, None] + powers @ values) / total[:, None]
        top = new_top
        yield out


def online_query_by_query(q, blocks):
    states = [(-math.inf, 0.0, 0.0) for _ in q]
    for keys, values in blocks:
        out = torch.empty_like(q)
        for t, (top, total, sums) in enumerate(states):
            for key, value in zip(keys, values, strict=True):
                score = float(q[t].double() @ key.double()) / math.sqrt(len(key))
                new_top = max(top, score)
                shrink, power = math.exp(top - new_top), math.exp(score - new_top)
                top, total, sums = (
                    new_top,
                    total * shrink + power,
                    sums * shrink + power * value,
                )
            states[t] = top, total, sums
            out[t] = sums / total
        yield out


def online_with_buffers_of_its_own(q, blocks):
    top = torch.full((len(q), 1), -math.inf, dtype=q.dtype)
    total, sums = torch.zeros_like(top), torch.zeros_like(q)
    for keys, values in blocks:
        scores = q @ keys.T / math.sqrt(q.shape[1])
        new_top = torch.maximum(top, scores.amax(-1, keepdim=True))
        powers, shrink = scores.sub_(new_top).exp_(), (top - new_top).exp_()
        total.mul_(shrink).add_(powers.sum(-1, keepdim=True))
        sums.mul_(shrink).addmm_(powers, values)
        top.copy_(new_top)
        yield sums / total


@pytest.mark.parametrize(
    "code",
    [
        online_from_the_lowest_number,
        online_query_by_query,
        online_with_buffers_of_its_own,
    ],
)
def test_right_online_attention_of_all_kinds_passes(code):
    verdict = judge_locally(LAB, "attend_online", code)
    assert verdict.status is Status.PASS, verdict.diagnosis


def sdpa_with_a_billion(q, k, v, mask=None, scale=None):
    scores = scores_of(q, k, scale)
    if mask is not None:
        scores = scores.masked_fill(mask == 0, -1e9)
    return torch.einsum("bhts,bhsd->bhtd", scores.softmax(-1), v)


def unscaled_and_a_billion(q, k, v, mask=None, scale=None):
    return sdpa_with_a_billion(q, k, v, mask, 1.0 if scale is None else scale)


def inverted_and_a_billion(q, k, v, mask=None, scale=None):
    return sdpa_with_a_billion(q, k, v, None if mask is None else ~mask, scale)


def mask_without_padding(q_positions, k_positions, q_segments=None, k_segments=None):
    seen = k_positions[:, None] <= q_positions[..., None]
    if q_segments is not None:
        seen &= (k_segments[:, None] == q_segments[..., None]) & (
            k_segments[:, None] != 0
        )
    return seen[:, None]


def by_d_model_and_unmasked(q, k, v, mask=None, scale=None):
    return (q @ k.mT / (q.shape[1] * q.shape[-1]) ** 0.5).softmax(-1) @ v


def unscaled_and_overflowing(q, blocks):
    total = sums = 0.0
    for keys, values in blocks:
        powers = (q @ keys.T).exp()
        total, sums = total + powers.sum(-1, keepdim=True), sums + powers @ values
        yield sums / total


def scale_or(q, k, v, mask=None, scale=None):
    return sdpa_with_infinity(q, k, v, mask, scale or 1 / math.sqrt(q.shape[-1]))


def detached_weights(q, k, v, mask=None, scale=None):
    scores = scores_of(q, k, scale)
    scores = scores if mask is None else torch.where(mask, scores, -math.inf)
    return scores.softmax(-1).detach() @ v


def top_forgotten(q, blocks):
    top, total, sums = torch.full((len(q), 1), -math.inf), 0.0, 0.0
    for keys, values in blocks:
        scores = q @ keys.T / math.sqrt(q.shape[1])
        new_top = torch.maximum(top, scores.amax(-1, keepdim=True))
        powers, shrink = (scores - new_top).exp(), (top - new_top).exp()
        total, sums = (
            total * shrink + powers.sum(-1, keepdim=True),
            sums * shrink + powers @ values,
        )
        yield sums / total


def top_of_the_first(q, blocks):
    top = None
    for keys, values in blocks:
        scores = q @ keys.T / math.sqrt(q.shape[1])
        highest = scores.amax(-1, keepdim=True)
        if top is None:
            top, total, sums = highest, torch.zeros_like(highest), torch.zeros_like(q)
        new_top = torch.maximum(top, highest)
        powers, shrink = (scores - new_top).exp(), (top - new_top).exp()
        total, sums = (
            total * shrink + powers.sum(-1, keepdim=True),
            sums * shrink + powers @ values,
        )
        yield sums / total


def repeated_k_times(q, k, v, mask=None):
    return sdpa_with_infinity(
        q, *(x.repeat_interleave(k.shape[1], dim=1) for x in (k, v)), mask
    )


def repeated_along_the_keys(q, k, v, mask=None):
    size = q.shape[1] // k.shape[1]
    return sdpa_with_infinity(
        q, *(x.repeat_interleave(size, dim=2) for x in (k, v)), mask
    )


@pytest.mark.parametrize(
    ("name", "code", "named"),
    [
        ("sdpa", scale_or, "zero_is_none"),
        ("sdpa", detached_weights, "weights_detached"),
        ("attend_online", top_forgotten, "forgets"),
        ("attend_online", top_of_the_first, "top_of_the_first_block"),
        ("grouped_attention", repeated_k_times, "repeated_k_times"),
        ("grouped_attention", repeated_along_the_keys, "not_repeated"),
        ("mask_from_positions", mask_without_padding, "padding_sees_nothing"),
        ("sdpa", sdpa_with_a_billion, "minus_a_billion"),
        ("sdpa", unscaled_and_a_billion, "unscaled"),
        ("sdpa", inverted_and_a_billion, "inverted"),
        ("sdpa", by_d_model_and_unmasked, "by_d_model"),
        ("attend_online", unscaled_and_overflowing, "online_unscaled"),
    ],
)
def test_the_mistake_or_the_first_of_two_is_named(name, code, named):
    verdict = judge_locally(LAB, name, code)
    assert verdict.status is Status.FAIL
    assert verdict.diagnosis.mutant, verdict.diagnosis
    assert verdict.diagnosis.mutant.code.__name__ == named


def online_that_writes_into_what_it_gave(q, blocks):
    total, sums = torch.zeros(len(q), 1, dtype=q.dtype), torch.zeros_like(q)
    top = torch.full_like(total, -math.inf)
    for keys, values in blocks:
        scores = q @ keys.T / math.sqrt(q.shape[1])
        new_top = torch.maximum(top, scores.amax(-1, keepdim=True))
        powers, shrink = (scores - new_top).exp(), (top - new_top).exp()
        total = total * shrink + powers.sum(-1, keepdim=True)
        sums *= shrink
        sums += powers @ values
        top = new_top
        sums /= total
        yield sums
        sums *= total


def grouped_by_einsum_without_repeating(q, k, v, mask=None):
    return torch.einsum(
        "bhts,bhsd->bhtd", torch.einsum("bhtd,bhsd->bhts", q, k).softmax(-1), v
    )


def softmax_with_a_small_constant(scores, dim=-1):
    powers = (scores - scores.amax(dim, keepdim=True)).exp()
    return powers / (powers.sum(dim, keepdim=True) + 1e-6)


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("attend_online", online_that_writes_into_what_it_gave, "what it had given"),
        (
            "grouped_attention",
            grouped_by_einsum_without_repeating,
            "given 6 query heads and 3 key heads, it raises",
        ),
        ("softmax", softmax_with_a_small_constant, "is off"),
    ],
)
def test_a_mistake_without_a_name_shows(name, code, words):
    verdict = judge_locally(LAB, name, code)
    assert verdict.status is Status.FAIL and words in verdict.diagnosis.symptom


COLLECTING = """
import torch
def attend_online(q, blocks):
    keys, values = [], []
    for k, v in blocks:
        keys += list(k)
        values += list(v)
        scores = q @ torch.stack(keys).T / q.shape[1] ** 0.5
        powers = (scores - scores.amax(-1, keepdim=True)).exp()
        yield powers / powers.sum(-1, keepdim=True) @ torch.stack(values)
"""


FUSED = """
import torch
def sdpa(q, k, v, mask=None, scale=None):
    return torch.ops.aten.{}(q, k, v, mask)
"""


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        ("attend_online", COLLECTING, "stack"),
        ("sdpa", FUSED.format("scaled_dot_product_attention"), "forbids"),
        ("sdpa", FUSED.format("_scaled_dot_product_attention_math"), "forbids"),
    ],
)
def test_shortcuts_are_refused(name, source, words, launcher):
    grader = Grader(ROOT / "labs", launcher=launcher)
    verdict = grader.run(LAB, name, Solution(source=source, filename="attention.py"))
    assert verdict.status is Status.FAIL and words in verdict.diagnosis.symptom
