from dataclasses import replace

import numpy as np
import pytest
import torch
from small_runs import VOCAB, documents, gpt2, llama, loud, token_batches

from happyllm_support.training.evaluation import evaluate
from happyllm_support.training.loss import token_losses
from happyllm_support.training.ranks import Ranks


def test_targets_are_the_next_tokens_and_not_the_tokens_themselves():
    """A model that repeats its input pays nothing where labels are not shifted."""

    class Repeats(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(30.0))

        def forward(self, ids, **_):
            return torch.nn.functional.one_hot(ids, VOCAB) * self.scale

    batch = next(token_batches(4))
    assert evaluate(Repeats(), [batch]).nats_per_token > 20


def test_evaluation_adds_up_tokens_and_documents():
    model = loud(gpt2())
    batches = token_batches(3, shuffle=False, drop_last=False)
    result = evaluate(model, batches.epoch())
    nats = 0.0
    for index in range(8):  # each document alone, with nothing but its ids
        ids = torch.from_numpy(documents().document(index).astype(np.int64))[None]
        nats += token_losses(model(ids[:, :-1]), ids[:, 1:]).sum().item()
    assert (result.tokens, result.documents) == (5 + 9 + 3 + 7 + 12 + 4 + 6 + 8 - 8, 8)
    assert result.nats == pytest.approx(nats, rel=1e-5)
    assert result.nats_per_token == result.nats / 46
    assert result.nats_per_document == result.nats / 8
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("make", [gpt2, llama])
def test_packed_documents_cost_what_they_cost_alone(make):
    model = loud(make())
    alone = evaluate(model, token_batches(2, drop_last=False).epoch())
    packed = evaluate(
        model, token_batches(1, seq_len=15, mode="packed", drop_last=False).epoch()
    )
    assert (packed.tokens, packed.documents) == (alone.tokens, alone.documents)
    assert packed.nats == pytest.approx(alone.nats, rel=1e-5)


def test_dropout_is_off_and_every_part_is_left_in_its_mode():
    batch = next(token_batches())
    model = gpt2(dropout=0.5).eval()
    model.blocks[1].train()
    before = [module.training for module in model.modules()]
    plain = evaluate(gpt2(), [batch])
    assert evaluate(model, [batch]) == evaluate(model, [batch]) == plain
    assert [module.training for module in model.modules()] == before


def test_the_whole_text_counts_wherever_training_stands():
    """It once was what the epoch had left."""
    model, batches = loud(gpt2()), token_batches(3, drop_last=False)
    whole = evaluate(model, batches.epoch())
    next(batches)
    assert evaluate(model, batches.epoch()) == whole and whole.documents == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"batch_size": 3},
            "the epoch leaves out 2 of 8 rows; expected all of them, drop_last=False",
        ),
        (
            {"seq_len": 7, "drop_last": False},
            r"the epoch leaves out 8 tokens; expected none: a seq_len above 7, .*",
        ),
        (
            {"mode": "stream", "drop_last": False},
            r"the epoch leaves out 6 tokens; .* mode 'packed' or 'concat'",
        ),
        (
            {"world_size": 2, "drop_last": False},
            "the epoch is shared by 2 ranks; expected 1, those of this evaluation",
        ),
    ],
)
def test_a_part_of_a_text_is_refused(options, message):
    """What is left out would pass for free, for example below the entropy."""
    with pytest.raises(ValueError, match=f"^{message}$"):
        evaluate(gpt2(), token_batches(**options).epoch())


def test_what_ranks_share_is_added_up():
    model = loud(gpt2())
    whole = evaluate(model, token_batches(2, drop_last=False).epoch())
    halves = []
    for rank in (0, 1):
        batches = token_batches(3, drop_last=False, rank=rank, world_size=2)
        noted = []

        def total(number, noted=noted):
            noted.append(number)
            return number

        ranks = Ranks(rank=rank, world_size=2, total=total)
        evaluate(model, batches.epoch(), ranks=ranks)
        halves.append(noted)
    nats, tokens, n_documents = map(sum, zip(*halves, strict=True))
    assert (tokens, n_documents) == (whole.tokens, whole.documents)
    assert nats == pytest.approx(whole.nats, rel=1e-5)


def test_mistakes_are_named():
    batch = next(token_batches())
    empty = replace(batch, targets=torch.full_like(batch.targets, -100))
    for nothing in ([empty], []):
        with pytest.raises(
            ValueError, match="nothing to evaluate: no batch has a target"
        ):
            evaluate(gpt2(), nothing)
    message = r"TokenBatches never end; evaluate on one epoch, batches.epoch\(\)"
    with pytest.raises(ValueError, match=message):
        evaluate(gpt2(), token_batches())
