"""An admin's settings of an external engine. Its key comes from a file or the environment, never from a notebook."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from ..inference.turn_queue import MAX_QUEUE
from .http import KEY_ENV, Key


@dataclass(frozen=True)
class Patience:
    """Timeouts in seconds.

    An engine that sends nothing is reported after `report_s`. After `check_s` it must answer another request within `alive_s`, and after
    `give_up_s` the request fails. A busy engine is tried `tries` times within `retry_s`.
    """

    report_s: float = 10.0
    check_s: float = 30.0
    alive_s: float = 10.0
    give_up_s: float = 900.0
    usage_s: float = 5.0
    tries: int = 6
    first_wait_s: float = 0.5
    retry_s: float = 60.0


@dataclass(frozen=True)
class ExternalConfig:
    """tokenizer: path of a tokenizer.json of the engine's model, for exact token counts."""

    url: str
    model: str = ""
    key: Key = field(default_factory=Key)
    tokenizer: str = ""
    context_length: int | None = None
    max_queue: int = MAX_QUEUE
    patience: Patience = field(default_factory=Patience)


def config_of(settings: Mapping[str, Any], environ: MutableMapping[str, str] = os.environ) -> ExternalConfig | None:
    """settings: by their names in c.MistralExtension. None if no `engine_url` is set.

    Removes the key from the environment, which kernels of this server would inherit.
    """
    key = environ.pop(KEY_ENV, "")
    url = str(settings.get("engine_url") or "")
    if not url:
        return None
    return ExternalConfig(
        url,
        str(settings.get("engine_model") or ""),
        Key(str(settings.get("engine_key_file") or ""), key.strip()),
        str(settings.get("engine_tokenizer") or ""),
        int(settings.get("context_length") or 0) or None,
        int(settings.get("max_queue", MAX_QUEUE)),
    )
