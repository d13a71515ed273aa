"""How the time of training grows with the text, for three trainers that learn the same
merges.

- `textbook` counts all pairs of the whole text for every merge (`bpe_naive.py`);
- `counted` does so too, but over the *different* words, each weighted by how often it
  occurs;
- `indexed` looks only at the places that a merge changes (`pair_index.py`).

Time is that of the process (CPU seconds), so that other programs disturb it little.
Beside it stands a count that is the same on every machine: how many tokens a trainer
looked at.

`real` needs the corpora tinyshakespeare, wikitext-2/valid and chinese-poetry in the
cache; `stories` is the built-in story world.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections import Counter
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from typing import Any
from unittest import mock

from happyllm_support.experiments import Config, Experiment
from happyllm_support.text.corpora.access import open_corpus
from happyllm_support.text.storyworld.world import StoryWorld
from happyllm_support.text.tokenizer.bpe import BYTE_ORDER, BPEConfig, learn_merges
from happyllm_support.text.tokenizer.bpe_naive import merge_pair, train_bpe_naive
from happyllm_support.text.tokenizer.counting import count_pretokens
from happyllm_support.text.tokenizer.pair_index import SymbolArray

MERGES = 200
CORPORA = ("tinyshakespeare", "wikitext-2/valid", "chinese-poetry")
RANK = {byte: rank for rank, byte in enumerate(BYTE_ORDER)}


@cache
def shuffled(text: str, seed: int) -> list[str]:
    """All documents in random order: 1,000 stories, or the corpora."""
    if text == "stories":
        pool = list(StoryWorld().stories(1000, seed=seed, language="both"))
    else:
        pool = [document for name in CORPORA for document in open_corpus(name)]
    random.Random(seed).shuffle(pool)
    return pool


def documents(text: str, kilobytes: float, seed: int) -> list[str]:
    """Return the first of the shuffled documents that have so many bytes together."""
    chosen, left = [], 1000 * kilobytes
    for document in shuffled(text, seed):
        chosen.append(document)
        left -= len(document.encode())
        if left <= 0:
            return chosen
    raise ValueError(
        f"{text}: no {kilobytes:g} kB of text, {left / 1000:.0f} kB are missing"
    )


def world() -> str:
    """Eight digits that stand for the present story world: with other stories, records
    of it are out of date.
    """
    stories = StoryWorld().stories(40, seed=0, language="both")
    return hashlib.sha256("\n".join(stories).encode()).hexdigest()[:8]


def learn_by_recounting(
    counts: Mapping[str, int], n_merges: int
) -> tuple[list[tuple[int, int]], int, int]:
    """Learn merges from the different words and their counts, counting all pairs again
    for each merge.

    Returns:
        The merges; the tokens that this looked at; the tokens that looking at the whole
        text would have meant.
    """
    words = [(list(word.encode()), count) for word, count in counts.items()]
    merges: list[tuple[int, int]] = []
    looked_at = textbook = 0
    while len(merges) < n_merges:
        pairs: Counter[tuple[int, int]] = Counter()
        for ids, count in words:
            looked_at += len(ids)
            textbook += len(ids) * count
            for pair in pairwise(ids):
                pairs[pair] += count
        best = min(
            pairs,
            key=lambda pair: (
                -pairs[pair],
                RANK.get(pair[0], pair[0]),
                RANK.get(pair[1], pair[1]),
            ),
        )
        words = [
            (merge_pair(ids, best, 256 + len(merges)), count) for ids, count in words
        ]
        merges.append(best)
    return merges, looked_at, textbook


def learn_by_index(
    counts: Mapping[str, int], n_merges: int
) -> tuple[list[tuple[int, int]], int]:
    """Learn merges with the finished trainer, and count the places that it looks at."""
    looked_at = sum(
        len(word.encode()) for word in counts
    )  # all of them once, in the beginning
    still_there = SymbolArray.still_there

    def counting(self: SymbolArray, left: int, right: int, places: Any) -> Any:
        nonlocal looked_at
        looked_at += len(places)
        return still_there(self, left, right, places)

    with mock.patch.object(SymbolArray, "still_there", counting):
        return learn_merges(counts, n_merges, min_frequency=1), looked_at


def run(config: Config, seed: int) -> dict[str, Any]:
    """Train on part of the text with one trainer, reading and splitting included.

    Returns:
        `cpu_seconds`, the tokens `looked_at`, and the `last_merge`, which is the same
        for all trainers.
    """
    texts = documents(str(config["text"]), float(config["kilobytes"]), seed)
    settings = BPEConfig(vocab_size=256 + MERGES, min_frequency=1, special_tokens=())
    start = time.process_time()
    if config["trainer"] == "textbook":
        merges = list(train_bpe_naive(texts, settings).merges)
        seconds = time.process_time() - start
        looked_at = learn_by_recounting(count_pretokens(texts).counts, MERGES)[2]
    elif config["trainer"] == "counted":
        merges, looked_at, _ = learn_by_recounting(
            count_pretokens(texts).counts, MERGES
        )
        seconds = time.process_time() - start
    else:
        merges, looked_at = learn_by_index(count_pretokens(texts).counts, MERGES)
        seconds = time.process_time() - start
    return {
        "cpu_seconds": round(seconds, 4),
        "looked_at": looked_at,
        "last_merge": list(merges[-1]),
    }


WORLD = world()
EXPERIMENTS = [
    Experiment(
        name="training time",
        run=run,
        configs=[
            {"text": text, "trainer": trainer, "kilobytes": kilobytes}
            | ({"world": WORLD} if text == "stories" else {})
            for text, trainer, largest in (
                ("stories", "textbook", 25),
                ("stories", "counted", 25),
                ("stories", "indexed", 25),
                ("real", "textbook", 100),
                ("real", "counted", 400),
                ("real", "indexed", 6400),
            )
            for kilobytes in (12.5 * 2**k for k in range(11))
            if kilobytes <= largest
        ],
        seeds=(0, 1, 2),
    )
]
