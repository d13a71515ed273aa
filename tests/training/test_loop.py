import math
from dataclasses import replace

import pytest
import torch
from small_runs import VOCAB, gpt2, llama, same_weights, token_batches

from happyllm_support.inference.generation import generate
from happyllm_support.training.evaluation import evaluate
from happyllm_support.training.loop import continue_training, train
from happyllm_support.training.loss import batch_loss
from happyllm_support.training.state import TrainState
from happyllm_support.training.step import TrainConfig, accumulate_gradients


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
    # each is predicted by nothing, and what follows an equal beginning differs
    first_tokens = 4
    assert records[-1].loss < 0.05 and result.nats_per_token < 0.05
    in_rows = int((batch.segments > 0).sum())
    assert result.tokens == batch.n_targets == in_rows - first_tokens
    logits = model(batch.ids, positions=batch.positions, segments=batch.segments)
    hits = logits.argmax(-1) == batch.targets
    assert hits[batch.targets != -100].all()


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
    nats = sum(batch_loss(model, batch).item() for batch in taken[:2])
    assert records[0].loss == pytest.approx(nats / records[0].tokens)
    accumulate_gradients(model, taken[:2], records[0].tokens)
    norm = math.sqrt(sum(p.grad.pow(2).sum().item() for p in model.parameters()))
    assert records[0].grad_norm == pytest.approx(norm)


def test_the_same_run_twice_is_the_same_and_leaves_torchs_generator_alone():
    def run(seed, model=None):
        model = model or gpt2(dropout=0.3)
        config = TrainConfig(steps=4, lr=1e-2, seed=seed)
        return model, train(model, token_batches(), config)

    model = gpt2(dropout=0.3)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, records = run(1, model)
    assert torch.equal(torch.rand(3), expected)
    second, again = run(1)
    _, other = run(2)
    assert records == again and same_weights(first, second) and records != other


def test_what_is_done_between_steps_changes_nothing():
    """Each once changed what dropout drops, or whether it does, from step 1 on."""
    held_out = token_batches(4, shuffle=False, drop_last=False)

    def evaluate_it(model):
        evaluate(model, held_out.epoch())

    def run_it(model):  # in whatever mode it is in
        with torch.no_grad():
            model(next(held_out).ids)

    def sample(model):
        generate(model, [[1, 2], [3]], max_new_tokens=4)

    def draw_and_seed(model):
        torch.rand(7)
        torch.manual_seed(3)

    def switch(model):
        model.eval()

    def differentiate(model):
        batch_loss(model, next(held_out)).backward()

    def run(action):
        model = gpt2(dropout=0.3)
        config = TrainConfig(steps=4, lr=1e-2, micro_batches=2)
        records = train(
            model, token_batches(), config, on_step=action and (lambda _: action(model))
        )
        return model, records

    model, records = run(None)
    actions = (evaluate_it, run_it, sample, draw_and_seed, switch, differentiate)
    for action in actions:
        other, again = run(action)
        assert again == records, action.__name__
        assert same_weights(model, other), action.__name__


def test_epochs_follow_one_another_over_token_batches():
    batches = token_batches(4)
    records = train(gpt2(), batches, TrainConfig(steps=5, lr=1e-3))
    assert batches.steps_per_epoch == 2 and len(records) == 5
    assert batches.state_dict()["epoch"] == 2


def test_a_run_may_be_cut_anywhere():
    config = TrainConfig(steps=6, lr=1e-2, micro_batches=2)
    whole = gpt2(dropout=0.1)
    records = train(whole, token_batches(), config)
    model, seen = gpt2(dropout=0.1), []
    state = TrainState(model, token_batches(), config)
    found = []
    for stop_at in (0, 2, 2, 5, 6, None):
        found += continue_training(
            model, state, stop_at=stop_at, on_step=lambda r: seen.append(r.step)
        )
        assert state.step == (6 if stop_at is None else stop_at) == len(found)
        assert all(parameter.grad is None for parameter in model.parameters())
    assert found == records and same_weights(whole, model)
    assert seen == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("stop_at", [-1, 1, 7])
def test_a_place_to_stop_that_cannot_be_reached_is_named(stop_at):
    model = gpt2()
    state = TrainState(model, token_batches(), TrainConfig(steps=6, lr=1e-2))
    continue_training(model, state, stop_at=2)
    with pytest.raises(ValueError, match=rf"^stop_at is {stop_at}; expected 2 to 6$"):
        continue_training(model, state, stop_at=stop_at)


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

    state = TrainState(model, [good] * 5, TrainConfig(steps=5, lr=1e-3))
    with pytest.raises(
        FloatingPointError, match="the loss is nan in step 2; lower the learning rate"
    ):
        continue_training(model, state, on_step=break_after_two)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter.nan_to_num(7.0), kept[name].nan_to_num(7.0)), name
    assert state.step == 2
    moments = [state.optimizer.state[p]["step"].item() for p in model.parameters()]
    assert set(moments) == {2.0}


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
    # a part without targets is no mistake
    assert len(train(gpt2(), [batch, empty] * 3, config)) == 3


def test_training_without_gradients_is_refused():
    model = gpt2()
    before = model.tok_emb.weight.clone()
    message = r"^gradients are switched off \(.*\); training needs them$"
    with torch.no_grad(), pytest.raises(ValueError, match=message):
        train(model, token_batches(), TrainConfig(steps=1, lr=1e-3))
    assert torch.equal(model.tok_emb.weight, before)


def test_the_dropout_of_a_run_is_that_of_its_configuration():
    dropouts = []
    for own, given in ((0.0, 0.3), (0.3, None), (0.3, 0.0)):
        model = gpt2(dropout=own)
        config = TrainConfig(steps=2, lr=1e-3, dropout=given, seed=1)
        records = train(model, token_batches(seed=1), config)
        dropouts.append(([r.loss for r in records], model.dropout.p))
    (from_run, _), (from_model, _), (none, p) = dropouts
    assert from_run == from_model != none
    assert [p for _, p in dropouts] == [0.3, 0.3, 0.0] and p == 0.0
