"""The magics in a real IPython kernel: the messages to a front end, headless runs, and a real terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pexpect
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import start_new_kernel
from jupyter_mistral.protocol.events import Delta, End, Loading, Reading
from jupyter_mistral.protocol.failures import Failure
from jupyter_mistral.protocol.requests import ChatRequest
from kernel_peer import USAGE, Peer
from kernel_shell import Shell
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_notebook

TIMEOUT = 120
Message = dict[str, Any]


class Kernel:
    """A kernel as seen by a front end."""

    def __init__(self, client: BlockingKernelClient, interrupt: Any) -> None:
        self._client, self.interrupt = client, interrupt
        assert self.run("%load_ext jupyter_mistral")[0]["status"] == "ok"

    def run(self, cell: str, on: Any = lambda message: None) -> tuple[Message, list[Message]]:
        """The reply to a cell and the messages that it published."""
        published: list[Message] = []

        def keep(message: Message) -> None:
            published.append(message)
            on(message)

        reply = self._client.execute_interactive(cell, output_hook=keep, timeout=TIMEOUT, allow_stdin=False)
        return reply["content"], [m for m in published if m["msg_type"] not in ("status", "execute_input")]


@pytest.fixture
def kernel(peer: Peer) -> Iterator[Kernel]:
    manager, client = start_new_kernel(startup_timeout=TIMEOUT, kernel_name="python3")
    yield Kernel(client, manager.interrupt_kernel)
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_an_answer_is_one_output_that_is_updated_in_place(kernel: Kernel, peer: Peer) -> None:
    def script(request: ChatRequest) -> object:
        yield Loading("load", 0.42, "", 12.0)
        yield Reading(1024, 4096, 512)
        for _ in range(400):
            yield Delta("**bold** <img src=x onerror=alert(1)> ")
        yield End("stop", USAGE)

    peer.script = script  # type: ignore[assignment]
    reply, messages = kernel.run("%mistral hi")
    assert reply["status"] == "ok"
    assert [m["msg_type"] for m in messages].count("display_data") == 1
    assert {m["msg_type"] for m in messages} == {"display_data", "update_display_data"}
    assert len(messages) < 100  # of 402 events: the screen is not flooded
    assert len({m["content"]["transient"]["display_id"] for m in messages}) == 1
    assert "Loading the model 42%, 12 s left" in messages[0]["content"]["data"]["text/html"]
    last = messages[-1]["content"]
    assert set(last["data"]) == {"text/html", "text/plain"}
    assert last["data"]["text/plain"] == "**bold** <img src=x onerror=alert(1)> " * 400
    assert "<strong>bold</strong> &lt;img" in last["data"]["text/html"]
    assert "qwen2.5-coder-0.5b<i>·</i>4-bit nf4<i>·</i>first token 0.42 s" in last["data"]["text/html"]
    assert last["metadata"]["jupyter_mistral"] == {
        "generated": True,
        "model": "qwen2.5-coder-0.5b",
        "quantization": "nf4",
        "seed": 7,
        "format": "markdown",
        "finish": "stop",
    }


def test_an_interrupt_stops_the_answer_and_the_kernel_lives_on(kernel: Kernel, peer: Peer) -> None:
    shown = threading.Event()

    def script(request: ChatRequest) -> object:
        yield Delta("one two ")
        shown.wait(TIMEOUT)
        kernel.interrupt()
        while not peer.left.wait(0.02):
            yield Delta("more ")

    peer.script = script  # type: ignore[assignment]
    reply, messages = kernel.run(
        "%mistral count", on=lambda m: shown.set() if m["msg_type"] == "display_data" else None
    )
    assert (reply["status"], reply["ename"]) == ("error", "Stopped")
    assert peer.left.wait(TIMEOUT)
    errors = [m["content"] for m in messages if m["msg_type"] == "error"]
    assert [e["traceback"] for e in errors] == [["Stopped: the answer was interrupted."]]
    last = [m["content"] for m in messages if m["msg_type"] == "update_display_data"][-1]
    assert last["data"]["text/plain"].startswith("one two ")
    assert '<span class="jmi-warn">stopped</span>' in last["data"]["text/html"]
    assert last["metadata"]["jupyter_mistral"]["finish"] == "stopped"
    peer.say("fine")
    assert kernel.run("%mistral again")[1][-1]["content"]["data"]["text/plain"] == "fine"


def test_code_comes_as_a_new_cell_below_and_the_output_shows_only_prose(kernel: Kernel, peer: Peer) -> None:
    peer.say("Sure:\n```python\nx = 1\n```\nand\n```python\ny = 2\n```")
    reply, messages = kernel.run("%%mistral -f code\nset x and y")
    assert reply["payload"] == [{"source": "set_next_input", "text": "x = 1\n\ny = 2", "replace": False}]
    html = messages[-1]["content"]["data"]["text/html"]
    assert "<p" in html and "Sure:" in html
    assert "4 lines" not in html and "3 lines of code, in the new cell below" in html


@pytest.mark.parametrize(
    ("format", "answer", "types"),
    [
        ("text", "plain **text**", {"text/plain"}),
        ("json", '{"a": 1}', {"text/plain", "text/html"}),
        ("html", "<b>x</b><script>1</script>", {"text/plain", "text/html"}),
        ("math", "$$x^2$$", {"text/plain", "text/html", "text/latex"}),
        ("md", "# x", {"text/plain", "text/html"}),
    ],
)
def test_every_format_publishes_only_types_that_are_safe(
    kernel: Kernel, peer: Peer, format: str, answer: str, types: set[str]
) -> None:
    peer.say(answer)
    reply, messages = kernel.run(f"%mistral -f {format} x")
    assert reply["status"] == "ok"
    assert set(messages[-1]["content"]["data"]) == types
    assert "<script" not in messages[-1]["content"]["data"].get("text/html", "")


def test_a_variable_that_holds_a_reply_shows_it_again(kernel: Kernel, peer: Peer) -> None:
    peer.say("**bold**")
    kernel.run("%mistral --out draft hi")
    _, messages = kernel.run("draft")
    assert messages[0]["msg_type"] == "execute_result"
    assert "<strong>bold</strong>" in messages[0]["content"]["data"]["text/html"]
    assert kernel.run("print(draft)")[1][0]["content"]["text"] == "**bold**\n"


def test_commands_render_in_a_notebook(kernel: Kernel, peer: Peer) -> None:
    for command, says in [("status", "<td"), ("list", "<strong>qwen2.5"), ("help", "<table>"), ("load", "is ready")]:
        reply, messages = kernel.run(f"%mistral {command}")
        assert reply["status"] == "ok"
        assert says in messages[-1]["content"]["data"]["text/html"]


def test_a_failure_stops_run_all_with_one_sentence(peer: Peer) -> None:
    def script(request: ChatRequest) -> object:
        raise Failure("model_not_on_disk", "The model is not on disk.", "Run `%mistral load`.")
        yield

    peer.script = script  # type: ignore[assignment]
    cells = ["%load_ext jupyter_mistral", "%mistral hi", "print('never')"]
    notebook = new_notebook(cells=[new_code_cell(c) for c in cells])
    with pytest.raises(CellExecutionError):
        NotebookClient(notebook, timeout=TIMEOUT, kernel_name="python3").execute()
    (output,) = notebook.cells[1].outputs
    assert output.ename == "MistralError"
    assert output.traceback == ["MistralError: The model is not on disk. Run `%mistral load`."]
    assert not notebook.cells[2].outputs


def test_nbconvert_runs_a_notebook_without_a_front_end(peer: Peer, tmp_path: Path) -> None:
    peer.say("The *answer*.")
    cells = ["%load_ext jupyter_mistral", "%%mistral --out draft\nwhy?", "print(draft.text)"]
    path = tmp_path / "a.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(c) for c in cells]), path)
    command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--inplace", str(path)]
    subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT, env=os.environ | {"PYTHONWARNINGS": ""})
    done = json.loads(path.read_text())
    (answer,) = done["cells"][1]["outputs"]
    assert answer["output_type"] == "display_data"
    assert answer["metadata"]["jupyter_mistral"]["generated"] is True
    assert "<em>answer</em>" in "".join(answer["data"]["text/html"])
    assert "jmi-live" not in "".join(answer["data"]["text/html"]).split("</style>")[1]
    assert done["cells"][2]["outputs"][0]["text"] == ["The *answer*.\n"]


def test_a_terminals_ipython_streams_text_and_offers_code(peer: Peer, tmp_path: Path) -> None:
    peer.say("Sure:\n```python\nx = 41 + 1\n```")
    command = ["-m", "IPython", "--no-banner", "--no-confirm-exit", "--colors=NoColor"]
    environ = os.environ | {"TERM": "xterm", "IPYTHONDIR": str(tmp_path), "PROMPT_TOOLKIT_NO_CPR": "1"}
    child = pexpect.spawn(sys.executable, command, env=environ, encoding="utf-8", timeout=120, dimensions=(50, 200))
    try:
        child.expect("In \\[1\\]")
        child.send("%load_ext jupyter_mistral\r")
        child.expect("In \\[2\\]")
        child.send("%mistral -f code set x?\r")
        child.expect("x = 41 \\+ 1")
        child.expect("qwen2.5-coder-0.5b · 4-bit nf4")
        child.expect("In \\[3\\]")
        child.expect("x = 41 \\+ 1")  # the next prompt holds the code
        child.send("\r")
        child.expect("In \\[4\\]")
        child.send("print(x * 10)\r")
        child.expect("420")
    finally:
        child.close(force=True)
    assert peer.prompt.startswith("set x?")


def test_a_shell_without_a_kernel_never_publishes_html(shell: Shell, peer: Peer) -> None:
    assert "<" not in shell.run("%mistral hi")[0]
