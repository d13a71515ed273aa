import pytest
from small_grammar import MOODS, NAMES, beats, line, small_grammar

from happyllm_support.text.storyworld.ambiguity import ambiguity
from happyllm_support.text.storyworld.reading import parse
from happyllm_support.text.storyworld.rules import Variable


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
    found = ambiguity(grammar, "en")
    assert found is not None and "beat 'b0'" in found and repr(clash) in found


def test_prefixes_among_values_are_no_ambiguity_when_what_follows_differs():
    variables = [Variable(name="hero", pool=NAMES), Variable(name="mood", pool=MOODS)]
    grammar = small_grammar(
        variables=variables, beats=beats([line("{hero} is {mood}.")])
    )
    assert ambiguity(grammar, "en") is None
    assert parse(grammar, "Annie is sad.", "en")[1]["hero"] is NAMES[1]
