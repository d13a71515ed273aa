import pytest
from small_grammar import NAMES, beats, line, small_grammar

from happyllm_support.text.storyworld.rules import Beat, Line, Variable

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
            "unknown variable 'villain': expected hero",
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
            "expected exactly ['en', 'zh']",
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
            "unknown beat 'b7': expected b0",
        ),
    ],
)
def test_rules_that_do_not_fit_are_refused(variables, story, message):
    with pytest.raises(ValueError) as caught:
        small_grammar(variables=variables, beats=story)
    assert message in str(caught.value)
