"""Imports bitsandbytes without torch's compiler, which is a third of the time that a worker takes to start.

bitsandbytes hands `torch.compile` its optimizers and a way to unpack odd shapes, none of which answers a question; the
mere call imports dynamo and inductor. To be imported before whatever else imports bitsandbytes. The functions stay as they are.
"""

from __future__ import annotations

from typing import Any

import torch


def _as_it_is(model: Any = None, **options: Any) -> Any:
    return model if model is not None else lambda given: given


_compile = torch.compile
torch.compile = _as_it_is
try:
    import bitsandbytes  # noqa: F401
finally:
    torch.compile = _compile
