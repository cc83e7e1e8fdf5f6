"""`%mistral alt`: shows alt text for the notebook's figures as a diff, and writes it on request."""

from __future__ import annotations

from IPython.core.error import UsageError
from IPython.display import display

from ..alt_text.magic import AltMagic, make_button, to_html
from ..line.subcommands import Command
from ..session import Session
from ..show.style import frame
from .output import Progress, show_markdown


def write_alt_text(session: Session, magic: AltMagic, command: Command) -> None:
    if "--apply" in command.words:
        if len(command.words) > 1:
            raise UsageError("--apply writes the last result of `%mistral alt` and takes no other arguments.")
        show_markdown(session, magic.apply())
        return
    client = session.find_client()
    progress = Progress(session.is_notebook)
    with progress.ending_with("Stopped. Nothing was written.", "No alt text was generated."):
        model = session.model_for(command.options.model)
        review = magic.make(command.words, client, model, progress.show_figure)
    progress.end(review.summary())
    if not session.is_notebook:
        session.say(review.diff() + ("\nUse `%mistral alt --apply` to write it." if review.changes else ""))
        return
    display({"text/html": frame(to_html(review)), "text/plain": review.diff()}, raw=True)
    if review.changes:
        display(make_button(magic, review))
