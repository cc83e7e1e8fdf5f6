"""Samples the next token from the model's scores, on the device. Knows no text."""

from __future__ import annotations

import secrets
from collections import deque

import torch

from ...protocol.requests import Sampling

COLDEST = 1e-4  # below it 32 bit overflow, and any difference in scores is as good as certain already
Logprob = tuple[int, float]  # a token and its log probability


class Sampler:
    """Follows one request's `Sampling`; greedy at temperature 0. Without a seed it draws one, readable as `seed`."""

    def __init__(self, sampling: Sampling, device: torch.device, top: int | None = None) -> None:
        self._settings = sampling
        self.seed = secrets.randbits(53) if sampling.seed is None else sampling.seed
        self._random = torch.Generator(device).manual_seed(self.seed)
        self._has_penalties = sampling.presence_penalty != 0 or sampling.frequency_penalty != 0
        self._counts: torch.Tensor | None = None
        self._top = top
        self._logs: torch.Tensor | None = None
        # if asked for: each sampled token and its likeliest alternatives, as the model gave them before any setting
        self.logprobs: deque[tuple[Logprob, list[Logprob]]] = deque()

    def sample(self, scores: torch.Tensor, allowed: torch.Tensor | None = None) -> int:
        """The next token for scores [vocabulary]; `allowed` is a boolean mask of the same shape."""
        scores = self._masked(scores, allowed)
        if self._settings.temperature == 0:
            return self._record(int(scores.argmax()))
        return self._record(self._draw(self._probabilities(scores)))

    def verify(self, scores: torch.Tensor, draft: int, allowed: torch.Tensor | None = None) -> int:
        """Like `sample`, given a drafted token; each token is exactly as likely as without the draft.

        The draft is accepted with its own probability p; otherwise another token is drawn from the rest. So the draft
        has probability p, and any other token x has (1 - p) * p(x) / (1 - p) = p(x) (arXiv 2211.17192, for a draft of
        probability 1).
        """
        scores = self._masked(scores, allowed)
        if self._settings.temperature == 0:
            return self._record(int(scores.argmax()))
        weights = self._probabilities(scores)
        if float(torch.rand((), generator=self._random, device=weights.device)) < float(weights[draft] / weights.sum()):
            return self._record(draft)
        weights[draft] = 0.0
        return self._record(self._draw(weights))

    def _masked(self, scores: torch.Tensor, allowed: torch.Tensor | None) -> torch.Tensor:
        scores = scores.float()
        if self._top is not None:
            self._logs = scores.log_softmax(-1)
        if allowed is not None:
            scores = scores.masked_fill(~allowed, -torch.inf)
        return self._penalized(scores) if self._has_penalties else scores

    def _record(self, token: int) -> int:
        if self._logs is not None:
            best = self._logs.topk(self._top or 1)
            others = list(zip(best.indices.tolist(), best.values.tolist(), strict=True)) if self._top else []
            self.logprobs.append(((token, float(self._logs[token])), others))
        if self._has_penalties and self._counts is not None:
            self._counts[token] += 1
        return token

    def _penalized(self, scores: torch.Tensor) -> torch.Tensor:
        if self._counts is None:
            self._counts = torch.zeros_like(scores)
        counts = self._counts
        settings = self._settings
        return scores - settings.frequency_penalty * counts - settings.presence_penalty * (counts > 0)

    def _draw(self, weights: torch.Tensor) -> int:
        return int(torch.multinomial(weights, 1, generator=self._random))

    def _probabilities(self, scores: torch.Tensor) -> torch.Tensor:
        """After the filters; they need not add up to 1."""
        settings = self._settings
        scores = scores / max(settings.temperature, COLDEST)
        if settings.top_k:
            best = scores.topk(min(settings.top_k, scores.numel()))  # by index: equal scores are common in bf16
            scores = torch.full_like(scores, -torch.inf).scatter(0, best.indices, best.values)
        weights = scores.softmax(-1)
        if settings.top_p < 1:
            ranked, order = weights.sort(descending=True)
            beyond = ranked.cumsum(-1) - ranked > settings.top_p  # the token that reaches top_p stays
            beyond[0] = False
            weights = weights.index_fill(0, order[beyond], 0.0)
        if settings.min_p:
            weights = weights.masked_fill(weights < settings.min_p * weights.max(), 0.0)
        return weights
