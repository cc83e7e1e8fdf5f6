"""An external engine that sends garbage, nothing, or stops: one failure, and the text so far is kept."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import Any

import broken_engine as broken
import pytest
from broken_engine import CHAT, BrokenEngine
from external_engine import ASK, Make, collect, words
from jupyter_mistral.protocol.events import End, Event, Loading
from jupyter_mistral.protocol.requests import Extras


@pytest.mark.parametrize(
    "pieces",
    [
        [b"data: not json\n\n"],
        [b"data: [1, 2]\n\n"],
        [{"choices": 7}],
        [{"choices": [{"delta": {"content": "x"}, "finish_reason": None}, "no"]}],
        [{"choices": [{"delta": {"tool_calls": [{"index": "x"}]}}]}],
        [b"data: " + b"[" * 100_000 + b"\n\n"],
        [b"x" * 5_000_000],
        [{"error": {"message": "the worker fell over", "code": 500}}],
    ],
    ids=["text", "list", "number", "choice", "call", "depth", "line", "error"],
)
@pytest.mark.parametrize("begun", [True, False])
async def test_garbage_ends_in_one_failure_and_the_text_so_far_is_kept(
    broken_engine: BrokenEngine, make: Make, pieces: list[Any], begun: bool
) -> None:
    broken_engine.always[CHAT] = broken.stream(*([broken.text("so far")] if begun else []), *pieces)
    events, failure = await collect(make().engine.stream(ASK))
    assert failure is not None
    assert failure.code in ("engine_died", "engine_unreachable", "engine_refused")
    assert words(events).startswith("so far" if begun else "")
    assert not any(isinstance(event, End) for event in events)


@pytest.mark.parametrize("then", ["cut", "end", "done"])
async def test_an_interrupted_answer_keeps_its_text(broken_engine: BrokenEngine, make: Make, then: str) -> None:
    engine = make().engine
    await engine.target(None)
    broken_engine.always[CHAT] = broken.stream(broken.text("so far"), then=then)
    events, failure = await collect(engine.stream(ASK))
    assert words(events) == "so far"
    assert failure is not None and failure.code == "engine_died"


async def test_a_half_open_connection_is_detected(broken_engine: BrokenEngine, make: Make) -> None:
    engine = make().engine
    await engine.target(None)
    broken_engine.always[CHAT] = broken.be_silent
    broken_engine.always["/v1/models"] = broken.be_silent
    events, failure = await collect(engine.stream(replace(ASK, extras=Extras(if_busy="refuse"))))
    assert events and all(isinstance(event, Loading) for event in events)
    assert failure is not None and failure.code == "engine_unreachable"
    assert (await engine.status()).state == "failed"


async def test_a_slow_engine_that_answers_other_requests_is_not_given_up(
    broken_engine: BrokenEngine, make: Make
) -> None:
    engine = make().engine
    await engine.target(None)
    go = asyncio.Event()

    async def slowly(writer: asyncio.StreamWriter, asked: Any) -> None:
        await go.wait()
        await broken.stream(broken.text("thought about it"), broken.END)(writer, asked)

    broken_engine.always[CHAT] = slowly
    before = len(broken_engine.of("/v1/models"))
    events: list[Event] = []
    async for event in engine.stream(ASK):
        events.append(event)
        if len(broken_engine.of("/v1/models")) > before + 1:
            go.set()
    assert words(events) == "thought about it"


async def test_disconnecting_closes_the_connection(broken_engine: BrokenEngine, make: Make) -> None:
    engine = make().engine
    await engine.target(None)
    broken_engine.always[CHAT] = broken.stream(broken.text("one"), then="hold")
    async with contextlib.aclosing(engine.stream(ASK)) as events:
        await anext(events)
    await broken_engine.of(CHAT)[-1].left.wait()


async def test_an_engine_that_comes_back_is_used_again(broken_engine: BrokenEngine, make: Make) -> None:
    broken_engine.always[CHAT] = broken.stream(broken.text("here"), broken.END)
    engine = make().engine
    await broken_engine.stop()
    _, failure = await collect(engine.stream(replace(ASK, extras=Extras(if_busy="refuse"))))
    assert failure is not None and failure.code == "engine_unreachable"
    status = await engine.status()
    assert status.state == "failed"
    assert status.failure is not None and f"127.0.0.1:{broken_engine.port}" in status.failure["message"]
    await broken_engine.start()
    events, failure = await collect(engine.stream(ASK))
    assert failure is None
    assert words(events) == "here"
    assert (await engine.status()).state == "ready"


async def test_a_request_waits_for_an_engine_that_is_starting(broken_engine: BrokenEngine, make: Make) -> None:
    broken_engine.script["/v1/models"].extend([broken.hang_up, broken.hang_up])
    broken_engine.always[CHAT] = broken.stream(broken.text("here"), broken.END)
    events, failure = await collect(make().engine.stream(ASK))
    assert failure is None
    assert words(events) == "here"
