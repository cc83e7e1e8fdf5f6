"""Failures of an external engine as sentences for the user."""

from __future__ import annotations

from ...protocol.failures import Failure
from .http import ErrorReply, Unreachable

_TOO_LONG = ("context length", "context size", "context_length", "maximum context", "exceed_context", "too many tokens")
_SETTING = "An admin set its address (c.MistralExtension.engine_url)."


def failure_of(error: ErrorReply | Unreachable, host: str) -> Failure:
    if isinstance(error, Unreachable):
        return Failure(
            "engine_unreachable", f"The engine at {host} does not answer: {error}.", f"Try again. {_SETTING}"
        )
    words = f" It replied: {error.words}" if error.words else ""
    if any(mark in f"{error.words} {error.kind}".lower() for mark in _TOO_LONG):
        return Failure(
            "context_too_long",
            f"The prompt is longer than the context of the model at {host}.{words}",
            "Shorten it, or start a new chat.",
            "messages",
        )
    if error.status == 200:
        return Failure("engine_refused", f"The server at {host} has no OpenAI-compatible API: {error.words}.", _SETTING)
    return _of_status(error.status, host, words)


def _of_status(status: int, host: str, words: str) -> Failure:
    if status in (401, 403):
        return Failure(
            "engine_refused",
            f"The engine at {host} rejects the API key.",
            "An admin can set another: engine_key_file, or JUPYTER_MISTRAL_ENGINE_KEY.",
        )
    if status == 404:
        return Failure(
            "engine_refused",
            f"The engine at {host} has no such model or address.{words}",
            "`%mistral models` lists its models.",
        )
    if status in (429, 529):
        return Failure("busy", f"The engine at {host} is busy.{words}", "Try again in a few seconds.")
    if status < 500:
        return Failure("bad_request", f"The engine at {host} rejected the request.{words}", "Change the request.")
    return Failure(
        "engine_refused", f"The engine at {host} failed (HTTP {status}).{words}", "Try again, or see the engine's log."
    )
