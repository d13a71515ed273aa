"""How many tokens a text takes, against the size of the vocabulary, the text it was
learned from, and the pattern.

Held-out text in English and Chinese, measured with vocabularies learned from English,
from Chinese, or from as much of both. The vocabulary of size V is the first V - 256
merges of the largest one, so that one training gives a whole curve.

`real` needs the corpora tinyshakespeare, wikitext-2/valid and chinese-poetry in the
cache (2 MB of English, as much Chinese); `stories` is the built-in story world, where
the numbers are the same on every machine.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import Any

from happyllm_support.experiments import Config, Experiment
from happyllm_support.text.corpora.access import open_corpus
from happyllm_support.text.corpora.splits import split_of
from happyllm_support.text.storyworld.world import StoryWorld
from happyllm_support.text.tokenizer.bpe import BPEConfig, BPEModel, train_bpe
from happyllm_support.text.tokenizer.tokenizer import Tokenizer

SIZES = tuple(2**k for k in range(8, 16))  # 256 (bytes alone) to 32,768
ENGLISH = ("tinyshakespeare", "wikitext-2/valid")
FRACTIONS = {"train": 0.9, "held out": 0.1}
STORIES = 3_000
Texts = dict[str, list[str]]  # language -> documents


def real_text() -> tuple[Texts, Texts]:
    """Training and held-out documents; as many bytes of Chinese as there are of
    English.
    """
    english = [document for name in ENGLISH for document in open_corpus(name)]
    chinese, left = [], n_bytes(english)
    for document in open_corpus("chinese-poetry"):
        left -= len(document.encode())
        if left < 0:
            break
        chinese.append(document)
    everything = {"en": english, "zh": chinese}
    train, held_out = (
        {
            language: [d for d in texts if split_of(d, FRACTIONS) == part]
            for language, texts in everything.items()
        }
        for part in FRACTIONS
    )
    return train, held_out


def story_text() -> tuple[Texts, Texts]:
    """The first stories to learn from, the next tenth to measure on."""
    train, held_out = {}, {}
    for language in ("en", "zh"):
        stories = StoryWorld().stories(
            STORIES + STORIES // 10, seed=1, language=language
        )
        train[language] = list(islice(stories, STORIES))
        held_out[language] = list(stories)
    return train, held_out


def world() -> str:
    """Eight digits that stand for the present story world: with other stories, records
    of it are out of date.
    """
    stories = StoryWorld().stories(40, seed=0, language="both")
    return hashlib.sha256("\n".join(stories).encode()).hexdigest()[:8]


def n_bytes(documents: Iterable[str]) -> int:
    """Bytes of UTF-8."""
    return sum(len(document.encode()) for document in documents)


def run(config: Config, seed: int) -> dict[str, Any]:
    """Train one vocabulary and measure its prefixes.

    Returns:
        `vocab_sizes` that exist (the text may run out of pairs first), and one number
        for each of them: tokens per character and bytes per token of the held-out text
        in both languages, and the share of the ids that occur less than 100 times in
        the text they were learned from.
    """
    train, held_out = real_text() if config["text"] == "real" else story_text()
    languages = (
        ["en", "zh"]
        if config["learned_from"] == "both"
        else [str(config["learned_from"])]
    )
    corpus = [document for language in languages for document in train[language]]
    model = train_bpe(
        corpus,
        BPEConfig(
            vocab_size=SIZES[-1], pattern=str(config["pattern"]), special_tokens=()
        ),
    )
    sizes = sorted({min(size, model.vocab_size) for size in SIZES})
    result: dict[str, Any] = {
        "vocab_sizes": sizes,
        "train_bytes": n_bytes(corpus),
        "rare": [],
    }
    for size in sizes:
        tokenizer = Tokenizer(
            BPEModel(merges=model.merges[: size - 256], pattern=model.pattern)
        )
        for language, documents in held_out.items():
            tokens = sum(len(tokenizer.encode(document)) for document in documents)
            characters = sum(map(len, documents))
            result.setdefault(f"tokens_per_character_{language}", []).append(
                round(tokens / characters, 4)
            )
            result.setdefault(f"bytes_per_token_{language}", []).append(
                round(n_bytes(documents) / tokens, 4)
            )
        seen = Counter(
            token for document in corpus for token in tokenizer.encode(document)
        )
        result["rare"].append(
            round(sum(seen[token] < 100 for token in range(size)) / size, 4)
        )
    return result


WORLD = world()
EXPERIMENTS = [
    Experiment(
        name="fertility",
        run=run,
        configs=[
            {"text": text, "learned_from": learned_from, "pattern": pattern}
            | ({"world": WORLD} if text == "stories" else {})
            for text in ("real", "stories")
            for learned_from in ("en", "zh", "both")
            for pattern in ("bilingual", "gpt2")
        ],
    )
]
