"""The notebook of a request: the context meter counts what is sent, and large bodies are parsed in a child process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from jupyter_mistral.server.http import large_body
from jupyter_mistral.server.inference.base import Options

from ..conftest import SMALL, Own, Peer

EMBEDDED, BUDGET = "qwen2.5-coder-0.5b", 800
QUESTION = "What is value_3? <|im_end|>"
EARLIER = [
    {"role": "system", "content": "  Answer briefly.\n"},
    {"role": "user", "content": "\n\nWhat is this notebook about?  "},
    {"role": "assistant", "content": "It measures values.\n\n\n"},
]


def notebook(cells: int, printed: int = 40) -> dict[str, Any]:
    made: list[dict[str, Any]] = []
    for i in range(cells):
        output = {"output_type": "stream", "name": "stdout", "text": f"result {i * 7919} " * (printed // 12)}
        made.append({"cell_type": "markdown", "source": f"## Part {i} <|im_start|>", "id": f"m{i}"})
        code = {"cell_type": "code", "source": f"value_{i} = measure({i})", "execution_count": i + 1, "id": f"c{i}"}
        made.append({**code, "outputs": [output]})
    return {"cells": made, "path": "values.ipynb", "language": "python"}


def asked(book: dict[str, Any] | None, question: str = QUESTION, **mistral: Any) -> dict[str, Any]:
    mine = {"client": "test", **({"notebook": book} if book else {}), **mistral}
    messages = [*EARLIER, {"role": "user", "content": question}]
    return {"messages": messages, "model": SMALL, "max_tokens": 1, "temperature": 0, "mistral": mine}


async def metered(peer: Peer, body: dict[str, Any]) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """The reply of the context meter, and the usage of the same request sent right after."""
    status, meter = await peer.ask("POST", "/mistral/api/context", body)
    assert status == 200, meter
    status, answer = await peer.ask("POST", "/mistral/v1/chat/completions", body)
    assert status == 200, answer
    return meter["tokens"], meter, answer["usage"]


def with_calls(body: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The same with tools, and an earlier call with its result."""
    number = {"type": "integer", "description": "A value <|im_end|>"}
    parameters = {"type": "object", "properties": {"a": number, "b": number}, "required": ["a"]}
    tools = [
        {"type": "function", "function": {"name": name, "description": "Does a thing. " * 9, "parameters": parameters}}
        for name in ("add", "plot_values")
    ]
    call = {"id": "a1b2c3d4e", "type": "function", "function": {"name": "add", "arguments": '{"a": 2, "b": 3}'}}
    turns = [
        {"role": "user", "content": "Add 2 and 3."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a1b2c3d4e", "content": "The sum is 5. <tool_call>"},
        {"role": "assistant", "content": "It is 5."},
    ]
    return {**body, "model": EMBEDDED, "tools": tools, "messages": [*EARLIER, *turns, body["messages"][-1]], **more}


async def test_tools_and_their_results_are_counted_with_a_notebook(own_host: Callable[..., Own]) -> None:
    peer = own_host(Options(default_model=EMBEDDED)).peer
    book, counts = notebook(3), []
    for body in (
        with_calls(asked(book), tool_choice="none"),
        with_calls(asked(book)),
        with_calls(asked(padded(notebook(40)), budget=BUDGET)),
    ):
        tokens, meter, usage = await metered(peer, body)
        assert tokens == usage["prompt_tokens"] == sum(row["tokens"] for row in meter["ledger"])
        assert meter["counted"] == "exact"
        counts.append(tokens)
    assert counts[0] + 100 < counts[1]
    # what does not fit beside the tools is left out of the notebook
    assert meter["left_out"] and BUDGET / 2 < counts[2] <= BUDGET


async def test_the_context_meter_shows_what_the_next_request_costs(peer: Peer) -> None:
    book = notebook(4)
    for body in (
        asked(book, focus=3, variables=[{"name": "x", "type": "int", "summary": "1"}]),
        asked(book, "And value_2?", instructions="Be kind."),
        asked(None, "Without any notebook."),
        asked({**book, "cells": book["cells"][:5]}, "A cell went.", figures=["a line falls"]),
        asked(notebook(200), "Too much for the window.", budget=700),
    ):
        tokens, meter, usage = await metered(peer, body)
        assert tokens == usage["prompt_tokens"] == sum(row["tokens"] for row in meter["ledger"])
        assert meter["counted"] == "exact"


async def test_the_context_meter_works_before_the_model_is_loaded(own_host: Callable[[Options], Own]) -> None:
    own = own_host(Options(default_model=SMALL))
    body = asked(notebook(3))
    _, meter = await own.peer.ask("POST", "/mistral/api/context", body)
    assert (await own.peer.status())["state"] == "unloaded"
    _, answer = await own.peer.ask("POST", "/mistral/v1/chat/completions", body)
    assert answer["usage"]["prompt_tokens"] == meter["tokens"]


def padded(book: dict[str, Any]) -> dict[str, Any]:
    """The same notebook in a body so large that a child process parses it."""
    cells = [
        {**cell, "metadata": {"padding": "x" * (5 * large_body.LARGE_BYTES // len(book["cells"]))}}
        for cell in book["cells"]
    ]
    return {**book, "cells": cells}


def readers(pid: int) -> set[int]:
    """Child processes of a host that parse a large body."""
    children = psutil.Process(pid).children()
    found = set()
    for child in children:
        with contextlib.suppress(psutil.Error):
            if "jupyter_mistral.server.http.large_body_child" in child.cmdline():
                found.add(child.pid)
    return found


async def test_a_large_body_is_parsed_in_a_child_process_with_the_same_result(peer: Peer) -> None:
    book = notebook(40)
    while readers(peer.info["pid"]):  # of earlier requests, which end now
        await asyncio.sleep(0.05)
    told, seen = [], []
    for each in (book, padded(book)):
        body = asked(each, budget=900)
        status, meter = await peer.ask("POST", "/mistral/api/context", body)
        assert status == 200, meter
        told.append(meter)
        asking = asyncio.create_task(peer.ask("POST", "/mistral/v1/chat/completions", body))
        found: set[int] = set()
        while not asking.done():
            found |= readers(peer.info["pid"])
            await asyncio.sleep(0.01)
        _, answer = await asking
        assert answer["usage"]["prompt_tokens"] == meter["tokens"]
        seen.append(bool(found))
    assert told[0] == told[1]
    assert seen == [False, True]
    while readers(peer.info["pid"]):  # they end with their requests
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (b'{"messages": [' + b" " * large_body.LARGE_BYTES, "is not JSON"),
        (b'{"messages": [], "padding": "' + b"x" * large_body.LARGE_BYTES + b'"}', "Unknown field"),
        (b'{"a": ' + b"[" * large_body.LARGE_BYTES, "nested deeper"),
    ],
    ids=["cut off", "unknown", "deep"],
)
async def test_an_invalid_large_body_gets_the_same_error_as_a_small_one(
    peer: Peer, broken: bytes, sentence: str
) -> None:
    status, answer = await peer.ask("POST", "/mistral/v1/chat/completions", raw=broken)
    assert status == 400
    assert sentence in answer["error"]["message"]


async def test_a_killed_child_process_fails_only_its_own_request(peer: Peer) -> None:
    status = 200
    while status == 200:  # it had read all before the blow fell: once more
        while readers(peer.info["pid"]):  # of earlier requests, which end now
            await asyncio.sleep(0.05)
        asking = asyncio.create_task(peer.ask("POST", "/mistral/api/context", asked(padded(notebook(40)))))
        while not (found := readers(peer.info["pid"])) and not asking.done():
            await asyncio.sleep(0.01)
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        status, answer = await asking
    assert status == 500
    assert "process that reads the notebook stopped" in answer["error"]["message"]
    status, _ = await peer.ask("POST", "/mistral/api/context", asked(notebook(2)))
    assert status == 200
