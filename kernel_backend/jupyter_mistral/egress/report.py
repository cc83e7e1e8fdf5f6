"""`jupyter mistral doctor --egress`: both journeys, ours and the control, and what is told of them."""

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
    """Measure and print. Returns 0 when nothing of ours reached out and the control shows that the measurement sees."""
    _refuse_where_blind()
    name = catalogue.find(model or default_name()).name
    if store.locate(catalogue.find(name)).state == "absent":
        raise Failure("model_not_on_disk", f"{name} is not on this machine.", f"Run `jupyter mistral pull {name}`.")
    told = {}
    for kind, sentence in (("ours", "Jupyter Mistral, sovereign"), ("control", "JupyterLab as it comes")):
        if not as_json:
            print(f"{sentence}: a journey in a network of its own, under strace …", flush=True)
        told[kind] = _measure(kind, name)
    print(json.dumps(told, indent=1) if as_json else text_of(told))
    return int(not is_proven(told))


def is_proven(told: dict[str, Any]) -> bool:
    """Ours reached nobody, and the same measurement does see JupyterLab as it comes."""
    return bool(told["ours"]["attempts"] == 0 and told["control"]["attempts"] > 0)


def _refuse_where_blind() -> None:
    if not sys.platform.startswith("linux"):
        raise Failure("unsupported", "Only Linux has the network namespaces that this measures in.", "Run it on Linux.")
    from importlib.util import find_spec

    if not find_spec("jupyterlab"):
        raise Failure("unsupported", "JupyterLab is not installed.", "pip install 'jupyter-mistral[lab]', then again.")


def _measure(kind: str, model: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="jmistral-egress-", ignore_cleanup_errors=True) as folder:
        command = [sys.executable, "-m", "jupyter_mistral.egress", kind, folder, model]
        environ = {**os.environ, "PYTHONSAFEPATH": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=_LIMIT_S, check=False)
        try:
            told: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            raise Failure(
                "internal", f"The journey broke off:\n{done.stderr[-1500:]}", "Mend what the lines above name."
            ) from None
        if "error" in told:
            log = Path(folder, "log")
            tail = log.read_text(errors="replace")[-800:] if log.exists() else ""
            failure = Failure.of_dict(told["error"])
            raise Failure(failure.code, f"{failure.message}\n{tail}".strip(), failure.todo)
    return told


def text_of(told: dict[str, Any]) -> str:
    """Both halves for a terminal, each attempt named."""
    lines: list[str] = []
    for kind in ("ours", "control"):
        half = told[kind]
        lines += [
            "",
            f"{kind}: {half['attempts']} attempts to reach beyond this machine",
            f"  {', '.join(half['steps'])}",
        ]
        looked = f"  watched {half['calls_watched']:,} network calls"
        if half["seal_tests_refused"]:
            looked += f", {half['seal_tests_refused']} of them the worker's tries of its own seal, each refused"
        lines += [looked, _of_page(half["page"])]
        counted = Counter((one["process"], one["target"], ", ".join(one["names"])) for one in half["calls"])
        for (process, target, names), count in counted.most_common():
            lines.append(f"    {count:3} × {process} -> {target}" + (f": {names}" if names else ""))
        lines += [f"    {1:3} × page -> {url}" for url in (half["page"] or {}).get("elsewhere", ())]
    verdict = "Proven: nothing of ours reached beyond this machine, and the same look does see JupyterLab's own calls."
    if told["ours"]["attempts"]:
        verdict = "Not so: the lines under «ours» name who reached out."
    elif not told["control"]["attempts"]:
        verdict = "Not proven: the control shows nothing either, so this look may be blind here."
    return "\n".join([*lines, "", verdict])


def _of_page(seen: dict[str, Any] | None) -> str:
    if seen is None:
        return f"  the page's half was not looked at: no Chromium here (name one in {page.ENV})"
    stopped = len(seen["stopped_by_policy"])
    return f"  the page made {seen['requests']} requests; its policy stopped {stopped} to elsewhere"
