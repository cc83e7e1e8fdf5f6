"""Prompt lookup changes the speed of an answer, never the answer or its probability."""

from __future__ import annotations

from collections import Counter
from functools import cache
from itertools import islice
from typing import Any

import pytest
import tiny_llama
import torch
from effort import IS_ALL, examples, first
from jupyter_mistral.engine.decode.decoder import Decoder
from jupyter_mistral.engine.decode.prompt_lookup import Lookup
from jupyter_mistral.engine.decode.sampling import Sampler
from jupyter_mistral.engine.prompt import Prompt
from jupyter_mistral.protocol.requests import Sampling
from row_driver import drive

SCORES = torch.tensor([0.3, 2.0, 1.2, 2.2, -1.0, 0.0])
DRAWS = 20_000 if IS_ALL else 3_000
# five standard deviations
NEAR = 0.018 * (20_000 / DRAWS) ** 0.5


def _shares(how: Sampling, draft: int | None, allowed: torch.Tensor | None = None) -> torch.Tensor:
    sampler = Sampler(how, torch.device("cpu"))
    drawn = Counter(
        sampler.sample(SCORES, allowed) if draft is None else sampler.verify(SCORES, draft, allowed)
        for _ in range(DRAWS)
    )
    return torch.tensor([drawn[token] / DRAWS for token in range(len(SCORES))])


@pytest.mark.parametrize("draft", first(3, [3, 0, 4, 1, 2, 5]))
@pytest.mark.parametrize("how", [{}, {"temperature": 0.5, "top_k": 3}, {"top_p": 0.8}, {"min_p": 0.2}])
def test_a_verified_draft_is_sampled_as_often_as_without_it(draft: int, how: dict[str, Any]) -> None:
    """Of all draws, shares differ by less than 5 standard deviations. The seeds are fixed."""
    given = {"temperature": 1.0, "seed": draft, **how}
    assert (_shares(Sampling(**given), draft) - _plain_shares(**given | {"seed": 99})).abs().max() < NEAR


@cache
def _plain_shares(**how: Any) -> torch.Tensor:
    return _shares(Sampling(**how), None)


def test_a_draft_outside_the_grammar_is_never_accepted() -> None:
    allowed = torch.tensor([True, True, False, False, True, True])
    shares = _shares(Sampling(temperature=1.0, seed=1), 3, allowed)
    assert shares[2] == shares[3] == 0 and (shares[[0, 1, 4, 5]] > 0).all()


def test_a_greedy_draft_is_accepted_only_with_the_highest_score() -> None:
    sampler = Sampler(Sampling(temperature=0), torch.device("cpu"))
    assert [sampler.verify(SCORES, draft) for draft in range(6)] == [3] * 6
    sampler = Sampler(Sampling(temperature=0, presence_penalty=2.0), torch.device("cpu"))
    assert [sampler.verify(SCORES, 3) for _ in range(3)] == [3, 1, 2], "penalties follow what was said"


class _Guess(Lookup):
    """Always has a guess, so that drafts are verified at every step."""

    def draft(self) -> list[int]:
        return self._ids[:2]


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return Decoder(tiny_llama.build(torch.float32), 64, None)


def _answers(decoder: Decoder, guesses: bool, seeds: range) -> Counter[tuple[int, ...]]:
    """How often each answer of three tokens comes; the seed is all that differs."""
    found: Counter[tuple[int, ...]] = Counter()
    prompt = Prompt([11, 12, 13, 14])
    for seed in seeds:
        row = decoder.take(prompt.units, "")
        for _ in drive(decoder, row.prefill(prompt, "", 8, lambda: None)):
            pass
        sampler = Sampler(Sampling(temperature=1.0, top_k=2, seed=seed), decoder.device)
        best = sampler.sample(row.scores)  # type: ignore[arg-type]  # it was read
        lookup = _Guess([best, best, 0]) if guesses else None
        found[tuple(islice(drive(decoder, row.tokens(sampler, lambda: None, lookup, lambda: None)), 3))] += 1
        decoder.give_back(row)
    return found


def test_whole_answers_are_as_likely_with_drafts_as_without(decoder: Decoder) -> None:
    count = examples(500)
    plain, guessed = (_answers(decoder, n == 1, range(n * count, (n + 1) * count)) for n in range(2))
    distance = sum(abs(plain[answer] - guessed[answer]) for answer in plain | guessed) / (2 * count)
    assert len(plain) >= 6 and distance < 0.12 * (500 / count) ** 0.5


def test_drafting_pauses_after_rejections_and_continues_after_successes() -> None:
    text = list(range(40)) * 3
    lookup, drafted = Lookup(text), 0
    for n in range(200):
        lookup.add(n % 40)
        draft = lookup.draft()
        drafted += len(draft)
        if draft:
            lookup.learn(len(draft), 0)
    assert drafted < 40, "tokens wasted on guesses that were all wrong"
    lookup, longest = Lookup(text), 0
    for n in range(60):
        lookup.add(n % 40)
        draft = lookup.draft()
        longest = max(longest, len(draft))
        if draft:
            lookup.learn(len(draft), len(draft))
    assert longest == 16
