"""The story world: short stories in English and Chinese from one derivation, drawn from
a distribution that is known exactly.

The built-in corpus of the course. `StoryWorld()` tells of children in a village;
`StoryWorld("harbour")` is held out for fine-tuning: it shares the opening and three of
its six plots (lost, gift, truth) as well as traits, colours, numbers and times of day
with the village, while all names, homes, places, things, animals, workers and foods,
and its other three plots, are its own.

Because text and derivation determine each other (`ambiguity`), the entropy of a story
is the entropy of its derivation. No language model can have a lower mean loss per story
than `StoryWorld.entropy`, and `log_prob` says how surprising any one story is at best.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from happyllm_support.text.storyworld import exact, harbour, village
from happyllm_support.text.storyworld.grammar import Choice, Grammar
from happyllm_support.text.storyworld.reading import parse
from happyllm_support.text.storyworld.rules import Values
from happyllm_support.text.storyworld.tasks import KINDS, Task, check_answer, make_task

LANGUAGES = ("en", "zh")
_DOMAINS = {"village": village, "harbour": harbour}
DOMAINS = tuple(_DOMAINS)


@dataclass(frozen=True)
class Story:
    """One story in both languages: what is true in it, and how likely it is.

    Attributes:
        derivation: the lines chosen and the values drawn, in order; it determines the
            text and is determined by it.
        en: the English text.
        zh: the Chinese text.
        facts: the plot, and the value of every variable as its key (the English word;
            numbers as digits).
        log_prob: ln p(story) in nats, the same in both languages.
    """

    derivation: tuple[Choice, ...]
    en: str
    zh: str
    facts: Mapping[str, str]
    log_prob: float


class StoryWorld:
    """A distribution over stories, to sample from and to measure models against.

    Example: `for text in StoryWorld().stories(1000, seed=0): ...`

    Args:
        domain: "village", or the held-out "harbour".

    Raises:
        ValueError: an unknown domain.
    """

    def __init__(self, domain: str = "village") -> None:
        if domain not in _DOMAINS:
            raise ValueError(
                f"unknown domain {domain!r}: expected {', '.join(map(repr, DOMAINS))}"
            )
        self.domain = domain
        self.plots = tuple(plot.name for plot in _DOMAINS[domain].PLOTS)
        self.grammar: Grammar = _DOMAINS[domain].grammar()
        self._questions = {plot.name: plot.questions for plot in _DOMAINS[domain].PLOTS}
        self._mean_bytes: dict[str, float] = {}

    def sample(self, rng: np.random.Generator) -> Story:
        """Draw one story, with a fixed number of uniforms from `rng`.

        With PCG64 it is the same on every platform.
        """
        return self._story(*self._draw(rng))

    def stories(self, n: int, *, seed: int, language: str = "en") -> Iterator[str]:
        """Draw n stories as text, the same ones for the same seed (the first n of a
        longer run too).

        Args:
            n: how many documents.
            seed: of a PCG64 generator.
            language: "en", "zh", or "both": document 0, 2, 4... in English and 1, 3,
                5... in Chinese. These are the same independent stories that one
                language alone would give, none told twice; so nothing in a document
                says what the next one is.

        Raises:
            ValueError: a negative n, an unknown language.
        """
        _check_count(n)
        _check_language(language, (*LANGUAGES, "both"))
        return self._texts(n, seed, LANGUAGES if language == "both" else (language,))

    def _texts(self, n: int, seed: int, languages: Sequence[str]) -> Iterator[str]:
        rng = np.random.default_rng(seed)
        for index in range(n):
            derivation, values, _ = self._draw(rng)
            yield "".join(
                self.grammar.render(
                    derivation, values, languages[index % len(languages)]
                )
            )

    def _draw(
        self, rng: np.random.Generator
    ) -> tuple[tuple[Choice, ...], Values, float]:
        return self.grammar.sample(rng.random(self.grammar.max_draws).tolist())

    def _story(
        self, derivation: tuple[Choice, ...], values: Values, log_prob: float
    ) -> Story:
        en, zh = (
            "".join(self.grammar.render(derivation, values, language))
            for language in LANGUAGES
        )
        facts = {
            "plot": derivation[-1].beat.split(".")[0],
            **{name: item.key for name, item in values.items()},
        }
        return Story(derivation, en, zh, facts, log_prob)

    @cached_property
    def entropy(self) -> float:
        """Nats per story: the lowest mean loss of any model, in either language."""
        return exact.entropy(self.grammar)

    def parse(self, text: str, language: str) -> Story:
        """Read a story back.

        Raises:
            ValueError: an unknown language; a text that is no story (names the
                character at which it departs from every story).
        """
        return self._story(*parse(self.grammar, text, language))

    def log_prob(self, text: str, language: str) -> float:
        """ln p(text) in nats; raises ValueError like `parse`."""
        return parse(self.grammar, text, language)[2]

    def prefix_log_prob(self, text: str, language: str) -> float:
        """ln of the probability that a story begins with `text`; -inf if none does.

        Differences along a story are the exact log-probabilities of its tokens: the
        floor, token by token.
        """
        return exact.prefix_log_prob(self.grammar, text, language)

    def mean_bytes(self, language: str) -> float:
        """The exact mean length of a story in bytes of UTF-8."""
        _check_language(language, LANGUAGES)
        if language not in self._mean_bytes:
            self._mean_bytes[language] = exact.mean_length(
                self.grammar, language, lambda words: len(words.encode())
            )
        return self._mean_bytes[language]

    def bits_per_byte(self, language: str) -> float:
        """The entropy in bits over the mean bytes: the exact floor of any model's."""
        return self.entropy / math.log(2) / self.mean_bytes(language)

    def nats_per_token(
        self,
        encode: Callable[[str], Sequence[int]],
        language: str,
        *,
        n: int = 2000,
        seed: int = 0,
    ) -> float:
        """The entropy over the mean number of tokens of a story: the floor per token.

        The numerator is exact, the denominator a mean over n sampled stories. A model
        that also predicts an end-of-story token has one more token per story: let
        `encode` add it.
        """
        if n < 1:
            raise ValueError(f"n is {n}; expected at least 1, to take a mean")
        stories = self.stories(n, seed=seed, language=language)
        return self.entropy / (sum(len(encode(text)) for text in stories) / n)

    def tasks(
        self, n: int, *, seed: int, kinds: Iterable[str] = KINDS, language: str = "both"
    ) -> Iterator[Task]:
        """Draw n tasks about fresh stories, of each kind in turn.

        Args:
            n: how many tasks.
            seed: of a PCG64 generator.
            kinds: some of "qa", "translation", "arithmetic", "ordering".
            language: of the prompt (a translation is from this language into the other
                one): "en", "zh", or "both" in turn.

        Raises:
            ValueError: a negative n, an unknown or no kind, an unknown language.
        """
        kinds = tuple(kinds)
        _check_count(n)
        _check_language(language, (*LANGUAGES, "both"))
        if not kinds:
            raise ValueError(f"no kind of task: expected {', '.join(map(repr, KINDS))}")
        for kind in kinds:
            if kind not in KINDS:
                raise ValueError(
                    f"unknown kind of task {kind!r}: expected "
                    f"{', '.join(map(repr, KINDS))}"
                )
        languages = LANGUAGES if language == "both" else (language,)
        return self._tasks(n, seed, kinds, languages)

    def _tasks(
        self, n: int, seed: int, kinds: Sequence[str], languages: Sequence[str]
    ) -> Iterator[Task]:
        rng = np.random.default_rng(seed)
        for index in range(n):
            kind = kinds[index % len(kinds)]
            language = languages[index // len(kinds) % len(languages)]
            derivation, values, _ = self._draw(rng)
            questions = self._questions[derivation[-1].beat.split(".")[0]]
            yield make_task(
                kind, language, self.grammar, derivation, values, questions, rng
            )

    def check(self, task: Task, answer: str) -> bool:
        """Whether an answer solves a task (see `tasks.check_answer`)."""
        return check_answer(task, answer, self.grammar)


def _check_count(n: int) -> None:
    if n < 0:
        raise ValueError(f"n is {n}; expected at least 0")


def _check_language(language: str, allowed: Sequence[str]) -> None:
    if language not in allowed:
        raise ValueError(
            f"unknown language {language!r}: expected {', '.join(map(repr, allowed))}"
        )
