"""Learned and sinusoidal positions and ALiBi: numbers worked by hand, invariants, and
what is refused.
"""

from __future__ import annotations

import math

import pytest
import torch

from happyllm_support.model import positions as module
from happyllm_support.model.positions import (
    LearnedPositions,
    SinusoidalPositions,
    alibi_slopes,
)

UNEQUAL = torch.tensor([[0, 1, 2, 3], [5, 0, 7, 1]])


def test_learned_positions_look_up_their_rows():
    learned = LearnedPositions(8, 6)
    vectors = learned(UNEQUAL)
    assert vectors.shape == (2, 4, 6)
    for row in range(2):
        for place in range(4):
            assert torch.equal(vectors[row, place], learned.weight[UNEQUAL[row, place]])
    assert not torch.equal(vectors[0], vectors[1])
    assert learned.bfloat16()(UNEQUAL).dtype == torch.bfloat16
    assert [name for name, _ in learned.named_parameters()] == ["weight"]


def test_only_the_vectors_used_are_learned():
    learned = LearnedPositions(8, 6)
    learned(UNEQUAL).sum().backward()
    assert learned.weight.grad is not None
    assert learned.weight.grad[:, 0].tolist() == [2, 2, 1, 1, 0, 1, 0, 1]


def test_learned_positions_compile_into_one_graph_and_run_on_meta():
    learned = LearnedPositions(8, 6)
    assert torch.equal(
        torch.compile(learned, backend="eager", fullgraph=True)(UNEQUAL),
        learned(UNEQUAL),
    )
    assert learned.to("meta")(UNEQUAL.to("meta")).shape == (2, 4, 6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 4), "max_seq_len is 0; expected at least 1"),
        ((4, -1), "d_model is -1; expected at least 1"),
    ],
)
def test_learned_positions_without_a_size_are_refused(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        LearnedPositions(*arguments)


def test_sinusoidal_positions_by_hand():
    waves = SinusoidalPositions(4, theta=100.0)(torch.tensor([[0, 1], [5, 0]]))
    assert waves.shape == (2, 2, 4) and waves.dtype == torch.float32
    expected = [[0, 1, 0, 1], [math.sin(1), math.cos(1), math.sin(0.1), math.cos(0.1)]]
    torch.testing.assert_close(waves[0], torch.tensor(expected))
    torch.testing.assert_close(
        waves[1, 0],
        torch.tensor([math.sin(5), math.cos(5), math.sin(0.5), math.cos(0.5)]),
    )
    assert torch.equal(waves[1, 1], waves[0, 0])


def test_a_shift_turns_the_waves_by_the_same_matrix_everywhere():
    """What section 3.5 of the paper hopes a model uses: PE(p + k) is a linear function
    of PE(p).
    """
    waves = SinusoidalPositions(8)(torch.arange(64)[None])[0]
    k = 5
    angles = k * 10000.0 ** (-torch.arange(0, 8, 2) / 8)
    turns = [
        torch.tensor([[math.cos(a), math.sin(a)], [-math.sin(a), math.cos(a)]])
        for a in angles.tolist()
    ]
    torch.testing.assert_close(
        waves[:-k] @ torch.block_diag(*turns).T, waves[k:], rtol=0, atol=2e-5
    )
    assert (waves[:-k] - waves[k:]).abs().max() > 1


def test_sinusoidal_positions_have_no_state_and_no_end():
    sinusoidal = SinusoidalPositions(16)
    assert not sinusoidal.state_dict() and not list(sinusoidal.buffers())
    far = sinusoidal.bfloat16()(torch.tensor([[257, 256]]))
    assert (far[0, 0] - far[0, 1]).abs().max() > 0.5, (
        "a cast of the model may not blur positions"
    )
    assert sinusoidal(torch.tensor([[10**6]])).abs().max() <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((7,), "d_model is 7; sinusoidal positions need a positive, even one"),
        ((0,), "d_model is 0; sinusoidal positions need a positive, even one"),
        ((8, 0.0), "theta is 0.0; sinusoidal positions need more than 1"),
    ],
)
def test_sinusoidal_positions_that_do_not_exist_are_refused(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        SinusoidalPositions(*arguments)


@pytest.mark.parametrize(
    ("n_head", "exponents"),
    [
        (1, [8]),
        (2, [4, 8]),
        (3, [4, 8, 2]),
        (6, [2, 4, 6, 8, 1, 3]),
        (8, [1, 2, 3, 4, 5, 6, 7, 8]),
        (12, [1, 2, 3, 4, 5, 6, 7, 8, 0.5, 1.5, 2.5, 3.5]),
        (16, [h / 2 for h in range(1, 17)]),
    ],
)
def test_alibi_slopes(n_head, exponents):
    slopes = alibi_slopes(n_head)
    assert slopes.dtype == torch.float32
    torch.testing.assert_close(
        slopes, torch.tensor([2.0**-e for e in exponents]), rtol=1e-6, atol=0
    )


@pytest.mark.parametrize("n_head", range(1, 41))
def test_alibi_slopes_of_any_number_of_heads_follow_the_recursive_definition(n_head):
    def slopes(n):
        """A geometric series for a power of two; else that of the power below, and half
        of the doubled one's.
        """
        power = 2 ** math.floor(math.log2(n))
        if power == n:
            return [(2 ** (-8 / n)) ** (h + 1) for h in range(n)]
        return slopes(power) + slopes(2 * power)[::2][: n - power]

    torch.testing.assert_close(
        alibi_slopes(n_head), torch.tensor(slopes(n_head)), rtol=1e-6, atol=0
    )


def test_alibi_slopes_are_real_even_where_a_model_is_built_on_meta():
    with torch.device("meta"):
        slopes = alibi_slopes(4)
    assert slopes.tolist() == [2**-2, 2**-4, 2**-6, 2**-8]


def test_alibi_without_heads_is_refused():
    with pytest.raises(ValueError, match=r"^n_head is 0; at least 1 is needed$"):
        alibi_slopes(0)


def test_all_that_the_chapter_uses_is_here():
    names = set(module.__all__)
    assert names >= {
        "RopeScaling",
        "RotaryPositions",
        "apply_rope",
        "apply_rope_interleaved",
        "rope_frequencies",
    }
    assert all(hasattr(module, name) for name in names)
