"""Real servers for the browser tests: JupyterLab and Notebook 7, without the user's settings, each with its own home."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

import pytest

TOKEN = "ui-tests"
EXPOSED = {
    "jupyterlab": "--LabApp.expose_app_in_browser=True",
    "notebook": "--JupyterNotebookApp.expose_app_in_browser=True",
}


class Lab(NamedTuple):
    """A running server: address, root folder, process, and the home of models and chats."""

    url: str
    root: Path
    process: subprocess.Popen[bytes]
    home: Path

    def ask(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """Return the JSON of a response, or the text of a stream."""
        headers = {"Authorization": f"token {TOKEN}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=300) as reply:
            raw = reply.read().decode()
            return raw if "event-stream" in reply.headers.get("Content-Type", "") else json.loads(raw or "null")

    def load(self, model: str | None = None) -> None:
        """Load a model, by default the default one."""
        events = self.ask("/mistral/api/load", "POST", {} if model is None else {"model": model})
        state = self.ask("/mistral/api/status")["state"]
        assert state == "ready", f"{state}: {events}"

    def forget(self) -> None:
        """Delete the chats, and wait until the model is idle, so that tests do not affect each other."""
        for chat in self.ask("/mistral/api/chats")["chats"]:
            self.ask(f"/mistral/api/chats/{chat['id']}", "DELETE")
        while self.ask("/mistral/api/status")["running"]:
            time.sleep(0.02)

    def end_kernels(self) -> None:
        """Shut down the kernels, so that tests do not see each other's variables."""
        for session in self.ask("/api/sessions"):
            with contextlib.suppress(urllib.error.HTTPError):  # its kernel has already stopped
                self.ask(f"/api/sessions/{session['id']}", "DELETE")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            # Jupyter Server waits forever for an AnyIO thread if it stops while it reads a file for a page
            self.process.kill()
            self.process.wait(60)


def start(module: str, home: Path, models: Path, *more: str, port: int = 0) -> Lab:
    """Start a server with a model folder. The `home` and `port` of an earlier server restart that one."""
    root, config, mistral = home / "root", home / "config", home / "mistral"
    if not port:
        root.mkdir()
        mistral.mkdir(mode=0o700)
        (mistral / "models").symlink_to(models)
        (config / "labconfig").mkdir(parents=True)
    # the 'Jupyter news' toast covers the panel's buttons
    disabled = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    (config / "labconfig" / "page_config.json").write_text(json.dumps(disabled))
    env = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(config),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_MISTRAL_HOME": str(mistral),
    }
    # port 0: the server picks a free port itself, so that nobody takes it in between
    command = [sys.executable, "-m", module, f"--port={port}", "--ServerApp.port_retries=0"]
    command += ["--no-browser", "--allow-root", EXPOSED[module]]
    command += [f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={root}", *more]
    log = home / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.STDOUT)
    connection = home / "runtime" / f"jpserver-{process.pid}.json"
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        # the file may be half written
        with contextlib.suppress(OSError, ValueError):
            url = f"http://127.0.0.1:{json.loads(connection.read_text())['port']}"
            urllib.request.urlopen(f"{url}/api", timeout=10).close()
            return Lab(url, root, process, mistral)
        time.sleep(0.05)
    process.kill()
    pytest.fail(f"the server did not start:\n{log.read_text()[-3000:]}")


def default(model: Path | str) -> str:
    """The setting that makes this the default model."""
    return f"--MistralExtension.default_model={model}"


def write_notebook(root: Path, name: str, sources: list[str]) -> None:
    cells = [
        {"cell_type": "code", "id": f"c{i}", "metadata": {}, "source": source, "outputs": [], "execution_count": None}
        for i, source in enumerate(sources)
    ]
    meta = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    (root / name).write_text(json.dumps({"cells": cells, "metadata": meta, "nbformat": 4, "nbformat_minor": 5}))
