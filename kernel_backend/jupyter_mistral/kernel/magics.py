"""`%mistral` and `%%mistral`: joins the parts of this room to an IPython shell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from IPython.core.error import UsageError
from IPython.core.getipython import get_ipython
from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand
from traitlets import Dict, Enum, Float, Int, Unicode

from ..protocol.conversation import Message
from ..protocol.failures import Failure
from ..protocol.requests import SCOPES, ChatRequest, Extras, Form
from . import documents
from .ask import formats, interpolate
from .ask.ask import ask
from .ask.conversation import SYSTEM, Conversation, Exchange
from .ask.reply import Reply
from .commands import Commands
from .errors import MistralError, Stopped
from .figures import history, questions
from .host.client import Client
from .line.arguments import Command, Options, Question, late_flag, parse_header, parse_line
from .line.completion import matcher
from .line.manual import MANUAL
from .line.question_mark import AskedWithAMark
from .line.terminal_text import to_plain
from .show.display import NotebookView, TerminalView, View
from .variables import executed_cells
from .variables.cell_errors import Errors
from .variables.describe import variables
from .variables.executed_cells import Executed


@magics_class
class MistralMagics(Magics):
    """The settings of `%mistral` in this kernel."""

    model = Unicode("", help="Model to ask; empty is the host's default.").tag(config=True)
    context = Enum(SCOPES, "none", help="How much of the notebook is read when --context is not given.").tag(
        config=True
    )
    max_history = Int(2, min=0, help="How many of the last exchanges are sent along.").tag(config=True)
    max_tokens = Int(None, allow_none=True, min=1, help="Tokens of an answer at most; None is the host's limit.").tag(
        config=True
    )
    document_tokens = Int(6000, min=200, help="About so many tokens of documents that were read go along.").tag(
        config=True
    )
    temperature = Float(None, allow_none=True, help="0 is always the likeliest token; None is the default, 0.15.").tag(
        config=True
    )
    system = Unicode(SYSTEM, help="The standing instruction.").tag(config=True)
    aliases = Dict(value_trait=Unicode(), help="Short names of models.").tag(config=True)

    def __init__(self, shell: Any, **settings: Any) -> None:
        super().__init__(shell, **settings)
        self._shell = shell
        self.conversation = Conversation()
        self.errors = Errors()
        self.matcher = matcher(self)
        self._commands = Commands(self)

    @no_var_expand  # braces are ours to fill: see interpolate.py
    @line_cell_magic
    def mistral(self, line: str, cell: str | None = None) -> None:
        try:
            if cell is None:
                asked = parse_line(line, self.aliases, questions.Figures(self.namespace))
                if isinstance(asked, Command):
                    self._commands.run(asked)
                    return
                late = late_flag(asked.text)
                if late:
                    self.say(f"{late} went to the model as text: flags stand before the question.")
            else:
                header = parse_header(line, self.aliases)
                asked = Question(f"{header.text}\n{cell}".strip(), header.options)
            if not asked.text.strip() and asked.options.see:
                options = replace(asked.options, use_history=False)
                self.ask(questions.EXPLAIN, options, f"Explain {', '.join(options.see)}.")
                return
            if not asked.text.strip():
                raise UsageError("The question is empty. Write it under %%mistral, or behind %mistral.")
            self.ask(self.filled(asked.text), asked.options)
        except Failure as failure:
            raise MistralError.of_failure(failure) from None
        except Stopped:
            raise
        except KeyboardInterrupt:  # before the first event: while a host was looked for or started
            raise Stopped from None

    mistral.__doc__ = to_plain(MANUAL)

    def ask(
        self,
        question: str,
        options: Options,
        said: str = "",
        format: str = "",
        instructed: bool = False,
        figures: Sequence[questions.Figure] = (),
        failed: str = "",
    ) -> Reply:
        """Ask, show, keep. `said` is what the history remembers in place of a long question. Raises `MistralError`.

        instructed: the question itself says what the format needs. figures: go along, as those of `--see` do. failed: a cell
        that is no answer when it comes back as it was.
        """
        kind = format or options.format or ("json" if options.schema else "markdown")
        if options.schema and kind != "json":
            raise UsageError(f"--schema is for -f json, not for -f {kind}.")
        request = self._request(question, options, kind, instructed)
        figures = [*figures, *questions.find(options.see, self._shell)]
        request, sight = self._with_figures(request, figures, question == questions.EXPLAIN)
        opening = sight.opening if kind == "markdown" else ""
        if sight.note and not opening:
            self.say(sight.note)
        begun = opening if kind == "markdown" else "" if instructed else formats.BEGUN.get(kind, "")
        if begun:
            request = replace(request, messages=(*request.messages, Message("assistant", (begun,))))
        outcome = ask(Client.find(say=self.say), request, self._view(kind), kind)
        reply = outcome.shown.reply
        self._keep(reply, said or question, options)
        doubt = questions.doubt(reply.text.removeprefix(opening), question, figures)
        if doubt:
            self.say(doubt)
        if options.use_history and kind == "markdown" and not figures:
            told = documents.sources(self.conversation.papers, reply.text)
            if told:
                self.say(told)
        if failed and outcome.shown.next_cell.strip() == failed.strip():
            raise MistralError(
                "The model gave the cell back unchanged. "
                "Ask again with `%mistral --temperature 1 fix`, or ask a larger model."
            )
        if outcome.shown.next_cell and not outcome.stopped:
            self._shell.set_next_input(outcome.shown.next_cell, replace=False)
        outcome.check()
        return reply

    def _request(self, question: str, options: Options, kind: str, instructed: bool) -> ChatRequest:
        schema = formats.parse_schema(options.schema, self.namespace) if options.schema else None
        wanted = "" if instructed else formats.instruction(kind, schema)
        count = self.max_history if options.use_history else 0
        held = self._papers(question) if options.use_history else ()
        system = self.system if options.system is None else options.system
        defaults = {"max_tokens": self.max_tokens, "temperature": self.temperature}
        return ChatRequest(
            messages=self.conversation.to_messages(
                f"{question}\n\n{wanted or (documents.REMIND if held and kind == 'markdown' else '')}".strip(),
                system,
                count,
                held,
            ),
            sampling=options.to_sampling({k: v for k, v in defaults.items() if v is not None}),
            form=Form("json", schema) if kind == "json" else Form(),
            model=self.model_of(options),
            extras=self._extras(options),
        )

    def _with_figures(
        self, request: ChatRequest, figures: Sequence[questions.Figure], explains: bool
    ) -> tuple[ChatRequest, questions.Sight]:
        """The request with what of the figures goes along, and what is to be said about that."""
        if not figures:
            return request, questions.Sight()
        sight = questions.look(figures, questions.can_see(Client.find(say=self.say), request.model), explains)
        extras = replace(request.extras, figures=sight.facts)
        return replace(request, messages=sight.put_into(request.messages), extras=extras), sight

    def _papers(self, question: str) -> tuple[Message, ...]:
        """What of the documents that were read goes along: half of what the model holds at most."""
        if not self.conversation.papers:
            return ()
        card = Client.find(say=self.say).get("/mistral/api/status").get("model") or {}
        tokens = min(self.document_tokens, int(card.get("context_length") or 2 * self.document_tokens) // 2)
        return documents.to_messages(self.conversation.papers, question, tokens * documents.CHARACTERS)

    def _extras(self, options: Options) -> Extras:
        scope = options.context or self.context
        if options.thorough and options.context is None:
            scope = "notebook"
        if scope == "none":
            return Extras(client="magics")
        path = executed_cells.path_of(self.namespace)
        cells, focus = executed_cells.seen_from(self._executed(), self.current_cell, path, scope)
        held = tuple(variables(self.namespace))
        return Extras(
            client="magics", notebook=cells, focus=focus, scope=scope, variables=held, thorough=options.thorough
        )

    def _executed(self) -> list[Executed]:
        """What ran in this kernel before the current cell; questions to us are left out, they are the conversation's."""
        outputs = self.namespace.get("Out") or {}
        return [
            Executed(n, source, outputs.get(n), self.errors.get(n, ""))
            for n, source in enumerate(self.inputs)
            if 0 < n < len(self.inputs) - 1
            and source.strip()
            and not source.lstrip().startswith(("%mistral", "%%mistral"))
        ]

    def _keep(self, reply: Reply, question: str, options: Options) -> None:
        number = len(self.inputs) - 1  # IPython counts execution_count up before or after the cell, by version
        if reply.text:
            self.conversation.add(Exchange(number, question, reply.text))
        names = {"_mistral": reply} | ({options.out: reply} if options.out else {})
        self._shell.push(names, interactive=bool(options.out))
        if isinstance(self.namespace.get("_oh"), dict):
            self.namespace["_oh"][number] = reply  # so that {Out[7]} is the answer given at prompt 7

    def _view(self, kind: str) -> View:
        if self.is_notebook:
            return NotebookView(formats.live(kind), plain=kind == "text")
        return TerminalView()

    @property
    def namespace(self) -> dict[str, Any]:
        """The user's variables."""
        return cast(dict[str, Any], self._shell.user_ns)

    @property
    def is_notebook(self) -> bool:
        """Whether a front end renders our output; a terminal's IPython has no kernel."""
        return getattr(self._shell, "kernel", None) is not None

    @property
    def is_automagic(self) -> bool:
        """Whether a bare `mistral` is `%mistral`."""
        return bool(self._shell.automagic) and "mistral" not in self.namespace

    @property
    def inputs(self) -> list[str]:
        """The cells as typed, by prompt number; the running one is the last."""
        return list(self._shell.history_manager.input_hist_raw)

    @property
    def current_cell(self) -> str:
        return self.inputs[-1] if self.inputs else ""

    def filled(self, text: str) -> str:
        """`text` with its references filled in."""
        return interpolate.fill(text, interpolate.Lookup(self.namespace, self.inputs, self.errors))

    def model_of(self, options: Options) -> str | None:
        """The model that is asked; None is the host's default."""
        return self.resolve(options.model or self.model) or None

    def resolve(self, name: str) -> str:
        """The model that an alias stands for, or `name` itself."""
        return str(self.aliases.get(name, name))

    def say(self, text: str) -> None:
        """One line for the user."""
        print(text, flush=True)

    def cell_name(self, file: str) -> str:
        """`In[3]` for the file of a cell's code, "" for any other."""
        told = self._shell.compile.format_code_name(file)
        return f"{told[0]} {told[1]}" if told else ""

    def after_cell(self, result: Any) -> None:
        """IPython calls this when a cell has run: its error is kept for `{Err[n]}` and `%mistral fix`."""
        error = result.error_in_exec or result.error_before_exec
        if error is not None and result.execution_count is not None:
            self.errors.record(result.execution_count, result.info.raw_cell or "", error, self.cell_name)


def load(shell: Any) -> None:
    """Register the magics with `shell`; a second time does nothing."""
    if _loaded(shell):
        return
    magics = MistralMagics(shell)
    shell.register_magics(magics)
    shell.events.register("post_run_cell", magics.after_cell)
    history.install(shell)
    shell.input_transformer_manager.token_transformers.insert(0, AskedWithAMark)
    shell.Completer.custom_matchers.append(magics.matcher)
    if "Err" not in shell.user_ns:
        shell.push({"Err": magics.errors}, interactive=False)


def unload(shell: Any) -> None:
    """Take out what `load` put in."""
    magics = _loaded(shell)
    if magics is None:
        return
    shell.events.unregister("post_run_cell", magics.after_cell)
    history.uninstall(shell)
    shell.input_transformer_manager.token_transformers.remove(AskedWithAMark)
    shell.Completer.custom_matchers.remove(magics.matcher)
    for table in shell.magics_manager.magics.values():
        table.pop("mistral", None)
    shell.magics_manager.registry.pop(MistralMagics.__name__, None)
    shell.configurables.remove(magics)
    shell.drop_by_id({"Err": magics.errors})


def _loaded(shell: Any) -> MistralMagics | None:
    found = shell.magics_manager.registry.get(MistralMagics.__name__)
    return found if isinstance(found, MistralMagics) else None


def current() -> MistralMagics | None:
    """The magics of the running shell, where they are loaded."""
    shell = get_ipython()
    return _loaded(shell) if shell is not None else None
