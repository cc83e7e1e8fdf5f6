"""Parses the line of `%mistral` and `%%mistral`: flags first, then a subcommand or a question. Knows no IPython shell."""

from __future__ import annotations

from collections.abc import Collection, Container
from dataclasses import dataclass, field, replace

from .flags import FLAGS, Options, take_flags
from .subcommands import Command, parse_command


@dataclass(frozen=True)
class Question:
    """Free text and the flags before it."""

    text: str
    options: Options = field(default_factory=Options)


def parse_line(line: str, aliases: Collection[str] = (), figures: Container[str] = ()) -> Command | Question:
    """Parse the text after `%mistral`. `figures` are names that `explain` accepts. Raises `UsageError` for a bad flag."""
    stripped = line.strip()
    if stripped in ("-h", "--help", "--version"):
        return Command("version" if stripped == "--version" else "help")
    options, rest, flags_ended = take_flags(stripped)
    if not rest and not flags_ended:
        return Question("", options) if options.see else Command("help", (), options)
    command = None if flags_ended else parse_command(rest, options, aliases, figures)
    return command or Question(rest, options)


def parse_header(line: str, aliases: Collection[str] = ()) -> Question:
    """Parse the text after `%%mistral`: flags, an optional alias, and the start of the question. Raises `UsageError`."""
    options, rest, flags_ended = take_flags(line.strip())
    word, _, after = rest.partition(" ")
    if not flags_ended and word in aliases:  # the order of jupyter-ai: `%%ai ALIAS -f code`
        more_options, rest, _ = take_flags(after.strip(), options)
        options = replace(more_options, model=word)
    return Question(rest, options)


def find_late_flag(text: str) -> str:
    """Return the flag at the end of a question, with or without a value; "" if there is none."""
    for word in text.split()[1:][-2:]:
        if word in FLAGS:
            return word
    return ""
