"""The error codes that clients see, and the exception that carries one with its sentences. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# code -> (HTTP status, OpenAI error type); clients may retry after 429 and 503
FAILURES: dict[str, tuple[int, str]] = {
    "bad_request": (400, "invalid_request_error"),
    "unsupported": (400, "invalid_request_error"),
    "context_too_long": (400, "invalid_request_error"),
    "unauthorized": (401, "authentication_error"),
    "forbidden": (403, "permission_error"),
    "unknown_model": (404, "not_found_error"),
    "not_found": (404, "not_found_error"),
    "model_not_on_disk": (409, "not_ready_error"),
    "cancelled": (409, "cancelled_error"),
    "too_large": (413, "invalid_request_error"),
    "busy": (429, "rate_limit_error"),
    "no_memory": (503, "server_error"),
    "corrupt_model": (503, "server_error"),
    "download_failed": (503, "server_error"),
    "engine_missing": (503, "server_error"),
    "engine_died": (503, "server_error"),
    "engine_stopped": (503, "server_error"),
    "engine_unreachable": (503, "server_error"),
    "engine_refused": (503, "server_error"),
    "not_recorded": (503, "server_error"),
    "internal": (500, "server_error"),
}


class Failure(Exception):
    """An error with a `code` of `FAILURES`: `message` says what happened to what, `todo` what to do next, one sentence each."""

    def __init__(self, code: str, message: str, todo: str = "", param: str | None = None) -> None:
        assert code in FAILURES, code
        super().__init__(message)
        self.code, self.message, self.todo, self.param = code, message, todo, param

    @property
    def status(self) -> int:
        return FAILURES[self.code][0]

    def __str__(self) -> str:
        return f"{self.message} {self.todo}".strip()

    def to_dict(self) -> dict[str, Any]:
        """OpenAI's error object plus the field `todo`."""
        kind = FAILURES[self.code][1]
        return {"message": str(self), "type": kind, "code": self.code, "param": self.param, "todo": self.todo}

    @classmethod
    def of_dict(cls, data: Mapping[str, Any]) -> Failure:
        code = data.get("code")
        code = code if isinstance(code, str) and code in FAILURES else "internal"
        todo, message = str(data.get("todo") or ""), str(data.get("message") or "unknown error")
        return cls(code, message.removesuffix(todo).strip() if todo else message, todo, data.get("param"))
