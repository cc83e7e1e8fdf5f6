"""What a GPU's figures are worth: they are those of now."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from jupyter_mistral.protocol import End, Usage
from jupyter_mistral.server.shapes import total
from jupyter_mistral.server.worker import Worker


async def test_bytes_of_others_are_asked_for_anew_and_a_busy_worker_keeps_nobody_waiting(tmp_path: Path) -> None:
    script = str(Path(__file__).with_name("gpu_worker.py"))
    worker = await Worker.start(
        lambda _: None, logging.getLogger("test"), folder=tmp_path, command=(sys.executable, script)
    )
    try:
        assert [step async for step in worker.load({})] == []
        seen = [worker.memory.others]
        for _ in range(4):
            await worker.look()
            seen.append(worker.memory.others)
        assert seen == [0, 1, 2, 2, 4] and worker.memory.gpu == "NVIDIA L4"
    finally:
        await worker.stop()


def test_several_answers_to_one_prompt_cost_their_energies_together() -> None:
    assert total([End("stop", Usage(energy_j=1.5)), End("stop", Usage(energy_j=0.25))]).energy_j == 1.75
    assert total([End("stop", Usage()), End("stop", Usage())]).energy_j is None
