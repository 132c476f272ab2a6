"""Shares of datasets that follow rewards, and the steps from which each of them holds. Pure numbers."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any


class Mixture:
    """Shares p of K datasets, with rewards r: `s_i += eta * r_i / max(r)`, `p = (1 - gamma) * softmax(s) + gamma / K`.

    Every reward is measured at every update, so none is weighted by how seldom its dataset was drawn. The scores s
    begin as logarithms of the datasets' shares of the rows.

    Source: the mixing of Exp3 (Auer, Cesa-Bianchi, Freund, Schapire, The nonstochastic multiarmed bandit problem, 2002)
    with losses as rewards, as in Albalak et al., Efficient Online Data Mixing For Language Model Pre-Training (2023).
    """

    def __init__(self, names: Sequence[str], shares: Sequence[float], eta: float, gamma: float) -> None:
        """Begin with the datasets' shares of the rows; `eta`: how far one update goes; `gamma`: share drawn evenly."""
        self.names, self.eta, self.gamma = list(names), eta, gamma
        self._scores = [math.log(share) for share in shares]
        self._history: list[tuple[int, list[float]]] = [(0, self._shares())]

    @property
    def shares(self) -> dict[str, float]:
        """Return the newest share of each dataset."""
        return dict(zip(self.names, self._history[-1][1], strict=True))

    def at(self, step: int) -> list[float]:
        """Return the shares that hold in a step, counted from 0; they never change once the step has begun."""
        return self._history[bisect_right(self._history, step, key=lambda entry: entry[0]) - 1][1]

    def update(self, rewards: Sequence[float], from_step: int) -> None:
        """Move the shares towards high rewards, from a step on; rewards that are no positive numbers change nothing."""
        largest = max(rewards)
        if not all(map(math.isfinite, rewards)) or largest <= 0:
            return
        scaled = zip(self._scores, rewards, strict=True)
        self._scores = [score + self.eta * max(reward, 0.0) / largest for score, reward in scaled]
        self._history.append((from_step, self._shares()))

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs, as JSON values."""
        return {"names": self.names, "scores": self._scores, "history": [list(entry) for entry in self._history]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up the state of an earlier run with the same datasets.

        Raises:
            ValueError: the datasets are others.
        """
        if state["names"] != self.names:
            raise ValueError(f"the checkpoint mixed the datasets {state['names']}, and this run has {self.names}")
        self._scores = list(state["scores"])
        self._history = [(int(step), list(shares)) for step, shares in state["history"]]

    def _shares(self) -> list[float]:
        largest = max(self._scores)
        weights = [math.exp(score - largest) for score in self._scores]
        evenly = self.gamma / len(weights)
        return [(1 - self.gamma) * weight / sum(weights) + evenly for weight in weights]
