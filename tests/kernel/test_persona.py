"""The requests of the jupyter-ai persona to the model host. With --all, `tests/clients/test_persona.py` runs it in jupyter-ai itself."""

from __future__ import annotations

import asyncio
import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from jupyter_mistral.protocol.events import Delta, Event, Reading
from jupyter_mistral.protocol.failures import Failure
from kernel_peer import Peer

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def persona(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that pyproject.toml's entry point names; a plain class stands in for the one of jupyter-ai's package."""
    theirs = ModuleType("jupyter_ai_persona_manager")
    theirs.BasePersona, theirs.PersonaDefaults = object, SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "jupyter_ai_persona_manager", theirs)
    point = re.search(r'jupyter_ai.personas"\]\nmistral = "(.+):(.+)"', (ROOT / "pyproject.toml").read_text())
    assert point is not None
    module = importlib.import_module(point[1])
    assert point[2] == module.MistralPersona.__name__
    yield module
    del sys.modules[module.__name__]


async def _asked(persona: ModuleType, most: int = 1000) -> list[str]:
    pieces: list[str] = []
    stream = persona.ask([{"role": "user", "content": "Why?"}])
    async for piece in stream:
        pieces.append(piece)
        if len(pieces) == most:
            break
    await stream.aclose()
    return pieces


def test_the_answer_comes_piece_by_piece(persona: ModuleType, peer: Peer) -> None:
    peer.say("Because it is so.")
    assert asyncio.run(_asked(persona)) == ["Because", " it is ", "so."]
    assert peer.prompt == "Why?"


def test_stopping_cancels_the_answer(persona: ModuleType, peer: Peer) -> None:
    def endless(request: Any) -> Iterator[Event]:
        yield Reading(1, 1, 0)
        while True:
            yield Delta("more ")

    peer.script = endless
    assert asyncio.run(_asked(persona, most=2)) == ["more ", "more "]
    assert peer.left.wait(60), "the host heard that nobody listens"


def test_without_a_host_it_says_so(persona: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(Failure, match="No model host of Jupyter Mistral is running"):
        asyncio.run(_asked(persona))


def test_the_whole_chat_is_sent_with_its_roles(persona: ModuleType) -> None:
    def message(number: int, sender: str, body: str, deleted: bool = False) -> SimpleNamespace:
        return SimpleNamespace(id=str(number), time=number, sender=sender, body=body, deleted=deleted)

    one = persona.MistralPersona()
    one.id, one.system_prompt = "mistral", "Be brief."
    earlier = [message(1, "ada", "Hello"), message(2, "mistral", "Hi."), message(3, "ada", "gone", deleted=True)]
    asked = message(4, "ada", "Why?")
    one.chat = SimpleNamespace(get_messages=lambda: [*earlier, asked, message(5, "ada", "later")])
    assert json.dumps(one._messages(asked)) == json.dumps(
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hi."},
            {"role": "user", "content": "Why?"},
        ]
    )
