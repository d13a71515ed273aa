"""A small grammar, and all of its texts by brute force."""

from happyllm_support.text.storyworld.grammar import Grammar
from happyllm_support.text.storyworld.rules import Beat, Item, Line, Variable


def item(key, zh, he="she"):
    return Item(key, {"en": {"": key, "he": he}, "zh": {"": zh, "he": he}})


NAMES = (item("Ann", "安"), item("Annie", "安妮"), item("Bo", "博", "he"))
MOODS = (item("glad", "高兴"), item("sad", "难过"))


def small_grammar(**changes):
    """Two people of three, a mood that decides how the story ends, and one ending that
    skips a beat.
    """
    variables = [
        Variable(
            name="hero", pool=NAMES, weight=lambda name: {"Ann": 2.0}.get(name.key, 1.0)
        ),
        Variable(
            name="mood",
            pool=MOODS,
            given=("hero",),
            weight=lambda mood, hero: 3.0 if hero.key == mood.key else 1.0,
        ),
        Variable(
            name="friend",
            pool=NAMES,
            given=("hero",),
            weight=lambda name, hero: float(name is not hero),
        ),
    ]
    beats = [
        Beat(
            name="who",
            lines=(
                Line(text={"en": "{hero} was {mood}.", "zh": "{hero}很{mood}。"}),
                Line(
                    text={
                        "en": "A {mood} child, {hero}, ran.",
                        "zh": "跑来一个{mood}的孩子{hero}。",
                    },
                    weight=2.0,
                ),
                Line(
                    text={
                        "en": "Alone and {mood}, {hero} slept.",
                        "zh": "{hero}独自睡了，{mood}极了。",
                    },
                    then="end",
                ),
            ),
            then="met",
        ),
        Beat(
            name="met",
            lines=(
                Line(text={"en": "{hero.he} met {friend}.", "zh": "遇见{friend}。"}),
            ),
            then="end",
        ),
        Beat(
            name="end",
            lines=(
                Line(
                    text={"en": "{hero} laughed.", "zh": "{hero}笑了。"},
                    when={"mood": {"sad": 0.0}},
                ),
                Line(
                    text={"en": "{hero} cried.", "zh": "{hero}哭了。"},
                    when={"mood": {"glad": 0.25}},
                ),
            ),
        ),
    ]
    arguments = {
        "variables": variables,
        "beats": beats,
        "separators": {"en": " ", "zh": ""},
    } | changes
    return Grammar(**arguments)


def enumerate_texts(grammar, language):
    """Every derivation by brute force, straight from the declarations, with its
    probability.
    """

    def walk(name, context, prob, text):
        if name is None:
            yield text, prob
            return
        beat = grammar.beats[name]
        weights = []
        for line in beat.lines:
            weight = line.source.weight
            for variable, factors in line.source.when.items():
                weight *= factors.get(context[variable].key, 1.0)
            weights.append(weight)
        for line, weight in zip(beat.lines, weights, strict=True):
            fillings = [(context, prob * weight / sum(weights))]
            for variable in line.new:
                longer = []
                for known, chance in fillings:
                    parents = [known[parent] for parent in variable.given]
                    drawn = [
                        1.0
                        if variable.weight is None
                        else variable.weight(value, *parents)
                        for value in variable.pool
                    ]
                    for value, share in zip(variable.pool, drawn, strict=True):
                        longer.append(
                            (
                                {**known, variable.name: value},
                                chance * share / sum(drawn),
                            )
                        )
                fillings = longer
            for known, chance in fillings:
                if chance > 0:
                    parts = line.parts[language]
                    words = [
                        p if isinstance(p, str) else known[p[0]].forms[language][p[1]]
                        for p in parts
                    ]
                    yield from walk(line.then, known, chance, text + "".join(words))

    yield from walk(grammar.start, {}, 1.0, "")


def line(en, zh=None, **more):
    return Line(text={"en": en, "zh": zh or en}, **more)


def beats(*lines_of_beats):
    named = [
        Beat(name=f"b{i}", lines=tuple(lines), then=f"b{i + 1}")
        for i, lines in enumerate(lines_of_beats[:-1])
    ]
    return [*named, Beat(name=f"b{len(named)}", lines=tuple(lines_of_beats[-1]))]
