"""The link to a worker process that breaks the protocol, and its environment."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

import pytest
from jupyter_mistral.protocol.failures import Failure
from jupyter_mistral.server.inference.mailbox import Mailbox
from jupyter_mistral.server.inference.worker import Worker
from jupyter_mistral.server.inference.worker_process import by_command, environment

HELLO = (
    "import json, os, socket, struct, sys, time\n"
    "s = socket.socket(fileno=int(sys.argv[2]))\n"
    "def send(**header):\n"
    "    text = json.dumps(header).encode()\n"
    "    s.sendall(struct.pack('>II', len(text), 0) + text)\n"
    "seal = {'kind': 'none', 'measured': False, 'reason': ''}\n"
    "send(type='hello', pid=os.getpid(), protocol=1, seal=seal)\n"
)


async def _deaths_of(script: str, folder: Path) -> Worker:
    died = asyncio.Event()
    worker = await Worker.start(
        lambda _: died.set(),
        logging.getLogger("test"),
        folder=folder,
        launch=by_command(sys.executable, "-c", HELLO + script),
    )
    await died.wait()
    await worker.reap()
    return worker


@pytest.mark.threat("T31")
@pytest.mark.fault("F20")
@pytest.mark.parametrize(
    "script",
    [
        "s.sendall(b'garbage that is no frame at all, but long enough')\ntime.sleep(60)",
        "s.sendall(struct.pack('>II', 2**30, 0))\ntime.sleep(60)",
        "s.sendall(struct.pack('>II', 4, 0) + b'[1]!')\ntime.sleep(60)",
        "s.sendall(struct.pack('>II', 100, 0) + b'{')\nsys.exit(3)",
        "send(type='ready')\ntime.sleep(60)",
        "send(type='delta')\ntime.sleep(60)",
    ],
)
async def test_a_worker_that_sends_garbage_is_killed(tmp_path: Path, script: str) -> None:
    worker = await _deaths_of(script, tmp_path)
    assert worker.gone.is_set()


@pytest.mark.fault("F20")
async def test_only_the_end_of_a_flood_on_stderr_is_kept(tmp_path: Path) -> None:
    script = f"sys.stderr.write('hf_secret123 {Path.home()}/x ' + 'x' * 3_000_000 + ' the end')\nsys.stderr.flush()\nsys.exit(3)"
    worker = await _deaths_of(script, tmp_path)
    assert worker.last_words().endswith(" the end")
    assert len(worker.last_words()) <= 2000
    assert "exit code 3" in await worker.exit_message()


@pytest.mark.threat("T28")
async def test_last_words_contain_no_secrets_and_no_home(tmp_path: Path) -> None:
    worker = await _deaths_of("sys.stderr.write('hf_secret123 in %s' % os.path.expanduser('~'))\nsys.exit(1)", tmp_path)
    assert worker.last_words() == "hf_… in ~"


async def test_a_worker_without_a_hello_fails(tmp_path: Path) -> None:
    launch = by_command(sys.executable, "-c", "import sys; sys.exit(1)")
    with pytest.raises(Failure, match="did not start"):
        await Worker.start(lambda _: None, logging.getLogger("test"), folder=tmp_path, launch=launch)


@pytest.mark.threat("T27")
def test_a_worker_inherits_no_secrets() -> None:
    child = environment({"PATH": "/bin", "HF_TOKEN": "x", "JUPYTERHUB_API_TOKEN": "x", "AWS_SECRET_ACCESS_KEY": "x"})
    assert child["PATH"] == "/bin"
    assert child["HF_HUB_OFFLINE"] == "1"
    assert not [name for name in child if "TOKEN" in name or "SECRET" in name]


@pytest.mark.threat("T27")
def test_a_worker_inherits_no_urls_with_passwords_and_no_agent_sockets() -> None:
    secrets = {
        "OPENAI_KEY": "x",
        "PGPASS": "x",
        "SENTRY_DSN": "x",
        "MY_COOKIE": "x",
        "DATABASE_URL": "postgres://ann:pw@db/x",
        "https_proxy": "http://ann:pw@proxy:3128",
        "SSH_AUTH_SOCK": "/run/agent",
        "DBUS_SESSION_BUS_ADDRESS": "unix:path=/run/user/1/bus",
        "DOCKER_HOST": "unix:///var/run/docker.sock",
    }
    kept = {"PATH": "/bin", "LD_LIBRARY_PATH": "/l", "CUDA_VISIBLE_DEVICES": "0", "HOME": "/h", "XDG_KEYBOARD": "de"}
    child = environment(secrets | kept | {"HF_ENDPOINT": "https://example.org/a@b"})
    assert not secrets.keys() & child.keys()
    assert kept.items() <= child.items() and "HF_ENDPOINT" in child


async def test_a_cancellation_that_coincides_with_a_message_is_not_lost() -> None:
    """`asyncio.wait_for` before Python 3.12 gives the word instead, and the answer that was to stop goes on."""
    mail = Mailbox()
    waiting = asyncio.ensure_future(mail.receive(60))
    await asyncio.sleep(0)
    mail.put_nowait({"type": "delta"})
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_late_message_is_kept_for_the_next_reader() -> None:
    mail = Mailbox()
    with pytest.raises(asyncio.TimeoutError):
        await mail.receive(0.01)
    mail.put_nowait({"type": "delta"})
    assert await mail.receive(60) == {"type": "delta"}
