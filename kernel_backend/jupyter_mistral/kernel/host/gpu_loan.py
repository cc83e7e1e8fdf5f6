"""Lends the model's device to this kernel: what a cell needs that runs out of GPU memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ...protocol.failures import Failure
from ..variables.cell_errors import CellError
from .client import Client

OFFER = (
    "The model shares this GPU with your kernel and holds {held} of it. `%mistral park` lends that to you: run it, then this "
    "cell again. The next question brings the model back."
)


def park(client: Client) -> None:
    """Raises `Failure`; a host without a model has nothing on the device."""
    try:
        client.post("/mistral/api/park")
    except Failure as failure:
        if failure.code != "engine_stopped":
            raise


@contextlib.contextmanager
def lend_gpu() -> Iterator[None]:
    """The model's weights are off the GPU within the block, and come back at its end, however it ends."""
    try:
        client = Client.find(start=False)
    except Failure as failure:
        if failure.code != "engine_stopped":
            raise
        yield  # no host runs, so the device is the kernel's
        return
    is_ours = client.get("/mistral/api/status")["state"] == "ready"
    park(client)
    try:
        yield
    finally:
        if is_ours:
            for _ in client.load():
                pass


def offer(error: CellError, client: Client) -> str:
    """What to say to an error of a cell that ran out of the memory of a GPU where the model lies too, else nothing."""
    text = f"{error.name} {error.message}"
    if "CUDA out of memory" not in text and "CUDA_ERROR_OUT_OF_MEMORY" not in text:
        return ""
    memory = client.get("/mistral/api/status")["memory"]
    held = memory["weights"] + memory["kv"]
    if not memory["device"].startswith("cuda") or not held:
        return ""
    return OFFER.format(held=f"{held / 2**30:.1f} GiB")
