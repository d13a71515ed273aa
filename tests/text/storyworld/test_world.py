import dataclasses
import hashlib
import math
import re
from itertools import islice, pairwise

import numpy as np
import pytest

from happyllm_support.text.storyworld import exact
from happyllm_support.text.storyworld.ambiguity import ambiguity
from happyllm_support.text.storyworld.world import DOMAINS, LANGUAGES, StoryWorld

WORLDS = {domain: StoryWorld(domain) for domain in DOMAINS}


@pytest.fixture(params=DOMAINS)
def world(request):
    return WORLDS[request.param]


def test_no_text_has_two_derivations(world):
    for language in LANGUAGES:
        assert ambiguity(world.grammar, language) is None


def test_mean_surprise_of_samples_is_the_entropy(world):
    rng = np.random.default_rng(0)
    stories = [world.sample(rng) for _ in range(4000)]
    surprise = -np.array([story.log_prob for story in stories])
    assert abs(surprise.mean() - world.entropy) < 4 * surprise.std() / math.sqrt(
        len(stories)
    )
    assert 20 < world.entropy < 25
    for language in LANGUAGES:
        sizes = np.array([len(getattr(story, language).encode()) for story in stories])
        assert abs(
            sizes.mean() - world.mean_bytes(language)
        ) < 4 * sizes.std() / math.sqrt(len(stories))
        bits = surprise.sum() / math.log(2) / sizes.sum()
        assert world.bits_per_byte(language) == pytest.approx(bits, rel=0.01)


def test_stories_read_back_as_what_they_are(world):
    rng = np.random.default_rng(1)
    for _ in range(1000):
        story = world.sample(rng)
        for language in LANGUAGES:
            read = world.parse(getattr(story, language), language)
            assert dataclasses.replace(read, log_prob=0.0) == dataclasses.replace(
                story, log_prob=0.0
            )
            assert world.log_prob(getattr(story, language), language) == pytest.approx(
                story.log_prob, abs=1e-12
            )


def test_surprise_adds_up_token_by_token(world):
    for language in LANGUAGES:
        text = next(world.stories(1, seed=9, language=language))
        steps = [
            world.prefix_log_prob(text[:cut], language)
            for cut in range(0, len(text) + 1, 11)
        ]
        assert steps[0] == 0.0 and all(
            later <= earlier + 1e-9 for earlier, later in pairwise(steps)
        )
        assert world.prefix_log_prob(text, language) == pytest.approx(
            world.log_prob(text, language), abs=1e-9
        )


def test_every_line_is_told_and_every_plot_as_often_as_the_others(world):
    rng = np.random.default_rng(2)
    told, plots = set(), dict.fromkeys(world.plots, 0)
    for _ in range(4000):
        story = world.sample(rng)
        told |= {(choice.beat, choice.line) for choice in story.derivation}
        plots[story.facts["plot"]] += 1
    assert told == {
        (name, line.index)
        for name, beat in world.grammar.beats.items()
        for line in beat.lines
    }
    assert max(abs(count / 4000 - 1 / len(plots)) for count in plots.values()) < 0.03


def test_stories_hardly_repeat():
    world = WORLDS["village"]
    texts = list(world.stories(60_000, seed=0))
    expected = 60_000 * 59_999 / 2 * exact.collision_probability(world.grammar)
    assert expected < 5
    assert len(texts) - len(set(texts)) <= 10


def test_english_is_well_formed(world):
    for text in world.stories(2000, seed=3):
        assert re.fullmatch(r"[A-Za-z ,.!?:'\"]+", text), text
        assert re.match(r"[A-Z]", text) and re.search(r"[.!]\"?$", text)
        assert not re.search(
            r"  | [,.!?]|\ba [aeiou]|\ban [^aeiou]|[.!?] [a-z]", text
        ), text
        assert text.count('"') % 2 == 0
        assert 55 <= len(re.findall(r"[\w']+|[^\w\s]", text)) <= 120


def test_chinese_is_well_formed(world):
    for text in world.stories(2000, seed=3, language="zh"):
        assert re.fullmatch(r"[\u4e00-\u9fff，。！？：“”]+", text), text
        assert re.search(r"[。！]”?$", text)
        assert text.count("“") == text.count("”")
        assert not re.search(
            r"[，。！？：]{2}|的的|了了|一只(雨伞|围巾|草帽|雨衣|毯子|渔网)|一个(风筝|雨伞|毛衣)",
            text,
        ), text


def test_pronouns_agree_with_names(world):
    rng = np.random.default_rng(4)
    girls = {
        item.key
        for item in world.grammar.variables["hero"].pool
        if item.forms["en"]["he"] == "she"
    }
    assert len(girls) == 6
    for _ in range(500):
        story = world.sample(rng)
        if story.facts["plot"] in {
            "lost",
            "fog",
            "bottle",
        }:  # nobody else's pronoun occurs here
            is_girl = story.facts["hero"] in girls
            words = set(re.findall(r"\w+", story.en.lower()))
            assert not words & ({"he", "him", "his"} if is_girl else {"she", "her"}), (
                story.en
            )
            assert ("他" if is_girl else "她") not in story.zh.replace("其他", "")


def test_what_was_told_first_decides_what_is_told_last():
    """The name in the first sentence and the ending depend on each other: swapping the
    name makes the text no story.
    """
    world = WORLDS["village"]
    for text in islice(world.stories(200, seed=5), 200):
        story = world.parse(text, "en")
        first, last = story.facts["hero"], text.rfind(story.facts["hero"])
        other = "Anna" if "Anna" not in text else "Oscar"
        if text.find(first) != last:
            with pytest.raises(
                ValueError, match=f"departs from every story at character {last}"
            ):
                world.parse(
                    text[:last]
                    + other.replace(first[0], "Z")
                    + text[last + len(first) :],
                    "en",
                )


def test_a_trait_makes_some_lines_likelier():
    world = WORLDS["village"]
    rng = np.random.default_rng(6)
    silent = {"shy": [0, 0], "brave": [0, 0]}
    for _ in range(6000):
        story = world.sample(rng)
        if story.facts["plot"] == "share" and story.facts["trait"] in silent:
            silent[story.facts["trait"]][0] += "Without a word" in story.en
            silent[story.facts["trait"]][1] += 1
    share = {trait: told / total for trait, (told, total) in silent.items()}
    assert share["shy"] == pytest.approx(4 / 6, abs=0.12)
    assert share["brave"] == pytest.approx(1 / 3, abs=0.12)


def test_what_must_differ_differs(world):
    rng = np.random.default_rng(8)
    seen = dict.fromkeys(
        [("hero", "friend"), ("place", "place2"), ("home", "home2")], 0
    )
    for _ in range(400):
        facts = world.sample(rng).facts
        for one, other in seen:
            if one in facts and other in facts:
                assert facts[one] != facts[other]
                seen[one, other] += 1
    assert seen["hero", "friend"] == 400 and seen["place", "place2"] > 40
    assert (seen["home", "home2"] > 40) == (world.domain == "village")


def test_numbers_add_up():
    world = WORLDS["village"]
    rng = np.random.default_rng(7)
    seen = 0
    for _ in range(600):
        facts = world.sample(rng).facts
        if facts["plot"] in {"gift", "share"}:
            assert int(facts["n"]) == 2 * int(facts["k"])
            seen += 1
    assert seen > 100


def test_the_domains_share_no_names_and_no_things():
    people = [
        item.key
        for world in WORLDS.values()
        for name in ("hero", "friend")
        for item in world.grammar.variables[name].pool
    ]
    assert len(people) == len(set(people)) == 48
    village, harbour = (WORLDS[domain].grammar.variables for domain in DOMAINS)
    for name in (
        "hero",
        "friend",
        "home",
        "place",
        "thing",
        "animal",
        "worker",
        "food",
    ):
        for language in LANGUAGES:
            words = [
                {item.forms[language][""] for item in variables[name].pool}
                for variables in (village, harbour)
            ]
            assert len(words[0]) == len(village[name].pool)
            assert not words[0] & words[1], name
    assert set(WORLDS["village"].plots) & set(WORLDS["harbour"].plots) == {
        "lost",
        "gift",
        "truth",
    }
    with pytest.raises(ValueError, match="not a story"):
        WORLDS["harbour"].parse(next(WORLDS["village"].stories(1, seed=0)), "en")


def test_seed_decides_the_stories_on_every_platform():
    world = WORLDS["village"]
    texts = list(world.stories(50, seed=11))
    assert texts == list(world.stories(200, seed=11))[:50]
    assert texts != list(world.stories(50, seed=12))
    rng = np.random.default_rng(11)
    assert [world.sample(rng).en for _ in range(50)] == texts
    chinese, both = (
        list(world.stories(50, seed=11, language=language))
        for language in ("zh", "both")
    )
    assert both[0::2] == texts[0::2] and both[1::2] == chinese[1::2]
    assert world.parse(chinese[7], "zh").en == texts[7]
    digest = hashlib.sha256("\n".join(both).encode()).hexdigest()
    # If this fails, the story world has changed: everything measured on it must be
    # measured again.
    assert digest[:16] == "70a7ef587b631671"


def test_floor_per_token():
    world = WORLDS["village"]
    mean = np.mean([len(text.split()) for text in world.stories(100, seed=8)])
    assert world.nats_per_token(str.split, "en", n=100, seed=8) == pytest.approx(
        world.entropy / mean
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda w: StoryWorld("moon"),
            "unknown domain 'moon': expected 'village', 'harbour'",
        ),
        (lambda w: w.stories(-1, seed=0), "n is -1; expected at least 0"),
        (
            lambda w: w.stories(1, seed=0, language="fr"),
            "unknown language 'fr': expected 'en', 'zh', 'both'",
        ),
        (
            lambda w: w.log_prob("Hello", "de"),
            "unknown language 'de': expected 'en', 'zh'",
        ),
        (
            lambda w: w.log_prob("Once upon a time a brave gnome", "en"),
            "departs from every story at character 26",
        ),
        (
            lambda w: w.parse("从前有座山", "zh"),
            "departs from every story at character 2",
        ),
        (
            lambda w: w.mean_bytes("both"),
            "unknown language 'both': expected 'en', 'zh'",
        ),
        (
            lambda w: w.nats_per_token(str.split, "en", n=0),
            "n is 0; expected at least 1",
        ),
        (lambda w: w.tasks(-2, seed=0), "n is -2; expected at least 0"),
        (
            lambda w: w.tasks(1, seed=0, kinds=("riddle",)),
            "unknown kind of task 'riddle': expected 'qa', 'translation'",
        ),
        (lambda w: w.tasks(1, seed=0, kinds=()), "no kind of task: expected 'qa'"),
        (
            lambda w: w.tasks(1, seed=0, language="fr"),
            "unknown language 'fr': expected 'en', 'zh', 'both'",
        ),
    ],
)
def test_wrong_arguments_are_refused_at_once_in_one_line(call, message):
    with pytest.raises(ValueError) as caught:
        call(WORLDS["village"])
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_nothing_is_asked_for_and_nothing_comes():
    assert list(WORLDS["village"].stories(0, seed=0)) == []
    assert list(WORLDS["village"].tasks(0, seed=0)) == []
