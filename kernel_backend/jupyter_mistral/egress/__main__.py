"""`python -m jupyter_mistral.egress KIND FOLDER MODEL`: one watched journey; prints one JSON object. A process of its own,
since the network of its own cannot be left again."""

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
        told = run(kind, Path(folder), model)  # type: ignore[arg-type]  # one of the two, by the line above
    except Failure as failure:
        told = {"error": failure.to_dict()}
    print(json.dumps(told))
    return int("error" in told)


if __name__ == "__main__":
    sys.exit(main())
