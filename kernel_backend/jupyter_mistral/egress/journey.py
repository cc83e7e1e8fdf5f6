"""The watched session: JupyterLab starts and opens a hostile notebook; with our extension a model loads, answers, explains a plot
and unloads. The control is plain JupyterLab."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from ..notebook_runner import JupyterServer, Kernel, serving
from ..protocol.failures import Failure
from . import page
from .isolated_network import NameServer, enter
from .trace import Tracer, Watched

Kind = Literal["ours", "control"]
NOTEBOOK = "journey.ipynb"
# a domain that belongs to nobody (RFC 6761): only the notebook can cause lookups of its names
DOMAIN = "elsewhere.test"
_LOADS = [
    "![a](http://{}/markdown.png)",
    "<img src='http://{}/image.png'>",
    "<p style='background: url(http://{}/background.png)'>x</p>",
    "<video poster='http://{}/poster.png' src='http://{}/video.mp4'></video>",
    "<ul style='list-style-image: url(http://{}/list.png)'><li>x</li></ul>",
    "<input type=image src='http://{}/input.png'>",
]
_WATCH_S = 3.0
_OPEN = "document.querySelectorAll('.jp-Notebook .jp-Cell').length > 1 && document.body.innerText.includes('The end.')"
_STARTUP_REQUESTS = ("/lab/api/update", "/lab/api/news", "/lab/api/extensions?query=a&refresh=1")


def run(kind: Kind, folder: Path, model: str) -> dict[str, Any]:
    """Run the session once, in an isolated network of this process. Raises `Failure`; leaves nothing running."""
    names = enter(folder)
    tracer = Tracer(folder)
    names.start()
    steps: list[str] = []
    seen = None
    root = folder / "notebooks"
    root.mkdir()
    (root / NOTEBOOK).write_text(json.dumps(_hostile()))
    with (
        _settings(folder, kind) as flags,
        serving(root, lab=True, log=folder / "log", before=tracer.prefix, flags=flags) as server,
    ):
        steps.append("start JupyterLab")
        seen = _browse(server, folder, names, steps)
        for path in _STARTUP_REQUESTS:
            _request(server, path)
        steps.append("request what JupyterLab requests at startup: updates, news, extensions")
        if kind == "ours":
            _use(server, model, steps)
    return _report(tracer.close(), seen, names, steps)


def _hostile() -> dict[str, Any]:
    """An untrusted notebook with a dozen ways to load something from other servers."""
    texts = [text.replace("{}", f"n{i}.{DOMAIN}") for i, text in enumerate(_LOADS)]
    cells = [{"cell_type": "markdown", "id": f"m{i}", "metadata": {}, "source": text} for i, text in enumerate(texts)]
    outputs = [
        {"output_type": "display_data", "metadata": {}, "data": {"text/html": text.replace(DOMAIN, f"o.{DOMAIN}")}}
        for text in texts[1:]
    ]
    code = {"cell_type": "code", "id": "c", "metadata": {}, "source": "", "execution_count": 1, "outputs": outputs}
    end = {"cell_type": "markdown", "id": "end", "metadata": {}, "source": "The end."}
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    return {"cells": [*cells, code, end], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


@contextmanager
def _settings(folder: Path, kind: Kind) -> Iterator[list[str]]:
    """Flags for the server, and an environment without the user's workspaces, runtime files and IPython history."""
    stock = folder / "stock"
    environ = {
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "lab-settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "lab-workspaces"),
        "IPYTHONDIR": str(folder / "ipython"),
    }
    if kind == "control":
        (stock / "labconfig").mkdir(parents=True)
        (stock / "labconfig" / "page_config.json").write_text('{"disabledExtensions": {"jupyter-mistral": true}}')
        off = {"ServerApp": {"jpserver_extensions": {"jupyter_mistral": False}}}
        (stock / "jupyter_server_config.json").write_text(json.dumps(off))
        before = os.environ.get("JUPYTER_CONFIG_PATH", "")
        environ["JUPYTER_CONFIG_PATH"] = f"{stock}{os.pathsep}{before}" if before else str(stock)
    for name in ("JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        Path(environ[name]).mkdir(mode=0o700)
    os.environ.update(environ)
    os.environ.pop("JUPYTER_MISTRAL_CONNECTION_FILE", None)
    yield ["--MistralExtension.sovereign=True"] if kind == "ours" else []


def _browse(server: JupyterServer, folder: Path, names: NameServer, steps: list[str]) -> page.Seen | None:
    """Open the notebook in a browser, if there is one. The browser's own lookups before that do not count."""
    path = page.find()
    if path is None:
        return None
    with page.browsing(path, folder / "browser") as browser:
        browser.open(f"{server.url}/lab/tree/{NOTEBOOK}?token={server.token}&reset", _OPEN)
        browser.run("document.querySelector('.jp-WindowedPanel-outer')?.scrollTo(0, 1e6)")
        browser.watch(_WATCH_S)
        seen = browser.seen
    steps.append("open a notebook that loads from other servers")
    # lookups without a request, such as DNS prefetching, show only at the name server
    known = {url.split("/")[2] for url in seen.elsewhere}
    seen.elsewhere |= {f"a name: {name}" for name in names.names if name.endswith(DOMAIN) and name not in known}
    return seen


def _request(server: JupyterServer, path: str) -> None:
    request = urllib.request.Request(f"{server.url}{path}", headers={"Authorization": f"token {server.token}"})  # noqa: S310 (our own loopback server)
    try:
        urllib.request.urlopen(request, timeout=60).close()  # noqa: S310
    except urllib.error.HTTPError as error:
        error.close()  # it could not reach its target; the attempt is what counts


def _use(server: JupyterServer, model: str, steps: list[str]) -> None:
    with server.kernel(NOTEBOOK) as kernel:
        _cell(kernel, "%load_ext jupyter_mistral")
        _cell(kernel, f"%mistral load --no-download {model}")
        steps.append(f"load {model}")
        _cell(kernel, "%mistral --max-tokens 24 What is a notebook?")
        steps.append("ask")
        if find_spec("matplotlib"):
            _cell(kernel, "%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 4, 9]);")
            _cell(kernel, "%mistral --max-tokens 24 explain")
            steps.append("explain a plot")
        _cell(kernel, "%mistral unload")
        steps.append("unload")


def _cell(kernel: Kernel, source: str) -> None:
    reply = kernel.execute(source, lambda message: None)
    if reply["status"] == "error":
        error = f"`{source}` failed: {reply['ename']}: {reply['evalue']}"
        raise Failure("internal", error, "Try it in a notebook.")


def _report(watched: Watched, seen: page.Seen | None, names: NameServer, steps: list[str]) -> dict[str, Any]:
    if not watched.calls:
        raise Failure("internal", "The trace is empty, so nothing was measured.", "Check that strace works here.")
    elsewhere = sorted(seen.elsewhere) if seen else []
    traced = {name for attempt in watched.attempts for name in attempt.names}
    return {
        "attempts": len(watched.attempts) + len(elsewhere),
        "calls": [asdict(attempt) for attempt in watched.attempts],
        "calls_watched": watched.calls,
        "seal_tests_refused": watched.seal_tests,
        "page": None
        if seen is None
        else {"requests": seen.requests, "elsewhere": elsewhere, "stopped_by_policy": sorted(seen.stopped)},
        "browsers_own_names": sorted(names.names - traced - {name for name in names.names if name.endswith(DOMAIN)}),
        "steps": steps,
    }
