"""The worked examples in the stubs of lab 02 are true, and its splits are those of the
package.
"""

import re
from pathlib import Path

import pytest
import torch

from happyllm_support.grading.labs import load_lab, load_module
from happyllm_support.grading.solution import places, source_of
from happyllm_support.grading.stubs import read_stub
from happyllm_support.text.corpora.splits import normalized, split_of
from happyllm_support.text.storyworld.exact import entropy as entropy_of
from happyllm_support.text.storyworld.grammar import Grammar
from happyllm_support.text.storyworld.rules import Beat, Item, Line, Variable
from happyllm_support.text.storyworld.world import StoryWorld

ROOT = Path(__file__).resolve().parent.parent.parent
LAB = load_lab(ROOT / "labs", "lab02")
STUBS = read_stub(LAB).decode("utf-8")


def test_examples_of_one_line_are_true():
    examples = re.findall(r"Example: (\w+\(.*\))\s+-> (\[.*\]|[\d.]+)(?=[.:])", STUBS)
    assert [call.partition("(")[0] for call, _ in examples] == [
        "bits_per_byte",
        "split",
        "best_fit",
    ]
    for call, result in examples:
        value = eval(call, {**LAB.reference, "tensor": torch.tensor})
        assert value == (
            pytest.approx(float(result), abs=1e-4) if result[0] != "[" else eval(result)
        )


def test_example_of_the_entropy():
    grammar = {
        "S": [(0.5, ["A", "A"]), (0.5, ["stop"])],
        "A": [(0.25, ["x"]), (0.75, ["y"])],
    }
    assert str(grammar) in " ".join(STUBS.replace('"', "'").split())
    assert round(LAB.reference["entropy"](grammar, "S"), 4) == 1.2555
    assert round(LAB.reference["entropy"](grammar, "A"), 4) == 0.5623
    assert "-> 1.2555" in STUBS and "that in A 0.5623" in STUBS


def test_example_of_the_ngrams():
    model = LAB.reference["NGram"](2, 3)
    model.learn([0, 1, 0])
    model.learn([0, 0])
    assert f"(4 + 1/3) / 6 = {model.probs([])[0]:.4f}" in STUBS
    assert f"(1 + 0.7222) / 3 = {model.probs([0])[0]:.4f}" in STUBS


def test_example_of_the_rows():
    filled = LAB.reference["fill_rows"]([[[11, 12, 13], [21, 22]]], 6)
    for name, array in filled.items():
        (shown,) = re.findall(rf"^ +{name} +((?:-?\d+ +)*-?\d+)", STUBS, re.MULTILINE)
        assert [int(number) for number in shown.split()] == array[0].tolist()


def test_example_of_the_batches():
    ids = torch.tensor([5, 6, 7, 8, 9])
    windows = [
        (x.tolist(), y.tolist()) for x, y in LAB.reference["batches"](ids, 1, 2, seed=0)
    ]
    assert sorted(windows) == [([[5, 6]], [[6, 7]]), ([[7, 8]], [[8, 9]])]


def test_every_solution_can_be_shown():
    for place in places(LAB.checks.values()):
        assert place.partition(":")[2].rpartition(".")[2] in source_of(
            place, LAB.folder.parent
        )


def test_the_hash_that_the_wrong_variants_use_is_that_of_the_package():
    shares = {"train": 0.7, "valid": 0.3}
    for text in StoryWorld().stories(30, seed=1, language="both"):
        u = LAB.reference["uniform"](LAB.reference["key_of"](text), 4)
        assert split_of(text, shares, 4, key=normalized) == (
            "train" if u < 0.7 else "valid"
        )


def test_the_entropy_of_the_five_stories_agrees_with_the_engine_of_the_package():
    def sentence(text, **when):
        return Line(text={"en": text}, when=when)

    animals = tuple(Item(word, {"en": {"": word}}) for word in ("cat", "dog", "hen"))
    pet = Variable(
        name="pet",
        pool=animals,
        weight=lambda animal: 2.0 if animal.key == "cat" else 1.0,
    )
    beats = [
        Beat(name="comes", lines=(sentence("A {pet} came in."),), then="does"),
        Beat(
            name="does",
            lines=(sentence("It ate."), sentence("It slept.", pet={"hen": 0.0})),
            then="leaves",
        ),
        Beat(name="leaves", lines=(sentence("Then the {pet} left."),)),
    ]
    engine = entropy_of(Grammar([pet], beats, {"en": " "}))
    pets = load_module(LAB.folder, "by_hand").PETS
    assert LAB.reference["entropy"](pets, "story") == pytest.approx(engine, abs=1e-12)
