"""The Jupyter server extension: adds our routes to the server. Imports nothing heavy."""

from __future__ import annotations

import logging
import os
from functools import cached_property
from typing import Any

from jupyter_server.extension.application import ExtensionApp

from .assemble import Parts, join
from .http import page_policy
from .http.handler import bind
from .http.jupyter_auth import JupyterDoor
from .http.kernel_tokens import KernelTokens
from .settings import MistralServerSettings

_PACKAGE = logging.getLogger(__package__.partition(".")[0])


class _ForwardingHandler(logging.Handler):
    """Forwards our modules' log records to the server's log, with its format and files; Python would print the bare text."""

    def __init__(self, log: logging.Logger) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.log(record.levelno, "%s", record.getMessage(), exc_info=record.exc_info)


class MistralExtension(MistralServerSettings, ExtensionApp):
    """A local 4-bit model for the notebooks of this server. Set in jupyter_server_config.py as c.MistralExtension.NAME."""

    name = "jupyter_mistral"
    app_name = "Jupyter Mistral"
    extension_url = "/lab"
    load_other_extensions = True

    _parts: Parts | None = None
    _kernel_tokens: KernelTokens | None = None

    @cached_property
    def _log_handler(self) -> logging.Handler:
        return _ForwardingHandler(self.log)

    def initialize_handlers(self) -> None:
        _PACKAGE.addHandler(self._log_handler)
        if self.sovereign:
            page_policy.enforce(self.serverapp, self.log)
            page_policy.refuse_remote_engine(self.engine_url)
        self._parts = join(self.options(), self.log, self.external_engine(), self.open_audit_log())
        self.handlers.extend(bind(self._parts.table, JupyterDoor))

    async def _start_jupyter_server_extension(self, serverapp: Any) -> None:
        """Jupyter calls this once the server runs, but not for `jupyter server extension list`."""
        if self.sovereign:
            page_policy.verify(self.serverapp, self.log)
        if self._parts is None:
            return
        if self.kernel_channel:
            self._parts.channel.start()
            self._kernel_tokens = KernelTokens(serverapp.kernel_manager, self._parts.channel, os.environ)
            self._kernel_tokens.start()
        self._parts.metrics.start(self._parts.engine)

    async def stop_extension(self) -> None:
        if self._kernel_tokens is not None:
            await self._kernel_tokens.stop()
        if self._parts is not None:
            await self._parts.close()
        _PACKAGE.removeHandler(self._log_handler)
