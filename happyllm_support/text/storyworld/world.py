"""The story world: short stories in English and Chinese from one derivation, drawn from
a distribution that is known exactly.

The built-in corpus of the course. `StoryWorld()` tells of children in a village;
`StoryWorld("harbour")` is held out for fine-tuning: it shares the opening and three of
its six plots (lost, gift, truth) as well as traits, colours, numbers and times of day
with the village, while all names, homes, places, things, animals, workers and foods,
and its other three plots, are its own.

Because text and derivation determine each other
(`happyllm_support.text.storyworld.exact.ambiguity`), the entropy of a story is the
entropy of its derivation. No language model can have a lower mean loss per story than
`StoryWorld.entropy`, and `log_prob` says how surprising any one story is at best.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from happyllm_support.text.storyworld import exact as grammar_exact
from happyllm_support.text.storyworld import harbour as storyworld_harbour
from happyllm_support.text.storyworld import village as storyworld_village
from happyllm_support.text.storyworld.grammar import Choice, Context, Grammar
from happyllm_support.text.storyworld.tasks import KINDS, Task, check_answer, make_task

LANGUAGES = ("en", "zh")
_DOMAINS = {"village": storyworld_village, "harbour": storyworld_harbour}
DOMAINS = tuple(_DOMAINS)


@dataclass(frozen=True)
class Story:
    """One story: how it was derived, what it says in both languages, what is true in
    it, and how likely it is.

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
    """A probability distribution over stories, to sample from and to measure models
    against.

    Example: `for text in StoryWorld().stories(1000, seed=0): ...`

    Args:
        domain: "village", or the held-out "harbour".

    Raises:
        ValueError: an unknown domain.
    """

    def __init__(self, domain: str = "village") -> None:
        if domain not in _DOMAINS:
            raise ValueError(
                f"unknown domain {domain!r}: allowed are "
                f"{', '.join(map(repr, DOMAINS))}"
            )
        self.domain = domain
        self.plots = tuple(plot.name for plot in _DOMAINS[domain].PLOTS)
        self.grammar: Grammar = _DOMAINS[domain].grammar()
        self._questions = {plot.name: plot.questions for plot in _DOMAINS[domain].PLOTS}
        self._mean_bytes: dict[str, float] = {}

    # ---- drawing
    # -------------------------------------------------------------------------------

    def sample(self, rng: np.random.Generator) -> Story:
        """Draws one story with a fixed number of uniforms from `rng` (with PCG64, the
        same on every platform).
        """
        derivation, context, log_prob = self._draw(rng)
        return self._story(derivation, context, log_prob)

    def stories(self, n: int, *, seed: int, language: str = "en") -> Iterator[str]:
        """Draws n stories as text, the same ones for the same seed (the first n of a
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
            derivation, context, _ = self._draw(rng)
            yield "".join(
                self.grammar.render(
                    derivation, context, languages[index % len(languages)]
                )
            )

    def _draw(
        self, rng: np.random.Generator
    ) -> tuple[tuple[Choice, ...], Context, float]:
        return self.grammar.sample(rng.random(self.grammar.max_draws).tolist())

    def _story(
        self, derivation: tuple[Choice, ...], context: Context, log_prob: float
    ) -> Story:
        en, zh = (
            "".join(self.grammar.render(derivation, context, language))
            for language in LANGUAGES
        )
        facts = {
            "plot": derivation[-1].beat.split(".")[0],
            **{name: item.key for name, item in context.items()},
        }
        return Story(derivation, en, zh, facts, log_prob)

    # ---- measuring
    # -----------------------------------------------------------------------------

    @cached_property
    def entropy(self) -> float:
        """Nats per story: the lowest mean loss that any model of these stories can
        reach, in either language.
        """
        return grammar_exact.entropy(self.grammar)

    def parse(self, text: str, language: str) -> Story:
        """Reads a story back.

        Raises:
            ValueError: an unknown language; a text that is no story (names the
                character at which it departs from every story).
        """
        return self._story(*self.grammar.parse(text, language))

    def log_prob(self, text: str, language: str) -> float:
        """ln p(text) in nats; raises ValueError like `parse`."""
        return self.grammar.parse(text, language)[2]

    def prefix_log_prob(self, text: str, language: str) -> float:
        """ln of the probability that a story begins with `text`, in nats; -inf if none
        does.

        Differences along a story are the exact log-probabilities of its tokens: the
        floor, token by token.
        """
        return grammar_exact.prefix_log_prob(self.grammar, text, language)

    def mean_bytes(self, language: str) -> float:
        """The exact mean length of a story in bytes of UTF-8."""
        _check_language(language, LANGUAGES)
        if language not in self._mean_bytes:
            length = grammar_exact.mean_length(
                self.grammar, language, lambda words: len(words.encode())
            )
            self._mean_bytes[language] = length
        return self._mean_bytes[language]

    def bits_per_byte(self, language: str) -> float:
        """The entropy in bits over the mean length in bytes: the floor of a model's
        bits per byte, exact.
        """
        return self.entropy / math.log(2) / self.mean_bytes(language)

    def nats_per_token(
        self,
        encode: Callable[[str], Sequence[int]],
        language: str,
        *,
        n: int = 2000,
        seed: int = 0,
    ) -> float:
        """The entropy over the mean number of tokens that `encode` makes of a story:
        the floor of the loss per token.

        The numerator is exact, the denominator a mean over n sampled stories. A model
        that also predicts an end-of-story token has one more token per story: let
        `encode` add it.
        """
        if n < 1:
            raise ValueError(
                f"n must be at least 1 to estimate the mean number of tokens, got {n}"
            )
        return self.entropy / (
            sum(
                len(encode(text))
                for text in self.stories(n, seed=seed, language=language)
            )
            / n
        )

    # ---- tasks
    # ---------------------------------------------------------------------------------

    def tasks(
        self, n: int, *, seed: int, kinds: Iterable[str] = KINDS, language: str = "both"
    ) -> Iterator[Task]:
        """Draws n tasks about fresh stories; the kinds take turns, and so do the
        languages when it is "both".

        Args:
            n: how many tasks.
            seed: of a PCG64 generator.
            kinds: some of "qa", "translation", "arithmetic", "ordering".
            language: of the prompt (a translation is from this language into the other
                one): "en", "zh" or "both".

        Raises:
            ValueError: a negative n, an unknown or no kind, an unknown language.
        """
        kinds = tuple(kinds)
        _check_count(n)
        _check_language(language, (*LANGUAGES, "both"))
        if not kinds:
            raise ValueError(
                f"no kind of task: allowed are {', '.join(map(repr, KINDS))}"
            )
        for kind in kinds:
            if kind not in KINDS:
                raise ValueError(
                    f"unknown kind of task {kind!r}: allowed are "
                    f"{', '.join(map(repr, KINDS))}"
                )
        return self._tasks(
            n, seed, kinds, LANGUAGES if language == "both" else (language,)
        )

    def _tasks(
        self, n: int, seed: int, kinds: Sequence[str], languages: Sequence[str]
    ) -> Iterator[Task]:
        rng = np.random.default_rng(seed)
        for index in range(n):
            kind = kinds[index % len(kinds)]
            language = languages[index // len(kinds) % len(languages)]
            derivation, context, _ = self._draw(rng)
            questions = self._questions[derivation[-1].beat.split(".")[0]]
            yield make_task(
                kind, language, self.grammar, derivation, context, questions, rng
            )

    def check(self, task: Task, answer: str) -> bool:
        """Whether an answer solves a task (see `storyworld_tasks.check_answer`)."""
        return check_answer(task, answer, self.grammar)


def _check_count(n: int) -> None:
    if n < 0:
        raise ValueError(f"n must be 0 or more, got {n}")


def _check_language(language: str, allowed: Sequence[str]) -> None:
    if language not in allowed:
        raise ValueError(
            f"unknown language {language!r}: allowed are "
            f"{', '.join(map(repr, allowed))}"
        )
