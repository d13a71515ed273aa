import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from happyllm_support.model.gpt2 import GPT2, GPT2Config
from happyllm_support.model.llama2 import Llama2, Llama2Config
from happyllm_support.text.shards.batches import Batch, BatchConfig, TokenBatches
from happyllm_support.text.shards.in_memory import InMemoryDataset
from happyllm_support.training.loop import (
    TrainConfig,
    accumulate_gradients,
    batch_loss,
    evaluate,
    train,
)
from happyllm_support.training.loss import token_losses

VOCAB = 23
SMALL = {
    "vocab_size": VOCAB,
    "max_seq_len": 16,
    "n_layer": 2,
    "n_head": 2,
    "d_model": 16,
}


def gpt2(seed=0, **options):
    return GPT2(GPT2Config(**SMALL | options), torch.Generator().manual_seed(seed))


def llama(seed=0, **options):
    config = Llama2Config(**SMALL, n_kv_head=1, d_ff=24, **options)
    return Llama2(config, torch.Generator().manual_seed(seed))


def loud(model, scale=8.0):
    """Weights large enough for every place to matter to every other."""
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(scale)
            else:
                parameter.add_(
                    torch.randn(parameter.shape, generator=random), alpha=0.1
                )
    return model


def documents(lengths=(5, 9, 3, 7, 12, 4, 6, 8), seed=0):
    ids = np.random.default_rng(seed).integers(1, VOCAB, sum(lengths)).astype(np.uint32)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return InMemoryDataset(
        ids, offsets, vocabulary="none", vocab_size=VOCAB, pad_id=0, n_bytes=len(ids)
    )


def token_batches(batch_size=2, seq_len=12, mode="documents", **options):
    return TokenBatches(
        documents(),
        BatchConfig(batch_size=batch_size, seq_len=seq_len, mode=mode, **options),
    )


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


@pytest.mark.parametrize("make", [gpt2, llama])
def test_four_sequences_are_learned_by_heart_from_ln_v_down(make):
    model, batches = make(), token_batches(4)
    batch = next(batches)
    records = train(
        model,
        [batch] * 70,
        TrainConfig(steps=70, lr=2e-2, warmup_steps=10, weight_decay=0.0),
    )
    assert records[0].loss == pytest.approx(math.log(VOCAB), abs=0.1)
    result = evaluate(model, [batch])
    first_tokens = (
        4  # each is predicted by nothing, and what follows an equal beginning differs
    )
    assert records[-1].loss < 0.05 and result.nats_per_token < 0.05
    assert (
        result.tokens
        == batch.n_targets
        == int((batch.segments > 0).sum()) - first_tokens
    )
    logits = model(batch.ids, positions=batch.positions, segments=batch.segments)
    hits = logits.argmax(-1) == batch.targets
    assert hits[batch.targets != -100].all()


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


def test_records_say_what_happened():
    batches, seen = token_batches(2), []
    config = TrainConfig(steps=5, lr=1e-2, warmup_steps=1, micro_batches=2)
    records = train(gpt2(), batches, config, on_step=seen.append)
    again = token_batches(2)
    taken = [next(again) for _ in range(10)]
    assert records == seen and [r.step for r in records] == [0, 1, 2, 3, 4]
    assert [r.tokens for r in records] == [
        taken[2 * i].n_targets + taken[2 * i + 1].n_targets for i in range(5)
    ]
    assert [r.lr for r in records] == pytest.approx(
        [0.005, 0.01, 0.00775, 0.00325, 0.001]
    )
    model = gpt2()
    losses = (
        sum(batch_loss(model, batch).item() for batch in taken[:2]) / records[0].tokens
    )
    assert records[0].loss == pytest.approx(losses)
    accumulate_gradients(model, taken[:2], records[0].tokens)
    norm = math.sqrt(sum(p.grad.pow(2).sum().item() for p in model.parameters()))
    assert records[0].grad_norm == pytest.approx(norm)


def test_the_recorded_learning_rate_is_the_one_that_is_used():
    """AdamW's first step is lr sign(gradient)."""
    model, gains = loud(gpt2()), []
    before = model.final_norm.weight.detach().clone()
    config = TrainConfig(steps=4, lr=1e-2, warmup_steps=3)
    first, *_ = train(
        model,
        [next(token_batches())] * 4,
        config,
        on_step=lambda _: gains.append(model.final_norm.weight.detach() + 0),
    )
    assert (gains[0] - before).abs().tolist() == pytest.approx(
        [first.lr] * 16, rel=1e-2
    ) and first.lr == 2.5e-3


@pytest.mark.parametrize(
    "cuts", [[[0], [1], [2], [3]], [[0, 1, 2], [3]], [[2], [0, 3, 1]]]
)
def test_micro_batches_of_unequal_numbers_of_targets_are_one_batch(cuts):
    batch = next(token_batches(4))
    counts = [part(batch, rows).n_targets for rows in cuts]
    assert len(set(counts)) > 1
    whole, parts = loud(gpt2()).double(), loud(gpt2()).double()
    parts.load_state_dict(whole.state_dict())
    a = accumulate_gradients(whole, [batch], batch.n_targets)
    b = accumulate_gradients(
        parts, [part(batch, rows) for rows in cuts], batch.n_targets
    )
    assert a == pytest.approx(b, rel=1e-6)
    scale = max(parameter.grad.abs().max().item() for parameter in whole.parameters())
    for x, y in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(x.grad, y.grad, rtol=1e-5, atol=1e-6 * scale)
    mean_of_means = sum(
        batch_loss(whole, p).item() / p.n_targets
        for p in (part(batch, c) for c in cuts)
    ) / len(cuts)
    assert abs(mean_of_means - a) > 1e-3  # what it must not be


def test_training_with_micro_batches_is_training_with_one_batch():
    batches = [next(b) for b in [token_batches(4)] for _ in range(6)]
    halves = [part(batch, rows) for batch in batches for rows in ([0], [1, 2, 3])]
    config = TrainConfig(steps=6, lr=1e-2)
    one, two = gpt2().double(), gpt2().double()
    a = train(one, batches, config)
    b = train(two, halves, replace(config, micro_batches=2))
    for x, y in zip(a, b, strict=True):
        assert asdict(x) == pytest.approx(asdict(y), rel=1e-5)


def test_the_same_run_twice_is_the_same_and_leaves_torchs_generator_alone():
    def run(seed, model=None):
        model = model or gpt2(dropout=0.3)
        return model, train(
            model, token_batches(), TrainConfig(steps=4, lr=1e-2, seed=seed)
        )

    model = gpt2(dropout=0.3)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, records = run(1, model)
    assert torch.equal(torch.rand(3), expected)
    second, again = run(1)
    _, other = run(2)
    assert records == again and same_weights(first, second) and records != other


def test_dropout_is_on_in_training_and_off_in_evaluation_and_the_mode_is_put_back():
    batch = next(token_batches())
    model = gpt2(dropout=0.5).eval()
    model.blocks[1].train()
    before = [module.training for module in model.modules()]
    assert len(set(before)) == 2
    plain = evaluate(gpt2(), [batch])
    assert evaluate(model, [batch]) == evaluate(model, [batch]) == plain
    modes = []
    records = train(
        model,
        [batch],
        TrainConfig(steps=1, lr=1e-9),
        on_step=lambda _: modes.append(model.training),
    )
    assert modes == [True] and abs(records[0].loss - plain.nats_per_token) > 1e-4
    assert [module.training for module in model.modules()] == before
    with pytest.raises(ValueError, match="the batches ended in step 1 of 2"):
        train(model, [batch], TrainConfig(steps=2, lr=1e-9))
    assert [module.training for module in model.modules()] == before


def test_gradients_are_clipped_to_the_norm_and_no_further():
    """Plain steps of AdamW hide the scale of a gradient, so it is read after the step."""
    batch, norms = next(token_batches()), {}
    for clip in (0.01, 1e3, math.inf):
        model = loud(gpt2())
        keep = norms.setdefault(clip, [])

        def note(_, model=model, keep=keep):
            keep.append(
                math.sqrt(sum(p.grad.pow(2).sum().item() for p in model.parameters()))
            )

        records = train(
            model, [batch], TrainConfig(steps=1, lr=1e-3, grad_clip=clip), on_step=note
        )
        keep.append(records[0].grad_norm)
        assert all(parameter.grad is None for parameter in model.parameters())
    assert norms[0.01][0] == pytest.approx(0.01, rel=1e-3) and norms[0.01][1] > 0.1
    assert norms[1e3][0] == norms[math.inf][0] == pytest.approx(norms[math.inf][1])


def test_gradients_of_earlier_steps_and_of_before_the_run_do_not_count():
    model, batch = loud(gpt2()), next(token_batches())
    batch_loss(model, batch).backward()
    records = train(model, [batch] * 3, TrainConfig(steps=3, lr=1e-12))
    assert [r.grad_norm for r in records] == pytest.approx(
        [records[0].grad_norm] * 3, rel=1e-4
    )
    fresh = train(loud(gpt2()), [batch], TrainConfig(steps=1, lr=1e-12))
    assert records[0] == fresh[0]


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
    assert (
        result.nats_per_token == result.nats / 46
        and result.nats_per_document == result.nats / 8
    )
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


def test_epochs_follow_one_another_over_token_batches():
    batches = token_batches(4)
    records = train(gpt2(), batches, TrainConfig(steps=5, lr=1e-3))
    assert batches.steps_per_epoch == 2 and len(records) == 5
    assert batches.state_dict()["epoch"] == 2


def test_a_loss_that_is_not_finite_stops_before_the_weights_change():
    good = next(token_batches())
    model = gpt2()
    kept = {}

    def break_after_two(record):
        if record.step == 1:
            with torch.no_grad():
                model.final_norm.weight[0] = math.nan
            kept.update(
                {name: p.detach().clone() for name, p in model.named_parameters()}
            )

    with pytest.raises(
        FloatingPointError, match="the loss is nan in step 2; lower the learning rate"
    ):
        train(model, [good] * 5, TrainConfig(steps=5, lr=1e-3), on_step=break_after_two)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter.nan_to_num(7.0), kept[name].nan_to_num(7.0)), name


def test_a_gradient_that_is_not_finite_stops_before_the_weights_change():
    model, before = gpt2(), gpt2()
    model.blocks[0].attn.q_proj.weight.register_hook(lambda grad: grad * math.inf)
    with pytest.raises(
        FloatingPointError,
        match=r"the gradient's norm is (nan|inf) in step 0, and the loss 3\.",
    ):
        train(model, [next(token_batches())], TrainConfig(steps=1, lr=1e-3))
    assert same_weights(model, before)


def test_mistakes_are_named():
    batch = next(token_batches())
    empty = replace(batch, targets=torch.full_like(batch.targets, -100))
    config = TrainConfig(steps=3, lr=1e-3, micro_batches=2)
    message = r"ended in step 1 of 3 \(2 micro-batches each\); give .* TokenBatches"
    with pytest.raises(ValueError, match=message) as caught:
        train(gpt2(), [batch] * 3, config)
    assert "\n" not in str(caught.value)
    with pytest.raises(
        ValueError, match="no place of the batches of step 1 has a target"
    ):
        train(gpt2(), [batch, batch, empty, empty], config)
    assert (
        len(train(gpt2(), [batch, empty] * 3, config)) == 3
    )  # a part without targets is no mistake
    with pytest.raises(ValueError, match="nothing to evaluate: no batch has a target"):
        evaluate(gpt2(), [empty])
    with pytest.raises(
        ValueError,
        match=r"TokenBatches never end; evaluate on one epoch, batches.epoch\(\)",
    ):
        evaluate(gpt2(), token_batches())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps is 0; expected at least 1"),
        ({"warmup_steps": 9}, "warmup_steps is 9; expected 0 to 8 for 9 steps"),
        (
            {"grad_clip": 0.0},
            "grad_clip is 0.0; expected a positive number, inf for no clipping",
        ),
        ({"grad_clip": math.nan}, "grad_clip is nan"),
        ({"micro_batches": 0}, "micro_batches is 0; expected at least 1"),
        ({"lr": -1.0}, "lr is -1.0"),
    ],
)
def test_bad_configurations_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**({"steps": 9, "lr": 1e-3} | change))


def test_training_without_gradients_is_refused():
    model = gpt2()
    before = model.tok_emb.weight.clone()
    with (
        torch.no_grad(),
        pytest.raises(
            ValueError,
            match=r"^gradients are switched off \(.*\); training needs them$",
        ),
    ):
        train(model, [], TrainConfig(steps=1, lr=1e-3))
    assert torch.equal(model.tok_emb.weight, before)
