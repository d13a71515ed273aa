"""How lab 05 is graded."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from happyllm_support.grading.compare import expect, expect_close, right_so_far
from happyllm_support.grading.labs import Lab
from happyllm_support.grading.remote import Remote

from . import reference
from .answers import expect_angles, expect_names, gradients_of, loaded, reached
from .by_hand import (
    cancelling,
    frequencies_by_hand,
    heads,
    llama_by_hand,
    llama_weights,
    norm_by_hand,
    randn,
    turned_by_hand,
)

lab = Lab("LLaMA2", minutes=120)

LINEAR = {"scaling": "linear", "factor": 3.0}
NTK = {"scaling": "ntk", "factor": 3.0}


@lab.check(
    points=2,
    section="RMSNorm: a LayerNorm that does not centre",
    hints=(
        "One line for the mean of squares over the last axis, one to divide; "
        "keepdim=True keeps the shapes compatible.",
        "eps goes inside the root: it is added to the mean of squares, not to the "
        "root.",
        "Take x.float() first, norm that, return to x.dtype at the end. 300 squared "
        "is infinite in fp16.",
        "e = x.float(), then e * torch.rsqrt(e.square().mean(-1, keepdim=True) + "
        "eps), then .to(x.dtype) * weight.",
    ),
    solution=("happyllm_support.model.layers:RMSNorm",),
    no_functions=("torch.nn.functional.rms_norm", "torch.rms_norm"),
    no_operators=("rms_norm", "_fused_rms_norm"),
)
def rms_norm(rms_norm: Remote) -> None:
    x = 2 * randn(2, 3, 5, seed=1) + 0.7
    weight = 1.5 + randn(5, seed=2)
    expect_close(
        rms_norm(x, weight, 4.0),
        reference.rms_norm(x, weight, 4.0),
        "the result for eps 4",
    )
    by_hand = [
        [norm_by_hand(vector, 1e-5) for vector in row] for row in (0.003 * x).tolist()
    ]
    want = (torch.tensor(by_hand) * weight.double()).float()
    expect_close(
        rms_norm(0.003 * x, weight),
        want,
        "the result for small numbers and the default eps",
        tolerance=3e-5,
    )
    worked = rms_norm(torch.tensor([1.0, 7.0]), torch.ones(2), 11.0)
    expect_close(worked, torch.tensor([1 / 6, 7 / 6]), "the example with eps 11")
    if not right_so_far():
        return
    cotangent = randn(2, 3, 5, seed=4)
    _, (x_grad, weight_grad, *_), _ = rms_norm.gradients(
        x, weight, 0.9, cotangent=cotangent
    )
    exact = [x.double().requires_grad_(), weight.double().requires_grad_()]
    plain = (
        exact[0] / (exact[0].pow(2).sum(-1, keepdim=True) / 5 + 0.9).sqrt() * exact[1]
    )
    plain.backward(cotangent.double())
    for name, got, want in (
        ("x", x_grad, exact[0].grad),
        ("weight", weight_grad, exact[1].grad),
    ):
        assert want is not None
        if reached(got, name):
            expect_close(got, want.float(), f"the gradient of {name}", tolerance=1e-4)
    if not right_so_far():
        return
    many = 3.0 + randn(2, 2048, seed=3)
    many, ones = many.bfloat16(), torch.ones(2048, dtype=torch.bfloat16)
    got = rms_norm(many, ones, 1e-6)
    if expect_close(
        got, reference.rms_norm(many, ones, 1e-6), "the result for bf16", tolerance=0.02
    ):
        largest = float((got.double().square().mean(-1).sqrt() - 1).abs().max())
        expect(
            largest < 1e-3,
            f"for bf16, the root mean square of the result is off by {largest:.4f}; "
            "it should be 1",
        )
    gains = (1.5 + randn(2048, seed=5)).bfloat16()
    want = (
        torch.tensor(
            [norm_by_hand(row, 1e-6) for row in many.tolist()], dtype=torch.float64
        )
        * gains.double()
    )
    got = rms_norm(many, gains, 1e-6)
    expect_close(
        got,
        want.bfloat16(),
        "the result for bf16 with gains other than 1",
        tolerance=0.02,
    )
    outlier = torch.ones(64, dtype=torch.float16)
    outlier[7] = 300.0
    gains = (1.5 + randn(64, seed=6)).half()
    want = (
        torch.tensor(norm_by_hand(outlier.tolist(), 1e-5), dtype=torch.float64)
        * gains.double()
    )
    got = rms_norm(outlier, gains)
    expect_close(
        got, want.half(), "the result for fp16 with one channel at 300", tolerance=2e-3
    )


@lab.check(
    points=3,
    section="Fast pairs and slow pairs",
    hints=(
        "D/2 numbers: the first is 1, each of the others is the one before times "
        "theta^(-2/D).",
        "The exponents are -2i/D for i = 0 .. D/2 - 1: torch.arange(0, head_dim, 2) / "
        "head_dim, and a minus sign.",
        "linear works on the frequencies, ntk on theta: neither needs the other.",
        "linear: f / factor. ntk: the unscaled formula with theta * factor ** "
        "(head_dim / (head_dim - 2)).",
    ),
    solution=(
        "happyllm_support.model.rope_scaling:inverse_frequencies",
        "happyllm_support.model.rope_scaling:rope_frequencies",
    ),
)
def rope_frequencies(rope_frequencies: Remote) -> None:
    default = rope_frequencies(8)
    expect_close(
        default,
        torch.tensor([1.0, 0.1, 0.01, 0.001]),
        "the result for D = 8 and the default theta",
    )
    for head_dim, theta, settings in (
        (10, 500.0, {}),
        (8, 10_000.0, LINEAR),
        (6, 500.0, NTK),
        (8, 90.0, NTK),
    ):
        if settings == LINEAR and not right_so_far():
            return
        got = rope_frequencies(head_dim, theta, **settings)
        kind = settings.get("scaling", "none")
        want = reference.rope_frequencies(head_dim, theta, **settings)
        if expect_close(got, want, f"the result for D = {head_dim}, scaling {kind}"):
            # The slowest pairs are small beside the fastest: here each counts by its
            # own size.
            ratio = got / torch.tensor(frequencies_by_hand(head_dim, theta, **settings))
            expect_close(
                ratio,
                torch.ones_like(ratio),
                f"got / expected for scaling {kind}",
                trivial=True,
            )
    same = rope_frequencies(8, 10_000.0, factor=4.0)
    expect_close(
        same, default, "the result for factor 4 without scaling, which changes nothing,"
    )
    stretched = rope_frequencies(8, 10_000.0, scaling="ntk", factor=8.0)
    expect_close(
        stretched, torch.tensor([1.0, 0.05, 0.0025, 0.000125]), "the example for ntk"
    )
    if not right_so_far():
        return
    rope_frequencies.raises(ValueError, 7, 10_000.0)
    rope_frequencies.raises(ValueError, 8, 10_000.0, scaling="cubic", factor=2.0)


@lab.check(
    points=2,
    needs=("rope_frequencies",),
    section="RoPE: turning instead of adding",
    hints=(
        "Keep the frequencies as a buffer, multiply each position with each of them, "
        "take cosine and sine.",
        "positions[:, None, :, None] * inv_freq has the shape (B, 1, T, D/2).",
        "Both halves of D hold the same angles: torch.cat((angles, angles), dim=-1).",
        "__init__: self.register_buffer('inv_freq', rope_frequencies(...), "
        "persistent=False). forward: angles = positions[:, None, :, None] * "
        "self.inv_freq, both halves from torch.cat, return angles.cos(), "
        "angles.sin().",
    ),
    solution=("happyllm_support.model.rope:RotaryPositions",),
)
def RotaryPositions(RotaryPositions: Remote) -> None:
    positions = torch.tensor([[0, 1, 2, 4, 6], [2, 7, 8, 20, 3]])
    rotary = RotaryPositions(6, theta=50.0)
    expect_angles(rotary(positions), positions, 6, {"theta": 50.0}, tolerance=2e-5)
    if not right_so_far():
        return
    learned = ", ".join(name for name, _ in rotary.named_parameters())
    if not expect(
        not learned,
        f"it has a parameter ({learned}); frequencies are not learned: keep them as a "
        "buffer",
    ):
        return
    for settings in ({"theta": 700.0, **LINEAR}, {"theta": 700.0, **NTK}):
        expect_angles(
            RotaryPositions(8, **settings)(positions),
            positions,
            8,
            settings,
            tolerance=2e-5,
        )
    if not right_so_far():
        return
    far = torch.tensor([[1000, 1003, 17]])
    expect_angles(RotaryPositions(4)(far), far, 4, {}, tolerance=1e-3)
    if not right_so_far():
        return
    farther = torch.tensor([[150_000, 100_003, 2048]])
    expect_angles(RotaryPositions(4)(farther), farther, 4, {}, tolerance=0.03)


def _angles(head_dim: int = 6, theta: float = 20.0) -> tuple[Tensor, Tensor]:
    return reference.RotaryPositions(head_dim, theta=theta)(
        torch.tensor([[0, 1, 2, 3, 4], [9, 2, 30, 4, 5]])
    )


def _check_rotation(
    function: Remote,
    exact,
    pairs: list[tuple[int, int]],
    quarter: list[float],
    seed: int,
) -> None:
    """What both layouts have to do, each with its own pairs."""
    cos, sin = _angles()
    x = randn(2, 3, 5, 6, seed=seed)
    got = function(x, cos, sin)
    expect_close(got, exact(x, cos, sin))
    expect_close(got, turned_by_hand(x, cos, sin, pairs).float())
    zero, one = torch.zeros(1, 1, 1, 4), torch.ones(1, 1, 1, 4)
    example = function(torch.tensor([[[[1.0, 2.0, 3.0, 4.0]]]]), zero, one)
    expect_close(example, torch.tensor([[[quarter]]]), "the example, a quarter turn")
    shared = function(x, cos[1:], sin[1:])
    expect_close(
        shared, exact(x, cos[1:], sin[1:]), "the result when all rows share the angles"
    )
    if not right_so_far():
        return
    rough = cancelling(cos, sin, pairs, seed)
    got = function(rough, cos, sin)
    want = turned_by_hand(rough, cos, sin, pairs)
    if expect_close(got, want.bfloat16(), "the result for bf16", tolerance=0.02):
        small = [a for a, _ in pairs]
        what = "for bf16, where two products nearly cancel, the result"
        expect_close(
            got[..., small].float(), want[..., small].float(), what, tolerance=0.02
        )


@lab.check(
    points=3,
    section="RoPE: turning instead of adding",
    hints=(
        "Split the last axis into two halves a and b; each pair (a[i], b[i]) is a "
        "point in the plane that turns.",
        "The minus sign belongs to the first half: a cos - b sin, and b cos + a sin.",
        "With cos and sin of width D: x * cos + torch.cat((-b, a), dim=-1) * sin, "
        "which is fp32, then .to(x.dtype).",
    ),
    solution=("happyllm_support.model.rope:apply_rope",),
)
def apply_rope(apply_rope: Remote) -> None:
    _check_rotation(
        apply_rope,
        reference.apply_rope,
        [(0, 3), (1, 4), (2, 5)],
        [-3.0, -4.0, 1.0, 2.0],
        seed=10,
    )
    q, k = randn(2, 1, 2, 1, 8, seed=12)
    scores = []
    for p, r in ((5, 2), (105, 102)):
        angles = reference.RotaryPositions(8, theta=100.0)
        turned_q = apply_rope(q, *angles(torch.tensor([[p]])))
        scores.append((turned_q * apply_rope(k, *angles(torch.tensor([[r]])))).sum(-1))
    what = "the score of a query at 105 and a key at 102, against 5 and 2,"
    expect_close(scores[1], scores[0], what, tolerance=1e-4, trivial=True)


@lab.check(
    points=2,
    section="Which two channels make a pair?",
    hints=(
        "The formula is that of apply_rope; only a and b are other channels: x[..., "
        "0::2] and x[..., 1::2].",
        "The angle of pair i is in channel i of cos and sin, so take their first half.",
        "Put the results back where they came from: torch.stack((a', b'), "
        "dim=-1).flatten(-2).",
    ),
    solution=("happyllm_support.model.rope:apply_rope_interleaved",),
)
def apply_rope_interleaved(apply_rope_interleaved: Remote) -> None:
    pairs = [(0, 1), (2, 3), (4, 5)]
    exact = reference.apply_rope_interleaved
    _check_rotation(
        apply_rope_interleaved, exact, pairs, [-2.0, 1.0, -4.0, 3.0], seed=20
    )


@lab.check(
    points=2,
    section="Which two channels make a pair?",
    hints=(
        "Look at the rows of one head as D/2 pairs; afterwards there are to be 2 "
        "halves. That is a transposition.",
        "Reshape to (heads, D/2, 2, ...), exchange the axes 1 and 2, reshape back.",
        "The shape behind the rows is weight.shape[1:], which is empty for a bias.",
    ),
    solution=("happyllm_support.model.rope:interleaved_to_half_split",),
)
def interleaved_to_half_split(interleaved_to_half_split: Remote) -> None:
    rows = torch.arange(1.0, 13.0)
    want = rows[[0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]]
    expect_close(
        interleaved_to_half_split(rows, 6), want, "the order of the rows of two heads"
    )
    weight = randn(32, 16, seed=30)
    got = interleaved_to_half_split(weight, 8)
    expect_close(
        got, reference.interleaved_to_half_split(weight, 8), "the weight of four heads"
    )
    other = interleaved_to_half_split(randn(32, 16, seed=31), 8)
    cos, sin = _angles(8)
    x, ours, theirs = randn(2, 5, 16, seed=32), [], []
    for new, old in ((got, weight), (other, randn(32, 16, seed=31))):
        if new.shape != old.shape:
            return
        ours.append(reference.apply_rope(heads(x @ new.T, 8), cos, sin))
        theirs.append(reference.apply_rope_interleaved(heads(x @ old.T, 8), cos, sin))
    scores = theirs[0] @ theirs[1].transpose(-2, -1)
    expect_close(
        ours[0] @ ours[1].transpose(-2, -1),
        scores,
        "the matrix of scores with the converted weights",
    )
    if right_so_far():
        interleaved_to_half_split.raises(ValueError, torch.ones(10, 3), 4)


@lab.check(
    points=1,
    section="SwiGLU: an MLP with a gate",
    hints=(
        "Three nn.Linear with bias=False, called gate_proj, up_proj and down_proj.",
        "The gate passes through F.silu; what it is multiplied with does not.",
        "return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))",
    ),
    solution=("happyllm_support.model.layers:SwiGLU",),
)
def SwiGLU(SwiGLU: Remote) -> None:
    weights = {
        "gate_proj.weight": randn(7, 5, seed=40),
        "up_proj.weight": randn(7, 5, seed=41),
        "down_proj.weight": randn(5, 7, seed=42),
    }
    mlp = SwiGLU(5, 7)
    if not loaded(mlp, weights):
        return
    x = randn(2, 3, 5, seed=43)
    by_name = reference.SwiGLU(5, 7)
    by_name.load_state_dict(weights)
    got = mlp(x)
    if isinstance(got, Tensor) and got.shape == x.shape:
        _, _, gradients = mlp.gradients(x, cotangent=torch.ones_like(x))
        expect_names(gradients, set(weights))
    expect_close(got, by_name(x).detach())
    gate, up, down = (
        weights[f"{name}_proj.weight"].double() for name in ("gate", "up", "down")
    )
    g = x.double() @ gate.T
    expect_close(got, (((g / (1 + (-g).exp())) * (x.double() @ up.T)) @ down.T).float())
    expect_close(mlp(x[0, 0]), by_name(x[0, 0]).detach(), "the result for one vector")


@lab.check(
    points=5,
    needs=("rms_norm", "RotaryPositions", "apply_rope", "SwiGLU"),
    section="The whole model",
    hints=(
        "Begin with the forward of RMSNorm (one line) and Block (two, as in lab 04), "
        "then Attention, then SmallLlama.",
        "Attention: project, split into heads, turn queries and keys (not values), "
        "attend causally, join, o_proj.",
        "Key heads: k.repeat_interleave(H // K, dim=1), or enable_gqa=True; `repeat` "
        "deals them out in turn.",
        "SmallLlama: tok_emb, cos and sin once, the blocks in an nn.ModuleList called "
        "blocks, final_norm, lm_head.",
        "Attention: q = apply_rope(self.q_proj(x).unflatten(-1, (H, D)).transpose(1, "
        "2), cos, sin), k alike with K heads, v not turned; y = "
        "F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True), "
        "then self.o_proj(y.transpose(1, 2).flatten(2)). Block: x = x + "
        "self.attn(self.attn_norm(x), cos, sin), then MLP. SmallLlama: for block in "
        "self.blocks: x = block(x, cos, sin); return "
        "self.lm_head(self.final_norm(x)).",
    ),
    solution=(
        "happyllm_support.model.llama2:Llama2",
        "happyllm_support.model.layers:Block",
        "happyllm_support.model.attention:Attention",
    ),
)
def SmallLlama(SmallLlama: Remote) -> None:
    grouped = {
        "vocab_size": 29,
        "n_layer": 2,
        "n_head": 6,
        "n_kv_head": 2,
        "d_model": 48,
        "d_ff": 20,
    }
    ids = torch.randint(29, (2, 7), generator=torch.Generator().manual_seed(51))
    plain = torch.arange(7).expand(2, -1)
    for sizes, settings, seed in (
        (grouped, {}, 50),
        (
            {**grouped, "n_kv_head": 3, "n_layer": 1},
            {"rope_theta": 60.0, "norm_eps": 0.03},
            53,
        ),
    ):
        weights = llama_weights(**sizes, seed=seed)
        model = SmallLlama(**sizes, **settings)
        if not loaded(model, weights):
            return
        exact = reference.SmallLlama(**sizes, **settings)
        exact.load_state_dict(weights)
        by_hand = partial(
            llama_by_hand,
            weights,
            ids,
            n_head=6,
            n_kv_head=sizes["n_kv_head"],
            **settings,
        )
        got = model(ids)
        cotangent = randn(2, 7, 29, seed=52)
        if isinstance(got, Tensor) and got.shape == cotangent.shape:
            gradients = gradients_of(model, ids, cotangent)
            if not gradients or not expect_names(gradients, set(weights)):
                return
        what = "the result of model(ids)"
        expect_close(got, exact(ids).detach(), what, tolerance=1e-4)
        expect_close(got, by_hand(plain), what, tolerance=1e-4)
        if not right_so_far():
            return
        exact(ids).backward(cotangent)
        for name, parameter in exact.named_parameters():
            if not reached(gradients[name], name):
                return
            expect_close(
                gradients[name],
                parameter.grad,
                f"the gradient of {name}",
                tolerance=1e-3,
            )
        positions = torch.tensor([[0, 1, 2, 3, 9, 10, 11], [4, 5, 8, 12, 13, 17, 30]])
        apart = model(ids, positions=positions)
        what = "the result of model(ids, positions=...)"
        expect_close(
            apart, exact(ids, positions=positions).detach(), what, tolerance=1e-4
        )
        expect_close(apart, by_hand(positions), what, tolerance=1e-4)

        later = model(ids, positions=plain + 100)
        what = "the result 100 places later, which should not change,"
        expect_close(later, got, what, tolerance=1e-3, trivial=True)
        other = ids.clone()
        other[:, 5] = (other[:, 5] + 1) % 29
        changed = model(other)
        what = "the result for the tokens before one that was exchanged"
        expect_close(changed[:, :5], got[:, :5], what, tolerance=1e-4, trivial=True)
        moved = (changed[:, 5:] - got[:, 5:]).abs().amax(-1)
        expect(
            bool((moved > 1e-3).all()),
            "exchanging a token does not change the logits of it and the next one",
        )
