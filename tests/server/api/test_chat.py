"""The standard routes as other clients use them: tool calls, several answers, logprobs, usage, fill in the middle, models, health."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from jupyter_mistral.server.inference.base import Options

SMALL, EMBEDDED = "smollm2-135m", "qwen2.5-coder-0.5b"
CHAT, TEXT = "/mistral/v1/chat/completions", "/mistral/v1/completions"
ADD: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds two whole numbers.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer", "enum": [2, 3]}, "b": {"type": "integer", "enum": [2, 3]}},
            "required": ["a", "b"],
            "additionalProperties": False,
        },
    },
}


def _chat(text: str = "Name three colours.", **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": SMALL, "messages": messages, "temperature": 0, "max_tokens": 8, **more}


async def _streamed(peer: Any, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    reply = await peer.send("POST", path, {**body, "stream": True})
    assert reply.status == 200, await reply.body()
    *chunks, done = [chunk async for chunk in reply.chunks()]
    assert done == "[DONE]"
    return chunks


async def test_a_tool_is_called_and_its_result_is_used(own_host: Callable[..., Any]) -> None:
    peer = own_host(Options(default_model=EMBEDDED)).peer
    named = {"type": "function", "function": {"name": "add"}}
    body = _chat("Add 2 and 3.", model=EMBEDDED, tools=[ADD], tool_choice=named, max_tokens=60)
    status, whole = await peer.ask("POST", CHAT, body)
    assert status == 200, whole
    [choice] = whole["choices"]
    [call] = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls" and choice["message"]["content"] is None
    assert re.fullmatch("[a-zA-Z0-9]{9}", call["id"]) and call["type"] == "function"
    arguments = json.loads(call["function"]["arguments"])
    assert call["function"]["name"] == "add" and arguments.keys() == {"a", "b"} and set(arguments.values()) <= {2, 3}

    chunks = await _streamed(peer, CHAT, body)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    pieces = [call for delta in deltas for call in delta.get("tool_calls", ())]
    assert deltas[0]["role"] == "assistant"
    assert pieces[0]["id"] and pieces[0]["function"]["name"] == "add" and len(pieces) > 3
    assert all(piece["index"] == 0 and "id" not in piece for piece in pieces[1:])
    assert json.loads("".join(piece["function"]["arguments"] for piece in pieces)) == arguments
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"

    told = [
        *body["messages"],
        {"role": "assistant", "content": None, "tool_calls": [{**call, "id": "call_of_another_maker"}]},
        {"role": "tool", "tool_call_id": "call_of_another_maker", "content": "The sum is 5."},
    ]
    status, whole = await peer.ask("POST", CHAT, _chat(model=EMBEDDED, messages=told, max_tokens=12))
    assert status == 200 and whole["choices"][0]["message"]["content"], whole

    # the reported capabilities are true
    _, row = await peer.ask("GET", f"/mistral/v1/models/{EMBEDDED}")
    assert row["capabilities"]["function_calling"] and row["capabilities"]["completion_fim"]
    middle = {"prompt": "def add(a, b):\n    return ", "suffix": "\n", "temperature": 0, "max_tokens": 4}
    status, fim = await peer.ask("POST", "/mistral/v1/fim/completions", {"model": EMBEDDED, **middle, "random_seed": 1})
    assert (status, fim["object"]) == (200, "chat.completion")
    written = fim["choices"][0]["message"]["content"]
    chunks = await _streamed(peer, "/mistral/v1/fim/completions", {"model": EMBEDDED, **middle})
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks) == written
    assert chunks[-1]["usage"]["completion_tokens"] == fim["usage"]["completion_tokens"]
    _, plain = await peer.ask("POST", TEXT, {"model": EMBEDDED, **middle})
    assert plain["choices"][0]["text"] == written
    # without a suffix it is a plain completion, without the three tokens of fill in the middle
    _, alone = await peer.ask("POST", TEXT, {"model": EMBEDDED, "prompt": "1, 2, 3,", "max_tokens": 1})
    _, at_the_end = await peer.ask(
        "POST", TEXT, {"model": EMBEDDED, "prompt": "1, 2, 3,", "suffix": "", "max_tokens": 1}
    )
    assert at_the_end["usage"]["prompt_tokens"] == alone["usage"]["prompt_tokens"] + 3


async def test_a_model_without_tool_calling_refuses_tools(peer: Any) -> None:
    status, body = await peer.ask("POST", CHAT, _chat(tools=[ADD]))
    assert (status, body["error"]["code"], body["error"]["param"]) == (400, "unsupported", "tools")
    status, body = await peer.ask("POST", CHAT, _chat(tools=[ADD], tool_choice="none"))
    assert status == 200, body


async def test_a_json_response_is_a_json_object(peer: Any) -> None:
    asked = _chat("Say true, as JSON.", response_format={"type": "json_object"}, temperature=0.8)
    for seed in range(4):
        _, whole = await peer.ask("POST", CHAT, {**asked, "seed": seed})
        assert whole["choices"][0]["message"]["content"].startswith("{"), whole
    # our own cells ask for any JSON
    _, whole = await peer.ask("POST", CHAT, {**asked, "seed": 0, "mistral": {"client": "magics"}})
    assert whole["choices"][0]["message"]["content"]


async def test_a_model_without_fill_in_the_middle_refuses_a_suffix(peer: Any) -> None:
    body = {
        "model": SMALL,
        "prompt": "def add(a, b):\n    return ",
        "suffix": "\n\nprint(add(1, 2))\n",
        "max_tokens": 2,
    }
    for path in (TEXT, "/mistral/v1/fim/completions"):
        status, refused = await peer.ask("POST", path, body)
        assert (status, refused["error"]["code"], refused["error"]["param"]) == (400, "unsupported", "suffix"), path
        assert "completion_fim" in refused["error"]["todo"]
    # inline suggestions continue without the suffix
    status, whole = await peer.ask("POST", TEXT, {**body, "mistral": {"if_busy": "refuse"}})
    assert status == 200, whole


async def test_several_answers_share_the_prefill_of_the_prompt(peer: Any) -> None:
    # longer than one block of the prefix cache, so that the shared part is visible
    body = _chat("Name a colour. " * 40, n=3, temperature=1.5, seed=7, max_tokens=6)
    status, whole = await peer.ask("POST", CHAT, body)
    assert status == 200, whole
    assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2]
    texts = [choice["message"]["content"] for choice in whole["choices"]]
    assert len(set(texts)) > 1
    usage = whole["usage"]
    assert usage["prompt_tokens"] < 400 and 3 <= usage["completion_tokens"] <= 18
    chunks = await _streamed(peer, CHAT, body)
    again = ["", "", ""]
    for chunk in chunks:
        choice = chunk["choices"][0]
        again[choice["index"]] += choice["delta"].get("content") or ""
    assert again == texts
    assert sum(chunk["choices"][0]["finish_reason"] is not None for chunk in chunks) == 3
    status, plain = await peer.ask("POST", TEXT, {"model": SMALL, "prompt": "One, two,", "n": 2, "max_tokens": 3})
    assert status == 200 and [choice["index"] for choice in plain["choices"]] == [0, 1]


async def test_logprobs_are_those_of_the_tokens_in_the_answer(peer: Any) -> None:
    status, whole = await peer.ask("POST", CHAT, _chat(logprobs=True, top_logprobs=2))
    assert status == 200, whole
    [choice] = whole["choices"]
    told = choice["logprobs"]["content"]
    assert "".join(chance["token"] for chance in told) == choice["message"]["content"]
    for chance in told:
        assert bytes(chance["bytes"]).decode() == chance["token"]
        assert chance["logprob"] <= 0 and len(chance["top_logprobs"]) == 2
        # greedy: no other token is more likely, although some may be as likely
        assert chance["top_logprobs"][0]["logprob"] == chance["logprob"]
    chunks = await _streamed(peer, CHAT, _chat(logprobs=True))
    streamed = [c for chunk in chunks for c in (chunk["choices"][0].get("logprobs") or {}).get("content", ())]
    assert [c["token"] for c in streamed] == [c["token"] for c in told]
    assert all(c["top_logprobs"] == [] for c in streamed)
    _, plain = await peer.ask("POST", CHAT, _chat())
    assert "logprobs" not in plain["choices"][0]


async def test_the_older_completions_have_logprobs_in_lists(peer: Any) -> None:
    body = {"model": SMALL, "prompt": "One, two,", "max_tokens": 5, "temperature": 0, "logprobs": 2}
    _, whole = await peer.ask("POST", TEXT, body)
    [choice] = whole["choices"]
    told = choice["logprobs"]
    assert "".join(told["tokens"]) == choice["text"]
    assert len(told["tokens"]) == len(told["token_logprobs"]) == len(told["top_logprobs"]) == len(told["text_offset"])
    assert told["text_offset"][1] == len(told["tokens"][0])
    chunks = await _streamed(peer, TEXT, body)
    assert [token for c in chunks for token in (c["choices"][0]["logprobs"] or {}).get("tokens", ())] == told["tokens"]


async def test_usage_is_the_last_chunk_of_a_stream_if_requested(peer: Any) -> None:
    for path, body in ((CHAT, _chat()), (TEXT, {"model": SMALL, "prompt": "One,", "max_tokens": 3})):
        chunks = await _streamed(peer, path, {**body, "stream_options": {"include_usage": True}})
        *before, last = chunks
        assert last["choices"] == [] and last["usage"]["completion_tokens"] > 0
        assert all(chunk["usage"] is None and chunk["choices"] for chunk in before)
        chunks = await _streamed(peer, path, body)
        assert not any("usage" in chunk for chunk in chunks) and chunks[-1]["choices"][0]["finish_reason"]


async def test_stop_seed_and_max_completion_tokens_take_effect(peer: Any) -> None:
    _, whole = await peer.ask("POST", CHAT, _chat(max_tokens=20))
    text = whole["choices"][0]["message"]["content"]
    word = text[len(text) // 2 :][:3]
    _, cut = await peer.ask("POST", CHAT, _chat(max_tokens=20, stop=[word]))
    assert cut["choices"][0]["message"]["content"] == text[: text.index(word)]
    assert cut["choices"][0]["finish_reason"] == "stop"
    drawn = [await peer.ask("POST", CHAT, _chat(temperature=1.5, seed=seed)) for seed in (5, 5, 6)]
    words = [body["choices"][0]["message"]["content"] for _, body in drawn]
    assert words[0] == words[1] != words[2]
    _, short = await peer.ask("POST", CHAT, _chat(max_tokens=None, max_completion_tokens=2))
    assert short["usage"]["completion_tokens"] == 2 and short["choices"][0]["finish_reason"] == "length"


async def test_models_health_and_embeddings(peer: Any) -> None:
    _, listed = await peer.ask("GET", "/mistral/v1/models")
    status, row = await peer.ask("GET", f"/mistral/v1/models/{SMALL}")
    assert status == 200 and row in listed["data"]
    assert (await peer.ask("GET", "/mistral/v1/models/default"))[1]["id"] == SMALL
    status, body = await peer.ask("GET", "/mistral/v1/models/no/such%20one")
    assert (status, body["error"]["code"]) == (404, "unknown_model")
    for told in (
        await peer.ask("GET", "/mistral/v1/models/smollm2"),
        await peer.ask("POST", CHAT, _chat(model="smolm2-135")),
    ):
        assert told[0] == 404 and f"Did you mean {SMALL}" in told[1]["error"]["message"]
    for path in ("/mistral/health", "/mistral/v1/health"):
        status, body = await peer.ask("GET", path)
        assert (status, body) == (200, {"status": "ok", "state": "ready", "model": SMALL})
        assert (await peer.send("GET", path, headers={"Authorization": ""})).status == 401
    status, body = await peer.ask("POST", "/mistral/v1/embeddings", {"model": SMALL, "input": "text"})
    assert (status, body["error"]["code"]) == (400, "unsupported")


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"n": 5}, "n"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"logit_bias": {"50256": -100}}, "logit_bias"),
        ({"frequency_penalty": 3}, "frequency_penalty"),
        ({"unheard_of": 1}, "unheard_of"),
    ],
)
async def test_values_out_of_bounds_are_refused_in_openais_format(
    peer: Any, change: dict[str, Any], param: str
) -> None:
    status, body = await peer.ask("POST", CHAT, {**_chat(), **change})
    assert (status, body["error"]["type"], body["error"]["param"]) == (400, "invalid_request_error", param)
