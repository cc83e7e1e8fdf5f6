"""Finding the model host, talking to it, and the errors if it cannot be connection."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from jupyter_mistral.kernel.host.client import Client
from jupyter_mistral.kernel.host.connection import Connection, find_connection
from jupyter_mistral.protocol import CONNECTION_ENV
from jupyter_mistral.protocol.conversation import Message
from jupyter_mistral.protocol.events import Delta, End, Loading, Queued, Reading
from jupyter_mistral.protocol.failures import Failure
from jupyter_mistral.protocol.requests import ChatRequest
from kernel_peer import STATUS, TOKEN, USAGE, Peer

ASKED = ChatRequest((Message("user", ("hello",)),))


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty runtime folder."""
    folder = tmp_path / "runtime"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(folder))
    monkeypatch.delenv(CONNECTION_ENV, raising=False)
    return folder


def write(path: Path, **fields: object) -> Path:
    path.touch(mode=0o600)
    path.write_text(json.dumps({"pid": os.getpid(), "token": TOKEN, "protocol": 1, **fields}))
    return path


def test_an_answer_streams_and_ends_with_its_usage(peer: Peer) -> None:
    peer.script = lambda request: [
        Queued(2),
        Loading("load", 0.5),
        Reading(1, 2),
        Delta("Hé"),
        Delta("!"),
        End("length", USAGE),
    ]
    events = list(Client.find().stream_chat(ASKED))
    assert events == [Queued(2), Loading("load", 0.5), Reading(1, 2), Delta("Hé"), Delta("!"), End("length", USAGE)]
    assert peer.requests[0].stream and peer.requests[0].include_usage and peer.requests[0].extras.events


def test_a_failure_in_the_stream_is_raised_unchanged(peer: Peer) -> None:
    def script(request: ChatRequest) -> object:
        yield Delta("a")
        raise Failure("no_memory", "The model needs 13 GB.", "Unload something.")

    peer.script = script  # type: ignore[assignment]
    with pytest.raises(Failure) as raised:
        list(Client.find().stream_chat(ASKED))
    assert (raised.value.code, raised.value.message, raised.value.todo) == (
        "no_memory",
        "The model needs 13 GB.",
        "Unload something.",
    )


def test_a_stream_that_breaks_off_is_a_failure(peer: Peer) -> None:
    def script(request: ChatRequest) -> object:
        yield Delta("a")
        raise BrokenPipeError  # the host's process is gone

    peer.script = script  # type: ignore[assignment]
    events = Client.find().stream_chat(ASKED)
    assert next(events) == Delta("a")
    with pytest.raises(Failure) as raised:
        next(events)
    assert raised.value.code == "engine_died"


def test_closing_the_iterator_cancels_the_answer(peer: Peer) -> None:
    def script(request: ChatRequest) -> object:
        while True:
            yield Delta("word ")

    peer.script = script  # type: ignore[assignment]
    with closing(Client.find().stream_chat(ASKED)) as events:  # type: ignore[type-var]
        next(events)
        assert not peer.left.is_set()
    assert peer.left.wait(120)


def test_get_post_and_load_speak_json(peer: Peer) -> None:
    client = Client.find()
    assert client.get("/mistral/api/status") == STATUS
    assert client.post("/mistral/api/unload") == {}
    assert list(client.load("x", download=True)) == [Loading("download", 0.5, "qwen", 3.0), Loading("load", 1.0)]
    assert peer.posts == [("/mistral/api/unload", {}), ("/mistral/api/load", {"model": "x", "download": True})]
    list(client.load("x", spill=False))
    assert peer.posts[-1] == ("/mistral/api/load", {"model": "x", "download": False, "spill": False})
    with pytest.raises(Failure, match="There is nothing here"):
        client.get("/mistral/api/nothing")


def test_a_wrong_token_is_reported_as_unauthorized(peer: Peer, runtime: Path) -> None:
    write(runtime / "mistral-9.json", socket=peer.socket, token="wrong")
    with pytest.raises(Failure) as raised:
        Client.find(start=False).get("/mistral/api/status")
    assert raised.value.code == "unauthorized"


def test_the_file_in_the_environment_comes_first(peer: Peer, runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(runtime / "mistral-9.json", socket=peer.socket, token="other")
    monkeypatch.setenv(CONNECTION_ENV, str(peer.file))
    connection = find_connection()
    assert connection is not None and connection.token == TOKEN


def test_a_dead_host_is_skipped_for_the_newest_that_answers(
    peer: Peer, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = write(runtime / "mistral-1.json", socket=str(runtime / "nobody"), token="dead")
    monkeypatch.setenv(CONNECTION_ENV, str(gone))
    for at, name in enumerate(["2", "3"]):
        os.utime(write(runtime / f"mistral-{name}.json", socket=peer.socket, token=name), (at, at))
    connection = find_connection()
    assert connection is not None and connection.token == "3"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_text("{"),
        lambda path: path.write_text("[]"),
        lambda path: path.write_text('{"pid": 1}'),
        lambda path: path.chmod(0o644),
        lambda path: path.unlink(),
    ],
    ids=["not json", "not an object", "without a token", "readable by others", "gone"],
)
def test_a_connection_file_that_is_not_ours_is_skipped(peer: Peer, spoil: Callable[[Path], object]) -> None:
    spoil(peer.file)
    assert Connection.of_file(peer.file) is None


@pytest.mark.parametrize("url", ["http://evil.example:80", "http://10.0.0.1:9", ""])
def test_a_host_on_another_machine_is_refused(runtime: Path, url: str) -> None:
    assert Connection.of_file(write(runtime / "mistral-1.json", url=url)) is None


def test_a_dying_host_is_skipped_while_its_socket_still_accepts_connections(peer: Peer, runtime: Path) -> None:
    """A killed process closes its files one by one: its answer may end before it stops listening."""
    with tempfile.TemporaryDirectory(prefix="jm-") as folder, socket.socket(socket.AF_UNIX) as dying:
        dying.bind(f"{folder}/s")
        dying.listen()
        os.utime(write(runtime / "mistral-2.json", socket=peer.socket), (1, 1))
        write(runtime / "mistral-9.json", socket=f"{folder}/s")
        end = threading.Timer(0.3, dying.close)
        end.start()
        connection = find_connection()
        end.join()
    assert connection is not None and connection.socket == peer.socket


def test_a_busy_host_counts_as_running(runtime: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        write(runtime / "mistral-9.json", url=f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert find_connection(timeout=0.1) is not None


def test_a_port_of_a_dead_process_does_not_get_our_token(runtime: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        alive = Connection.of_file(write(runtime / "mistral-1.json", url=url))
        assert alive is not None and alive.answers(0.1)
        stale = Connection.of_file(write(runtime / "mistral-2.json", url=url, pid=process.pid))
        assert stale is not None and not stale.answers(0.1)


def test_without_a_host_it_says_how_to_get_one(runtime: Path) -> None:
    with pytest.raises(Failure) as raised:
        Client.find(start=False)
    assert str(raised.value) == (
        "No model host is running. Start JupyterLab with jupyter-mistral installed, or run `jupyter mistral serve`."
    )


def test_without_a_host_and_without_an_engine_it_says_what_to_install(runtime: Path, tmp_path: Path) -> None:
    """A kernel of another environment, which has the package but not torch."""
    package = Path(__file__).parents[2] / "kernel_backend"
    code = "from jupyter_mistral.kernel.host.client import Client; Client.find()"
    bare = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = [{str(package)!r}]; {code}"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(_only_jupyter_core(tmp_path))},
    )
    assert "no engine to start one" in bare.stderr
    assert "pip install 'jupyter-mistral[engine]'" in bare.stderr


def _only_jupyter_core(folder: Path) -> Path:
    import jupyter_core
    import platformdirs
    import traitlets

    site = folder / "site"
    site.mkdir()
    for module in (jupyter_core, platformdirs, traitlets):
        source = Path(module.__file__ or "").parent
        (site / source.name).symlink_to(source)
    return site


def test_the_client_needs_no_ipython() -> None:
    code = "import sys, jupyter_mistral.kernel.host.client; print('IPython' in sys.modules, 'tornado' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert out.stdout.split() == ["False", "False"]
