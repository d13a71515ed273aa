import math

import pytest
from small_grammar import NAMES, beats, line, small_grammar

from happyllm_support.text.storyworld import exact
from happyllm_support.text.storyworld.reading import parse
from happyllm_support.text.storyworld.rules import Variable


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
        parse(small_grammar(), text, "en")
    assert departs in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_language_is_named():
    with pytest.raises(ValueError, match="unknown language 'fr': expected 'en', 'zh'"):
        parse(small_grammar(), "Ann", "fr")


def test_values_of_weight_zero_are_no_story():
    variables = [
        Variable(name="hero", pool=NAMES, weight=lambda name: float(name.key != "Bo"))
    ]
    grammar = small_grammar(variables=variables, beats=beats([line("{hero} ran.")]))
    assert exact.count(grammar) == 2
    assert parse(grammar, "Ann ran.", "en")[2] == pytest.approx(-math.log(2))
    with pytest.raises(ValueError, match="departs from every story at character 0"):
        parse(grammar, "Bo ran.", "en")
