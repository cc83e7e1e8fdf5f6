"""Fields of the OpenAI API with an external engine: what reaches it, what comes back, what it does not support."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from typing import Any

import broken_engine as broken
import pytest
from broken_engine import BrokenEngine
from jupyter_mistral.server.external.config import ExternalConfig
from jupyter_mistral.server.external.engine_token_counts import estimate
from jupyter_mistral.server.inference.base import Options

OURS = "/mistral/v1/chat/completions"
TEXT = "/v1/completions"
ADD = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": {"type": "object"}}}


@pytest.fixture
def peer(broken_engine: BrokenEngine, own_host: Callable[..., Any]) -> Any:
    """A client of a model host whose external engine is `broken_engine`."""
    return own_host(Options(), ExternalConfig(broken_engine.url)).peer


def _body(**more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Add 2 and 3."}], **more}


def _piece(**delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


def _call(index: int | None = None, arguments: Any = "", **more: Any) -> dict[str, Any]:
    name = more.pop("name", None)
    function = {"arguments": arguments, **({"name": name} if name else {})}
    return {**({} if index is None else {"index": index}), "function": function, **more}


def _chance(token: str, logprob: float = -0.5, **more: Any) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode()), **more}


async def test_every_field_reaches_the_engine_as_it_was_sent(broken_engine: BrokenEngine, peer: Any) -> None:
    broken_engine.always[broken.CHAT] = broken.stream(
        {"choices": [{"delta": {"content": "5"}, "logprobs": {"content": [_chance("5")]}}]}, broken.END
    )
    calls = [{"id": "a1b2c3d4e", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}]
    messages = [
        {"role": "user", "content": "Add."},
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "content": "two", "tool_call_id": "a1b2c3d4e"},
    ]
    sent = {
        "messages": messages,
        "tools": [ADD],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "stop": ["\n", "END"],
        "seed": 7,
        "presence_penalty": 0.5,
        "frequency_penalty": -0.25,
        "temperature": 0.7,
        "top_p": 0.9,
        "max_tokens": 12,
        "logprobs": True,
        "top_logprobs": 2,
    }
    status, whole = await peer.ask("POST", OURS, sent)
    assert status == 200, whole
    asked = broken_engine.of(broken.CHAT)[-1].body
    assert {name: asked.get(name) for name in sent} == sent
    named = {"type": "function", "function": {"name": "add"}}
    await peer.ask("POST", OURS, _body(tools=[ADD], tool_choice=named))
    assert broken_engine.of(broken.CHAT)[-1].body["tool_choice"] == named


async def test_several_answers_are_requested_one_by_one_each_with_its_seed(
    broken_engine: BrokenEngine, peer: Any
) -> None:
    for text in ("red", "blue", "green"):
        broken_engine.script[broken.CHAT].append(broken.stream(broken.text(text), broken.END, broken.USAGE))
    # comes first: the probe for images, as the engine reports no modalities
    broken_engine.script[broken.CHAT].appendleft(broken.say(400, {}))
    status, whole = await peer.ask("POST", OURS, _body(n=3, seed=5))
    assert status == 200, whole
    assert [(c["index"], c["message"]["content"]) for c in whole["choices"]] == [(0, "red"), (1, "blue"), (2, "green")]
    assert (whole["usage"]["prompt_tokens"], whole["usage"]["completion_tokens"]) == (40, 6)
    assert [asked.body.get("seed") for asked in broken_engine.of(broken.CHAT)[-3:]] == [5, 6, 7]
    assert all("n" not in asked.body for asked in broken_engine.of(broken.CHAT)[-3:])


@pytest.mark.parametrize(
    "pieces",
    [
        [[_call(0, '{"a": 2', id="one", name="add")], [_call(0, "}")], [_call(1, '{"a": 3}', id="two", name="add")]],
        [[_call(0, '{"a": 2', id="one", name="add")], [_call(0, "}", id="one", name="add"), _call(1, id="two", name="add")],
         [_call(1, '{"a": 3}', id="two", name="")]],
        [[_call(None, {"a": 2}, id="one", name="add"), _call(None, {"a": 3}, id="two", name="add")]],
        [[_call(3, '{"a": 2}', name="add"), _call(5, '{"a": 3}', name="add")]],
    ],
    ids=["as OpenAI", "ids repeated", "no index, objects", "gaps, no ids"],
)  # fmt: skip
async def test_tool_calls_are_read_in_whatever_pieces_the_engine_sends(
    broken_engine: BrokenEngine, peer: Any, pieces: list[list[dict[str, Any]]]
) -> None:
    ended = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
    broken_engine.always[broken.CHAT] = broken.stream(*(_piece(tool_calls=calls) for calls in pieces), ended)
    status, whole = await peer.ask("POST", OURS, _body(tools=[ADD], tool_choice="required"))
    assert status == 200, whole
    [choice] = whole["choices"]
    assert choice["finish_reason"] == "tool_calls"
    calls = choice["message"]["tool_calls"]
    assert [(c["function"]["name"], json.loads(c["function"]["arguments"])) for c in calls] == [
        ("add", {"a": 2}),
        ("add", {"a": 3}),
    ]
    assert all(call["id"] for call in calls) and calls[0]["id"] != calls[1]["id"]
    reply = await peer.send("POST", OURS, _body(tools=[ADD], stream=True))
    deltas = [c["choices"][0]["delta"] async for c in reply.chunks() if isinstance(c, dict)]
    told = [call for delta in deltas for call in delta.get("tool_calls", ())]
    assert [call["index"] for call in told if call.get("id")] == [0, 1]


async def test_logprobs_come_back_with_their_text(broken_engine: BrokenEngine, peer: Any) -> None:
    rivals = [_chance("5"), _chance("6", -2.0)]
    first = {"choices": [{"delta": {"role": "assistant", "content": ""}, "logprobs": {"content": []}}]}
    # a character of two tokens: the first of them has no text yet
    half = {"choices": [{"delta": {"content": ""}, "logprobs": {"content": [_chance("\u00c3", top_logprobs=rivals)]}}]}
    rest = {"choices": [{"delta": {"content": "5"}, "logprobs": {"content": [_chance("5", top_logprobs=rivals)]}}]}
    broken_engine.always[broken.CHAT] = broken.stream(first, half, rest, broken.END)
    for top in (0, 1, 2):
        status, whole = await peer.ask("POST", OURS, _body(logprobs=True, top_logprobs=top))
        assert status == 200, whole
        told = whole["choices"][0]["logprobs"]["content"]
        assert [(c["token"], c["logprob"], len(c["top_logprobs"])) for c in told] == [
            ("\u00c3", -0.5, top),
            ("5", -0.5, top),
        ]
        # for 0, llama.cpp sends no logprobs at all
        assert broken_engine.of(broken.CHAT)[-1].body["top_logprobs"] == max(1, top)


async def test_the_older_completions_have_logprobs_and_stops_too(broken_engine: BrokenEngine, peer: Any) -> None:
    lists = {"tokens": [" t", "wo"], "token_logprobs": [-0.1, -0.2], "top_logprobs": [{" t": -0.1}, {"wo": -0.2}]}
    rows = {"content": [_chance(" t", -0.1, top_logprobs=[_chance(" t", -0.1)]), _chance("wo", -0.2)]}
    sent = {"prompt": "one", "logprobs": 1, "stop": ["."], "seed": 3, "presence_penalty": 1.0}
    for shape in (lists, rows):
        broken_engine.always[TEXT] = broken.stream(
            {"choices": [{"text": " two", "logprobs": shape}]}, {"choices": [{"text": "", "finish_reason": "length"}]}
        )
        status, whole = await peer.ask("POST", "/mistral/v1/completions", sent)
        assert status == 200, whole
        [choice] = whole["choices"]
        assert (choice["text"], choice["finish_reason"]) == (" two", "length")
        assert choice["logprobs"]["tokens"] == [" t", "wo"]
        assert choice["logprobs"]["token_logprobs"] == [-0.1, -0.2]
        assert choice["logprobs"]["top_logprobs"][0] == {" t": -0.1}
    asked = broken_engine.of(TEXT)[-1].body
    assert {name: asked.get(name) for name in sent} == sent


async def test_what_the_engine_does_not_support_is_refused_with_a_sentence(
    broken_engine: BrokenEngine, peer: Any
) -> None:
    broken_engine.always[broken.CHAT] = broken.stream(broken.text("5"), broken.END)
    broken_engine.always[TEXT] = broken.stream({"choices": [{"text": "5", "finish_reason": "stop"}]})
    for path, body, param, words in (
        (OURS, _body(logprobs=True), "logprobs", "does not return logprobs"),
        ("/mistral/v1/completions", {"prompt": "one", "logprobs": 1}, "logprobs", "does not return logprobs"),
        (OURS, _body(tools=[ADD], tool_choice="required"), "tool_choice", "called no function"),
    ):
        status, reply = await peer.ask("POST", path, body)
        assert (status, reply["error"]["code"], reply["error"]["param"]) == (400, "unsupported", param)
        assert words in reply["error"]["message"]
    # the engine's own message is shown
    broken_engine.always[broken.CHAT] = broken.say(400, {"error": {"message": "big does not support tools"}})
    status, reply = await peer.ask("POST", OURS, _body(tools=[ADD]))
    assert status == 400 and "does not support tools" in reply["error"]["message"]


async def test_embeddings_are_requested_from_an_engine_that_supports_them(
    broken_engine: BrokenEngine, peer: Any
) -> None:
    def rows(*vectors: list[Any]) -> Any:
        data = [{"index": i, "embedding": vector} for i, vector in enumerate(vectors)]
        return broken.say(200, {"object": "list", "data": data[::-1], "usage": {"prompt_tokens": 4}})

    path = "/v1/embeddings"
    broken_engine.always[path] = rows([1.0, -0.5], [0.25, 2.0])
    sent = {"input": ["one", "two"], "model": "small", "dimensions": 2}
    status, reply = await peer.ask("POST", f"/mistral{path}", sent)
    assert status == 200, reply
    assert [(row["index"], row["embedding"]) for row in reply["data"]] == [(0, [1.0, -0.5]), (1, [0.25, 2.0])]
    assert (reply["model"], reply["usage"]) == ("small", {"prompt_tokens": 4, "total_tokens": 4})
    assert broken_engine.of(path)[-1].body == {**sent, "encoding_format": "float"}
    status, reply = await peer.ask("POST", f"/mistral{path}", {**sent, "encoding_format": "base64"})
    assert struct.unpack("<2f", base64.b64decode(reply["data"][0]["embedding"])) == (1.0, -0.5)
    # more texts than one batch
    broken_engine.script[path].append(rows(*([float(i)] for i in range(64))))
    broken_engine.script[path].append(rows([64.0]))
    status, reply = await peer.ask("POST", f"/mistral{path}", {"input": ["x"] * 65})
    assert [row["embedding"] for row in reply["data"]] == [[float(i)] for i in range(65)]
    for garbage in (
        rows([1.0]),
        rows([1.0], ["x"]),
        rows([1.0], [1e39]),
        rows([1.0], []),
        broken.say(200, {"data": 5}),
    ):
        broken_engine.script[path].append(garbage)
        status, reply = await peer.ask("POST", f"/mistral{path}", {"input": ["one", "two"]})
        assert (status, reply["error"]["code"]) == (503, "engine_refused"), reply


async def test_tools_and_calls_are_counted_in_the_prompt_of_a_notebook(broken_engine: BrokenEngine, peer: Any) -> None:
    calls = [{"id": "a1b2c3d4e", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}]
    turns = [{"role": "assistant", "content": None, "tool_calls": calls}, {"role": "user", "content": "And 4?"}]
    cells = [{"cell_type": "code", "source": "price = 41", "metadata": {}, "outputs": [], "execution_count": 1}]
    body = _body(mistral={"notebook": {"cells": cells, "language": "python", "path": "a.ipynb"}})
    messages = [*body["messages"], *turns]
    bare = [body["messages"][0], {"role": "assistant", "content": "", "tool_calls": None}, turns[1]]
    told = [
        (await peer.ask("POST", "/mistral/api/context", {**body, **more}))[1]["tokens"]
        for more in ({"messages": bare}, {"messages": messages}, {"messages": messages, "tools": [ADD]})
    ]
    assert told[1] - told[0] == estimate(json.dumps(calls[0]))
    assert told[2] - told[1] == estimate(json.dumps(ADD))


async def test_tokens_of_tools_do_not_count_as_exact_if_the_engine_counts(
    broken_engine: BrokenEngine, peer: Any
) -> None:
    broken_engine.always["/tokenize"] = broken.say(200, {"count": 3})
    told = [await peer.ask("POST", "/mistral/api/context", _body(**more)) for more in ({}, {"tools": [ADD]})]
    assert [body["counted"] for _, body in told] == ["exact", "estimated"]


@pytest.mark.parametrize("status", [404, 501])
async def test_an_engine_without_embeddings_refuses_them(broken_engine: BrokenEngine, peer: Any, status: int) -> None:
    broken_engine.always["/v1/embeddings"] = broken.say(status, {"error": {"message": "start it with --embeddings"}})
    status, reply = await peer.ask("POST", "/mistral/v1/embeddings", {"input": "text"})
    assert (status, reply["error"]["code"], reply["error"]["param"]) == (400, "unsupported", "model")
    assert "does not support embeddings. It replied: start it with --embeddings" in reply["error"]["message"]
    assert (await peer.status())["state"] == "ready"
