"""Sovereign mode: this server's pages load nothing from other servers, and JupyterLab does not look for news, updates or extensions.

Only pages get the policy: Jupyter's own for API replies is stricter.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import logging
import re
from collections.abc import Iterable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.web import OutputTransform

from ...protocol.failures import Failure

_INLINE = re.compile(r"<script(?: type=['\"]text/javascript['\"])?>(.*?)</script>", re.DOTALL | re.IGNORECASE)
_TEMPLATE_CODE = re.compile(r"\{\{|\{%")
_HOST = re.compile(r"[A-Za-z0-9.\-]+(:\d+)?|\[[0-9a-fA-F:]+\](:\d+)?")
_PAGES = ("text/html", "application/xhtml+xml", "image/svg+xml", "text/xml", "application/xml")
# the values of JupyterLab's traits that disable its network requests
_LAB = {
    "news_url": None,
    "check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
    "extension_manager": "readonly",
}


def policy(host: str, hashes: Iterable[str] = ()) -> str:
    """The Content-Security-Policy of a page requested from `host`. hashes: of the inline scripts that may run.

    JupyterLab 4 needs 'unsafe-eval' to open a notebook, and anywidget loads modules from blob: URLs. Neither allows network access.
    """
    own = f" ws://{host} wss://{host}" if _HOST.fullmatch(host) else ""
    scripts = "".join(f" '{digest}'" for digest in hashes)
    return "; ".join(
        [
            "default-src 'self'",
            f"script-src 'self' blob: 'unsafe-eval'{scripts}",
            "style-src 'self' 'unsafe-inline' blob:",
            "img-src 'self' data: blob:",
            "font-src 'self' data: blob:",
            "media-src 'self' data: blob:",
            f"connect-src 'self' data: blob:{own}",
            "worker-src 'self' blob:",
            "frame-src 'self' data: blob:",
            "object-src 'none'",
            "base-uri 'self'",
            "form-action 'self'",
        ]
    )


def inline_scripts(folders: Iterable[Path]) -> tuple[str, ...]:
    """Hashes of the inline scripts in the page templates of `folders`.

    Scripts that contain template code are left out: their final text is unknown, and the pages work without them.
    """
    pages = [path for folder in folders for path in sorted(folder.glob("*.html"))]
    scripts = [script for page in pages for script in _INLINE.findall(page.read_text("utf-8"))]
    return tuple(sorted({_hash(script) for script in scripts if script.strip() and not _TEMPLATE_CODE.search(script)}))


def _hash(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _templates(serverapp: Any) -> set[Path]:
    """Folders of the page templates of this server and of the applications in it."""
    spec = find_spec("jupyter_server")
    folders = [Path(root) / "templates" for root in (spec.submodule_search_locations or () if spec else ())]
    for apps in serverapp.extension_manager.extension_apps.values():
        configured = [getattr(app, name, "") for app in apps for name in ("static_dir", "templates_dir")]
        folders += [Path(folder) for folder in configured if folder]
    return set(folders)


class PagePolicy(OutputTransform):
    """Adds the policy to every page; a browser also obeys other policies of the page."""

    def __init__(self, request: HTTPServerRequest, hashes: tuple[str, ...]) -> None:
        self._host, self._hashes = request.host or "", hashes

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        if headers.get("Content-Type", "").partition(";")[0].strip().lower() in _PAGES:
            headers.add("Content-Security-Policy", policy(self._host, self._hashes))
            headers["Referrer-Policy"] = "same-origin"
            # a DNS lookup ahead of a click is a request too, which no policy covers
            headers["X-DNS-Prefetch-Control"] = "off"
        return status_code, headers, chunk


def enforce(serverapp: Any, log: logging.Logger) -> None:
    """Enable sovereign mode. Called while extensions load, before JupyterLab registers its handlers."""
    serverapp.web_app.add_transform(partial(PagePolicy, hashes=inline_scripts(_templates(serverapp))))
    for app in serverapp.extension_manager.extension_apps.get("jupyterlab", ()):
        for name, value in _LAB.items():
            setattr(app, name, value)
    log.info("mistral: sovereign mode: pages load nothing from other servers; no news, update check or extension index")


def refuse_remote_engine(url: str) -> None:
    """Raise `Failure` if the external engine is on another machine, which contradicts sovereign mode."""
    host = urlsplit(url).hostname or ""
    if url and not _is_loopback(host):
        raise Failure(
            "forbidden",
            f"c.MistralExtension.engine_url sends questions to {host}, which sovereign mode does not allow.",
            "Unset one of the two settings.",
        )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def verify(serverapp: Any, log: logging.Logger) -> None:
    """Log an error if JupyterLab did not take over the settings. Called once all extensions have loaded."""
    page = serverapp.web_app.settings.get("page_config_data", {})
    if "extensionManager" in page and (
        not page.get("news", {}).get("disabled") or page["extensionManager"].get("name") != "read-only"
    ):
        log.error("mistral: JupyterLab ignores sovereign mode: it still looks for news or extensions")
