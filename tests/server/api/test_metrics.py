"""Metrics on Jupyter's own /metrics: they count what was done, and contain neither text nor names."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families
from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse

SMALL = "smollm2-135m"


@pytest.fixture
def jp_server_config() -> dict[str, Any]:
    return {"ServerApp": {"jpserver_extensions": {"jupyter_mistral": True}}}


@pytest.fixture
def app(
    jp_serverapp: Any, http_server: Any, mistral_home: Path, jp_asyncio_loop: asyncio.AbstractEventLoop
) -> Iterator[Any]:
    jp_asyncio_loop.run_until_complete(jp_serverapp.extension_manager.start_all_extensions())
    yield jp_serverapp
    jp_asyncio_loop.run_until_complete(jp_serverapp.extension_manager.stop_all_extensions())
    assert not any(family.name.startswith("mistral_") for family in REGISTRY.collect())


async def _fetch(app: Any, path: str, body: Any = None, token: str | None = None) -> HTTPResponse:
    url = f"http://127.0.0.1:{app.port}{app.base_url}{path}"
    headers = {"Authorization": f"token {token or app.identity_provider.token}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body)
    request = HTTPRequest(url, "GET" if body is None else "POST", headers, data, request_timeout=300)
    return await AsyncHTTPClient().fetch(request, raise_error=False)


async def _figures(app: Any) -> tuple[str, dict[tuple[str, ...], float]]:
    reply = await _fetch(app, "metrics")
    assert reply.code == 200
    text = reply.body.decode()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith("mistral_"):
                found[(sample.name, *(sample.labels[key] for key in sorted(sample.labels, reverse=True)))] = (
                    sample.value
                )
    return text, found


async def test_requests_tokens_times_and_memory_are_counted(app: Any) -> None:
    _, before = await _figures(app)
    assert before["mistral_requests_running",] == 0 and before["mistral_requests_waiting",] == 0
    ask = {"model": SMALL, "messages": [{"role": "user", "content": "zanzibar?"}], "max_tokens": 5, "temperature": 0}
    whole = json.loads((await _fetch(app, "mistral/v1/chat/completions", ask)).body)
    usage = whole["usage"]
    assert (await _fetch(app, "mistral/v1/chat/completions", {**ask, "model": "no-such-zanzibar"})).code == 404
    assert (await _fetch(app, "mistral/v1/completions", {"model": SMALL, "prompt": "One", "max_tokens": 2})).code == 200
    text, after = await _figures(app)
    assert after["mistral_requests_total", "chat", whole["choices"][0]["finish_reason"]] == 1
    assert after["mistral_requests_total", "chat", "unknown_model"] == 1
    assert sum(v for k, v in after.items() if k[:2] == ("mistral_requests_total", "completion")) == 1
    assert after["mistral_tokens_total", "completion"] >= usage["completion_tokens"]
    assert after["mistral_tokens_total", "prompt"] >= usage["prompt_tokens"]
    assert after["mistral_request_seconds_count", "chat"] == 2
    assert after["mistral_first_token_seconds_count",] == 2
    assert after["mistral_requests_running",] == 0
    assert "zanzibar" not in text and SMALL not in text
    ours = await _fetch(app, "mistral/v1/metrics")
    assert (ours.code, ours.headers["Content-Type"].partition(";")[0]) == (200, "text/plain")
    lines = ours.body.decode().splitlines()
    assert {line for line in lines if line.startswith("mistral_requests_total")} <= set(text.splitlines())
    assert "zanzibar" not in ours.body.decode() and SMALL not in ours.body.decode()
    while not (await _figures(app))[1].get(("mistral_memory_bytes", "weights")):
        await asyncio.sleep(0.05)
    assert (await _figures(app))[1]["mistral_model_loaded",] == 1
