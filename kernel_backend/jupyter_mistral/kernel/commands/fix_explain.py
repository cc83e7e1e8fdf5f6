"""`%mistral fix` and `explain`: asks about a cell's error, its code, or the figure that it drew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..ask.ask import Asker
from ..errors import MistralError
from ..figures import questions, references
from ..host import gpu_loan
from ..line.subcommands import LAST_FIGURE, Command, parse_reference
from ..session import Session
from ..variables.cell_errors import CellError, to_prompt
from .output import show_markdown

FIX = "Say in one or two sentences what went wrong, then give the whole corrected cell in one ```python block."
EXPLAIN_ERROR = "Explain briefly what this error means, why it happened here, and how to correct it."
EXPLAIN_CELL = "Explain briefly what this cell does, step by step, and anything in it that could go wrong."


def fix(asker: Asker, command: Command) -> None:
    session = asker.session
    error = _find_error(session, command)
    offer = gpu_loan.make_offer(error, session.find_client())
    if offer:
        show_markdown(session, offer)
        return
    text = to_prompt(error, session.namespace)
    # without history: the prompt contains the complete error, and earlier answers would only distract a small model.
    # Greedy, so that the unchanged part of the cell is copied by prompt lookup
    options = replace(command.options, use_history=False, sampling={"temperature": 0.0} | command.options.sampling)
    label = f"Fix the {error.name} in In[{error.number}]."
    asker.ask(f"{text}\n\n{FIX}", options, label=label, kind="code", has_instruction=True, failed_cell=error.cell)


def explain(asker: Asker, command: Command) -> None:
    """Explain the named figure, else the figure of the cell, else its code, else its error."""
    session = asker.session
    number = parse_reference(command.words[0]) if command.words else None
    if command.words and number is None:
        _explain_named_figure(asker, command, command.words[0])
        return
    if _explain_figures_of_cell(asker, command, number):
        return
    if number is not None and session.errors.find(number) is None:
        _explain_cell(asker, command, number)
        return
    if number is None and session.errors.last is None:
        raise MistralError(
            "No cell has failed or shown a figure in this kernel yet. Run one, or name a cell that ran: "
            "`%mistral explain 3`."
        )
    error = _find_error(session, command)
    text = to_prompt(error, session.namespace)
    label = f"Explain the {error.name} in In[{error.number}]."
    asker.ask(f"{text}\n\n{EXPLAIN_ERROR}", command.options, label=label)


def _explain_named_figure(asker: Asker, command: Command, name: str) -> None:
    """A figure in a variable, an image file, or the last figure even if a cell has failed since."""
    if name != LAST_FIGURE:
        _explain_figures(
            asker, command, references.find_figures([name], asker.session.shell), f"Explain the figure {name}."
        )
        return
    newest = references.newest_figure(asker.session.shell)
    if newest is None:
        raise MistralError("No figure was shown in this kernel yet. Run the cell that draws it, then try again.")
    _explain_figures(asker, command, [newest[1]], f"Explain {name}.")


def _explain_figures_of_cell(asker: Asker, command: Command, number: int | None) -> bool:
    """Explain the figures of a cell that did not fail; without a number the last figure, unless a cell has failed since.

    Returns whether there was a figure to explain.
    """
    session = asker.session
    if number is None:
        newest = references.newest_figure(session.shell)
        is_newest = newest is not None and (session.errors.last is None or newest[0] > session.errors.last.number)
        figures, label = ([newest[1]] if newest is not None and is_newest else []), "Explain the last figure."
    else:
        figures = [] if session.errors.find(number) else references.figures_of_cell(session.shell, number)
        label = f"Explain the figure of In[{number}]."
        if not any(figure.facts.has_numbers for figure in figures):
            model = session.model_for(command.options.model)
            if not figures or not questions.can_see(session.find_client(), model):
                return False  # the model cannot see the image: the caller explains the cell's code instead
    if figures:
        _explain_figures(asker, command, figures, label)
    return bool(figures)


def _explain_figures(asker: Asker, command: Command, figures: Sequence[references.NamedFigure], label: str) -> None:
    # without history: earlier answers about other figures would lead a small model to repeat their numbers
    options = replace(command.options, use_history=False)
    asker.ask(questions.EXPLAIN, options, label=label, figures=figures)


def _explain_cell(asker: Asker, command: Command, number: int) -> None:
    inputs = asker.session.inputs
    if not 0 < number < len(inputs) - 1 or not inputs[number].strip():
        raise MistralError(f"This kernel has no cell In[{number}]. A cell's number appears to its left after it ran.")
    cell = f"Cell In[{number}]:\n```python\n{inputs[number].strip()}\n```"
    asker.ask(f"{cell}\n\n{EXPLAIN_CELL}", command.options, label=f"Explain In[{number}].")


def _find_error(session: Session, command: Command) -> CellError:
    if not command.words:
        if session.errors.last is None:
            raise MistralError("No cell has failed in this kernel yet. Run the failing cell, then try again.")
        return session.errors.last
    number = parse_reference(command.words[0])
    error = session.errors.find(number) if number is not None else None
    if error is None:
        failed = ", ".join(map(str, session.errors)) or "none"
        raise MistralError(f"Cell In[{number}] did not fail in this kernel. Cells that failed: {failed}.")
    return error
