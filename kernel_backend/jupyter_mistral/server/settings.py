"""The settings of an admin, `c.MistralExtension.NAME` in jupyter_server_config.py, for the extension and the standalone host."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from traitlets import Bool, CaselessStrEnum, Int, Unicode
from traitlets.config.configurable import Configurable
from traitlets.config.loader import Config, ConfigFileNotFound, JSONFileConfigLoader, PyFileConfigLoader

from ..protocol.status import KV
from .external.config import ExternalConfig, config_of
from .inference.base import Options
from .inference.turn_queue import MAX_QUEUE
from .observe.audit_log import AuditLog, audit_of

SECTION = "MistralExtension"
FILES = ("jupyter_config", "jupyter_server_config", "jupyter_mistral_config")


class MistralServerSettings(Configurable):
    """Base of the extension, which Jupyter configures, and read by `read_settings` for the host without Jupyter."""

    default_model = Unicode(
        "",
        help="Model for requests that name none; `jupyter mistral models` lists names. Empty: one that fits this machine.",
    ).tag(config=True)
    idle_unload_minutes = Int(30, min=0, help="Unload the model after this many idle minutes; 0: never.").tag(
        config=True
    )
    context_length = Int(
        0, min=0, help="Maximum context length in tokens; less needs less memory. 0: as much as the model has and fits."
    ).tag(config=True)
    device = CaselessStrEnum(
        ["auto", "cpu", "cuda"], "auto", help="Where the model runs. auto: on the GPU if there is one."
    ).tag(config=True)
    kv = CaselessStrEnum(
        [*KV],
        "bf16",
        help="Format of the KV cache: fewer bits fit longer notebooks into the same memory.",
    ).tag(config=True)
    spill = Bool(
        False, help="Keep the last layers of a model that does not fit on the GPU in host memory, which is slower."
    ).tag(config=True)
    parallel = Int(
        0, min=0, help="Maximum number of requests answered at once; 0: as many as the engine supports."
    ).tag(config=True)
    max_queue = Int(MAX_QUEUE, min=0, help="Maximum number of queued requests; more are rejected with 429.").tag(
        config=True
    )
    kernel_channel = Bool(
        True, help="Serve kernels over a unix socket of this user; without it only this server's pages reach the model."
    ).tag(config=True)

    sovereign = Bool(
        False,
        help="Block everything in this server's pages that comes from other servers: sets a Content-Security-Policy on every "
        "page and disables JupyterLab's news, update check and extension index.",
    ).tag(config=True)

    audit_log = Bool(
        False,
        help="Record who asked which model when, what it cost and how it ended, but never what was said. Requests that cannot "
        "be recorded are refused. `jupyter mistral audit verify` checks the records.",
    ).tag(config=True)
    audit_days = Int(0, min=0, help="Number of days to keep the audit log; 0: forever.").tag(config=True)

    engine_url = Unicode(
        "",
        help="URL of an external engine (vLLM, SGLang, llama.cpp, Ollama, MLX, another Jupyter Mistral), such as "
        "http://localhost:8000/v1. If set, no model is loaded here, and questions are sent there with their notebooks.",
    ).tag(config=True)
    engine_model = Unicode("", help="Model of the external engine. Empty: the first that it lists.").tag(config=True)
    engine_key_file = Unicode(
        "",
        help="File with the API key of the external engine, read for each request. Without it, the environment variable "
        "JUPYTER_MISTRAL_ENGINE_KEY is used.",
    ).tag(config=True)
    engine_tokenizer = Unicode(
        "",
        help="Path of a local tokenizer.json of the external engine's model, to count tokens instead of estimating them.",
    ).tag(config=True)

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

    def external_engine(self) -> ExternalConfig | None:
        """Takes the engine's key out of the environment, which kernels would inherit."""
        return config_of(self._values())

    def open_audit_log(self) -> AuditLog | None:
        return audit_of(self._values())

    def _values(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in MistralServerSettings.class_trait_names(config=True)}


def read_settings(folders: Sequence[str]) -> MistralServerSettings:
    """What the admin set for the Jupyter extension. Reads Jupyter's config folders, never the working directory.

    Raises `traitlets.TraitError` for a value that is not allowed.
    """
    config = Config()
    for folder in reversed(folders):
        for name in FILES:
            for loader in (JSONFileConfigLoader, PyFileConfigLoader):
                suffix = ".json" if loader is JSONFileConfigLoader else ".py"
                with contextlib.suppress(ConfigFileNotFound):
                    config.merge(loader(name + suffix, path=folder).load_config())
    names = MistralServerSettings.class_trait_names(config=True)
    return MistralServerSettings(**{name: value for name, value in config.get(SECTION, {}).items() if name in names})
