"""Asks one question: builds the request, streams the answer, stores the reply."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from IPython.core.error import UsageError

from ...protocol.conversation import Message
from ...protocol.requests import ChatRequest
from .. import documents
from ..conversation import Exchange
from ..errors import MistralError
from ..figures import questions
from ..figures.references import NamedFigure, find_figures
from ..line.flags import Options
from ..session import Session
from ..show.display import NotebookView, TerminalView, View
from ..show.reply import Reply
from . import formats
from .request import build_request
from .stream import Outcome, stream_answer

UNCHANGED = (
    "The model suggested no change. Try `%mistral --temperature 1 fix`, or use a larger model (see `%mistral list`)."
)


@dataclass(frozen=True)
class Asker:
    """Asks the questions of one session."""

    session: Session

    def ask(
        self,
        question: str,
        options: Options,
        *,
        label: str = "",
        kind: str = "",
        has_instruction: bool = False,
        figures: Sequence[NamedFigure] = (),
        failed_cell: str = "",
    ) -> Reply:
        """Ask, show the answer, and store it. Raises `MistralError`, `Stopped` and `UsageError`.

        label: what the history keeps in place of a long question. kind: the format, in place of `-f`. has_instruction: the
        question already contains the format's instruction. figures: sent along, like those of `--see`. failed_cell: the code
        to fix; an answer that repeats it is an error.
        """
        session = self.session
        kind = kind or options.format or ("json" if options.schema else "markdown")
        if options.schema and kind != "json":
            raise UsageError(f"--schema needs -f json, not -f {kind}.")
        request = build_request(session, question, options, kind, has_instruction)
        figures = [*figures, *find_figures(options.see, session.shell)]
        request, context = self._with_figures(request, figures, question == questions.EXPLAIN)
        opening = context.opening if kind == "markdown" else ""
        if context.note and not opening:
            session.say(context.note)
        request = _with_prefill(request, opening or ("" if has_instruction else formats.PREFILLS.get(kind, "")))
        outcome = stream_answer(session.find_client(), request, self._view(kind), kind)
        reply = outcome.answer.reply
        self._store(reply, label or question, options)
        self._warn(questions.check_numbers(reply.text.removeprefix(opening), question, figures))
        if options.use_history and kind == "markdown" and not figures:
            self._warn(documents.check_citations(session.conversation.documents, reply.text))
        self._offer_cell(outcome, failed_cell)
        outcome.check()
        return reply

    def _with_figures(
        self, request: ChatRequest, figures: Sequence[NamedFigure], is_explanation: bool
    ) -> tuple[ChatRequest, questions.FigureContext]:
        """Add the figures' facts and images to the request. The `FigureContext` says what was sent."""
        if not figures:
            return request, questions.FigureContext()
        can_see = questions.can_see(self.session.find_client(), request.model)
        context = questions.prepare_figures(figures, can_see, is_explanation)
        extras = replace(request.extras, figures=context.facts)
        return replace(request, messages=context.add_to(request.messages), extras=extras), context

    def _store(self, reply: Reply, question: str, options: Options) -> None:
        session = self.session
        # some IPython versions increase execution_count before the cell runs, others after
        number = len(session.inputs) - 1
        if reply.text:
            session.conversation.add(Exchange(number, question, reply.text))
        names = {"_mistral": reply} | ({options.out: reply} if options.out else {})
        session.shell.push(names, interactive=bool(options.out))
        if isinstance(session.namespace.get("_oh"), dict):
            session.namespace["_oh"][number] = reply  # so that {Out[7]} is the answer given at prompt 7

    def _offer_cell(self, outcome: Outcome, failed_cell: str) -> None:
        cell = outcome.answer.next_cell
        if failed_cell and cell.strip() == failed_cell.strip():
            raise MistralError(UNCHANGED)
        if cell and not outcome.is_stopped:
            self.session.shell.set_next_input(cell, replace=False)

    def _warn(self, sentence: str) -> None:
        if sentence:
            self.session.say(sentence)

    def _view(self, kind: str) -> View:
        if self.session.is_notebook:
            return NotebookView(formats.make_renderer(kind), is_plain=kind == "text")
        return TerminalView()


def _with_prefill(request: ChatRequest, prefill: str) -> ChatRequest:
    """The request with the start of the answer, if there is one."""
    if not prefill:
        return request
    return replace(request, messages=(*request.messages, Message("assistant", (prefill,))))
