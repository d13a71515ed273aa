"""From GPT-2 to LLaMA2, one change at a time, each rung as large, or as expensive, as
the GPT-2 at the bottom.

A rung keeps all changes of the rungs below it. What a change adds or saves in
parameters (or in arithmetic) is taken from, or given to, the width of the MLPs: `d_ff`
is the one for which the model comes closest to the GPT-2. Where the two demands lie
within 3 % of each other, one model between them serves both. Everything else is equal:
stories, their order, optimizer, learning rate, steps. The lowest rung is the course's
GPT2, the highest its Llama2, weight by weight.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from happyllm_support.experiments import Config, Experiment
from happyllm_support.model.attention import Attention
from happyllm_support.model.context import build_context
from happyllm_support.model.costs import forward_flops_per_token, parameter_counts
from happyllm_support.model.layers import (
    GELUMLP,
    Block,
    LayerNorm,
    RMSNorm,
    SwiGLU,
    initialise_normal,
)
from happyllm_support.model.positions import LearnedPositions, RotaryPositions
from happyllm_support.text.shards.batches import BatchConfig, TokenBatches
from happyllm_support.text.shards.in_memory import InMemoryDataset, encode_documents
from happyllm_support.text.storyworld.world import StoryWorld
from happyllm_support.text.tokenizer.bpe import BPEConfig, train_bpe
from happyllm_support.text.tokenizer.tokenizer import Tokenizer
from happyllm_support.training.evaluation import evaluate
from happyllm_support.training.loop import train
from happyllm_support.training.step import TrainConfig

VOCAB_SIZE, MAX_SEQ_LEN = 1024, 104  # no story that is read here is longer
D_MODEL, N_LAYER, N_HEAD, INIT_STD = 96, 3, 4, 0.1  # the std is about 1 / sqrt(d_model)
STEPS, BATCH_SIZE = 800, 16
TOKENIZER_SEED, TRAIN_SEED, TEST_SEED, TEST_STORIES = 1, 10, 99, 500

GPT2: dict[str, Any] = {
    "positions": "learned",
    "norm": "layer",
    "mlp": "gelu",
    "bias": True,
    "n_kv_head": N_HEAD,
    "tied": True,
}
RUNGS: dict[str, dict[str, Any]] = {
    "GPT-2": {},
    "RMSNorm": {"norm": "rms"},
    "no biases": {"bias": False},
    "SwiGLU": {"mlp": "swiglu"},
    "GQA": {"n_kv_head": N_HEAD // 2},
    "RoPE": {"positions": "rope"},
    "untied": {"tied": False},
}


def parts_of(rung: str) -> dict[str, Any]:
    """The parts of a rung: those of GPT-2 with all changes up to this one."""
    parts = dict(GPT2)
    for name, change in RUNGS.items():
        parts |= change
        if name == rung:
            return parts
    raise ValueError(f"no rung {rung!r}; there are {', '.join(RUNGS)}")


class Hybrid(nn.Module):
    """A model between GPT-2 and LLaMA2, composed of the parts of both."""

    def __init__(self, parts: dict[str, Any], d_ff: int) -> None:
        super().__init__()
        bias, norm = parts["bias"], {"layer": LayerNorm, "rms": RMSNorm}[parts["norm"]]
        mlp = {"gelu": GELUMLP, "swiglu": SwiGLU}[parts["mlp"]]
        learned = parts["positions"] == "learned"
        self.tok_emb = nn.Embedding(VOCAB_SIZE, D_MODEL)
        self.pos_emb = LearnedPositions(MAX_SEQ_LEN, D_MODEL) if learned else None
        self.rotary = None if learned else RotaryPositions(D_MODEL // N_HEAD)
        self.blocks = nn.ModuleList(
            Block(
                norm(D_MODEL),
                Attention(D_MODEL, N_HEAD, parts["n_kv_head"], bias=bias),
                norm(D_MODEL),
                mlp(D_MODEL, d_ff, bias=bias),
            )
            for _ in range(N_LAYER)
        )
        self.final_norm = norm(D_MODEL)
        self.lm_head = nn.Linear(D_MODEL, VOCAB_SIZE, bias=False)
        if parts["tied"]:
            self.lm_head.weight = self.tok_emb.weight

    def forward(
        self,
        ids: Tensor,
        *,
        positions: Tensor | None = None,
        segments: Tensor | None = None,
    ) -> Tensor:
        """Score every token as the next one, as GPT2 and Llama2 do."""
        context = build_context(
            ids,
            positions,
            segments,
            None,
            vocab_size=VOCAB_SIZE,
            max_seq_len=MAX_SEQ_LEN,
            rotary=self.rotary,
        )
        x = self.tok_emb(ids)  # (B, T, C)
        if self.pos_emb is not None:
            x = x + self.pos_emb(context.positions)
        for layer, block in enumerate(self.blocks):
            x = block(x, context, layer)
        return self.lm_head(self.final_norm(x))


def cost(rung: str, d_ff: int, budget: str) -> float:
    """Parameters, or operations per token of a story's length, of a rung's model."""
    with torch.device("meta"):
        model = Hybrid(parts_of(rung), d_ff)
    return (
        sum(parameter_counts(model).values())
        if budget == "parameters"
        else forward_flops_per_token(model, 85)
    )


def width_at_equal(budget: str, rung: str) -> int:
    """The d_ff for which a rung costs what the GPT-2 with d_ff = 4 C costs; costs are
    linear in d_ff.
    """
    at_0, at_1 = cost(rung, 1, budget), cost(rung, 2, budget)
    return round((cost("GPT-2", 4 * D_MODEL, budget) - at_0) / (at_1 - at_0)) + 1


def ladder() -> list[dict[str, int | str]]:
    """A configuration for each rung and budget; one for both where they ask for about
    the same width.
    """
    configs: list[dict[str, int | str]] = []
    for rung in RUNGS:
        widths = {
            budget: width_at_equal(budget, rung) for budget in ("parameters", "flops")
        }
        low, high = sorted(widths.values())
        if high - low <= 0.03 * low:
            widths = {"both": (low + high) // 2}
        configs += [
            {"rung": rung, "equal": budget, "d_ff": d_ff}
            for budget, d_ff in widths.items()
        ]
    return configs


@cache
def tokenizer() -> Tokenizer:
    """The tokenizer of the experiment: 2,000 stories, 1,024 ids."""
    stories = StoryWorld().stories(2_000, seed=TOKENIZER_SEED)
    return Tokenizer(train_bpe(stories, BPEConfig(vocab_size=VOCAB_SIZE)))


@cache
def stories(n: int, seed: int) -> InMemoryDataset:
    """Stories as documents of token ids."""
    return encode_documents(StoryWorld().stories(n, seed=seed), tokenizer())


def rows(
    data: InMemoryDataset, *, seed: int = 0, training: bool = True
) -> TokenBatches:
    """One story per row."""
    return TokenBatches(
        data,
        BatchConfig(
            batch_size=BATCH_SIZE if training else 50,
            seq_len=MAX_SEQ_LEN,
            mode="documents",
            seed=seed,
            shuffle=training,
        ),
    )


def build(rung: str, d_ff: int, seed: int) -> Hybrid:
    """A rung's model with its initial weights."""
    model, generator = Hybrid(parts_of(rung), d_ff), torch.Generator().manual_seed(seed)
    initialise_normal(
        model,
        INIT_STD,
        residual_std=INIT_STD * (2 * N_LAYER) ** -0.5,
        generator=generator,
    )
    if model.pos_emb is not None:
        nn.init.normal_(model.pos_emb.weight, std=INIT_STD / 2, generator=generator)
    return model


def recipe(steps: int = STEPS) -> TrainConfig:
    """How all rungs are trained."""
    return TrainConfig(
        steps=steps,
        lr=3e-3,
        warmup_steps=60,
        min_lr_ratio=0.0,
        betas=(0.9, 0.99),
        weight_decay=0.0,
        grad_clip=1.0,
    )


def run(config: Config, seed: int) -> dict[str, Any]:
    """Train one rung and measure it on 500 stories that it has not seen.

    Returns:
        `nats_per_story` on held-out stories and the `entropy` below which no model
        gets; `curve`, the training loss in nats per token as a mean over each 50 steps;
        the model's `parameters` and `flops_per_token`.
    """
    torch.set_num_threads(1)
    rung, d_ff = str(config["rung"]), int(config["d_ff"])
    model = build(rung, d_ff, seed)
    steps = recipe().steps
    records = train(
        model, rows(stories(steps * BATCH_SIZE, TRAIN_SEED + seed), seed=seed), recipe()
    )
    losses = torch.tensor([record.loss for record in records])
    held_out = evaluate(
        model, rows(stories(TEST_STORIES, TEST_SEED), training=False).epoch()
    )
    return {
        "nats_per_story": round(held_out.nats_per_document, 4),
        "entropy": round(StoryWorld().entropy, 6),
        "curve": [round(loss, 4) for loss in losses.view(-1, 50).mean(dim=1).tolist()],
        "parameters": sum(parameter_counts(model).values()),
        "flops_per_token": forward_flops_per_token(model, 85),
    }


EXPERIMENTS = [Experiment(name="ladder", run=run, configs=ladder(), seeds=(0, 1, 2))]
