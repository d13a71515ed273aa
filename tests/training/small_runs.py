"""Small models, documents and batches for the tests of training."""

import numpy as np
import torch

from happyllm_support.model.gpt2 import GPT2, GPT2Config
from happyllm_support.model.llama2 import Llama2, Llama2Config
from happyllm_support.model.modes import set_dropout
from happyllm_support.text.shards.batches import Batch, BatchConfig, TokenBatches
from happyllm_support.text.shards.in_memory import InMemoryDataset

VOCAB = 23
SMALL = {
    "vocab_size": VOCAB,
    "max_seq_len": 16,
    "n_layer": 2,
    "n_head": 2,
    "d_model": 16,
}


def gpt2(seed=0, dropout=0.0):
    model = GPT2(GPT2Config(**SMALL), torch.Generator().manual_seed(seed))
    set_dropout(model, dropout)
    return model


def llama(seed=0, dropout=0.0):
    config = Llama2Config(**SMALL, n_kv_head=1, d_ff=24)
    model = Llama2(config, torch.Generator().manual_seed(seed))
    set_dropout(model, dropout)
    return model


def loud(model, scale=8.0):
    """Weights large enough for every place to matter to every other."""
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(scale)
            else:
                noise = torch.randn(parameter.shape, generator=random)
                parameter.add_(noise, alpha=0.1)
    return model


def documents(lengths=(5, 9, 3, 7, 12, 4, 6, 8), seed=0):
    ids = np.random.default_rng(seed).integers(1, VOCAB, sum(lengths)).astype(np.uint32)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return InMemoryDataset(
        ids, offsets, vocabulary="none", vocab_size=VOCAB, pad_id=0, n_bytes=len(ids)
    )


def token_batches(batch_size=2, seq_len=12, mode="documents", **options):
    config = BatchConfig(batch_size=batch_size, seq_len=seq_len, mode=mode, **options)
    return TokenBatches(documents(), config)


def part(batch, rows):
    return Batch(
        batch.ids[rows],
        batch.targets[rows],
        batch.positions[rows],
        batch.segments[rows],
        batch.documents[rows],
    )


def same_weights(a, b):
    return all(
        torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True)
    )
