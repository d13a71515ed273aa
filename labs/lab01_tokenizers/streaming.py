"""Looking on while text comes out of a stream: what `decode_stream` is held to."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from itertools import islice

from happyllm_support.grading.compare import expect, expect_equal, kind_of
from happyllm_support.grading.remote import Remote
from happyllm_support.grading.wire import Stream

from . import reference
from .oracles import VOCAB


def steps_of(
    decode_stream: Remote, ids: list[int], what: str
) -> list[tuple[int, str]] | None:
    """After each text that came: how many ids were taken, and all the text so far."""
    parts = decode_stream(Stream(ids), VOCAB)
    if not isinstance(parts, Iterator):
        expect(
            False,
            f"for {what} it returns {kind_of(parts)}; expected is a generator, which "
            "yields text as ids come",
        )
        return None
    steps: list[tuple[int, str]] = []
    for part in islice(parts, 8 * len(ids) + 8):
        if not isinstance(part, str):
            expect(False, f"for {what} it yields {kind_of(part)}; expected is text")
            return None
        if part:
            steps.append(
                (decode_stream.taken()[-1], (steps[-1][1] if steps else "") + part)
            )
    return steps


def joined(
    decode_stream: Remote, ids: list[int], want: str, what: str
) -> list[tuple[int, str]] | None:
    """Everything that is yielded for `ids` is `want`."""
    steps = steps_of(decode_stream, ids, what)
    if steps is not None:
        expect_equal(steps[-1][1] if steps else "", want, f"the joined text for {what}")
        package = "".join(reference.decode_stream(iter(ids), VOCAB))
        assert package == want, (package, want)
    return steps


def follow(decode_stream: Remote, ids: list[int], what: str) -> None:
    """Valid text: each character comes when its last byte is there, before another id
    is taken.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    complete = [""]  # after so many ids
    for token in ids:
        complete.append(complete[-1] + decoder.decode(VOCAB[token]))
    steps = joined(decode_stream, ids, complete[-1], what)
    before = ""
    for taken, text in steps or []:
        due = complete[max(taken - 1, 0)]
        late = (
            f"{what}: {taken} ids were taken when {text!r} had come, but {due!r} was "
            "complete one id earlier"
        )
        if not expect(len(before) >= len(due), late):
            return
        early = (
            f"{what}: after {taken} ids {text!r} has come out; the complete "
            f"characters are {complete[taken]!r}"
        )
        if not expect(complete[taken].startswith(text), early):
            return
        before = text
