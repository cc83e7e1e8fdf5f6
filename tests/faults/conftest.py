"""The hosts of the server's tests, for attacks on them and for faults in them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_path = Path(__file__).parent.parent / "server" / "conftest.py"
_spec = importlib.util.spec_from_file_location("hosts_of_the_server_tests", _path)
assert _spec is not None and _spec.loader is not None
_hosts = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = _hosts
_spec.loader.exec_module(_hosts)

own_host = _hosts.own_host
models_home = _hosts.models_home
