"""The grammar of the magics: commands, questions, and the errors for wrong flags."""

from __future__ import annotations

from typing import Any

import pytest
from IPython.core.error import UsageError
from jupyter_mistral.kernel.line.arguments import Question, parse_header, parse_line
from jupyter_mistral.kernel.line.flags import Options
from jupyter_mistral.kernel.line.subcommands import (
    COMMANDS,
    Command,
    LoadArguments,
    parse_load_words,
    parse_reference,
)


@pytest.mark.parametrize(
    "line",
    [
        "list comprehension vs append?",
        "list of primes",
        "explain why this loop is slow",
        "explain this",
        "explain 3 ways to sort",
        "fix the plot above",
        "fix 3?",
        "help me with pandas",
        "load sales.csv and plot it",
        "load this?",
        "history of Rome",
        "reset the index of df",
        "status of the art",
        "error handling in Python",
        "alias vs reference",
        "update pandas safely",
        "delete the first row",
        "delete duplicates?",
        "version control basics",
        "unload all modules",
        "what's up, doc's \"friend",
        "-5 % 3 is what?",
        "- a dash",
        "Fix",
    ],
)
def test_a_question_that_starts_with_a_commands_word_stays_a_question(line: str) -> None:
    assert parse_line(line) == Question(line)


@pytest.mark.parametrize("name", [n for n in COMMANDS if n not in ("alias", "dealias")])
def test_a_bare_word_is_a_command(name: str) -> None:
    assert parse_line(name) == Command(name)


@pytest.mark.parametrize(
    ("line", "name", "words"),
    [
        ("explain 3", "explain", ("3",)),
        ("fix In[3]", "fix", ("In[3]",)),
        ("explain Err[12]", "explain", ("Err[12]",)),
        ("load qwen2.5-coder-0.5b", "load", ("qwen2.5-coder-0.5b",)),
        ("load small --no-download", "load", ("small", "--no-download")),
        ("load small --kv int8", "load", ("small", "--kv", "int8")),
        ("load --adapter sql", "load", ("--adapter", "sql")),
        ("load big --spill", "load", ("big", "--spill")),
        ("load --no-spill", "load", ("--no-spill",)),
        ("load --kv int4 --no-download", "load", ("--kv", "int4", "--no-download")),
        ("list all", "list", ("all",)),
        ("list local", "list", ("local",)),
        ("alias small qwen2.5-coder-0.5b", "alias", ("small", "qwen2.5-coder-0.5b")),
        ("alias m mistralai/Ministral-3B", "alias", ("m", "mistralai/Ministral-3B")),
        ("alias other known", "alias", ("other", "known")),
        ("alias", "alias", ()),
        ("help load", "help", ("load",)),
        ("dealias nobody", "dealias", ("nobody",)),
    ],
)
def test_words_that_fit_a_commands_grammar_make_a_command(line: str, name: str, words: tuple[str, ...]) -> None:
    assert parse_line(line, {"known"}) == Command(name, words)


def test_load_spills_layers_only_on_request() -> None:
    assert parse_load_words(["big", "--spill"]) == LoadArguments("big", True, None, None, True)
    assert parse_load_words(["--kv", "int8", "--no-spill"]) == LoadArguments("", True, "int8", None, False)
    assert parse_load_words(["big"]) == LoadArguments("big", True, None, None, None)


def test_an_empty_line_and_the_usual_flags_ask_for_help_and_version() -> None:
    assert [parse_line(line) for line in ("", "  ", "-h", "--help", "--version")] == [
        Command("help"),
        Command("help"),
        Command("help"),
        Command("help"),
        Command("version"),
    ]


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        ("-f md", {"format": "markdown"}),
        ("--format=code", {"format": "code"}),
        ("-f JSON", {"format": "json"}),
        ("-o draft", {"out": "draft"}),
        ("--out größe", {"out": "größe"}),
        ("""-m '{"temperature": 0.2, "top_p": 0.9}'""", {"sampling": {"temperature": 0.2, "top_p": 0.9}}),
        ("""-m {"seed": 3}""", {"sampling": {"seed": 3}}),
        ("""-m "{\\"stop\\": [\\"#\\"]}" """, {"sampling": {"stop": ["#"]}}),
        ("--seed 4 --max-tokens 20 --temperature 0", {"sampling": {"seed": 4, "max_tokens": 20, "temperature": 0.0}}),
        ("--context above", {"context": "above"}),
        ("--no-history", {"use_history": False}),
        ("--thorough", {"thorough": True}),
        ("--system 'Speak like a pirate.'", {"system": "Speak like a pirate."}),
        ("--system ''", {"system": ""}),
        ("""--schema '{"type": "object"}'""", {"schema": '{"type": "object"}'}),
        ("--model qwen2.5-coder-0.5b", {"model": "qwen2.5-coder-0.5b"}),
    ],
)
def test_both_magics_parse_the_same_flags(flags: str, options: dict[str, Any]) -> None:
    expected = Question("what's it?", Options(**options))
    assert parse_line(f"{flags} what's it?") == expected
    assert parse_header(f"{flags} what's it?") == expected


def test_flags_after_the_question_belong_to_the_question() -> None:
    assert parse_line("what does grep -f do") == Question("what does grep -f do")


def test_flags_stand_before_or_after_an_errors_command() -> None:
    options = Options(sampling={"seed": 1})
    assert parse_line("fix 3 --seed 1") == parse_line("--seed 1 fix 3") == Command("fix", ("3",), options)
    assert parse_line("fix --seed 1") == Command("fix", (), options)


def test_two_dashes_end_the_flags_and_the_commands() -> None:
    assert parse_line("-f text -- fix") == Question("fix", Options(format="text"))
    assert parse_line("-- -f is a flag of what?") == Question("-f is a flag of what?")


def test_an_alias_after_the_cell_magic_chooses_the_model() -> None:
    assert parse_header("small -f code", {"small"}) == Question("", Options(format="code", model="small"))
    assert parse_header("small") == Question("small")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("-f yaml x", "--format is 'yaml', but must be one of md, markdown, text, code, json, html, math"),
        ("-f", "--format needs a value"),
        ("--temprature 1 x", "Did you mean --temperature?"),
        ("-x what", "%mistral has no flag -x. Available flags: -f/--format"),
        ("--seed many x", "--seed is 'many', but must be a number"),
        ("--seed 1.5 x", "--seed is '1.5', but must be a number"),
        ("--max-tokens 0 x", "--max-tokens is 0, but must be a whole number from 1 to 131072."),
        ("--temperature 9 x", "--temperature is 9.0, but must be a number from 0 to 2."),
        ("--seed -1 x", "--seed is -1, but must be a whole number from 0 to 9007199254740992. Change or leave it out."),
        ("-m {temperature:1} x", "Write it as -m '{\"temperature\": 0.2}'"),
        ("-m '[1]' x", "-m is not a JSON object"),
        ("""-m '{"temperatur": 1}' x""", "-m: unknown parameter 'temperatur'. Known parameters: temperature, top_p"),
        ("""-m '{"top_p": "high"}' x""", 'top_p is "high", but must be a number from 0 to 1'),
        ("--context here x", "--context is 'here', but must be one of none, cell, above, notebook"),
        ("-o class x", "'class' is not a valid variable name"),
        ("-o 1st x", "'1st' is not a valid variable name"),
        ("--system 'open x", "--system: the closing quote is missing"),
    ],
)
def test_a_wrong_flag_is_one_sentence_with_the_valid_choices(line: str, says: str) -> None:
    for parse in (parse_line, parse_header):
        with pytest.raises(UsageError) as raised:
            parse(line)
        assert says in str(raised.value)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("load small --kv int9", "--kv is 'int9', but must be one of bf16, int8, int4"),
        ("load small --spil", "%mistral load has no flag --spil. Did you mean --spill?"),
        ("load --force", "Available flags: --no-download, --kv, --adapter, --spill, --no-spill"),
        ("alt --aply", "Did you mean --apply?"),
        ("fix 3 --sed 1", "%mistral fix has no flag --sed. Did you mean --seed?"),
        ("explain --modell x", "Did you mean --model?"),
        ("status --json", "%mistral status has no flag --json. It takes no flags."),
    ],
)
def test_a_command_with_a_wrong_flag_is_an_error(line: str, says: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_line(line)
    assert says in str(raised.value)


@pytest.mark.parametrize("line", ["alias small nonsense", "alias known nonsense", "--seed 1 alias s no_such"])
def test_an_alias_of_an_unknown_model_is_an_error_in_one_sentence(line: str) -> None:
    with pytest.raises(
        UsageError, match=r"is neither a model name .* nor an alias\. \(To ask it as a question"
    ) as raised:
        parse_line(line, {"known"})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "line", ["alias small nonsense?", "alias in SQL", "register the callback", "update pandas now"]
)
def test_a_question_about_aliases_stays_a_question(line: str) -> None:
    assert parse_line(line, {"known"}) == Question(line)


@pytest.mark.parametrize(
    "line",
    ["reset --hard or --soft?", "explain what --force does", "list --all files in git", "fix --verbose, what is it?"],
)
def test_a_question_about_a_flag_stays_a_question(line: str) -> None:
    assert parse_line(line) == Question(line)


@pytest.mark.parametrize(
    ("word", "number"),
    [("3", 3), ("In[3]", 3), ("Out[3]", 3), ("Err[3]", 3), ("In[3", None), ("3]", None), ("x", None), ("-3", None)],
)
def test_a_reference_is_a_prompt_number(word: str, number: int | None) -> None:
    assert parse_reference(word) == number


@pytest.mark.parametrize(
    ("line", "replacement"),
    [
        ("register small qwen2.5-coder-0.5b", "alias"),
        ("register", "alias"),
        ("update known qwen2.5-coder-0.5b", "alias"),
        ("delete known", "dealias"),
        ("error", "explain"),
        ("error 3", "explain"),
    ],
)
def test_a_former_command_names_its_replacement(line: str, replacement: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_line(line, {"known"})
    assert str(raised.value) == (
        f"%mistral has no command {line.split()[0]}. Did you mean {replacement}? "
        "(To ask it as a question: %mistral -- …)"
    )
