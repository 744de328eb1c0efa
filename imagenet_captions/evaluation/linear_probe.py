"""Multinomial logistic regression on frozen features; held-out images choose the regularization.

What is minimized is the mean cross-entropy and `strength / 2` times the squared weights, the intercepts left free, over
features with mean 0 and deviation 1; scikit-learn calls 1 / (strength · images) C. L-BFGS runs in float32 and takes
the images in blocks, so that 463,622 images of 1000 classes need no more memory than their features and a block.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from imagenet_captions.evaluation.accuracy import Labels, Scores
from imagenet_captions.evaluation.classifiers import hold_out

log = logging.getLogger(__name__)

STRENGTHS = tuple(10.0**exponent for exponent in range(1, -8, -1))
_HALF_A_STEP = 10**0.5
_BLOCK = 16_384
_PATIENCE = 2
_HELD_OUT = 0.2
_ITERATIONS = 500


@dataclass(frozen=True)
class Linear:
    """Scores `features · weight + bias` of standardized features; classes without images are never chosen."""

    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    mean: npt.NDArray[np.float32]
    deviation: npt.NDArray[np.float32]
    about: dict[str, Any] = field(default_factory=dict)

    def scores(self, features: npt.NDArray[np.float32]) -> Scores:
        """Return the logits `[images, classes]`."""
        standardized = (features - self.mean) / self.deviation
        return np.asarray(standardized @ self.weight.T + self.bias, np.float32)


def fit_probe(
    features: npt.NDArray[np.float32],
    labels: Labels,
    ids: Sequence[str],
    count: int,
    *,
    seed: int = 0,
    device: str = "cpu",
    strengths: Sequence[float] = STRENGTHS,
) -> Linear:
    """Fit a probe of `count` classes; `ids` decide which fifth of every class is held out, in any order.

    `strengths` are tried from strong to weak until two in a row are worse than the best, and then half a step to
    either side of the best; held-out images decide, and the strongest wins a tie. Where no class has images enough to
    hold one out, the strength is 1 / images, scikit-learn's default. Whatever the choice, the result uses all images.
    """
    mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    deviation = features.std(axis=0, dtype=np.float64).astype(np.float32)
    deviation[deviation < 1e-8] = 1  # a feature that never changes stays at 0
    x = torch.from_numpy((features - mean) / deviation).to(device)
    present, dense = np.unique(labels, return_inverse=True)
    y = torch.from_numpy(dense.reshape(-1).astype(np.int64)).to(device)
    held = hold_out(ids, labels, _HELD_OUT, seed)
    start = torch.zeros(len(present), x.shape[1] + 1, device=x.device)
    strength, tried = 1 / len(labels), dict[float, float]()
    if held.any():
        tried = _try_strengths(x, y, torch.from_numpy(held).to(device), start, strengths)
        strength = _best(tried)
    fitted = fit_logistic(x, y, start, strength).cpu().numpy()
    weight = np.zeros((count, features.shape[1]), np.float32)
    bias = np.full(count, -np.inf, np.float32)
    weight[present], bias[present] = fitted[:, :-1], fitted[:, -1]
    about = {
        "strength": strength,
        "held_out_images": int(held.sum()),
        "held_out_top1": {f"{strength:.3g}": top1 for strength, top1 in sorted(tried.items())},
    }
    return Linear(weight, bias, mean, deviation, about)


def _try_strengths(x: Tensor, y: Tensor, held: Tensor, start: Tensor, strengths: Sequence[float]) -> dict[float, float]:
    """Return the held-out accuracy of each strength that was tried."""
    fit_x, fit_y, held_x, held_y = x[~held], y[~held], x[held], y[held]
    tried: dict[float, float] = {}
    weights: dict[float, Tensor] = {}

    def try_strength(strength: float, start: Tensor) -> None:
        weights[strength] = fit_logistic(fit_x, fit_y, start, strength)
        tried[strength] = float((_logits(held_x, weights[strength]).argmax(dim=1) == held_y).float().mean())
        log.info("linear probe: strength %.3g, held-out top-1 %.2f %%", strength, 100 * tried[strength])

    since_best = 0
    for strength in strengths:
        try_strength(strength, start)
        start = weights[strength]
        since_best = 0 if tried[strength] == max(tried.values()) else since_best + 1
        if since_best == _PATIENCE:  # ever weaker ones take ever more steps
            break
    middle = _best(tried)
    for strength in (middle * _HALF_A_STEP, middle / _HALF_A_STEP):
        try_strength(strength, weights[middle])
    return tried


def _best(tried: Mapping[float, float]) -> float:
    return max(tried, key=lambda strength: (tried[strength], strength))


def fit_logistic(x: Tensor, y: Tensor, start: Tensor, strength: float) -> Tensor:
    """Return the optimal weights `[classes, features + 1]` for this strength; the last column is the intercepts.

    The search begins at the weights `start`.
    """
    weights = start.clone()
    optimizer = torch.optim.LBFGS(
        [weights],
        max_iter=_ITERATIONS,
        history_size=20,
        tolerance_grad=1e-6,
        tolerance_change=1e-10,
        line_search_fn="strong_wolfe",
    )

    def closure() -> float:
        loss, gradient = _loss_and_gradient(x, y, weights, strength)
        weights.grad = gradient
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return weights


def _loss_and_gradient(x: Tensor, y: Tensor, weights: Tensor, strength: float) -> tuple[float, Tensor]:
    gradient = torch.zeros_like(weights)
    total = 0.0
    for start in range(0, len(x), _BLOCK):
        some, own = x[start : start + _BLOCK], y[start : start + _BLOCK, None]
        log_shares = _logits(some, weights).log_softmax(dim=1)
        total -= float(log_shares.gather(1, own).sum(dtype=torch.float64))
        errors = log_shares.exp_().scatter_add_(1, own, torch.full_like(own, -1.0, dtype=log_shares.dtype))
        gradient[:, :-1] += errors.T @ some
        gradient[:, -1] += errors.sum(dim=0)
    gradient /= len(x)
    gradient[:, :-1] += strength * weights[:, :-1]
    penalty = strength / 2 * float(weights[:, :-1].square().sum(dtype=torch.float64))
    return total / len(x) + penalty, gradient


def _logits(x: Tensor, weights: Tensor) -> Tensor:
    return torch.addmm(weights[:, -1], x, weights[:, :-1].T)
