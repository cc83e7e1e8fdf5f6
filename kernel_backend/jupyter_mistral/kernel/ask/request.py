"""Builds the request for one question: conversation, documents, notebook, variables and sampling."""

from __future__ import annotations

from ...protocol.conversation import Message
from ...protocol.requests import ChatRequest, Extras, Form
from .. import documents
from ..line.flags import Options
from ..session import Session
from ..variables import executed_cells
from ..variables.describe import variables
from ..variables.executed_cells import ExecutedCell
from . import formats


def build_request(
    session: Session, question: str, options: Options, kind: str, has_instruction: bool = False
) -> ChatRequest:
    """The request for `question`, whose answer has the format `kind`. Raises `MistralError` and `Failure`.

    has_instruction: the question already contains the format's instruction.
    """
    settings = session.settings
    schema = formats.parse_schema(options.schema, session.namespace) if options.schema else None
    document_messages = _document_messages(session, question) if options.use_history else ()
    instruction = "" if has_instruction else formats.instruction(kind, schema)
    if not instruction and document_messages and kind == "markdown":
        instruction = documents.CITE_REMINDER
    defaults = {"max_tokens": settings.max_tokens, "temperature": settings.temperature}
    return ChatRequest(
        messages=session.conversation.to_messages(
            f"{question}\n\n{instruction}".strip(),
            settings.system if options.system is None else options.system,
            settings.max_history if options.use_history else 0,
            document_messages,
        ),
        sampling=options.to_sampling({name: value for name, value in defaults.items() if value is not None}),
        form=Form("json", schema) if kind == "json" else Form(),
        model=session.model_for(options.model),
        extras=_extras(session, options),
    )


def _document_messages(session: Session, question: str) -> tuple[Message, ...]:
    """The documents that were read, cut to half of the model's context at most."""
    if not session.conversation.documents:
        return ()
    card = session.find_client().get("/mistral/api/status").get("model") or {}
    token_budget = session.settings.document_tokens
    token_budget = min(token_budget, int(card.get("context_length") or 2 * token_budget) // 2)
    budget = token_budget * documents.CHARACTERS_PER_TOKEN
    return documents.to_messages(session.conversation.documents, question, budget)


def _extras(session: Session, options: Options) -> Extras:
    scope = options.context or session.settings.context
    if options.thorough and options.context is None:
        scope = "notebook"
    if scope == "none":
        return Extras(client="magics")
    path = executed_cells.find_notebook(session.namespace)
    notebook, focus = executed_cells.to_notebook(_executed_cells(session), session.current_cell, path, scope)
    return Extras(
        client="magics",
        notebook=notebook,
        focus=focus,
        scope=scope,
        variables=tuple(variables(session.namespace)),
        thorough=options.thorough,
    )


def _executed_cells(session: Session) -> list[ExecutedCell]:
    """The cells that ran before the current one, without our own magics: those are part of the conversation."""
    inputs, outputs = session.inputs, session.namespace.get("Out") or {}
    return [
        ExecutedCell(n, source, outputs.get(n), session.errors.get(n, ""))
        for n, source in enumerate(inputs)
        if 0 < n < len(inputs) - 1 and source.strip() and not source.lstrip().startswith(("%mistral", "%%mistral"))
    ]
