import math

import pytest
import torch

from happyllm_support.inference.sampling import draw, probs, sample

PROBS = torch.tensor([0.5, 0.2, 0.15, 0.1, 0.05])
N = 40_000


def frequencies(**options):
    logits = (PROBS.log() + 7.0).expand(N, 5)  # a constant added to logits says nothing
    ids = sample(logits, generator=torch.Generator().manual_seed(0), **options)
    assert ids.shape == (N,) and ids.dtype == torch.int64
    return torch.bincount(ids, minlength=5)


def chi_square(counts, expected):
    possible = expected > 0
    assert counts[~possible].sum() == 0
    expected = expected[possible] * N
    return ((counts[possible] - expected) ** 2 / expected).sum().item()


def at(temperature, distribution=PROBS):
    powers = distribution ** (1 / temperature)
    return powers / powers.sum()


LIMIT = 18.5  # chi-square of 4 degrees of freedom exceeds it once in 1,000


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0, 0.1])
def test_frequencies_are_the_probabilities(temperature):
    counts = frequencies(temperature=temperature)
    assert chi_square(counts, at(temperature)) < LIMIT
    if temperature != 1.0:  # the wrong way round
        assert chi_square(counts.clone(), at(1 / temperature)) > 100 * LIMIT


@pytest.mark.parametrize("top_k", [1, 2, 4, 5])
def test_top_k_draws_among_the_most_probable(top_k):
    kept = PROBS * (torch.arange(5) < top_k)
    assert chi_square(frequencies(top_k=top_k, temperature=0.7), at(0.7, kept)) < LIMIT


def test_top_k_follows_the_row_and_takes_no_more_where_logits_are_equal():
    order = torch.tensor([[4, 2, 0, 1, 3], [1, 0, 4, 3, 2]])
    logits = torch.zeros(2, 5).scatter(
        1, order, torch.tensor([[9.0, 9.0, 1.0, 0.0, -1.0]]).expand(2, 5)
    )
    drawn = torch.stack([sample(logits, top_k=2, temperature=3.0) for _ in range(60)])
    assert set(drawn[:, 0].tolist()) == {4, 2} and set(drawn[:, 1].tolist()) == {1, 0}
    equal = torch.stack([sample(torch.zeros(1, 6), top_k=2) for _ in range(60)])
    assert len(set(equal.flatten().tolist())) == 2


def test_temperature_zero_is_the_largest_logit():
    torch.manual_seed(0)
    logits = torch.randn(6, 9)
    assert torch.equal(sample(logits, temperature=0.0), logits.argmax(1))
    assert torch.equal(sample(logits, temperature=0.0, top_k=3), logits.argmax(1))
    for tiny in (1e-36, 1e-46, 5e-324):  # fp32 cannot hold the last two
        assert torch.equal(sample(logits * 1e4, temperature=tiny), logits.argmax(1))
        assert probs(logits, temperature=tiny).isfinite().all()
    assert sample(torch.tensor([[1.0, 3.0, 3.0]]), temperature=0.0).tolist() == [1]


def test_the_generator_decides():
    logits = torch.zeros(20, 50)

    def drawn(seed):
        return sample(logits, generator=torch.Generator().manual_seed(seed))

    torch.manual_seed(3)
    state = torch.get_rng_state()
    assert torch.equal(drawn(1), drawn(1)) and not torch.equal(drawn(1), drawn(2))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(3)
    first = sample(logits)
    torch.manual_seed(3)
    assert (
        torch.equal(sample(logits), first) and len(set(first.tolist())) > 5
    )  # rows are drawn one by one


def test_bf16_logits_are_turned_to_probabilities_in_fp32(monkeypatch):
    seen, multinomial = [], torch.multinomial
    monkeypatch.setattr(
        torch,
        "multinomial",
        lambda p, *a, **k: seen.append(p) or multinomial(p, *a, **k),
    )
    logits = torch.tensor([[0.0, -2.0, -5.0]], dtype=torch.bfloat16)
    sample(logits, temperature=0.3)
    torch.testing.assert_close(
        seen[0], torch.softmax(logits.float() / 0.3, dim=1)
    )  # in bf16 it is 1 % off


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"temperature": -0.1},
            r"temperature is -0.1; expected 0 \(greedy\) or a positive number",
        ),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"temperature": math.inf}, "temperature is inf"),
        ({"top_k": 0}, "top_k is 0; expected at least 1, or None for all"),
        ({"top_k": 6}, "top_k is 6; expected at most 5, all tokens"),
        (
            {"top_k": 6, "temperature": 0.0},
            "top_k is 6; expected at most 5, all tokens",
        ),
    ],
)
def test_bad_settings_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        sample(torch.zeros(2, 5), **options)


@pytest.mark.parametrize("shape", [(5,), (2, 1, 5)])
def test_logits_of_another_shape_are_refused(shape):
    with pytest.raises(
        ValueError, match=r"logits have shape \(.*\); expected \(batch, vocabulary\)"
    ):
        sample(torch.zeros(shape))


def test_the_distribution_is_the_one_that_is_drawn_from():
    logits = PROBS.log()[None] + 7
    exact = probs(logits, temperature=0.5, top_k=3)
    assert exact.dtype == torch.float32
    torch.testing.assert_close(exact[0], at(0.5, PROBS * (torch.arange(5) < 3)))
    assert probs(logits, temperature=0).tolist() == [[1.0, 0, 0, 0, 0]]
    tie = torch.tensor([[1.0, 3.0, 3.0]])
    assert probs(tie, temperature=0).tolist() == [[0.0, 1.0, 0.0]]
    assert probs(tie.bfloat16()).dtype == torch.float32
    counts = torch.bincount(
        draw(exact.expand(N, 5), torch.Generator().manual_seed(0)), minlength=5
    )
    assert chi_square(counts, exact[0]) < LIMIT


def test_one_generator_per_row():
    table = torch.rand(6, 9, generator=torch.Generator().manual_seed(0))

    def seeded(*seeds):
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    together = draw(table, seeded(*range(6)))
    alone = [draw(table[i : i + 1], seeded(i))[0] for i in range(6)]
    assert together.tolist() == [int(token) for token in alone]
    assert together.shape == (6,) and together.dtype == torch.int64
    with pytest.raises(
        ValueError, match=r"^5 generators for 6 rows; expected one each$"
    ):
        draw(table, seeded(*range(5)))
