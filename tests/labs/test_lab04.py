"""Lab 04: true examples, given parts that compute what the package does, mistakes in a
learner's own words.
"""

import math
import re
import types
from pathlib import Path

import pytest
import torch

from happyllm_support.grading.grader import Grader, Solution
from happyllm_support.grading.judge import Status, judge_locally
from happyllm_support.grading.labs import load_lab, load_module
from happyllm_support.grading.stubs import read_stub

LABS = Path(__file__).resolve().parent.parent.parent / "labs"
LAB = load_lab(LABS, "04")
SOLUTION = (Path(__file__).parent / "solutions" / "lab04.py").read_text("utf-8")


@pytest.fixture(scope="module")
def lab():
    return LAB.reference


@pytest.fixture(scope="module")
def stub():
    module = types.ModuleType("pristine_stub")
    exec(read_stub(LAB), vars(module))
    return module


def test_the_examples_in_the_docstrings(lab):
    normed = lab["layer_norm"](
        torch.tensor([1.0, 3.0]), torch.ones(2), torch.tensor([0.0, 10.0]), 0.0
    )
    assert normed.tolist() == [-1, 11]
    ones = torch.tensor([1.0, -1.0], dtype=torch.float64)
    assert lab["gelu"](ones).tolist() == pytest.approx([0.841192, -0.158808], abs=5e-7)
    assert torch.nn.functional.gelu(ones).tolist() == pytest.approx(
        [0.841345, -0.158655], abs=5e-7
    )
    name = "blocks.0.attn.o_proj.weight"
    drawn = lab["initialise"]({name: (400, 400)}, 8, torch.Generator().manual_seed(0))[
        name
    ]
    assert drawn.std().item() == pytest.approx(0.005, rel=0.01)
    assert 0.02 / math.sqrt(16) == pytest.approx(0.005)


def test_the_given_attention_and_norm_are_those_of_the_package(lab, stub):
    x = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(1))
    for name, sizes in (
        ("Attention", (12, 3)),
        ("LayerNorm", (12,)),
        ("StandIn", (12,)),
    ):
        given, packaged = getattr(stub, name)(*sizes), lab[name](*sizes)
        packaged.load_state_dict(given.state_dict())
        torch.testing.assert_close(given(x), packaged(x))
        assert not torch.allclose(given(x), given(x + torch.arange(12.0)))


def test_the_checkpoint_of_the_check_is_named_as_that_of_transformers():
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {
        "vocab_size": 9,
        "n_positions": 5,
        "n_embd": 6,
        "n_inner": 10,
        "n_layer": 2,
        "n_head": 2,
    }
    theirs = GPT2LMHeadModel(GPT2Config(**sizes)).state_dict()
    load_lab(LABS, "04")
    made, _ = load_module(LABS / "lab04_gpt2", "by_hand").checkpoint(
        2, 6, 10, seed=1, prefix="transformer."
    )
    assert {
        name: t.shape for name, t in theirs.items() if name != "lm_head.weight"
    } == {n: t.shape for n, t in made.items()}


NATURAL_LOAD = """
    def load(self, parameters):
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.copy_(parameters[name])
"""
LEARNERS = f"""
class GPT2(nn.Module):
    def __init__(self, vocab_size, max_seq_len, n_layer, n_head, d_model):
        super().__init__()
        self.tok_emb = nn.Embedding(vocab_size, d_model)
        self.pos_emb = nn.Embedding(max_seq_len, d_model)
        blocks = [self.make(n_head, d_model) for _ in range(n_layer)]
        self.blocks = nn.ModuleList(blocks)
        self.final_norm = LayerNorm(d_model)
        self.lm_head = nn.Linear(d_model, vocab_size, bias=False)
        self.lm_head.weight = self.tok_emb.weight

    def make(self, n_head, d_model):
        attn, mlp = Attention(d_model, n_head), GELUMLP(d_model, 4 * d_model)
        return Block(LayerNorm(d_model), attn, LayerNorm(d_model), mlp)

    def forward(self, ids):
        x = self.tok_emb(ids) + self.pos_emb(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.lm_head(self.final_norm(x))

    def num_parameters(self):
        return sum(p.numel() for p in self.parameters())
{NATURAL_LOAD}
"""
TIE = "        self.lm_head.weight = self.tok_emb.weight\n"


def learners(*changes):
    """The class with pieces replaced."""
    source = LEARNERS
    for old, new in changes:
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    namespace = {"__name__": "learner"}
    exec(SOLUTION, namespace)
    exec(source, namespace)
    return namespace["GPT2"]


@pytest.mark.parametrize(
    "load",
    [
        "self.load_state_dict(parameters, strict=False)",
        "self.load_state_dict({**parameters, 'lm_head.weight': "
        "parameters['tok_emb.weight']})",
        "[self.get_parameter(name).data.copy_(parameters[name]) for name in "
        "parameters]",
        "for name, p in self.named_parameters(): p.data = parameters[name]",
        "self.load_state_dict(parameters, strict=False, assign=True); "
        "self.lm_head.weight = self.tok_emb.weight",
        "with torch.no_grad(): [p.copy_(parameters[name]) for name, p in "
        "self.named_parameters()]",
    ],
)
def test_a_model_as_one_writes_it_passes(load):
    loading = f"\n    def load(self, parameters):\n        {load}\n"
    verdict = judge_locally(LAB, "GPT2", learners((NATURAL_LOAD, loading)))
    assert verdict.status is Status.PASS, verdict.diagnosis


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ((TIE, ""), "NotTied"),
        (
            (
                TIE,
                "        self.lm_head.weight = "
                "nn.Parameter(self.tok_emb.weight.clone())\n",
            ),
            "NotTied",
        ),
        (
            (TIE, "        self.lm_head.weight.data = self.tok_emb.weight.data\n"),
            "SharedMemory",
        ),
        (("nn.ModuleList(blocks)", "[]"), "PythonList"),
        (
            (
                "[self.make(n_head, d_model) for _ in range(n_layer)]",
                "[self.make(n_head, d_model)] * n_layer",
            ),
            "OneBlock",
        ),
        (("x = block(x)", "block(x)"), "NotReassigned"),
        (
            ("torch.arange(ids.shape[1])", "torch.arange(1, ids.shape[1] + 1)"),
            "PositionsFromOne",
        ),
        (("self.lm_head(self.final_norm(x))", "self.lm_head(x)"), "NoFinalNorm"),
        (
            ("        with torch.no_grad():\n", "        if True:\n"),
            "LoadsWithGradients",
        ),
        (
            ("parameter.copy_(parameters[name])", "parameter = parameters[name]"),
            "LoadsNothing",
        ),
        (
            (
                NATURAL_LOAD,
                "\n    def load(self, parameters):\n        "
                "self.load_state_dict(parameters)\n",
            ),
            "StrictLoad",
        ),
    ],
)
def test_a_mistake_in_such_a_model_is_named(change, named):
    verdict = judge_locally(LAB, "GPT2", learners(change))
    assert verdict.status is Status.FAIL and verdict.diagnosis.mutant, verdict.diagnosis
    assert (
        verdict.diagnosis.mutant.code
        is {m.code.__qualname__: m.code for m in LAB.mutants_of("GPT2")}[named]
    )


def test_norms_that_are_one_object_are_named():
    twice = (
        "return Block((norm := LayerNorm(d_model)), Attention(d_model, n_head), "
        "norm, GELUMLP(d_model, 4 * d_model))"
    )
    right = re.search(r"return Block\(.*\)", LEARNERS)[0]
    verdict = judge_locally(LAB, "GPT2", learners((right, twice)))
    assert verdict.diagnosis.mutant.code.__name__ == "SameNormTwice"


def reading(tensors, n_layer, *, skip=(), prefix="transformer."):
    """A `load_conv1d` as one writes it, with mistakes on demand."""
    ours, names = (
        {},
        {"ln_1": "attn_norm", "ln_2": "mlp_norm", "attn.c_proj": "attn.o_proj"},
    )
    names |= {
        "mlp.c_fc": "mlp.up_proj",
        "mlp.c_proj": "mlp.down_proj",
        "attn.c_attn": "attn.qkv",
    }
    rest = {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if not name.endswith(skip)
    }
    for there, here in {"wte": "tok_emb", "wpe": "pos_emb"}.items():
        ours[f"{here}.weight"] = rest.pop(f"{there}.weight")
    for kind in ("weight", "bias"):
        ours[f"final_norm.{kind}"] = rest.pop(f"ln_f.{kind}")
        for i in range(n_layer):
            for there, here in names.items():
                tensor = rest.pop(f"h.{i}.{there}.{kind}")
                tensor = tensor.T if tensor.ndim == 2 else tensor
                if here == "attn.qkv":
                    for part, piece in zip("qkv", tensor.chunk(3), strict=True):
                        ours[f"blocks.{i}.attn.{part}_proj.{kind}"] = piece
                else:
                    ours[f"blocks.{i}.{here}.{kind}"] = tensor
    return ours


def test_what_a_refused_file_was_is_said():
    swallowing = judge_locally(
        LAB, "load_conv1d", lambda tensors, n: reading(tensors, n, skip=("attn.bias",))
    )
    assert (
        "a whole file of two blocks is not understood" in swallowing.diagnosis.symptom
    )
    assert "does a rule for h.0.attn.bias catch" in swallowing.diagnosis.symptom
    accepting = judge_locally(LAB, "load_conv1d", reading)
    assert "h.1.mlp.gate.weight, is accepted" in accepting.diagnosis.symptom
    assert accepting.diagnosis.mutant.code.__name__ == "UnknownIgnored"

    def without_prefix(tensors, n_layer):
        if any(name.startswith("transformer.") for name in tensors):
            raise KeyError("wte.weight")
        return LAB.reference["load_conv1d"](tensors, n_layer)

    verdict = judge_locally(LAB, "load_conv1d", without_prefix)
    assert (
        "whose names have the prefix transformer. is not understood"
        in verdict.diagnosis.symptom
    )


def drawing(shapes, n_layer, generator, std=0.02):
    """An `initialise` with 0.02 written into it."""
    drawn = {}
    for name, shape in shapes.items():
        tensor = torch.zeros(shape) if name.endswith("bias") else torch.ones(shape)
        if len(shape) == 2:
            scale = (
                0.02 / math.sqrt(2 * n_layer)
                if name.endswith(("o_proj.weight", "down_proj.weight"))
                else 0.02
            )
            torch.nn.init.normal_(
                tensor, 0.0, 0.01 if "pos_emb" in name else scale, generator=generator
            )
        drawn[name] = tensor
    return drawn


def test_numbers_written_into_the_code_and_missing_names_are_named():
    verdict = judge_locally(LAB, "initialise", drawing)
    assert (
        verdict.diagnosis.mutant.says
        == "the argument std is not used, and 0.02 always is"
    )
    right = LAB.reference["initialise"]
    lacking = judge_locally(
        LAB,
        "initialise",
        lambda shapes, *rest, **std: {
            n: t for n, t in right(shapes, *rest, **std).items() if t.ndim > 1
        },
    )
    assert lacking.diagnosis.symptom.startswith(
        "the result lacks blocks.0.attn_norm.weight, "
    )
    assert lacking.diagnosis.mutant.code.__name__ == "only_matrices"


NORMS = (
    "F.group_norm(x.reshape(-1, 5), 1, weight, bias, eps).view_as(x)",
    "F.instance_norm(x.reshape(1, -1, 5), eps=eps).view_as(x) * weight + bias",
    "F.batch_norm(x.reshape(-1, 5).T, None, None, None, None, True, 0.1, "
    "eps).T.view_as(x) * weight + bias",
    "torch.ops.aten.native_group_norm(x, weight, bias, len(x), 5, 1, 1, eps)[0]",
)


@pytest.mark.parametrize("norm", NORMS)
def test_other_norms_are_refused(norm, launcher):
    source = (
        "import torch\nfrom torch.nn import functional as F\n"
        f"def layer_norm(x, weight, bias, eps=1e-5):\n    return {norm}"
    )
    solution = Solution(source=source, filename="gpt2.py")
    verdict = Grader(LABS, launcher=launcher).run(LAB, "layer_norm", solution)
    assert verdict.status is Status.FAIL and "forbids" in verdict.diagnosis.symptom
