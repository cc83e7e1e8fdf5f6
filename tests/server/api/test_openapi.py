"""The OpenAPI file matches the host: what it allows is answered, what it forbids is refused, and no request makes the host fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from effort import examples
from hypothesis import HealthCheck, Phase, given, settings
from jsonschema import Draft202012Validator
from jupyter_mistral.protocol import HOME_ENV, bodies, openapi
from jupyter_mistral.protocol.conversation import MAX_MESSAGES, MAX_TOOLS
from jupyter_mistral.protocol.failures import FAILURES, Failure
from jupyter_mistral.protocol.parsing import parse_chat, parse_completion, parse_embedding, parse_fim
from jupyter_mistral.protocol.requests import MAX_CHOICES
from jupyter_mistral.server.api import openai

SMALL = "smollm2-135m"
TEXT = files("jupyter_mistral").joinpath(openai.OPENAPI).read_text()
FILE: dict[str, Any] = json.loads(TEXT)
SCHEMAS = FILE["components"]["schemas"]
# GET requests without parameters, which cannot be invalid
TRIED = [
    (f"{method.upper()} {path}", is_good)
    for path, told in FILE["paths"].items()
    for method in ("get", "post")
    for is_good in (True, False)
    if method in told and (is_good or method != "get")
]
# the media type of request bodies
BODIES = {
    f"POST {path}": Draft202012Validator(
        {**told["post"]["requestBody"]["content"]["application/json"]["schema"], "components": FILE["components"]}
    )
    for path, told in FILE["paths"].items()
    if "post" in told
}
TOOL = {"type": "function", "function": {"name": "add"}}


@pytest.fixture(scope="module")
def host(models_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """A host on a loopback port with the small model loaded: its address, and headers with its token."""
    folder = tmp_path_factory.mktemp("api")
    (folder / "models").symlink_to(models_home / "models")
    environ = {**os.environ, HOME_ENV: str(folder), "JUPYTER_RUNTIME_DIR": str(folder)}
    command = [sys.executable, "-m", "jupyter_mistral.server.standalone", "--port", "0", "--model", SMALL]
    process = subprocess.Popen(command, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    url, token = process.stdout.readline().strip(), process.stdout.readline().strip().removeprefix("token: ")
    yield url, {"Authorization": f"Bearer {token}"}
    process.terminate()
    assert process.wait(120) == 0
    process.stdout.close()


def _short(body: dict[str, Any]) -> dict[str, Any]:
    """The same request for the loaded model and few tokens.

    Corrects what a schema cannot express: there is a user message, a prompt is not empty, and generated image data is no image.
    """
    body = {k: v for k, v in body.items() if k not in ("max_completion_tokens", "model")} | {"max_tokens": 2}
    if "messages" in body:
        said = [m for m in body["messages"] if isinstance(m.get("content"), str | None)]
        body["messages"] = [*said, {"role": "user", "content": "Hello."}]
    elif "input" not in body:
        body["prompt"] = body.get("prompt") or "Hello."
    return body


@pytest.fixture(scope="module")
def operations() -> dict[str, Any]:
    import schemathesis

    found = schemathesis.openapi.from_dict(json.loads(TEXT)).get_all_operations()
    return {operation.ok().label: operation.ok() for operation in found}


@pytest.mark.parametrize(
    ("label", "is_good"), TRIED, ids=lambda part: part if isinstance(part, str) else "good" if part else "bad"
)
def test_no_request_makes_the_host_fail(
    host: tuple[str, dict[str, str]], operations: dict[str, Any], label: str, is_good: bool
) -> None:
    from schemathesis import GenerationMode
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        negative_data_rejection,
        response_schema_conformance,
        status_code_conformance,
    )

    url, headers = host
    operation = operations[label]
    mode = GenerationMode.POSITIVE if is_good else GenerationMode.NEGATIVE
    tried = [status_code_conformance, content_type_conformance, response_schema_conformance]
    tried += [] if is_good else [negative_data_rejection]
    seen: set[int] = set()

    @settings(
        max_examples=examples(40),
        deadline=None,
        database=None,
        derandomize=True,  # as nearly the same requests every time as the modules loaded beside allow
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        sent = headers
        if not is_good and BODIES[label].is_valid(case.body):
            sent = {}  # what is wrong with it is the header that should open the host: ours would put it right
        elif is_good and operation.method == "post":
            case.body = _short(case.body)
        response = case.call(base_url=url, headers=sent, timeout=120)
        assert sent or response.status_code in (401, 403), response.text
        seen.add(response.status_code)
        assert response.status_code < 500, response.text
        case.validate_response(response, checks=tried)

    check()
    if is_good and label not in ("POST /embeddings", "GET /models/{model}"):
        assert 200 in seen, f"nothing was answered: {seen}"


def test_the_openapi_file_is_served_to_clients_with_a_token(host: tuple[str, dict[str, str]]) -> None:
    from urllib.request import Request, urlopen

    url, headers = host
    with urlopen(Request(f"{url}/openapi.json", headers=headers)) as reply:
        assert json.load(reply) == FILE


# ---------------------------------------------------------------------------------------------- the file and the code


def test_every_standard_route_is_in_the_openapi_file() -> None:
    table = {pattern.removeprefix("/mistral/v1") for pattern, _, _ in openai.table(None)}  # type: ignore[arg-type]
    told = {path.replace("{model}", "(.+)") for path in FILE["paths"]}
    assert table - {r"/mistral/(?:v1/)?health", r"/openapi\.json"} == told - {"/health", "/metrics"}


def test_the_openapi_file_matches_the_declarations() -> None:
    assert openapi.written() == TEXT, "run `python -m jupyter_mistral.protocol.openapi`"


@pytest.mark.parametrize("name", ["ChatBody", "CompletionBody", "FimBody"])
def test_every_sampling_number_has_bounds_in_the_openapi_file(name: str) -> None:
    declared = SCHEMAS[name]["properties"]
    for field, (kind, least, most) in bodies.SAMPLING_BOUNDS.items():
        number = declared[field]["anyOf"][0]
        assert (number["minimum"], number["maximum"]) == (least, most), field
        assert number["type"] == ("integer" if kind is int else "number")
    assert declared["logit_bias"]["enum"] == [None, {}]
    assert declared["min_tokens"]["enum"] == [0, None] and declared["min_tokens"]["enum"][0] is not False


VALID: dict[str, tuple[Any, dict[str, Any]]] = {
    "ChatBody": (parse_chat, {"messages": [{"role": "user", "content": "hi"}], "tools": [TOOL], "logprobs": True}),
    "CompletionBody": (parse_completion, {"prompt": "hi"}),
    "FimBody": (parse_fim, {"prompt": "hi"}),
    "EmbeddingBody": (parse_embedding, {"input": "hi"}),
}
NEVER = [
    "x",
    "",
    0,
    -1,
    -1e9,
    1e9,
    1.5,
    True,
    {},
    {"x": 1},
    [],
    ["x"],
    [1],
    ["x" * 65],
    ["x"] * 5,
    "x" * 301,
    [{}],
    None,
]


def _probes(told: Any) -> list[Any]:
    """Values on both sides of every bound in a field's schema, and values of all types."""
    found = list(NEVER)
    for part in [told, *told.get("anyOf", ())]:
        found += [part[k] + step for k, step in (("minimum", -1), ("maximum", 1), ("maximum", 0)) if k in part]
        found += part.get("enum", [])
        if "maxItems" in part and part["maxItems"] < 3000:
            found.append([None] * (part["maxItems"] + 1))
    return found


@pytest.mark.parametrize("name", VALID)
def test_exactly_the_values_that_the_openapi_file_forbids_are_refused(name: str) -> None:
    parse, body = VALID[name]
    validator = Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": FILE["components"]})
    parse(body)
    refused = accepted = 0
    for field, told in SCHEMAS[name]["properties"].items():
        for value in _probes(told):
            tried = {**body, field: value}
            is_valid = validator.is_valid(tried)
            try:
                parse(tried)
                assert is_valid, (field, value)
                accepted += 1
            except Failure as failure:
                # what a schema cannot express: names that must match, text that must not be empty
                assert not is_valid or (field, value) in MEANT or value in ("", [""]), (field, value, str(failure))
                refused += 1
    assert refused > 30 and accepted > 30
    assert not validator.is_valid({**body, "unheard_of": 1})


MEANT: list[tuple[str, Any]] = [
    ("messages", []),
    ("tools", None),
    ("tools", []),
    ("logprobs", None),
    ("logprobs", False),
    ("prompt", [""]),
]


def test_limits_in_the_openapi_file_are_those_of_the_code() -> None:
    chat = SCHEMAS["ChatBody"]["properties"]
    assert chat["messages"]["maxItems"] == MAX_MESSAGES
    assert chat["tools"]["anyOf"][0]["maxItems"] == MAX_TOOLS
    assert chat["n"]["anyOf"][0]["maximum"] == MAX_CHOICES
    function = SCHEMAS["FunctionBody"]["properties"]
    assert function["description"]["anyOf"][0]["maxLength"] == bodies.MAX_DESCRIPTION_CHARS
    error = SCHEMAS["Error"]["properties"]["error"]["properties"]
    assert set(error["code"]["enum"]) == set(FAILURES)
    assert set(error["type"]["enum"]) == {kind for _, kind in FAILURES.values()}
