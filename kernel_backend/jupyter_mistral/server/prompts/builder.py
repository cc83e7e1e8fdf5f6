"""The messages of a request for a model: its notebook read in within what the model holds, counted with its own tokenizer."""

from __future__ import annotations

import asyncio
import os
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from ...documents.decoder import Decoder
from ...protocol.conversation import Message
from ...protocol.failures import Failure
from ...protocol.requests import ChatRequest
from ...protocol.status import ModelCard
from ..http.identity import holder
from ..http.large_body import Aside
from ..inference.base import Target
from ..inference.worker_stream import refuse_too_long
from .pictures import Pictures
from .token_counts import Counting, folder_of, remembered

if TYPE_CHECKING:
    from ...context import Built, Job, Note, Plan, Snapshot
    from ..http.large_body_jobs import Work

ANSWER = 2048
# a part of a thorough reading is noted on in so many tokens, whatever the answer may have
NOTES = 512
INSTRUCTED = "The user's standing instructions:"
# narrower than what is kept from the worker (`worker.py`): a plain word among these would be masked wherever it stands
_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASS|CREDENTIAL|API_?KEY|(?:^|_)KEY$", re.IGNORECASE)
_ADDRESS_PASSWORD = re.compile(r"://[^/?#\s:]*:([^/?#\s]+)@")
_SHORTEST_SECRET = 8


def secrets_of(environ: Mapping[str, str]) -> list[str]:
    """What is masked wherever it stands: values whose names say that they are secret, and passwords inside addresses."""
    found = [value for name, value in environ.items() if _SECRET_NAME.search(name)]
    found += [password for value in environ.values() for password in _ADDRESS_PASSWORD.findall(value)]
    return [secret for secret in found if len(secret) >= _SHORTEST_SECRET]


class PromptBuilder:
    """Builds prompts in a thread, or in a process of its own for a notebook that came large. Keeps what was told of the latest
    notebooks, so that a follow-up costs its new tokens only."""

    def __init__(self, environ: Mapping[str, str] = os.environ, pictures: Pictures | None = None) -> None:
        self._pictures = pictures or Pictures(Decoder())
        self._secrets = secrets_of(environ)
        self._counting = Counting()
        self._snapshots: OrderedDict[tuple[str, ...], Snapshot] = OrderedDict()

    async def prompt(self, request: ChatRequest, target: Target) -> tuple[tuple[Message, ...], tuple[str, ...]]:
        """The messages to send, pictures decoded, and in words what was left out. Raises `Failure`: too long, a bad picture."""
        built = await self.build(await self.checked(request), target)
        return built.messages, built.left_out

    async def checked(self, request: ChatRequest) -> ChatRequest:
        """The request with its pictures decoded: a bad one is refused before anybody waits for the model. Raises `Failure`."""
        return await self._pictures.request(request)

    async def build(self, request: ChatRequest, target: Target, keep: bool = True) -> Built:
        """The whole of it, ledger included. `keep`: remember it as told to the model; mere counting must not."""
        from ..http.large_body_jobs import Work

        _refuse_hopeless(request, target.card)
        key = self._key(request, target)
        built = await self._done(request, target, Work("build", self._snapshots.get(key)))
        assert built is not None, "a build gives a prompt"
        if keep and built.snapshot is not None:
            self._snapshots.pop(key, None)
            snapshot = built.snapshot
            remembered(self._snapshots, key, lambda: snapshot)
        return built

    async def rebased(self, request: ChatRequest, target: Target) -> Built | None:
        """The prompt as it would be if the notebook were read anew, where a log of changes has grown since it was; else None."""
        from ..http.large_body_jobs import Work

        old = self._snapshots.get(self._key(request, target))
        if old is None or not old.log:
            return None
        return await self._done(request, target, Work("build"))

    def keep(self, request: ChatRequest, target: Target, built: Built) -> None:
        """Go on from this prompt with the next question on its notebook."""
        if built.snapshot is not None:
            self._snapshots[self._key(request, target)] = built.snapshot

    async def plan(self, request: ChatRequest, target: Target) -> Plan | None:
        """The parts in which the notebook is read thoroughly; None where one prompt holds it whole."""
        from ..http.large_body_jobs import Work

        request = replace(request, sampling=replace(request.sampling, max_tokens=_answer_room(request)))
        return cast("Plan | None", await self._work(request, target, Work("plan")))

    async def combine(self, request: ChatRequest, target: Target, notes: Sequence[Note], last: bool) -> Built | None:
        """The prompt that answers out of the notes; None where they do not fit and may still be condensed."""
        from ..http.large_body_jobs import Work

        return await self._done(request, target, Work("combine", notes=notes, last=last))

    async def condense(self, request: ChatRequest, target: Target, notes: Sequence[Note]) -> Plan:
        """Prompts that make the notes shorter."""
        from ..http.large_body_jobs import Work

        return cast("Plan", await self._work(request, target, Work("condense", notes=notes)))

    def budget(self, request: ChatRequest, target: Target) -> int:
        """Tokens of prompt: what was asked for, but never more than the model holds beside the answer."""
        length = target.card.context_length or 4096
        room = length - min(request.sampling.max_tokens or ANSWER, length // 2)
        return max(64, min(request.extras.budget or room, room))

    async def _done(self, request: ChatRequest, target: Target, work: Work) -> Built | None:
        """What comes of work that ends in one prompt: what the notebook shows is decoded, and the ledger counts what is sent."""
        built = cast("Built | None", await self._work(request, target, work))
        if built is None or not any(message.images for message in built.messages):
            return built
        messages, damaged = await self._pictures.known(built.messages)
        if messages == built.messages:
            return built
        built = replace(built, messages=messages, left_out=(*built.left_out, *damaged))
        return await asyncio.to_thread(self._recounted, built, self._job(request, target), target)

    def _recounted(self, built: Built, job: Job, target: Target) -> Built:
        from ...context import Segment

        total = self._counting.exactly(built.messages, job, target)
        if total is None or total == built.total_tokens:
            return built
        more = Segment("pictures", total - built.total_tokens, None, True, "whole", "as decoded")
        return replace(built, ledger=(*built.ledger, more), total_tokens=total)

    async def _work(self, request: ChatRequest, target: Target, work: Work) -> Built | Plan | None:
        job, notebook = self._job(request, target), request.extras.notebook
        if isinstance(notebook, Aside):
            return await notebook.work(job, work, folder_of(target) or target.tokenizer)
        loop = asyncio.get_running_loop()
        return await asyncio.to_thread(lambda: work.do(self._counting.given(job, notebook, target, loop)))

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
        """A notebook of the same name is another one for another holder of a token: nobody is told what others had read."""
        path = str((request.extras.notebook or {}).get("path") or "")
        return target.card.name, path, request.extras.client, holder()


def _answer_room(request: ChatRequest) -> int:
    return max(request.sampling.max_tokens or ANSWER, NOTES)


def _refuse_hopeless(request: ChatRequest, card: ModelCard) -> None:
    """Refuse before anything is counted, which takes long for megabytes, or rendered, over which a template without eyes stumbles."""
    if card.can and "image" not in card.can and any(message.images for message in request.messages):
        raise Failure("unsupported", f"{card.name} reads no pictures.", "Load a vision model, or ask in text.")
    refuse_too_long(sum(len(message.text) for message in request.messages), card)


def instructed(request: ChatRequest) -> ChatRequest:
    """The request with the standing instructions moved to the end of its system text."""
    text = request.extras.instructions.strip()
    if not text:
        return request
    first, *others = request.messages
    own = first.content if first.role == "system" else ()
    system = Message("system", (*own, *(["\n\n"] if own else []), f"{INSTRUCTED}\n{text}"))
    messages = (system, *others) if own else (system, *request.messages)
    return replace(request, messages=messages, extras=replace(request.extras, instructions=""))
