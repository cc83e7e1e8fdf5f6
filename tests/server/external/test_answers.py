"""An answer of an external engine: its token counts, and the formats that engines differ in."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import broken_engine as broken
import pytest
from broken_engine import CHAT, BrokenEngine
from external_engine import ASK, KEY, Make, collect, words
from jupyter_mistral.protocol.events import End, Loading
from jupyter_mistral.server.external.engine_token_counts import estimate


async def test_an_answer_carries_the_engines_own_counts(broken_engine: BrokenEngine, make: Make) -> None:
    broken_engine.always[CHAT] = broken.stream(broken.text("hel"), broken.text("lo"), broken.END, broken.USAGE)
    engine = make().engine
    events, failure = await collect(engine.stream(ASK))
    assert failure is None
    assert words(events) == "hello"
    end = events[-1]
    assert isinstance(end, End)
    assert (end.usage.prompt_tokens, end.usage.completion_tokens, end.usage.cached_tokens) == (40, 2, 30)
    figures = [value for value in asdict(end.usage).values() if isinstance(value, float)]
    assert figures == [round(figure, 4) for figure in figures] and end.usage.seconds > 0
    status = await engine.status()
    assert status.state == "ready"
    assert status.engine is not None
    assert (status.engine["program"], status.engine["prefix"], status.engine["tokens"]) == ("vLLM", "told", "estimated")
    asked = broken_engine.of(CHAT)[-1]
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert (asked.body["model"], asked.body["stream_options"]) == ("big", {"include_usage": True})
    assert not {"mistral", "top_k", "min_p"} & asked.body.keys()


async def test_text_call_and_end_may_come_in_one_chunk(broken_engine: BrokenEngine, make: Make) -> None:
    call = {"index": 0, "id": "a1b2c3d4e", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    delta = {"content": "so:", "tool_calls": [call, {**call, "index": 1}]}
    broken_engine.always[CHAT] = broken.stream(
        {"choices": [{"delta": delta, "finish_reason": "tool_calls"}], "usage": {"prompt_tokens": 1}}
    )
    events, failure = await collect(make().engine.stream(ASK))
    assert failure is None
    told = [type(event).__name__ for event in events if not isinstance(event, Loading)]  # a busy machine is told of
    assert told == ["Delta", "CallPiece", "CallPiece", "End"]
    assert events[-1].reason == "tool_calls"  # type: ignore[union-attr]


async def test_another_jupyter_mistral_reports_title_licence_and_seed(broken_engine: BrokenEngine, make: Make) -> None:
    card = {"name": "big", "title": "Big 7B", "licence": "Apache-2.0", "can": ["text"], "context_length": 9000}
    broken_engine.always["/v1/models"] = broken.say(
        200, {"data": [{"id": "big", "owned_by": "local", "mistral": card}]}
    )
    told = {**broken.USAGE["usage"], "mistral": {"model": "big", "seed": 7}}
    broken_engine.always[CHAT] = broken.stream(broken.text("hi"), broken.END, {"choices": [], "usage": told})
    engine = make().engine
    events, _ = await collect(engine.stream(ASK))
    assert events[-1].usage.seed == 7
    (known,) = await engine.cards()
    assert (known.title, known.licence) == ("Big 7B", "Apache-2.0")


async def test_an_answer_without_usage_or_done_is_complete_and_its_tokens_estimated(
    broken_engine: BrokenEngine, make: Make
) -> None:
    engine = make().engine
    await engine.target(None)
    broken_engine.always[CHAT] = broken.stream(broken.text("some words of an answer"), broken.END, then="hold")
    events, failure = await collect(engine.stream(ASK))
    assert failure is None
    assert isinstance(events[-1], End)
    assert events[-1].usage.completion_tokens == estimate("some words of an answer")
    status = await engine.status()
    assert status.engine is not None and status.engine["prefix"] is None


@pytest.mark.parametrize(
    "told", [{"prompt_tokens": "many"}, {"prompt_tokens_details": 5}, {"mistral": "x"}, {"completion_tokens": 1e999}]
)
async def test_invalid_counts_do_not_fail_an_answer(
    broken_engine: BrokenEngine, make: Make, told: dict[str, Any]
) -> None:
    broken_engine.always[CHAT] = broken.stream(broken.text("words"), broken.END, {"choices": [], "usage": told})
    events, failure = await collect(make().engine.stream(ASK))
    assert failure is None
    assert isinstance(events[-1], End)
    assert events[-1].usage.completion_tokens == estimate("words")
