"""Tasks about stories, with answers that can be checked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from happyllm_support.text.storyworld.grammar import Choice, Grammar
from happyllm_support.text.storyworld.plots import Question
from happyllm_support.text.storyworld.reading import parse
from happyllm_support.text.storyworld.rules import Item, gaps

T = TypeVar("T")

KINDS = ("qa", "translation", "arithmetic", "ordering")
LETTERS = "ABCDEFGHIJ"


@dataclass(frozen=True)
class Task:
    """Something to be solved.

    Attributes:
        kind: one of `KINDS`.
        language: of the prompt.
        prompt: a story, or part of one, and what is asked about it.
        answer: one that is right.
    """

    kind: str
    language: str
    prompt: str
    answer: str


# Word problems; {x} and {y} become digits. The answer to "gains" is x + y, to "loses"
# x - y, to "gives" x * y.
_SUMS = {
    "en": {
        "gains": (
            "{hero} has {x} {food}. {friend} gives {hero.him} {y} more. How many "
            "{food} does {hero} have now?",
            "{hero} finds {x} coins {place}, and {friend} finds {y}. How many coins "
            "do they have together?",
            "The {worker} pays {hero} {x} coins on Monday and {y} coins on Tuesday. "
            "How many coins did {hero} earn?",
        ),
        "loses": (
            "{hero} picked {x} {food} and gave {y} of them to {friend}. How many "
            "{food} are left?",
            "{colour.A} {thing} costs {x} coins. {hero} has {y}. How many coins does "
            "{hero.he} still need?",
            "{hero} had {x} {food}. The {animal} took {y} of them. How many {food} "
            "does {hero.he} have now?",
        ),
        "gives": (
            "{hero} has {x} baskets with {y} {food} in each. How many {food} does "
            "{hero.he} have?",
            "The {worker} pays {hero} {x} coins a day. How many coins does {hero.he} "
            "earn in {y} days?",
        ),
    },
    "zh": {
        "gains": (
            "{hero}有{x}个{food}，{friend}又给了{hero.he}{y}个。{hero}现在有几个{food}？",
            "{hero}在{place}捡到{x}枚硬币，{friend}捡到{y}枚。两人一共有几枚硬币？",
            "{worker}星期一付给{hero}{x}枚硬币，星期二付给{hero.he}{y}枚。{hero}一共挣了几枚硬币？",
        ),
        "loses": (
            "{hero}摘了{x}个{food}，分给{friend}{y}个。还剩几个{food}？",
            "{thing.one}{colour}的{thing}要{x}枚硬币，{hero}有{y}枚。{hero.he}还差几枚硬币？",
            "{hero}有{x}个{food}，{animal}叼走了{y}个。{hero.he}现在有几个{food}？",
        ),
        "gives": (
            "{hero}有{x}个篮子，每个篮子里有{y}个{food}。{hero.he}一共有几个{food}？",
            "{worker}每天付给{hero}{x}枚硬币。{hero.he}{y}天能挣几枚硬币？",
        ),
    },
}
_ASK = {
    "translation": {
        "en": "Translate into Chinese:\n{text}",
        "zh": "翻译成英文：\n{text}",
    },
    "ordering": {
        "en": "Put the parts of this story in order:\n{text}",
        "zh": "把故事的各部分按顺序排好：\n{text}",
    },
}


def fill(template: str, values: Mapping[str, Item], language: str) -> str:
    """Fill the gaps of a template: "{hero.he} ran" -> "she ran"."""
    for name, form in gaps(template):
        gap = f"{{{name}.{form}}}" if form else f"{{{name}}}"
        template = template.replace(gap, values[name].forms[language][form])
    return template


def make_task(
    kind: str,
    language: str,
    grammar: Grammar,
    derivation: Sequence[Choice],
    values: Mapping[str, Item],
    questions: Sequence[Question],
    rng: np.random.Generator,
) -> Task:
    """Make one task of a kind about one story, in a language."""
    parts = [part.strip() for part in grammar.render(derivation, values, language)]
    text = grammar.separators[language].join(parts)
    if kind == "qa":
        possible = [
            each
            for each in questions
            if all(name in values for name, _ in gaps(each.en + each.en_answer))
        ]
        question = _pick(possible, rng)
        asked, answer = question.en, question.en_answer
        if language == "zh":
            asked, answer = question.zh, question.zh_answer
        prompt = f"{text}\n{fill(asked, values, language)}"
        return Task(kind, language, prompt, fill(answer, values, language))
    if kind == "translation":
        other = "zh" if language == "en" else "en"
        answer = "".join(grammar.render(derivation, values, other))
        return Task(kind, language, _ASK[kind][language].format(text=text), answer)
    if kind == "ordering":
        shuffled = [int(index) for index in rng.permutation(len(parts))]
        listed = "\n".join(
            f"{LETTERS[place]}. {parts[index]}" for place, index in enumerate(shuffled)
        )
        answer = " ".join(LETTERS[shuffled.index(index)] for index in range(len(parts)))
        return Task(kind, language, _ASK[kind][language].format(text=listed), answer)
    return _arithmetic(language, grammar, values, rng)


def _arithmetic(
    language: str,
    grammar: Grammar,
    values: Mapping[str, Item],
    rng: np.random.Generator,
) -> Task:
    sums = _SUMS[language]
    operation = _pick(list(sums), rng)
    template = _pick(sums[operation], rng)
    x, y = int(rng.integers(2, 10)), int(rng.integers(2, 10))
    if operation == "loses":
        x, y = x + y, y
    result = {"gains": x + y, "loses": x - y, "gives": x * y}[operation]
    people = {name: values[name] for name in ("hero", "friend")}
    drawn = {
        name: _pick(v.pool, rng)
        for name, v in grammar.variables.items()
        if name not in people
    }
    template = template.replace("{x}", str(x)).replace("{y}", str(y))
    prompt = fill(template, {**drawn, **people}, language)
    return Task("arithmetic", language, prompt, str(result))


def _pick(options: Sequence[T], rng: np.random.Generator) -> T:
    return options[int(rng.integers(len(options)))]


def check_answer(task: Task, answer: str, grammar: Grammar) -> bool:
    """Whether an answer solves a task.

    - qa: the same words as the right answer, apart from case, outer spaces, a final
      full stop and a leading article;
    - translation: the answer, without outer spaces, parses in the other language to the
      derivation of the right answer;
    - arithmetic: exactly one number occurs in the answer (in digits), and it is the
      right one;
    - ordering: the same letters in the same order, whatever stands between them.
    """
    if task.kind == "translation":
        other = "zh" if task.language == "en" else "en"
        try:
            given, _, _ = parse(grammar, answer.strip(), other)
            return given == parse(grammar, task.answer, other)[0]
        except ValueError:
            return False
    if task.kind == "arithmetic":
        return list(map(int, re.findall(r"\d+", answer))) == [int(task.answer)]
    if task.kind == "ordering":
        return re.findall(r"[A-Z]", answer.upper()) == task.answer.split()
    return _plain(answer) == _plain(task.answer)


def _plain(answer: str) -> str:
    words = answer.strip().rstrip(".。").strip().lower()
    return re.sub(r"^(a|an|the)\s+", "", words)
