"""Releases the model's GPU memory to this kernel, and offers that when a cell runs out of GPU memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ...protocol.failures import Failure
from ..variables.cell_errors import CellError
from .client import Client

OFFER = (
    "The model uses {size} of the GPU memory that your kernel needs. Run `%mistral park` to release it, then run this cell "
    "again. The next question reloads the model."
)


def park(client: Client) -> None:
    """Take the model's weights off the GPU. A host without a model has none there. Raises `Failure`."""
    try:
        client.post("/mistral/api/park")
    except Failure as failure:
        if failure.code != "engine_stopped":
            raise


@contextlib.contextmanager
def lend_gpu() -> Iterator[None]:
    """Keep the model's weights off the GPU within the block; they return when it ends, also after an error."""
    try:
        client = Client.find(start=False)
    except Failure as failure:
        if failure.code != "engine_stopped":
            raise
        yield  # no host is running, so the GPU is free
        return
    was_loaded = client.get("/mistral/api/status")["state"] == "ready"
    park(client)
    try:
        yield
    finally:
        if was_loaded:
            for _ in client.load():
                pass


def make_offer(error: CellError, client: Client) -> str:
    """Suggest `%mistral park` if a cell ran out of GPU memory and the model uses some; otherwise ""."""
    text = f"{error.name} {error.message}"
    if "CUDA out of memory" not in text and "CUDA_ERROR_OUT_OF_MEMORY" not in text:
        return ""
    memory = client.get("/mistral/api/status")["memory"]
    used = memory["weights"] + memory["kv"]
    if not memory["device"].startswith("cuda") or not used:
        return ""
    return OFFER.format(size=f"{used / 2**30:.1f} GiB")
