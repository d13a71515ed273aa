import math

import pytest
import torch

from happyllm_support.training.loss import next_token_loss, token_losses

LOGITS = torch.log(
    torch.tensor([[[0.5, 0.25, 0.25], [0.125, 0.125, 0.75]]])
)  # (1, 2, 3): probabilities known


def random_case(dtype=torch.float32, scale=3.0):
    torch.manual_seed(0)
    logits = (torch.randn(2, 5, 7) * scale).to(dtype)
    targets = torch.tensor([[3, 0, -100, 6, 1], [-100, -100, 2, -100, 5]])
    return logits, targets


def by_hand(logits, targets):
    logits = logits.double()
    return torch.tensor(
        [
            [
                0.0 if t == -100 else float(row.exp().sum().log() - row[t])
                for row, t in zip(rows, ts, strict=True)
            ]
            for rows, ts in zip(logits, targets.tolist(), strict=True)
        ]
    )


def test_worked_example():
    assert token_losses(LOGITS, torch.tensor([[0, 2]])).tolist()[0] == pytest.approx(
        [math.log(2), math.log(4 / 3)]
    )
    assert next_token_loss(LOGITS, torch.tensor([[1, 0]])).item() == pytest.approx(
        (math.log(4) + math.log(8)) / 2
    )
    assert next_token_loss(LOGITS, torch.tensor([[-100, 0]])).item() == pytest.approx(
        math.log(8)
    )


def test_all_forms_agree_with_the_definition():
    logits, targets = random_case()
    expected = by_hand(logits, targets)
    torch.testing.assert_close(
        token_losses(logits, targets), expected, rtol=1e-5, atol=1e-6
    )
    assert (token_losses(logits, targets)[targets == -100] == 0).all()
    total, count = expected.sum().item(), 6
    assert next_token_loss(logits, targets).item() == pytest.approx(total / count)
    assert next_token_loss(logits, targets, reduction="sum").item() == pytest.approx(
        total
    )


def test_a_constant_in_the_logits_changes_nothing_and_knowing_nothing_costs_ln_v():
    logits, targets = random_case()
    torch.testing.assert_close(
        next_token_loss(logits + 50, targets), next_token_loss(logits, targets)
    )
    assert next_token_loss(torch.full((2, 5, 7), 4.0), targets).item() == pytest.approx(
        math.log(7)
    )


def test_bf16_logits_are_scored_in_fp32():
    logits, targets = random_case(torch.bfloat16)
    expected = by_hand(logits.float(), targets)
    for loss in (token_losses(logits, targets), next_token_loss(logits, targets)):
        assert loss.dtype == torch.float32
    torch.testing.assert_close(
        token_losses(logits, targets), expected, rtol=1e-5, atol=1e-6
    )
    in_bf16 = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    assert (
        abs(in_bf16.item() - expected.sum().item() / 6) > 1e-3 > 1e-5
    )  # what it would have been


def test_gradient_reaches_only_places_with_a_target_and_sums_to_zero_there():
    logits, targets = random_case()
    logits.requires_grad_()
    next_token_loss(logits, targets).backward()
    size = logits.grad.abs().sum(-1)
    assert (size[targets == -100] == 0).all() and (size[targets != -100] > 0).all()
    torch.testing.assert_close(
        logits.grad.sum(-1), torch.zeros(2, 5), atol=1e-7, rtol=0
    )


def test_mistakes_are_named():
    logits, targets = random_case()
    nothing = torch.full_like(targets, -100)
    with pytest.raises(ValueError, match="none of the 10 places has a target"):
        next_token_loss(logits, nothing)
    assert next_token_loss(logits, nothing, reduction="sum").item() == 0
    assert token_losses(logits, nothing).tolist() == [[0.0] * 5] * 2
    for wrong in (targets[:, 1:], targets.flatten()):
        with pytest.raises(
            ValueError, match=r"logits have shape \(2, 5, 7\) and targets \("
        ):
            next_token_loss(logits, wrong)
        with pytest.raises(
            ValueError,
            match=r"expected \(batch, tokens, vocabulary\) and \(batch, tokens\)",
        ):
            token_losses(logits, wrong)
    with pytest.raises(
        ValueError, match="reduction is 'none'; expected one of mean, sum"
    ):
        next_token_loss(logits, targets, reduction="none")
