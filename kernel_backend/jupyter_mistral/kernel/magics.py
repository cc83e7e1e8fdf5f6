"""`%mistral` and `%%mistral`: connects the parts of this package to an IPython shell."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand

from ..protocol.failures import Failure
from .ask.ask import Asker
from .commands.run import Commands
from .completion import make_matcher
from .errors import MistralError, Stopped
from .figures import history, questions
from .figures.references import FigureNames
from .line.arguments import Question, find_late_flag, parse_header, parse_line
from .line.manual import MANUAL
from .line.question_mark import QuestionMarkTransform
from .line.subcommands import Command
from .line.terminal_text import to_plain
from .session import MistralKernelSettings, Session


@magics_class
class MistralMagics(MistralKernelSettings, Magics):
    """The settings of `%mistral` in this kernel."""

    def __init__(self, shell: Any, **settings: Any) -> None:
        super().__init__(shell=shell, **settings)
        self.session = Session(shell, self)
        self.matcher = make_matcher(self.session)
        self._asker = Asker(self.session)
        self._commands = Commands(self.session, self._asker)

    @no_var_expand  # we fill braces ourselves: see interpolate.py
    @line_cell_magic
    def mistral(self, line: str, cell: str | None = None) -> None:
        try:
            if cell is None:
                self._run_line(line)
            else:
                header = parse_header(line, self.session.aliases)
                self._ask(Question(f"{header.text}\n{cell}".strip(), header.options))
        except Failure as failure:
            raise MistralError.of_failure(failure) from None
        except Stopped:
            raise
        except KeyboardInterrupt:  # before the first event, while the model host starts
            raise Stopped from None

    mistral.__doc__ = to_plain(MANUAL)

    def _run_line(self, line: str) -> None:
        request = parse_line(line, self.session.aliases, FigureNames(self.session.namespace))
        if isinstance(request, Command):
            self._commands.run(request)
            return
        late_flag = find_late_flag(request.text)
        if late_flag:
            self.session.say(f"`{late_flag}` was sent as part of the question. Put flags first.")
        self._ask(request)

    def _ask(self, question: Question) -> None:
        options = question.options
        if question.text.strip():
            self._asker.ask(self.session.fill(question.text), options)
        elif options.see:
            self._asker.ask(
                questions.EXPLAIN, replace(options, use_history=False), label=f"Explain {', '.join(options.see)}."
            )
        else:
            raise UsageError("The question is empty. Write it below %%mistral or after %mistral.")


def load(shell: Any) -> None:
    """Register the magics with `shell`. Loading twice changes nothing."""
    if _loaded(shell):
        return
    magics = MistralMagics(shell)
    shell.register_magics(magics)
    shell.events.register("post_run_cell", magics.session.record_error)
    history.install(shell)
    shell.input_transformer_manager.token_transformers.insert(0, QuestionMarkTransform)
    shell.Completer.custom_matchers.append(magics.matcher)
    if "Err" not in shell.user_ns:
        shell.push({"Err": magics.session.errors}, interactive=False)


def unload(shell: Any) -> None:
    """Undo `load`."""
    magics = _loaded(shell)
    if magics is None:
        return
    shell.events.unregister("post_run_cell", magics.session.record_error)
    history.uninstall(shell)
    shell.input_transformer_manager.token_transformers.remove(QuestionMarkTransform)
    shell.Completer.custom_matchers.remove(magics.matcher)
    for table in shell.magics_manager.magics.values():
        table.pop("mistral", None)
    shell.magics_manager.registry.pop(MistralMagics.__name__, None)
    shell.configurables.remove(magics)
    shell.drop_by_id({"Err": magics.session.errors})


def _loaded(shell: Any) -> MistralMagics | None:
    magics = shell.magics_manager.registry.get(MistralMagics.__name__)
    return magics if isinstance(magics, MistralMagics) else None
