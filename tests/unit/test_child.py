"""Our own processes start in one place, with a filtered environment and no modules from the working directory."""

from __future__ import annotations

import ast
import asyncio
import json
import subprocess
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import jupyter_mistral
import pytest
from jupyter_mistral import child

PACKAGE = Path(jupyter_mistral.__file__).parent
SPAWNS = {
    "subprocess": {"run", "Popen", "call", "check_call", "check_output", "getoutput", "getstatusoutput"},
    "asyncio": {"create_subprocess_exec", "create_subprocess_shell"},
    "os": {"fork", "forkpty", "system", "popen", "posix_spawn", "posix_spawnp", "startfile"},
    "pty": {"spawn", "fork"},
}
MODULES = {"multiprocessing", "pexpect", "pty"}
ELSEWHERE = {
    "child.py": "the one place",
    "seal.py": "the child that the seal is tried on, before anything else is imported",
    "models/memory.py": "nvidia-smi, a program of the system",
    "notebook_runner.py": "a Jupyter server, which runs the user's notebooks and needs the user's environment",
    "egress/page.py": "a browser, which needs the user's environment",
    "egress/report.py": "the measurement in a network namespace, which starts a Jupyter server",
}
SECRETS = {
    "HF_TOKEN": "x",
    "JUPYTER_TOKEN": "x",
    "JUPYTERHUB_API_TOKEN": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
    "JUPYTER_MISTRAL_ENGINE_KEY": "x",
    "OPENAI_KEY": "x",
    "PYTHONKEYRING_PASSWORD": "x",
    "LC_URL": "https://ann:pw@example.org",
    "DATABASE_URL": "postgres://ann:pw@db/x",
    "https_proxy": "http://ann:pw@proxy:3128",
    "SSH_AUTH_SOCK": "/run/agent",
    "DBUS_SESSION_BUS_ADDRESS": "unix:path=/run/user/1/bus",
    "JUPYTER_MISTRAL_CONNECTION_FILE": "/run/mistral-1.json",
    "SOMETHING_ELSE": "x",
}


def _spawns(path: Path) -> list[str]:
    calls = []
    tree = ast.parse(path.read_text("utf-8"))
    types = {node.value for node in ast.walk(tree) if isinstance(node, ast.Subscript)}  # subprocess.Popen[bytes]
    for node in ast.walk(tree):
        if node in types:
            continue
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            names = [(node.value.id, node.attr)]
        elif isinstance(node, ast.ImportFrom):
            names = [(str(node.module), alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [(alias.name, "") for alias in node.names]
        else:
            continue
        calls += [
            f"{module}.{name}"
            for module, name in names
            if name in SPAWNS.get(module, ())
            or module.partition(".")[0] in MODULES
            or (module == "os" and name.startswith(("exec", "spawn")))
            or name in ("ProcessPoolExecutor", "subprocess_exec", "subprocess_shell")
        ]
    return calls


def test_nothing_else_starts_processes() -> None:
    spawning = {p.relative_to(PACKAGE).as_posix(): _spawns(p) for p in PACKAGE.rglob("*.py")}
    assert {path for path, calls in spawning.items() if calls} <= ELSEWHERE.keys()


def test_the_search_finds_every_kind_of_start(tmp_path: Path) -> None:
    lines = [
        "subprocess.run([])",
        "from subprocess import Popen",
        "asyncio.create_subprocess_exec()",
        "os.fork()",
        "os.execve()",
        "import multiprocessing",
        "from concurrent.futures import ProcessPoolExecutor",
    ]
    for line in lines:
        (tmp_path / "module.py").write_text(line)
        assert _spawns(tmp_path / "module.py"), line


@pytest.mark.threat("T27")
@pytest.mark.parametrize("allowed", [child.MINIMAL, child.ENGINE])
def test_no_child_inherits_secrets_or_what_it_does_not_need(allowed: tuple[str, ...]) -> None:
    kept = {"PATH": "/bin", "HOME": "/h", "LD_LIBRARY_PATH": "/l", "LC_ALL": "C", "PYTHONPATH": "/p"}
    assert child.environment(SECRETS | kept, allowed) == kept | {"PYTHONSAFEPATH": "1"}


def test_the_engine_keeps_what_drivers_and_libraries_read() -> None:
    kept = {
        "CUDA_VISIBLE_DEVICES": "0",
        "OMP_NUM_THREADS": "2",
        "PYTORCH_CUDA_ALLOC_CONF": "x",
        "TRITON_CACHE_DIR": "/c",
        "HF_HOME": "https://example.org/a@b",
        "JUPYTER_MISTRAL_HOME": "/m",
        "JUPYTER_DATA_DIR": "/d",  # models are in it if the one above is not set
    }
    assert kept.items() <= child.environment(kept, child.ENGINE).items()
    assert not kept.keys() & child.environment(kept).keys()


def test_a_download_keeps_its_proxy_and_the_tokens_of_the_hub_and_no_other_secret() -> None:
    needed = {"HF_TOKEN", "https_proxy"}
    parent = SECRETS | {"PIP_INDEX_URL": "https://ann:pw@index", "SSL_CERT_FILE": "/c"}
    assert child.download_environment(parent).keys() == needed | {"PIP_INDEX_URL", "SSL_CERT_FILE", "PYTHONSAFEPATH"}


def test_modules_of_the_working_directory_are_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    shadowed = subprocess.run(child.python("json.tool", "--help"), capture_output=True, check=False)
    assert shadowed.returncode, "the trap works"

    async def start() -> bytes:
        env = child.environment({"PATH": "/bin"})
        process = await child.start(child.python("json.tool"), env=env, stdin=PIPE, stdout=PIPE)
        return (await process.communicate(b"[1]"))[0]

    assert json.loads(asyncio.run(start())) == [1]
    command = [sys.executable, "-c", "import os, json; print(json.dumps([os.getcwd(), os.getsid(0) == os.getpid()]))"]
    process = child.popen(command, env=child.full_environment({}), stdout=PIPE)
    assert json.loads(process.communicate()[0]) == [str(child.PACKAGES), True]
