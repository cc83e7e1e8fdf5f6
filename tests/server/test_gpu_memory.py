"""The memory of the GPU in the status, and layers that spill to host memory."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

from jupyter_mistral.protocol.events import End, Usage
from jupyter_mistral.server.api.openai_format import total
from jupyter_mistral.server.inference.base import Options
from jupyter_mistral.server.inference.worker import Worker
from jupyter_mistral.server.inference.worker_process import by_command


async def test_memory_of_other_programs_is_refreshed_and_a_busy_worker_does_not_delay_it(tmp_path: Path) -> None:
    script = str(Path(__file__).with_name("gpu_worker.py"))
    worker = await Worker.start(
        lambda _: None, logging.getLogger("test"), folder=tmp_path, launch=by_command(sys.executable, script)
    )
    try:
        assert [step async for step in worker.load({})] == []
        seen = [worker.memory.others]
        for _ in range(4):
            await worker.refresh_memory()
            seen.append(worker.memory.others)
        assert seen == [0, 1, 2, 2, 4] and worker.memory.gpu == "NVIDIA L4"
    finally:
        await worker.stop()


def test_energy_of_several_answers_is_summed() -> None:
    assert total([End("stop", Usage(energy_j=1.5)), End("stop", Usage(energy_j=0.25))]).energy_j == 1.75
    assert total([End("stop", Usage()), End("stop", Usage())]).energy_j is None


async def test_spill_is_set_over_http_and_persists(own_host: Any) -> None:
    peer = own_host(Options(default_model="smollm2-135m")).peer

    async def details(**body: Any) -> str:
        await peer.ask("POST", "/mistral/api/unload", {})
        reply = await peer.send("POST", "/mistral/api/load", {"model": None, **body})
        assert reply.status == 200
        return str([chunk async for chunk in reply.chunks()])

    fits = "all layers fit on the device"
    assert fits not in await details()
    assert fits in await details(spill=True)
    assert fits in await details(), "as before"
    assert fits not in await details(spill=False)
    code, body = await peer.ask("POST", "/mistral/api/load", {"model": None, "spill": 1})
    assert (code, body["error"]["param"]) == (400, "spill")
