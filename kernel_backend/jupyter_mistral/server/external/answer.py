"""One request to an external engine and its events: retried while the engine is busy, watched while it sends nothing."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from time import monotonic
from typing import Any

from ...protocol.events import CallPiece, Delta, End, Event, Loading, Usage
from ...protocol.failures import Failure
from .config import Patience
from .failures import failure_of
from .http import ErrorReply, Unreachable, Upstream

BUSY = (408, 429, 500, 502, 503, 504, 529)


class Answer:
    """An answer in progress. Its `Usage` has the engine's own token counts, or those of `count` if the engine reports none."""

    def __init__(self, upstream: Upstream, patience: Patience, model: str, context_length: int) -> None:
        self._upstream, self._patience = upstream, patience
        self._model, self._context_length = model, context_length
        self._host = upstream.address.host
        self._texts: list[str] = []
        self._started = self._first = self._last = 0.0
        self._usage_sent: Mapping[str, Any] | None = None
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
        """Send the request and yield events up to the `End`. Raises a `Failure` instead of an end."""
        async with contextlib.aclosing(self._retried(path, body, is_patient)) as chunks:
            async for chunk in chunks:
                if isinstance(chunk, Loading):
                    yield chunk
                    continue
                for event in self._events_of(chunk, read):
                    if isinstance(event, End):
                        self._reason = event.reason
                        continue
                    self._note(event)
                    yield event
        if not self._reason:
            raise self._interrupted("the stream ended early")
        yield End(_reason(self._reason), await self._usage(count))

    def _events_of(self, chunk: Mapping[str, Any], read: Callable[[Mapping[str, Any]], Iterator[Event]]) -> list[Event]:
        error = chunk.get("error")
        if error:
            raise self._failure_of(error)
        usage = chunk.get("usage") or _infill_usage(chunk)
        if isinstance(usage, dict):
            self._usage_sent = usage
        try:
            return list(read(chunk))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            raise self._interrupted("it sent an invalid reply") from None

    def _note(self, event: Event) -> None:
        if isinstance(event, (Delta, CallPiece)):
            self._texts.append(event.text if isinstance(event, Delta) else event.name + event.arguments)
            self._last = monotonic()
            self._first = self._first or self._last

    # ------------------------------------------------------------------------------------------ retries and timeouts

    async def _retried(
        self, path: str, body: Mapping[str, Any], is_patient: bool
    ) -> AsyncGenerator[Mapping[str, Any] | Loading, None]:
        """Chunks. Before the first of them, retries while the engine is busy or unreachable."""
        waited = 0.0
        for attempt in range(1, self._patience.tries + 1):
            self._started, has_begun = monotonic(), False
            try:
                async with contextlib.aclosing(self._watched(path, body)) as chunks:
                    async for chunk in chunks:
                        has_begun = has_begun or not isinstance(chunk, Loading)
                        yield chunk
                return
            except (ErrorReply, Unreachable) as error:
                if self._reason:
                    return  # the answer was complete
                if has_begun:
                    raise self._interrupted(str(error)) from None
                wait = self._wait(error, attempt)
                if not is_patient or wait is None or waited + wait > self._patience.retry_s:
                    raise failure_of(error, self._host) from None
                waited += wait
                yield Loading("warm", None, f"{self._host}: {_short(error)}; retrying in {wait:.0f} s", wait)
            await asyncio.sleep(wait)

    def _wait(self, error: ErrorReply | Unreachable, attempt: int) -> float | None:
        """Seconds until the next try; None to give up."""
        tries = 2 if isinstance(error, ErrorReply) and error.status == 500 else self._patience.tries
        if attempt >= tries or (isinstance(error, ErrorReply) and error.status not in BUSY):
            return None
        retry_after = error.retry_after_s if isinstance(error, ErrorReply) else None
        # random, so that requests that were rejected together are not retried together
        backoff: float = self._patience.first_wait_s * 2 ** (attempt - 1) * random.uniform(0.8, 1.2)  # noqa: S311  # no secret
        return backoff if retry_after is None else max(retry_after, backoff)

    async def _watched(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[Mapping[str, Any] | Loading, None]:
        """Chunks, and progress while the engine sends nothing; then it must answer another request to count as alive."""
        patience, silent_s = self._patience, 0.0
        async with contextlib.aclosing(self._upstream.stream(path, body)) as chunks:
            pending = asyncio.ensure_future(anext(chunks))
            try:
                while True:
                    limit = patience.usage_s if self._reason else patience.report_s
                    done, _ = await asyncio.wait({pending}, timeout=limit)
                    if done:
                        yield pending.result()
                        silent_s, pending = 0.0, asyncio.ensure_future(anext(chunks))
                        continue
                    if self._reason:
                        return  # an engine need not send its usage after the end
                    silent_s += limit
                    if silent_s >= patience.give_up_s:
                        raise Unreachable(f"it sent nothing for {silent_s:.0f} s")
                    yield Loading("warm", None, f"{self._host} has sent nothing for {silent_s:.0f} s")
                    if silent_s >= patience.check_s:
                        await self._check(silent_s)
            except StopAsyncIteration:
                return
            finally:
                pending.cancel()
                await asyncio.gather(pending, return_exceptions=True)

    async def _check(self, silent_s: float) -> None:
        try:
            await self._upstream.ask("GET", "/v1/models", within_s=self._patience.alive_s)
        except (ErrorReply, Unreachable):
            raise Unreachable(f"it sent nothing for {silent_s:.0f} s and does not answer other requests") from None

    # ------------------------------------------------------------------------------------------ ends

    def _interrupted(self, reason: str) -> Failure:
        return Failure(
            "engine_died", f"The answer is incomplete: the engine at {self._host} stopped ({reason}).", "Try again."
        )

    def _failure_of(self, error: Any) -> Failure:
        """For an error that the engine sent as a chunk."""
        fields = error if isinstance(error, Mapping) else {"message": error}
        code = fields.get("code")
        status = code if isinstance(code, int) else 500
        words = self._upstream.clean(str(fields.get("message") or ""))
        failure = failure_of(ErrorReply(status, words, str(fields.get("type") or "")), self._host)
        return self._interrupted(words or "it failed") if self._texts and failure.code == "engine_refused" else failure

    async def _usage(self, count: Callable[[str], Awaitable[int]]) -> Usage:
        now = monotonic()
        usage, model, seed = self._reported()
        completion = usage.completion_tokens or (await count("".join(self._texts)) if self._texts else 0)
        to_first = (self._first or now) - self._started
        prefilled, decode_s = usage.prompt_tokens - usage.cached_tokens, self._last - self._first
        return Usage(
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=completion,
            cached_tokens=usage.cached_tokens,
            time_to_first_token_s=round(to_first, 4),
            tokens_per_second=round((completion - 1) / decode_s, 2) if decode_s > 0 and completion > 1 else 0.0,
            prefill_tokens_per_second=round(prefilled / to_first, 1) if to_first > 0 and prefilled > 0 else 0.0,
            seconds=round(now - self._started, 4),
            model=model,
            seed=seed if isinstance(seed, int) and not isinstance(seed, bool) else None,
            context_length=self._context_length,
        )

    def _reported(self) -> tuple[Usage, str, Any]:
        """The engine's usage, and the model and seed if it is another Jupyter Mistral."""
        fields = self._usage_sent or {}
        try:
            usage = Usage.of_dict({name: value for name, value in fields.items() if name != "mistral"})
            extras = fields.get("mistral") or {}
            return usage, str(extras.get("model") or self._model), extras.get("seed")
        except (AttributeError, TypeError, ValueError, OverflowError):  # invalid counts
            return Usage(), self._model, None

    @property
    def reports_cached_tokens(self) -> bool | None:
        """Whether the engine reports how much of the prompt was cached; None if it sent no usage at all."""
        if self._usage_sent is None:
            return None
        details = self._usage_sent.get("prompt_tokens_details")
        return isinstance(details, dict) and isinstance(details.get("cached_tokens"), int)


def _infill_usage(chunk: Mapping[str, Any]) -> dict[str, Any] | None:
    """Usage in llama.cpp's own format."""
    if "tokens_predicted" not in chunk or not chunk.get("stop"):
        return None
    cached = (chunk.get("timings") or {}).get("cache_n", 0)
    counts = {"prompt_tokens": chunk.get("tokens_evaluated", 0), "completion_tokens": chunk["tokens_predicted"]}
    return {**counts, "prompt_tokens_details": {"cached_tokens": cached}}


def _short(error: ErrorReply | Unreachable) -> str:
    return (
        str(error)
        if isinstance(error, Unreachable)
        else f"busy ({error})"
        if error.status in (429, 529)
        else str(error)
    )


def _reason(finish_reason: str) -> Any:
    return finish_reason if finish_reason in ("length", "tool_calls") else "stop"
