"""Start a Jupyter server of our own and run a notebook's cells in one of its kernels, for the demo and for `doctor --egress`.

The kernel belongs to a session of the server, so its magics find the model as they do in JupyterLab. Knows nothing of the model.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .protocol.failures import Failure

Show = Callable[[str], None]
OnMessage = Callable[[dict[str, Any]], None]
START_TIMEOUT_S = 90


class JupyterServer:
    """A running Jupyter server of ours at `url` (no trailing slash), which accepts `token`."""

    def __init__(self, url: str, token: str) -> None:
        self.url, self.token = url, token

    def request(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """One JSON request to `/api/...`. Raises `Failure` if the server refuses it."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"token {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)  # noqa: S310 (our own loopback server)
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310
                raw = reply.read()
        except urllib.error.HTTPError as error:
            message = f"The Jupyter server answered {error.code} to {path}."
            raise Failure("internal", message, "Its log has the reason.") from None
        return json.loads(raw) if raw else None

    @contextmanager
    def kernel(self, notebook: str) -> Iterator[Kernel]:
        """A kernel whose session belongs to the notebook at path `notebook`; shut down on leaving."""
        body = {"path": notebook, "name": notebook, "type": "notebook", "kernel": {"name": "python3"}}
        session = self.request("/api/sessions", body)
        kernel = Kernel(session["kernel"]["id"])
        try:
            yield kernel
        finally:
            kernel.close()
            self.request(f"/api/sessions/{session['id']}", method="DELETE")


class Kernel:
    """A kernel of a server on this machine, reached through its connection file."""

    def __init__(self, kernel_id: str) -> None:
        from jupyter_client.blocking.client import BlockingKernelClient
        from jupyter_core.paths import jupyter_runtime_dir

        self._client = BlockingKernelClient()
        self._client.load_connection_file(str(Path(jupyter_runtime_dir()) / f"kernel-{kernel_id}.json"))
        self._client.start_channels()
        self._client.wait_for_ready(timeout=START_TIMEOUT_S)

    def close(self) -> None:
        self._client.stop_channels()

    def execute(self, source: str, on_message: OnMessage) -> dict[str, Any]:
        """Execute `source`, hand over each message that it publishes, and return the content of the kernel's reply."""
        reply = self._client.execute_interactive(source, allow_stdin=False, output_hook=on_message)
        return dict(reply["content"])


@contextmanager
def serving(
    root: Path, *, lab: bool, log: Path, flags: Sequence[str] = (), before: Sequence[str] = ()
) -> Iterator[JupyterServer]:
    """A Jupyter server (JupyterLab if `lab`) on loopback with `root` as its folder; ended on leaving.

    flags: further flags for the server. before: a command that runs the server, such as a tracer.
    The token is passed in the environment, not on the command line, which every user of the machine can read.
    """
    from jupyter_core.paths import jupyter_runtime_dir

    token = uuid.uuid4().hex
    command = [*before, sys.executable, "-m", "jupyterlab" if lab else "jupyter_server"]
    command += ["--no-browser", "--ServerApp.ip=127.0.0.1", *flags, f"--ServerApp.root_dir={root}"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    environment = {**os.environ, "JUPYTER_TOKEN": token}
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT)
        try:
            info = Path(jupyter_runtime_dir()) / f"jpserver-{process.pid}.json"
            yield JupyterServer(_wait_for_url(process, info, log), token)
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_for_url(process: subprocess.Popen[bytes], info: Path, log: Path) -> str:
    """The server's address, once it answers."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            url = str(json.loads(info.read_text())["url"]).rstrip("/")
            urllib.request.urlopen(f"{url}/api", timeout=5).close()  # noqa: S310 (our own loopback server)
        except (OSError, ValueError, KeyError):
            time.sleep(0.1)
        else:
            return url
    tail = log.read_text(errors="replace")[-1500:]
    todo = "Fix the errors shown in the log, then retry."
    raise Failure("internal", f"The Jupyter server did not start:\n{tail}", todo)


class NotebookRunner:
    """Runs a notebook's code cells in order and keeps their outputs, as JupyterLab would. `show` prints them too."""

    def __init__(self, notebook: Any, kernel: Kernel, show: Show) -> None:
        self._notebook, self._kernel, self._show = notebook, kernel, show
        self._displays: dict[str, list[Any]] = {}

    def run(self) -> None:
        """Raises `Failure` at the first cell that fails without the tag `raises-exception`: Run All stops there too.

        A cell that a magic inserts below is a proposal: it is shown and saved, not run.
        """
        cells = self._notebook.cells
        for cell in list(cells):
            if cell.cell_type != "code" or not cell.source.strip():
                continue
            number = sum(bool(c.get("execution_count")) for c in cells) + 1
            self._show(f"\nIn [{number}]: " + cell.source.replace("\n", "\n   ...: ") + "\n")
            error = self._run_cell(cell)
            if error and "raises-exception" not in cell.metadata.get("tags", ()):
                raise Failure("internal", f"A cell failed: {error}", "The executed notebook shows which.")

    def _run_cell(self, cell: Any) -> str:
        """Run one cell; returns its error, "" if it has none."""
        cell.outputs = []
        printer = _AnswerPrinter(self._show)
        reply = self._kernel.execute(cell.source, lambda message: self._on_message(cell, printer, message))
        cell.execution_count = reply.get("execution_count")
        for payload in reply.get("payload", ()):
            if payload.get("source") == "set_next_input":
                self._insert_below(cell, payload["text"])
        return f"{reply['ename']}: {reply['evalue']}" if reply["status"] == "error" else ""

    def _insert_below(self, cell: Any, source: str) -> None:
        from nbformat.v4 import new_code_cell

        index = next(i for i, other in enumerate(self._notebook.cells) if other is cell)
        self._notebook.cells.insert(index + 1, new_code_cell(source))
        self._show("\n── new cell below ──\n" + source + "\n")

    def _on_message(self, cell: Any, printer: _AnswerPrinter, message: dict[str, Any]) -> None:
        from nbformat.v4 import output_from_msg

        kind, content = message["msg_type"], message["content"]
        if kind == "update_display_data":
            for output in self._displays.get(content["transient"]["display_id"], ()):
                output.data, output.metadata = content["data"], content["metadata"]
            printer.update(content["data"])
        elif kind in ("stream", "display_data", "execute_result", "error"):
            output = output_from_msg(message)
            cell.outputs.append(output)
            if kind == "stream":
                self._show(content["text"])
            elif kind == "error":
                self._show(f"\n{content['ename']}: {content['evalue']}\n")
            else:
                display_id = content.get("transient", {}).get("display_id")
                if display_id:
                    self._displays.setdefault(display_id, []).append(output)
                printer.start(content["data"])


class _AnswerPrinter:
    """Prints a display that grows by updates, such as a streamed answer: of each update only what is new."""

    def __init__(self, show: Show) -> None:
        self._show, self._shown = show, ""

    def start(self, data: dict[str, Any]) -> None:
        self._shown = ""
        self.update(data)

    def update(self, data: dict[str, Any]) -> None:
        text = str(data.get("text/plain", ""))
        if text == "…":  # waiting for the first token
            return
        self._show(text[len(self._shown) :] if text.startswith(self._shown) else "\n" + text)
        self._shown = text
