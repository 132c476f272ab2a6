from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear

from tuning.acceleration import supervised_loss
from tuning.acceleration.supervised_loss import Finish, supervised_scores

FINISHES = [Finish(), Finish(scale=0.25), Finish(cap=3.0), Finish(scale=4.0, cap=2.0)]


def made_up(num_tokens: int = 11) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((num_tokens, 8), (23, 8), (23,))
    hidden, weight, bias = (torch.randn(shape, generator=generator).requires_grad_() for shape in shapes)
    return hidden, weight, bias, torch.randint(0, 23, (num_tokens,), generator=generator)


def plain(hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, finish: Finish) -> Tensor:
    """Log likelihoods by autograd, from all logits at once."""
    logits = linear(hidden, weight, bias) * finish.scale
    logits = logits if finish.cap is None else torch.tanh(logits / finish.cap) * finish.cap
    return logits.log_softmax(-1).gather(1, labels[:, None])[:, 0]


@pytest.fixture(autouse=True)
def few_logits_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervised_loss, "_LOGITS_AT_ONCE", 4 * 23)


@pytest.mark.parametrize("finish", FINISHES, ids=str)
@pytest.mark.parametrize("is_weighted", [False, True])
def test_gradients_are_those_of_autograd(finish: Finish, is_weighted: bool) -> None:
    hidden, weight, bias, labels = made_up()
    factors = torch.linspace(-1, 2, 11) if is_weighted else torch.full((11,), -0.3)
    wanted = torch.autograd.grad((plain(hidden, weight, bias, labels, finish) * factors).sum(), (hidden, weight, bias))
    scored = supervised_scores(hidden, weight, bias, labels, finish).log_probs
    torch.testing.assert_close(scored, plain(hidden, weight, bias, labels, finish))
    torch.testing.assert_close(
        torch.autograd.grad((scored * factors).sum(), (hidden, weight, bias)), wanted, rtol=1e-5, atol=1e-6
    )


def test_entropy_and_the_most_likely_token_are_those_of_the_logits() -> None:
    hidden, weight, bias, labels = made_up()
    scores = supervised_scores(hidden, weight, bias, labels)
    wanted = torch.distributions.Categorical(logits=linear(hidden, weight, bias))
    torch.testing.assert_close(scores.entropy, wanted.entropy())
    assert scores.is_top1.tolist() == (wanted.logits.argmax(-1) == labels).tolist()


def test_a_token_without_probability_has_a_finite_likelihood() -> None:
    bias = torch.zeros(23).index_fill_(0, torch.tensor([4]), 200.0)
    scores = supervised_scores(torch.zeros(2, 8), torch.zeros(23, 8), bias, torch.tensor([0, 4]))
    torch.testing.assert_close(scores.log_probs, torch.tensor([-200.0, 0.0]))


def test_half_precision_rounds_no_entropy_and_of_equals_the_first_is_the_most_likely() -> None:
    hidden, weight, labels = torch.zeros(2, 8), torch.zeros(23, 8), torch.tensor([0, 7])
    with torch.autocast("cpu", torch.bfloat16):
        scores = supervised_scores(hidden, weight, None, labels)
    torch.testing.assert_close(scores.entropy, torch.full((2,), math.log(23)))
    assert scores.is_top1.tolist() == [True, False]


def test_a_head_that_is_not_trained_gets_no_gradient() -> None:
    hidden, weight, _, labels = made_up()
    supervised_scores(hidden, weight.detach(), None, labels).log_probs.sum().backward()
    wanted = torch.autograd.grad(plain(hidden, weight, None, labels, Finish()).sum(), hidden)[0]
    torch.testing.assert_close(hidden.grad, wanted)
    assert weight.grad is None


def test_without_gradients_nothing_is_kept_for_them() -> None:
    with torch.no_grad():
        assert not supervised_scores(*made_up()).log_probs.requires_grad


def test_no_supervised_token_gives_gradients_of_zero() -> None:
    hidden, weight, bias, labels = made_up(0)
    supervised_scores(hidden, weight, bias, labels).log_probs.sum().backward()
    assert weight.grad is not None and not weight.grad.any()
    assert hidden.grad is not None and hidden.grad.shape == (0, 8)


def test_a_second_backward_is_refused() -> None:
    hidden, weight, bias, labels = made_up()
    loss = supervised_scores(hidden, weight, bias, labels).log_probs.sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_half_precision_by_autocast_stays_near() -> None:
    hidden, weight, bias, labels = made_up()
    wanted = torch.autograd.grad(plain(hidden, weight, bias, labels, Finish()).mean(), (hidden, weight, bias))
    with torch.autocast("cpu", torch.bfloat16):
        scored = supervised_scores(hidden, weight, bias, labels).log_probs
    found = torch.autograd.grad(scored.mean(), (hidden, weight, bias))
    assert scored.dtype == found[0].dtype == torch.float32
    torch.testing.assert_close(found, wanted, rtol=0.1, atol=0.02)
