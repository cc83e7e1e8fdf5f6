"""jupyter-ai's own persona manager, from its package, finds our persona and lets it answer with a real model."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# the first test of a run waits for pip
pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

ROOT = Path(__file__).parent.parent.parent
# the versions that jupyter-ai 3.2 takes
PACKAGES = (
    "jupyter-ai-persona-manager>=0.2,<0.3",
    "jupyterlab-chat>=0.25,<0.26",
    "httpx>=0.27,<1",
    "ipython>=8.18",
    "msgspec>=0.19,<1",
)


@pytest.fixture(scope="module")
def persona_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A Python with the persona manager, and a path that has our package with the entry points of pyproject.toml."""
    place = ROOT / ".tests" / "persona"
    told = place / "installed.txt"
    if not told.is_file() or told.read_text() != "\n".join(PACKAGES):
        venv.create(place, with_pip=True, clear=True)
        subprocess.run([place / "bin" / "python", "-m", "pip", "install", "-q", *PACKAGES], check=True, timeout=900)
        told.write_text("\n".join(PACKAGES))
    folder = tmp_path_factory.mktemp("metadata")
    about = folder / "jupyter_mistral-0.dist-info"
    about.mkdir()
    table = (ROOT / "pyproject.toml").read_text().partition('[project.entry-points."jupyter_ai.personas"]\n')[2]
    lines = re.findall(r'^(\w+) = "(.+)"$', table.partition("\n\n")[0], re.MULTILINE)
    points = [f"{name} = {value}" for name, value in lines]
    (about / "entry_points.txt").write_text("\n".join(["[jupyter_ai.personas]", *points, ""]))
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: jupyter-mistral\nVersion: 0\n")
    yield place / "bin" / "python", f"{folder}{os.pathsep}{ROOT / 'kernel_backend'}"


@contextlib.contextmanager
def hosting(python: str | Path, folder: Path, *words: str, **environ: str) -> Iterator[dict[str, Any]]:
    """A model host that runs in `folder`: what its connection file says."""
    folder.mkdir(exist_ok=True)
    told = {**os.environ, "JUPYTER_RUNTIME_DIR": str(folder), "JUPYTER_CONFIG_DIR": str(folder), **environ}
    command = [str(python), "-m", "jupyter_mistral.server.standalone", *words]
    with (folder / "log").open("wb") as log:
        host = subprocess.Popen(command, env=told, stdout=log, stderr=log)
    try:
        file = folder / f"mistral-{host.pid}.json"
        # a port is printed a moment after the file is there
        while not file.exists() or ("--port" in words and "/mistral/v1" not in (folder / "log").read_text()):
            assert host.poll() is None, (folder / "log").read_text()
            time.sleep(0.1)
        yield json.loads(file.read_text())
    finally:
        host.send_signal(signal.SIGTERM)
        host.wait(120)


def test_jupyter_ai_finds_the_persona_which_answers_and_stops(
    persona_python: tuple[Path, str], mistral_home: Path, tmp_path: Path
) -> None:
    places = {"JUPYTER_RUNTIME_DIR": str(tmp_path), "JUPYTER_MISTRAL_HOME": str(mistral_home)}
    with hosting(sys.executable, tmp_path, "--model", "smollm2-135m") as info:
        assert info["socket"]
        python, path = persona_python
        session = [str(python), str(Path(__file__).with_name("persona_session.py")), str(tmp_path)]
        environ = {**os.environ, **places, "PYTHONPATH": path}
        done = subprocess.run(session, env=environ, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    answer, stopped = done.stdout.strip().splitlines()[0], done.stdout.strip().splitlines()[-1]
    assert answer and stopped == "stopped"


def test_an_engine_elsewhere_needs_no_more_than_the_base_install(
    persona_python: tuple[Path, str], mistral_home: Path, tmp_path: Path
) -> None:
    """The same environment has neither torch nor tokenizers, as that of a user on a hub; a shared host has the model."""
    python, path = persona_python
    looked = "from importlib.util import find_spec; print(any(map(find_spec, ('torch', 'numpy', 'tokenizers', 'PIL'))))"
    assert subprocess.check_output([python, "-c", looked], text=True).strip() == "False"
    shared, own = tmp_path / "shared", tmp_path / "own"
    with hosting(sys.executable, shared, "--model", "smollm2-135m", "--port", "0") as there:
        own.mkdir()
        (own / "key").write_text(there["token"])
        address = (shared / "log").read_text().split("/mistral/v1")[0].rpartition("http://")[2]
        settings = {"engine_url": f"http://{address}/mistral/v1", "engine_key_file": str(own / "key")}
        (own / "jupyter_server_config.json").write_text(json.dumps({"MistralExtension": settings}))
        home = str(own / "home")
        with hosting(python, own, "--port", "0", PYTHONPATH=path, JUPYTER_MISTRAL_HOME=home) as here:
            lines = (own / "log").read_text()
            cells = [{"cell_type": "code", "source": "x = 1", "metadata": {}, "outputs": [], "execution_count": 1}]
            body = {
                "messages": [{"role": "user", "content": "What is x?"}],
                "max_tokens": 4,
                "mistral": {"notebook": {"cells": cells, "language": "python", "path": "a.ipynb"}},
            }
            request = urllib.request.Request(
                lines[lines.index("http://") :].split()[0] + "/chat/completions",
                json.dumps(body).encode(),
                {"Authorization": f"Bearer {here['token']}", "Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=300) as answer:
                told = json.load(answer)
    assert told["choices"][0]["message"]["content"]
    assert told["usage"]["prompt_tokens"] > 20
    # nobody named a model, so the shared host kept the one that it has
    assert told["usage"]["mistral"]["model"] == "smollm2-135m"
