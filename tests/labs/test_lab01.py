"""What the generic proofs cannot say of lab 01: examples that are true, helpers that agree, more right answers."""

import ast
import codecs
import importlib.util
import re
from pathlib import Path

import pytest

from happyllm_support.grading.judge import Status, judge_locally
from happyllm_support.grading.labs import load_lab
from happyllm_support.grading.stubs import stub_of

ROOT = Path(__file__).resolve().parent.parent.parent
LAB = load_lab(ROOT / "labs", "lab01")
STUBS = stub_of(LAB)  # not the file beside it, into which a learner may have written
SOLUTION = ROOT / "tests" / "labs" / "solutions" / "lab01.py"
EXAMPLE = re.compile(r"\b((?:pair_counts|merge|train|encode|decode|encode_special|pretokenize)\(.*\)) +-> (.+)")


def examples(text):
    """The lines of a text that say `call -> value`, with what may follow the value cut off."""
    for line in text.splitlines():
        if line.startswith(("#", "def ", ")")):
            continue
        for part in line.split("; "):
            if found := EXAMPLE.search(part):
                call, value = found.groups()
                for stop in range(len(value), 0, -1):
                    try:
                        yield call, ast.literal_eval(value[:stop].strip())
                        break
                    except (SyntaxError, ValueError):
                        continue
                else:
                    raise AssertionError(f"no value in {value!r}")


@pytest.mark.parametrize("path", [STUBS, LAB.folder / "README.md"], ids=["stubs", "README"])
def test_the_examples_are_true(path):
    found = list(examples(path.read_text("utf-8")))
    assert len(found) >= 7
    for call, value in found:
        assert eval(call, dict(LAB.reference)) == value, call


@pytest.mark.parametrize("path", [STUBS, SOLUTION], ids=["stubs", "solution"])
def test_the_given_helpers_are_those_of_the_reference(path):
    spec = importlib.util.spec_from_file_location("lab01_given", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert [*map(module.rank, range(300))] == [*map(LAB.reference["rank"], range(300))]
    for text in ("", "the cat,  sat\n\n 1_2 é语?!\t", " \n x  "):
        assert module.pretokenize(text) == LAB.reference["pretokenize"](text)
        assert "".join(module.pretokenize(text)) == text


def with_empty_texts(ids, vocab):
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for token in ids:
        yield decoder.decode(vocab[token])
    yield decoder.decode(b"", final=True)


class AnIterator:
    def __init__(self, ids, vocab):
        self.inner = with_empty_texts(ids, vocab)

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.inner)


def byte_by_byte(ids, vocab):
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for token in ids:
        for byte in vocab[token]:
            yield from decoder.decode(bytes([byte]))
    yield from decoder.decode(b"", final=True)


@pytest.mark.parametrize("right", [with_empty_texts, AnIterator, byte_by_byte])
def test_other_ways_to_stream_pass(right):
    verdict = judge_locally(LAB, "decode_stream", right)
    assert verdict.status is Status.PASS, verdict.diagnosis


def test_a_mistake_without_a_name_is_described_by_what_was_seen():
    verdict = judge_locally(LAB, "merge", lambda ids, pair, new: None)
    assert verdict.status is Status.FAIL and verdict.diagnosis.mutant is None
    assert "None (is a return missing?)" in verdict.line

    def late(ids, vocab):
        for _ in range(2):
            yield from LAB.reference["decode_stream"]([next(ids, 10), next(ids, 10)], vocab)

    verdict = judge_locally(LAB, "decode_stream", late)
    symptom = verdict.diagnosis.symptom
    assert "complete" in symptom or "differs" in symptom or "expected is" in symptom
