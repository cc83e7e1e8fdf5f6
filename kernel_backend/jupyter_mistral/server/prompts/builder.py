"""Builds the messages that a model gets for a request: the notebook is included as far as the context has room for it."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from ...documents.decoder import Decoder
from ...protocol.conversation import Message
from ...protocol.failures import Failure
from ...protocol.requests import ChatRequest
from ...protocol.status import ModelCard
from ..http.identity import token_holder
from ..http.large_body import NotebookInChild
from ..inference.base import Messages, Target
from ..inference.worker_stream import refuse_too_long
from .pictures import Pictures
from .recent import Recent
from .token_counters import TokenCounts, folder_of

if TYPE_CHECKING:
    from ...context import Built, Job, Note, Plan, Snapshot
    from ..http.large_body_jobs import Work

ANSWER_TOKENS = 2048
# least tokens of the notes on a part of the notebook, whatever the answer may have
NOTE_TOKENS = 512
DEFAULT_CONTEXT = 4096
INSTRUCTED = "The user's standing instructions:"
# narrower than what the worker's environment lacks (`child.py`): a plain word among these would be masked everywhere
_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASS|CREDENTIAL|API_?KEY|(?:^|_)KEY$", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"://[^/?#\s:]*:([^/?#\s]+)@")
_MIN_SECRET = 8


def secrets_of(environ: Mapping[str, str]) -> list[str]:
    """Values to mask in every prompt: those with a secret's name, and passwords in URLs."""
    values = [value for name, value in environ.items() if _SECRET_NAME.search(name)]
    values += [password for value in environ.values() for password in _URL_PASSWORD.findall(value)]
    return [value for value in values if len(value) >= _MIN_SECRET]


class PromptBuilder:
    """Builds prompts in a thread, or in a child process for a large notebook.

    Remembers what the model was sent of the latest notebooks, so that a follow-up question costs only its new tokens.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ, pictures: Pictures | None = None) -> None:
        self._pictures = pictures or Pictures(Decoder())
        self._secrets = secrets_of(environ)
        self._counts = TokenCounts()
        self._snapshots: Recent[Snapshot] = Recent()

    async def prompt(self, request: ChatRequest, target: Target) -> tuple[Messages, tuple[str, ...]]:
        """The messages to send, images decoded, and what was left out, in words. Raises `Failure`: too long, a bad image."""
        built = await self.build(await self.checked(request), target)
        return built.messages, built.left_out

    async def checked(self, request: ChatRequest) -> ChatRequest:
        """The request with its images decoded, so that a bad one is refused before the request is queued. Raises `Failure`."""
        return await self._pictures.request(request)

    async def build(self, request: ChatRequest, target: Target, keep: bool = True) -> Built:
        """The prompt with its ledger. keep: remember it as sent to the model; must be False if tokens are only counted."""
        from ..http.large_body_jobs import Work

        _refuse_impossible(request, target.card)
        key = self._key(request, target)
        built = await self._build(request, target, Work("build", self._snapshots.get(key)))
        assert built is not None, "a build gives a prompt"
        if keep:
            self.keep(request, target, built)
        return built

    async def rebased(self, request: ChatRequest, target: Target) -> Built | None:
        """The prompt with the notebook in its present state instead of a log of changes; None if there is no such log."""
        from ..http.large_body_jobs import Work

        snapshot = self._snapshots.get(self._key(request, target))
        if snapshot is None or not snapshot.log:
            return None
        return await self._build(request, target, Work("build"))

    def keep(self, request: ChatRequest, target: Target, built: Built) -> None:
        """Extend this prompt at the next question about its notebook."""
        if built.snapshot is not None:
            self._snapshots.put(self._key(request, target), built.snapshot)

    async def plan(self, request: ChatRequest, target: Target) -> Plan | None:
        """The parts in which the whole notebook is read; None if it fits into one prompt."""
        from ..http.large_body_jobs import Work

        max_tokens = max(request.sampling.max_tokens or ANSWER_TOKENS, NOTE_TOKENS)
        request = replace(request, sampling=replace(request.sampling, max_tokens=max_tokens))
        return cast("Plan | None", await self._run(request, target, Work("plan")))

    async def combine(self, request: ChatRequest, target: Target, notes: Sequence[Note], last: bool) -> Built | None:
        """The prompt that answers from the notes; None if they do not fit and may still be condensed."""
        from ..http.large_body_jobs import Work

        return await self._build(request, target, Work("combine", notes=notes, last=last))

    async def condense(self, request: ChatRequest, target: Target, notes: Sequence[Note]) -> Plan:
        """Prompts that shorten the notes."""
        from ..http.large_body_jobs import Work

        return cast("Plan", await self._run(request, target, Work("condense", notes=notes)))

    def budget(self, request: ChatRequest, target: Target) -> int:
        """Maximum tokens of the prompt: what the request asks for, within what the context has beside the answer."""
        length = target.card.context_length or DEFAULT_CONTEXT
        room = length - min(request.sampling.max_tokens or ANSWER_TOKENS, length // 2)
        return max(64, min(request.extras.budget or room, room))

    async def _build(self, request: ChatRequest, target: Target, work: Work) -> Built | None:
        """Run work that results in a prompt; then decode the notebook's images and correct the ledger accordingly."""
        built = cast("Built | None", await self._run(request, target, work))
        if built is None or not any(message.images for message in built.messages):
            return built
        messages, damaged = await self._pictures.known(built.messages)
        if messages == built.messages:
            return built
        built = replace(built, messages=messages, left_out=(*built.left_out, *damaged))
        return await asyncio.to_thread(self._recounted, built, self._job(request, target), target)

    def _recounted(self, built: Built, job: Job, target: Target) -> Built:
        from ...context import Segment

        total = self._counts.exact(built.messages, job, target)
        if total is None or total == built.total_tokens:
            return built
        difference = Segment("pictures", total - built.total_tokens, None, True, "whole", "as decoded")
        return replace(built, ledger=(*built.ledger, difference), total_tokens=total)

    async def _run(self, request: ChatRequest, target: Target, work: Work) -> Built | Plan | None:
        job, notebook = self._job(request, target), request.extras.notebook
        if isinstance(notebook, NotebookInChild):
            return await notebook.work(job, work, folder_of(target) or target.tokenizer)
        loop = asyncio.get_running_loop()
        return await asyncio.to_thread(lambda: work.do(self._counts.inputs(job, notebook, target, loop)))

    def _job(self, request: ChatRequest, target: Target) -> Job:
        from ...context import Job

        request = instructed(request)
        extras = request.extras
        return Job(
            messages=request.messages,
            budget=self.budget(request, target),
            scope=extras.scope,
            focus=extras.focus,
            variables=extras.variables,
            figures=extras.figures,
            vision="image" in target.card.can,
            tools=[tool.to_dict() for tool in request.calling.tools] if request.calling.choice != "none" else [],
            known_secrets=self._secrets,
        )

    def _key(self, request: ChatRequest, target: Target) -> tuple[str, ...]:
        """Includes the token's holder: a notebook with the same name may be another one, whose text nobody else may learn."""
        path = str((request.extras.notebook or {}).get("path") or "")
        return target.card.name, path, request.extras.client, token_holder()


def _refuse_impossible(request: ChatRequest, card: ModelCard) -> None:
    """Refuse before megabytes are counted, or images reach a chat template that fails on them."""
    if card.can and "image" not in card.can and any(message.images for message in request.messages):
        raise Failure(
            "unsupported", f"{card.name} cannot see images.", "Load a vision model, or ask without the image."
        )
    refuse_too_long(sum(len(message.text) for message in request.messages), card)


def instructed(request: ChatRequest) -> ChatRequest:
    """The request with the standing instructions moved to the end of its system message."""
    text = request.extras.instructions.strip()
    if not text:
        return request
    first, *others = request.messages
    own = first.content if first.role == "system" else ()
    system = Message("system", (*own, *(["\n\n"] if own else []), f"{INSTRUCTED}\n{text}"))
    messages = (system, *others) if own else (system, *request.messages)
    return replace(request, messages=messages, extras=replace(request.extras, instructions=""))
