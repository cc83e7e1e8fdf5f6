"""Real clients from their registry packages, unchanged, against a real Jupyter server with a real small model.

Their packages live in an environment of their own under `.tests/clients`, made at the first run.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("client_snippets", Path(__file__).with_name("snippets.py"))
assert _spec is not None and _spec.loader is not None
page = importlib.util.module_from_spec(_spec)
sys.modules["client_snippets"] = page
_spec.loader.exec_module(page)

# the first test of a run waits for the models and for pip, on slow machines longer than any test may take
pytestmark = pytest.mark.timeout(2400)

ROOT = Path(__file__).parent.parent.parent
TOKEN = "a-token-of-this-test"
ALL = page.snippets()
CLIENTS = [snippet for snippet in ALL if snippet.kind == "client"]


@pytest.fixture(scope="session")
def client_bin() -> Path:
    """The folder of programs of an environment with the clients; pip runs once for each change of the list."""
    place = ROOT / ".tests" / "clients"
    told = place / "installed.txt"
    wanted = "\n".join(page.PACKAGES)
    if not told.is_file() or told.read_text() != wanted:
        venv.create(place, with_pip=True, clear=True)
        subprocess.run(
            [place / "bin" / "python", "-m", "pip", "install", "-q", *page.PACKAGES], check=True, timeout=900
        )
        told.write_text(wanted)
    return place / "bin"


@pytest.fixture(scope="module")
def address(models_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`http://localhost:PORT/mistral` of a Jupyter server with the embedded default model."""
    folder = tmp_path_factory.mktemp("server")
    home = folder / "home"
    home.mkdir(mode=0o700)
    (home / "models").symlink_to(models_home / "models")
    settings = {
        "ServerApp": {"jpserver_extensions": {"jupyter_mistral": True}, "open_browser": False, "port_retries": 0},
        "IdentityProvider": {"token": TOKEN},
        "MistralExtension": {"default_model": "qwen2.5-coder-0.5b"},
    }
    (folder / "jupyter_server_config.json").write_text(json.dumps(settings))
    places = {"JUPYTER_CONFIG_DIR": folder, "JUPYTER_RUNTIME_DIR": folder / "runtime", "JUPYTER_MISTRAL_HOME": home}
    # a free port that the server picks itself, so that nobody takes it in between
    command = [sys.executable, "-m", "jupyter_server", "--allow-root", "--ip=127.0.0.1", "--port=0"]
    environ = os.environ | {name: str(place) for name, place in places.items()}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=environ, stdout=log, stderr=log)
    try:
        file = folder / "runtime" / f"jpserver-{server.pid}.json"
        address = ""
        while not address or _status(address) is None:
            assert server.poll() is None, (folder / "log").read_text()
            time.sleep(0.1)
            with contextlib.suppress(OSError, ValueError):  # not there yet, or half written
                address = f"http://localhost:{json.loads(file.read_text())['port']}/mistral"
        yield address
    finally:
        server.terminate()
        server.wait(120)


def _status(address: str) -> dict[str, object] | None:
    request = urllib.request.Request(f"{address}/api/status", headers={"Authorization": f"token {TOKEN}"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return dict(json.load(answer))
    except urllib.error.HTTPError:
        raise
    except OSError:
        return None


@pytest.mark.parametrize("snippet", ALL, ids=[snippet.name for snippet in ALL])
def test_a_snippet_of_the_page_is_whole(snippet: object) -> None:
    assert isinstance(snippet, page.Snippet)
    text = snippet.at("http://127.0.0.1:1/mistral")
    if snippet.language == "python":
        compile(text, snippet.name, "exec")
    elif snippet.language == "bash":
        subprocess.run(["bash", "-n", "-c", text], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("snippet", CLIENTS, ids=[snippet.name for snippet in CLIENTS])
def test_a_snippet_of_the_page_gets_answers(snippet: object, address: str, client_bin: Path, tmp_path: Path) -> None:
    assert isinstance(snippet, page.Snippet)
    for file in ALL:
        if file.kind == "file":
            (tmp_path / file.name).write_text(file.at(address))
    told = {
        "JUPYTER_TOKEN": TOKEN,
        "PATH": f"{client_bin}{os.pathsep}{os.environ['PATH']}",
        "LLM_USER_PATH": str(tmp_path),
        # litellm looks for a price list on the network at its import
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    text = snippet.at(address)
    command = [str(client_bin / "python"), "-c", text] if snippet.language == "python" else ["bash", "-ec", text]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | told, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip(), "no answer was printed"
    if " " not in snippet.name:  # a whole answer and a streamed one
        whole, _, streamed = done.stdout.strip().partition("\n")
        assert whole.strip() and streamed.strip(), done.stdout
    if snippet.name.endswith("tools"):
        assert done.stdout.startswith("add {'a': "), done.stdout
