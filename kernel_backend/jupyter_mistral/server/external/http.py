"""HTTP to an external engine: its address, its key, one connection for each answer. Independent of models and events.

The key is read when it is sent, and appears in no message, log or status. Proxies and .netrc of the environment are ignored, and
redirects refused: they would send prompts to another host than the one that the status shows.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import socket
import ssl
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import urlsplit

from ...protocol.failures import Failure

if TYPE_CHECKING:
    import httpx

# the program behind the API, as far as it can be told
Kind: TypeAlias = Literal["vllm", "sglang", "llamacpp", "ollama", "mistral", "other"]
KEY_ENV = "JUPYTER_MISTRAL_ENGINE_KEY"
CONNECT_S = 10.0
MAX_LINE_BYTES = 4 * 2**20
MAX_REPLY_BYTES = 16 * 2**20
MAX_WORDS = 300  # characters of an engine's error message that are shown


class ErrorReply(Exception):
    """The engine answered with an error. words: its message, without the key. retry_after_s: its Retry-After header."""

    def __init__(self, status: int, words: str, kind: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(f"HTTP {status}")
        self.status, self.words, self.kind, self.retry_after_s = status, words, kind, retry_after_s


class Unreachable(Exception):
    """No connection, or a broken one; the text says why."""


@dataclass(frozen=True)
class Address:
    """root: the engine's URL without `/v1`. host: HOST:PORT, for messages."""

    root: str
    host: str
    is_local: bool
    is_encrypted: bool

    @classmethod
    def of_url(cls, url: str) -> Address:
        """Raises `Failure("bad_request")` for an invalid URL, and for one with a password."""
        parts = urlsplit(url.strip())
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1 or parts.query or parts.fragment:
            raise Failure("bad_request", "engine_url is not an HTTP address.", "Use the form http://localhost:8000/v1.")
        if parts.username is not None or parts.password is not None:
            raise Failure(
                "bad_request", "engine_url contains a password.", f"Use engine_key_file or {KEY_ENV} instead."
            )
        name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        host = f"{name}:{port}" if port else name
        root = f"{parts.scheme}://{host}{parts.path.rstrip('/')}".removesuffix("/v1")
        return cls(root, host, _is_loopback(parts.hostname), parts.scheme == "https")

    @property
    def words(self) -> str:
        """Where text is sent, as shown to users."""
        if self.is_local:
            return f"this machine, another program: {self.host}"
        return f"leaves this machine: {self.host}" + ("" if self.is_encrypted else " (not encrypted)")


def _is_loopback(host: str) -> bool:
    if host.lower() in ("localhost", "localhost."):
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


@dataclass(frozen=True, repr=False)
class Key:
    """An API key: from a file, which is read for each request so that it can be replaced, or from the environment."""

    file: str = ""
    text: str = ""

    def read(self) -> str:
        """The key, empty if none is set. Raises `Failure`."""
        if not self.file:
            return self.text
        try:
            return Path(self.file).expanduser().read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise Failure(
                "engine_refused",
                "The file with the engine's key cannot be read.",
                "Check c.MistralExtension.engine_key_file in jupyter_server_config.py.",
            ) from None


class Upstream:
    """The HTTP client of one engine; must be closed."""

    def __init__(self, address: Address, key: Key) -> None:
        self.address, self._key = address, key
        self._client: httpx.AsyncClient | None = None

    def _http(self) -> httpx.AsyncClient:
        if self._client is None:
            import httpx

            transport = httpx.AsyncHTTPTransport(
                # the certificates of this machine, which may include an organization's own
                verify=ssl.create_default_context() if self.address.is_encrypted else False,
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=8, keepalive_expiry=15),
                socket_options=_keep_alive(),
            )
            self._client = httpx.AsyncClient(
                transport=transport,
                timeout=httpx.Timeout(CONNECT_S, read=None, write=30.0, pool=None),
                trust_env=False,
                follow_redirects=False,
            )
        return self._client

    async def ask(self, method: str, path: str, body: Any = None, *, within_s: float = 10.0) -> dict[str, Any]:
        """A small JSON reply. Raises `ErrorReply`, `Unreachable`."""
        try:
            return await asyncio.wait_for(self._ask(method, path, body), within_s)
        except asyncio.TimeoutError:
            raise Unreachable(f"no answer within {within_s:.0f} s") from None

    async def _ask(self, method: str, path: str, body: Any) -> dict[str, Any]:
        async with self._sent(method, path, body) as response:
            raw = await _read(response)
        data = _json(raw)
        if data is None:
            raise ErrorReply(200, "it did not reply with JSON")
        return data

    async def stream(self, path: str, body: Any) -> AsyncGenerator[dict[str, Any], None]:
        """The data of server-sent events up to `[DONE]` or the end of the body. Closing the stream closes the connection. Raises as `ask`."""
        async with self._sent("POST", path, body) as response, contextlib.aclosing(_lines(response)) as lines:
            async for line in lines:
                if not line.startswith(b"data:"):
                    continue
                data = line[5:].strip()
                if data == b"[DONE]":
                    return
                chunk = _json(data)
                if chunk is None:
                    raise Unreachable("it sent an invalid reply")
                yield chunk

    @contextlib.asynccontextmanager
    async def _sent(self, method: str, path: str, body: Any) -> AsyncGenerator[httpx.Response, None]:
        import httpx

        key = self._key.read()
        headers = {"Accept-Encoding": "identity", "User-Agent": "jupyter-mistral"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        content = (
            None if body is None else json.dumps(body, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
        )
        if content is not None:
            headers["Content-Type"] = "application/json"
        try:
            request = self._http().build_request(method, self.address.root + path, content=content, headers=headers)
            response = await self._http().send(request, stream=True)
            try:
                if response.status_code != 200:
                    raise await _error_reply(response, key)
                yield response
            finally:
                await response.aclose()
        except (httpx.ConnectError, httpx.ConnectTimeout):
            raise Unreachable("it cannot be reached") from None
        except httpx.HTTPError as error:
            raise Unreachable(f"the connection broke ({type(error).__name__})") from None
        except (httpx.InvalidURL, UnicodeError, ValueError):
            # httpx quotes the header that it cannot send
            raise Unreachable("the request could not be sent; check engine_url and the key") from None

    def clean(self, text: str) -> str:
        """An engine's error message, shortened and without the key."""
        return _clean(text, self._key.read())

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


def positive_int(data: Any, key: str) -> int:
    """A count in an engine's reply; 0 if it is missing or invalid."""
    value = data.get(key) if isinstance(data, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**53 else 0


def _keep_alive() -> list[tuple[int, int, int]]:
    """Socket options that detect a lost peer within about half a minute."""
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
    limits = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 30_000}
    return options + [
        (socket.IPPROTO_TCP, getattr(socket, name), value) for name, value in limits.items() if hasattr(socket, name)
    ]


async def _lines(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    rest = b""
    async for piece in response.aiter_bytes():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line
        if len(rest) > MAX_LINE_BYTES:
            raise Unreachable("it sent an invalid reply")
    if rest:
        yield rest


async def _read(response: httpx.Response) -> bytes:
    raw = b""
    async for piece in response.aiter_bytes():
        raw += piece
        if len(raw) > MAX_REPLY_BYTES:
            raise Unreachable("its reply is too large")
    return raw


def _json(raw: bytes) -> dict[str, Any] | None:
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


async def _error_reply(response: httpx.Response, key: str) -> ErrorReply:
    body = _json(await _read(response)) or {}
    error = body.get("error", body)
    words = error.get("message") if isinstance(error, Mapping) else error
    kind = error.get("type") if isinstance(error, Mapping) else ""
    return ErrorReply(
        response.status_code,
        _clean(str(words or body.get("detail") or ""), key),
        str(kind or ""),
        _seconds(response.headers.get("Retry-After")),
    )


def _clean(text: str, key: str) -> str:
    text = text.replace(key, "…") if key else text
    return " ".join(text.split())[:MAX_WORDS]


def _seconds(retry_after: str | None) -> float | None:
    """`Retry-After`: seconds, or a date."""
    if not retry_after:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time())
    except (ValueError, TypeError, OverflowError):
        return None
