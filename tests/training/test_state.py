import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from run_cut import CUTS, MODELS, STEPS
from small_runs import VOCAB, gpt2, llama, same_weights, token_batches

from happyllm_support.model.gpt2 import GPT2
from happyllm_support.training.loop import continue_training, train
from happyllm_support.training.state import TrainState
from happyllm_support.training.step import TrainConfig

SCRIPT = Path(__file__).with_name("run_cut.py")
CONFIG = TrainConfig(steps=4, lr=1e-2, warmup_steps=1)


def run_script(task, folder):
    command = [sys.executable, str(SCRIPT), task, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture(scope="module")
def cut_runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cut-runs")
    run_script("write", folder)
    run_script("go-on", folder)
    return folder


def records(folder, name):
    return json.loads((folder / f"{name}.records.json").read_text())


def weights(folder, name):
    return torch.load(folder / f"{name}.weights.pt", weights_only=True)


@pytest.mark.parametrize("step", CUTS)
def test_a_run_goes_on_in_a_fresh_process_as_if_it_had_not_been_cut(cut_runs, step):
    for name in MODELS:
        whole, up_to = f"{name}-whole", f"{name}-up-to-{step}"
        rest = f"{name}-from-{step}"
        before, after = records(cut_runs, up_to), records(cut_runs, rest)
        assert (len(before), len(after)) == (step, STEPS - step)
        assert before + after == records(cut_runs, whole)
        expected = weights(cut_runs, whole)
        found = weights(cut_runs, rest)
        assert expected.keys() == found.keys() and len(expected) > 10
        assert all(torch.equal(found[key], expected[key]) for key in expected)


def trained(make=gpt2, batches=None, config=CONFIG, steps=2):
    model = make()
    state = TrainState(model, batches or token_batches(), config)
    continue_training(model, state, stop_at=steps)
    return model, state


def leaves(value):
    if isinstance(value, dict):
        for key, item in value.items():
            yield from (*leaves(key), *leaves(item))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def test_a_state_is_numbers_strings_and_tensors_and_has_no_weights():
    model, state = trained()
    found = list(leaves(state.state_dict()))
    plain = torch.Tensor, int, float, str, bool, type(None)
    assert all(isinstance(leaf, plain) for leaf in found)
    memory = {leaf.data_ptr() for leaf in found if isinstance(leaf, torch.Tensor)}
    assert memory and not memory & {p.data_ptr() for p in model.parameters()}
    assert state.state_dict()["batches"] == state.batches.state_dict()


def test_batches_without_a_position_are_handed_over_by_who_goes_on():
    some = token_batches()
    batches = [next(some) for _ in range(4)]
    whole, expected = gpt2(), None
    expected = train(whole, batches, CONFIG)
    model, state = trained(batches=iter(batches))
    saved = state.state_dict()
    assert saved["batches"] is None
    later = TrainState(model, batches[2:], CONFIG)
    later.load_state_dict(saved)
    assert continue_training(model, later) == expected[2:]
    assert same_weights(model, whole)


def different(state, **changes):
    return {**state.state_dict(), **changes}


def test_states_that_do_not_fit_are_refused_and_change_nothing():
    _, state = trained()
    saved = state.state_dict()
    fresh = TrainState(gpt2(), token_batches(), CONFIG)
    at_start = fresh.batches.state_dict()

    def refused(message, saved, into=fresh):
        with pytest.raises(ValueError, match=f"^{message}") as caught:
            into.load_state_dict(saved)
        assert "\n" not in str(caught.value)
        assert into.step == 0 and not into.optimizer.state

    refused(
        r"the training state has version 9; expected 1$", different(state, version=9)
    )
    refused("the training state has version None; expected 1$", {})
    for step in (-1, 5, "2", None):
        message = f"the training state is at step {step!r}; expected 0 to 4$"
        refused(message, different(state, step=step))
    other = TrainState(gpt2(), token_batches(), replace(CONFIG, lr=0.5, seed=3))
    message = r"the training state was saved with lr 0.01 \(now 0.5\), seed 0 \(now 3\)"
    refused(f"{message}; continue with the same configuration$", saved, other)
    message = "the training state has a position in the data and list none; expected "
    refused(message, saved, TrainState(gpt2(), [], CONFIG))
    message = "TokenBatches has a position in the data and the training state none; "
    refused(message, different(state, batches=None))
    elsewhere = TrainState(gpt2(), token_batches(seed=8), CONFIG)
    refused("the batches' state was saved with seed 0", saved, elsewhere)
    message = r"the training state is of a model with \d+ parameters, others than the "
    refused(message, saved, TrainState(llama(), token_batches(), CONFIG))
    wider = GPT2(replace(gpt2().config, vocab_size=VOCAB + 1))
    message = (
        r"the training state is of a model with (\d+) parameters, others than the \1 "
    )
    refused(message, saved, TrainState(wider, token_batches(), CONFIG))
    assert fresh.batches.state_dict() == at_start
    fresh.load_state_dict(saved)
    assert fresh.step == 2
