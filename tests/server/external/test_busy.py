"""An external engine that is busy: retries, Retry-After, and the limit of running requests."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import broken_engine as broken
from broken_engine import CHAT, BrokenEngine
from external_engine import ASK, QUICK, Make, collect, words
from jupyter_mistral.protocol.events import Loading
from jupyter_mistral.protocol.requests import Extras


async def test_a_busy_engine_is_retried_after_its_retry_after(broken_engine: BrokenEngine, make: Make) -> None:
    engine = make().engine
    await engine.target(None)
    broken_engine.script[CHAT].append(broken.say(429, {"error": {"message": "slow down"}}, Retry_After="1"))
    broken_engine.script[CHAT].append(broken.say(503, b"<html>"))
    broken_engine.always[CHAT] = broken.stream(broken.text("at last"), broken.END)
    events, failure = await collect(engine.stream(ASK))
    assert failure is None
    assert words(events) == "at last"
    waits = [event.eta_s for event in events if isinstance(event, Loading) and event.eta_s is not None]
    assert len(waits) == 2
    assert waits[0] >= 1


async def test_a_request_that_must_not_wait_fails_at_once(broken_engine: BrokenEngine, make: Make) -> None:
    engine = make().engine
    await engine.target(None)
    broken_engine.asked.clear()
    broken_engine.always[CHAT] = broken.say(429, {"error": {"message": "slow down"}})
    events, failure = await collect(engine.stream(replace(ASK, extras=Extras(if_busy="refuse"))))
    assert not [event for event in events if not isinstance(event, Loading) or event.eta_s is not None]
    assert failure is not None and failure.code == "busy"
    assert len(broken_engine.of(CHAT)) == 1


async def test_a_retry_after_of_an_hour_is_not_waited_for(broken_engine: BrokenEngine, make: Make) -> None:
    engine = make().engine
    await engine.target(None)
    broken_engine.asked.clear()
    broken_engine.always[CHAT] = broken.say(429, {}, Retry_After="Wed, 21 Oct 2099 07:28:00 GMT")
    _, failure = await collect(engine.stream(ASK))
    assert failure is not None and failure.code == "busy"
    assert len(broken_engine.of(CHAT)) == 1


async def test_retries_end(broken_engine: BrokenEngine, make: Make) -> None:
    engine = make().engine
    await engine.target(None)
    broken_engine.asked.clear()
    broken_engine.always[CHAT] = broken.say(502, b"bad gateway")
    events, failure = await collect(engine.stream(ASK))
    assert failure is not None and failure.code == "engine_refused"
    assert len(broken_engine.of(CHAT)) == QUICK.tries
    assert all(isinstance(event, Loading) for event in events)


async def test_permanent_errors_are_not_retried(broken_engine: BrokenEngine, make: Make) -> None:
    engine = make().engine
    await engine.target(None)
    broken_engine.asked.clear()
    broken_engine.always[CHAT] = broken.say(400, {"error": {"message": "maximum context length is 9000 tokens"}})
    _, failure = await collect(engine.stream(ASK))
    assert failure is not None and failure.code == "context_too_long"
    assert len(broken_engine.of(CHAT)) == 1


async def test_no_more_requests_run_than_an_admin_allows(broken_engine: BrokenEngine, make: Make) -> None:
    engine = make(max_queue=0).engine
    await engine.target(None)
    broken_engine.always[CHAT] = broken.stream(broken.text("one"), then="hold")
    async with contextlib.aclosing(engine.stream(ASK)) as first:
        await anext(first)
        assert engine.is_busy
        _, failure = await collect(engine.stream(ASK))
        assert failure is not None and failure.code == "busy"
    assert not engine.is_busy
