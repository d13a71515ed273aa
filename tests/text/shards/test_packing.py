import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_dataset import numbered_documents

from happyllm_support.text.shards.packing import (
    IGNORE_INDEX,
    fill_rows,
    plan_best_fit,
    plan_concatenated,
    plan_one_per_row,
)

PLANS = [plan_concatenated, plan_best_fit, plan_one_per_row]
LENGTHS = st.lists(st.integers(0, 23), max_size=20)


def fill(plan, documents, rows=None, **options):
    rows = range(len(plan)) if rows is None else rows
    return fill_rows(
        plan,
        list(rows),
        [np.array(document) for document in documents].__getitem__,
        **options,
    )


def test_worked_example_of_the_module():
    """Documents a b c and x y in a row of six."""
    rows = fill(plan_best_fit([3, 2], 6), [[10, 11, 12], [20, 21]], pad_id=7)
    assert rows.ids.tolist() == [[10, 11, 12, 20, 21, 7]]
    assert rows.targets.tolist() == [[11, 12, -100, 21, -100, -100]]
    assert rows.positions.tolist() == [[0, 1, 2, 0, 1, 0]]
    assert rows.segments.tolist() == [[1, 1, 1, 2, 2, 0]]
    assert {array.dtype for array in vars(rows).values()} == {np.dtype(np.int64)}


def test_concatenation_cuts_at_rows_and_predicts_across_the_cut():
    rows = fill(plan_concatenated([3, 4], 5), [[10, 11, 12], [20, 21, 22, 23]])
    assert rows.ids.tolist() == [[10, 11, 12, 20, 21], [22, 23, 0, 0, 0]]
    assert rows.targets.tolist() == [
        [11, 12, -100, 21, 22],
        [23, -100, -100, -100, -100],
    ]
    assert rows.positions.tolist() == [[0, 1, 2, 0, 1], [0, 1, 0, 0, 0]]
    assert rows.segments.tolist() == [[1, 1, 1, 2, 2], [1, 1, 0, 0, 0]]


def test_one_per_row_reports_what_it_truncates():
    plan = plan_one_per_row([3, 6, 0, 4], 4)
    rows = fill(plan, [[1, 2, 3], [4, 5, 6, 7, 8, 9], [], [10, 11, 12, 13]])
    assert rows.ids.tolist() == [[1, 2, 3, 0], [4, 5, 6, 7], [10, 11, 12, 13]]
    assert rows.targets.tolist() == [
        [2, 3, -100, -100],
        [5, 6, 7, 8],
        [11, 12, 13, -100],
    ]
    stats = plan.stats()
    assert (stats.rows, stats.tokens, stats.tokens_dropped, stats.documents_cut) == (
        3,
        11,
        2,
        1,
    )
    assert stats.waste == pytest.approx(1 / 12)


def test_best_fit_takes_the_fullest_row_with_room():
    plan = plan_best_fit([5, 2, 7, 3, 10], 10)  # 10 | 7 3 | 5 2, not 7 2
    assert [[d for _, d, _, _ in plan.pieces(row)] for row in range(len(plan))] == [
        [4],
        [2, 3],
        [0, 1],
    ]
    assert plan.stats().waste == pytest.approx(0.1) and plan.stats().documents_cut == 0


def test_plain_stream_is_the_text_shifted_by_one():
    """Across documents, x = text[i : i + T] and y = text[i + 1 : i + 1 + T]."""
    lengths = [4, 1, 5, 3, 3]
    documents = list(numbered_documents(lengths))
    text = np.concatenate(documents)
    for skip in range(4):
        rows = fill(
            plan_concatenated(lengths, 3, skip=skip, whole_rows=True),
            documents,
            cross_document=True,
        )
        whole = (16 - skip) // 3
        x = text[skip : skip + 3 * whole].reshape(whole, 3)
        y = np.append(text, IGNORE_INDEX)[skip + 1 : skip + 3 * whole + 1].reshape(
            whole, 3
        )
        assert np.array_equal(rows.ids, x) and np.array_equal(rows.targets, y)
        assert (
            np.array_equal(rows.positions, np.tile([0, 1, 2], (whole, 1)))
            and (rows.segments == 1).all()
        )


def test_crossing_in_best_fit_ends_with_the_row():
    documents = list(numbered_documents([5, 3, 2]))
    rows = fill(plan_best_fit([5, 3, 2], 4), documents, cross_document=True)
    assert rows.ids.tolist() == [[1, 2, 3, 4], [6, 7, 8, 5], [9, 10, 0, 0]]
    assert rows.targets.tolist() == [
        [2, 3, 4, 5],
        [7, 8, 5, -100],
        [10, -100, -100, -100],
    ]
    assert rows.segments.tolist() == [[1] * 4, [1] * 4, [1, 1, 0, 0]]


@settings(deadline=None)
@given(
    lengths=LENGTHS,
    seq_len=st.integers(1, 9),
    seed=st.integers(0, 5),
    which=st.integers(0, 2),
)
def test_rows_are_right_by_an_independent_reading(lengths, seq_len, seed, which):
    """Tokens are numbered through, so that each says where it comes from."""
    plan = PLANS[which](
        lengths, seq_len, order=np.random.default_rng(seed).permutation(len(lengths))
    )
    documents = list(numbered_documents(lengths))
    owner = {
        token: (d, i)
        for d, document in enumerate(documents)
        for i, token in enumerate(document)
    }
    rows = fill(plan, documents)
    real = rows.segments > 0
    seen = rows.ids[real].tolist()
    kept = [
        token
        for document in documents
        for token in (document[:seq_len] if which == 2 else document)
    ]
    assert sorted(seen) == kept  # each once, none invented
    for b in range(len(plan)):
        width = int(real[b].sum())
        assert width > 0 and real[b, :width].all()  # padding only at the end
        for t in range(seq_len):
            target = rows.targets[b, t]
            if not real[b, t]:
                assert (rows.ids[b, t], target, rows.positions[b, t]) == (
                    0,
                    IGNORE_INDEX,
                    0,
                )
                continue
            document, index = owner[rows.ids[b, t]]
            follows = index + 1 < lengths[document]
            assert target == (rows.ids[b, t] + 1 if follows else IGNORE_INDEX)
            fresh = (
                t == 0
                or owner[rows.ids[b, t - 1]][0] != document
                or rows.positions[b, t] == 0
            )
            if fresh:
                assert (
                    rows.positions[b, t] == 0
                    and rows.segments[b, t] == (rows.segments[b, t - 1] if t else 0) + 1
                )
            else:
                assert rows.positions[b, t] == rows.positions[b, t - 1] + 1
                assert (
                    rows.segments[b, t] == rows.segments[b, t - 1]
                    and rows.ids[b, t] == rows.ids[b, t - 1] + 1
                )


@settings(deadline=None)
@given(lengths=LENGTHS, seq_len=st.integers(1, 9))
def test_statistics_count_what_is_there(lengths, seq_len):
    for make in PLANS:
        plan = make(lengths, seq_len)
        stats = plan.stats()
        rows = fill(plan, list(numbered_documents(lengths)))
        assert stats.tokens == (
            rows.segments > 0
        ).sum() and stats.tokens + stats.tokens_dropped == sum(lengths)
        if len(plan):
            assert stats.waste == pytest.approx((rows.segments == 0).mean())
    assert plan_concatenated(lengths, seq_len).stats().rows == -(
        -sum(lengths) // seq_len
    )
    assert plan_best_fit(lengths, seq_len).stats().documents_cut == sum(
        n > seq_len for n in lengths
    )
    assert plan_one_per_row(lengths, seq_len).stats().documents_cut == sum(
        n > seq_len for n in lengths
    )


@settings(deadline=None)
@given(lengths=LENGTHS, seq_len=st.integers(1, 9))
def test_best_fit_equals_the_textbook_algorithm(lengths, seq_len):
    """Longest first; each into the row with the least room that is enough: the rows
    hold the same lengths.
    """
    pieces = sorted(
        (min(seq_len, n - start) for n in lengths for start in range(0, n, seq_len)),
        reverse=True,
    )
    expected = []
    for piece in pieces:
        fitting = [row for row in expected if sum(row) + piece <= seq_len]
        (
            max(fitting, key=sum) if fitting else expected.append([]) or expected[-1]
        ).append(piece)
    plan = plan_best_fit(lengths, seq_len)
    ours = [[n for *_, n in plan.pieces(row)] for row in range(len(plan))]
    assert sorted(map(sum, ours)) == sorted(map(sum, expected))


def test_padding_rows_and_rows_in_any_order():
    documents = list(numbered_documents([2, 2]))
    rows = fill(plan_one_per_row([2, 2], 3), documents, rows=[1, -1, 0], pad_id=9)
    assert rows.ids.tolist() == [[3, 4, 9], [9, 9, 9], [1, 2, 9]]
    assert (
        rows.segments.tolist() == [[1, 1, 0], [0, 0, 0], [1, 1, 0]]
        and (rows.targets[1] == IGNORE_INDEX).all()
    )


def test_no_documents_give_no_rows():
    for make in PLANS:
        for lengths in ([], [0, 0]):
            plan = make(lengths, 4)
            assert len(plan) == 0 and plan.stats().waste == 0
            assert fill(plan, [[], []]).ids.shape == (0, 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plan_best_fit([3], 0), "seq_len is 0; expected at least 1"),
        (
            lambda: plan_concatenated([3, -1], 2),
            "expected one non-negative number per document",
        ),
        (
            lambda: plan_one_per_row([3, 2], 2, order=[0, 0]),
            "order is no permutation of the 2 documents",
        ),
        (
            lambda: plan_concatenated([3], 2, skip=4),
            "skip is 4; expected 0 to the 3 tokens there are",
        ),
        (
            lambda: fill(plan_one_per_row([3], 2), [[1, 2, 3]], rows=[1]),
            "rows are 1 to 1; expected -1 to 0",
        ),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
