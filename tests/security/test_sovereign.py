"""Sovereign mode without a browser: which replies get the policy, and what it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_mistral.protocol.failures import Failure
from jupyter_mistral.server.http.page_policy import inline_scripts, policy, refuse_remote_engine
from tornado.httpclient import AsyncHTTPClient, HTTPResponse


@pytest.fixture
def jp_server_config() -> dict[str, Any]:
    on = {"jupyter_mistral": True, "jupyterlab": True, "notebook": True}
    return {"ServerApp": {"jpserver_extensions": on}, "MistralExtension": {"sovereign": True}}


@pytest.fixture
def app(
    jp_serverapp: Any, http_server: Any, mistral_home: Path, jp_asyncio_loop: asyncio.AbstractEventLoop
) -> Iterator[Any]:
    yield jp_serverapp
    jp_asyncio_loop.run_until_complete(jp_serverapp.extension_manager.stop_all_extensions())


async def get(app: Any, path: str) -> HTTPResponse:
    headers = {"Authorization": f"token {app.identity_provider.token}"}
    url = f"http://127.0.0.1:{app.port}{app.base_url}{path}"
    return await AsyncHTTPClient().fetch(url, headers=headers, raise_error=False)


def policies(reply: HTTPResponse) -> list[str]:
    return list(reply.headers.get_list("Content-Security-Policy"))


@pytest.mark.threat("T5", "T3")
async def test_every_page_and_nothing_else_gets_the_policy_in_addition_to_its_own(app: Any, jp_root_dir: Path) -> None:
    (jp_root_dir / "evil.html").write_text("<img src='http://elsewhere.test/x.png'>")
    (jp_root_dir / "evil.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    for path in ("lab", "doc", "tree", "login", "files/evil.html", "files/evil.svg", "nowhere"):
        reply = await get(app, path)
        assert reply.code == (404 if path == "nowhere" else 200), path
        found = policies(reply)
        assert any("img-src 'self' data: blob:" in one and "default-src 'self'" in one for one in found), path
        assert len(found) > 1 or path == "files/evil.svg", path
    own = policies(await get(app, "lab"))[0]
    assert "frame-ancestors 'self'" in own
    api = policies(await get(app, "mistral/api/status"))
    assert all("img-src" not in one for one in api)
    page = await get(app, "lab")
    assert (page.headers["X-DNS-Prefetch-Control"], page.headers["Referrer-Policy"]) == ("off", "same-origin")


@pytest.mark.threat("T5")
async def test_only_the_pages_own_inline_scripts_are_allowed_by_their_hash(app: Any) -> None:
    found = next(one for one in policies(await get(app, "lab")) if "script-src" in one)
    script = next(part for part in found.split("; ") if part.startswith("script-src"))
    assert "'sha256-" in script and "'unsafe-inline'" not in script and "http" not in script


def test_a_script_with_template_code_is_not_allowed(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        "<script>fixed()</script><script>x = '{{ name }}'</script><script src='x'></script>"
    )
    assert len(inline_scripts([tmp_path])) == 1


@pytest.mark.threat("T6")
@pytest.mark.parametrize("host", ["a; script-src *", "evil.example *", "x\nY: z", ""])
def test_a_host_name_cannot_change_the_policy(host: str) -> None:
    assert "ws:" not in policy(host) and "*" not in policy(host) and "\n" not in policy(host)
    assert "connect-src 'self' data: blob: ws://localhost:8888 wss://localhost:8888" in policy("localhost:8888")


@pytest.mark.threat("T2")
def test_an_engine_on_another_machine_contradicts_sovereign_mode() -> None:
    for url in ("", "http://localhost:8000/v1", "http://127.0.0.1:1/v1", "http://[::1]:8000/v1"):
        refuse_remote_engine(url)
    for url in (
        "https://api.example.com/v1",
        "http://10.0.0.5:8000/v1",
        "http://localhost.evil.example/v1",
        "http://127.evil/",
    ):
        with pytest.raises(Failure, match="sovereign mode does not allow"):
            refuse_remote_engine(url)
