"""`python -m jupyter_mistral.egress KIND FOLDER MODEL`: one watched session, printed as a JSON object.

A separate process, because a process cannot leave the isolated network again.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from ..protocol.failures import Failure
from .journey import run


def main() -> int:
    os.umask(0o077)
    kind, folder, model = sys.argv[1:4]
    assert kind in ("ours", "control")
    try:
        report = run(kind, Path(folder), model)  # type: ignore[arg-type]  # one of the two, by the line above
    except Failure as failure:
        report = {"error": failure.to_dict()}
    print(json.dumps(report))
    return int("error" in report)


if __name__ == "__main__":
    sys.exit(main())
