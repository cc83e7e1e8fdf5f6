"""Prompts continue from what the same caller sent before, never from what another sent, and contain no secrets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from jupyter_mistral.protocol.conversation import Message
from jupyter_mistral.protocol.requests import ChatRequest, Extras
from jupyter_mistral.protocol.status import ModelCard
from jupyter_mistral.server.http.identity import CALLER, TOKEN
from jupyter_mistral.server.inference.base import Target
from jupyter_mistral.server.prompts.builder import PromptBuilder


async def _count(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


TARGET = Target(ModelCard("m", context_length=4000, can=("text",)), None, _count)


async def _sent(builder: PromptBuilder, caller: str, source: str) -> str:
    cell: dict[str, Any] = {"cell_type": "code", "id": "c0", "source": source, "outputs": [], "execution_count": 1}
    extras = Extras(notebook={"cells": [cell], "path": "Untitled.ipynb"}, client="test")
    mark = CALLER.set(caller)
    try:
        request = ChatRequest(model="m", messages=(Message("user", ("What is x?",)),), extras=extras)
        messages, _ = await builder.prompt(request, TARGET)
    finally:
        CALLER.reset(mark)
    return "\n".join(message.text for message in messages)


@pytest.mark.threat("T29")
@pytest.mark.parametrize("other", [TOKEN + "bob", "bob"])
async def test_two_token_holders_with_the_same_notebook_path_share_nothing(other: str) -> None:
    builder = PromptBuilder({})
    await _sent(builder, TOKEN + "ann", "x = 'of ann'")
    assert "of ann" not in await _sent(builder, other, "x = 'of bob'")
    # her own prompt mentions the change
    changed = await _sent(builder, TOKEN + "ann", "x = 'changed'")
    assert "of ann" in changed and "changed" in changed


@pytest.mark.threat("T27")
async def test_secrets_of_the_servers_environment_are_masked_everywhere() -> None:
    secrets = {
        "OPENAI_KEY": "plain-words-of-a-key",
        "PGPASS": "correct horse battery",
        "DATABASE_URL": "postgresql://ann:left-in-an-address@db/x",
        "MONKEY": "bananas for all",
        "SSH_AUTH_TYPE": "standard",
    }
    source = "\n".join(
        f"say('{words}')"
        for words in (
            "plain-words-of-a-key",
            "correct horse battery",
            "left-in-an-address",
            "bananas for all",
            "standard",
        )
    )
    sent = await _sent(PromptBuilder(secrets), "ann", source)
    assert "bananas for all" in sent and "standard" in sent
    for secret in ("plain-words-of-a-key", "correct horse battery", "left-in-an-address"):
        assert secret not in sent
