"""The doctor's checks over HTTP: the same as on the command line, run once for simultaneous requests."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from jupyter_mistral import health
from jupyter_mistral.server.api.doctor import Health


@pytest.fixture
def jp_server_config() -> dict[str, Any]:
    return {"ServerApp": {"jpserver_extensions": {"jupyter_mistral": True}}}


async def test_the_route_returns_the_doctors_checks_with_remedies(jp_fetch: Any, mistral_home: Any) -> None:
    told = json.loads((await jp_fetch("mistral", "api", "doctor")).body)
    found = {check["name"]: check for check in told["checks"]}
    wanted = [check.name for check in await asyncio.to_thread(lambda: list(health.examine()))]
    assert list(found) == wanted
    assert found["model"]["state"] == "ok"
    assert all(check["todo"] for check in told["checks"] if check["state"] != "ok")
    assert told["ok"] is not any(check["state"] == "blocked" for check in told["checks"])


async def test_the_model_that_the_admin_chose_is_checked(mistral_home: Any) -> None:
    for model, state, todo in (
        ("smollm2-135m", "ok", ""),
        ("mistral-small-3.2", "blocked", "jupyter mistral pull mistral-small-3.2"),
        ("no such model", "blocked", None),
    ):
        checks = {check["name"]: check for check in await Health(model).checks()}
        assert model in checks["model"]["found"]
        assert checks["model"]["state"] == state and todo in (None, checks["model"]["todo"])
        assert ("memory" in checks) == (model != "no such model")


async def test_simultaneous_requests_share_the_checks_and_later_ones_run_them_again(
    mistral_home: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Health(fresh_s=3600)
    first, second = await asyncio.gather(kept.checks(), kept.checks())
    assert first is second
    assert await kept.checks() is first
    fresh = Health(fresh_s=0)
    monkeypatch.setenv("JUPYTER_MISTRAL_HOME", str(mistral_home / "empty"))
    model = next(check for check in await fresh.checks() if check["name"] == "model")
    assert (model["state"], model["todo"]) == ("blocked", "jupyter mistral pull")
