"""Lab 02, Corpora: what a loss is measured on.

Replace each `raise NotYet` by your own code; `make labs LAB=02` grades the file. The
task is in README.md, the ideas are in chapter 02. What is not forbidden in README.md is
allowed: the standard library, NumPy and torch. No function may change what it is given.
"""

from __future__ import annotations

import math  # noqa: F401  # yours to use
from collections.abc import Iterator

from torch import Tensor

from happyllm_support.grading import NotYet

Grammar = dict[
    str, list[tuple[float, list[str]]]
]  # nonterminal -> rules: (probability, symbols)

IGNORE_INDEX = -100  # a target that no loss counts
PADDING_SEGMENT = 0


def bits_per_byte(losses: Tensor, text: str) -> float:
    """Say what a model pays for a text in a unit that no tokenizer can change.

        bits per byte = loss of the whole text in nats / (ln 2 * its bytes in UTF-8)

    Example: bits_per_byte(tensor([0.6931, 2.0794]), "ab") -> 2.0: ln 2 + 3 ln 2 nats
    are 4 bits, for 2 bytes. For "é", one character of two bytes, it is 2.0, too.

    Args:
        losses: (N,) floating point, the surprise at each of the text's N tokens in
            nats.
        text: the text that these tokens spell.

    Returns:
        A Python float.

    Raises:
        ValueError: the text is empty.
    """
    raise NotYet


def entropy(grammar: Grammar, start: str) -> float:
    """Compute the mean surprise, in nats, at what a probabilistic grammar makes:
    exactly, without drawing anything.

    A symbol that is a key of `grammar` is a nonterminal: one of its rules is drawn with
    the rule's probability, independently of all else, and each symbol of that rule is
    then expanded in turn. Any other symbol is a word and stays. By the chain rule, with
    the sum over the rules of A,

        H(A) = sum of p * (-ln p + H(first symbol) + H(second symbol) + ...)
        H(word) = 0

    Example: with {"S": [(0.5, ["A", "A"]), (0.5, ["stop"])],
    "A": [(0.25, ["x"]), (0.75, ["y"])]} and start "S", the choice in S costs 0.6931,
    that in A 0.5623, and A is used 0.5 * 2 = 1 times: 0.6931 + 0.5623 -> 1.2555.

    It is the entropy of derivations. A rule of probability 0 is allowed, and never
    used. No nonterminal can come up again in its own expansion, so the sum ends. But 40
    nonterminals that each stand for two of the next make a text of a trillion words:
    compute H once for each nonterminal and remember it, or you will wait for years (the
    check: for 10 seconds).

    Args:
        grammar: the rules of each nonterminal, as (probability, symbols).
        start: the symbol to begin with; it need not be the first key.

    Returns:
        Nats, a Python float.

    Raises:
        ValueError: the probabilities of a nonterminal, be it in use or not, do not sum
            to 1. What is off by at most 1e-9 is rounding (0.7 + 0.2 + 0.1 is not
            exactly 1.0 in floating point) and accepted.
    """
    raise NotYet


class NGram:
    """A language model that counts, with the smoothing of the chapter.

        p_k(t | context) = (count(context, t) + p_{k-1}(t | shorter context))
                           / (count(context) + 1)
        p_0 = 1 / V

    p_k looks at the last k - 1 tokens; the shorter context lacks the oldest of them;
    count(context) is how often *something* followed it. The model of order n predicts
    with p_n. Nothing is known before the beginning of a document: after j < n - 1
    tokens, it predicts with p_{j+1}.

    Example: NGram(2, 3) that has learned [0, 1, 0] and [0, 0]. Token 0 was seen 4 times
    and token 1 once, so p_1(0) = (4 + 1/3) / 6 = 0.7222. After a 0 came 1 and 0, so
    p_2(0 | 0) = (1 + 0.7222) / 3 = 0.5741.
    """

    def __init__(self, n: int, vocab_size: int) -> None:
        """Begin without any counts.

        Args:
            n: the order, at least 1: how many tokens an n-gram has, the predicted one
                included.
            vocab_size: V; ids are 0 to V - 1, and a token that was never seen has a
                probability, too.
        """
        raise NotYet

    def learn(self, ids: list[int]) -> None:
        """Add the counts of one document to those of the documents before; nothing
        reaches from one to the next.

        The first tokens of a document are counted, too, in the contexts that they have.
        """
        raise NotYet

    def probs(self, context: list[int]) -> Tensor:
        """Predict what follows.

        Args:
            context: all tokens of a document so far, maybe none, maybe more than the
                model looks at.

        Returns:
            (V,) float64, the probability of each token; they sum to 1.
        """
        raise NotYet

    def surprise(self, ids: list[int]) -> Tensor:
        """Return the surprise at each token of a document given those before it:
        (len(ids),) float64, in nats.
        """
        raise NotYet


def split(documents: list[str], shares: dict[str, float], seed: int = 0) -> list[str]:
    """Decide for each document to which part it belongs, so that no part knows
    another's text.

    The *content* decides: copies that differ only in case, white space and punctuation
    share a part, wherever they stand and whatever else is in the list, on every
    machine, in every run.

    So that everyone gets the same split, the recipe is fixed:

        key   the document in `casefold`, and of that only the characters that are
              letters or digits (`isalnum`)
        salt  BLAKE2b of str(seed), a digest of 16 bytes
        u     BLAKE2b of the key in UTF-8 with that salt, a digest of 8 bytes, as a
              big-endian number over 2 ** 64

    BLAKE2b is `hashlib.blake2b(data, digest_size=..., salt=...)`. Lay the shares end to
    end from 0 to 1, in the order of the dict; the part in which u falls is the
    document's. (Rounding may leave the sum of all shares below 1; a u above it, which
    hardly ever comes, goes to any part you like.)

    Example: split(["A cat.", "a  CAT", "A pig."], {"train": 0.5, "valid": 0.5})
    -> ["valid", "valid", "train"].

    Args:
        documents: texts in any language.
        shares: name and share of each part, such as {"train": 0.9, "valid": 0.1}.
        seed: another seed gives another, independent split.

    Returns:
        The name of the part of each document, in the order of the documents.

    Raises:
        ValueError: a share is negative, or they do not sum to 1. What is off by at most
            1e-9 is rounding and accepted.
    """
    raise NotYet


def best_fit(lengths: list[int], T: int) -> list[list[int]]:
    """Plan which documents share a row of T places, such that few places stay empty.

    Longest document first, each goes into the fullest row that still has room for it;
    where none has, into a new row.

    Example: best_fit([9, 5, 7, 3, 6], 12) -> [[0, 3], [2, 1], [4]]: rows of 9 + 3,
    7 + 5 and 6.

    Args:
        lengths: the number of tokens of each document, 1 or more.
        T: places in a row.

    Returns:
        For each row the numbers of its documents, counted from 0: a list of lists (or
        of tuples). Which of two equally long documents comes first, and which of two
        equally full rows is taken, is up to you; so is the order of the rows, and that
        within a row.

    Raises:
        ValueError: a document is longer than T.
    """
    raise NotYet


def fill_rows(
    rows: list[list[list[int]]], T: int, pad_id: int = 0
) -> dict[str, Tensor]:
    """Make the four arrays that a model reads from rows of whole documents.

    Example: fill_rows([[[11, 12, 13], [21, 22]]], 6) -> one row of each array:

        ids        11   12   13   21   22    0
        targets    12   13 -100   22 -100 -100    the next token of the same document
        positions   0    1    2    0    1    0    restart in each document
        segments    1    1    1    2    2    0    number of the document; 0 is padding

    Args:
        rows: for each of B rows its documents, each a list of one or more ids. They are
            laid from the left, in order.
        T: places in a row; what is left is padding.
        pad_id: what `ids` holds at padding.

    Returns:
        "ids", "targets", "positions", "segments": (B, T) int64. Targets are -100 where
        there is nothing to learn: at the last token of a document and at padding.
        Positions and segments are 0 at padding.

    Raises:
        ValueError: the documents of a row have more than T tokens.
    """
    raise NotYet


def batches(
    ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of one epoch over a long line of tokens, in a random order that
    can be repeated.

    The line is cut into windows that do not overlap: the inputs of window w are the T
    tokens from w * T on, its targets the T tokens from w * T + 1 on. A window counts if
    it has all its targets. All windows are shuffled, then taken `batch_size` at a time;
    those that fill no batch at the end are left out. Too short a line gives no batch at
    all.

    The same seed and epoch give the same batches, in every process and on every
    machine. Another epoch, or another seed, gives an unrelated order; in particular,
    epoch 1 of seed 0 is not epoch 0 of seed 1. So that everyone gets the same batches,
    the recipe is fixed:

        order = [0, 1, 2, ...], the windows' numbers, after
        random.Random(f"{seed} {epoch}").shuffle(order)

    The first batch has the first `batch_size` windows of that order, row by row.

    Example: tensor([5, 6, 7, 8, 9]) with T = 2 has two windows: [5, 6] with targets
    [6, 7], and [7, 8] with [8, 9].

    Args:
        ids: (N,) int64.
        batch_size: B.
        T: tokens in a window.
        seed: of all epochs.
        epoch: which of them.

    Yields:
        Inputs and targets, (B, T) int64 each.
    """
    raise NotYet
