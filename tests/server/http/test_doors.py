"""Access, checked on the real route table behind both doors, and how request bodies are handled before and after that check."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jupyter_mistral.protocol.requests import MAX_BODY_BYTES
from jupyter_mistral.server.inference.base import Options
from jupyter_server.serverapp import ServerApp
from jupyter_server.utils import JupyterServerAuthWarning
from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
REFUSED = {401, 403, 405}
LEAKS = re.compile(r"0x[0-9a-f]{6,}|Traceback|/site-packages/|File \"|\.py\b")


@pytest.fixture
def jp_server_config() -> dict[str, Any]:
    return {
        "ServerApp": {"jpserver_extensions": {"jupyter_mistral": True}, "allow_unauthenticated_access": False},
    }


@pytest.fixture
def app(
    jp_serverapp: Any, http_server: Any, mistral_home: Any, jp_asyncio_loop: asyncio.AbstractEventLoop
) -> Iterator[Any]:
    """A real Jupyter server with the extension, as `jupyter server` runs it."""
    yield jp_serverapp
    jp_asyncio_loop.run_until_complete(jp_serverapp.extension_manager.stop_all_extensions())


def _rules(router: Any) -> Iterator[Any]:
    for rule in router.rules:
        if hasattr(rule.target, "rules"):
            yield from _rules(rule.target)
        else:
            yield rule


def _paths(app: Any) -> list[str]:
    """A path for every route of the package."""
    rules = _rules(app.web_app.default_router)
    patterns = [r.matcher.regex.pattern for r in rules if "jupyter_mistral" in getattr(r.target, "__module__", "")]
    paths = []
    for pattern in patterns:
        path = (
            pattern.removesuffix("$")
            .replace("(?:/.*)?", "/nothing")
            .replace("(?:v1/)?", "v1/")
            .replace("\\.", ".")
            .replace("([0-9a-f]{32})", "0" * 32)
        )
        assert re.fullmatch(pattern, path), f"{pattern}: teach this test to fill it in"
        paths.append(path.removeprefix(app.base_url))
    return paths


async def _fetch(app: Any, method: str, path: str, body: bytes | None = None, **headers: str) -> HTTPResponse:
    url = f"http://127.0.0.1:{app.port}{app.base_url}{path.lstrip('/')}"
    if body is None and method in ("POST", "PUT", "PATCH"):
        body = b""
    request = HTTPRequest(
        url,
        method,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        body=body,
        allow_nonstandard_methods=True,
        follow_redirects=False,
    )
    return await AsyncHTTPClient().fetch(request, raise_error=False)


def _token(app: Any) -> dict[str, str]:
    return {"Authorization": f"token {app.identity_provider.token}"}


# ---------------------------------------------------------------------------------------------- every route


@pytest.mark.threat("T8")
async def test_no_route_answers_without_a_login(app: Any) -> None:
    paths = _paths(app)
    assert len(paths) >= 9
    for path in paths:
        for method in METHODS:
            for headers in ({}, {"Authorization": "token wrong"}, {"Authorization": "Bearer wrong"}):
                body = b"{}" if method in ("POST", "PUT", "PATCH") else None
                reply = await _fetch(app, method, path, body, Content_Type="application/json", **headers)
                assert reply.code in REFUSED, f"{method} {path} {headers}"
                assert "Access-Control-Allow-Origin" not in reply.headers
                if method != "HEAD":
                    assert json.loads(reply.body)["error"]["code"] in ("unauthorized", "forbidden", "bad_request")


@pytest.mark.threat("T8")
async def test_no_route_of_the_channel_answers_without_its_token(app: Any, own_host: Callable[..., Any]) -> None:
    peer = own_host(Options()).peer
    paths = _paths(app)
    jupyter = app.identity_provider.token
    for path in paths:
        for method in METHODS:
            for token in ("", "wrong", jupyter):
                headers = {"Authorization": f"Bearer {token}" if token else "", "Connection": "close"}
                reply = await peer.send(method, f"/{path.lstrip('/')}", {}, headers=headers)
                assert reply.status in REFUSED, f"{method} {path} {token}"


@pytest.mark.threat("T8")
async def test_jupyter_itself_sees_a_login_on_every_method(jp_environ: Any) -> None:
    ServerApp.clear_instance()
    app = ServerApp(allow_unauthenticated_access=False, jpserver_extensions={"jupyter_mistral": True})
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        app.initialize(argv=[], find_extensions=False, new_httpserver=False)
    ServerApp.clear_instance()
    problems = [str(w.message) for w in seen if issubclass(w.category, JupyterServerAuthWarning)]
    assert not [problem for problem in problems if "mistral" in problem]


@pytest.mark.threat("T8", "T35")
async def test_the_authorizer_is_asked_about_the_resource_mistral(app: Any) -> None:
    asked = []

    class Authorizer(type(app.authorizer)):  # type: ignore[misc]  # whichever class the server has
        def is_authorized(self, handler: Any, user: Any, action: str, resource: str) -> bool:
            asked.append((action, resource))
            return False

    app.web_app.settings["authorizer"] = Authorizer()
    assert (await _fetch(app, "GET", "mistral/api/status", **_token(app))).code == 403
    body, kind = b'{"model": null}', {"Content_Type": "application/json"}
    assert (await _fetch(app, "POST", "mistral/api/load", body, **_token(app), **kind)).code == 403
    assert list(dict.fromkeys(asked)) == [("read", "mistral"), ("execute", "mistral")]


# ---------------------------------------------------------------------------------------------- other origins


@pytest.mark.threat("T7")
@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1.evil.example"])
async def test_a_page_of_another_origin_is_refused_even_with_the_token(app: Any, origin: str) -> None:
    reply = await _fetch(app, "GET", "mistral/api/status", Origin=origin, **_token(app))
    assert reply.code == 403
    assert "Access-Control-Allow-Origin" not in reply.headers
    reply = await _fetch(app, "GET", "mistral/api/status", Sec_Fetch_Site="cross-site", **_token(app))
    assert reply.code == 403


async def test_a_page_of_this_server_is_admitted(app: Any) -> None:
    own = {"Origin": f"http://127.0.0.1:{app.port}", "Sec_Fetch_Site": "same-origin"}
    reply = await _fetch(app, "GET", "mistral/api/status", **own, **_token(app))
    assert reply.code == 200
    assert json.loads(reply.body)["state"] in ("absent", "unloaded")


@pytest.mark.threat("T6")
async def test_a_foreign_host_name_is_refused(app: Any) -> None:
    reply = await _fetch(app, "GET", "mistral/api/status", Host="evil.example", **_token(app))
    assert reply.code == 403


@pytest.mark.threat("T7")
async def test_a_cookie_needs_the_xsrf_token(app: Any) -> None:
    login = await _fetch(app, "GET", f"api/status?token={app.identity_provider.token}")
    assert login.code == 200
    cookies = dict(cookie.split(";")[0].split("=", 1) for cookie in login.headers.get_list("Set-Cookie"))
    page = await _fetch(app, "GET", "login")
    cookies |= dict(cookie.split(";")[0].split("=", 1) for cookie in page.headers.get_list("Set-Cookie"))
    sent = {"Cookie": "; ".join(f"{k}={v}" for k, v in cookies.items()), "Content_Type": "application/json"}
    assert (await _fetch(app, "GET", "mistral/api/status", Referer=f"http://127.0.0.1:{app.port}/", **sent)).code == 200
    assert (await _fetch(app, "POST", "mistral/api/unload", b"{}", **sent)).code == 403
    reply = await _fetch(app, "POST", "mistral/api/unload", b"{}", X_XSRFToken=cookies["_xsrf"], **sent)
    assert reply.code == 200


@pytest.mark.threat("T6", "T7")
@pytest.mark.parametrize(
    "headers", [{"Origin": "http://localhost"}, {"Sec-Fetch-Site": "none"}, {"Host": "evil.example"}]
)
async def test_the_channel_admits_no_browser(own_host: Callable[..., Any], headers: dict[str, str]) -> None:
    peer = own_host(Options()).peer
    status, body = await peer.ask("GET", "/mistral/api/status", headers=headers)
    assert (status, body["error"]["code"]) == (403, "forbidden")


@pytest.mark.threat("T26")
async def test_the_jupyter_port_streams_and_disconnecting_cancels(app: Any) -> None:
    body = {
        "messages": [{"role": "user", "content": "Count from 1 to 500."}],
        "model": "smollm2-135m",
        "max_tokens": 4000,
        "stream": True,
        "mistral": {"events": True},
    }
    data = json.dumps(body).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", app.port)
    head = f"POST {app.base_url}mistral/v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}{_line(_token(app))}Content-Length: {len(data)}\r\n\r\n".encode() + data)
    seen = [await reader.readline() for _ in range(1)]
    assert b" 200 " in seen[0]
    while sum(b'"content"' in line for line in seen) < 3:
        seen.append(await reader.readline())
        assert b"[DONE]" not in seen[-1]
    assert any(b"text/event-stream" in line for line in seen)
    status = json.loads((await _fetch(app, "GET", "mistral/api/status", **_token(app))).body)
    assert (status["running"], status["state"]) == (1, "ready")
    writer.transport.abort()
    while json.loads((await _fetch(app, "GET", "mistral/api/status", **_token(app))).body)["running"]:
        await asyncio.sleep(0.05)


def _line(headers: dict[str, str]) -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())


# ---------------------------------------------------------------------------------------------- bodies


async def _pour(writer: asyncio.StreamWriter, count: int) -> int:
    """Write until the other side closes the connection; returns the number of bytes sent."""
    sent = 0
    try:
        while sent < count:
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536
    except ConnectionError:
        pass
    return sent


@pytest.mark.threat("T24")
async def test_the_connection_of_a_large_body_without_a_login_is_closed_unread(app: Any) -> None:
    _reader, writer = await asyncio.open_connection("127.0.0.1", app.port)
    head = f"POST {app.base_url}mistral/v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: 30000000\r\n\r\n".encode())
    assert await _pour(writer, 30_000_000) < 12_000_000
    writer.close()


@pytest.mark.threat("T24")
async def test_a_large_body_without_a_login_takes_no_memory(app: Any) -> None:
    head = f"POST {app.base_url}mistral/v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"

    async def peak(**headers: str) -> int:
        """The peak of Python's memory while 30 MB arrive."""
        _reader, writer = await asyncio.open_connection("127.0.0.1", app.port)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"{head}{lines}Content-Length: 30000000\r\n\r\n".encode())
        tracemalloc.start()
        try:
            await _pour(writer, 29_000_000)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            writer.close()

    await peak()  # with what a first request imports
    assert await peak() < 4_000_000
    assert await peak(**_token(app)) > 15_000_000  # so much does it see of a body that is taken


@pytest.mark.threat("T24")
async def test_a_small_body_without_a_login_is_answered(app: Any) -> None:
    body = b'"' + b"x" * 60_000 + b'"'
    reply = await _fetch(app, "POST", "mistral/v1/chat/completions", body, Content_Type="application/json")
    assert reply.code == 401
    assert json.loads(reply.body)["error"]["code"] == "unauthorized"


@pytest.mark.threat("T7", "T24")
async def test_a_body_needs_a_length_and_a_content_type(own_host: Callable[..., Any]) -> None:
    peer = own_host(Options()).peer
    path = "/mistral/v1/chat/completions"

    async def told(headers: dict[str, str], raw: bytes = b"{}") -> int:
        return (await peer.send("POST", path, raw=raw, headers=headers)).status

    assert await told({"Content-Type": "text/plain"}) == 415
    assert await told({"Content-Type": ""}) == 415
    assert await told({"Content-Length": "", "Transfer-Encoding": "chunked"}, b"2\r\n{}\r\n0\r\n\r\n") == 411
    assert await told({"Content-Length": str(MAX_BODY_BYTES + 1)}, b"") == 413
    assert await told({"Content-Type": "application/json; charset=utf-8"}) == 400


BAD = [
    b"",
    b"nonsense",
    b"[]",
    b'"text"',
    b"{}",
    b'{"messages": []}',
    b'{"messages": [{"role": "user", "content": "  "}]}',
    b'{"messages": [{"role": "user", "content": "hi"}], "temperature": NaN}',
    b'{"messages": [{"role": "user", "content": "hi"}], "temperature": 1e999}',
    b'{"messages": [{"role": "user", "content": "hi"}], "temperature": true}',
    b'{"messages": [{"role": "user", "content": "hi"}], "max_tokens": -1}',
    b'{"messages": [{"role": "user", "content": "hi"}], "n": 5}',
    b'{"messages": [{"role": "user", "content": "hi"}], "chat_template": "{{ x }}"}',
    b'{"messages": [{"role": "user", "content": "hi"}], "model": "a\\u0000b"}',
    b'{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1/x.png"}}]}]}',
    b'{"a": 1, "a": 2}',
    b"[" * 100_000,
    b"\xff\xfe{\x00}\x00",
]


@pytest.mark.threat("T16", "T19", "T22", "T23")
@pytest.mark.parametrize("raw", BAD, ids=lambda raw: repr(raw[:60]))
async def test_an_invalid_body_gets_a_specific_error(own_host: Callable[..., Any], raw: bytes) -> None:
    peer = own_host(Options()).peer
    status, body = await peer.ask("POST", "/mistral/v1/chat/completions", raw=raw)
    assert 400 <= status < 500
    assert set(body["error"]) == {"message", "type", "code", "param", "todo", "request_id"}
    assert body["error"]["todo"]
    assert not LEAKS.search(json.dumps(body))


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
_names = st.sampled_from(
    ["messages", "model", "stream", "mistral", "prompt", "suffix", "temperature", "stop", "response_format", "download"]
)
_PATHS = ["v1/chat/completions", "v1/completions", "api/load", "api/unload", "api/context", "api/chats"]


@pytest.mark.threat("T19", "T22")
def test_no_body_makes_the_host_fail(
    own_host: Callable[..., Any], jp_asyncio_loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    peer = own_host(Options(default_model="mistral-large")).peer

    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        path=st.sampled_from(_PATHS),
        raw=st.binary(max_size=80) | st.dictionaries(_names, _values, max_size=4).map(lambda v: json.dumps(v).encode()),
    )
    def check(path: str, raw: bytes) -> None:
        status, body = jp_asyncio_loop.run_until_complete(peer.ask("POST", f"/mistral/{path}", raw=raw))
        assert status < 500, (path, raw, body)
        if status >= 400:
            assert not LEAKS.search(json.dumps({k: v for k, v in body["error"].items() if k != "message"}))
        peer.close()

    with caplog.at_level(logging.ERROR):
        check()
    assert not caplog.records
