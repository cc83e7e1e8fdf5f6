"""The state that the magics of one IPython shell share: its settings, aliases, conversation and errors. Knows no displays."""

from __future__ import annotations

from typing import Any, cast

from traitlets import Dict, Enum, Float, Int, Unicode
from traitlets.config import Configurable

from ..protocol.requests import SCOPES
from .conversation import SYSTEM, Conversation
from .host.client import Client
from .variables import interpolate
from .variables.cell_errors import Errors


class MistralKernelSettings(Configurable):
    """What `%config MistralMagics` shows and changes."""

    model = Unicode("", help="Model to ask. Empty: the default model.").tag(config=True)
    context = Enum(SCOPES, "none", help="How much of the notebook to send when --context is not given.").tag(
        config=True
    )
    max_history = Int(2, min=0, help="Number of previous exchanges to send with a question.").tag(config=True)
    max_tokens = Int(
        None, allow_none=True, min=1, help="Maximum answer length in tokens. None: the limit of the model host."
    ).tag(config=True)
    document_tokens = Int(
        6000, min=200, help="Maximum number of tokens (approximate) to send from documents that were read."
    ).tag(config=True)
    temperature = Float(
        None, allow_none=True, help="0 is deterministic; higher values vary more. None: the default, 0.15."
    ).tag(config=True)
    system = Unicode(SYSTEM, help="The system prompt.").tag(config=True)
    aliases = Dict(value_trait=Unicode(), help="Short names of models.").tag(config=True)


class Session:
    """One shell's variables, inputs, errors, conversation and settings."""

    def __init__(self, shell: Any, settings: MistralKernelSettings) -> None:
        self.shell, self.settings = shell, settings
        self.conversation = Conversation()
        self.errors = Errors()

    @property
    def namespace(self) -> dict[str, Any]:
        """The user's variables."""
        return cast(dict[str, Any], self.shell.user_ns)

    @property
    def is_notebook(self) -> bool:
        """Whether a front end renders our output; IPython in a terminal has no kernel."""
        return getattr(self.shell, "kernel", None) is not None

    @property
    def is_automagic(self) -> bool:
        """Whether a bare `mistral` means `%mistral`."""
        return bool(self.shell.automagic) and "mistral" not in self.namespace

    @property
    def inputs(self) -> list[str]:
        """The cells as typed, by prompt number; the running one is the last."""
        return list(self.shell.history_manager.input_hist_raw)

    @property
    def current_cell(self) -> str:
        return self.inputs[-1] if self.inputs else ""

    @property
    def aliases(self) -> dict[str, str]:
        """Short name -> model."""
        return cast(dict[str, str], self.settings.aliases)

    @aliases.setter
    def aliases(self, aliases: dict[str, str]) -> None:
        self.settings.aliases = aliases

    def resolve_alias(self, name: str) -> str:
        """Return the model that an alias stands for, or `name` itself."""
        return self.aliases.get(name, name)

    def model_for(self, name: str | None) -> str | None:
        """The model to ask when a command names `name`; None for the default model."""
        return self.resolve_alias(name or self.settings.model) or None

    def fill(self, text: str) -> str:
        """Replace the references in `text`, such as `{df}` and `{Out[3]}`."""
        return interpolate.fill(text, interpolate.Lookup(self.namespace, self.inputs, self.errors))

    def say(self, text: str) -> None:
        """Print one line for the user."""
        print(text, flush=True)

    def find_client(self) -> Client:
        """Find the running model host, or start one. Raises `Failure`."""
        return Client.find(say=self.say)

    def record_error(self, result: Any) -> None:
        """Keep the error of a cell for `{Err[n]}` and `%mistral fix`. IPython calls this after each cell."""
        error = result.error_in_exec or result.error_before_exec
        if error is not None and result.execution_count is not None:
            self.errors.record(result.execution_count, result.info.raw_cell or "", error, self._cell_name)

    def _cell_name(self, file: str) -> str:
        """`Cell In[3]` for the file of a cell's code, "" for any other file."""
        name = self.shell.compile.format_code_name(file)
        return f"{name[0]} {name[1]}" if name else ""
