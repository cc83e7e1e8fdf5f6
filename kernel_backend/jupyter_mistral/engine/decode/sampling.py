"""Chooses the next token from the model's scores, on the device. Knows no text."""

from __future__ import annotations

import secrets
from collections import deque

import torch

from ...protocol.requests import Sampling

COLDEST = 1e-4  # below it 32 bit overflow; scores that differ at all are as good as certain here already


class Chooser:
    """Follows one request's `Sampling`; greedy at temperature 0. A seed that is not given is drawn, and can be read back."""

    def __init__(self, sampling: Sampling, device: torch.device, top: int | None = None) -> None:
        self._how = sampling
        self.seed = secrets.randbits(53) if sampling.seed is None else sampling.seed
        self._random = torch.Generator(device).manual_seed(self.seed)
        self._penalized = sampling.presence_penalty != 0 or sampling.frequency_penalty != 0
        self._counts: torch.Tensor | None = None
        self._top = top
        self._logs: torch.Tensor | None = None
        # where chances are wanted: those of each token said, with its rivals', as the model gave them before any setting
        self.told: deque[tuple[tuple[int, float], list[tuple[int, float]]]] = deque()

    def choose(self, scores: torch.Tensor, allowed: torch.Tensor | None = None) -> int:
        """The next token for scores [vocabulary]; `allowed` is a boolean mask of the same shape."""
        scores = self._shaped(scores, allowed)
        if self._how.temperature == 0:
            return self._said(int(scores.argmax()))
        return self._said(self._drawn(self._chances(scores)))

    def verify(self, scores: torch.Tensor, draft: int, allowed: torch.Tensor | None = None) -> int:
        """As `choose`, with this token as a guess: it is the answer as often as it would be without the guess.

        Kept with its own chance p; otherwise another is drawn from what is left of p. So the draft comes out with chance p,
        and any other token x with (1 - p) * p(x) / (1 - p) = p(x) (arXiv 2211.17192, for a draft that is sure of itself).
        """
        scores = self._shaped(scores, allowed)
        if self._how.temperature == 0:
            return self._said(int(scores.argmax()))
        chances = self._chances(scores)
        if float(torch.rand((), generator=self._random, device=chances.device)) < float(chances[draft] / chances.sum()):
            return self._said(draft)
        chances[draft] = 0.0
        return self._said(self._drawn(chances))

    def _shaped(self, scores: torch.Tensor, allowed: torch.Tensor | None) -> torch.Tensor:
        scores = scores.float()
        if self._top is not None:
            self._logs = scores.log_softmax(-1)
        if allowed is not None:
            scores = scores.masked_fill(~allowed, -torch.inf)
        return self._with_penalties(scores) if self._penalized else scores

    def _said(self, token: int) -> int:
        if self._logs is not None:
            best = self._logs.topk(self._top or 1)
            rivals = list(zip(best.indices.tolist(), best.values.tolist(), strict=True)) if self._top else []
            self.told.append(((token, float(self._logs[token])), rivals))
        if self._penalized and self._counts is not None:
            self._counts[token] += 1
        return token

    def _with_penalties(self, scores: torch.Tensor) -> torch.Tensor:
        if self._counts is None:
            self._counts = torch.zeros_like(scores)
        counts = self._counts
        return scores - self._how.frequency_penalty * counts - self._how.presence_penalty * (counts > 0)

    def _drawn(self, chances: torch.Tensor) -> int:
        return int(torch.multinomial(chances, 1, generator=self._random))

    def _chances(self, scores: torch.Tensor) -> torch.Tensor:
        """Of each token, after the filters; they need not add up to 1."""
        how = self._how
        scores = scores / max(how.temperature, COLDEST)
        if how.top_k:
            best = scores.topk(min(how.top_k, scores.numel()))  # by place: equal scores are common in bf16
            scores = torch.full_like(scores, -torch.inf).scatter(0, best.indices, best.values)
        chances = scores.softmax(-1)
        if how.top_p < 1:
            ranked, order = chances.sort(descending=True)
            beyond = ranked.cumsum(-1) - ranked > how.top_p  # the first token that reaches top_p stays
            beyond[0] = False
            chances = chances.index_fill(0, order[beyond], 0.0)
        if how.min_p:
            chances = chances.masked_fill(chances < how.min_p * chances.max(), 0.0)
        return chances
