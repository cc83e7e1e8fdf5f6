"""The Jupyter server extension: what an admin may set, and the parts joined to the server. Nothing heavy is imported here."""

from __future__ import annotations

import logging
import os
from functools import cached_property
from typing import Any

from jupyter_server.extension.application import ExtensionApp
from traitlets import Bool, CaselessStrEnum, Int, Unicode

from .assemble import Parts, join
from .external.config import elsewhere_of
from .http import page_policy as sovereign
from .http.handler import bind
from .http.jupyter_auth import JupyterDoor
from .http.kernel_tokens import KernelKeys
from .inference.base import Options
from .inference.turns import MAX_QUEUE
from .observe.audit_log import audit_of

_PACKAGE = logging.getLogger(__package__.partition(".")[0])


class _Handed(logging.Handler):
    """Hands what our modules log to the server's own log, with its times, levels and files; else Python prints the bare words."""

    def __init__(self, log: logging.Logger) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.log(record.levelno, "%s", record.getMessage(), exc_info=record.exc_info)


class MistralExtension(ExtensionApp):
    """A model in 4 bit for the notebooks of this server. Set in jupyter_server_config.py as c.MistralExtension.NAME."""

    name = "jupyter_mistral"
    app_name = "Jupyter Mistral"
    extension_url = "/lab"
    load_other_extensions = True

    default_model = Unicode(
        "",
        help="The model for a request that names none; `jupyter mistral models` lists names. Empty: what fits this machine.",
    ).tag(config=True)
    idle_unload_minutes = Int(
        30, min=0, help="After so many minutes without a request the model leaves memory; 0: never."
    ).tag(config=True)
    context_length = Int(
        0, min=0, help="Tokens that the model holds at most; fewer need less memory. 0: what it can and fits."
    ).tag(config=True)
    device = CaselessStrEnum(
        ["auto", "cpu", "cuda"], "auto", help="Where the model runs. auto: on the GPU if there is one."
    ).tag(config=True)
    kv = CaselessStrEnum(
        ["bf16", "fp8", "int8", "int4"],
        "bf16",
        help="How keys and values of what was read are stored: fewer bits hold longer notebooks in the same memory.",
    ).tag(config=True)
    spill = Bool(
        False, help="A model that does not fit on the GPU keeps its last layers in host memory, which makes it slower."
    ).tag(config=True)
    parallel = Int(0, min=0, help="So many requests are answered at once; 0: as many as the engine takes.").tag(
        config=True
    )
    max_queue = Int(MAX_QUEUE, min=0, help="So many requests may wait; further ones are told to come back.").tag(
        config=True
    )
    kernel_channel = Bool(
        True, help="Serve kernels over a unix socket of this user; without it only pages of the server reach the model."
    ).tag(config=True)

    sovereign = Bool(
        False,
        help="Nothing of this server's pages comes from elsewhere: a Content-Security-Policy on every page, and JupyterLab's "
        "news, update check and extension index off.",
    ).tag(config=True)

    audit_log = Bool(
        False,
        help="Record who asked which model when, what it cost and how it ended, never what was said. What cannot be recorded "
        "is refused. `jupyter mistral audit verify` checks the record.",
    ).tag(config=True)
    audit_days = Int(0, min=0, help="Days that the audit log is kept; 0: for ever.").tag(config=True)

    engine_url = Unicode(
        "",
        help="Address of an engine elsewhere (vLLM, SGLang, llama.cpp, Ollama, MLX, another Jupyter Mistral), like "
        "http://localhost:8000/v1. Set: nothing is loaded here, and questions with their notebooks go there.",
    ).tag(config=True)
    engine_model = Unicode("", help="Which model of that engine is asked. Empty: the first that it lists.").tag(
        config=True
    )
    engine_key_file = Unicode(
        "",
        help="File with the key of that engine, read for each request. Else the variable JUPYTER_MISTRAL_ENGINE_KEY.",
    ).tag(config=True)
    engine_tokenizer = Unicode(
        "",
        help="A tokenizer.json of that engine's model on this machine, so that tokens are counted and not estimated.",
    ).tag(config=True)

    @cached_property
    def _lines(self) -> logging.Handler:
        return _Handed(self.log)

    _parts: Parts | None = None
    _kernels: KernelKeys | None = None

    def options(self) -> Options:
        return Options(
            default_model=self.default_model,
            context_length=self.context_length or None,
            device=self.device,
            idle_unload_s=60.0 * self.idle_unload_minutes,
            max_queue=self.max_queue,
            kv=self.kv,
            parallel=self.parallel,
            spill=self.spill,
        )

    def initialize_handlers(self) -> None:
        _PACKAGE.addHandler(self._lines)
        if self.sovereign:
            sovereign.enforce(self.serverapp, self.log)
            sovereign.refuse_elsewhere(self.engine_url)
        settings = {name: getattr(self, name) for name in self.class_trait_names(config=True)}
        self._parts = join(self.options(), self.log, elsewhere_of(settings), audit_of(settings))
        self.handlers.extend(bind(self._parts.table, JupyterDoor))

    async def _start_jupyter_server_extension(self, serverapp: Any) -> None:
        """Jupyter calls this once the server runs, not for a mere `jupyter server extension list`."""
        if self.sovereign:
            sovereign.verify(self.serverapp, self.log)
        if self.kernel_channel and self._parts is not None:
            self._parts.channel.start()
            self._kernels = KernelKeys(serverapp.kernel_manager, self._parts.channel, os.environ)
            self._kernels.start()
        if self._parts is not None:
            self._parts.meter.start(self._parts.engine)

    async def stop_extension(self) -> None:
        if self._kernels is not None:
            await self._kernels.stop()
        if self._parts is not None:
            await self._parts.close()
        _PACKAGE.removeHandler(self._lines)
