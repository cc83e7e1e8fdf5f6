"""What the source must not contain: ways to unpickle, network access beyond the listed packages, too many dependencies."""

from __future__ import annotations

import ast
import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path

import jupyter_mistral
import pytest
from jupyter_mistral.protocol.parsing import parse_chat
from packaging.requirements import Requirement

PACKAGE = Path(jupyter_mistral.__file__).parent
ROOT = PACKAGE.parent.parent
UNPICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "multiprocessing"}
NETWORK = {
    "socket",
    "ssl",
    "http",
    "urllib",
    "urllib3",
    "requests",
    "httpx",
    "aiohttp",
    "ftplib",
    "smtplib",
    "websocket",
}
# which package may open which connections; all others may open none
SPEAKERS = {
    "egress": "loopback only: the browser, and the name server in a network namespace",
    "kernel": "the host's unix socket, or its loopback port",
    "notebook_runner.py": "our own Jupyter server on loopback",
    "persona.py": "this user's model host, like a kernel",
    "models": "the hub, when a user pulls a model",
    "seal.py": "none: tests whether it could",
    "server": "its own listeners, and the external engine that an admin configured",
    "engine": "the inherited socket of its server",
    "documents": "the inherited socket of its server",
}


def imports() -> Iterator[tuple[Path, str]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from ((path, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                yield path, node.module or ""


@pytest.mark.threat("T31", "T15")
def test_the_package_cannot_unpickle() -> None:
    unpicklers = [f"{path.name}: {name}" for path, name in imports() if name.split(".")[0] in UNPICKLERS]
    assert unpicklers == []
    loads = [
        path for path in PACKAGE.rglob("*.py") if re.search(r"torch\.load\(|np\.load\(|weights_only", path.read_text())
    ]
    assert loads == []


@pytest.mark.threat("T34", "T2")
def test_only_the_listed_packages_open_connections() -> None:
    rooms = {
        path.relative_to(PACKAGE).parts[0]
        for path, name in imports()
        # urllib.parse parses addresses and opens no connection
        if name.split(".")[0] in NETWORK and name != "urllib.parse"
    }
    assert rooms <= SPEAKERS.keys(), rooms - SPEAKERS.keys()


@pytest.mark.threat("T34")
def test_only_models_and_an_admins_engine_have_a_remote_address() -> None:
    remote = re.compile(r"https?://(?!localhost|127\.0\.0\.1|\{|\[)[a-z0-9.-]+\.[a-z]{2,}", re.IGNORECASE)
    allowed = {"models", "NOTICE"}
    addresses = {}
    for path, text in ((path, path.read_text()) for path in PACKAGE.rglob("*.py")):
        constants = [
            n.value for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Constant) and isinstance(n.value, str)
        ]
        hits = {hit for value in constants for hit in remote.findall(value)}
        if hits and path.relative_to(PACKAGE).parts[0] not in allowed:
            addresses[str(path.relative_to(PACKAGE))] = hits
    harmless = re.compile(
        r"\.(test|example|invalid)$|example\.(com|org)|www\.w3\.org|json-schema\.org|vega\.github\.io"
    )
    assert {p: t for p, t in addresses.items() if not all(harmless.search(one) for one in t)} == {}


@pytest.mark.threat("T33")
def test_the_base_package_has_few_dependencies_and_none_that_routes_to_clouds() -> None:
    requirements = [Requirement(line) for line in importlib.metadata.requires("jupyter-mistral") or ()]
    base = {one.name.lower() for one in requirements if not one.marker}
    assert 0 < len(base) <= 12
    assert not {one.name.lower() for one in requirements} & {"litellm", "langchain", "langchain-core"}


@pytest.mark.threat("T33")
def test_no_package_of_the_panel_runs_a_script_at_installation() -> None:
    lock = (ROOT / "extension" / "yarn.lock").read_text()
    assert "checksum:" in lock
    assert "enableScripts: false" in (ROOT / "extension" / ".yarnrc.yml").read_text()


@pytest.mark.threat("T35")
def test_a_body_cannot_choose_its_identity() -> None:
    body = {"messages": [{"role": "user", "content": "hi"}]}
    assert parse_chat({**body, "user": "somebody else"}) == parse_chat(body)
