"""What the generic proofs cannot say of lab 01: examples that are true, helpers that
agree, more right answers.
"""

import ast
import codecs
import importlib.util
import re
from collections import Counter
from pathlib import Path

import pytest

from happyllm_support.grading.judge import Status, judge_locally
from happyllm_support.grading.labs import load_lab
from happyllm_support.grading.stubs import stub_of

ROOT = Path(__file__).resolve().parent.parent.parent
LAB = load_lab(ROOT / "labs", "lab01")
STUBS = stub_of(LAB)  # not the file beside it, into which a learner may have written
SOLUTION = ROOT / "tests" / "labs" / "solutions" / "lab01.py"
EXAMPLE = re.compile(
    r"\b((?:pair_counts|merge|train|encode|decode|encode_special|pretokenize)\(.*\))"
    r" +-> (.+)"
)


def examples(text):
    """The lines of a text that say `call -> value`, with what may follow the value cut
    off.
    """
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


@pytest.mark.parametrize(
    "path", [STUBS, LAB.folder / "README.md"], ids=["stubs", "README"]
)
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
    assert "None" in verdict.line

    def late(ids, vocab):
        for _ in range(2):
            yield from LAB.reference["decode_stream"](
                [next(ids, 10), next(ids, 10)], vocab
            )

    verdict = judge_locally(LAB, "decode_stream", late)
    symptom = verdict.diagnosis.symptom
    assert "complete" in symptom or "differs" in symptom or "expected is" in symptom


def vocab_of(merges):
    vocab = [bytes([b]) for b in range(256)]
    for left, right in merges:
        vocab.append(vocab[left] + vocab[right])
    return vocab


def split_and_largest(text, vocab_size, min_frequency=2):
    words, merges = Counter(tuple(word.encode()) for word in text.split()), []
    while len(merges) < vocab_size - 256 and (
        pairs := LAB.reference["pair_counts"](dict(words))
    ):
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        if pairs[best] < min_frequency:
            break
        words = Counter(
            {
                tuple(LAB.reference["merge"](list(w), best, 256 + len(merges))): n
                for w, n in words.items()
            }
        )
        merges.append(best)
    return merges


def ignoring_and_unchecked(ids, merges):
    vocab = vocab_of(merges)
    return "".join(vocab[token].decode("utf-8", errors="ignore") for token in ids)


def strict_and_negative(ids, merges):
    vocab = vocab_of(merges)
    if max(ids, default=0) >= len(vocab):
        raise ValueError("too large")
    return b"".join(vocab[token] for token in ids).decode()


def unescaped_and_all(text, merges, special, allowed=()):
    parts = re.split(f"({'|'.join(special)})", text)
    ids = (
        [special[part]] if part in special else LAB.reference["encode"](part, merges)
        for part in parts
    )
    return [token for row in ids for token in row]


def all_and_nothing_refused(text, merges, special, allowed=()):
    pattern = "|".join(
        re.escape(token) for token in sorted(special, key=len, reverse=True)
    )
    parts = re.split(f"({pattern})", text)
    ids = (
        [special[part]] if part in special else LAB.reference["encode"](part, merges)
        for part in parts
    )
    return [token for row in ids for token in row]


def short_circuit(ids, pair, new):
    merged, i = [], 0
    while i < len(ids):
        here = ids[i] == pair[0] and ids[i + 1] == pair[1]
        merged.append(new if here else ids[i])
        i += 2 if here else 1
    return merged


def shrinking_its_argument(ids, pair, new):
    for i in range(len(ids) - 1):
        if ids[i] == pair[0] and ids[i + 1] == pair[1]:
            ids[i] = new
            del ids[i + 1]
    return ids


@pytest.mark.parametrize(
    ("target", "code", "named"),
    [
        ("train", split_and_largest, "cut_by_split"),
        ("decode", ignoring_and_unchecked, "ignore_token_by_token"),
        ("decode", strict_and_negative, "strict"),
        ("encode_special", unescaped_and_all, "unescaped"),
        ("encode_special", all_and_nothing_refused, "always_split"),
        ("merge", short_circuit, "behind_the_end"),
        ("merge", shrinking_its_argument, "shrinking"),
    ],
)
def test_of_two_mistakes_one_is_named_and_then_the_other(target, code, named):
    verdict = judge_locally(LAB, target, code)
    assert verdict.status is Status.FAIL
    assert (
        verdict.diagnosis.mutant.code.__name__ == named
        and "all of them" not in verdict.line
    )


@pytest.mark.parametrize("name", ["train", "encode", "encode_special"])
def test_what_does_nothing_is_not_taken_for_a_mistake_in_the_rule(name):
    assert judge_locally(LAB, name, lambda *args: []).diagnosis.mutant is None
