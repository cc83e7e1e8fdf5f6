"""A running Jupyter server, driven over HTTP and its kernel websocket as JupyterLab does it. Knows nothing of the model."""

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


class LiveServer:
    """A Jupyter server of ours at `url` (no trailing slash) that takes `token`."""

    def __init__(self, url: str, token: str) -> None:
        self.url, self.token = url, token

    def ask(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """One JSON request to `/api/...`. Raises `Failure` with the server's own words."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"token {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)  # noqa: S310 (our own loopback server)
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310
                raw = reply.read()
        except urllib.error.HTTPError as error:
            raise Failure(
                "internal", f"The Jupyter server answered {error.code} to {path}.", "Its log tells why."
            ) from None
        return json.loads(raw) if raw else None

    @contextmanager
    def kernel(self, notebook: str) -> Iterator[LiveKernel]:
        """A kernel whose session belongs to the notebook at path `notebook`; shut down on leaving."""
        session = self.ask(
            "/api/sessions", {"path": notebook, "name": notebook, "type": "notebook", "kernel": {"name": "python3"}}
        )
        kernel = LiveKernel(self, session["kernel"]["id"])
        try:
            yield kernel
        finally:
            kernel.close()
            self.ask(f"/api/sessions/{session['id']}", method="DELETE")


class LiveKernel:
    """One kernel over the server's websocket."""

    def __init__(self, server: LiveServer, kernel_id: str) -> None:
        import websocket  # of jupyter_server's own dependencies

        self._session = uuid.uuid4().hex
        url = f"{server.url.replace('http', 'ws', 1)}/api/kernels/{kernel_id}/channels?session_id={self._session}"
        self._socket = websocket.create_connection(url, header=[f"Authorization: token {server.token}"], timeout=900)

    def close(self) -> None:
        self._socket.close()

    def run(self, source: str) -> Iterator[dict[str, Any]]:
        """Execute `source`; yield the messages that answer it, the execute reply and the idle status among them."""
        msg_id = uuid.uuid4().hex
        header = {
            "msg_id": msg_id,
            "msg_type": "execute_request",
            "username": "",
            "session": self._session,
            "version": "5.3",
            "date": "",
        }
        content = {"code": source, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        content["stop_on_error"] = True
        message = {
            "header": header,
            "parent_header": {},
            "metadata": {},
            "content": content,
            "channel": "shell",
            "buffers": [],
        }
        self._socket.send(json.dumps(message))
        waiting = {"execute_reply", "idle"}
        while waiting:
            answer = json.loads(self._socket.recv())
            if answer["parent_header"].get("msg_id") != msg_id:
                continue
            yield answer
            waiting -= {answer["msg_type"], answer["content"].get("execution_state", "")}


@contextmanager
def serving(
    root: Path, *, lab: bool, log: Path, flags: Sequence[str] = (), before: Sequence[str] = ()
) -> Iterator[LiveServer]:
    """A Jupyter server (JupyterLab where `lab`) on loopback with `root` as its folder; ended on leaving.

    flags: further ones for the server. before: a command that runs the server in its own place (a tracer).
    The token goes by the environment, never by the command line that every user of the machine can read.
    """
    from jupyter_core.paths import jupyter_runtime_dir

    token = uuid.uuid4().hex
    command = [
        *before,
        sys.executable,
        "-m",
        "jupyterlab" if lab else "jupyter_server",
        "--no-browser",
        "--ServerApp.ip=127.0.0.1",
    ]
    command += [
        *flags,
        f"--ServerApp.root_dir={root}",
        *(["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),
    ]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env={**os.environ, "JUPYTER_TOKEN": token}, stdout=out, stderr=subprocess.STDOUT
        )
        try:
            info = Path(jupyter_runtime_dir()) / f"jpserver-{process.pid}.json"
            yield LiveServer(_url(process, info, log), token)
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


def _url(process: subprocess.Popen[bytes], info: Path, log: Path) -> str:
    """The server's address, once it answers."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        try:
            url = str(json.loads(info.read_text())["url"]).rstrip("/")
            urllib.request.urlopen(f"{url}/api", timeout=5).close()  # noqa: S310 (our own loopback server)
        except (OSError, ValueError, KeyError):
            time.sleep(0.1)
        else:
            return url
    tail = log.read_text(errors="replace")[-1500:]
    raise Failure("internal", f"The Jupyter server did not start:\n{tail}", "Mend what its log names, then try again.")


class Executed:
    """Runs a notebook's code cells in order in a live kernel and keeps what they print, as JupyterLab would."""

    def __init__(self, notebook: Any, kernel: LiveKernel, show: Show) -> None:
        self._notebook, self._kernel, self._show = notebook, kernel, show
        self._displays: dict[str, list[Any]] = {}

    def run(self) -> None:
        """Raises `Failure` at the first cell that fails and is not tagged `raises-exception`, as Run All stops there.

        A cell that a magic puts below stays as a proposal: it is shown and saved, not run.
        """
        cells = self._notebook.cells
        for cell in list(cells):
            if cell.cell_type != "code" or not cell.source.strip():
                continue
            self._show(
                f"\nIn [{sum(bool(c.get('execution_count')) for c in cells) + 1}]: "
                + cell.source.replace("\n", "\n   ...: ")
                + "\n"
            )
            failed = self._run_cell(cell)
            if failed and "raises-exception" not in cell.metadata.get("tags", ()):
                raise Failure("internal", f"A cell failed: {failed}", "The executed notebook shows where.")

    def _run_cell(self, cell: Any) -> str:
        from nbformat.v4 import new_code_cell, output_from_msg

        cell.outputs, failed, shown = [], "", ""
        for message in self._kernel.run(cell.source):
            kind, content = message["msg_type"], message["content"]
            if kind == "execute_reply":
                cell.execution_count = content.get("execution_count")
                for payload in content.get("payload", ()):
                    if payload.get("source") == "set_next_input":
                        at = next(i for i, other in enumerate(self._notebook.cells) if other is cell)
                        self._notebook.cells.insert(at + 1, new_code_cell(payload["text"]))
                        self._show("\n── new cell below ──\n" + payload["text"] + "\n")
            elif kind == "update_display_data":
                for output in self._displays.get(content["transient"]["display_id"], ()):
                    output.data, output.metadata = content["data"], content["metadata"]
                shown = self._more(shown, content["data"])
            elif kind in ("stream", "display_data", "execute_result", "error"):
                output = output_from_msg({**message, "header": {"msg_type": kind}})
                cell.outputs.append(output)
                if kind == "stream":
                    self._show(content["text"])
                elif kind == "error":
                    failed = f"{content['ename']}: {content['evalue']}"
                    self._show(failed + "\n")
                else:
                    display_id = content.get("transient", {}).get("display_id")
                    if display_id:
                        self._displays.setdefault(display_id, []).append(output)
                    shown = self._more("", content["data"])
        return failed

    def _more(self, shown: str, data: dict[str, Any]) -> str:
        """Print what `data` adds to the text that is on the terminal already."""
        text = str(data.get("text/plain", ""))
        if text == "…":  # the answer is awaited
            return shown
        self._show(text[len(shown) :] if text.startswith(shown) else "\n" + text)
        return text
