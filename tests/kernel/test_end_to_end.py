"""A real kernel, a real host that the magics start, and a real worker with a real 4-bit model."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import start_new_kernel
from jupyter_mistral.kernel.host.client import Client
from jupyter_mistral.kernel.host.connection import find_connection
from jupyter_mistral.protocol import CONNECTION_ENV

MODEL = "smollm2-135m"
TIMEOUT = 300
# the grammar keeps the model from ending
ENDLESS = (
    """%mistral --max-tokens 4000 --schema '{"type": "array", "items": {"type": "integer"}, "minItems": 3000}' Count."""
)
Message = dict[str, Any]


@pytest.fixture
def kernel(mistral_home: Path, ticking: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    """A kernel without a running Jupyter server. The host that it starts is ended with the test."""
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(runtime))
    monkeypatch.delenv(CONNECTION_ENV, raising=False)
    manager, client = start_new_kernel(startup_timeout=TIMEOUT, kernel_name="python3")
    kernel = Kernel(client, manager.interrupt_kernel)
    try:
        for cell in ("%load_ext jupyter_mistral", f"%config MistralMagics.model = '{ticking}'"):
            assert kernel.run(cell)[0]["status"] == "ok"
        yield kernel
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        while (host := find_connection()) is not None:
            with suppress(ProcessLookupError):
                os.kill(host.pid, signal.SIGTERM)
            time.sleep(0.05)


class Kernel:
    """A kernel as seen by a front end."""

    def __init__(self, client: BlockingKernelClient, interrupt: Any) -> None:
        self._client, self.interrupt = client, interrupt

    def run(self, cell: str, on: Any = lambda message: None) -> tuple[Message, list[Message]]:
        """The reply to a cell and the messages that it published."""
        published: list[Message] = []

        def keep(message: Message) -> None:
            published.append(message)
            on(message)

        reply = self._client.execute_interactive(cell, output_hook=keep, timeout=TIMEOUT, allow_stdin=False)
        return reply["content"], [m for m in published if m["msg_type"] not in ("status", "execute_input")]

    def printed(self, cell: str) -> str:
        reply, messages = self.run(cell)
        assert reply["status"] == "ok", reply
        return "".join(m["content"]["text"] for m in messages if m["msg_type"] == "stream").strip()


def test_a_question_on_a_machine_without_a_server_starts_the_host_and_is_answered(kernel: Kernel) -> None:
    kernel.run(f"%config MistralMagics.model = '{MODEL}'")
    reply, messages = kernel.run("%mistral --seed 1 --max-tokens 24 --out first What is a list in Python?")
    assert reply["status"] == "ok", reply
    assert messages[0]["content"]["text"].startswith("Started a model host (process ")
    last = messages[-1]["content"]
    provenance = last["metadata"]["jupyter_mistral"]
    assert (provenance["generated"], provenance["model"], provenance["quantization"], provenance["seed"]) == (
        True,
        MODEL,
        "nf4",
        1,
    )
    assert "tokens/s" in last["data"]["text/html"]
    assert last["data"]["text/plain"] and last["data"]["text/plain"] == kernel.printed("print(first.text)")

    # a second question reads only what is new; its JSON is of the schema, whatever a model of 135 M parameters thinks
    schema = (
        '{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": false}'
    )
    reply, _ = kernel.run(
        f"%mistral --temperature 0 --max-tokens 40 --schema '{schema}' --out number How many days has a week?"
    )
    assert reply["status"] == "ok", reply
    assert kernel.printed("print(type(number.json['n']).__name__, number.usage.cached_tokens > 20)") == "int True"

    # the same seed gives the same answer
    kernel.run("%mistral --no-history --seed 5 --temperature 1 --max-tokens 16 --out a Tell me something.")
    kernel.run("%mistral --no-history --seed 5 --temperature 1 --max-tokens 16 --out b Tell me something.")
    assert kernel.printed("print(a.text == b.text, a.seed)") == "True 5"

    kernel.run("%mistral unload")
    assert Client.find(start=False).get("/mistral/api/status")["state"] == "unloaded"


def test_an_interrupt_frees_the_engine(kernel: Kernel) -> None:
    interrupted: list[bool] = []

    def on(message: Message) -> None:
        data = message["content"].get("data", {})
        if not interrupted and len(data.get("text/plain", "")) > 12:
            interrupted.append(True)
            kernel.interrupt()

    reply, _ = kernel.run(ENDLESS, on)
    assert interrupted
    assert (reply["status"], reply["ename"]) == ("error", "Stopped")
    client = Client.find(start=False)
    while client.get("/mistral/api/status")["running"]:
        time.sleep(0.05)
    assert kernel.run("%mistral --max-tokens 4 Hello?")[0]["status"] == "ok"


def test_a_killed_host_is_one_sentence_and_the_next_question_starts_another(kernel: Kernel) -> None:
    killed: list[int] = []

    def on(message: Message) -> None:
        data = message["content"].get("data", {})
        if not killed and len(data.get("text/plain", "")) > 12:
            killed.append(Client.find(start=False).pid)
            os.kill(killed[0], signal.SIGKILL)

    reply, messages = kernel.run(ENDLESS, on)
    assert killed
    assert (reply["status"], reply["ename"]) == ("error", "MistralError")
    assert len(reply["traceback"]) == 1
    assert "interrupted by an error" in messages[-2]["content"]["data"]["text/html"]
    reply, messages = kernel.run("%mistral --max-tokens 4 Hello?")
    assert reply["status"] == "ok", reply
    assert messages[0]["content"]["text"].startswith("Started a model host")


def test_a_model_that_is_not_on_disk_is_not_downloaded_unasked(kernel: Kernel) -> None:
    reply, _ = kernel.run("%mistral --model mistral-small-3.2 Hello?")
    assert (reply["status"], reply["ename"]) == ("error", "MistralError")
    assert "Run `%mistral load mistral-small-3.2`" in reply["evalue"]
    reply, _ = kernel.run("%mistral --model no-such-model Hello?")
    assert (reply["status"], reply["ename"]) == ("error", "MistralError")
    assert "no-such-model" in reply["evalue"]


def test_a_prompt_beyond_the_context_is_refused_in_a_sentence(kernel: Kernel) -> None:
    kernel.run("text = 'word ' * 9000")
    reply, _ = kernel.run("%mistral Sum up: {text}")
    assert (reply["status"], reply["ename"]) == ("error", "MistralError")
    assert "tokens" in reply["evalue"]
    assert kernel.run("%mistral --no-history --max-tokens 4 Hello?")[0]["status"] == "ok"
