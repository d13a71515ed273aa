"""One of the processes of `test_ranks`: trains a DDP model, prints what it has found.

python run_ranks.py RENDEZVOUS WORLD_SIZE RANK
"""

import json
import sys
from dataclasses import asdict
from datetime import timedelta

import torch
from small_runs import gpt2, part, token_batches
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from happyllm_support.model.language_model import config_of
from happyllm_support.training.evaluation import evaluate
from happyllm_support.training.loop import continue_training
from happyllm_support.training.ranks import Ranks
from happyllm_support.training.state import TrainState
from happyllm_support.training.step import TrainConfig


def total(number):
    of_all = torch.tensor(number, dtype=torch.float64)
    distributed.all_reduce(of_all)
    return of_all.item()


def main(rendezvous, world_size, rank):
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{rendezvous}",
        world_size=world_size,
        rank=rank,
        timeout=timedelta(seconds=60),
    )
    ranks = Ranks(rank=rank, world_size=world_size, total=total)
    rows = [[0, 1, 2, 3]] if world_size == 1 else [[0], [1, 2, 3]]
    batches = token_batches(4)
    mine = [part(next(batches), rows[rank]) for _ in range(4)]
    model = DistributedDataParallel(gpt2(dropout=0.2 if world_size == 1 else 0.0))
    state = TrainState(model, mine, TrainConfig(steps=4, lr=1e-2))
    records = continue_training(model, state, ranks=ranks)
    held_out = token_batches(
        3, shuffle=False, drop_last=False, rank=rank, world_size=world_size
    )
    found = {
        "records": [asdict(record) for record in records],
        "evaluation": asdict(evaluate(model, held_out.epoch(), ranks=ranks)),
        "max_seq_len": config_of(model).max_seq_len,
        "training": sorted({module.training for module in model.modules()}),
    }
    print(json.dumps(found))
    distributed.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
