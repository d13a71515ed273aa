"""What a plot is, and how stories of both domains begin.

A plot is a list of opening lines (they tell what the hero has or wants), beats that
follow each other, and questions about the facts. Every line stands here twice, in
English and in Chinese, with the same gaps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from happyllm_support.text.storyworld.lexicon import (
    COLOURS,
    DAYS,
    NUMBERS,
    TRAITS,
    Lexicon,
)
from happyllm_support.text.storyworld.rules import Beat, Item, Line, Variable


@dataclass(frozen=True)
class Question:
    """A question about a story and its answer, as templates in both languages.

    Attributes:
        en: the question in English.
        en_answer: its answer.
        zh: the question in Chinese.
        zh_answer: its answer.
    """

    en: str
    en_answer: str
    zh: str
    zh_answer: str


@dataclass(frozen=True)
class Plot:
    """A kind of story.

    Attributes:
        name: of the plot; the names of its beats begin with it.
        wants: lines that tell what the hero has or wants.
        beats: the lines of each beat that follows, in order.
        questions: what can be asked about it.
    """

    name: str
    wants: tuple[Line, ...]
    beats: tuple[tuple[Line, ...], ...]
    questions: tuple[Question, ...]


def line(en: str, zh: str, **when: dict[str, float]) -> Line:
    """Return a line in two languages.

    `trait={"shy": 3.0}` makes it three times as likely for a shy hero.
    """
    return Line(text={"en": en, "zh": zh}, when=when)


def differs(item: Item, other: Item) -> float:
    """A weight that allows every item but the one already drawn."""
    return float(item is not other)


def half_of(item: Item, whole: Item) -> float:
    """A weight that allows half of a number only."""
    return float(2 * int(item.key) == int(whole.key))


def shared_variables(words: Lexicon) -> list[Variable]:
    """Return the variables that the opening and the shared plots draw."""
    return [
        Variable(name="hero", pool=words.heroes),
        Variable(name="trait", pool=TRAITS),
        Variable(name="home", pool=words.homes),
        Variable(name="friend", pool=words.friends),
        Variable(name="thing", pool=words.things),
        Variable(name="colour", pool=COLOURS),
        Variable(name="day", pool=DAYS),
        Variable(name="place", pool=words.places),
        Variable(name="place2", pool=words.places, given=("place",), weight=differs),
        Variable(name="animal", pool=words.animals),
        Variable(name="worker", pool=words.workers),
        Variable(name="food", pool=words.foods),
        Variable(name="n", pool=tuple(NUMBERS[value] for value in (4, 6, 8, 10))),
        Variable(
            name="k",
            pool=tuple(NUMBERS[value] for value in (2, 3, 4, 5)),
            given=("n",),
            weight=half_of,
        ),
    ]


OPENING = (
    line(
        "Once upon a time {trait.a} {hero.girl} named {hero} lived {home}.",
        "从前，{home}住着一个{trait}的{hero.girl}，名叫{hero}。",
    ),
    line(
        "{hero} lived {home} and was as {trait} as can be.",
        "{hero}住在{home}，{hero.he}{trait}极了。",
    ),
    line(
        "In a little house {home} lived {hero}, {trait.a} {hero.girl}.",
        "{home}有一间小屋，里面住着{hero}，一个{trait}的{hero.girl}。",
    ),
    line(
        "{hero} was {trait.a} {hero.girl} who lived {home}.",
        "{hero}是个{trait}的{hero.girl}，住在{home}。",
    ),
)


def beats_of(plots: tuple[Plot, ...]) -> list[Beat]:
    """The opening, one beat that decides the plot, and the beats of every plot, named
    `plot.1`, `plot.2`, ...
    """
    wants = [
        replace(want, then=f"{plot.name}.1", weight=1 / len(plot.wants))
        for plot in plots
        for want in plot.wants
    ]
    beats = [
        Beat(name="opening", lines=OPENING, then="want"),
        Beat(name="want", lines=tuple(wants)),
    ]
    for plot in plots:
        for number, lines in enumerate(plot.beats, start=1):
            then = f"{plot.name}.{number + 1}" if number < len(plot.beats) else None
            beats.append(Beat(name=f"{plot.name}.{number}", lines=lines, then=then))
    return beats
