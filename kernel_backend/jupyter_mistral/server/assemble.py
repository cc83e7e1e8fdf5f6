"""Puts a model host together; the Jupyter extension and the host without Jupyter both run it."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from ..documents.decoder import Decoder
from .api import chats, doctor, documents, figures, metrics, model
from .chats.service import Conversations
from .chats.store import History
from .external.config import ExternalConfig
from .external.engine import ExternalEngine
from .http.handler import Table
from .http.kernel_socket import KernelChannel
from .inference.base import Engine, Options
from .inference.local import LocalEngine
from .inference.worker_process import ENGINE, Launch
from .observe.audit_log import AuditLog
from .observe.metrics import Metrics
from .observe.observed_engine import ObservedEngine, Observer
from .observe.recorder import RecordedConversations, RecordedDecoder, Recorder
from .prompts.builder import PromptBuilder
from .prompts.pictures import Pictures


@dataclass(frozen=True)
class Parts:
    """A model host that nobody can reach yet: a route table for a Jupyter server and a socket for kernels."""

    engine: ObservedEngine
    table: Table
    channel: KernelChannel
    conversations: Conversations
    decoder: Decoder
    metrics: Metrics

    async def close(self) -> None:
        """Stop accepting requests, save running answers, then end the worker."""
        self.metrics.stop()
        await self.channel.stop()
        await self.conversations.close()
        await self.engine.close()
        await self.decoder.close()


def join(
    options: Options,
    log: logging.Logger,
    external: ExternalConfig | None = None,
    audit: AuditLog | None = None,
    launch: Launch = ENGINE,
) -> Parts:
    """Build all parts without starting a process or opening a socket or file.

    external: an engine to use instead of a local worker. audit: log that records requests. launch: starts a worker.
    """
    decoder = RecordedDecoder(audit) if audit is not None else Decoder()
    prompts = PromptBuilder(pictures=Pictures(decoder))
    asked: Engine = LocalEngine(options, prompts, log, launch)
    if external is not None:
        asked = ExternalEngine(external, prompts, log)
    counters = Metrics(log)
    observers: list[Observer] = [counters] if audit is None else [counters, Recorder(audit)]
    engine = ObservedEngine(asked, observers)
    history = History()
    conversations = (
        RecordedConversations(history, engine, audit) if audit is not None else Conversations(history, engine)
    )
    table: Table = [
        *model.table(engine, prompts),
        *documents.table(decoder),
        *figures.table(),
        *chats.table(conversations),
        *doctor.table(options.default_model),
        *metrics.table(counters),
        *model.NOT_FOUND,
    ]
    return Parts(
        engine, table, KernelChannel([*table, *model.NOT_FOUND_ANYWHERE], log), conversations, decoder, counters
    )
