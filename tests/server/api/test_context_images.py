"""Tokens of images are known before they are sent: the context meter of a vision model, with a real host and worker."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

import pytest
from jupyter_mistral.server.inference.base import Options

from ..conftest import Own


def picture(width: int, height: int, form: str = "PNG", turned: bool = False) -> str:
    from PIL import Image

    out = io.BytesIO()
    image = Image.new("RGB", (width, height), "white")
    exif = Image.Exif()
    if turned:
        exif[0x0112] = 6
    image.save(out, form, **({"exif": exif} if turned else {}))
    return base64.b64encode(out.getvalue()).decode()


def part(mime: str, data: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:{mime};base64,{data}"}}


def requests() -> list[dict[str, Any]]:
    asked = {"type": "text", "text": "What does the plot show?"}
    shown = {"output_type": "display_data", "data": {"image/png": picture(300, 200), "text/plain": "<Figure>"}}
    cell = {"cell_type": "code", "source": "plot()", "execution_count": 1, "id": "a", "outputs": [shown]}
    notebook = {"cells": [cell], "path": "a.ipynb", "language": "python"}
    many = [
        asked,
        part("image/jpeg", picture(500, 90, "JPEG", turned=True)),
        {"type": "text", "text": " and "},
        part("image/webp", picture(29, 28, "WEBP")),
    ]
    return [
        {"messages": [{"role": "user", "content": [asked, part("image/png", picture(57, 28))]}]},
        {"messages": [{"role": "user", "content": many}]},
        {"messages": [{"role": "user", "content": "The plot?"}], "mistral": {"notebook": notebook, "focus": 0}},
    ]


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny vision model, by its path."""
    pytest.importorskip("mistral_common", reason="the extra [engine] brings it")
    import tiny_mistral3

    return str(tiny_mistral3.build(tmp_path_factory.mktemp("tiny") / "tiny"))


async def test_the_panels_context_meter_matches_what_its_chat_sends(
    own_host: Callable[[Options], Own], seeing: str
) -> None:
    """The chat's system prompt and the images of earlier questions are counted too."""
    own = own_host(Options(default_model=seeing))
    notebook = {"cells": [{"cell_type": "code", "source": "x = 1", "id": "a"}], "path": "a.ipynb", "language": "python"}
    mistral = {"client": "panel", "notebook": notebook, "focus": 0}
    _, chat = await own.peer.ask("POST", "/mistral/api/chats", {})
    path = f"/mistral/api/chats/{chat['id']}/ask"
    messages: list[dict[str, Any]] = []
    for question in ("What is x?", "What is shown?"):
        content = [{"type": "text", "text": question}, part("image/png", picture(57, 28))]
        messages.append({"role": "user", "content": content})
        sent = {"messages": messages, "max_tokens": 1, "temperature": 0, "mistral": mistral}
        if len(messages) > 1:  # the model is loaded
            status, meter = await own.peer.ask("POST", "/mistral/api/context", sent)
            assert status == 200, meter
        reply = await own.peer.send("POST", path, {"content": content, "max_tokens": 1, "mistral": mistral})
        chunks = [chunk async for chunk in reply.chunks() if isinstance(chunk, dict)]
        usage = next(chunk["usage"] for chunk in chunks if chunk.get("usage"))
        text = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])
        if text:
            messages.append({"role": "assistant", "content": text})
    assert meter["tokens"] == usage["prompt_tokens"]


async def test_the_context_meter_counts_images_exactly(own_host: Callable[[Options], Own], seeing: str) -> None:
    own = own_host(Options(default_model=seeing))
    for body in requests():
        sent = {**body, "max_tokens": 1, "temperature": 0}
        status, answer = await own.peer.ask("POST", "/mistral/v1/chat/completions", sent)  # loads at the first
        assert status == 200, answer
        status, meter = await own.peer.ask("POST", "/mistral/api/context", sent)
        assert status == 200, meter
        assert meter["tokens"] == answer["usage"]["prompt_tokens"] == sum(row["tokens"] for row in meter["ledger"])
        assert [row["tokens"] for row in meter["ledger"] if row["segment"] == "image" and row["tokens"]]
