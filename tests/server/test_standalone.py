"""The model host without a Jupyter server, as a process: its port, its exit, two of them side by side."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_mistral.server.http.tokens import Tokens
from prometheus_client.parser import text_string_to_metric_families

# if a test is killed, its host exits after this
LONGEST_S = "900"
_started: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def no_host_outlives_its_test() -> Iterator[None]:
    yield
    while _started:
        host = _started.pop()
        if host.poll() is None:
            host.terminate()  # its worker ends with it
            try:
                host.wait(120)
            except subprocess.TimeoutExpired:
                host.kill()
                host.wait()


def _open(runtime: Path, *args: str, **streams: int) -> subprocess.Popen[str]:
    environ = {**os.environ, "JUPYTER_RUNTIME_DIR": str(runtime)}
    command = [sys.executable, "-m", "jupyter_mistral.server.standalone", "--idle-exit", LONGEST_S, *args]
    host = subprocess.Popen(command, env=environ, text=True, **streams)
    _started.append(host)
    return host


def _start(runtime: Path, *args: str) -> subprocess.Popen[str]:
    host = _open(runtime, *args, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    while not (runtime / f"mistral-{host.pid}.json").exists():
        assert host.poll() is None
        time.sleep(0.02)
    return host


def _end(host: subprocess.Popen[str]) -> None:
    host.terminate()
    assert host.wait(120) == 0
    assert host.stdout is not None
    host.stdout.close()


@pytest.fixture
def runtime(tmp_path: Path, mistral_home: Path) -> Path:
    folder = tmp_path / "runtime"
    folder.mkdir(mode=0o700)
    return folder


def test_its_port_answers_an_openai_client_with_the_printed_token(runtime: Path) -> None:
    host = _start(runtime, "--port", "0")
    assert host.stdout is not None
    url, token = host.stdout.readline().strip(), host.stdout.readline().strip().removeprefix("token: ")
    request = urllib.request.Request(f"{url}/models", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request) as reply:
        assert json.load(reply)["object"] == "list"
    # the socket exists too and has the same token
    info = json.loads((runtime / f"mistral-{host.pid}.json").read_text())
    assert Path(info["socket"]).is_socket()
    _end(host)
    assert list(runtime.iterdir()) == []
    assert not Path(info["socket"]).exists()


def _get(address: str, token: str) -> tuple[int, str, str]:
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request) as reply:
            return reply.status, reply.headers["Content-Type"], reply.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.headers["Content-Type"], refused.read().decode()


def test_its_metrics_need_a_token(runtime: Path, mistral_home: Path) -> None:
    host = _start(runtime, "--port", "0")
    assert host.stdout is not None
    url, token = host.stdout.readline().strip(), host.stdout.readline().strip().removeprefix("token: ")
    assert _get(f"{url}/metrics", "wrong")[0] == 401
    for key in (token, Tokens(mistral_home).create("prometheus")):
        status, kind, text = _get(f"{url}/metrics", key)
        assert (status, kind.partition(";")[0]) == (200, "text/plain")
        families = {family.name: family for family in text_string_to_metric_families(text)}
        assert families["mistral_requests_waiting"].samples[0].value == 0
        assert families["mistral_model_loaded"].samples[0].value == 0
        assert families.keys() >= {"mistral_requests", "mistral_tokens", "mistral_first_token_seconds"}
    _end(host)


def test_an_address_without_its_prefix_gets_a_hint(runtime: Path) -> None:
    host = _start(runtime, "--port", "0")
    assert host.stdout is not None
    url, token = host.stdout.readline().strip(), host.stdout.readline().strip().removeprefix("token: ")
    for path in ("/", "/v1/models", "/metrics", "/mistral/v1/nothing"):
        status, kind, text = _get(url.removesuffix("/mistral/v1") + path, token)
        assert (status, kind) == (404, "application/json"), path
        assert "/mistral/v1" in json.loads(text)["error"]["message"], path
        assert _get(url.removesuffix("/mistral/v1") + path, "wrong")[0] == 401, path
    _end(host)


def test_it_exits_when_idle(runtime: Path) -> None:
    # its connection file may vanish before we look; the line that it prints remains
    host = _open(runtime, "--idle-exit", "0.5", "--port", "0", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert host.stdout is not None
    assert host.stdout.readline().startswith("http://")
    assert host.wait(120) == 0
    host.stdout.close()
    assert list(runtime.iterdir()) == []


def test_two_hosts_run_side_by_side(runtime: Path) -> None:
    first, second = _start(runtime), _start(runtime)
    assert len(list(runtime.glob("mistral-*.json"))) == 2
    _end(first)
    assert [path.name for path in runtime.iterdir()] == [f"mistral-{second.pid}.json"]
    _end(second)


def test_a_second_host_reports_the_first(runtime: Path) -> None:
    first = _start(runtime)
    second = _open(runtime, stderr=subprocess.PIPE)
    assert second.stderr is not None
    assert f"is already running (pid {first.pid})" in second.stderr.readline()
    while not (runtime / f"mistral-{second.pid}.json").exists():
        assert second.poll() is None
        time.sleep(0.02)
    second.terminate()
    assert second.wait(120) == 0
    second.stderr.close()
    _end(first)


def test_a_loaded_model_cannot_be_removed(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(runtime))
    host = _start(runtime, "--model", "smollm2-135m")
    command = [sys.executable, "-m", "jupyter_mistral.cli"]
    load = subprocess.run([*command, "load", "smollm2-135m"], capture_output=True, text=True, timeout=300)
    assert load.returncode == 0, load.stderr
    gone = subprocess.run([*command, "rm", "smollm2-135m"], capture_output=True, text=True, timeout=300)
    assert gone.returncode == 1
    assert f"smollm2-135m is loaded by process {host.pid}" in gone.stderr
    assert "jupyter mistral unload" in gone.stderr
    _end(host)


def test_a_kernels_client_finds_the_host(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jupyter_mistral.kernel.host.client import Client

    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(runtime))
    host = _start(runtime)
    client = Client.find(start=False)
    assert client.pid == host.pid
    assert client.get("/mistral/api/status")["state"] == "unloaded"
    _end(host)
