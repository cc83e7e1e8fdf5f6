"""Request bodies: what is valid comes through whole, what is not gets one sentence that names the field."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from jupyter_mistral.protocol.bodies import SAMPLING_BOUNDS
from jupyter_mistral.protocol.conversation import Message, Tool, ToolCall
from jupyter_mistral.protocol.failures import Failure
from jupyter_mistral.protocol.images import Image
from jupyter_mistral.protocol.parsing import parse_ask, parse_chat, parse_completion, parse_embedding, parse_fim
from jupyter_mistral.protocol.requests import Calling, ChatRequest, Extras, Form, Sampling
from jupyter_mistral.protocol.wire import read_json

ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "why?"}]}
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "add", "description": "Adds.", "parameters": {"type": "object", "properties": {}}},
}
PIXEL = "data:image/png;base64,aGk="


def _refused(body: Any) -> Failure:
    with pytest.raises(Failure) as caught:
        parse_chat(body)
    return caught.value


def test_a_request_survives_the_way_to_json_and_back() -> None:
    request = ChatRequest(
        messages=(Message("system", ("be brief",)), Message("user", ("what is ", Image("image/png", b"hi"), "?"))),
        sampling=Sampling(temperature=0.0, seed=7, stop=("\n\n",), max_tokens=12),
        form=Form("json", {"type": "object"}),
        model="m",
        stream=True,
        include_usage=True,
        extras=Extras(
            events=True,
            notebook={"cells": []},
            focus=0,
            scope="above",
            variables=({"name": "x", "type": "int"},),
            budget=900,
            thorough=True,
        ),
    )
    body = read_json(json.dumps(request.to_dict()).encode())
    assert parse_chat(body) == request


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": "  \n"}]}, "messages"),
        ({"messages": [{"role": "root", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "x"}] * 1001}, "messages"),
        ({"tempreature": 1}, "tempreature"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": "0.2"}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"seed": -1}, "seed"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": [""]}, "stop[0]"),
        ({"stop": "x" * 65}, "stop"),
        ({"n": 5}, "n"),
        ({"n": 0}, "n"),
        ({"logprobs": 1}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logit_bias": {"1": 1}}, "logit_bias"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [TOOL, TOOL]}, "tools"),
        ({"tools": [{**TOOL, "strict": True}]}, "tools[0].strict"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tools": [TOOL] * 129}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": "sometimes"}, "tool_choice"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "b"}}},
            "tool_choice.function.name",
        ),
        ({"messages": [*ASK["messages"], {"role": "tool", "content": "4"}]}, "messages[1].tool_call_id"),
        ({"messages": [*ASK["messages"], {"role": "user", "content": "x", "audio": {}}]}, "messages[1].audio"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"stream": "yes"}, "stream"),
        ({"chat_template": "{{ x }}"}, "chat_template"),
        ({"mistral": {"scope": "galaxy"}}, "mistral.scope"),
        ({"mistral": {"base_url": "http://x"}}, "mistral.base_url"),
        ({"mistral": {"notebook": {"cells": {}}}}, "mistral.notebook.cells"),
        ({"mistral": {"focus": -1}}, "mistral.focus"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], field: str) -> None:
    failure = _refused({**ASK, **change})
    assert failure.param == field
    assert failure.status in (400, 413)
    assert failure.todo


# what clients of other APIs send: fields without effect, and fields that are accepted with these values alone
IGNORED = [
    *("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "verbosity"),
    *("prompt_cache_retention", "reasoning_effort", "web_search_options", "return_token_ids"),
]
NEUTRAL: dict[str, list[Any]] = {
    "best_of": [1, None],
    "echo": [False, None],
    "logit_bias": [None, {}],
    "functions": [None, []],
    "function_call": [None, "none", "auto"],
    "modalities": [None, ["text"]],
    "audio": [None],
    "prediction": [None, {"type": "content", "content": ""}],
    "safe_prompt": [False, None],
    "prompt_mode": [None],
    "min_tokens": [0, None],
    "guardrails": [None, []],
}


@pytest.mark.parametrize("name", IGNORED)
def test_a_field_without_effect_may_hold_anything(name: str) -> None:
    for value in (None, "x", 1, ["x"], {"x": {}}):
        assert parse_chat({**ASK, name: value}) == parse_chat(ASK)


@pytest.mark.parametrize("name", NEUTRAL)
def test_a_field_that_would_change_the_answer_is_refused_unless_it_asks_for_nothing(name: str) -> None:
    for value in NEUTRAL[name]:
        assert parse_chat({**ASK, name: value}) == parse_chat(ASK)
        assert parse_completion({"prompt": "a", name: value}) == parse_completion({"prompt": "a"})
    for value in (2, True, "other", ["audio"], {"1": 1}):
        failure = _refused({**ASK, name: value})
        assert (failure.code, failure.param) == ("unsupported", name)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"temperature": 1e19}, "temperature is 1e+19, but must be a number from 0 to 2. Change or leave it out."),
        (
            {"max_tokens": 1e19},
            "max_tokens is 1e+19, but must be a whole number from 1 to 131072. Change or leave it out.",
        ),
        ({"model": 3}, "model is 3, but must be a string of up to 300 characters. Change or leave it out."),
        ({"stream": "yes"}, 'stream is "yes", but must be true or false. Change or leave it out.'),
        ({"messages": 3}, "messages is 3, but must be a list. Change it."),
        (
            {"messages": [{"role": "user", "content": 3}]},
            "messages[0].content is 3, but must be a string or a list of text and image_url parts. Change it.",
        ),
        (
            {"messages": [{"role": "root"}]},
            'messages[0].role is "root", but must be one of system, developer, user, assistant, tool. Change it.',
        ),
        ({"messages": [{"role": "user"}]}, "messages[0].content is missing. Add it."),
        (
            {"messages": [{"role": "user", "content": "x", "foo": 1}]},
            "messages[0].foo is not supported by this engine. Leave it out.",
        ),
        (
            {"mistral": {"variables": [{"name": "x", "type": 1}]}},
            "mistral.variables[0] must be an object of strings: name, type, summary. Change it.",
        ),
        ({"x - at `$.messages[0]": 1}, "Unknown field 'x - at `$.messages[0]'. Leave it out."),
        ({"a` - at `$.zzz": 1}, "Unknown field 'a` - at `$.zzz'. Leave it out."),
        (
            {"tool_choice": "x - at `$.n"},
            'tool_choice is "x - at `$.n", but must be none, auto, required or one function. Change or leave it out.',
        ),
    ],
)
def test_the_sentence_says_what_was_sent_and_what_is_expected(change: dict[str, Any], sentence: str) -> None:
    assert str(_refused({**ASK, **change})) == sentence


def test_a_chat_is_regenerated_without_content() -> None:
    for body in ({"replaces": "x"}, {"replaces": "x", "content": None}, {"replaces": "x", "content": []}):
        assert parse_ask(body).content == () and parse_ask(body).replaces == "x"
    with pytest.raises(Failure, match="The prompt is empty"):
        parse_ask({"content": None})


def test_an_empty_list_of_parts_is_no_text() -> None:
    messages = [{"role": "system", "content": []}, {"role": "user", "content": "x"}]
    assert [message.content for message in parse_chat({"messages": messages}).messages] == [(), ("x",)]


@pytest.mark.threat("T18")
@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/a.png",
        "file:///etc/passwd",
        "ftp://a/b",
        "http://169.254.169.254/x",
        "data:text/html;base64,aGk=",
        "data:image/png,hi",
        "data:image/png;base64,%%%",
    ],
)
def test_a_picture_is_never_fetched(url: str) -> None:
    part = {"type": "image_url", "image_url": {"url": url}}
    failure = _refused({"messages": [{"role": "user", "content": [part]}]})
    assert failure.param == "messages[0].content[0]"


def test_too_many_pictures_are_refused() -> None:
    parts = [{"type": "image_url", "image_url": {"url": PIXEL}}] * 9
    assert _refused({"messages": [{"role": "user", "content": parts}]}).code == "too_large"


def test_what_openai_clients_send_without_meaning_it_is_let_through() -> None:
    body = {
        **ASK,
        "n": 1,
        "user": "u",
        "logprobs": False,
        "tools": [],
        "logit_bias": {},
        "random_seed": 3,
        "stream_options": {"include_usage": True},
        "max_completion_tokens": 5,
    }
    request = parse_chat(body)
    assert request.include_usage
    assert request.sampling.max_tokens == 5
    assert request.sampling.seed == 3


def test_a_conversation_with_calls_survives_the_way_to_json_and_back() -> None:
    request = ChatRequest(
        messages=(
            Message("user", ("2 + 2?",)),
            Message("assistant", ("",), (ToolCall("abcdefghi", "add", '{"a": 2, "b": 2}'),)),
            Message("tool", ("4",), tool_call_id="abcdefghi"),
        ),
        calling=Calling((Tool("add", "Adds.", {"type": "object"}),), "required", "add", parallel=False),
        n=3,
        top_logprobs=2,
    )
    assert parse_chat(read_json(json.dumps(request.to_dict()).encode())) == request


def test_ids_of_other_makers_become_nine_letters_that_match() -> None:
    call = {"id": "call_123", "type": "function", "function": {"name": "add", "arguments": {"a": "é"}}}
    answer = {"role": "tool", "tool_call_id": "call_123", "content": [{"type": "text", "text": "4"}]}
    request = parse_chat({"messages": [*ASK["messages"], {"role": "assistant", "tool_calls": [call]}, answer]})
    _, asked, told = request.messages
    assert asked.tool_calls[0].id == told.tool_call_id
    assert re.fullmatch("[a-zA-Z0-9]{9}", told.tool_call_id)
    assert json.loads(asked.tool_calls[0].arguments) == {"a": "é"}


def test_mistrals_own_names_are_understood() -> None:
    request = parse_chat({**ASK, "tools": [TOOL], "tool_choice": "any", "safe_prompt": False})
    assert request.calling.choice == "required"
    fim = parse_fim({"prompt": "a", "suffix": "b", "random_seed": 5, "min_tokens": 0})
    assert (fim.prompt, fim.suffix, fim.sampling.seed) == ("a", "b", 5)
    assert parse_fim({"prompt": "a"}).suffix == ""  # a middle to fill in, at the end of a text
    assert parse_completion({"prompt": "a"}).suffix is None


def test_embeddings_take_one_text_or_many() -> None:
    assert parse_embedding({"input": "a"}).texts == ("a",)
    assert parse_embedding({"input": ["a", "b"], "encoding_format": "base64"}).is_base64
    for wrong in ({}, {"input": ""}, {"input": []}, {"input": [1]}, {"input": "a", "x": 1}, {"input": ["a"] * 2049}):
        with pytest.raises(Failure):
            parse_embedding(wrong)


@pytest.mark.threat("T23")
def test_every_number_has_bounds() -> None:
    """A new sampling field without bounds would be a hole."""
    numbers = {k for k, v in Sampling.__annotations__.items() if "int" in v or "float" in v}
    assert numbers == set(SAMPLING_BOUNDS)


def test_completion_takes_prefix_and_suffix() -> None:
    request = parse_completion(
        {"prompt": "def f(", "suffix": "\n    return x", "max_tokens": 8, "mistral": {"if_busy": "refuse"}}
    )
    assert (request.prompt, request.suffix, request.if_busy, request.sampling.max_tokens) == (
        "def f(",
        "\n    return x",
        "refuse",
        8,
    )
    with pytest.raises(Failure, match="empty"):
        parse_completion({"prompt": ""})


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(2**60), 2**60)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
KNOWN = st.sampled_from(
    [
        *SAMPLING_BOUNDS,
        "messages",
        "stop",
        "stream",
        "response_format",
        "mistral",
        "model",
        "stream_options",
        "tools",
        "n",
    ]
)


@pytest.mark.threat("T22")
@settings(max_examples=examples(400), deadline=None)
@given(st.dictionaries(KNOWN, JSON_VALUES, max_size=5), st.booleans())
def test_hostile_bodies_are_refused_and_never_crash(body: dict[str, Any], valid_messages: bool) -> None:
    if valid_messages:
        body = {**body, **ASK}
    try:
        raw = json.dumps(body).encode()
        request = parse_chat(read_json(raw))
    except Failure as failure:
        assert 400 <= failure.status < 500
    else:
        assert parse_chat(read_json(json.dumps(request.to_dict()).encode())) == request
