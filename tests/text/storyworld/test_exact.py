import math

import numpy as np
import pytest
from small_grammar import enumerate_texts, small_grammar

from happyllm_support.text.storyworld import exact
from happyllm_support.text.storyworld.ambiguity import ambiguity
from happyllm_support.text.storyworld.reading import parse


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
        assert parse(grammar, text, language)[2] == pytest.approx(
            math.log(prob), abs=1e-12
        )
    assert ambiguity(grammar, language) is None


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
