"""Write `openapi.json` from the declarations: `python -m jupyter_mistral.protocol.openapi`. Served, and read by the panel's build."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from . import answers, events, status
from .bodies import AskBody, ChatBody, CompletionBody, EmbeddingBody, FimBody
from .failures import FAILURES

FILE = Path(__file__).with_name("openapi.json")
REF = "#/components/schemas/{name}"
# what the standard addresses take and give, then what the panel reads at our own
DECLARED = [
    *(ChatBody, CompletionBody, FimBody, EmbeddingBody),
    *(answers.ChatAnswer, answers.ChatChunk, answers.TextAnswer, answers.EmbeddingList),
    *(answers.ModelList, answers.Health),
    *(AskBody, status.Status, events.Queued, events.Reading),
]
GET_FAILS = (400, 401, 403, 500, 503)
POST_FAILS = (400, 401, 403, 404, 409, 413, 415, 429, 500, 503)


def document() -> dict[str, Any]:
    """The OpenAPI 3.1 description of the addresses under /mistral/v1."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Jupyter Mistral",
            "version": "1",
            "summary": "The standard addresses of the model on this machine",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "Compatible with clients of the OpenAI and Mistral APIs. A field of theirs that is not supported is refused "
            "with an error that names it. Every number and list has a bound.",
        },
        "servers": [{"url": "/mistral/v1"}],
        "security": [{"token": []}],
        "paths": _paths(),
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Jupyter's token, one of `jupyter mistral token create`, or the one that `jupyter mistral serve` prints.",
                }
            },
            "responses": {"Error": _answer("Error", "What happened, to what, and what to do next.")},
            "schemas": schemas(),
        },
    }


def schemas() -> dict[str, Any]:
    """The JSON schema of each declaration, by its name."""
    _, declared = msgspec.json.schema_components(DECLARED, ref_template=REF)
    for schema in declared.values():
        del schema["title"]
        if "description" in schema:  # a docstring, with its indentation
            schema["description"] = " ".join(schema["description"].split())
        for field in schema["properties"].values():
            if field.get("default", "") is None:
                del field["default"]
    return declared | {"Error": _error()}


def _error() -> dict[str, Any]:
    """OpenAI's error object. `todo`, what to do next, is ours; `message` ends with it."""
    fields = {
        "message": {"type": "string", "minLength": 1},
        "type": {"enum": sorted({kind for _, kind in FAILURES.values()})},
        "code": {"enum": sorted(FAILURES)},
        "param": {"type": ["string", "null"]},
        "todo": {"type": "string"},
        "request_id": {"type": "string"},
    }
    error = {"type": "object", "required": list(fields), "properties": fields}
    return {"type": "object", "required": ["error"], "properties": {"error": error}}


def _paths() -> dict[str, Any]:
    stream = (
        "With `stream` true: chunks, then `[DONE]`. A stream that fails ends with an error object and without `[DONE]`."
    )
    embeddings = "Made by an external engine that can. Models that answer in text make none and are refused with 400."
    model = {"name": "model", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    return {
        "/chat/completions": _post("chat", "Answer a conversation", "ChatBody", "ChatAnswer", "ChatChunk", stream),
        "/completions": _post(
            "complete", "Continue a text, or fill in the middle", "CompletionBody", "TextAnswer", "TextAnswer", stream
        ),
        "/fim/completions": _post(
            "fim", "Fill in the middle, in the shape of Mistral's API", "FimBody", "ChatAnswer", "ChatChunk", stream
        ),
        "/embeddings": _post("embed", "Embed texts", "EmbeddingBody", "EmbeddingList", "", embeddings),
        "/models": _get("models", "The loaded model, then the others on disk", "ModelList"),
        "/models/{model}": _get("model", "One of them", "ModelRow", fails=(*GET_FAILS, 404), parameters=[model]),
        "/health": _get("health", "The state of the model", "Health"),
        "/metrics": _get("metrics", "Metrics for Prometheus, without texts or names", "", fails=GET_FAILS[:-1]),
    }


def _post(operation: str, summary: str, body: str, answer: str, chunk: str, description: str) -> dict[str, Any]:
    good = _answer(answer, "Done.")
    if chunk:
        good["content"]["text/event-stream"] = {"x-chunk": {"$ref": REF.format(name=chunk)}}
    content = {"application/json": {"schema": {"$ref": REF.format(name=body)}}}
    return {
        "post": {
            "operationId": operation,
            "summary": summary,
            "description": description,
            "requestBody": {"required": True, "content": content},
            "responses": _responses(good, POST_FAILS),
        }
    }


def _get(operation: str, summary: str, answer: str, fails: tuple[int, ...] = GET_FAILS, **more: Any) -> dict[str, Any]:
    text = {"description": "Done.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    good = _answer(answer, "Done.") if answer else text
    return {"get": {"operationId": operation, "summary": summary, "responses": _responses(good, fails), **more}}


def _answer(schema: str, description: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": REF.format(name=schema)}}}
    return {"description": description, "content": content}


def _responses(good: dict[str, Any], fails: tuple[int, ...]) -> dict[str, Any]:
    return {"200": good, **{str(code): {"$ref": "#/components/responses/Error"} for code in fails}}


def written() -> str:
    """The text of `openapi.json`."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(written(), encoding="utf-8")
