"""A real external engine: llama.cpp's server with the weights of the embedded default, as another program on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from jupyter_mistral.protocol.conversation import Message
from jupyter_mistral.protocol.events import Delta, End, Event
from jupyter_mistral.protocol.failures import Failure
from jupyter_mistral.protocol.images import Image
from jupyter_mistral.protocol.requests import ChatRequest, CompletionRequest, Form, Sampling
from jupyter_mistral.server.external.config import ExternalConfig
from jupyter_mistral.server.external.engine import ExternalEngine
from jupyter_mistral.server.inference.base import Options

# the wheel exists for the platforms of CI; on others, pytest's summary lists these tests as skipped with the reason
pytestmark = [
    pytest.mark.slow,  # the other tests here have a scripted engine, test_sharing.py another model host
    pytest.mark.skipif(find_spec("xllamacpp") is None, reason="no wheel of llama.cpp's server for this platform"),
]

SCRIPT = Path(__file__).with_name("llamacpp_engine.py")
LONG = Sampling(0.0, max_tokens=400)


def _start(model: Path, port: int = 0) -> tuple[subprocess.Popen[str], str]:
    (gguf,) = (model / "source").glob("*.gguf")
    command = [sys.executable, str(SCRIPT), str(gguf), str(port)]
    engine = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert engine.stdout is not None
    url = engine.stdout.readline().strip()
    assert url.startswith("http://127.0.0.1:"), engine.poll()
    return engine, url


@pytest.fixture(scope="module")
def engine_url(models_home: Path) -> Iterator[str]:
    engine, url = _start(models_home / "models" / "qwen2.5-coder-0.5b")
    yield f"{url}/v1"
    engine.kill()
    engine.wait()


@pytest.fixture
def engine(engine_url: str, own_host: Callable[..., Any]) -> ExternalEngine:
    found = own_host(Options(), ExternalConfig(engine_url)).parts.engine.engine
    assert isinstance(found, ExternalEngine)
    return found


async def gathered(events: Any) -> tuple[str, End]:
    text: list[str] = []
    last: Event | None = None
    async for last in events:
        if isinstance(last, Delta):
            text.append(last.text)
    assert isinstance(last, End)
    return "".join(text), last


def chat(words: str, **more: Any) -> ChatRequest:
    return ChatRequest((Message("user", (words,)),), Sampling(0.0, max_tokens=16), **more)


async def test_its_capabilities_are_discovered(engine: ExternalEngine) -> None:
    async for _ in engine.load(None):
        pass
    status = await engine.status()
    assert status.state == "ready"
    assert status.model is not None
    assert (status.model.context_length, status.model.can) == (2048, ("text", "fim"))
    assert status.seal.reason == f"this machine, another program: {engine.host}"
    told = status.engine
    assert told is not None
    assert (told["program"], told["tokens"], told["images"], told["fill_in_the_middle"]) == (
        "llama.cpp",
        "exact",
        False,
        True,
    )


async def test_token_counts_match_the_models_own_tokenizer(engine: ExternalEngine, models_home: Path) -> None:
    from tokenizers import Tokenizer

    texts = ["import pandas as pd\n", "سلام دنیا", "<|im_end|> is text", "x = 1\n\n\n" * 50, "🌬"]
    own = Tokenizer.from_file(str(models_home / "models" / "qwen2.5-coder-0.5b" / "nf4" / "text_tokenizer.json"))
    target = await engine.target(None)
    assert target.is_exact
    assert await target.count(texts) == [len(own.encode(text, add_special_tokens=False).ids) for text in texts]


async def test_the_counted_prompt_tokens_are_those_of_the_engine(engine: ExternalEngine) -> None:
    target = await engine.target(None)
    assert target.render is not None
    request = chat("Name three colours.")
    _, end = await gathered(engine.stream(request))
    assert end.usage.prompt_tokens == await target.render(request.messages)
    _, again = await gathered(engine.stream(request))
    assert again.usage.cached_tokens > 0
    status = await engine.status()
    assert status.engine is not None and status.engine["prefix"] == "told"


async def test_answers_follow_a_schema(engine: ExternalEngine) -> None:
    schema = {
        "type": "object",
        "properties": {"colour": {"enum": ["zx-red", "zx-blue"]}},
        "required": ["colour"],
        "additionalProperties": False,
    }
    text, _ = await gathered(engine.stream(chat("A colour, please.", form=Form("json", schema))))
    assert json.loads(text)["colour"] in ("zx-red", "zx-blue")
    assert (await engine.status()).engine["json_schema"] is True  # type: ignore[index]


async def test_tools_logprobs_stops_and_several_answers_come_from_the_engine(
    engine_url: str, own_host: Callable[..., Any]
) -> None:
    peer = own_host(Options(), ExternalConfig(engine_url)).peer

    async def ask(path: str, **more: Any) -> Any:
        status, whole = await peer.ask("POST", f"/mistral/v1/{path}", {"temperature": 0, "max_tokens": 4, **more})
        assert status == 200, whole
        return whole

    question = {"role": "user", "content": "Add 2 and 3."}
    tools = [{"type": "function", "function": {"name": "add", "description": "Adds two whole numbers."}}]
    call = {"id": "a1b2c3d4e", "type": "function", "function": {"name": "add", "arguments": '{"a": 2, "b": 3}'}}
    called = {"role": "assistant", "content": None, "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": "a1b2c3d4e", "content": "The sum is 5."}
    # whether this model calls a tool does not matter; it must read the tools and the result
    plain = await ask("chat/completions", messages=[question])
    offered = await ask("chat/completions", messages=[question], tools=tools)
    whole = await ask("chat/completions", messages=[question, called, result], tools=tools)
    read = [body["usage"]["prompt_tokens"] for body in (plain, offered, whole)]
    assert read[0] < read[1] < read[2]
    chat = await ask("chat/completions", messages=[question], logprobs=True, top_logprobs=2, n=2, seed=4)
    assert [choice["index"] for choice in chat["choices"]] == [0, 1]
    for choice in chat["choices"]:
        text, chances = choice["message"]["content"], choice["logprobs"]["content"]
        assert text and "".join(chance["token"] for chance in chances).startswith(text)
        assert all(chance["logprob"] <= 0 and len(chance["top_logprobs"]) == 2 for chance in chances)
    text = plain["choices"][0]["message"]["content"]
    cut = await ask("chat/completions", messages=[question], stop=[text[2:4]])
    assert cut["choices"][0]["message"]["content"] == text[: text.index(text[2:4])]
    for suffix in (None, "\n"):
        body = await ask("completions", prompt="def add(a, b):\n    return ", suffix=suffix, logprobs=0)
        [choice] = body["choices"]
        assert choice["text"] and "".join(choice["logprobs"]["tokens"]).startswith(choice["text"])


async def test_fill_in_the_middle(engine: ExternalEngine) -> None:
    request = CompletionRequest("def add(a, b):\n    return ", "\n\nprint(add(1, 2))\n", Sampling(0.0, max_tokens=8))
    text, end = await gathered(engine.complete(request))
    assert text
    assert end.usage.prompt_tokens > 0
    assert 0 < end.usage.completion_tokens <= 8
    plain, _ = await gathered(engine.complete(CompletionRequest("1, 2, 3, ", "", Sampling(0.0, max_tokens=4))))
    assert plain


async def test_an_image_is_refused_before_it_is_sent(engine: ExternalEngine) -> None:
    from jupyter_mistral.server.external.probes import IMAGE

    picture = Message("user", ("see", Image.of_url(f"data:image/png;base64,{IMAGE}", "x")))
    with pytest.raises(Failure) as caught:
        await gathered(engine.stream(ChatRequest((picture,))))
    assert caught.value.code == "unsupported"


async def test_disconnecting_frees_the_engine(engine: ExternalEngine) -> None:
    # it runs two at once: if the first three were still running, the last would wait for their complete answers
    for _ in range(3):
        async with contextlib.aclosing(
            engine.stream(ChatRequest((Message("user", ("Count to 1000.",)),), LONG))
        ) as events:
            while not isinstance(await anext(events), Delta):
                pass
    text, _ = await gathered(engine.stream(chat("Say hello.")))
    assert text
    assert not engine.is_busy


async def test_the_panel_and_other_clients_use_it_like_a_local_model(
    engine_url: str, own_host: Callable[..., Any]
) -> None:
    peer = own_host(Options(), ExternalConfig(engine_url)).peer
    cells = [{"cell_type": "code", "source": "price = 41", "metadata": {}, "outputs": [], "execution_count": 1}]
    notebook = {"events": True, "notebook": {"cells": cells, "language": "python", "path": "a.ipynb"}}
    body = {"messages": [{"role": "user", "content": "What is price?"}], "mistral": notebook}
    status, ledger = await peer.ask("POST", "/mistral/api/context", body)
    assert status == 200, ledger
    assert ledger["counted"] == "exact"
    reply = await peer.send("POST", "/mistral/v1/chat/completions", {**body, "stream": True, "max_tokens": 4})
    chunks = [chunk async for chunk in reply.chunks()]
    assert chunks[-1] == "[DONE]", chunks
    usage = next(chunk["usage"] for chunk in chunks if isinstance(chunk, dict) and chunk.get("usage"))
    # the ledger's count and the engine's own
    assert usage["prompt_tokens"] == ledger["tokens"]
    _, catalogue = await peer.ask("GET", "/mistral/api/models")
    assert [row["state"] for row in catalogue["models"]] == ["external"]
    status, refused = await peer.ask("POST", "/mistral/api/unload", {})
    assert (status, refused["error"]["code"]) == (400, "unsupported")


async def test_an_engine_killed_during_an_answer_leaves_its_text_and_one_error(
    models_home: Path, own_host: Callable[..., Any]
) -> None:
    small = models_home / "models" / "smollm2-135m"
    engine, url = _start(small)
    try:
        peer = own_host(Options(), ExternalConfig(url)).peer
        body = {"messages": [{"role": "user", "content": "Count to 1000."}], "stream": True, "max_tokens": 1500}
        reply = await peer.send("POST", "/mistral/v1/chat/completions", body)
        chunks: list[Any] = []
        async for chunk in reply.chunks():
            chunks.append(chunk)
            if len(chunks) == 3:
                engine.send_signal(signal.SIGKILL)
                engine.wait()
        assert "error" in chunks[-1], chunks[-1]
        assert chunks[-1]["error"]["code"] == "engine_died"
        assert sum("error" in chunk for chunk in chunks) == 1
        engine, _ = _start(small, int(url.rpartition(":")[2]))
        status, whole = await peer.ask(
            "POST", "/mistral/v1/chat/completions", {**body, "stream": False, "max_tokens": 4}
        )
        assert status == 200, whole
    finally:
        engine.kill()
        engine.wait()


async def test_magics_use_it_without_torch(engine_url: str, tmp_path: Path) -> None:
    """Without a server, the magic starts a model host, which reads the admin's settings and loads nothing."""
    (tmp_path / "jupyter_server_config.json").write_text(json.dumps({"MistralExtension": {"engine_url": engine_url}}))
    runtime = tmp_path / "runtime"
    places = {
        "JUPYTER_CONFIG_DIR": str(tmp_path),
        "JUPYTER_RUNTIME_DIR": str(runtime),
        "IPYTHONDIR": str(tmp_path / "ip"),
    }
    lines = "%load_ext jupyter_mistral\n%mistral -m '{\"max_tokens\": 4}' hello\n%mistral status\n"
    script = tmp_path / "session.ipy"
    script.write_text(lines)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "IPython",
        "--colors=NoColor",
        str(script),
        env={**os.environ, **places},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        out = (await process.communicate())[0].decode()
        assert process.returncode == 0, out
        assert "another program" in out, out
        (info,) = [json.loads(file.read_text()) for file in runtime.glob("mistral-*.json")]
        maps = Path(f"/proc/{info['pid']}/maps").read_text()
        assert "libtorch" not in maps
    finally:
        for file in runtime.glob("mistral-*.json"):
            os.kill(json.loads(file.read_text())["pid"], signal.SIGTERM)
