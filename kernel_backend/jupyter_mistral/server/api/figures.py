"""`POST /mistral/api/figure`: the numbers of a plot from its saved JSON, for a page whose kernel has ended. A child process reads it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from typing import Any

from ... import child
from ...protocol.failures import Failure
from ..http.handler import Route, Table

COMMAND = child.python("jupyter_mistral.kernel.figures")
TIMEOUT_S = 30.0
MAX_REPLY_BYTES = 2**20
_FIELDS = {"text": str, "has_numbers": bool}


def table() -> Table:
    return [(r"/mistral/api/figure", Figure, {})]


class Figure(Route):
    async def post(self) -> None:
        bundle = await self.read_body(parse)
        self.answer(await read(bundle))


def parse(body: Any) -> bytes:
    """`{"data": {mime: JSON}}`, as in an output of a notebook."""
    data = body.get("data") if isinstance(body, dict) and body.keys() == {"data"} else None
    if not isinstance(data, dict) or not data:
        raise Failure(
            "bad_request", "`data` must be the data of an output, by MIME type.", "Send only this field.", "data"
        )
    return json.dumps(data).encode()


async def read(bundle: bytes) -> Mapping[str, Any]:
    """The figure's description. Raises `Failure`."""
    process = await child.start(COMMAND, env=child.environment(os.environ), stdin=PIPE, stdout=PIPE)
    try:
        out, _ = await asyncio.wait_for(process.communicate(bundle), TIMEOUT_S)
        description = json.loads(out[:MAX_REPLY_BYTES])
        if not all(isinstance(description[name], kind) for name, kind in _FIELDS.items()):
            raise ValueError(description)
        return dict(description)
    except (asyncio.TimeoutError, ValueError, KeyError, TypeError):
        raise Failure(
            "unsupported", "The saved plot cannot be described.", "Run its cell again; the kernel then has its numbers."
        ) from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
