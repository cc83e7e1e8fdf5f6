"""Start a worker once, without a server: to quantize a downloaded model ahead of time, or to try the seal."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from ..models import store
from ..protocol.events import Loading
from ..protocol.failures import Failure
from ..protocol.status import Seal


def prepare(name: str, progress: Callable[[Loading], None]) -> None:
    """Load a model once, which writes its 4-bit weights to disk and shows that they work. Raises `Failure`."""
    asyncio.run(_prepare(name, progress))


async def _prepare(name: str, progress: Callable[[Loading], None]) -> None:
    from ..server.inference.disk_models import find
    from ..server.inference.worker import Worker

    found = find(name)
    worker = await Worker.start(lambda worker: None, logging.getLogger(__name__), folder=store.home())
    try:
        async for event in worker.load(found.order(None, "auto")):
            progress(event)
    except Failure as failure:
        if failure.code == "engine_died":
            raise Failure(
                failure.code, f"{failure.message} {_last_line(worker.last_words())}".strip(), failure.todo
            ) from None
        raise
    finally:
        await worker.stop()


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return f"Its last line was: {lines[-1][:300]}" if lines else ""


def try_seal(folder: Path) -> Seal:
    """Start a worker and return how it is kept off the network, as measured by itself. Raises `Failure` if it does not start."""
    return asyncio.run(_try_seal(folder))


async def _try_seal(folder: Path) -> Seal:
    from ..server.inference.worker import Worker

    worker = await Worker.start(lambda worker: None, logging.getLogger(__name__), folder=folder)
    try:
        return worker.seal
    finally:
        await worker.stop()
