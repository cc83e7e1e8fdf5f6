"""Text goes only to the configured address, and the key is shown nowhere."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import broken_engine as broken
import pytest
from broken_engine import CHAT, BrokenEngine
from external_engine import ASK, KEY, Make, collect
from jupyter_mistral.protocol.failures import Failure
from jupyter_mistral.server.external.config import config_of
from jupyter_mistral.server.external.http import KEY_ENV, Address, Key


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://localhost:8000/v1", "this machine, another program: localhost:8000"),
        ("http://[::1]:8000/v1/", "this machine, another program: [::1]:8000"),
        ("http://127.8.0.1", "this machine, another program: 127.8.0.1"),
        ("https://gpu.example/llm/v1", "leaves this machine: gpu.example"),
        ("http://10.0.0.7:8000", "leaves this machine: 10.0.0.7:8000 (not encrypted)"),
        ("http://localhost.example:80/v1", "leaves this machine: localhost.example:80 (not encrypted)"),
    ],
)
def test_the_seal_shows_where_text_is_sent(url: str, words: str) -> None:
    assert Address.of_url(url).words == words


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8000",
        "ftp://x/v1",
        "http://",
        "http://x:99999",
        f"http://me:{KEY}@x/v1",
        f"http://x/v1?key={KEY}",
    ],
)
def test_an_address_that_is_invalid_or_contains_a_key_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(Failure) as caught:
        Address.of_url(url)
    assert KEY not in str(caught.value)


@pytest.mark.threat("T28")
@pytest.mark.parametrize("status", [400, 401, 404, 500])
async def test_the_key_is_in_no_message_log_or_status(
    broken_engine: BrokenEngine, make: Make, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    caplog.set_level(logging.DEBUG)
    broken_engine.always[CHAT] = broken.say(status, {"error": {"message": f"bad key {KEY}"}})
    engine = make().engine
    _, failure = await collect(engine.stream(ASK))
    assert failure is not None
    broken_engine.always[CHAT] = broken.stream(broken.text("x"), {"error": {"message": f"bad key {KEY}"}})
    _, second = await collect(engine.stream(ASK))
    assert second is not None
    told = json.dumps([failure.to_dict(), second.to_dict(), (await engine.status()).to_dict(), repr(Key(text=KEY))])
    assert KEY not in told
    assert KEY not in caplog.text


async def test_a_key_file_is_read_for_each_request_and_must_exist(
    broken_engine: BrokenEngine, make: Make, tmp_path: Path
) -> None:
    broken_engine.always[CHAT] = broken.stream(broken.text("x"), broken.END)
    file = tmp_path / "key"
    file.write_text("first\n")
    engine = make(key=Key(str(file))).engine
    await collect(engine.stream(ASK))
    assert broken_engine.of(CHAT)[-1].headers["authorization"] == "Bearer first"
    file.write_text("second\n")
    await collect(engine.stream(ASK))
    assert broken_engine.of(CHAT)[-1].headers["authorization"] == "Bearer second"
    file.unlink()
    _, failure = await collect(engine.stream(ASK))
    assert failure is not None and failure.code == "engine_refused"


def test_the_key_leaves_the_environment_that_kernels_inherit() -> None:
    environ = {KEY_ENV: KEY, "HOME": "/home/me"}
    config = config_of({"engine_url": "http://localhost:1/v1"}, environ)
    assert config is not None and config.key.read() == KEY
    assert environ == {"HOME": "/home/me"}
    assert config_of({}, {KEY_ENV: KEY}) is None


@pytest.mark.threat("T2")
async def test_neither_a_proxy_nor_a_redirect_sends_a_prompt_to_another_host(
    broken_engine: BrokenEngine, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    third = broken.BrokenEngine()
    await third.start()
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{third.port}")
    broken_engine.always[CHAT] = broken.say(307, b"", Location=f"http://127.0.0.1:{third.port}{CHAT}")
    _, failure = await collect(make().engine.stream(ASK))
    assert failure is not None
    assert broken_engine.of(CHAT)
    assert not third.asked
    await third.stop()
