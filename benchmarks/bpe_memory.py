"""Peak memory of training with a bounded count table, on 10 MB and on 200 MB of ever
new words.

Each training runs in a fresh process that reports its own peak and that of its counting
processes.
"""

from __future__ import annotations

import json
import random
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.compare import Comparison, Measurement, peak_bytes
from benchmarks.results import ROOT
from happyllm_support.text.tokenizer.bpe import BPEConfig, train_bpe

SMALL, LARGE = 10_000_000, 200_000_000  # bytes
MAX_UNIQUE = 200_000
WORKERS = 2
REPEATS = 5
LETTERS = str.maketrans("0123456789", "etaoinshrd")


def new_words(n_bytes: int) -> Iterator[str]:
    """Generate documents in which every second word was never seen before and the
    others are frequent.
    """
    rng = random.Random(0)
    frequent = [f"{i}".translate(LETTERS) for i in range(1000)]
    made, fresh = 0, 0
    while made < n_bytes:
        words: list[str] = []
        for word in rng.choices(frequent, k=5000):
            fresh += 1
            words += (word, f"{fresh * 7919 % 10**9}".translate(LETTERS))
        document = " ".join(words)[: n_bytes - made]
        made += len(document)
        yield document


def peak_of(n_bytes: int) -> dict[str, float]:
    """Train here on generated text and return the peak memory in MB, with what the
    report says.
    """
    config = BPEConfig(vocab_size=4096, pattern="gpt2", special_tokens=())
    report = train_bpe(
        new_words(n_bytes), config, workers=WORKERS, max_unique=MAX_UNIQUE
    ).report
    assert report is not None
    unit = (
        1024 if sys.platform != "darwin" else 1
    )  # ru_maxrss is in KiB on Linux, in bytes on macOS
    largest_child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    return {
        "peak": (peak_bytes() + WORKERS * largest_child) / 1e6,
        "unique": report.n_unique,
        "dropped": report.dropped_unique,
        "pretokens": report.n_pretokens,
    }


def bounded(data: Path) -> Measurement:
    """Compare the peaks; equal when both tables kept their bound and counted every
    pre-token.
    """
    small, large = [], []
    for _ in range(REPEATS):
        small.append(_in_fresh_process(SMALL))
        large.append(_in_fresh_process(LARGE))
    kept = all(
        run["dropped"] > 0 and run["unique"] <= MAX_UNIQUE for run in small + large
    )
    grown = large[0]["pretokens"] / small[0]["pretokens"]
    return Measurement(
        workload="200 MB of generated text, every second word new, max_unique "
        f"{MAX_UNIQUE:,}, 2 counting processes",
        peer="the same training on 10 MB",
        ours=statistics.median(run["peak"] for run in large),
        theirs=statistics.median(run["peak"] for run in small),
        unit="MB",
        equal=kept and abs(grown / (LARGE / SMALL) - 1) < 0.1,
        note=f"Peak memory of all processes. {large[0]['dropped'] / 1e6:.1f} million "
        "entries were dropped on 200 MB.",
    )


def _in_fresh_process(n_bytes: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.bpe_memory", str(n_bytes)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


COMPARISONS = (Comparison("bpe-memory", bounded, threads=1, floor=1 / 1.2),)

if __name__ == "__main__":
    print(json.dumps(peak_of(int(sys.argv[1]))))
