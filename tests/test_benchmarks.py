"""The benchmarks' frame: fair alternation, rows that keep their machine, a table that
says what results.json says.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import (
    attention_memory,
    bpe_memory,
    bpe_training,
    loading,
    model_speed,
    results,
)
from benchmarks.compare import Comparison, Measurement, alternate, peak_bytes
from benchmarks.rows import COMPARISONS
from happyllm_support.model.gpt2 import GPT2Config
from happyllm_support.model.llama2 import Llama2Config

ROW_KEYS = {
    "row",
    "workload",
    "peer",
    "ours",
    "theirs",
    "unit",
    "ratio",
    "floor",
    "equal",
}
HERE = {
    "cpu": "A",
    "cores": 2,
    "memory": "8 GiB",
    "system": "Linux",
    "python": "3.11",
    "versions": {"numpy": "2"},
}
THERE = HERE | {"cpu": "B"}


def measurement(**changes: Any) -> Measurement:
    fields = {
        "workload": "w|x",
        "peer": "p",
        "ours": 2.0,
        "theirs": 5.0,
        "unit": "s",
        "equal": True,
    }
    return Measurement(**(fields | changes))


def row(name: str, **changes: Any) -> dict[str, Any]:
    return results.as_row(
        Comparison(name, lambda _: measurement(), floor=1.5), measurement(**changes)
    )


def test_alternate_takes_turns_and_compares_first() -> None:
    calls: list[str] = []
    pair = alternate(
        lambda: calls.append("o"),
        lambda: calls.append("t"),
        equal=lambda a, b: a == b,
        repeats=3,
    )
    assert "".join(calls) == "ot" * 4
    assert pair.equal and pair.ours >= 0
    assert not alternate(
        lambda: 1, lambda: 2, equal=lambda a, b: a == b, repeats=1
    ).equal


def test_ratio_above_one_means_that_ours_is_better() -> None:
    assert measurement().ratio == 2.5
    assert measurement(higher_is_better=True, unit="MB/s").ratio == 0.4
    assert row("a").keys() >= ROW_KEYS
    assert (row("a")["ratio"], row("a", theirs=2 / 3)["ratio"]) == (2.5, 0.3333)


def test_rows_not_measured_are_kept_with_their_machine() -> None:
    order = ["a", "b", "c"]
    first = results.merge(
        {"hardware": {}, "rows": []}, [row("b"), row("a"), row("gone")], HERE, order
    )
    assert [r["row"] for r in first["rows"]] == ["a", "b"]
    assert not any("hardware" in r for r in first["rows"])
    second = results.merge(first, [row("a", ours=1.0)], THERE, order)
    assert [(r["row"], r["ratio"], r.get("hardware")) for r in second["rows"]] == [
        ("a", 5.0, None),
        ("b", 2.5, HERE),
    ]
    back = results.merge(second, [row("c")], HERE, order)
    assert [r.get("hardware") for r in back["rows"]] == [THERE, None, None]


def test_the_table() -> None:
    record = results.merge(
        {"hardware": {}, "rows": []},
        [row("a", equal=False, note="mind the gap")],
        HERE,
        ["a"],
    )
    lines = results.markdown_table(record).splitlines()
    assert lines[2] == "| a | w\\|x | 2 s | p: 5 s | **2.5** | 1.5 | **no** |"
    assert "Measured on: A, 2 cores, 8 GiB, Linux, Python 3.11, numpy 2." in lines
    assert lines[-1] == "- *a*: mind the gap"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.31234, "0.312"),
        (15.44, "15.4"),
        (8192, "8,190"),
        (999.9, "1,000"),
        (2.0, "2"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert results.number(value) == text


def test_the_book_shows_what_was_measured() -> None:
    record = results.load()
    assert results.TABLE.read_text(encoding="utf-8") == results.markdown_table(record)
    names = [c.name for c in COMPARISONS]
    assert [r["row"] for r in record["rows"]] == [
        n for n in names if n in {r["row"] for r in record["rows"]}
    ]
    for measured in record["rows"]:
        assert measured.keys() >= ROW_KEYS


def test_names_are_unique() -> None:
    names = [c.name for c in COMPARISONS]
    assert len(set(names)) == len(names) >= 5


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(
        command,
        cwd=results.ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "300"},
    )


def test_the_command_line(tmp_path: Path) -> None:
    unknown = run("no-such-row")
    assert (
        unknown.returncode == 2
        and "there are bpe-train-8k" in unknown.stderr
        and "Traceback" not in unknown.stderr
    )
    before = results.RESULTS.read_bytes()
    absent = run("bpe-train-8k", "--data", str(tmp_path))
    assert (
        f"bpe-train-8k: skipped, {tmp_path} has no tinyshakespeare.txt, "
        "wikitext-2/valid.txt" in absent.stdout
    )
    assert results.RESULTS.read_bytes() == before


def write_data(folder: Path) -> None:
    for i, name in enumerate(bpe_training.FILES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        lines = [
            f"the cat {i} sat on the mat, 我们去长安 {j % 37}\n" for j in range(500)
        ]
        (folder / name).write_text("".join(lines), encoding="utf-8")


def test_a_row_from_end_to_end(tmp_path: Path) -> None:
    write_data(tmp_path)
    done = run("bpe-train-textbook", "--data", str(tmp_path), "--dry-run")
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode in (0, 1)  # so little text proves no speed
    assert "bpe-train-textbook" in done.stdout and "yes" in done.stdout


def test_documents_hold_the_whole_text(tmp_path: Path) -> None:
    write_data(tmp_path)
    text = "".join(
        (tmp_path / name).read_text(encoding="utf-8") for name in bpe_training.FILES
    )
    assert "".join(bpe_training.read_documents(tmp_path)) == text


def test_both_trainers_are_asked_the_same(tmp_path: Path) -> None:
    write_data(tmp_path)
    documents = bpe_training.read_documents(tmp_path)
    for pattern in ("gpt2", "bilingual"):
        config = bpe_training.BPEConfig(
            vocab_size=300, pattern=pattern, special_tokens=()
        )
        merges = bpe_training.ours(documents, config)
        assert len(merges) == 44
        assert merges == bpe_training.merges_of(
            bpe_training.hugging_face(documents, config)
        )


def test_power_law() -> None:
    value, power = bpe_training.power_law(
        [10, 20, 40], [3 * n**0.5 for n in (10, 20, 40)], 1000
    )
    assert power == pytest.approx(0.5)
    assert value == pytest.approx(3 * 1000**0.5)


def test_generated_words_are_new(tmp_path: Path) -> None:
    text = "".join(bpe_memory.new_words(300_000))
    assert len(text) == 300_000
    words = text.split()
    assert len(set(words)) > 0.45 * len(words)
    assert json.dumps(list(bpe_memory.new_words(1000))) == json.dumps(
        list(bpe_memory.new_words(1000))
    )


def test_straight_line_finds_start_and_slope() -> None:
    assert bpe_training.straight_line(
        [10, 20, 40], [1.5, 2.5, 4.5], 1000
    ) == pytest.approx(100.5)


SIZES = {"vocab_size": 50, "max_seq_len": 16, "n_layer": 2, "n_head": 4, "d_model": 32}


@pytest.mark.parametrize(
    "config",
    [GPT2Config(**SIZES), Llama2Config(**SIZES, n_kv_head=2, d_ff=40)],
    ids=["gpt2", "llama"],
)
def test_both_models_take_the_same_step(config: GPT2Config | Llama2Config) -> None:
    ours, theirs = model_speed.models(config)
    assert ours.training and theirs.training
    ids = torch.randint(50, (2, 16), generator=torch.Generator().manual_seed(0))

    def hers(ids: torch.Tensor) -> torch.Tensor:
        return theirs(input_ids=ids, use_cache=False).logits

    first = model_speed.step(ours, ours, ids)()
    second = model_speed.step(theirs, hers, ids)()
    assert model_speed.same(first, second)
    assert all(
        parameter.grad is None
        for model in (ours, theirs)
        for parameter in model.parameters()
    )
    with torch.no_grad():
        ours.blocks[0].mlp.down_proj.weight.mul_(1.01)
    assert not model_speed.same(model_speed.step(ours, ours, ids)(), second)
    assert not model_speed.same((torch.zeros(3),), (torch.zeros(3),)), (
        "constants prove nothing"
    )


def test_attention_is_measured_and_compared(tmp_path: Path) -> None:
    online, figures = attention_memory.one_pass("online", 300)
    naive, _ = attention_memory.one_pass("naive", 300)
    assert figures.keys() == {"peak", "seconds"}
    assert attention_memory.same(online, naive)
    assert not attention_memory.same(online | {"dq": 1.01 * online["dq"]}, naive)
    zero = {"dq": torch.zeros_like(naive["dq"])}
    assert not attention_memory.same(online | zero, naive | zero), (
        "constants prove nothing"
    )


def test_a_peak_is_the_process_own_and_does_not_sink() -> None:
    kept = bytearray(b"x") * 200_000_000
    peak = peak_bytes()
    assert peak > len(kept)
    del kept
    assert peak_bytes() > 0.99 * peak  # exact to a few pages
    command = [
        sys.executable,
        "-c",
        "from benchmarks.compare import peak_bytes; print(peak_bytes())",
    ]
    child = subprocess.run(
        command, cwd=results.ROOT, check=True, capture_output=True, text=True
    )
    assert 5_000_000 < int(child.stdout) < 100_000_000, (
        "a child does not start with the peak of its parent"
    )


def test_both_load_the_same_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "REPEATS", 1)
    config = loading.GPT2Config(
        n_embd=32, n_layer=2, n_head=4, vocab_size=60, n_positions=16
    )
    assert loading.loading(Path(), config=config).equal
    assert not loading.same(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.1]))
    assert not loading.same(torch.zeros(3), torch.zeros(3)), "constants prove nothing"
