"""Streamed and whole answers as a client reads them, and what happens when it disconnects. A real host with a real model."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from jupyter_mistral.protocol.events import Delta, End, Event, Queued, Reading
from jupyter_mistral.protocol.wire import events_of_sse
from jupyter_mistral.server.inference.base import Options
from tokenizers import Tokenizer

WIDTH = 4  # requests that the engine answers at once on a CPU
# whatever the model would like to say, it has not said it within the time of a test
NUMBERS = {"type": "array", "items": {"type": "integer"}, "minItems": 3000}
ENDLESS = {"type": "json_schema", "json_schema": {"name": "numbers", "schema": NUMBERS}}
LONG = "Count from 1 to 500, one number a line."


async def _events(reply: Any) -> list[Event]:
    lines = [line.encode() async for line in reply.lines()]
    return list(events_of_sse(iter(lines)))


async def test_a_stream_is_progress_then_text_then_one_end_then_done(peer: Any) -> None:
    reply = await peer.chat("Say hello.", max_tokens=6)
    assert reply.status == 200
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert "no-transform" in reply.headers["cache-control"]
    chunks = [chunk async for chunk in reply.chunks()]
    assert chunks[-1] == "[DONE]"
    *before, end = chunks[:-1]
    assert end["choices"][0]["finish_reason"] == "length"
    assert end["usage"]["completion_tokens"] == 6
    assert all(c["choices"][0]["finish_reason"] is None for c in before if c["choices"])
    texts = [c["choices"][0]["delta"] for c in before if c["choices"]]
    assert [d.get("role") for d in texts] == ["assistant"] + [None] * (len(texts) - 1)
    assert any(c["mistral"]["event"] == "reading" for c in before if not c["choices"])
    assert len({c["id"] for c in chunks[:-1]}) == 1
    assert {c["model"] for c in chunks[:-1]} == {"smollm2-135m"}


async def test_our_own_client_reads_the_stream(peer: Any) -> None:
    events = await _events(await peer.chat("Say hello.", max_tokens=4))
    assert isinstance(events[-1], End)
    assert sum(isinstance(event, End) for event in events) == 1
    assert any(isinstance(event, Reading) for event in events)
    assert "".join(event.text for event in events if isinstance(event, Delta))


async def test_without_events_a_client_gets_text_only(peer: Any) -> None:
    reply = await peer.chat("Say hello.", max_tokens=4, mistral={})
    chunks = [chunk async for chunk in reply.chunks()]
    assert chunks[-1] == "[DONE]"
    assert all(chunk["choices"] for chunk in chunks[:-1])
    assert all("mistral" not in chunk for chunk in chunks[:-1])


async def test_a_non_streamed_answer_equals_the_streamed_one(peer: Any) -> None:
    streamed = await _events(await peer.chat("Name a colour.", max_tokens=12))
    reply = await peer.chat("Name a colour.", max_tokens=12, stream=False)
    answer = await reply.body()
    assert answer["object"] == "chat.completion"
    text = "".join(event.text for event in streamed if isinstance(event, Delta))
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": text}
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] + answer["usage"]["completion_tokens"]


async def test_a_completion_continues_the_text(peer: Any, models_home: Path) -> None:
    body = {"prompt": "1, 2, 3, 4,", "max_tokens": 4, "temperature": 0, "model": "smollm2-135m"}
    status, answer = await peer.ask("POST", "/mistral/v1/completions", body)
    assert (status, answer["object"]) == (200, "text_completion")
    assert answer["choices"][0]["text"]
    words = Tokenizer.from_file(str(models_home / "models" / "smollm2-135m" / "nf4" / "text_tokenizer.json"))
    assert answer["usage"]["prompt_tokens"] == len(words.encode(body["prompt"]).ids), "the text alone, no template"
    reply = await peer.send("POST", "/mistral/v1/completions", {**body, "stream": True})
    chunks = [chunk async for chunk in reply.chunks()]
    assert chunks[-1] == "[DONE]"
    assert "".join(c["choices"][0]["text"] for c in chunks[:-1]) == answer["choices"][0]["text"]


async def test_a_failure_before_the_first_progress_is_reported_once(peer: Any) -> None:
    """With its status, or on a busy machine in a stream that has begun meanwhile."""
    reply = await peer.chat("hi", model="no-such-model", mistral={"events": True})
    errors = [await reply.body()] if reply.status == 404 else [c async for c in reply.chunks() if "error" in c]
    assert [one["error"]["code"] for one in errors] == ["unknown_model"]


async def test_an_immediate_failure_has_its_http_status(peer: Any) -> None:
    reply = await peer.chat("hi", model="no-such-model", mistral={})
    assert reply.status == 404
    error = (await reply.body())["error"]
    assert error["code"] == "unknown_model"
    assert error["request_id"] == reply.headers["x-request-id"]


@pytest.mark.threat("T34")
async def test_a_model_that_is_not_on_disk_is_not_downloaded(peer: Any) -> None:
    reply = await peer.chat("hi", model="mistral-small-3.2")
    assert reply.status == 409
    error = (await reply.body())["error"]
    assert error["code"] == "model_not_on_disk"
    assert "jupyter mistral pull mistral-small-3.2" in error["todo"]


@pytest.mark.threat("T23")
@pytest.mark.fault("F4")
@pytest.mark.parametrize("words", [20_000, 5_000_000])
async def test_a_prompt_beyond_the_context_is_refused_and_the_next_request_works(peer: Any, words: int) -> None:
    reply = await peer.chat("word " * words, mistral={})
    assert reply.status == 400
    assert (await reply.body())["error"]["code"] == "context_too_long"
    assert isinstance((await _events(await peer.chat("hi", max_tokens=2)))[-1], End)


async def test_an_openai_client_works(peer: Any) -> None:
    """What the openai library sends, field by field."""
    body = {
        "model": "smollm2-135m",
        "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "hi"}],
        "n": 1,
        "temperature": 0.7,
        "top_p": 1,
        "max_completion_tokens": 5,
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "user": "somebody",
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    reply = await peer.send("POST", "/mistral/v1/chat/completions", body)
    chunks = [chunk async for chunk in reply.chunks()]
    assert chunks[-1] == "[DONE]"
    assert chunks[-2]["usage"]["completion_tokens"] == 5


@pytest.mark.threat("T26")
@pytest.mark.fault("F16")
async def test_disconnecting_frees_the_engine(peer: Any) -> None:
    reply = await peer.chat(LONG, max_tokens=4000, response_format=ENDLESS)
    async for chunk in reply.chunks():
        if chunk["choices"]:
            break
    assert (await peer.status())["running"] == 1
    reply.leave()
    await peer.until(lambda status: status["running"] == 0)
    events = await _events(await peer.chat("hi", max_tokens=2))
    assert isinstance(events[-1], End)
    # the abandoned answer was cancelled, not finished
    assert (await peer.status())["last"]["completion_tokens"] == 2


@pytest.mark.threat("T26")
@pytest.mark.fault("F16")
async def test_disconnecting_from_a_non_streamed_answer_frees_the_engine_too(peer: Any) -> None:
    asking = asyncio.ensure_future(peer.chat(LONG, max_tokens=4000, stream=False, response_format=ENDLESS))
    await peer.until(lambda status: status["running"] == 1)
    asking.cancel()
    peer.close()
    await peer.until(lambda status: status["running"] == 0)


async def test_queued_requests_see_their_position_change(peer: Any) -> None:
    running = [await peer.chat(LONG, max_tokens=4000, response_format=ENDLESS) for _ in range(WIDTH)]
    await peer.until(lambda status: status["running"] == WIDTH)
    second = await peer.chat(LONG, max_tokens=4000, response_format=ENDLESS)
    await peer.until(lambda status: status["queued"] == 1)
    third = await peer.chat("hi", max_tokens=2)
    await peer.until(lambda status: status["queued"] == 2)
    second.leave()
    await peer.until(lambda status: status["queued"] == 1)
    running[0].leave()
    chunks = [chunk async for chunk in third.chunks()]
    assert [c["mistral"]["position"] for c in chunks[:-1] if c.get("mistral", {}).get("event") == "queued"] == [
        WIDTH + 1,
        WIDTH,
    ]
    assert chunks[-1] == "[DONE]"
    for reply in running:
        reply.leave()


async def test_a_short_question_does_not_wait_for_a_long_answer(peer: Any) -> None:
    long = await peer.chat(LONG, max_tokens=4000, response_format=ENDLESS)
    texts = long.chunks()
    async for chunk in texts:
        if chunk["choices"]:
            break
    events = await _events(await peer.chat("hi", max_tokens=4))
    assert isinstance(events[-1], End) and not [event for event in events if isinstance(event, Queued)]
    assert (await peer.status())["running"] == 1
    assert (await anext(texts))["choices"], "the long one goes on"
    long.leave()


async def test_ghost_text_yields_to_a_question(peer: Any) -> None:
    numbers = ", ".join(map(str, range(1, 60)))  # it goes on, whatever model it is
    body = {"prompt": numbers, "max_tokens": 4000, "temperature": 0, "stream": True, "mistral": {"if_busy": "refuse"}}
    ghost = await peer.send("POST", "/mistral/v1/completions", body)
    texts = ghost.chunks()
    await anext(texts)
    events = await _events(await peer.chat("hi", max_tokens=4))
    assert isinstance(events[-1], End)
    last = [chunk async for chunk in texts][-1]
    assert last["error"]["code"] == "busy"


async def test_ghost_text_is_refused_during_an_answer_but_not_because_of_older_ghost_text(peer: Any) -> None:
    """A key press aborts the request of the one before, which the server may notice after the newer one has come."""
    await peer.until(lambda status: not status["running"])
    body = {"prompt": "def add(", "max_tokens": 4000, "stream": True, "mistral": {"if_busy": "refuse"}}
    old = await peer.send("POST", "/mistral/v1/completions", body)
    await anext(old.chunks())
    new = await peer.send("POST", "/mistral/v1/completions", {**body, "max_tokens": 4})
    assert new.status == 200
    chunks = [chunk async for chunk in new.chunks()]
    assert chunks[-1] == "[DONE]", chunks[-1]
    old.leave()
    await peer.until(lambda status: not status["running"])
    long = await peer.chat(LONG, max_tokens=4000, response_format=ENDLESS)
    await peer.until(lambda status: status["running"] == 1)
    for _ in range(3):
        status, refused = await peer.ask("POST", "/mistral/v1/completions", body)
        assert (status, refused["error"]["code"]) == (429, "busy")
    long.leave()


async def test_a_request_that_does_not_wait_is_refused_when_busy(peer: Any) -> None:
    first = await peer.chat(LONG, max_tokens=4000, response_format=ENDLESS)
    await peer.until(lambda status: status["running"] == 1)
    reply = await peer.chat("hi", mistral={"if_busy": "refuse"})
    assert reply.status == 429
    assert int(reply.headers["retry-after"]) > 0
    assert (await reply.body())["error"]["code"] == "busy"
    first.leave()


async def test_the_loaded_model_is_listed_first(peer: Any) -> None:
    status, listed = await peer.ask("GET", "/mistral/v1/models")
    assert (status, listed["object"]) == (200, "list")
    assert [row["id"] for row in listed["data"]] == ["smollm2-135m", "qwen2.5-coder-0.5b"]
    assert listed["data"][0]["mistral"]["context_length"] == 8192
    _, catalogue = await peer.ask("GET", "/mistral/api/models")
    assert {"smollm2-135m", "mistral-small-3.2"} <= {row["name"] for row in catalogue["models"]}


async def test_status_reports_model_memory_and_seal(peer: Any) -> None:
    status = await peer.status()
    assert status["state"] == "ready"
    assert status["model"]["name"] == "smollm2-135m"
    assert status["model"]["quantization"] == "nf4"
    assert status["memory"]["weights"] > 20_000_000
    assert status["seal"]["measured"] or status["seal"]["kind"] == "none"
    assert status["failure"] is None


async def test_status_reports_the_seal_of_the_loading_worker(own_host: Any) -> None:
    engine = own_host(Options()).engine
    idle = (await engine.status()).seal
    assert idle.reason == "no model process is running"
    seals = [(await engine.status()).seal async for _ in engine.load("smollm2-135m")]
    seal = (await engine.status()).seal
    assert seals[-1] == seal != idle
    assert all(one == seal or one.reason.startswith("checked when the model process starts") for one in seals)


NOTEBOOK = {
    "cells": [
        {
            "cell_type": "code",
            "id": "a",
            "metadata": {},
            "source": "colour = 'vermilion'",
            "outputs": [],
            "execution_count": 1,
        },
        {
            "cell_type": "code",
            "id": "b",
            "metadata": {},
            "source": "print(colour)",
            "outputs": [],
            "execution_count": 2,
        },
    ],
    "language": "python",
    "path": "colours.ipynb",
}


async def test_a_notebook_costs_the_tokens_its_ledger_says(peer: Any) -> None:
    body = {
        "messages": [{"role": "user", "content": "Which colour is it?"}],
        "model": "smollm2-135m",
        "max_tokens": 1,
        "mistral": {"notebook": NOTEBOOK, "client": "test-ledger"},
    }
    status, context = await peer.ask("POST", "/mistral/api/context", body)
    assert status == 200
    assert context["tokens"] == sum(line["tokens"] for line in context["ledger"])
    assert {line["cell"] for line in context["ledger"]} >= {0, 1}
    assert context["left_out"] == []
    _, answer = await peer.ask("POST", "/mistral/v1/chat/completions", body)
    assert answer["usage"]["prompt_tokens"] == context["tokens"]


async def test_a_final_assistant_message_is_the_beginning_of_the_answer(peer: Any) -> None:
    question = {"role": "user", "content": "Count from one to six in words."}
    begun = {"role": "assistant", "content": "one two three four", "prefix": True}
    answers = []
    for messages in ([question], [question, begun]):
        body = {"messages": messages, "model": "smollm2-135m", "max_tokens": 8, "temperature": 0}
        _, answer = await peer.ask("POST", "/mistral/v1/chat/completions", body)
        answers.append(answer)
    plain, led = answers
    # no new turn is opened: the words alone are added to the prompt
    added = led["usage"]["prompt_tokens"] - plain["usage"]["prompt_tokens"]
    assert 4 <= added <= 6
    assert led["choices"][0]["message"]["content"]


async def test_counting_tokens_while_a_cell_is_edited_does_not_change_the_prompt(peer: Any) -> None:
    def asked(source: str) -> dict[str, Any]:
        cell = {
            "cell_type": "code",
            "id": "a",
            "metadata": {},
            "source": source,
            "outputs": [],
            "execution_count": None,
        }
        notebook = {"cells": [cell], "language": "python", "path": "edited.ipynb"}
        question = {"messages": [{"role": "user", "content": "What is x?"}], "model": "smollm2-135m"}
        return {**question, "mistral": {"notebook": notebook, "client": "test-counting"}}

    counted = []
    for number in range(10, 18):
        status, context = await peer.ask("POST", "/mistral/api/context", asked(f"x = {number}"))
        assert status == 200
        counted.append(context["tokens"])
    assert len(set(counted)) == 1


async def test_parts_left_out_of_the_prompt_are_reported(peer: Any) -> None:
    cells = [{"cell_type": "code", "metadata": {}, "source": f"x{i} = {i}\n" * 200, "outputs": []} for i in range(12)]
    extras = {"notebook": {"cells": cells, "language": "python"}, "budget": 800, "client": "test-left-out"}
    reply = await peer.chat("What is x3?", max_tokens=1, stream=False, mistral=extras)
    answer = await reply.body()
    assert reply.status == 200, answer
    usage = answer["usage"]
    assert usage["mistral"]["left_out"]
    assert usage["prompt_tokens"] <= 800


async def test_json_is_enforced(peer: Any) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}}
    reply = await peer.chat("A number, please.", max_tokens=60, stream=False, response_format=form)
    assert isinstance(json.loads((await reply.body())["choices"][0]["message"]["content"])["n"], int)
