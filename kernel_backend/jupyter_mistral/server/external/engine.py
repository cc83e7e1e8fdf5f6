"""The engine interface for an external engine: vLLM, SGLang, llama.cpp, Ollama, MLX, or another Jupyter Mistral.

Loads nothing and does not need torch. The engine has its own queue; `max_queue` only bounds the requests sent to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Iterator, Sequence
from time import monotonic
from typing import Any

from ..._version import __version__
from ...protocol.conversation import Message
from ...protocol.events import Embeddings, End, Event, Loading, Usage
from ...protocol.failures import Failure
from ...protocol.requests import ChatRequest, CompletionRequest, EmbeddingRequest
from ...protocol.status import ModelCard, Seal, Status
from ..inference.base import Prompter, Target
from ..inference.read_in_parts import answered
from . import capabilities, probes
from .answer import Answer
from .capabilities import PROGRAMS, ServedModel
from .chunks import ChatChunks
from .config import ExternalConfig
from .embeddings import embed
from .engine_token_counts import ExternalCounts
from .failures import failure_of
from .http import Address, ErrorReply, Unreachable, Upstream
from .requests import chat_body, completion

# a status within this time of the engine's last reply does not ask it again
FRESH_S = 10.0
STATUS_TIMEOUT_S = 3.0
# failures of the engine itself, which the status shows
ENGINE_FAILURES = ("engine_unreachable", "engine_refused", "engine_died", "unknown_model")


class ExternalEngine:
    """One external engine, and the model of it that `load` chooses."""

    def __init__(self, config: ExternalConfig, prompter: Prompter, log: logging.Logger) -> None:
        self._config, self._prompter, self._log = config, prompter, log
        self._upstream = Upstream(Address.of_url(config.url), config.key)
        self._counts = ExternalCounts(self._upstream, config.tokenizer)
        self._chosen = config.model
        self._served: ServedModel | None = None
        self._others: dict[str, ServedModel] = {}
        self._failure: Failure | None = None
        self._checked_at = float("-inf")
        self._running = 0
        self._last_usage: Usage | None = None
        self._reports_cached_tokens: bool | None = None
        self._follows_schema: bool | None = None

    # ------------------------------------------------------------------------------------------ models

    @property
    def host(self) -> str:
        return self._upstream.address.host

    @property
    def model(self) -> str:
        return self._served.card.name if self._served is not None else self._chosen or "default"

    @property
    def is_busy(self) -> bool:
        return bool(self._running)

    async def served(self, name: str | None) -> ServedModel:
        """A model of the engine, discovered at its first use. Raises `Failure`."""
        name = self._resolved(name)
        if self._served is not None and name in ("", self._served.card.name):
            return self._served
        if name in self._others:
            return self._others[name]
        served = await self._discover(name)
        if name == self._chosen:
            self._served = served
        else:
            self._others[served.card.name] = served
        return served

    def _resolved(self, name: str | None) -> str:
        return self._chosen if name is None or name == "default" else name

    async def _discover(self, name: str) -> ServedModel:
        try:
            served = await capabilities.discover(self._upstream, name, self._config.context_length)
        except KeyError:
            raise self._noted(await self._unknown_model(name)) from None
        except (ErrorReply, Unreachable) as error:
            raise self._noted(failure_of(error, self.host)) from None
        self._mark_reachable()
        self._log.info("mistral: the engine at %s is %s", self.host, PROGRAMS[served.kind])
        return served

    async def _unknown_model(self, name: str) -> Failure:
        names = ", ".join(row["id"] for row in await capabilities.names_of(self._upstream))
        return Failure(
            "unknown_model",
            f"The engine at {self.host} has no model {name!r}.",
            f"Its models: {names[:500]}.",
            "model",
        )

    def _mark_reachable(self) -> None:
        self._failure, self._checked_at = None, monotonic()

    def _noted(self, failure: Failure) -> Failure:
        """Keep a failure of the engine itself for the status. Forget its models: it may come back as another engine."""
        if failure.code in ENGINE_FAILURES:
            self._failure, self._checked_at = failure, monotonic()
            self._forget_models()
        return failure

    def _forget_models(self) -> None:
        self._served, self._follows_schema = None, None
        self._others.clear()

    # ------------------------------------------------------------------------------------------ requests

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """Answer a chat request. The notebook gets into the prompt as for a local model."""
        request = await self._prompter.checked(request)
        with self._slot():
            served = await self._served_with_retries(request.model, request.extras.if_busy == "refuse")
            await self._refuse_unsupported(request, served)

            def send(part: ChatRequest, messages: Sequence[Message]) -> AsyncGenerator[Event, None]:
                return self._send_chat(part, messages, served)

            target = self._counts.target(served)
            async with contextlib.aclosing(answered(request, target, self._prompter, send)) as events:
                async for event in events:
                    yield event

    def _send_chat(
        self, request: ChatRequest, messages: Sequence[Message], served: ServedModel
    ) -> AsyncGenerator[Event, None]:
        body = chat_body(request, tuple(messages), served) | {"model": self._sent_name(request.model, served)}
        answer = self._answer(served)
        events = answer.events(
            "/v1/chat/completions",
            body,
            ChatChunks(self.host, request),
            lambda text: self._counts.text(served, text),
            is_patient=request.extras.if_busy == "wait",
        )
        return self._followed(events, answer)

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Event, None]:
        """Continue a prompt, up to its suffix if the engine supports that."""
        with self._slot():
            is_ghost = request.if_busy == "refuse"
            served = await self._served_with_retries(request.model, is_ghost)
            if request.suffix and not served.fim and not is_ghost:
                raise Failure(
                    "unsupported",
                    f"{served.card.name} at {self.host} does not support fill in the middle.",
                    "Use a chat instead.",
                    "suffix",
                )
            answer = self._answer(served)
            path, body, read = completion(request, served, self.host)
            body |= {"model": self._sent_name(request.model, served)}
            events = answer.events(
                path, body, read, lambda text: self._counts.text(served, text), is_patient=request.if_busy == "wait"
            )
            async for event in self._followed(events, answer):
                yield event

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """Embeddings, if the engine supports them."""
        with self._slot():
            served = await self.served(request.model)
            try:
                return await embed(self._upstream, request, served.card.name)
            except Failure as failure:
                raise self._noted(failure) from None

    def _answer(self, served: ServedModel) -> Answer:
        return Answer(self._upstream, self._config.patience, served.card.name, served.card.context_length)

    def _sent_name(self, name: str | None, served: ServedModel) -> str:
        """`default` for another Jupyter Mistral if the user chose no model, so that it keeps the one it has loaded."""
        keeps_model = served.kind == "mistral" and not self._chosen and name in (None, "default")
        return "default" if keeps_model else served.card.name

    async def _followed(self, events: AsyncGenerator[Event, None], answer: Answer) -> AsyncGenerator[Event, None]:
        """The events, noting for the status how the answer ended."""
        try:
            async with contextlib.aclosing(events):
                async for event in events:
                    if isinstance(event, End):
                        self._note_end(event.usage, answer)
                    yield event
        except Failure as failure:
            raise self._noted(failure) from None

    def _note_end(self, usage: Usage, answer: Answer) -> None:
        self._last_usage, self._reports_cached_tokens = usage, answer.reports_cached_tokens
        self._mark_reachable()
        if self._served is not None and usage.model not in (self._served.card.name, *self._others):
            self._served = None  # the engine has loaded another model

    @contextlib.contextmanager
    def _slot(self) -> Iterator[None]:
        """Raises `Failure("busy")` if too many requests are running."""
        if self._running > self._config.max_queue:
            raise Failure("busy", f"{self._running} requests are already running.", "Try again in a few seconds.")
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    async def _served_with_retries(self, name: str | None, refuses_to_wait: bool) -> ServedModel:
        """As `served`, but waits a little for an engine that is just starting."""
        wait_s = self._config.patience.first_wait_s
        longest_s = 8 * wait_s
        while True:
            try:
                return await self.served(name)
            except Failure as failure:
                may_retry = failure.code in ("engine_unreachable", "busy") and not refuses_to_wait
                if not may_retry or wait_s > longest_s:
                    raise
            await asyncio.sleep(wait_s)
            wait_s *= 2

    async def _refuse_unsupported(self, request: ChatRequest, served: ServedModel) -> None:
        """Raises `Failure` for images or a JSON schema that the engine does not support."""
        if any(message.images for message in request.messages) and "image" not in served.card.can:
            raise Failure(
                "unsupported",
                f"{served.card.name} at {self.host} cannot see images.",
                "Ask without the image.",
                "messages",
            )
        if request.form.kind != "json" or request.form.schema is None or served.kind == "mistral":
            return
        if self._follows_schema is None:
            try:
                self._follows_schema = await probes.follows_schema(self._upstream, served.card.name)
            except (ErrorReply, Unreachable) as error:
                raise self._noted(failure_of(error, self.host)) from None
        if not self._follows_schema:
            raise Failure(
                "unsupported",
                f"The engine at {self.host} ignored a JSON schema when it was tested.",
                "Ask without a schema, or use vLLM, SGLang or llama.cpp.",
                "response_format",
            )

    # ------------------------------------------------------------------------------------------ loading

    async def target(self, name: str | None) -> Target:
        return self._counts.target(await self.served(name))

    async def load(
        self,
        name: str | None,
        *,
        download: bool = False,
        kv: str | None = None,
        adapter: str | None = None,
        spill: bool | None = None,
    ) -> AsyncGenerator[Loading, None]:
        """Discover the engine again and choose this model. The engine itself decides where the model runs."""
        yield Loading("load", None, f"checking what the engine at {self.host} supports")
        name = self._resolved(name)
        self._forget_models()
        self._served = await self._discover(name)
        self._chosen = self._served.card.name if name else ""

    async def unload(self) -> None:
        """Always raises: the model belongs to the engine."""
        raise Failure(
            "unsupported",
            f"The model runs on the external engine at {self.host} and cannot be unloaded from here.",
            "Stop that engine instead.",
        )

    async def park(self) -> None:
        """Always raises, as `unload`."""
        await self.unload()

    async def close(self) -> None:
        await self._upstream.close()

    # ------------------------------------------------------------------------------------------ status

    async def status(self) -> Status:
        await self._check()
        shown = self._shown
        state = "failed" if self._failure is not None else "unloaded" if shown is None else "ready"
        return Status(
            version=__version__,
            state=state,  # type: ignore[arg-type]  # one of the three
            default_model=self._chosen or self.model,
            model=shown.card if shown is not None else None,
            running=self._running,
            seal=Seal("outside", False, self._upstream.address.words),
            last=self._last_usage,
            failure=self._failure.to_dict() if self._failure is not None else None,
            engine=self._to_dict(),
        )

    @property
    def _shown(self) -> ServedModel | None:
        """The model in the status: the chosen one, else the latest that was used."""
        return self._served or next(reversed(self._others.values()), None)

    async def _check(self) -> None:
        """Ask the engine for its models, unless it replied recently."""
        if self._running or monotonic() - self._checked_at < FRESH_S:
            return
        self._checked_at = monotonic()
        try:
            await capabilities.names_of(self._upstream, STATUS_TIMEOUT_S)
            self._failure = None
        except (ErrorReply, Unreachable) as error:
            self._noted(failure_of(error, self.host))

    def _to_dict(self) -> dict[str, Any]:
        """What is known about the engine; None for what is not known yet."""
        shown = self._shown
        words = {None: None, True: "told", False: "not told"}
        return {
            "host": self.host,
            "where": self._upstream.address.words,
            "program": PROGRAMS[shown.kind] if shown is not None else None,
            "tokens": None if shown is None else "exact" if self._counts.is_exact(shown) else "estimated",
            "prefix": words[self._reports_cached_tokens],
            "images": None if shown is None else "image" in shown.card.can,
            "fill_in_the_middle": None if shown is None else bool(shown.fim),
            "json_schema": self._follows_schema,
            "notes": list(shown.notes) if shown is not None else [],
        }

    async def cards(self) -> list[ModelCard]:
        """The engine's models, the chosen one first."""
        try:
            chosen = await self.served(None)
        except Failure:
            return []
        others = [name for name in chosen.names if name != chosen.card.name]
        known = {name: self._others[name].card for name in others if name in self._others}
        return [chosen.card, *(known.get(name) or ModelCard(name, can=()) for name in others)]

    async def rows(self) -> list[dict[str, Any]]:
        """The engine's models as rows of the catalogue, as `models.listing.rows` has them."""
        return [
            capabilities.row(card, is_default=i == 0, where=self._upstream.address.words)
            for i, card in enumerate(await self.cards())
        ]
