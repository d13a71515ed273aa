import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from happyllm_support.text.storyworld import exact
from happyllm_support.text.storyworld.grammar import Distribution, Grammar
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


@pytest.mark.parametrize("language", ["en", "zh"])
def test_exact_numbers_equal_enumeration(language):
    grammar = small_grammar()
    texts = list(enumerate_texts(grammar, language))
    probs = np.array([prob for _, prob in texts])
    assert len({text for text, _ in texts}) == len(texts) == exact.count(grammar)
    assert probs.sum() == pytest.approx(1.0, abs=1e-12)
    assert exact.entropy(grammar) == pytest.approx(
        -(probs * np.log(probs)).sum(), abs=1e-12
    )
    assert exact.collision_probability(grammar) == pytest.approx(
        (probs**2).sum(), abs=1e-12
    )
    for measure in (len, lambda words: len(words.encode())):
        mean = sum(prob * measure(text) for text, prob in texts)
        assert exact.mean_length(grammar, language, measure) == pytest.approx(
            mean, abs=1e-12
        )
    for text, prob in texts:
        assert grammar.parse(text, language)[2] == pytest.approx(
            math.log(prob), abs=1e-12
        )
    assert exact.ambiguity(grammar, language) is None


@pytest.mark.parametrize("language", ["en", "zh"])
def test_prefix_probabilities_equal_sums_over_all_texts(language):
    grammar = small_grammar()
    texts = list(enumerate_texts(grammar, language))
    prefixes = {text[:length] for text, _ in texts for length in range(len(text) + 1)}
    for prefix in prefixes:
        total = math.fsum(prob for text, prob in texts if text.startswith(prefix))
        assert exact.prefix_log_prob(grammar, prefix, language) == pytest.approx(
            math.log(total), abs=1e-12
        )
    assert exact.prefix_log_prob(grammar, "Bob", language) == -math.inf
    assert exact.prefix_log_prob(grammar, texts[0][0] + "?", language) == -math.inf


def test_samples_come_as_often_as_they_should():
    grammar = small_grammar()
    rng = np.random.default_rng(0)
    counts = Counter()
    n = 20_000
    for _ in range(n):
        derivation, context, log_prob = grammar.sample(
            rng.random(grammar.max_draws).tolist()
        )
        text = "".join(grammar.render(derivation, context, "en"))
        assert grammar.parse(text, "en") == (
            derivation,
            context,
            pytest.approx(log_prob),
        )
        assert grammar.context_of(derivation) == context
        counts[text] += 1
    truth = dict(enumerate_texts(grammar, "en"))
    assert set(counts) <= set(truth)
    chi2 = sum(
        (counts[text] - n * prob) ** 2 / (n * prob) for text, prob in truth.items()
    )
    assert chi2 < len(truth) + 5 * math.sqrt(2 * len(truth))


def test_one_derivation_tells_the_same_story_in_both_languages():
    grammar = small_grammar()
    derivation, context, log_prob = grammar.sample([0.6, 0.9, 0.1, 0.0, 0.4, 0.9])
    assert grammar.render(derivation, context, "en") == [
        "A glad child, Bo, ran. ",
        "he met Ann. ",
        "Bo cried.",
    ]
    assert grammar.render(derivation, context, "zh") == [
        "跑来一个高兴的孩子博。",
        "遇见安。",
        "博哭了。",
    ]
    assert log_prob == pytest.approx(
        math.log(2 / 4 * 1 / 4 * 1 / 2 * 1 / 2 * 0.25 / 1.25)
    )


def test_uniforms_at_the_edges_fall_inside():
    assert (
        Distribution.of([1.0] * 10, "ten").pick(math.nextafter(1.0, 0.0)) == 9
    )  # ten tenths add up to less than one
    assert Distribution.of([0.0, 1.0, 0.0, 3.0], "two").pick(0.0) == 1
    grammar = small_grammar()
    below_one = math.nextafter(1.0, 0.0)
    for uniform in (0.0, below_one):
        derivation, context, _ = grammar.sample([uniform] * grammar.max_draws)
        assert (
            grammar.parse("".join(grammar.render(derivation, context, "en")), "en")[0]
            == derivation
        )


@pytest.mark.parametrize(
    ("text", "departs"),
    [
        ("", "ends too early, after 0 characters"),
        ("Bo was glad. he met Ann.", "ends too early, after 24 characters"),
        (
            "Bo was glad. she met Ann. Bo laughed.",
            "at character 13, 'Bo was glad. ' | 'she met Ann. Bo laug'",
        ),
        (
            "Bo was glad. he met Bo. Bo laughed.",
            "at character 20",
        ),  # nobody meets himself
        (
            "Bo was sad. he met Ann. Bo laughed.",
            "at character 27",
        ),  # sad children do not laugh
        ("Bo was glad. he met Annie. Ann laughed.", "at character 27"),
        ("Bo was glad. he met Ann. Bo laughed. Bo", "at character 36"),
        ("Bo was gladd.", "at character 11"),
    ],
)
def test_no_story_says_where_it_departs(text, departs):
    with pytest.raises(ValueError, match="not a story") as caught:
        small_grammar().parse(text, "en")
    assert departs in str(caught.value)
    assert "\n" not in str(caught.value)


def line(en, zh=None, **more):
    return Line(text={"en": en, "zh": zh or en}, **more)


def beats(*lines_of_beats):
    named = [
        Beat(name=f"b{i}", lines=tuple(lines), then=f"b{i + 1}")
        for i, lines in enumerate(lines_of_beats[:-1])
    ]
    return [*named, Beat(name=f"b{len(named)}", lines=tuple(lines_of_beats[-1]))]


@pytest.mark.parametrize(
    ("lines", "clash"),
    [
        ([line("{hero} ran."), line("{hero} ran.")], "Ann ran."),  # two lines, one text
        (
            [line("{hero} ran."), line("{hero} ran. It rained.")],
            "Ann ran.",
        ),  # one begins the other
        (
            [line("{hero}ie{mood}."), line("{hero}{mood}.")],
            "Annieglad.",
        ),  # Ann + ie against Annie
        (
            [line("{mood} {hero.he}"), line("{hero} ran")],
            "glad she",
        ),  # she, but which one?
    ],
)
def test_ambiguity_is_found(lines, clash):
    grammar = small_grammar(
        variables=[
            Variable(name="hero", pool=NAMES),
            Variable(name="mood", pool=MOODS),
        ],
        beats=beats(lines),
    )
    found = exact.ambiguity(grammar, "en")
    assert found is not None and "beat 'b0'" in found and repr(clash) in found


def test_prefixes_among_values_are_no_ambiguity_when_what_follows_differs():
    variables = [Variable(name="hero", pool=NAMES), Variable(name="mood", pool=MOODS)]
    grammar = small_grammar(
        variables=variables, beats=beats([line("{hero} is {mood}.")])
    )
    assert exact.ambiguity(grammar, "en") is None
    assert grammar.parse("Annie is sad.", "en")[1]["hero"] is NAMES[1]


FRIEND = Variable(
    name="friend",
    pool=NAMES,
    given=("hero",),
    weight=lambda name, hero: float(name is not hero),
)
HERO = Variable(name="hero", pool=NAMES)


@pytest.mark.parametrize(
    ("variables", "story", "message"),
    [
        (
            [HERO],
            beats([line("{villain} ran.")]),
            "unknown variable 'villain': allowed are hero",
        ),
        (
            [HERO],
            beats([line("{hero.size} ran.")]),
            "beat 'b0', line 0: hero has no form 'size' in 'en'",
        ),
        (
            [HERO],
            beats([line("{hero} ran.", "跑了")]),
            "beat 'b0', line 0: hero is not mentioned in 'zh'",
        ),
        (
            [HERO],
            [Beat(name="b0", lines=(Line(text={"en": "x"}),))],
            "allowed are exactly ['en', 'zh']",
        ),
        (
            [HERO, FRIEND],
            beats([line("{friend} ran.")]),
            "friend depends on hero, not drawn before it",
        ),
        (
            [HERO],
            beats([line("It ran.", when={"hero": {"Ann": 2.0}})]),
            "weights depend on hero, not drawn before this beat",
        ),
        (
            [HERO],
            beats([line("{hero} ran."), line("It rained.")], [line("{hero} slept.")]),
            "hero is drawn on some ways",
        ),
        (
            [HERO],
            [Beat(name="b0", lines=(line("x"),), then="b0")],
            "'b0' leads back to itself",
        ),
        (
            [HERO],
            [Beat(name="b0", lines=(line("x"),), then="b7")],
            "unknown beat 'b7': allowed are b0",
        ),
    ],
)
def test_rules_that_do_not_fit_are_refused(variables, story, message):
    with pytest.raises(ValueError) as caught:
        small_grammar(variables=variables, beats=story)
    assert message in str(caught.value)


def test_weights_must_leave_a_choice():
    grammar = small_grammar(
        variables=[Variable(name="hero", pool=NAMES, weight=lambda name: 0.0)],
        beats=beats([line("{hero}")]),
    )
    with pytest.raises(ValueError, match=r"variable 'hero' given .*not all zero"):
        grammar.sample([0.5, 0.5])
    with pytest.raises(
        ValueError, match="unknown language 'fr': allowed are 'en', 'zh'"
    ):
        grammar.parse("Ann", "fr")


def test_values_of_weight_zero_are_no_story():
    variables = [
        Variable(name="hero", pool=NAMES, weight=lambda name: float(name.key != "Bo"))
    ]
    grammar = small_grammar(variables=variables, beats=beats([line("{hero} ran.")]))
    assert exact.count(grammar) == 2
    assert grammar.parse("Ann ran.", "en")[2] == pytest.approx(-math.log(2))
    with pytest.raises(ValueError, match="departs from every story at character 0"):
        grammar.parse("Bo ran.", "en")


def test_beats_are_in_story_order():
    grammar = small_grammar()
    assert grammar.order == ["who", "met", "end"]
    assert all(
        a in grammar.beats and b in grammar.beats for a, b in pairwise(grammar.order)
    )
    assert grammar.max_draws == 1 + 2 + 1 + 1 + 1
