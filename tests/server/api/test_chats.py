"""The routes of chats on a real Jupyter server, including a session with the real engine: ask, reload, stop, restart."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nbformat
import pytest
from tornado.httpclient import HTTPClientError, HTTPResponse

# one red pixel
PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)
NOBODY = "0" * 32
LONG = {
    "content": ["Count from 1 to 1000 in words."],
    "max_tokens": 3000,
    "temperature": 0,
    "mistral": {"events": True},
}


@pytest.fixture
def jp_server_config(mistral_home: Path) -> dict[str, Any]:
    return {
        "ServerApp": {"jpserver_extensions": {"jupyter_mistral": True}, "allow_unauthenticated_access": False},
        "MistralExtension": {"default_model": "smollm2-135m"},
    }


class Api:
    """A client of the chat routes, as a page uses them."""

    def __init__(self, fetch: Any, serverapp: Any) -> None:
        self._fetch, self._app = fetch, serverapp

    async def raw(self, method: str, path: str, body: Any = None, **params: str) -> HTTPResponse:
        data = None if method in ("GET", "DELETE") else json.dumps(body if body is not None else {})
        headers = {"Content-Type": "application/json"} if data else {}
        parts = ["mistral", "api", "chats", *filter(None, path.split("/"))]
        response: HTTPResponse = await self._fetch(*parts, method=method, body=data, params=params, headers=headers)
        return response

    async def __call__(self, method: str, path: str = "", body: Any = None, **params: str) -> Any:
        return json.loads((await self.raw(method, path, body, **params)).body)

    async def refused(self, method: str, path: str, body: Any = None, **params: str) -> tuple[int, str, str]:
        with pytest.raises(HTTPClientError) as error:
            await self.raw(method, path, body, **params)
        assert error.value.response is not None
        told = json.loads(error.value.response.body)["error"]
        return error.value.code, told["code"], told["message"]

    async def stream(self, method: str, path: str, body: Any = None) -> AsyncIterator[dict[str, Any]]:
        """Chunks of a stream, the last one {"done": true}. Closing the iteration closes the connection."""
        data = json.dumps(body or {}).encode() if method == "POST" else b""
        reader, writer = await asyncio.open_connection("localhost", self._app.port)
        head = (
            f"{method} {self._app.base_url}mistral/api/chats/{path} HTTP/1.1\r\nHost: localhost:{self._app.port}\r\n"
            f"Authorization: token {self._app.identity_provider.token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode() + data)
        try:
            while line := await reader.readline():
                if line.startswith(b"data: [DONE]"):
                    yield {"done": True}
                elif line.startswith(b"data: "):
                    yield json.loads(line[6:])
        finally:
            writer.close()


@pytest.fixture
def api(jp_fetch: Any, jp_serverapp: Any) -> Api:
    return Api(jp_fetch, jp_serverapp)


async def test_chats_are_created_renamed_found_and_deleted(api: Api) -> None:
    assert await api("GET") == {"chats": []}
    chat = await api("POST", "", {"title": "Trees", "notebook": "a/b c.ipynb"})
    assert (chat["title"], chat["notebook"], chat["messages"], chat["saved"]) == ("Trees", "a/b c.ipynb", [], True)
    other = await api("POST")
    renamed = await api("PATCH", chat["id"], {"title": " Oaks "})
    assert renamed["title"] == "Oaks"
    listed = (await api("GET"))["chats"]
    assert [(c["id"], c["title"], c["messages"], c["notebook"]) for c in listed] == [
        (other["id"], "", 0, None),
        (chat["id"], "Oaks", 0, "a/b c.ipynb"),
    ]
    assert [c["id"] for c in (await api("GET", q="oAk"))["chats"]] == [chat["id"]]
    await api("DELETE", chat["id"])
    assert (await api.refused("GET", chat["id"]))[:2] == (404, "not_found")
    assert len((await api("GET"))["chats"]) == 1


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "named"),
    [
        ("POST", "", {"titel": "x"}, 400, "titel"),
        ("POST", "", {"title": "x" * 201}, 400, "title"),
        ("POST", "", {"title": 3}, 400, "title"),
        ("POST", "", {"notebook": "x" * 1001}, 400, "notebook"),
        ("POST", "", [], 400, "object"),
        ("PATCH", "ID", {}, 400, "title"),
        ("PATCH", "ID", {"title": "  "}, 400, "title"),
        ("PATCH", NOBODY, {"title": "x"}, 404, "no longer exists"),
        ("DELETE", NOBODY, None, 404, "no longer exists"),
        ("GET", NOBODY, None, 404, "no longer exists"),
        ("GET", f"{NOBODY}/export", None, 404, "no longer exists"),
        ("GET", "..%2f..%2fetc", None, 404, "no such address"),
        ("GET", "NOTHEX", None, 404, "no such address"),
        ("POST", "ID/ask", {"content": []}, 400, "empty"),
        ("POST", "ID/ask", {"content": ["  "]}, 400, "empty"),
        ("POST", "ID/ask", {"content": ["x"], "temperature": 9}, 400, "temperature"),
        ("POST", "ID/ask", {"content": ["x"], "unknown": 1}, 400, "unknown"),
        ("POST", "ID/ask", {"content": ["x"], "mistral": {"scope": "world"}}, 400, "scope"),
        ("POST", "ID/ask", {"content": ["x"], "replaces": NOBODY}, 404, "no longer exists"),
        ("POST", "ID/ask", {"content": [{"image_url": {"url": "https://example.com/x.png"}}]}, 400, "never fetched"),
        ("POST", "ID/ask", {"content": [{"image_url": {"url": PICTURE}}] * 9}, 413, "images"),
        ("POST", f"{NOBODY}/ask", {"content": ["x"]}, 404, "no longer exists"),
        ("GET", f"ID/messages/{NOBODY}/stream", None, 404, "no longer running"),
        ("POST", f"ID/messages/{NOBODY}/stop", None, 404, "no longer exists"),
        ("POST", f"ID/messages/{NOBODY}/stop", {"x": 1}, 400, "x"),
        ("DELETE", f"ID/messages/{NOBODY}", None, 404, "no longer exists"),
    ],
)
async def test_invalid_input_is_refused_with_a_sentence(
    api: Api, method: str, path: str, body: Any, code: int, named: str
) -> None:
    chat = await api("POST")
    status, _, message = await api.refused(method, path.replace("ID", chat["id"]), body)
    assert (status, named in message) == (code, True), message
    assert (await api("GET", chat["id"]))["messages"] == []


async def test_queries_are_bounded(api: Api) -> None:
    chat = await api("POST")
    assert (await api.refused("GET", "", q="x" * 201))[0] == 400
    assert (await api.refused("GET", f"{chat['id']}/export", format="exe"))[0] == 400


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("POST", ""),
        ("GET", NOBODY),
        ("PATCH", NOBODY),
        ("DELETE", NOBODY),
        ("GET", f"{NOBODY}/export"),
        ("POST", f"{NOBODY}/ask"),
        ("GET", f"{NOBODY}/messages/{NOBODY}/stream"),
        ("POST", f"{NOBODY}/messages/{NOBODY}/stop"),
        ("DELETE", f"{NOBODY}/messages/{NOBODY}"),
    ],
)
async def test_clients_without_a_token_see_no_chat(jp_serverapp: Any, jp_fetch: Any, method: str, path: str) -> None:
    parts = ["mistral", "api", "chats", *filter(None, path.split("/"))]
    body = None if method in ("GET", "DELETE") else "{}"
    headers = {"Authorization": "", "Content-Type": "application/json"}
    with pytest.raises(HTTPClientError) as error:
        await jp_fetch(*parts, method=method, body=body, headers=headers)
    assert error.value.code in (401, 403)


async def test_a_question_is_saved_even_if_no_model_can_answer(api: Api) -> None:
    chat = await api("POST")
    body = {"content": ["see", {"image_url": {"url": PICTURE}}], "model": "no-such-model"}
    chunks = [chunk async for chunk in api.stream("POST", f"{chat['id']}/ask", body)]
    assert chunks[0]["mistral"]["event"] == "message"
    assert chunks[-1]["error"]["code"] == "unknown_model"
    question, reply = (await api("GET", chat["id"]))["messages"]
    assert question["content"] == ["see", {"image_url": {"url": PICTURE}}]
    assert (reply["state"], reply["failure"]["code"], reply["content"]) == ("failed", "unknown_model", [])
    markdown = (await api.raw("GET", f"{chat['id']}/export", format="markdown")).body.decode()
    assert "see" in markdown
    response = await api.raw("GET", f"{chat['id']}/export", format="ipynb")
    assert response.headers["Content-Disposition"].startswith("attachment;")
    nbformat.validate(nbformat.reads(response.body.decode(), as_version=4))


def text_of(chunks: list[dict[str, Any]]) -> str:
    return "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c.get("choices"))


async def until_text(chunks: AsyncIterator[dict[str, Any]], at_least: int = 1) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    async for chunk in chunks:
        found.append(chunk)
        if len(text_of(found)) >= at_least:
            return found
    raise AssertionError(f"no text: {found[-1:]}")


async def test_ask_reload_stop_ask_again_export(api: Api) -> None:
    chat = (await api("POST"))["id"]
    asking = api.stream("POST", f"{chat}/ask", LONG)
    shown = await until_text(asking, 10)
    first = shown[0]["mistral"]
    assert (first["event"], first["title"], first["saved"]) == ("message", "Count from 1 to 1000 in words.", True)
    assert first["user"]["content"] == LONG["content"]
    message = first["assistant"]["id"]
    assert any(chunk.get("mistral", {}).get("event") == "loading" for chunk in shown)
    await asking.aclose()  # the page reloads

    found = await api("GET", chat)
    assert [(m["id"], m["state"]) for m in found["messages"]] == [(first["user"]["id"], "done"), (message, "streaming")]
    following = api.stream("GET", f"{chat}/messages/{message}/stream")
    again = await until_text(following, len(text_of(shown)) + 10)
    assert text_of(again).startswith(text_of(shown))

    assert (await api.refused("POST", f"{chat}/ask", LONG))[:2] == (429, "busy")

    stopped = await api("POST", f"{chat}/messages/{message}/stop")
    rest = [chunk async for chunk in following]
    assert rest[-1]["error"]["code"] == "cancelled"
    whole = text_of(again) + text_of(rest[:-1])
    assert (stopped["state"], "".join(stopped["content"])) == ("interrupted", whole)

    body = {**LONG, "max_tokens": 5, "content": [], "replaces": message}
    chunks = [chunk async for chunk in api.stream("POST", f"{chat}/ask", body)]
    assert chunks[-1] == {"done": True}
    assert chunks[-2]["usage"]["completion_tokens"] == 5
    assert chunks[0]["mistral"]["user"]["id"] == first["user"]["id"]
    found = await api("GET", chat)
    assert [m["state"] for m in found["messages"]] == ["done", "done"]
    assert found["messages"][1]["usage"]["mistral"]["model"] == "smollm2-135m"

    notebook = nbformat.reads((await api.raw("GET", f"{chat}/export", format="ipynb")).body.decode(), as_version=4)
    assert notebook.cells[2].metadata["jupyter_mistral"]["model"] == "smollm2-135m"
    left = await api("DELETE", f"{chat}/messages/{found['messages'][1]['id']}")
    assert [m["role"] for m in left["messages"]] == ["user"]
    assert [c["id"] for c in (await api("GET", q=quote("1000")))["chats"]] == [chat]
