"""A LoRA adapter over HTTP: used, kept when the model is loaded again, removed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import tiny_talker
from jupyter_mistral.server.inference.base import Options
from safetensors.numpy import save_file

SMALL = "smollm2-135m"


def _adapter(folder: Path) -> None:
    """For the first layer: enough to change every answer."""
    folder.mkdir(parents=True)
    chance = np.random.default_rng(0)
    name = "base_model.model.model.layers.0.mlp.down_proj.lora_"
    save_file(
        {
            f"{name}A.weight": chance.standard_normal((8, tiny_talker.INNER), np.float32),
            f"{name}B.weight": chance.standard_normal((tiny_talker.HIDDEN, 8), np.float32),
        },
        folder / "adapter_model.safetensors",
    )
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 8, "lora_alpha": 16}))


async def _load(peer: Any, **fields: Any) -> Any:
    reply = await peer.send("POST", "/mistral/api/load", {"model": None, **fields})
    return [chunk async for chunk in reply.chunks()][-2] if reply.status == 200 else await reply.body()


async def _answer(peer: Any) -> str:
    chunks = [chunk async for chunk in (await peer.chat("Say hello.", max_tokens=8)).chunks()]
    assert chunks[-1] == "[DONE]"
    return "".join(c["choices"][0]["delta"].get("content", "") for c in chunks[:-1] if c["choices"])


async def test_an_adapter_is_used_kept_and_removed(own_host: Any, mistral_home: Path) -> None:
    _adapter(mistral_home / "adapters" / "odd")
    own = own_host(Options(default_model=SMALL))
    await own.load()
    plain = await _answer(own.peer)
    told = await _load(own.peer, adapter="nobody")
    assert told["error"]["code"] == "unknown_model" and "Available: odd." in told["error"]["message"]
    told = await _load(own.peer, adapter="odd")
    assert told["mistral"]["status"]["model"]["adapter"] == "odd"
    adapted = await _answer(own.peer)
    assert adapted != plain
    await own.peer.ask("POST", "/mistral/api/unload", {})
    assert await _answer(own.peer) == adapted
    assert (await own.peer.status())["model"]["adapter"] == "odd"
    told = await _load(own.peer, adapter="")
    assert told["mistral"]["status"]["model"]["adapter"] == ""
    assert await _answer(own.peer) == plain
