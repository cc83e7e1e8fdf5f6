"""What an admin set about an engine elsewhere. Its key comes from a file or from the environment, never from a notebook."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from typing import Any

from ..inference.turns import MAX_QUEUE
from .engine import Elsewhere
from .http import KEY_ENV, Key


def elsewhere_of(told: Mapping[str, Any], environ: MutableMapping[str, str] = os.environ) -> Elsewhere | None:
    """told: settings by their names in c.MistralExtension. None where no `engine_url` is set.

    Takes the key out of the environment, which kernels of this server would inherit.
    """
    key = environ.pop(KEY_ENV, "")
    url = str(told.get("engine_url") or "")
    if not url:
        return None
    return Elsewhere(
        url,
        str(told.get("engine_model") or ""),
        Key(str(told.get("engine_key_file") or ""), key.strip()),
        str(told.get("engine_tokenizer") or ""),
        int(told.get("context_length") or 0) or None,
        int(told.get("max_queue", MAX_QUEUE)),
    )
