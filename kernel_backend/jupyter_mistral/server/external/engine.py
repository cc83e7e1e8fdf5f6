"""The engine interface over a program elsewhere: vLLM, SGLang, llama.cpp, Ollama, MLX, or another Jupyter Mistral.

Nothing is loaded here and torch is not needed. The engine has a queue of its own; ours only bounds what is under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
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
from ..inference.turns import MAX_QUEUE
from . import capabilities
from .answer import Answer, Patience, failure_of
from .capabilities import Facts
from .chunks import ChatChunks
from .embeddings import embedded
from .http import Address, Gone, Key, Refused, Upstream
from .requests import chat_body, completion
from .token_counts import Counts

FRESH_S = 10.0
STATUS_S = 3.0
AT_ONCE = 8


@dataclass(frozen=True)
class Elsewhere:
    """Where the engine is, as an admin set it. tokenizer: a local tokenizer.json of its model, for exact counts."""

    url: str
    model: str = ""
    key: Key = field(default_factory=Key)
    tokenizer: str = ""
    context_length: int | None = None
    max_queue: int = MAX_QUEUE
    patience: Patience = field(default_factory=Patience)


class ExternalEngine:
    """One engine elsewhere and one model of it, which `load` changes."""

    def __init__(self, elsewhere: Elsewhere, prompter: Prompter, log: logging.Logger) -> None:
        self._elsewhere, self._prompter, self._log = elsewhere, prompter, log
        self._upstream = Upstream(Address.of_url(elsewhere.url), elsewhere.key)
        self._counts = Counts(self._upstream, elsewhere.tokenizer)
        self._chosen = elsewhere.model
        self._facts: Facts | None = None
        self._finding: asyncio.Task[Facts] | None = None
        self._others: dict[str, Facts] = {}
        self._failure: Failure | None = None
        self._seen_at = float("-inf")
        self._running = 0
        self._last: Usage | None = None
        self._tells_prefix: bool | None = None
        self._holds_schema: bool | None = None

    # ------------------------------------------------------------------------------------------ what it is

    @property
    def host(self) -> str:
        return self._upstream.address.host

    @property
    def model(self) -> str:
        return self._facts.card.name if self._facts is not None else self._chosen or "default"

    @property
    def is_busy(self) -> bool:
        return bool(self._running)

    async def _known(self, name: str | None) -> Facts:
        """Facts of a model, found out at its first use. Raises `Failure`."""
        wanted = self._chosen if name in (None, "default") else name
        if self._facts is not None and wanted in ("", self._facts.card.name):
            return self._facts
        if wanted in self._others:
            return self._others[wanted]
        found = await self._found_out(wanted)
        if wanted == self._chosen:
            self._facts = found
        else:
            self._others[found.card.name] = found
        return found

    async def _found_out(self, wanted: str) -> Facts:
        try:
            found = await capabilities.discover(self._upstream, wanted, self._elsewhere.context_length)
        except KeyError:
            rows = ", ".join(row["id"] for row in await capabilities.names_of(self._upstream))
            raise self._noted(
                Failure(
                    "unknown_model",
                    f"The engine at {self.host} has no model {wanted!r}.",
                    f"It has: {rows[:500]}.",
                    "model",
                )
            ) from None
        except (Refused, Gone) as error:
            raise self._noted(failure_of(error, self.host)) from None
        self._failure, self._seen_at = None, monotonic()
        self._log.info("mistral: the engine at %s is %s", self.host, capabilities.PROGRAMS[found.kind])
        return found

    def _noted(self, failure: Failure) -> Failure:
        """Keep for status what went wrong with the engine itself; it may be another one when it comes back."""
        if failure.code in ("engine_unreachable", "engine_refused", "engine_died", "unknown_model"):
            self._failure, self._seen_at = failure, monotonic()
            self._facts, self._holds_schema = None, None
            self._others.clear()
        return failure

    # ------------------------------------------------------------------------------------------ answering

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """Answer a chat request; the notebook is read in as for a model of our own."""
        request = await self._prompter.checked(request)
        with self._place():
            known = await self._patient(request.model, request.extras.if_busy == "refuse")
            await self._refuse_unable(request, known)

            def send(asked: ChatRequest, messages: Sequence[Message]) -> AsyncGenerator[Event, None]:
                body = chat_body(asked, tuple(messages), known) | {"model": self._named(asked.model, known)}
                answer = Answer(self._upstream, self._elsewhere.patience, known.card.name, known.card.context_length)
                events = answer.events(
                    "/v1/chat/completions",
                    body,
                    ChatChunks(self.host, asked),
                    lambda text: self._counts.text(known, text),
                    is_patient=asked.extras.if_busy == "wait",
                )
                return self._followed(events, answer)

            target = self._counts.target(known)
            async with contextlib.aclosing(answered(request, target, self._prompter, send)) as events:
                async for event in events:
                    yield event

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Event, None]:
        """Go on from a prompt (up to its suffix)."""
        with self._place():
            is_ghost = request.if_busy == "refuse"
            known = await self._patient(request.model, is_ghost)
            if request.suffix and not known.fim and not is_ghost:
                raise Failure(
                    "unsupported",
                    f"{known.card.name} at {self.host} cannot fill in the middle.",
                    "Ask in a chat.",
                    "suffix",
                )
            answer = Answer(self._upstream, self._elsewhere.patience, known.card.name, known.card.context_length)
            path, body, read = completion(request, known, self.host)
            body |= {"model": self._named(request.model, known)}
            events = answer.events(
                path, body, read, lambda text: self._counts.text(known, text), is_patient=request.if_busy == "wait"
            )
            async for event in self._followed(events, answer):
                yield event

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """Vectors, where the engine makes them."""
        with self._place():
            known = await self._known(request.model)
            try:
                return await embedded(self._upstream, request, known.card.name)
            except Failure as failure:
                raise self._noted(failure) from None

    def _named(self, name: str | None, known: Facts) -> str:
        """A Jupyter Mistral is not made to change its model by somebody who did not ask for one."""
        is_free = known.kind == "mistral" and not self._chosen and name in (None, "default")
        return "default" if is_free else known.card.name

    async def _followed(self, events: AsyncGenerator[Event, None], answer: Answer) -> AsyncGenerator[Event, None]:
        try:
            async with contextlib.aclosing(events):
                async for event in events:
                    if isinstance(event, End):
                        self._last, self._tells_prefix = event.usage, answer.tells_prefix
                        self._failure, self._seen_at = None, monotonic()
                        if self._facts is not None and event.usage.model not in (self._facts.card.name, *self._others):
                            self._facts = None  # it has another model by now
                    yield event
        except Failure as failure:
            raise self._noted(failure) from None

    @contextlib.contextmanager
    def _place(self) -> Any:
        if self._running > self._elsewhere.max_queue:
            raise Failure("busy", f"{self._running} requests are already under way.", "Try again in a few seconds.")
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    async def _patient(self, name: str | None, is_refusing: bool) -> Facts:
        """Facts; an engine that starts just now is waited for a little."""
        patience = self._elsewhere.patience
        wait = patience.first_wait_s
        while True:
            try:
                return await self._known(name)
            except Failure as failure:
                if (
                    failure.code not in ("engine_unreachable", "busy")
                    or is_refusing
                    or wait > patience.first_wait_s * 8
                ):
                    raise
            await asyncio.sleep(wait)
            wait *= 2

    async def _refuse_unable(self, request: ChatRequest, known: Facts) -> None:
        if any(message.images for message in request.messages) and "image" not in known.card.can:
            raise Failure(
                "unsupported",
                f"{known.card.name} at {self.host} cannot see pictures.",
                "Ask without the picture.",
                "messages",
            )
        if request.form.kind != "json" or request.form.schema is None or known.kind == "mistral":
            return
        if self._holds_schema is None:
            try:
                self._holds_schema = await capabilities.holds_to_schema(self._upstream, known.card.name)
            except (Refused, Gone) as error:
                raise self._noted(failure_of(error, self.host)) from None
        if not self._holds_schema:
            raise Failure(
                "unsupported",
                f"The engine at {self.host} does not hold answers to a JSON schema (it was tried out).",
                "Ask without a schema, or use vLLM, SGLang or llama.cpp.",
                "response_format",
            )

    # ------------------------------------------------------------------------------------------ loading

    async def target(self, name: str | None) -> Target:
        return self._counts.target(await self._known(name))

    async def load(
        self,
        name: str | None,
        *,
        download: bool = False,
        kv: str | None = None,
        adapter: str | None = None,
        spill: bool | None = None,
    ) -> AsyncGenerator[Loading, None]:
        """Get to know the engine anew, and make this model the one that is asked; its own business is where it runs."""
        yield Loading("load", None, f"asking the engine at {self.host} what it can")
        wanted = self._chosen if name in (None, "default") else name
        self._facts, self._holds_schema = None, None
        self._others.clear()
        self._facts = await self._found_out(wanted)
        self._chosen = self._facts.card.name if wanted else ""

    async def unload(self) -> None:
        """Nothing of it is in this machine's hands."""
        raise Failure(
            "unsupported", f"The model runs at {self.host}, which is not ours to unload.", "Stop that engine itself."
        )

    async def park(self) -> None:
        """Nothing of it is in this machine's hands."""
        await self.unload()

    async def close(self) -> None:
        await self._upstream.close()

    # ------------------------------------------------------------------------------------------ telling

    async def status(self) -> Status:
        await self._look()
        known = self._shown
        state = "failed" if self._failure is not None else "unloaded" if known is None else "ready"
        return Status(
            version=__version__,
            state=state,  # type: ignore[arg-type]  # one of the three
            default_model=self._chosen or self.model,
            model=known.card if known is not None else None,
            running=self._running,
            seal=Seal("outside", False, self._upstream.address.words),
            last=self._last,
            failure=self._failure.to_dict() if self._failure is not None else None,
            engine=self._told(),
        )

    @property
    def _shown(self) -> Facts | None:
        """The model that status tells of: the one that is asked unless another is named, else any that was asked."""
        return self._facts or next(reversed(self._others.values()), None)

    async def _look(self) -> None:
        """Whether it is there, by its list of models, if nothing was heard of it lately."""
        if self._running or monotonic() - self._seen_at < FRESH_S:
            return
        self._seen_at = monotonic()
        try:
            await capabilities.names_of(self._upstream, STATUS_S)
            self._failure = None
        except (Refused, Gone) as error:
            self._noted(failure_of(error, self.host))

    def _told(self) -> dict[str, Any]:
        """What was found out of the engine; None is what is not known yet."""
        known = self._shown
        words = {None: None, True: "told", False: "not told"}
        return {
            "host": self.host,
            "where": self._upstream.address.words,
            "program": capabilities.PROGRAMS[known.kind] if known is not None else None,
            "tokens": None if known is None else "exact" if self._counts.is_exact(known) else "estimated",
            "prefix": words[self._tells_prefix],
            "images": None if known is None else "image" in known.card.can,
            "fill_in_the_middle": None if known is None else bool(known.fim),
            "json_schema": self._holds_schema,
            "notes": list(known.notes) if known is not None else [],
        }

    async def cards(self) -> list[ModelCard]:
        """What the engine serves, the model that is asked first."""
        try:
            known = await self._known(None)
        except Failure:
            return []
        rest = [self._others[name].card if name in self._others else ModelCard(name, can=()) for name in known.names]
        return [known.card, *(card for card in rest if card.name != known.card.name)]

    async def rows(self) -> list[dict[str, Any]]:
        """The catalogue as `models.listing.rows` has it, of what the engine serves."""
        return [
            capabilities.row(card, is_default=i == 0, where=self._upstream.address.words)
            for i, card in enumerate(await self.cards())
        ]
