"""Loss by position up to 16 times the trained length: learned positions, and RoPE with
each kind of scaling.

Models read rows of 256 tokens, stories end to end, and attend to the whole row, as a
plain GPT stream does: positions run on from story to story. Then they read rows of
4,096. What a token needs stands at most a story back, so a model that copes with the
new positions pays the same everywhere, and what it pays more is the price of the
positions alone.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import torch
from torch import nn

from happyllm_support.experiments import Config, Experiment
from happyllm_support.model.gpt2 import GPT2, GPT2Config
from happyllm_support.model.llama2 import Llama2, Llama2Config
from happyllm_support.model.positions import RopeScaling
from happyllm_support.text.shards.batches import BatchConfig, TokenBatches
from happyllm_support.text.shards.in_memory import InMemoryDataset, encode_documents
from happyllm_support.text.shards.packing import IGNORE_INDEX
from happyllm_support.text.storyworld.world import StoryWorld
from happyllm_support.text.tokenizer.bpe import BPEConfig, train_bpe
from happyllm_support.text.tokenizer.tokenizer import Tokenizer
from happyllm_support.training.loop import train
from happyllm_support.training.loss import token_losses
from happyllm_support.training.step import TrainConfig

VOCAB_SIZE, TRAINED, LONGEST, FACTOR = 1024, 256, 4096, 8.0
STEPS, BATCH_SIZE, TEST_ROWS, BIN = 1_000, 4, 8, 64
TOKENIZER_SEED, TRAIN_SEED, TEST_SEED = 1, 20, 98

SIZES: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "max_seq_len": LONGEST,
    "n_layer": 2,
    "n_head": 4,
    "d_model": 64,
    "init_std": 0.08,
}
LLAMA = Llama2Config(**SIZES, n_kv_head=2, d_ff=192)
# As many positions as will be asked for; training meets the first 256.
LEARNED = GPT2Config(**SIZES)
KINDS = ("none", "linear", "ntk", "dynamic", "yarn")


@cache
def stories(n: int, seed: int) -> InMemoryDataset:
    """Stories as documents of token ids."""
    world = StoryWorld()
    bpe = train_bpe(
        world.stories(2_000, seed=TOKENIZER_SEED), BPEConfig(vocab_size=VOCAB_SIZE)
    )
    return encode_documents(world.stories(n, seed=seed), Tokenizer(bpe))


def rows(
    data: InMemoryDataset, *, batch_size: int, seq_len: int, seed: int = 0
) -> TokenBatches:
    """Stories end to end, without borders for attention and positions."""
    return TokenBatches(
        data,
        BatchConfig(
            batch_size=batch_size,
            seq_len=seq_len,
            mode="concat",
            cross_document=True,
            seed=seed,
        ),
    )


@torch.no_grad()
def loss_by_position(
    model: nn.Module, data: InMemoryDataset, n_rows: int = TEST_ROWS
) -> list[float]:
    """Nats per token, as means over 64 positions each, of rows of 4,096 tokens."""
    batches = rows(data, batch_size=1, seq_len=LONGEST)
    total, count = torch.zeros(LONGEST), torch.zeros(LONGEST)
    for _ in range(n_rows):
        batch = next(batches)
        total += token_losses(model(batch.ids), batch.targets)[0]
        count += (batch.targets != IGNORE_INDEX)[
            0
        ]  # the row at the end of the data is shorter
    return [
        round(loss, 4)
        for loss in (
            total.view(-1, BIN).sum(dim=1) / count.view(-1, BIN).sum(dim=1)
        ).tolist()
    ]


def scaled(model: Llama2, kind: str) -> Llama2:
    """The same weights with frequencies scaled for 8 times the trained length."""
    if kind == "none":
        return model
    scaling = RopeScaling(kind=kind, factor=FACTOR, original_max_seq_len=TRAINED)  # pyright: ignore[reportArgumentType]
    longer = Llama2(dataclasses.replace(LLAMA, rope_scaling=scaling))
    longer.load_state_dict(model.state_dict())
    return longer


def recipe(steps: int = STEPS) -> TrainConfig:
    """How both models are trained."""
    return TrainConfig(
        steps=steps, lr=4e-3, warmup_steps=60, min_lr_ratio=0.0, betas=(0.9, 0.99)
    )


def run(config: Config, seed: int) -> dict[str, Any]:
    """Train on rows of 256 tokens, read rows of 4,096.

    Returns:
        For "rope" a list of 64 losses for each kind of scaling, for "learned" one list,
        "none"; `trained`, the mean training loss of the last 100 steps.
    """
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(seed)
    model = (
        Llama2(LLAMA, generator)
        if config["positions"] == "rope"
        else GPT2(LEARNED, generator)
    )
    data = stories(12_500, TRAIN_SEED + seed)
    records = train(
        model, rows(data, batch_size=BATCH_SIZE, seq_len=TRAINED, seed=seed), recipe()
    )
    model.eval()
    test = stories(600, TEST_SEED)
    models = (
        {kind: scaled(model, kind) for kind in KINDS}
        if isinstance(model, Llama2)
        else {"none": model}
    )
    losses = {kind: loss_by_position(one, test) for kind, one in models.items()}
    return losses | {
        "trained": round(sum(record.loss for record in records[-100:]) / 100, 4)
    }


EXPERIMENTS = [
    Experiment(
        name="length",
        run=run,
        configs=[{"positions": "rope"}, {"positions": "learned"}],
        seeds=(0, 1, 2),
    )
]
