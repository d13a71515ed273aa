"""The processes of `test_state`: a run that is cut, and one that goes on.

    python run_cut.py write FOLDER    runs once whole, once cut at each of CUTS
    python run_cut.py go-on FOLDER    goes on from each cut to the end

Both leave records and weights in FOLDER.
"""

import json
import sys
from dataclasses import asdict
from itertools import product
from pathlib import Path

import torch
from small_runs import gpt2, llama, token_batches

from happyllm_support.training.loop import continue_training
from happyllm_support.training.state import TrainState
from happyllm_support.training.step import TrainConfig

# Three batches an epoch and two a step: step 1 takes the end of one epoch and the
# beginning of the next, and after step 2 both micro-batches and epoch are at an end.
STEPS = 5
CUTS = (0, 1, 2, 3, STEPS)
MODELS = {"gpt2": gpt2, "llama2": llama}


def beginning(name):
    model = MODELS[name]()
    batches = token_batches(3, drop_last=False, seed=4)
    config = TrainConfig(
        steps=STEPS, lr=1e-2, warmup_steps=2, micro_batches=2, dropout=0.1, seed=7
    )
    return model, TrainState(model, batches, config)


def keep(folder, name, model, records):
    torch.save(model.state_dict(), folder / f"{name}.weights.pt")
    text = json.dumps([asdict(record) for record in records])
    (folder / f"{name}.records.json").write_text(text)


def write(folder):
    for name in MODELS:
        model, state = beginning(name)
        keep(folder, f"{name}-whole", model, continue_training(model, state))
        model, state = beginning(name)
        records = []
        for step in CUTS:
            records += continue_training(model, state, stop_at=step)
            saved = {"model": model.state_dict(), "state": state.state_dict()}
            torch.save(saved, folder / f"{name}-{step}.pt")
            keep(folder, f"{name}-up-to-{step}", model, records)


def go_on(folder):
    for name, step in product(MODELS, CUTS):
        saved = torch.load(folder / f"{name}-{step}.pt", weights_only=True)
        model, state = beginning(name)
        model.load_state_dict(saved["model"])
        state.load_state_dict(saved["state"])
        assert state.step == step
        records = continue_training(model, state)
        keep(folder, f"{name}-from-{step}", model, records)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "write":
        write(Path(sys.argv[2]))
    else:
        go_on(Path(sys.argv[2]))
