"""Downloads a model in a child process, the only one that uses the network."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

from ...protocol.events import Loading
from ...protocol.failures import Failure


async def download(name: str, folder: Path) -> AsyncGenerator[Loading, None]:
    """Yield progress until the model is on disk; closing the stream stops the download. Raises `Failure`."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "jupyter_mistral.models.fetch",
        name,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"},
        cwd=folder,
        start_new_session=True,
    )
    assert child.stdout is not None
    is_done = False
    try:
        async for line in child.stdout:
            data = json.loads(line)
            if data.get("error"):
                raise Failure.of_dict(data["error"])
            if data.get("event") == "done":
                is_done = True
                continue
            yield Loading(data["stage"], data.get("fraction"), data.get("detail", ""), data.get("eta_s"))
        if not is_done:
            raise Failure("download_failed", f"The download of {name} was interrupted.", "Try again to resume it.")
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.terminate()
        await child.wait()
