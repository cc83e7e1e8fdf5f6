"""Joins the parts of a model host; the Jupyter extension and the host without Jupyter are two ways to run the same."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from ..documents.decoder import Decoder
from .api import chats, doctor, documents, figures, model
from .chats.service import Conversations
from .chats.store import History
from .external.engine import Elsewhere, ExternalEngine
from .http.handler import Table
from .http.kernel_socket import Channel
from .inference.base import Engine, Options
from .inference.local import LocalEngine
from .inference.worker_process import ENGINE, Launch
from .observe import metrics
from .observe.audit_log import AuditLog
from .observe.metrics import Meter, metered
from .observe.recorded import audited, audited_chats, audited_reader
from .prompts.builder import PromptBuilder
from .prompts.pictures import Pictures


@dataclass(frozen=True)
class Parts:
    """A model host that nobody reaches yet: a table of addresses for a Jupyter server, a channel for kernels."""

    engine: Engine
    table: Table
    channel: Channel
    conversations: Conversations
    decoder: Decoder
    meter: Meter

    async def close(self) -> None:
        """Shut every way in, keep what there is of answers, then end the worker."""
        self.meter.stop()
        await self.channel.stop()
        await self.conversations.close()
        await self.engine.close()
        await self.decoder.close()


def join(
    options: Options,
    log: logging.Logger,
    elsewhere: Elsewhere | None = None,
    audit: AuditLog | None = None,
    launch: Launch = ENGINE,
) -> Parts:
    """Nothing starts here: no process, no socket, no file. elsewhere: an engine to ask instead of a worker of ours.
    audit: where requests are recorded, None: nowhere. launch: how a worker of ours is started."""
    decoder = reader = Decoder()
    prompts = PromptBuilder(pictures=Pictures(decoder))
    engine: Engine = LocalEngine(options, prompts, log, launch)
    if elsewhere is not None:
        engine = ExternalEngine(elsewhere, prompts, log)
    if audit is not None:
        engine = audited(engine, audit)
    meter = Meter(log)
    counted = metered(engine, meter)
    conversations = kept = Conversations(History(), counted)
    if audit is not None:
        reader, kept = audited_reader(decoder, audit), audited_chats(conversations, audit)
    table: Table = [
        *model.table(counted, prompts),
        *documents.table(reader),
        *figures.table(),
        *chats.table(kept),
        *doctor.table(options.default_model),
        *metrics.table(meter),
        *model.NOTHING,
    ]
    return Parts(engine, table, Channel([*table, *model.ANYWHERE], log), conversations, decoder, meter)
