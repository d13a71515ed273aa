"""The checks of lab 04."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from happyllm_support.grading.compare import (
    expect,
    expect_close,
    expect_equal,
    right_so_far,
)
from happyllm_support.grading.labs import Lab
from happyllm_support.grading.remote import Remote

from . import reference
from .by_hand import (
    SIZES,
    attention64,
    checkpoint,
    gelu_by_loops,
    gelu_slope,
    linear64,
    model64,
    model_weights,
    norm64,
    norm_by_loops,
    normal,
    part_weights,
    seeded,
    shapes_of,
)
from .expectations import (
    expect_drawn,
    expect_one_table,
    expect_order,
    expect_refused,
    expect_tensors,
    translated,
)

lab = Lab("GPT-2", minutes=100)
LAYERS = "happyllm_support.model.layers"
NORMS = (  # of which a layer norm is a special case, or can be made
    "native_layer_norm",
    "layer_norm",
    "native_group_norm",
    "group_norm",
    "instance_norm",
    "batch_norm",
    "native_batch_norm",
    "_batch_norm_impl_index",
    "_batch_norm_no_update",
    "_batch_norm_with_update",
    "_batch_norm_with_update_functional",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_functional",
    "_native_batch_norm_legit_no_training",
    "cudnn_batch_norm",
    "miopen_batch_norm",
)


@lab.check(
    points=1,
    section="A steady scale: LayerNorm",
    hints=(
        "Each token is on its own: both statistics are taken over the last axis only, "
        "and keep it (keepdim=True).",
        "centred = x minus its mean; the variance is the mean of centred squared. "
        "Where does eps go?",
        "centred / torch.sqrt(variance + eps) * weight + bias",
    ),
    solution=(f"{LAYERS}:LayerNorm",),
    no_operators=NORMS,
    no_functions=tuple(
        f"torch.nn.functional.{kind}_norm"
        for kind in ("layer", "group", "instance", "batch")
    ),
)
def layer_norm(layer_norm: Remote) -> None:
    """Small numbers first, where eps shows; three axes; an example; a large mean;
    gradients.
    """
    weight, bias = 1 + normal(5, seed=1, scale=0.4), normal(5, seed=2, scale=0.4)
    small = normal(4, 5, seed=4, scale=0.01)
    loops = norm_by_loops(small.double(), weight.double(), bias.double(), 1e-4).float()
    if not expect_close(
        layer_norm(small, weight, bias, 1e-4),
        loops,
        "the result for x near 0.01 and eps = 1e-4",
    ):
        return
    x = 0.5 + normal(2, 3, 5, seed=3, scale=1.5)
    if not expect_close(
        layer_norm(x, weight, bias), reference.layer_norm(x, weight, bias)
    ):
        return
    quiet = normal(4, 5, seed=7, scale=0.01)
    loops = norm_by_loops(quiet.double(), weight.double(), bias.double(), 1e-5).float()
    if not expect_close(
        layer_norm(quiet, weight, bias),
        loops,
        "the result for x near 0.01 without an argument eps",
    ):
        return
    example = layer_norm(
        torch.tensor([1.0, 3.0]), torch.ones(2), torch.tensor([0.0, 10.0]), eps=0.0
    )
    expect_close(example, torch.tensor([-1.0, 11.0]), "the result for [1, 3]")
    far = 1000 + normal(3, 5, seed=5)
    want = F.layer_norm(far.double(), (5,), weight.double(), bias.double()).float()
    expect_close(
        layer_norm(far, weight, bias),
        want,
        "the result for tokens whose mean is 1,000",
        tolerance=2e-3,
    )
    if not right_so_far():
        return
    x64, cotangent = (
        x.double().requires_grad_(),
        normal(2, 3, 5, seed=6, dtype=torch.float64),
    )
    want = F.layer_norm(x64, (5,), weight.double(), bias.double())
    want.backward(cotangent)
    got, grads, _ = layer_norm.gradients(
        x.double(), weight.double(), bias.double(), cotangent=cotangent
    )
    expect_close(got, want.detach(), "the result in float64", tolerance=1e-9)
    if expect(grads[0] is not None, "no gradient reaches x"):
        expect_close(grads[0], x64.grad, "the gradient of x", tolerance=1e-7)


@lab.check(
    points=1,
    section="Thinking: the MLP and its GELU",
    hints=(
        "Everything in the formula works on each number by itself: torch.tanh, "
        "math.sqrt and arithmetic are enough.",
        "The factor sqrt(2 / pi) stands in front of the whole bracket, x + 0.044715 x "
        "cubed.",
        "x / 2 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))",
    ),
    solution=(f"{LAYERS}:GELUMLP",),
    no_operators=("gelu", "gelu_"),
)
def gelu(gelu: Remote) -> None:
    example = gelu(torch.tensor([1.0, -1.0, 3.0]))
    expect_close(
        example,
        torch.tensor([0.841192, -0.158808, 2.996363]),
        "gelu of [1, -1, 3]",
        tolerance=2e-6,
    )
    # Where the two forms differ: negative numbers, whose results are small.
    left = torch.linspace(-5, -0.5, 37)
    expect_close(gelu(left), reference.gelu(left), "gelu from -5 to -0.5")
    x = normal(2, 3, 5, seed=1, scale=2, dtype=torch.float64)
    expect_close(gelu(x), gelu_by_loops(x), "gelu in float64", tolerance=1e-9)
    ends = torch.tensor([[-1000.0, -30.0, 7.0], [30.0, 500.0, 1000.0]])
    expect_close(gelu(ends), ends.clamp(min=0), "gelu of large numbers")
    cotangent = normal(2, 3, 5, seed=2, dtype=torch.float64)
    got, grads, _ = gelu.gradients(x, cotangent=cotangent)
    # x Phi(x) - (-x) Phi(-x) is x for every distribution function that is symmetric.
    expect_close(got - gelu(-x), x, "gelu(x) - gelu(-x), which is x,", tolerance=1e-9)
    if expect(grads[0] is not None, "no gradient reaches x"):
        expect_close(
            grads[0], cotangent * gelu_slope(x), "the gradient of x", tolerance=1e-7
        )


@lab.check(
    points=2,
    needs=("gelu",),
    section="Thinking: the MLP and its GELU",
    hints=(
        "Two nn.Linear, made in __init__ and assigned to self under the names that "
        "the docstring gives.",
        "The bend stands between them, once. Should you use PyTorch's: its default is "
        "the other form.",
        "self.down_proj(gelu(self.up_proj(x)))",
    ),
    solution=(f"{LAYERS}:GELUMLP",),
)
def GELUMLP(GELUMLP: Remote) -> None:
    weights = {
        "up_proj.weight": normal(10, 6, seed=1, scale=0.7),
        "up_proj.bias": normal(10, seed=2) - 0.7,
        "down_proj.weight": normal(6, 10, seed=3, scale=0.4),
        "down_proj.bias": normal(6, seed=4, scale=0.3),
    }
    mlp = GELUMLP(6, 10)
    for kind in (
        "weight",
        "bias",
    ):  # one after the other: a wrong name and a missing bias are different mistakes
        mlp.load_parameters(
            {name: value for name, value in weights.items() if name.endswith(kind)}
        )
    expected = reference.GELUMLP(6, 10)
    expected.load_state_dict(weights)
    x = normal(2, 3, 6, seed=5)
    with torch.no_grad():
        expect_close(mlp(x), expected(x))
    up = (
        torch.einsum("fc,btc->btf", weights["up_proj.weight"].double(), x.double())
        + weights["up_proj.bias"]
    )
    loops = torch.einsum(
        "cf,btf->btc", weights["down_proj.weight"].double(), gelu_by_loops(up)
    )
    expect_close(
        mlp(x),
        (loops + weights["down_proj.bias"]).float(),
        "the result, against one in float64",
    )
    # Pre-activations near -2.7, where the two forms of GELU are farthest apart.
    weights = {
        name: value if "weight" in name else torch.zeros_like(value)
        for name, value in weights.items()
    }
    mlp.load_parameters({**weights, "up_proj.bias": torch.full((10,), -2.7)})
    quiet = normal(4, 6, seed=6, scale=0.2)
    want = gelu_by_loops(quiet.double() @ weights["up_proj.weight"].double().T - 2.7)
    want = (want @ weights["down_proj.weight"].double().T).float()
    expect_close(
        mlp(quiet), want, "the result for pre-activations near -2.7", tolerance=2e-5
    )
    _, _, grads = mlp.gradients(quiet, cotangent=normal(4, 6, seed=7))
    expected.load_state_dict({**weights, "up_proj.bias": torch.full((10,), -2.7)})
    expected(quiet).backward(normal(4, 6, seed=7))
    for name, parameter in expected.named_parameters():
        if expect(grads.get(name) is not None, f"no gradient reaches {name}"):
            expect_close(
                grads[name], parameter.grad, f"the gradient of {name}", tolerance=1e-4
            )


@lab.check(
    points=2,
    section="The block, and then all of it",
    hints=(
        "Keep the four parts under their names in __init__; forward is the two lines "
        "of the docstring.",
        "The norm is read by the part only. What is added to is the stream as it came "
        "in, not its norm.",
        "The second line starts from the result of the first, in both of its places.",
        "x = x + self.attn(self.attn_norm(x)); return x + self.mlp(self.mlp_norm(x))",
    ),
    solution=(f"{LAYERS}:Block",),
)
def Block(Block: Remote) -> None:
    width, n_head = 6, 2
    weights = part_weights(width, seed=1)
    made = {
        "attn_norm": Block.given("LayerNorm")(width),
        "attn": Block.given("Attention")(width, n_head),
        "mlp_norm": Block.given("LayerNorm")(width),
        "mlp": Block.given("StandIn")(width),
    }
    block = Block(*made.values())
    for name, part in made.items():
        part.load_parameters(
            {
                key.removeprefix(f"{name}."): w
                for key, w in weights.items()
                if key.startswith(f"{name}.")
            }
        )
    x = 1 + normal(2, 5, width, seed=2, scale=3)
    parts = (
        reference.LayerNorm(width),
        reference.Attention(width, n_head),
        reference.LayerNorm(width),
    )
    expected = reference.Block(*parts, reference.StandIn(width))
    expected.load_state_dict(weights)
    with torch.no_grad():
        expect_close(block(x), expected(x))
    x64 = x.double().requires_grad_()
    middle = x64 + attention64(
        norm64(x64, weights, "attn_norm"), weights, "attn", n_head
    )
    want = middle + torch.tanh(
        linear64(norm64(middle, weights, "mlp_norm"), weights, "mlp.proj")
    )
    one = slice(1, 2), slice(0, 3)
    expect_close(
        block(x[one]),
        want[one].detach().float(),
        "the result for a shorter row, against one in float64",
    )
    names = block.parameters()
    absent = [name for name in weights if name not in names]
    if not expect(
        not absent,
        f"the block has no parameter {', '.join(absent[:2])}; its parts need their "
        "four names",
    ):
        return
    cotangent = normal(2, 5, width, seed=3)
    _, grads, _ = block.forward.gradients(x, cotangent=cotangent)
    want.backward(cotangent.double())
    if expect(grads[0] is not None, "no gradient reaches x"):
        expect_close(grads[0], x64.grad.float(), "the gradient of x", tolerance=1e-4)
    # Parts that write nothing leave the stream as it is.
    silent = {
        name: torch.zeros_like(weights[name])
        for name in weights
        if name.startswith(("attn.o_", "mlp.proj"))
    }
    block.load_parameters(silent)
    expect_close(block(x), x, "the stream behind parts that write nothing")


@lab.check(
    points=3,
    section="Why some weights start smaller",
    hints=(
        "Go through shapes.items(); the number of axes and the end of the name decide "
        "which of the five cases it is.",
        "torch.randn(shape, generator=generator) has the standard deviation 1; "
        "multiply it by the one that you need.",
        "Two parts of each block write into the stream, so 2 n_layer of them are "
        "added up. Variances add: a root.",
        'name.endswith(("o_proj.weight", "down_proj.weight")) tells the writers: std '
        "/ math.sqrt(2 * n_layer).",
    ),
    solution=(
        f"{LAYERS}:initialise_normal",
        "happyllm_support.model.gpt2:GPT2.initialise",
    ),
)
def initialise(initialise: Remote) -> None:
    shapes = shapes_of(48, 80)
    first = initialise(shapes, 8, seeded(1))
    if not expect_drawn(first, shapes, 8, 0.02):
        return
    again, other = initialise(shapes, 8, seeded(1)), initialise(shapes, 8, seeded(2))
    table, q, k = (
        "tok_emb.weight",
        "blocks.0.attn.q_proj.weight",
        "blocks.0.attn.k_proj.weight",
    )
    expect(
        torch.equal(again[table], first[table]),
        "two generators with the same seed give different numbers",
    )
    expect(
        not torch.equal(first[table], other[table]),
        "two generators with different seeds give the same numbers",
    )
    if not right_so_far():
        return
    near = torch.corrcoef(torch.stack([first[q].flatten(), first[k].flatten()]))[
        0, 1
    ].item()
    if not expect(
        abs(near) < 0.3,
        f"q_proj and k_proj hold the same numbers (correlation {near:.2f})",
    ):
        return
    if expect_order(initialise):
        expect_drawn(
            initialise(shapes_of(40, 60), 3, seeded(3), std=0.1),
            shapes_of(40, 60),
            3,
            0.1,
        )


@lab.check(
    points=4,
    needs=("GELUMLP", "Block"),
    section="One table, used twice",
    hints=(
        "Build all parts in __init__ under their names, then make lm_head.weight the "
        "same object as tok_emb.weight.",
        "self.parameters() lists a shared parameter once; state_dict() and its kin "
        "list it under both names.",
        "load: copying values into the parameters that exist (load_state_dict with "
        "strict=False does) keeps the tie; putting new parameters in their place "
        "cuts it.",
        "self.lm_head.weight = self.tok_emb.weight, in __init__, and again after "
        "anything that may part them.",
    ),
    solution=("happyllm_support.model.gpt2:GPT2",),
)
def GPT2(GPT2: Remote) -> None:
    """The forward pass and the tie first, in a model whose parameters the check has
    set; `load` after that.
    """
    weights, others = model_weights(1), model_weights(2)
    table = "tok_emb.weight"
    ids, longest = (
        torch.randint(13, (2, 5), generator=seeded(3)),
        torch.randint(13, (1, 7), generator=seeded(4)),
    )
    model = GPT2(**SIZES)
    model.load_parameters({"lm_head.weight": model_weights(5)[table]})
    model.load_parameters(weights)
    expected = reference.GPT2(**SIZES)
    expected.load(weights)
    with torch.no_grad():
        if not expect_close(model(ids), expected(ids), "the result", tolerance=3e-5):
            return
    if not expect_close(
        model(longest),
        model64(longest, weights).float(),
        "the result for 7 tokens",
        tolerance=3e-5,
    ):
        return
    head = model.get("lm_head.weight")
    if not expect_close(
        head, weights[table], "lm_head.weight, after tok_emb.weight has been changed,"
    ):
        return
    if not expect_one_table(model, ids, weights, "in a new model"):
        return
    if not expect_equal(
        model.num_parameters(),
        sum(w.numel() for w in weights.values()),
        "num_parameters()",
    ):
        return
    model.load(others)
    if not expect_close(
        model(ids),
        model64(ids, others).float(),
        "after load, the result",
        tolerance=3e-5,
    ):
        return
    if not expect_one_table(model, ids, others, "after load"):
        return
    model.load_parameters({"lm_head.weight": weights[table]})
    want = model64(ids, {**others, table: weights[table]}).float()
    expect_close(
        model(ids),
        want,
        "after load and a change of lm_head.weight, the result",
        tolerance=3e-5,
    )


@lab.check(
    points=4,
    section="The real one",
    hints=(
        "Write the table of the docstring down as pairs of names for one block; "
        "everything else follows from it.",
        "A Conv1D's weight needs .T, also where it is square and nothing complains. "
        "Tables and norms stay as they are.",
        "c_attn: weight.T.chunk(3) and bias.chunk(3) are q, k and v, in this order.",
        "Take what you use out of a copy of the dict (pop). What is left over at the "
        "end is unknown, unless it is one of the three exceptions; a pop that finds "
        "nothing is a missing one.",
        'rest = {name.removeprefix("transformer."): t for name, t in tensors.items()}; '
        "then, for each pair of names: "
        "if there not in rest, raise ValueError(there), else take rest.pop(there), .T "
        "where it is a Conv1D's weight.",
    ),
    solution=(
        "happyllm_support.model.weights.huggingface_gpt2:gpt2_layout",
        "happyllm_support.model.weights.huggingface_gpt2:_rows",
        "happyllm_support.model.weights.huggingface_gpt2:_conv1d",
        "happyllm_support.model.weights.tensor_layout:Stored.take_apart",
    ),
)
def load_conv1d(load_conv1d: Remote) -> None:
    theirs, ours = checkpoint(2, 6, 10, seed=1)
    got = translated(load_conv1d, theirs, 2, "a whole file of two blocks")
    if not right_so_far() or not expect_tensors(got, ours, "the result"):
        return
    x = normal(
        3, 6, seed=2, dtype=torch.float64
    )  # the layer computes what the Conv1D computed
    for n, part in enumerate("qkv"):
        name, columns = f"blocks.1.attn.{part}_proj", slice(6 * n, 6 * n + 6)
        want = (
            x @ theirs["h.1.attn.c_attn.weight"].double()
            + theirs["h.1.attn.c_attn.bias"]
        )[:, columns]
        expect_close(
            F.linear(x, got[f"{name}.weight"].double(), got[f"{name}.bias"].double()),
            want,
            name,
        )
    for extra in ("h.1.mlp.gate.weight", "h.5.attn.c_attn.bias", "rotary.weight"):
        more = {**theirs, extra: torch.ones(2)}
        if not expect_refused(
            load_conv1d, more, 2, extra, f"a file with an unknown tensor, {extra},"
        ):
            return
    for lost in ("h.1.attn.c_attn.bias", "ln_f.weight"):
        fewer = {name: t for name, t in theirs.items() if name != lost}
        if not expect_refused(load_conv1d, fewer, 2, lost, f"a file that lacks {lost}"):
            return
    if not expect_refused(
        load_conv1d, theirs, 1, "h.1.", "a file of two blocks, given n_layer = 1,"
    ):
        return
    if not expect_refused(
        load_conv1d, theirs, 3, "h.2.", "a file of two blocks, given n_layer = 3,"
    ):
        return
    files = (
        ("a file of 11 blocks", 11, checkpoint(11, 2, 3, seed=3)),
        (
            "a file whose names have the prefix transformer.",
            2,
            checkpoint(2, 4, 6, seed=5, prefix="transformer."),
        ),
        ("a file with masks and a head", 2, checkpoint(2, 4, 6, seed=4, extras=True)),
        (
            "a file with a prefix, masks and a head",
            2,
            checkpoint(2, 4, 6, seed=4, prefix="transformer.", extras=True),
        ),
    )
    for what, n_layer, (theirs, ours) in files:
        got = translated(load_conv1d, theirs, n_layer, what)
        if not right_so_far() or not expect_tensors(
            got, ours, f"the result for {what}"
        ):
            return
