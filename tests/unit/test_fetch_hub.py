"""Pulling from a hub: the fetch process with the real huggingface_hub against a small hub on loopback."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

COMMIT = "c0ffee" + "0" * 34
CONFIG = {
    "model_type": "mistral",
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_size": 256,
    "vocab_size": 1000,
    "max_position_embeddings": 4096,
}
WEIGHTS = os.urandom(2**20) * 25  # more than two of the pieces in which huggingface_hub writes


class Hub(ThreadingHTTPServer):
    """Serves one repository, `org/tiny`. `lies`: names whose bytes differ from what is told. `breaks`: bytes of the weights after
    which the line breaks, once."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {
            "config.json": json.dumps(CONFIG).encode(),
            "tokenizer.json": b"{}",
            "chat_template.jinja": b"{{ messages }}",
            "model.safetensors": WEIGHTS,
            "consolidated.safetensors": WEIGHTS,
            "pytorch_model.bin": b"a pickle",
            "modeling_tiny.py": b"raise SystemExit('ran')",
            "README.md": b"# tiny",
            "original/params.json": b"{}",
        }
        self.lies: set[str] = set()
        self.status = 200
        self.breaks: int | None = None
        self.asked: list[tuple[str, str, str]] = []  # method, file or path, range
        self.tokens: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def told(self, name: str) -> dict[str, Any]:
        data = self.files[name]
        listed: dict[str, Any] = {"size": len(data), "oid": _blob(data)}
        if name.endswith((".safetensors", ".bin")):
            listed["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        return listed


def _blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        hub = self.server
        hub.tokens.add(self.headers.get("Authorization", ""))
        if hub.status != 200:
            code = {401: "GatedRepo", 404: "RepoNotFound"}.get(hub.status, "")
            self._send(b"{}", hub.status, {"X-Error-Code": code} if code else {})
        elif path.startswith("/api/models/org/tiny/tree/"):
            self._send(json.dumps([{"type": "file", "path": name, **hub.told(name)} for name in hub.files]).encode())
        elif path.startswith("/api/models/org/tiny"):
            self._send(json.dumps(self._info()).encode())
        elif path.startswith("/org/tiny/resolve/"):
            self._file(path.split("/", 5)[5])
        else:
            self._send(b"{}", 404)

    def _info(self) -> dict[str, Any]:
        siblings = []
        for name in self.server.files:
            told = self.server.told(name)
            lfs = told.get("lfs")
            lfs = {"sha256": lfs["oid"], "size": lfs["size"], "pointerSize": 130} if lfs else None
            siblings.append(
                {"rfilename": name, "size": told["size"], "blobId": told["oid"], **({"lfs": lfs} if lfs else {})}
            )
        return {
            "id": "org/tiny",
            "modelId": "org/tiny",
            "sha": COMMIT,
            "private": False,
            "siblings": siblings,
            "tags": [],
        }

    def _file(self, name: str) -> None:
        hub = self.server
        self.server.asked.append((self.command, name, self.headers.get("Range", "")))
        data = hub.files[name]
        told = hub.told(name)
        etag = told["lfs"]["oid"] if "lfs" in told else told["oid"]
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if name in hub.lies:
            data = bytes(len(data))
        start = 0
        if self.headers.get("Range", "").startswith("bytes="):
            start = int(self.headers["Range"][6:].split("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        if self.command == "GET" and name == "model.safetensors" and hub.breaks is not None:
            until, hub.breaks = hub.breaks, None
            self._send(data[start:], 206 if start else 200, headers, cut=until)
            return
        self._send(data[start:], 206 if start else 200, headers)

    def _send(
        self, body: bytes, status: int = 200, headers: dict[str, str] | None = None, cut: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:cut])
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def environment(hub: Hub, tmp_path: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING")) and "proxy" not in k.lower()}
    return {
        **kept,
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "JUPYTER_MISTRAL_HOME": str(tmp_path / "home"),
    }


def pull(environment: dict[str, str], *words: str) -> tuple[int, list[dict[str, Any]]]:
    command = [sys.executable, "-m", "jupyter_mistral.models.fetch", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert not done.stderr, done.stderr
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def source(tmp_path: Path) -> Path:
    return tmp_path / "home" / "models" / "org--tiny" / "source"


def test_only_what_loading_needs_is_fetched_and_the_commit_is_kept(
    hub: Hub, environment: dict[str, str], tmp_path: Path
) -> None:
    code, lines = pull({**environment, "HF_TOKEN": "hf_mine"}, "org/tiny")
    assert code == 0, lines
    folder = source(tmp_path)
    assert lines[-1] == {"event": "done", "path": str(folder)}
    names = {path.name for path in folder.iterdir()}
    assert names == {"config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors", "manifest.json"}
    assert {name for _, name, _ in hub.asked} == names - {"manifest.json"}
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["revision"] == COMMIT
    assert manifest["files"]["model.safetensors"] == {
        "size": len(WEIGHTS),
        "sha256": hashlib.sha256(WEIGHTS).hexdigest(),
    }
    assert "Bearer hf_mine" in hub.tokens
    shares = [line["fraction"] for line in lines if line.get("fraction") is not None]
    assert shares[-1] == 1.0
    assert all(set(line) == {"event", "stage", "fraction", "detail", "eta_s"} for line in lines[:-1])


@pytest.mark.threat("T34")
def test_a_shard_that_is_not_what_the_hub_told_is_named_and_deleted(
    hub: Hub, environment: dict[str, str], tmp_path: Path
) -> None:
    hub.lies = {"model.safetensors"}
    code, lines = pull(environment, "org/tiny")
    assert code == 1
    assert lines[-1]["error"]["code"] == "corrupt_model"
    assert "model.safetensors" in lines[-1]["error"]["message"]
    assert not source(tmp_path).exists()
    hub.lies = set()
    assert pull(environment, "org/tiny")[0] == 0


def test_a_small_file_that_is_not_what_the_hub_told_is_noticed_too(hub: Hub, environment: dict[str, str]) -> None:
    hub.lies = {"tokenizer.json"}
    code, lines = pull(environment, "org/tiny")
    assert code == 1
    assert "tokenizer.json" in lines[-1]["error"]["message"]


def test_a_broken_line_is_gone_on_with(hub: Hub, environment: dict[str, str], tmp_path: Path) -> None:
    hub.breaks = 12 * 2**20
    code, lines = pull(environment, "org/tiny")
    assert code == 0, lines
    ranges = [wanted for method, name, wanted in hub.asked if method == "GET" and name == "model.safetensors"]
    assert ranges[0] == ""
    assert int(ranges[1].removeprefix("bytes=").rstrip("-")) >= 10 * 2**20
    assert (source(tmp_path) / "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.threat("T15")
def test_code_of_the_models_own_is_refused_before_the_weights(hub: Hub, environment: dict[str, str]) -> None:
    hub.files["config.json"] = json.dumps({**CONFIG, "auto_map": {"AutoModel": "modeling_tiny.Tiny"}}).encode()
    code, lines = pull(environment, "org/tiny")
    assert (code, lines[-1]["error"]["code"]) == (1, "unsupported")
    assert "auto_map" in lines[-1]["error"]["message"]
    assert not [name for _, name, _ in hub.asked if name.endswith((".safetensors", ".py", ".bin"))]


def test_weights_in_another_quantization_are_refused_before_they_are_fetched(
    hub: Hub, environment: dict[str, str]
) -> None:
    hub.files["config.json"] = json.dumps({**CONFIG, "quantization_config": {"quant_method": "fp8"}}).encode()
    code, lines = pull(environment, "org/tiny")
    assert (code, lines[-1]["error"]["code"]) == (1, "unsupported")
    assert "fp8" in lines[-1]["error"]["message"]
    assert not [name for _, name, _ in hub.asked if name.endswith(".safetensors")]


def test_a_repository_of_pickles_is_refused(hub: Hub, environment: dict[str, str]) -> None:
    del hub.files["model.safetensors"], hub.files["consolidated.safetensors"]
    code, lines = pull(environment, "org/tiny")
    assert (code, lines[-1]["error"]["code"]) == (1, "unsupported")
    assert not hub.asked


@pytest.mark.parametrize(
    ("status", "code", "word"),
    [
        (401, "download_failed", "HF_TOKEN"),
        (404, "unknown_model", "no model org/tiny"),
        (500, "download_failed", "500"),
    ],
)
def test_a_refusal_of_the_hub_is_one_sentence_with_what_to_do(
    hub: Hub, environment: dict[str, str], status: int, code: str, word: str
) -> None:
    hub.status = status
    exit_code, lines = pull(environment, "org/tiny")
    assert exit_code == 1
    assert lines[-1]["error"]["code"] == code
    assert word in lines[-1]["error"]["message"]
    assert not list((Path(environment["JUPYTER_MISTRAL_HOME"]) / "models").glob("*tiny*"))


@pytest.mark.parametrize("cut", [{"HF_ENDPOINT": "http://127.0.0.1:9"}, {"HF_HUB_OFFLINE": "1"}])
def test_without_a_network_the_failure_says_what_to_do(environment: dict[str, str], cut: dict[str, str]) -> None:
    code, lines = pull({**environment, **cut}, "org/tiny")
    assert (code, lines[-1]["error"]["code"]) == (1, "download_failed")
    assert lines[-1]["error"]["todo"]


def test_ending_the_process_keeps_what_arrived_and_leaves_no_model(
    hub: Hub, environment: dict[str, str], tmp_path: Path
) -> None:
    gate = threading.Event()
    plain = Handler._send

    def slow(self: Handler, body: bytes, *rest: Any, **more: Any) -> None:
        if len(body) > 10**6 and self.command == "GET":
            gate.wait(60)
        plain(self, body, *rest, **more)

    Handler._send = slow  # type: ignore[method-assign]
    try:
        command = [sys.executable, "-m", "jupyter_mistral.models.fetch", "org/tiny"]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for line in child.stdout:
                if "org/tiny" in line:  # the download is under way
                    break
            child.send_signal(signal.SIGTERM)
            gate.set()
            assert child.wait(60) != 0
    finally:
        Handler._send = plain  # type: ignore[method-assign]
    assert not source(tmp_path).exists()
    assert pull(environment, "org/tiny")[0] == 0
