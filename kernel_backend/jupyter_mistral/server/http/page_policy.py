"""Sovereign mode: pages of this server load nothing from elsewhere, and JupyterLab asks nobody for news, updates or extensions.

Knows nothing of models. The policy goes on pages alone: what API answers carry is stricter already.
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
_FILLED_IN = re.compile(r"\{\{|\{%")
_HOST = re.compile(r"[A-Za-z0-9.\-]+(:\d+)?|\[[0-9a-fA-F:]+\](:\d+)?")
_PAGES = ("text/html", "application/xhtml+xml", "image/svg+xml", "text/xml", "application/xml")
# JupyterLab's traits, and what makes each of them stay at home
_LAB = {
    "news_url": None,
    "check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
    "extension_manager": "readonly",
}


def policy(host: str, hashes: Iterable[str] = ()) -> str:
    """The Content-Security-Policy of a page that was asked for at `host`. hashes: of the inline scripts that may run.

    'unsafe-eval' is what JupyterLab 4 cannot open a notebook without, blob: what anywidget modules come from; neither can
    load or send anything over the network, which is what this policy is about.
    """
    own = f" ws://{host} wss://{host}" if _HOST.fullmatch(host) else ""
    scripts = "".join(f" '{found}'" for found in hashes)
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

    Scripts that a template fills in are left out: their text is not known before, and the pages work without them.
    """
    pages = [path for folder in folders for path in sorted(folder.glob("*.html"))]
    scripts = [script for page in pages for script in _INLINE.findall(page.read_text("utf-8"))]
    return tuple(sorted({_hash(script) for script in scripts if script.strip() and not _FILLED_IN.search(script)}))


def _hash(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _templates(serverapp: Any) -> set[Path]:
    """Where the pages of this server come from: its own, and those of each application that runs in it."""
    spec = find_spec("jupyter_server")
    folders = [Path(root) / "templates" for root in (spec.submodule_search_locations or () if spec else ())]
    for apps in serverapp.extension_manager.extension_apps.values():
        told = [getattr(app, name, "") for app in apps for name in ("static_dir", "templates_dir")]
        folders += [Path(folder) for folder in told if folder]
    return set(folders)


class PagePolicy(OutputTransform):
    """Puts the policy on every page, beside any other policy that it has: a browser obeys both."""

    def __init__(self, request: HTTPServerRequest, hashes: tuple[str, ...]) -> None:
        self._host, self._hashes = request.host or "", hashes

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        if headers.get("Content-Type", "").partition(";")[0].strip().lower() in _PAGES:
            headers.add("Content-Security-Policy", policy(self._host, self._hashes))
            headers["Referrer-Policy"] = "same-origin"
            # a name that is looked up ahead of a click is a request too, and no policy covers it
            headers["X-DNS-Prefetch-Control"] = "off"
        return status_code, headers, chunk


def enforce(serverapp: Any, log: logging.Logger) -> None:
    """Make a Jupyter server sovereign. Called while extensions load, before JupyterLab sets up its addresses."""
    serverapp.web_app.add_transform(partial(PagePolicy, hashes=inline_scripts(_templates(serverapp))))
    for app in serverapp.extension_manager.extension_apps.get("jupyterlab", ()):
        for name, value in _LAB.items():
            setattr(app, name, value)
    log.info("mistral: sovereign: pages load nothing from elsewhere; no news, no update check, no extension index")


def refuse_elsewhere(url: str) -> None:
    """Raises `Failure` where questions would go to an engine on another machine: that is not what sovereign says."""
    host = urlsplit(url).hostname or ""
    if url and not _is_here(host):
        raise Failure(
            "forbidden",
            f"c.MistralExtension.engine_url sends questions to {host}, which sovereign mode does not allow.",
            "Unset one of the two.",
        )


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def verify(serverapp: Any, log: logging.Logger) -> None:
    """Look, once all extensions have loaded, whether JupyterLab took it; say so where not."""
    told = serverapp.web_app.settings.get("page_config_data", {})
    if "extensionManager" in told and (
        not told.get("news", {}).get("disabled") or told["extensionManager"].get("name") != "read-only"
    ):
        log.error("mistral: sovereign mode did not reach JupyterLab: it still asks for news or extensions")
