import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from small_runs import gpt2, part, token_batches

from happyllm_support.training.evaluation import evaluate
from happyllm_support.training.loop import train
from happyllm_support.training.ranks import ONE_PROCESS, Ranks
from happyllm_support.training.step import TrainConfig

SCRIPT = Path(__file__).with_name("run_ranks.py")
SECONDS = 300
ROWS = ([[0, 1, 2, 3]], [[0], [1, 2, 3]])  # of each rank, for one rank and for two


def run_ranks(folder, world_size):
    """Start the ranks of `run_ranks.py`; returns what each of them reports."""
    arguments = [str(folder / "rendezvous"), str(world_size)]
    children = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), *arguments, str(rank)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world_size)
    ]
    try:
        ends = [child.communicate(timeout=SECONDS) for child in children]
    finally:
        for child in children:
            child.kill()
    assert [child.returncode for child in children] == [0] * world_size, ends
    return [json.loads(out) for out, _ in ends]


def whole_batches():
    batches = token_batches(4)
    return [next(batches) for _ in range(4)]


def test_a_wrapped_model_is_trained_and_evaluated_as_it_is_without(tmp_path):
    (found,) = run_ranks(tmp_path, 1)
    model = gpt2(dropout=0.2)
    records = train(model, whole_batches(), TrainConfig(steps=4, lr=1e-2))
    assert found["records"] == [asdict(record) for record in records]
    held_out = token_batches(3, shuffle=False, drop_last=False)
    assert found["evaluation"] == asdict(evaluate(model, held_out.epoch()))
    assert found["max_seq_len"] == 16 and found["training"] == [True]


def test_two_ranks_with_unequal_numbers_of_targets_are_one(tmp_path):
    """The mean of the ranks' means would be another loss, and another gradient."""
    found = run_ranks(tmp_path, 2)
    batches = whole_batches()
    counts = [[part(b, rows).n_targets for b in batches] for rows in ROWS[1]]
    assert all(one != other for one, other in zip(*counts, strict=True))
    model = gpt2()
    records = train(model, batches, TrainConfig(steps=4, lr=1e-2))
    assert found[0]["records"] == found[1]["records"]
    for ours, theirs in zip(records, found[0]["records"], strict=True):
        assert theirs == pytest.approx(asdict(ours), rel=1e-5)
    held_out = token_batches(3, shuffle=False, drop_last=False)
    expected = asdict(evaluate(model, held_out.epoch()))
    assert found[0]["evaluation"] == found[1]["evaluation"]
    assert found[0]["evaluation"] == pytest.approx(expected, rel=1e-5)


def test_one_process_adds_up_to_itself():
    assert Ranks() == ONE_PROCESS and ONE_PROCESS.total(7) == 7


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"world_size": 0}, "world_size is 0; expected at least 1"),
        ({"rank": 1}, "rank is 1; expected 0 to 0 for world_size 1"),
        (
            {"world_size": 2},
            "world_size is 2 and total is not given; expected a function that adds up "
            "over ranks",
        ),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Ranks(**settings)
