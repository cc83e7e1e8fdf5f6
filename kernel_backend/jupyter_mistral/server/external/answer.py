"""One request to an engine elsewhere and the events that come back: tried again while it is busy, watched while it is silent."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

from ...protocol.events import CallPiece, Delta, End, Event, Loading, Usage
from ...protocol.failures import Failure
from .http import Gone, Refused, Upstream

BUSY = (408, 429, 500, 502, 503, 504, 529)
_TOO_LONG = ("context length", "context size", "context_length", "maximum context", "exceed_context", "too many tokens")


@dataclass(frozen=True)
class Patience:
    """Seconds, but for `tries`. A silent engine is told of after `told_s`; after `checked_s` it must answer another question
    within `alive_s`; after `most_s` it is given up. Waiting for a busy one: `wait_s` for all tries together."""

    told_s: float = 10.0
    checked_s: float = 30.0
    alive_s: float = 10.0
    most_s: float = 900.0
    tail_s: float = 5.0
    tries: int = 6
    first_wait_s: float = 0.5
    wait_s: float = 60.0


def failure_of(error: Refused | Gone, host: str) -> Failure:
    """What went wrong at `host`, told for the user."""
    if isinstance(error, Gone):
        return Failure(
            "engine_unreachable",
            f"The engine at {host} does not answer: {error}.",
            "Ask again; your admin set its address (c.MistralExtension.engine_url).",
        )
    words = f" It said: {error.words}" if error.words else ""
    if any(mark in f"{error.words} {error.kind}".lower() for mark in _TOO_LONG):
        return Failure(
            "context_too_long",
            f"The prompt is longer than the model at {host} holds.{words}",
            "Shorten it, or start a new chat.",
            "messages",
        )
    if error.status in (401, 403):
        return Failure(
            "engine_refused",
            f"The engine at {host} refuses our key.",
            "Your admin sets it: engine_key_file, or JUPYTER_MISTRAL_ENGINE_KEY.",
        )
    if error.status == 200:
        return Failure(
            "engine_refused",
            f"What answers at {host} is no engine with an OpenAI API: {error.words}.",
            "Your admin set its address (c.MistralExtension.engine_url).",
        )
    if error.status == 404:
        return Failure(
            "engine_refused",
            f"The engine at {host} has no such model or address.{words}",
            "`%mistral models` lists its models.",
        )
    if error.status in (429, 529):
        return Failure("busy", f"The engine at {host} is busy.{words}", "Try again in a few seconds.")
    if error.status < 500:
        return Failure("bad_request", f"The engine at {host} refused the request.{words}", "Change the request.")
    return Failure(
        "engine_refused",
        f"The engine at {host} failed (HTTP {error.status}).{words}",
        "Ask again; its own log has the reason.",
    )


class Answer:
    """An answer under way; what its `Usage` says is the engine's own count, or ours by `count` where it tells none."""

    def __init__(self, upstream: Upstream, patience: Patience, model: str, context_length: int) -> None:
        self._upstream, self._patience = upstream, patience
        self._model, self._context_length = model, context_length
        self._host = upstream.address.host
        self._texts: list[str] = []
        self._begun = self._first = self._last = 0.0
        self._told: Mapping[str, Any] | None = None
        self._reason = ""

    async def events(
        self,
        path: str,
        body: Mapping[str, Any],
        read: Callable[[Mapping[str, Any]], Iterator[Event]],
        count: Callable[[str], Awaitable[int]],
        *,
        is_patient: bool = True,
    ) -> AsyncGenerator[Event, None]:
        """Ask and yield events up to the `End`; raises one `Failure` instead of an end."""
        async with contextlib.aclosing(self._tried(path, body, is_patient)) as chunks:
            async for chunk in chunks:
                if isinstance(chunk, Loading):
                    yield chunk
                    continue
                for event in self._understood(chunk, read):
                    if isinstance(event, End):
                        self._reason = event.reason
                        continue
                    self._felt(event)
                    yield event
        if not self._reason:
            raise self._broke("it ended in the middle")
        yield End(_reason(self._reason), await self._usage(count))

    def _understood(
        self, chunk: Mapping[str, Any], read: Callable[[Mapping[str, Any]], Iterator[Event]]
    ) -> list[Event]:
        error = chunk.get("error")
        if error:
            raise self._refused(error)
        told = chunk.get("usage") or _of_infill(chunk)
        if isinstance(told, dict):
            self._told = told
        try:
            return list(read(chunk))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            raise self._broke("it sent something that is no answer") from None

    def _felt(self, event: Event) -> None:
        if isinstance(event, (Delta, CallPiece)):
            self._texts.append(event.text if isinstance(event, Delta) else event.name + event.arguments)
            self._last = monotonic()
            self._first = self._first or self._last

    # ------------------------------------------------------------------------------------------ trying and watching

    async def _tried(
        self, path: str, body: Mapping[str, Any], is_patient: bool
    ) -> AsyncGenerator[Mapping[str, Any] | Loading, None]:
        """Chunks; before the first of them a busy or absent engine is asked again, for a while."""
        waited = 0.0
        for attempt in range(1, self._patience.tries + 1):
            self._begun, is_begun = monotonic(), False
            try:
                async with contextlib.aclosing(self._watched(path, body)) as chunks:
                    async for chunk in chunks:
                        is_begun = is_begun or not isinstance(chunk, Loading)
                        yield chunk
                return
            except (Refused, Gone) as error:
                if self._reason:
                    return  # all of the answer had come
                if is_begun:
                    raise self._broke(str(error)) from None
                wait = self._wait(error, attempt)
                if not is_patient or wait is None or waited + wait > self._patience.wait_s:
                    raise failure_of(error, self._host) from None
                waited += wait
                yield Loading("warm", None, f"{self._host}: {_short(error)}; asked again in {wait:.0f} s", wait)
            await asyncio.sleep(wait)

    def _wait(self, error: Refused | Gone, attempt: int) -> float | None:
        """Seconds until the next try, None where there is none."""
        most = 2 if isinstance(error, Refused) and error.status == 500 else self._patience.tries
        if attempt >= most or (isinstance(error, Refused) and error.status not in BUSY):
            return None
        asked = error.retry_after_s if isinstance(error, Refused) else None
        # a little at random, so that those who were refused together do not come back together
        own: float = self._patience.first_wait_s * 2 ** (attempt - 1) * random.uniform(0.8, 1.2)  # noqa: S311  # no secret
        return own if asked is None else max(asked, own)

    async def _watched(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[Mapping[str, Any] | Loading, None]:
        """Chunks, and a word about silence. An engine that is silent for long must answer something else, or it is gone."""
        patience, quiet = self._patience, 0.0
        async with contextlib.aclosing(self._upstream.stream(path, body)) as chunks:
            pending = asyncio.ensure_future(anext(chunks))
            try:
                while True:
                    limit = patience.tail_s if self._reason else patience.told_s
                    done, _ = await asyncio.wait({pending}, timeout=limit)
                    if done:
                        yield pending.result()
                        quiet, pending = 0.0, asyncio.ensure_future(anext(chunks))
                        continue
                    if self._reason:
                        return  # usage may follow the end, but need not
                    quiet += limit
                    if quiet >= patience.most_s:
                        raise Gone(f"it said nothing for {quiet:.0f} s")
                    yield Loading("warm", None, f"{self._host} has said nothing for {quiet:.0f} s")
                    if quiet >= patience.checked_s:
                        await self._check(quiet)
            except StopAsyncIteration:
                return
            finally:
                pending.cancel()
                await asyncio.gather(pending, return_exceptions=True)

    async def _check(self, quiet: float) -> None:
        try:
            await self._upstream.ask("GET", "/v1/models", within_s=self._patience.alive_s)
        except (Refused, Gone):
            raise Gone(f"it said nothing for {quiet:.0f} s and answers nothing else") from None

    # ------------------------------------------------------------------------------------------ ends

    def _broke(self, why: str) -> Failure:
        return Failure(
            "engine_died", f"The answer broke off: the engine at {self._host} went away ({why}).", "Ask again."
        )

    def _refused(self, error: Any) -> Failure:
        told = error if isinstance(error, Mapping) else {"message": error}
        code = told.get("code")
        status = code if isinstance(code, int) else 500
        words = self._upstream.clean(str(told.get("message") or ""))
        failure = failure_of(Refused(status, words, str(told.get("type") or "")), self._host)
        return self._broke(words or "it failed") if self._texts and failure.code == "engine_refused" else failure

    async def _usage(self, count: Callable[[str], Awaitable[int]]) -> Usage:
        now = monotonic()
        told = self._told or {}
        try:
            usage = Usage.of_dict({k: v for k, v in told.items() if k != "mistral"})
            ours = told.get("mistral") or {}
            model, seed = str(ours.get("model") or self._model), ours.get("seed")
        except (AttributeError, TypeError, ValueError, OverflowError):  # counts that are none
            usage, model, seed = Usage(), self._model, None
        completion = usage.completion_tokens or (await count("".join(self._texts)) if self._texts else 0)
        to_first = (self._first or now) - self._begun
        read, wrote = usage.prompt_tokens - usage.cached_tokens, self._last - self._first
        return Usage(
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=completion,
            cached_tokens=usage.cached_tokens,
            time_to_first_token_s=round(to_first, 4),
            tokens_per_second=round((completion - 1) / wrote, 2) if wrote > 0 and completion > 1 else 0.0,
            prefill_tokens_per_second=round(read / to_first, 1) if to_first > 0 and read > 0 else 0.0,
            seconds=round(now - self._begun, 4),
            model=model,
            seed=seed if isinstance(seed, int) and not isinstance(seed, bool) else None,
            context_length=self._context_length,
        )

    @property
    def tells_prefix(self) -> bool | None:
        """Whether the engine said how much of the prompt it had read before; None where it told no usage at all."""
        if self._told is None:
            return None
        details = self._told.get("prompt_tokens_details")
        return isinstance(details, dict) and isinstance(details.get("cached_tokens"), int)


def _of_infill(chunk: Mapping[str, Any]) -> dict[str, Any] | None:
    """Usage in llama.cpp's own words."""
    if "tokens_predicted" not in chunk or not chunk.get("stop"):
        return None
    reused = (chunk.get("timings") or {}).get("cache_n", 0)
    told = {"prompt_tokens": chunk.get("tokens_evaluated", 0), "completion_tokens": chunk["tokens_predicted"]}
    return {**told, "prompt_tokens_details": {"cached_tokens": reused}}


def _short(error: Refused | Gone) -> str:
    return str(error) if isinstance(error, Gone) else f"busy ({error})" if error.status in (429, 529) else str(error)


def _reason(told: str) -> Any:
    return told if told in ("length", "tool_calls") else "stop"
