"""Cross-entropy of n-gram models on unseen stories, for every order from 1 to 8 and
growing amounts of training text.

The model of order n interpolates: where its context has been seen T times, and c times
with token t behind it,

    p_n(t | context) = (c + p_{n-1}(t | shorter context)) / (T + 1),        p_0 = 1 / V,

and where the context is new (or reaches back beyond the beginning of the story) p_n =
p_{n-1}. The chapter counts with dictionaries; here the same numbers come from sorting:
every n-gram of training and test text gets a number, and training positions are counted
by it. So millions of tokens take seconds, and the two programs check each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from happyllm_support.experiments import Config, Experiment
from happyllm_support.text.storyworld.world import StoryWorld
from happyllm_support.text.tokenizer.bpe import BPEConfig, train_bpe
from happyllm_support.text.tokenizer.tokenizer import Tokenizer

ORDERS = 8
VOCAB_SIZE = 1024
TEST_STORIES = 500
TOKENIZER_SEED, TEST_SEED, FIRST_TRAINING_SEED = 1, 99, 10

Int64 = npt.NDArray[np.int64]


def tokenizer_of(world: StoryWorld, language: str) -> Tokenizer:
    """The tokenizer of the experiment: 2,000 stories of one language, 1,024 ids."""
    stories = world.stories(2_000, seed=TOKENIZER_SEED, language=language)
    return Tokenizer(train_bpe(stories, BPEConfig(vocab_size=VOCAB_SIZE)))


def token_line(texts: Iterable[str], tokenizer: Tokenizer) -> tuple[Int64, Int64]:
    """All tokens, each story ended by eos, and the place of each within its story."""
    rows = [tokenizer.encode(text, add_eos=True) for text in texts]
    tokens = np.fromiter((token for row in rows for token in row), np.int64)
    return tokens, np.concatenate([np.arange(len(row)) for row in rows])


def surprises(
    train: tuple[Int64, Int64], test: tuple[Int64, Int64], orders: int, vocab_size: int
) -> list[float]:
    """Total surprise in nats at the test tokens, for each order from 1 on."""
    tokens, place = (np.concatenate(pair) for pair in zip(train, test, strict=True))
    n_train = len(train[0])
    probs = np.full(len(test[0]), 1 / vocab_size)
    grams = np.zeros(
        len(tokens), np.int64
    )  # number of the (n - 1)-gram that ends at each position
    totals: list[float] = []
    for n in range(1, orders + 1):
        context = np.concatenate([[0], grams[:-1]])
        _, grams = np.unique(context * vocab_size + tokens, return_inverse=True)
        inside = place >= n - 1  # the context does not reach back into the story before
        n_context = np.bincount(
            context[:n_train][inside[:n_train]], minlength=int(context.max()) + 1
        )
        n_gram = np.bincount(
            grams[:n_train][inside[:n_train]], minlength=int(grams.max()) + 1
        )
        seen = n_context[context[n_train:]] * inside[n_train:]
        with_token = n_gram[grams[n_train:]]
        probs = np.where(seen > 0, (with_token + probs) / (seen + 1), probs)
        totals.append(float(-np.log(probs).sum()))
    return totals


def run(config: Config, seed: int) -> dict[str, Any]:
    """Count on `stories` stories of one language and measure on 500 others.

    Returns:
        `nats_per_story` for the orders 1 to 8; for the same test stories the true
        `floor` (their mean surprise), and their `bytes_per_story` and
        `tokens_per_story` (eos included).
    """
    world, language = StoryWorld(), str(config["language"])
    tokenizer = tokenizer_of(world, language)
    held_out = list(world.stories(TEST_STORIES, seed=TEST_SEED, language=language))
    stories = world.stories(
        int(config["stories"]), seed=FIRST_TRAINING_SEED + seed, language=language
    )
    test = token_line(held_out, tokenizer)
    totals = surprises(
        token_line(stories, tokenizer), test, ORDERS, tokenizer.vocab_size
    )
    return {
        "nats_per_story": [round(total / TEST_STORIES, 6) for total in totals],
        "floor": round(
            -math.fsum(world.log_prob(text, language) for text in held_out)
            / TEST_STORIES,
            6,
        ),
        "bytes_per_story": sum(len(text.encode()) for text in held_out) / TEST_STORIES,
        "tokens_per_story": len(test[0]) / TEST_STORIES,
    }


EXPERIMENTS = [
    Experiment(
        name="n-grams",
        run=run,
        configs=[
            {"language": language, "stories": stories}
            for language in ("en", "zh")
            for stories in (250, 1_000, 4_000, 16_000, 64_000)
        ],
        seeds=(0, 1, 2),
    )
]
