"""Mistakes in decoding, at once and as a stream."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator

from . import reference
from .checks import lab
from .reference import Pair


def vocab_of(merges: list[Pair], *, swapped: bool = False) -> list[bytes]:
    """The bytes of each id; with `swapped`, the right part first."""
    vocab = [bytes([b]) for b in range(256)]
    for left, right in merges:
        vocab.append(
            vocab[right] + vocab[left] if swapped else vocab[left] + vocab[right]
        )
    return vocab


def checked(ids: list[int], merges: list[Pair]) -> list[int]:
    """The ids, none of which is outside the vocabulary."""
    for token in ids:
        if not 0 <= token < 256 + len(merges):
            raise ValueError(f"id {token} is out of range")
    return ids


@lab.mutant(
    "decode",
    "each token is decoded by itself: halves of characters become U+FFFD",
    section="Writing half a character",
)
def token_by_token(ids: list[int], merges: list[Pair]) -> str:
    vocab = vocab_of(merges)
    return "".join(
        vocab[token].decode("utf-8", "replace") for token in checked(ids, merges)
    )


@lab.mutant(
    "decode",
    "each token is decoded by itself, with errors='ignore': halves get lost",
    section="Writing half a character",
)
def ignore_token_by_token(ids: list[int], merges: list[Pair]) -> str:
    vocab = vocab_of(merges)
    return "".join(
        vocab[token].decode("utf-8", "ignore") for token in checked(ids, merges)
    )


@lab.mutant(
    "decode",
    "each token is decoded by itself, and half a character is an error",
    section="Writing half a character",
)
def strict_token_by_token(ids: list[int], merges: list[Pair]) -> str:
    vocab = vocab_of(merges)
    return "".join(vocab[token].decode("utf-8") for token in checked(ids, merges))


@lab.mutant(
    "decode",
    "broken characters raise an error (errors='strict') instead of becoming U+FFFD",
)
def strict(ids: list[int], merges: list[Pair]) -> str:
    vocab = vocab_of(merges)
    return b"".join(vocab[token] for token in checked(ids, merges)).decode("utf-8")


@lab.mutant(
    "decode",
    "broken characters are left out (errors='ignore') instead of becoming U+FFFD",
)
def ignore(ids: list[int], merges: list[Pair]) -> str:
    vocab = vocab_of(merges)
    return b"".join(vocab[token] for token in checked(ids, merges)).decode(
        "utf-8", "ignore"
    )


@lab.mutant(
    "decode",
    "each byte is taken for a character (chr, or Latin-1)",
    section="Bytes: 256, and nothing is missing",
)
def latin1(ids: list[int], merges: list[Pair]) -> str:
    vocab = vocab_of(merges)
    return b"".join(vocab[token] for token in checked(ids, merges)).decode("latin-1")


@lab.mutant(
    "decode",
    "the parts of a merged token stand in the wrong order: right before left",
    section="By hand",
)
def parts_swapped(ids: list[int], merges: list[Pair]) -> str:
    vocab = vocab_of(merges, swapped=True)
    return b"".join(vocab[token] for token in checked(ids, merges)).decode(
        "utf-8", "replace"
    )


@lab.mutant(
    "decode", "a negative id is taken from the end of the list", section="By hand"
)
def negative_ids(ids: list[int], merges: list[Pair]) -> str:
    checked([token for token in ids if token >= 0], merges)
    vocab = vocab_of(merges)
    return b"".join(vocab[token] for token in ids).decode("utf-8", "replace")


@lab.mutant(
    "decode",
    "ids outside the vocabulary are passed over, as if nothing were wrong",
    section="By hand",
)
def unknown_left_out(ids: list[int], merges: list[Pair]) -> str:
    return reference.decode(
        [token for token in ids if 0 <= token < 256 + len(merges)], merges
    )


@lab.mutant(
    "decode",
    "ids are looked up in a dictionary without a check: KeyError, not ValueError",
    section="By hand",
)
def key_error(ids: list[int], merges: list[Pair]) -> str:
    vocab = dict(enumerate(vocab_of(merges)))
    return b"".join(vocab[token] for token in ids).decode("utf-8", "replace")


@lab.mutant(
    "decode",
    "ids are looked up in a list without a check: IndexError, not ValueError",
    section="By hand",
)
def index_error(ids: list[int], merges: list[Pair]) -> str:
    vocab = vocab_of(merges)
    return b"".join(vocab[token] for token in ids).decode("utf-8", "replace")


@lab.mutant(
    "decode",
    "the limit is off by one: the id 256 + len(merges) is not refused",
    section="By hand",
)
def one_id_too_many(ids: list[int], merges: list[Pair]) -> str:
    if any(not 0 <= token <= 256 + len(merges) for token in ids):
        raise ValueError("out of range")
    vocab = vocab_of(merges)
    return b"".join(vocab[token] for token in ids).decode("utf-8", "replace")


@lab.mutant(
    "decode", "merge k, counted from 0, is taken for the id 257 + k", section="By hand"
)
def shifted(ids: list[int], merges: list[Pair]) -> str:
    vocab = [*vocab_of([]), b"", *vocab_of(merges)[256:]]
    return b"".join(vocab[token] for token in checked(ids, merges)).decode(
        "utf-8", "replace"
    )


@lab.mutant(
    "decode",
    "the limit is off by one: the last id of the vocabulary is refused",
    section="By hand",
)
def last_id_refused(ids: list[int], merges: list[Pair]) -> str:
    if any(token == 255 + len(merges) for token in ids) and merges:
        raise ValueError("out of range")
    return reference.decode(ids, merges)


@lab.mutant(
    "decode",
    "ids from 256 on are not looked up among the merges: bytes() refuses them",
    section="By hand",
)
def not_looked_up(ids: list[int], merges: list[Pair]) -> str:
    return bytes(ids).decode("utf-8", "replace")


@lab.mutant(
    "decode",
    "the parts of a merged token are taken for bytes; they may be merged tokens",
    section="By hand",
)
def taken_apart_once(ids: list[int], merges: list[Pair]) -> str:
    parts = (
        (token,) if token < 256 else merges[token - 256]
        for token in checked(ids, merges)
    )
    return b"".join(map(bytes, parts)).decode("utf-8", "replace")


@lab.mutant("decode", "spaces are put between tokens", section="By hand")
def with_spaces(ids: list[int], merges: list[Pair]) -> str:
    vocab = vocab_of(merges)
    return b" ".join(vocab[token] for token in checked(ids, merges)).decode(
        "utf-8", "replace"
    )


@lab.mutant(
    "decode_stream",
    "each token is decoded by itself: halves of characters become U+FFFD",
)
def stream_token_by_token(ids: Iterable[int], vocab: list[bytes]) -> Iterator[str]:
    for token in ids:
        yield vocab[token].decode("utf-8", "replace")


@lab.mutant(
    "decode_stream", "everything is collected, and the whole text comes at the end"
)
def collected(ids: Iterable[int], vocab: list[bytes]) -> Iterator[str]:
    text = b"".join(vocab[token] for token in ids).decode("utf-8", "replace")
    if text:
        yield text


@lab.mutant(
    "decode_stream",
    "all ids are taken first (a list of them is made), and then the text comes in "
    "parts",
)
def all_taken_first(ids: Iterable[int], vocab: list[bytes]) -> Iterator[str]:
    yield from reference.decode_stream(list(ids), vocab)


@lab.mutant(
    "decode_stream",
    "a list of texts is returned: nothing can be shown before the last id has come",
)
def a_list(ids: Iterable[int], vocab: list[bytes]) -> list[str]:
    return list(reference.decode_stream(ids, vocab))


@lab.mutant(
    "decode_stream", "the text is one id late: the next id is taken before it comes out"
)
def one_late(ids: Iterable[int], vocab: list[bytes]) -> Iterator[str]:
    waiting = ""
    stream = reference.Utf8Stream()
    for token in ids:
        if waiting:
            yield waiting
        waiting = stream.push(vocab[token])
    if waiting := waiting + stream.flush():
        yield waiting


@lab.mutant(
    "decode_stream",
    "the decoder is not told that the stream has ended: half a character there is "
    "dropped",
)
def never_final(ids: Iterable[int], vocab: list[bytes]) -> Iterator[str]:
    stream = reference.Utf8Stream()
    for token in ids:
        yield stream.push(vocab[token])


@lab.mutant(
    "decode_stream",
    "half a character that is left in the buffer at the end is dropped, and no U+FFFD "
    "comes",
)
def end_dropped(ids: Iterable[int], vocab: list[bytes]) -> Iterator[str]:
    stream = reference.Utf8Stream()
    for token in ids:
        if text := stream.push(vocab[token]):
            yield text


@lab.mutant(
    "decode_stream",
    "the decoder is strict: what is no character raises UnicodeDecodeError",
)
def strict_decoder(ids: Iterable[int], vocab: list[bytes]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    for token in ids:
        if text := decoder.decode(vocab[token]):
            yield text
    decoder.decode(b"", final=True)


@lab.mutant(
    "decode_stream",
    "all that is collected waits while its text ends with U+FFFD, complete characters "
    "as well",
)
def waits_at_replacement(ids: Iterable[int], vocab: list[bytes]) -> Iterator[str]:
    pending = b""
    for token in ids:
        pending += vocab[token]
        text = pending.decode("utf-8", "replace")
        if not text.endswith("\ufffd"):
            yield text
            pending = b""
    if pending:
        yield pending.decode("utf-8", "replace")


@lab.mutant(
    "decode_stream",
    "each byte of half a character at the end becomes a U+FFFD of its own",
)
def end_byte_by_byte(ids: Iterable[int], vocab: list[bytes]) -> Iterator[str]:
    data = b""
    stream = reference.Utf8Stream()
    for token in ids:
        data += vocab[token]
        if text := stream.push(vocab[token]):
            yield text
    if stream.flush():
        yield "\ufffd" * (len(data) - len(data.decode("utf-8", "ignore").encode()))


def until_valid(
    ids: Iterable[int], vocab: list[bytes], *, dropped: bool = False
) -> Iterator[str]:
    """Collect bytes until all of them together are valid, or drop what is not."""
    pending = b""
    for token in ids:
        pending += vocab[token]
        try:
            yield pending.decode("utf-8")
        except UnicodeDecodeError:
            pending = b"" if dropped else pending
            continue
        pending = b""
    if pending:
        yield pending.decode("utf-8", "replace")


@lab.mutant(
    "decode_stream",
    "complete characters wait with the half one behind them, until all collected "
    "bytes are valid",
)
def waits_for_all(ids: Iterable[int], vocab: list[bytes]) -> Iterator[str]:
    yield from until_valid(ids, vocab)


@lab.mutant("decode_stream", "a token that is no valid text by itself is dropped")
def halves_dropped(ids: Iterable[int], vocab: list[bytes]) -> Iterator[str]:
    yield from until_valid(ids, vocab, dropped=True)


@lab.mutant(
    "decode_stream",
    "bytes that can never become a character hold up everything behind them",
)
def blocked(ids: Iterable[int], vocab: list[bytes]) -> Iterator[str]:
    pending = b""
    for token in ids:
        pending += vocab[token]
        try:
            text = pending.decode("utf-8")
        except UnicodeDecodeError as error:
            text = pending[: error.start].decode("utf-8")
        if text:
            yield text
        pending = pending[len(text.encode()) :]
    if pending:
        yield pending.decode("utf-8", "replace")


@lab.mutant(
    "decode_stream", "the text repeats: what has been yielded stays in the buffer"
)
def repeated(ids: Iterable[int], vocab: list[bytes]) -> Iterator[str]:
    data = b""
    for token in ids:
        data += vocab[token]
        if text := data.decode("utf-8", "ignore"):
            yield text


@lab.mutant(
    "decode_stream",
    "bytes that are no character are left out (errors='ignore') instead of becoming "
    "U+FFFD",
)
def stream_ignores(ids: Iterable[int], vocab: list[bytes]) -> Iterator[str]:
    stream = reference.Utf8Stream()
    for token in ids:
        if text := stream.push(vocab[token]).replace("\ufffd", ""):
            yield text
