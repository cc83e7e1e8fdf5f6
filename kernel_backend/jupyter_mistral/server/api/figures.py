"""`POST /mistral/api/figure`: the numbers of a plot from its saved JSON, for a page whose kernel is gone. Reads no figure itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Mapping
from typing import Any

from ...protocol.failures import Failure
from ..http.handler import Route, Table

COMMAND = (sys.executable, "-m", "jupyter_mistral.kernel.figures")
PATIENCE_S = 30.0
MOST = 2**20
_FIELDS = {"text": str, "has_numbers": bool}


def table() -> Table:
    return [(r"/mistral/api/figure", Figure, {})]


class Figure(Route):
    async def post(self) -> None:
        bundle = await self.take(parse)
        self.answer(await read(bundle))


def parse(body: Any) -> bytes:
    """`{"data": {mime: JSON}}`, as an output of a notebook has it."""
    data = body.get("data") if isinstance(body, dict) and body.keys() == {"data"} else None
    if not isinstance(data, dict) or not data:
        raise Failure(
            "bad_request", "data must be the data of an output by type.", "Send that and nothing else.", "data"
        )
    return json.dumps(data).encode()


async def read(bundle: bytes) -> Mapping[str, Any]:
    """The facts, read in a process that has nothing but this JSON. Raises `Failure`."""
    child = await asyncio.create_subprocess_exec(
        *COMMAND,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        out, _ = await asyncio.wait_for(child.communicate(bundle), PATIENCE_S)
        told = json.loads(out[:MOST])
        if not all(isinstance(told[name], kind) for name, kind in _FIELDS.items()):
            raise ValueError(told)
        return dict(told)
    except (asyncio.TimeoutError, ValueError, KeyError, TypeError):
        raise Failure(
            "unsupported",
            "The plot's description could not be read.",
            "Run its cell again: then the kernel has the numbers.",
        ) from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
