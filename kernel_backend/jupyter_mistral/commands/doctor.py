"""`jupyter mistral doctor`: print every check of this machine, with what to do about each that fails."""

from __future__ import annotations

import json
from dataclasses import asdict

from ..health import Check, examine
from .prepare import try_seal


def main(*, as_json: bool = False) -> int:
    """Print every check as it is done; returns 1 if one is blocked, else 0."""
    checks = []
    for check in examine(try_seal=try_seal):
        checks.append(check)
        if not as_json:
            _show(check)
    is_blocked = any(check.state == "blocked" for check in checks)
    if as_json:
        print(json.dumps({"ok": not is_blocked, "checks": [asdict(check) for check in checks]}, indent=1))
    return int(is_blocked)


def _show(check: Check) -> None:
    print(f"{check.state.ljust(7)}  {check.name.ljust(9)}  {check.found}", flush=True)
    if check.todo:
        print(f"{' ' * 20}-> {check.todo}", flush=True)
