import re
from collections import Counter

import pytest

from happyllm_support.text.storyworld.lexicon import VILLAGE
from happyllm_support.text.storyworld.tasks import KINDS, Task, fill
from happyllm_support.text.storyworld.world import DOMAINS, StoryWorld

WORLDS = {domain: StoryWorld(domain) for domain in DOMAINS}


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_answer_passes_its_own_check_and_others_do_not(domain):
    world = WORLDS[domain]
    tasks = list(world.tasks(1600, seed=0))
    assert Counter((task.kind, task.language) for task in tasks) == {
        (k, x): 200 for k in KINDS for x in ("en", "zh")
    }
    for kind in KINDS:
        for language in ("en", "zh"):
            group = [
                task for task in tasks if (task.kind, task.language) == (kind, language)
            ]
            for task, other in zip(group, group[1:] + group[:1], strict=True):
                assert world.check(task, task.answer), task
                assert world.check(task, f"  {task.answer}\n")
                assert world.check(task, other.answer) == (
                    task.answer == other.answer
                ), (task, other)
                assert not world.check(task, "")


def test_answers_about_a_story_come_from_the_story():
    world = WORLDS["village"]
    for task in world.tasks(400, seed=1, kinds=["qa"]):
        text, question = task.prompt.split("\n")
        story = world.parse(text, task.language)
        assert question.endswith("?" if task.language == "en" else "？")
        assert "{" not in task.prompt + task.answer
        if question.startswith(("Who helped", "谁帮助了")):
            friend = next(
                item for item in VILLAGE.friends if item.key == story.facts["friend"]
            )
            assert task.answer.rstrip(".。") == friend.forms[task.language][""]
        if question.startswith("What colour was the"):
            assert task.answer.lower() == f"{story.facts['colour']}."


def test_every_question_is_asked_and_answerable():
    for world in WORLDS.values():
        asked = {
            re.sub(r"[A-Z]\w+'?s?", "X", task.prompt.split("\n")[1])
            for task in world.tasks(1500, seed=2, kinds=["qa"], language="en")
        }
        openings = {question[:8] for question in asked}
        assert len(openings) >= 8
        for task in world.tasks(300, seed=3, kinds=["qa"], language="en"):
            text = task.prompt.split("\n")[0].lower()
            answer = task.answer.rstrip(".").lower().removeprefix("it belonged to ")
            answer = re.sub(r"^(an|a|the) ", "", answer)
            assert answer in text, task


def test_translation_is_checked_by_meaning():
    world = WORLDS["village"]
    task = next(world.tasks(1, seed=4, kinds=["translation"], language="zh"))
    story = world.parse(task.prompt.split("\n")[1], "zh")
    assert task.answer == story.en and world.check(task, story.en)
    assert not world.check(task, story.zh)
    name = story.facts["hero"]
    wrong = story.en.replace(name, "Hugo" if name != "Hugo" else "Leo")
    assert not world.check(task, wrong)
    assert not world.check(task, story.en[:-1])


def test_ordering_restores_the_story():
    world = WORLDS["harbour"]
    moved = 0
    for task in world.tasks(60, seed=5, kinds=["ordering"]):
        listed = dict(re.findall(r"^([A-J])\. (.*)$", task.prompt, flags=re.MULTILINE))
        order = task.answer.split()
        assert sorted(order) == sorted(listed)
        separator = " " if task.language == "en" else ""
        world.parse(separator.join(listed[letter] for letter in order), task.language)
        moved += order != sorted(order)
        assert world.check(task, ", ".join(order).lower())
        assert not world.check(task, " ".join(order[::-1]))
    assert moved > 50


SUMS = [
    (r"has (\d+) \w+\. .* (\d+) more", lambda x, y: x + y),
    (r"finds (\d+) coins .* finds (\d+)\.", lambda x, y: x + y),
    (r"(\d+) coins on Monday and (\d+)", lambda x, y: x + y),
    (r"picked (\d+) \w+ and gave (\d+)", lambda x, y: x - y),
    (r"costs (\d+) coins\. \w+ has (\d+)", lambda x, y: x - y),
    (r"had (\d+) \w+\. .* took (\d+)", lambda x, y: x - y),
    (r"has (\d+) baskets with (\d+)", lambda x, y: x * y),
    (r"(\d+) coins a day\. .* (\d+) days", lambda x, y: x * y),
]


def test_sums_are_right():
    seen = set()
    for task in WORLDS["village"].tasks(
        400, seed=6, kinds=["arithmetic"], language="en"
    ):
        pattern, operation = next(row for row in SUMS if re.search(row[0], task.prompt))
        match = re.search(pattern, task.prompt)
        assert int(task.answer) == operation(int(match[1]), int(match[2])), task
        assert not re.search(r"\b[Aa] [aeiou]", task.prompt), task
        assert int(task.answer) >= 2
        seen.add(pattern)
    assert len(seen) == len(SUMS)


@pytest.mark.parametrize(
    ("task", "answer", "right"),
    [
        (Task("qa", "en", "", "A red kite."), "the red kite", True),
        (Task("qa", "en", "", "A red kite."), "red kites", False),
        (Task("qa", "zh", "", "红色。"), "红色", True),
        (Task("qa", "zh", "", "红色。"), "绿色", False),
        (Task("arithmetic", "en", "", "12"), "12 apples.", True),
        (Task("arithmetic", "en", "", "12"), "3 + 9 = 12", False),
        (Task("arithmetic", "en", "", "12"), "120", False),
        (Task("arithmetic", "zh", "", "12"), "一共有12个。", True),
        (Task("ordering", "en", "", "B A C"), "b, a, c", True),
        (Task("ordering", "en", "", "B A C"), "B A", False),
        (Task("translation", "en", "", "从前"), "从前", False),
    ],
)
def test_checks_one_by_one(task, answer, right):
    assert WORLDS["village"].check(task, answer) is right


def test_gaps_are_filled_with_forms():
    context = {"hero": VILLAGE.heroes[0], "thing": VILLAGE.things[0]}
    assert fill("{hero} and {hero.his} {thing}", context, "en") == "Lily and her kite"
    assert fill("{hero}的{thing.one}{thing}", context, "zh") == "莉莉的一只风筝"


def test_tasks_depend_on_the_seed_only():
    world = WORLDS["village"]
    assert list(world.tasks(20, seed=9)) == list(world.tasks(40, seed=9))[:20]
    assert list(world.tasks(20, seed=9)) != list(world.tasks(20, seed=10))
