"""Startup: a Jupyter server with the extension imports nothing heavy, opens no further port and starts no process."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from jupyter_mistral.server.settings import read_settings

HEAVY = ("torch", "transformers", "bitsandbytes", "tokenizers", "numpy", "huggingface_hub", "jupyter_mistral.context")


@contextmanager
def _server(folder: Path, cwd: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    config, runtime = folder / "config", folder / "runtime"
    config.mkdir()
    settings = {"ServerApp": {"jpserver_extensions": {"jupyter_mistral": True}, "token": "", "open_browser": False}}
    (config / "jupyter_server_config.json").write_text(json.dumps(settings))
    environ = {**os.environ, "JUPYTER_CONFIG_DIR": str(config), "JUPYTER_RUNTIME_DIR": str(runtime)}
    command = [sys.executable, "-m", "jupyter_server", "--allow-root", "--port=0"]
    log = folder / "log"
    with log.open("wb") as out:
        server = subprocess.Popen(command, env=environ, cwd=cwd, stdout=out, stderr=out)
    try:
        while not (runtime / f"mistral-{server.pid}.json").exists():
            assert server.poll() is None, log.read_text()
            time.sleep(0.05)
        yield server, runtime
    finally:
        server.terminate()
        assert server.wait(120) == 0, log.read_text()
        assert not list(runtime.glob("mistral-*")), "files were left behind"


def test_a_server_listens_on_one_port_and_starts_no_process(tmp_path: Path, mistral_home: Path) -> None:
    with _server(tmp_path, tmp_path) as (server, _):
        process = psutil.Process(server.pid)
        listening = [c for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
        assert len({c.laddr.port for c in listening}) == 1
        assert not [c for c in process.children(recursive=True) if "jupyter_mistral" in " ".join(c.cmdline())]
        maps = {Path(m.path).name for m in process.memory_maps()}
        assert not {name for name in maps if "torch" in name or "tokenizers" in name}


def test_the_extension_imports_nothing_heavy() -> None:
    code = (
        "import sys, json, jupyter_mistral\n"
        "jupyter_mistral._jupyter_server_extension_points()\n"
        "import logging; from jupyter_mistral.server.assemble import join; from jupyter_mistral.server.inference.base import Options\n"
        "join(Options(), logging.getLogger())\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(HEAVY) & set(json.loads(out.stdout))


@pytest.mark.threat("T10")
@pytest.mark.parametrize("name", ["jupyter_mistral_config.py", "jupyter_server_config.py", "mistral.json", ".env"])
def test_files_in_the_notebook_folder_configure_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).write_text("c.MistralExtension.default_model = 'evil'" if name.endswith(".py") else "{}")
    monkeypatch.chdir(tmp_path)
    from jupyter_core.paths import jupyter_config_path

    assert read_settings(jupyter_config_path()).options().default_model == ""


def test_the_standalone_host_reads_the_admins_settings(tmp_path: Path) -> None:
    (tmp_path / "jupyter_server_config.py").write_text("c.MistralExtension.idle_unload_minutes = 7")
    settings: dict[str, Any] = {"MistralExtension": {"default_model": "smollm2-135m", "device": "cpu"}}
    (tmp_path / "jupyter_server_config.json").write_text(json.dumps(settings))
    options = read_settings([str(tmp_path)]).options()
    assert (options.default_model, options.device, options.idle_unload_s) == ("smollm2-135m", "cpu", 420.0)


@pytest.mark.threat("T10")
def test_the_engine_imports_no_module_from_the_notebook_folder(tmp_path: Path, mistral_home: Path) -> None:
    folder = tmp_path / "notebooks"
    folder.mkdir()
    (folder / "torch.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w').close(); raise SystemExit(3)")
    code = (
        "import asyncio, logging\n"
        "from jupyter_mistral.server.inference.base import Options\nfrom jupyter_mistral.server.assemble import join\n"
        "async def main():\n"
        "    engine = join(Options(), logging.getLogger()).engine\n"
        "    async for _ in engine.load('smollm2-135m'): pass\n"
        "    print((await engine.status()).state)\n"
        "    await engine.close()\n"
        "asyncio.run(main())"
    )
    (tmp_path / "main.py").write_text(code)
    out = subprocess.run([sys.executable, str(tmp_path / "main.py")], cwd=folder, capture_output=True, text=True)
    assert out.stdout.strip() == "ready", out.stderr
    assert not (tmp_path / "canary").exists()


def test_our_log_records_are_in_the_servers_log_with_time_and_level(tmp_path: Path, mistral_home: Path) -> None:
    """Unhandled records go to stderr as bare text and never reach a log file that an admin has configured."""
    (mistral_home / "chats").mkdir(mode=0o755)
    (mistral_home / "chats").chmod(0o755)
    with _server(tmp_path, tmp_path) as (server, runtime):
        url = json.loads((runtime / f"jpserver-{server.pid}.json").read_text())["url"]
        urllib.request.urlopen(f"{url}mistral/api/chats", timeout=60).close()
    (line,) = [
        line for line in (tmp_path / "log").read_text().splitlines() if "Chats cannot be saved at the moment" in line
    ]
    assert re.match(r"\[W \d{4}-\d\d-\d\d .* MistralExtension\] ", line)
