import math
from dataclasses import asdict, replace

import pytest
import torch
from small_runs import gpt2, llama, loud, part, same_weights, token_batches
from torch.utils._python_dispatch import TorchDispatchMode

from happyllm_support.training.evaluation import evaluate
from happyllm_support.training.loop import train
from happyllm_support.training.loss import batch_loss
from happyllm_support.training.optim import build_optimizer
from happyllm_support.training.ranks import Ranks
from happyllm_support.training.step import (
    TrainConfig,
    accumulate_gradients,
    dropout_seed,
    train_step,
)


def test_one_step_is_adamw_on_the_gradient_of_the_mean_loss():
    """AdamW's first step is lr sign(gradient), and its record says which lr."""
    model, batch = loud(gpt2()), next(token_batches())
    config = TrainConfig(steps=4, lr=1e-2, warmup_steps=3)
    before = model.final_norm.weight.detach().clone()
    record = train_step(model, build_optimizer(model, config), [batch], config, 0)
    moved = model.final_norm.weight.detach() - before
    assert record.lr == 2.5e-3 and (record.step, record.tokens) == (0, batch.n_targets)
    assert moved.abs().tolist() == pytest.approx([record.lr] * 16, rel=1e-2)
    assert torch.equal(moved.sign(), -model.final_norm.weight.grad.sign())


def test_a_loop_of_ones_own_is_train():
    config = TrainConfig(steps=4, lr=1e-2, warmup_steps=1)
    whole, model, batches = gpt2(dropout=0.2), gpt2(dropout=0.2), token_batches()
    records = train(whole, token_batches(), config)
    optimizer = build_optimizer(model, config)
    for step in range(4):
        micro_batches = [next(batches)]
        record = train_step(model, optimizer, micro_batches, config, step)
        assert record == records[step]
    assert same_weights(whole, model)


@pytest.mark.parametrize(
    "cuts", [[[0], [1], [2], [3]], [[0, 1, 2], [3]], [[2], [0, 3, 1]]]
)
def test_micro_batches_of_unequal_numbers_of_targets_are_one_batch(cuts):
    batch = next(token_batches(4))
    counts = [part(batch, rows).n_targets for rows in cuts]
    assert len(set(counts)) > 1
    whole, parts = loud(gpt2()).double(), loud(gpt2()).double()
    parts.load_state_dict(whole.state_dict())
    micro_batches = [part(batch, rows) for rows in cuts]
    a = sum(accumulate_gradients(whole, [batch], batch.n_targets)).item()
    b = sum(accumulate_gradients(parts, micro_batches, batch.n_targets)).item()
    assert a == pytest.approx(b, rel=1e-6)
    scale = max(parameter.grad.abs().max().item() for parameter in whole.parameters())
    for x, y in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(x.grad, y.grad, rtol=1e-5, atol=1e-6 * scale)
    means = [batch_loss(whole, p).item() / p.n_targets for p in micro_batches]
    assert abs(sum(means) / len(cuts) - a) > 1e-3  # what it must not be


def test_training_with_micro_batches_is_training_with_one_batch():
    batches = [next(b) for b in [token_batches(4)] for _ in range(6)]
    halves = [part(batch, rows) for batch in batches for rows in ([0], [1, 2, 3])]
    config = TrainConfig(steps=6, lr=1e-2)
    one, two = gpt2().double(), gpt2().double()
    a = train(one, batches, config)
    b = train(two, halves, replace(config, micro_batches=2))
    for x, y in zip(a, b, strict=True):
        assert asdict(x) == pytest.approx(asdict(y), rel=1e-5)


class Readings(TorchDispatchMode):
    """Counts how often a number with a fraction leaves a tensor, by whatever name."""

    def __init__(self, monkeypatch):
        super().__init__()
        self.count, tolist = 0, torch.Tensor.tolist

        def counted(tensor):  # reads memory without passing the dispatcher
            self.count += tensor.is_floating_point()
            return tolist(tensor)

        monkeypatch.setattr(torch.Tensor, "tolist", counted)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten._local_scalar_dense.default:
            self.count += args[0].is_floating_point()
        return function(*args, **(kwargs or {}))


def test_a_step_of_many_micro_batches_reads_back_once(monkeypatch):
    model, batches = gpt2(dropout=0.1), [next(token_batches()) for _ in range(12)]
    with Readings(monkeypatch) as readings:
        train(model, batches, TrainConfig(steps=3, lr=1e-3, micro_batches=4))
        assert readings.count == 3
        evaluate(model, batches)
        assert readings.count == 4
        torch.ones(2).tolist(), torch.ones(()).item(), float(torch.ones(()))
    assert readings.count == 7


def test_dropout_is_on_in_a_step_whatever_the_mode_which_is_put_back():
    batch, config = next(token_batches()), TrainConfig(steps=2, lr=1e-9)
    model = gpt2(dropout=0.5).eval()
    model.blocks[1].train()
    before = [module.training for module in model.modules()]
    assert len(set(before)) == 2
    plain = evaluate(gpt2(), [batch])
    modes = []
    train_once = replace(config, steps=1)
    records = train(
        model, [batch], train_once, on_step=lambda _: modes.append(model.training)
    )
    assert modes == [False] and abs(records[0].loss - plain.nats_per_token) > 1e-4
    assert [module.training for module in model.modules()] == before
    with pytest.raises(ValueError, match="the batches ended in step 1 of 2"):
        train(model, [batch], config)
    assert [module.training for module in model.modules()] == before


def test_what_is_dropped_depends_on_seed_step_and_rank_alone():
    batch, losses = next(token_batches()), {}

    def loss(seed=0, step=0, rank=0, before=0):
        model = gpt2(dropout=0.3)
        config = TrainConfig(steps=9, lr=1e-9, seed=seed)
        torch.manual_seed(before)
        ranks = Ranks(rank=rank, world_size=2, total=lambda number: 2 * number)
        optimizer = build_optimizer(model, config)
        return train_step(model, optimizer, [batch], config, step, ranks=ranks).loss

    for name, value in {"seed": 1, "step": 1, "rank": 1}.items():
        losses[name] = loss(**{name: value})
    assert loss() == loss(before=9)
    assert len({*losses.values(), loss()}) == 4


def test_seeds_of_dropout_are_all_different_and_stay_what_they_are():
    seeds = {
        dropout_seed(seed, step, rank)
        for seed in range(10)
        for step in range(200)
        for rank in range(5)
    }
    assert len(seeds) == len({seed % 2**32 for seed in seeds}) == 10_000
    assert dropout_seed(0, 0, 0) == 15793235383387715774
    assert dropout_seed(1, 2, 3) == 12997252459554536576


def test_gradients_are_clipped_to_the_norm_and_no_further():
    """AdamW's steps hide the scale of a gradient, so it is read after the step."""
    batch, norms = next(token_batches()), {}
    for clip in (0.01, 1e3, math.inf):
        model = loud(gpt2())
        keep = norms.setdefault(clip, [])

        def note(_, model=model, keep=keep):
            keep.append(
                math.sqrt(sum(p.grad.pow(2).sum().item() for p in model.parameters()))
            )

        config = TrainConfig(steps=1, lr=1e-3, grad_clip=clip)
        records = train(model, [batch], config, on_step=note)
        keep.append(records[0].grad_norm)
        assert all(parameter.grad is None for parameter in model.parameters())
    assert norms[0.01][0] == pytest.approx(0.01, rel=1e-3) and norms[0.01][1] > 0.1
    assert norms[1e3][0] == norms[math.inf][0] == pytest.approx(norms[math.inf][1])


def test_gradients_of_earlier_steps_and_of_before_the_run_do_not_count():
    model, batch = loud(gpt2()), next(token_batches())
    batch_loss(model, batch).backward()
    records = train(model, [batch] * 3, TrainConfig(steps=3, lr=1e-12))
    norms = [r.grad_norm for r in records]
    assert norms == pytest.approx([norms[0]] * 3, rel=1e-4)
    fresh = train(loud(gpt2()), [batch], TrainConfig(steps=1, lr=1e-12))
    assert records[0] == fresh[0]


def test_a_gradient_that_is_not_finite_stops_before_the_weights_change():
    model, before = gpt2(), gpt2()
    model.blocks[0].attn.q_proj.weight.register_hook(lambda grad: grad * math.inf)
    with pytest.raises(
        FloatingPointError,
        match=r"the gradient's norm is (nan|inf) in step 0, and the loss 3\.",
    ):
        train(model, [next(token_batches())], TrainConfig(steps=1, lr=1e-3))
    assert same_weights(model, before)


@pytest.mark.parametrize("make", [gpt2, llama])
@pytest.mark.parametrize("mode", ["documents", "packed"])
def test_bf16_multiplies_in_bf16_and_learns_with_weights_in_fp32(make, mode):
    dtypes, runs = set(), {}
    for precision in ("fp32", "bf16"):
        model = make()
        model.lm_head.register_forward_hook(lambda *a: dtypes.add(a[-1].dtype))
        config = TrainConfig(steps=40, lr=1e-2, precision=precision)
        batches = token_batches(4, seq_len=12, mode=mode)
        gradients = []

        def look(_, model=model, gradients=gradients):
            gradients += [p.grad.dtype for p in model.parameters()]

        runs[precision] = train(model, batches, config, on_step=look)
        assert {p.dtype for p in model.parameters()} == set(gradients) == {torch.float}
        assert dtypes == {torch.float if precision == "fp32" else torch.bfloat16}
        dtypes.clear()
        first, last = runs[precision][0].loss, runs[precision][-1].loss
        assert last < 0.7 * first
    fp32, bf16 = (runs[p][0] for p in ("fp32", "bf16"))
    assert bf16.loss == pytest.approx(fp32.loss, rel=1e-2) and bf16.loss != fp32.loss


def test_a_device_without_bf16_is_named():
    message = "^precision is bf16 on device meta; expected fp32, or a model on cpu or "
    with pytest.raises(ValueError, match=message):
        batch_loss(gpt2().to("meta"), next(token_batches()), "bf16")


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
        ({"seed": -1}, "seed is -1; expected at least 0"),
        ({"precision": "fp8"}, "precision is 'fp8'; expected one of fp32, bf16"),
        ({"dropout": 1.0}, "dropout is 1.0; expected 0 to below 1"),
        ({"lr": -1.0}, "lr is -1.0"),
    ],
)
def test_bad_configurations_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**({"steps": 9, "lr": 1e-3} | change))


def test_a_step_outside_the_run_is_named():
    model, config = gpt2(), TrainConfig(steps=3, lr=1e-3)
    optimizer = build_optimizer(model, config)
    with pytest.raises(ValueError, match=r"^step is 3; expected 0 to 2$"):
        train_step(model, optimizer, [next(token_batches())], config, 3)
