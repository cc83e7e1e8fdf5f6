"""Several requests share forwards: each gets the tokens it would get alone, and none waits longer than one chunk."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import tiny_llama
import torch
from engine_host import Host
from jupyter_mistral.engine.decode.decoder import Decoder
from jupyter_mistral.engine.decode.prompt_lookup import Lookup
from jupyter_mistral.engine.decode.row import Need
from jupyter_mistral.engine.decode.sampling import Sampler
from jupyter_mistral.engine.prompt import Prompt
from jupyter_mistral.engine.requests.answer import Finish
from jupyter_mistral.engine.requests.schedule import Queued, Request, Schedule
from jupyter_mistral.protocol.events import Reading, Usage
from jupyter_mistral.protocol.failures import Failure
from jupyter_mistral.protocol.requests import Sampling
from row_driver import answer, drive
from tiny_llama import ids


class Asked:
    """One request on a schedule, and its events."""

    def __init__(self, decoder: Decoder, prompt: list[int], tokens: int = 20, **how: Any) -> None:
        self.prompt, self.events, self.is_done, self.is_cancelled = prompt, [], False, False
        self._decoder, self._count, self._uses_lookup = decoder, tokens, how.pop("lookup", False)
        self.request = Request(
            self._events(), len(prompt) + tokens, self.events.append, self._done, lambda: self.is_cancelled, **how
        )

    def _events(self) -> Iterator[Any]:
        prompt = Prompt(self.prompt)
        row = self._decoder.take(prompt.units, "")
        try:
            yield from row.prefill(prompt, "", self._count, lambda: None)
            sampler = Sampler(Sampling(temperature=0), self._decoder.device)
            lookup = Lookup(self.prompt) if self._uses_lookup else None
            stream, left = row.tokens(sampler, lambda: None, lookup, lambda: None), self._count
            token = next(stream)
            while True:
                while isinstance(token, Need):
                    token = stream.send((yield token))
                yield token
                left -= 1
                if not left:
                    break
                token = next(stream)
            yield Finish("stop", Usage())
        finally:
            self._decoder.give_back(row)

    def _done(self) -> None:
        assert not self.is_done, "done twice"
        self.is_done = True

    @property
    def tokens(self) -> list[int]:
        return [event for event in self.events if isinstance(event, int)]

    @property
    def failure(self) -> Failure | None:
        return next((event for event in self.events if isinstance(event, Failure)), None)


def failed(error: Exception) -> Failure:
    return Failure("internal", type(error).__name__)


class Recording(Decoder):
    """Records the needs of each forward."""

    def forward(self, needs: Any) -> list[torch.Tensor]:
        self.packs = [*getattr(self, "packs", []), [(need.row, need.count, need.is_prefill) for need in needs]]
        return super().forward(needs)


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_llama.build(torch.float32)


@pytest.fixture(params=["bf16", "int8"])
def decoder(request: pytest.FixtureRequest, model: Any) -> Recording:
    decoder = Recording(model, 128, None, request.param, shared_chunk=32)
    decoder.warm()
    decoder.packs = []
    return decoder


PROMPTS = [ids(30, 3), ids(400, 5), ids(64, 7), (ids(40, 9) * 4)[:150]]


def test_each_request_gets_the_same_tokens_as_alone(model: Any, decoder: Recording) -> None:
    kv = "bf16" if type(decoder._empty.layers[0]).__name__ == "GrowingLayer" else "int8"
    alone = [answer(Decoder(model, 128, None, kv), prompt, tokens=20)[0] for prompt in PROMPTS]
    schedule = Schedule(decoder, 4, 10_000, failed)
    asked = [Asked(decoder, prompt, lookup=n % 2 == 1) for n, prompt in enumerate(PROMPTS)]
    for n, one in enumerate(asked):  # each joins while the others are running
        schedule.add(one.request)
        for _ in range(2 * n):
            schedule.run()
    schedule.drain()
    assert [one.tokens for one in asked] == alone
    assert all(one.is_done for one in asked)
    assert max(len(pack) for pack in decoder.packs) >= 3


def test_an_answer_continues_with_each_chunk_of_another_prompt(decoder: Recording) -> None:
    schedule = Schedule(decoder, 4, 10_000, failed)
    first, long, other = Asked(decoder, PROMPTS[0], 60), Asked(decoder, ids(900), 4), Asked(decoder, ids(300, 11), 4)
    schedule.add(first.request)
    while not first.tokens:
        schedule.run()
    schedule.add(long.request)
    schedule.add(other.request)
    while long.request.need is None or long.request.need.is_prefill:
        before = len(first.tokens)
        schedule.run()
        assert len(first.tokens) - before <= 1
        if first.is_done:
            break
    shared = [pack for pack in decoder.packs if any(not reading for *_, reading in pack)]
    assert shared and all(sum(reading for *_, reading in pack) <= 1 for pack in decoder.packs)
    assert all(count <= 32 for pack in shared for _, count, reading in pack if reading)
    readers = [row for pack in shared for row, _, reading in pack if reading]
    assert sum(a is not b for a, b in itertools.pairwise(readers)) > 5, "readers take turns"
    schedule.drain()
    assert len(first.tokens) == 60
    order = [[e.done for e in one.events if isinstance(e, Reading)] for one in (long, other)]
    assert order[0][-1] == 900 and order[1][-1] == 300


def test_the_remaining_time_is_estimated_from_the_start(model: Any) -> None:
    decoder = Decoder(model, 128, None)
    one = Prompt(ids(300))
    first = decoder.take(one.units, "")
    list(drive(decoder, first.prefill(one, "", 8, lambda: None)))
    other = Prompt(ids(300, 11))
    second = decoder.take(other.units, "")
    assert second is not first
    readings = list(drive(decoder, second.prefill(other, "", 8, lambda: None)))
    assert readings[0].eta_s > 0 and readings[-1].eta_s == 0


def test_a_question_drops_ghost_text(decoder: Recording) -> None:
    schedule = Schedule(decoder, 4, 10_000, failed)
    ghost = Asked(decoder, PROMPTS[1], 50, is_background=True)
    schedule.add(ghost.request)
    for _ in range(3):
        schedule.run()
    question = Asked(decoder, PROMPTS[0])
    schedule.add(question.request)
    assert ghost.failure is not None and ghost.failure.code == "busy" and ghost.is_done
    schedule.drain()
    assert len(question.tokens) == 20 and question.failure is None
    assert not decoder._active, "rows that were given up are free again"


@pytest.mark.fault("F5")
def test_a_request_that_does_not_fit_waits_and_knows_its_position(
    decoder: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = Schedule(decoder, 2, 200, failed)
    asked = [Asked(decoder, PROMPTS[0]), Asked(decoder, ids(140)), Asked(decoder, ids(20, 5))]
    for one in asked:
        schedule.add(one.request)
    schedule.run()
    assert not asked[1].events, "not in the first round"
    schedule.run()
    assert [event.position for event in asked[1].events if isinstance(event, Queued)] == [1]
    assert [event.position for event in asked[2].events if isinstance(event, Queued)] == [2], "none overtakes another"
    assert len({id(row) for pack in decoder.packs for row, *_ in pack}) == 1
    asked[1].is_cancelled = True
    schedule.drain()
    assert all(len(one.tokens) == 20 for one in (asked[0], asked[2]))


@pytest.mark.fault("F4")
def test_a_request_that_breaks_the_model_fails_alone(model: Any, decoder: Recording) -> None:
    good = answer(Decoder(model, 128, None, "bf16"), PROMPTS[0], tokens=20)[0]
    schedule = Schedule(decoder, 4, 10_000, failed)
    one, bad, other = Asked(decoder, PROMPTS[0]), Asked(decoder, [1, 2, 10**6]), Asked(decoder, PROMPTS[2])
    for asked in (one, bad, other):
        schedule.add(asked.request)
    schedule.drain()
    assert bad.failure is not None and bad.failure.message == "IndexError" and bad.is_done
    assert len(one.tokens) == len(other.tokens) == 20 and one.failure is other.failure is None
    if type(decoder._empty.layers[0]).__name__ == "GrowingLayer":
        assert one.tokens == good


# ---------------------------------------------------------------------------------------------- in the worker

QUESTIONS = ["What is a list comprehension?", "Count to ten.", "Explain `import os`. " * 20]


def test_the_worker_answers_several_at_once_as_it_does_one_by_one(host: Host) -> None:
    alone = [host.ask(question)["text"] for question in QUESTIONS]
    names = [
        host.send(
            "generate",
            messages=[{"role": "user", "content": [question]}],
            sampling={"temperature": 0.0, "max_tokens": 32},
        )
        for question in QUESTIONS
    ]
    texts, order, ended = dict.fromkeys(names, ""), [], set()
    for frame in host.frames():
        name = frame.get("id")
        if frame["type"] == "delta":
            texts[name] += frame["text"]
            order.append(name)
        elif frame["type"] in ("end", "error"):
            assert frame["type"] == "end", frame
            ended.add(name)
        if len(ended) == len(names):
            break
    assert [texts[name] for name in names] == alone
    assert order != sorted(order, key=names.index), "their texts came in turns"


def test_the_worker_drops_ghost_text_for_a_question(host: Host) -> None:
    ghost = host.send(
        "complete", prompt="def add(", is_background=True, sampling={"temperature": 1.0, "max_tokens": 2000}
    )
    next(frame for frame in host.frames() if frame["type"] == "delta")
    question = host.send(
        "generate", messages=[{"role": "user", "content": ["Hi."]}], sampling={"temperature": 0.0, "max_tokens": 4}
    )
    ends = {}
    for frame in host.frames():
        if frame["type"] in ("end", "error"):
            ends[frame["id"]] = frame
        if len(ends) == 2:
            break
    assert ends[ghost]["failure"]["code"] == "busy" and ends[question]["type"] == "end"
