import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from small_grammar import NAMES, beats, enumerate_texts, line, small_grammar

from happyllm_support.text.storyworld.grammar import Distribution
from happyllm_support.text.storyworld.reading import parse
from happyllm_support.text.storyworld.rules import Variable


def test_samples_come_as_often_as_they_should():
    grammar = small_grammar()
    rng = np.random.default_rng(0)
    counts = Counter()
    n = 20_000
    for _ in range(n):
        uniforms = rng.random(grammar.max_draws).tolist()
        derivation, values, log_prob = grammar.sample(uniforms)
        text = "".join(grammar.render(derivation, values, "en"))
        expected = (derivation, values, pytest.approx(log_prob))
        assert parse(grammar, text, "en") == expected
        keys = {name: key for choice in derivation for name, key in choice.drawn}
        assert keys == {name: item.key for name, item in values.items()}
        counts[text] += 1
    truth = dict(enumerate_texts(grammar, "en"))
    assert set(counts) <= set(truth)
    chi2 = sum(
        (counts[text] - n * prob) ** 2 / (n * prob) for text, prob in truth.items()
    )
    assert chi2 < len(truth) + 5 * math.sqrt(2 * len(truth))


def test_one_derivation_tells_the_same_story_in_both_languages():
    grammar = small_grammar()
    derivation, values, log_prob = grammar.sample([0.6, 0.9, 0.1, 0.0, 0.4, 0.9])
    assert grammar.render(derivation, values, "en") == [
        "A glad child, Bo, ran. ",
        "he met Ann. ",
        "Bo cried.",
    ]
    assert grammar.render(derivation, values, "zh") == [
        "跑来一个高兴的孩子博。",
        "遇见安。",
        "博哭了。",
    ]
    assert log_prob == pytest.approx(
        math.log(2 / 4 * 1 / 4 * 1 / 2 * 1 / 2 * 0.25 / 1.25)
    )


def test_uniforms_at_the_edges_fall_inside():
    # ten tenths add up to less than one
    assert Distribution.of([1.0] * 10, "ten").pick(math.nextafter(1.0, 0.0)) == 9
    assert Distribution.of([0.0, 1.0, 0.0, 3.0], "two").pick(0.0) == 1
    grammar = small_grammar()
    below_one = math.nextafter(1.0, 0.0)
    for uniform in (0.0, below_one):
        derivation, values, _ = grammar.sample([uniform] * grammar.max_draws)
        text = "".join(grammar.render(derivation, values, "en"))
        assert parse(grammar, text, "en")[0] == derivation


def test_weights_must_leave_a_choice():
    grammar = small_grammar(
        variables=[Variable(name="hero", pool=NAMES, weight=lambda name: 0.0)],
        beats=beats([line("{hero}")]),
    )
    with pytest.raises(ValueError, match=r"variable 'hero' given .*not all zero"):
        grammar.sample([0.5, 0.5])


def test_beats_are_in_story_order():
    grammar = small_grammar()
    assert grammar.order == ["who", "met", "end"]
    assert all(
        a in grammar.beats and b in grammar.beats for a, b in pairwise(grammar.order)
    )
    assert grammar.max_draws == 1 + 2 + 1 + 1 + 1
