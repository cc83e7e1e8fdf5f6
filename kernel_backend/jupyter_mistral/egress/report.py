"""`jupyter mistral doctor --egress`: run both sessions, ours and the control, and report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from ..models import catalogue, default_name, store
from ..protocol.failures import Failure
from . import page

_LIMIT_S = 900


def main(*, as_json: bool = False, model: str | None = None) -> int:
    """Measure and print. Returns 0 if nothing of ours reached out and the control shows that the measurement works."""
    _refuse_unsupported()
    name = catalogue.find(model or default_name()).name
    if store.locate(catalogue.find(name)).state == "absent":
        raise Failure("model_not_on_disk", f"{name} is not downloaded.", f"Run `jupyter mistral pull {name}`.")
    report = {}
    for kind, sentence in (("ours", "Jupyter Mistral, sovereign"), ("control", "plain JupyterLab")):
        if not as_json:
            print(f"{sentence}: a session in an isolated network, under strace …", flush=True)
        report[kind] = _measure(kind, name)
    print(json.dumps(report, indent=1) if as_json else text_of(report))
    return int(not is_proven(report))


def is_proven(report: dict[str, Any]) -> bool:
    """Ours reached nothing, and the same measurement detects the calls of plain JupyterLab."""
    return bool(report["ours"]["attempts"] == 0 and report["control"]["attempts"] > 0)


def _refuse_unsupported() -> None:
    if not sys.platform.startswith("linux"):
        raise Failure("unsupported", "This measurement needs the network namespaces of Linux.", "Run it on Linux.")
    from importlib.util import find_spec

    if not find_spec("jupyterlab"):
        raise Failure(
            "unsupported", "JupyterLab is not installed.", "Run `pip install 'jupyter-mistral[lab]'`, then try again."
        )


def _measure(kind: str, model: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="jmistral-egress-", ignore_cleanup_errors=True) as folder:
        command = [sys.executable, "-m", "jupyter_mistral.egress", kind, folder, model]
        environ = {**os.environ, "PYTHONSAFEPATH": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=_LIMIT_S, check=False)
        try:
            report: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            raise Failure(
                "internal", f"The session was interrupted:\n{done.stderr[-1500:]}", "Fix the errors above, then retry."
            ) from None
        if "error" in report:
            log = Path(folder, "log")
            tail = log.read_text(errors="replace")[-800:] if log.exists() else ""
            failure = Failure.of_dict(report["error"])
            raise Failure(failure.code, f"{failure.message}\n{tail}".strip(), failure.todo)
    return report


def text_of(report: dict[str, Any]) -> str:
    """Both sessions for a terminal, with every attempt."""
    lines: list[str] = []
    for kind in ("ours", "control"):
        half = report[kind]
        lines += [
            "",
            f"{kind}: {half['attempts']} attempts to reach beyond this machine",
            f"  {', '.join(half['steps'])}",
        ]
        watched = f"  watched {half['calls_watched']:,} network calls"
        if half["seal_tests_refused"]:
            watched += f", {half['seal_tests_refused']} of them the worker's tests of its own seal, all refused"
        lines += [watched, _of_page(half["page"])]
        counted = Counter((one["process"], one["target"], ", ".join(one["names"])) for one in half["calls"])
        for (process, target, names), count in counted.most_common():
            lines.append(f"    {count:3} × {process} -> {target}" + (f": {names}" if names else ""))
        lines += [f"    {1:3} × page -> {url}" for url in (half["page"] or {}).get("elsewhere", ())]
    verdict = (
        "Proven: nothing of ours reached beyond this machine, and the same measurement detects JupyterLab's own calls."
    )
    if report["ours"]["attempts"]:
        verdict = "Disproved: the lines under 'ours' show what reached out."
    elif not report["control"]["attempts"]:
        verdict = "Not proven: the control shows nothing either, so the measurement may not work here."
    return "\n".join([*lines, "", verdict])


def _of_page(seen: dict[str, Any] | None) -> str:
    if seen is None:
        return f"  the page was not measured: no Chromium found (set {page.ENV})"
    stopped = len(seen["stopped_by_policy"])
    return f"  the page made {seen['requests']} requests; its policy blocked {stopped} to other servers"
