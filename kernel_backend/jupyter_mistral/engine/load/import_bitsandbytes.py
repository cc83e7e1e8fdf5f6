"""Imports bitsandbytes without torch's compiler, which would take a third of a worker's start-up time.

bitsandbytes passes optimizers and an unpacking function to `torch.compile`, none of which inference uses; the call alone
imports dynamo and inductor. Import this before anything else that imports bitsandbytes. The functions stay uncompiled.
"""

from __future__ import annotations

from typing import Any

import torch


def _leave_uncompiled(model: Any = None, **options: Any) -> Any:
    return model if model is not None else lambda function: function


_compile = torch.compile
torch.compile = _leave_uncompiled
try:
    import bitsandbytes  # noqa: F401
finally:
    torch.compile = _compile
