"""`%mistral` and `%%mistral` in a real IPython shell, with a host that speaks the real protocol."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import kernel_peer
import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from jupyter_mistral.kernel.errors import MistralError, Stopped
from jupyter_mistral.protocol.events import Delta, End, Loading
from jupyter_mistral.protocol.failures import Failure
from jupyter_mistral.protocol.requests import ChatRequest
from kernel_peer import USAGE, Peer, pieces
from kernel_shell import Shell
from traitlets.config import Config

FOOT = "qwen2.5-coder-0.5b · 4-bit nf4 · first token 0.42 s · 28.1 tokens/s · 312 prompt tokens (290 cached), 42 generated\n"


@pytest.mark.parametrize(
    ("cell", "prompt"),
    [
        ("%mistral why is a list comprehension faster than append?", "why is a list comprehension faster than append?"),
        ("%mistral what's up", "what's up"),
        ("%mistral -- help", "help"),
        ("%%mistral\nline one\n\nline {two}", "line one\n\nline {two}"),
        ("%%mistral --seed 3 and then\nmore", "and then\nmore"),
        ("for _ in [1]:\n    %mistral is this right?", "is this right?"),
        ("%mistral {1+1} {x:.2f} {'a': 1}", "{1+1} {x:.2f} {'a': 1}"),
        ("%mistral {1+1}", "{1+1}"),
        ("%%mistral {2*3} $HOME\n{1+1} $In", "{2*3} $HOME\n{1+1} $In"),
    ],
)
def test_free_text_is_asked_as_it_was_written(shell: Shell, peer: Peer, cell: str, prompt: str) -> None:
    shown, error = shell.run(cell)
    assert error is None
    assert peer.prompt == prompt
    assert shown == f"Hello.\n{FOOT}"


@pytest.mark.parametrize("cell", ["%mistral?", "%%mistral?", "%mistral help", "%mistral"])
def test_the_manual_is_one_word_away(shell: Shell, peer: Peer, cell: str) -> None:
    shown, error = shell.run(cell)
    assert error is None
    assert "--context none" in shown
    assert "%mistral fix" in shown
    assert not peer.requests


def test_flags_reach_the_host(shell: Shell, peer: Peer) -> None:
    shell.run(
        """%mistral -m '{"top_p": 0.5}' --seed 9 --max-tokens 5 --temperature 0 --model other --system 'Be brief.' hi"""
    )
    request = peer.requests[0]
    assert (request.sampling.top_p, request.sampling.seed, request.sampling.max_tokens) == (0.5, 9, 5)
    assert (request.sampling.temperature, request.model) == (0.0, "other")
    assert [m.text for m in request.messages] == ["Be brief.", "hi"]


def test_a_wrong_flag_is_one_line_and_nothing_is_asked(shell: Shell, peer: Peer) -> None:
    for cell in ("%mistral -f yaml x", "%%mistral --out class\nx"):
        shown, error = shell.run(cell)
        assert isinstance(error, UsageError)
        assert shown.startswith("UsageError: ") and shown.count("\n") == 1
    assert not peer.requests


def test_an_empty_question_says_so(shell: Shell, peer: Peer) -> None:
    shown, error = shell.run("%%mistral -f code\n  \n")
    assert isinstance(error, UsageError)
    assert "The question is empty." in shown


def test_out_stores_the_reply_and_the_last_one_is_always_stored(shell: Shell, peer: Peer) -> None:
    peer.say("Here:\n```python\nx = 1\n```")
    shell.run("%mistral --out draft hi")
    draft = shell.ip.user_ns["draft"]
    assert str(draft) == draft.text == "Here:\n```python\nx = 1\n```"
    assert draft.code == ("x = 1",)
    assert draft.usage == USAGE
    assert (draft.model, draft.seed) == ("qwen2.5-coder-0.5b", 7)
    assert shell.ip.user_ns["_mistral"] is shell.ip.user_ns["Out"][1] is draft
    shell.run("%mistral what of {Out[1]}")
    assert peer.prompt.startswith("what of Here:")


def test_only_the_code_is_put_into_the_next_cell(shell: Shell, peer: Peer) -> None:
    peer.say("Sure:\n```python\nx = 1\n```\nThat is all.")
    shell.run("%%mistral -f code\nset x")
    assert shell.ip.rl_next_input == "x = 1"
    assert peer.prompt == (
        "set x\n\nAnswer with Python code for one notebook cell, in one ```python block, and nothing else."
    )


def test_the_answer_to_a_code_question_is_prefilled(shell: Shell, peer: Peer) -> None:
    peer.say("x = 1\n```\nThat sets x.")
    shown, error = shell.run("%%mistral -f code --out draft\nset x")
    assert error is None
    begun = peer.requests[-1].messages[-1]
    assert (begun.role, begun.text) == ("assistant", "```python\n")
    assert shell.ip.rl_next_input == "x = 1"
    assert shell.ip.user_ns["draft"].code == ("x = 1",)
    assert "That sets x." in shown


def test_an_answer_without_code_is_an_error(shell: Shell, peer: Peer) -> None:
    peer.say("I would rather not.")
    shown, error = shell.run("%%mistral -f code\nset x")
    assert isinstance(error, MistralError)
    assert "I would rather not." in shown
    assert "MistralError: The answer contains no code." in shown
    assert getattr(shell.ip, "rl_next_input", None) is None


def test_json_is_requested_and_parsed(shell: Shell, peer: Peer) -> None:
    peer.say('{"rows": [1, 2]}')
    shell.run("""%mistral --schema '{"type": "object"}' --out rows give rows""")
    assert peer.requests[0].form.kind == "json"
    assert peer.requests[0].form.schema == {"type": "object"}
    assert shell.ip.user_ns["rows"].json == {"rows": [1, 2]}


def test_a_schema_with_another_format_is_refused(shell: Shell, peer: Peer) -> None:
    shown, error = shell.run("%mistral -f code --schema '{}' x")
    assert isinstance(error, UsageError)
    assert "--schema needs -f json" in shown


def test_the_last_exchanges_are_sent_until_reset(shell: Shell, peer: Peer) -> None:
    for n in range(4):
        peer.say(f"answer {n}")
        shell.run(f"%mistral question {n}")
    assert [m.text for m in peer.requests[3].messages[1:]] == [
        "question 1",
        "answer 1",
        "question 2",
        "answer 2",
        "question 3",
    ]
    shell.run("%mistral --no-history alone")
    assert [m.text for m in peer.requests[4].messages[1:]] == ["alone"]
    assert "[2] question 1" in shell.run("%mistral history")[0]
    assert shell.run("%mistral reset")[0] == "Cleared 5 exchanges.\n"
    shell.run("%mistral fresh")
    assert [m.text for m in peer.requests[5].messages[1:]] == ["fresh"]
    shell.run("%config MistralMagics.max_history = 0")
    shell.run("%mistral alone again")
    assert len(peer.requests[6].messages) == 2


def test_a_failure_raises_one_sentence(shell: Shell, peer: Peer) -> None:
    def script(request: ChatRequest) -> object:
        yield Loading("load", 0.5)
        raise Failure("model_not_on_disk", "The model is not on disk.", "Run `%mistral load`.")

    peer.script = script  # type: ignore[assignment]
    shown, error = shell.run("%mistral hi")
    assert isinstance(error, MistralError) and error.code == "model_not_on_disk"
    assert shown == "MistralError: The model is not on disk. Run `%mistral load`.\n"
    assert len(shell.ip.user_ns["Err"]) == 0  # our own errors are not the user's


def test_text_before_a_failure_stays_visible(shell: Shell, peer: Peer) -> None:
    def script(request: ChatRequest) -> object:
        yield Delta("Half an")
        raise Failure("engine_died", "The engine died.", "Ask again.")

    peer.script = script  # type: ignore[assignment]
    shown, error = shell.run("%mistral hi")
    assert isinstance(error, MistralError)
    assert shown.startswith("Half an\n(interrupted by an error)\n")


def test_an_interrupt_keeps_the_partial_answer_and_stops_the_run(shell: Shell, peer: Peer) -> None:
    def script(request: ChatRequest) -> object:
        yield Delta("one ")
        yield Delta("two ")
        while not shell.has_shown("two"):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)  # what the interrupt button does
        while True:
            time.sleep(0.01)
            yield Delta("more ")

    peer.script = script  # type: ignore[assignment]
    shown, error = shell.run("%mistral --out part count")
    assert isinstance(error, Stopped) and isinstance(error, KeyboardInterrupt)
    assert peer.left.wait(120)
    assert shown.startswith("one two ")
    assert "stopped" in shown
    assert shown.endswith("Stopped: the answer was interrupted.\n")
    assert shell.ip.user_ns["part"].finish == "stopped"
    peer.say("fine")
    assert shell.run("%mistral again")[0].startswith("fine")


def test_an_answer_at_the_token_limit_says_so(shell: Shell, peer: Peer) -> None:
    peer.script = lambda request: [Delta("abc"), End("length", USAGE)]
    assert "Cut off at the token limit; raise --max-tokens. · qwen2.5" in shell.run("%mistral --out a hi")[0]
    assert shell.ip.user_ns["a"].finish == "length"


def test_control_codes_of_the_model_never_reach_the_terminal(shell: Shell, peer: Peer) -> None:
    peer.say("a\x1b]0;evil\x07b\x1b[2Jc")
    shown, _ = shell.run("%mistral hi")
    assert shown.startswith("a]0;evilb[2Jc\n")


def test_aliases_are_added_used_changed_and_removed(shell: Shell, peer: Peer) -> None:
    assert shell.run("%mistral alias small qwen2.5-coder-0.5b")[1] is None
    shell.run("%%mistral small\nhi")
    assert peer.requests[-1].model == "qwen2.5-coder-0.5b"
    shell.run("%mistral alias small smollm2-135m")
    shell.run("%mistral --model small hi")
    assert peer.requests[-1].model == "smollm2-135m"
    shell.run("%mistral alias tiny small")
    assert shell.run("%mistral dealias small")[0] == "Removed the alias small.\n"
    shell.run("%%mistral tiny\nhi")
    assert peer.requests[-1].model == "smollm2-135m"
    shown, error = shell.run("%mistral dealias small")
    assert isinstance(error, UsageError)
    assert "There is no alias 'small'. Aliases: tiny." in shown
    assert isinstance(shell.run("%mistral alias fix smollm2-135m")[1], UsageError)


def test_settings_are_ipythons_own(shell: Shell, peer: Peer) -> None:
    shell.run("%config MistralMagics.model = 'smollm2-135m'")
    shell.run("%config MistralMagics.temperature = 0.5")
    shell.run("%mistral hi")
    assert (peer.requests[0].model, peer.requests[0].sampling.temperature) == ("smollm2-135m", 0.5)
    assert "MistralMagics.context=<Enum>" in shell.run("%config MistralMagics")[0]


def test_status_list_load_and_unload_show_the_hosts_data(
    shell: Shell, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = shell.run("%mistral status")[0]
    assert "Qwen2.5 Coder 0.5B (qwen2.5-coder-0.5b), Apache-2.0" in status
    assert "network  blocked by namespace (verified)\n" in status
    listed = shell.run("%mistral list")[0]
    assert listed.splitlines()[:2] == [
        "model                         parameters  input        context  memory at 4k  fit              on disk",
        "qwen2.5-coder-0.5b (default)       494 M  text, fim        32k       0.6 GiB  runs on the CPU  ready",
    ]
    assert "mistral-small-3.2" in listed
    monkeypatch.setitem(kernel_peer.STATUS, "default_model", "mistral-small-3.2")
    listed = shell.run("%mistral list")[0]
    assert "mistral-small-3.2 (default)" in listed and listed.count("(default)") == 1, "an admin's choice counts"
    assert "mistral-small-3.2" not in shell.run("%mistral list local")[0]
    assert shell.run("%mistral load")[0] == "Qwen2.5 Coder 0.5B is ready.\n"
    assert peer.posts[-1] == ("/mistral/api/load", {"model": None, "download": True})
    shell.run("%mistral load smollm2-135m --no-download")
    assert peer.posts[-1] == ("/mistral/api/load", {"model": "smollm2-135m", "download": False})
    assert "unloaded" in shell.run("%mistral unload")[0]
    assert peer.posts[-1] == ("/mistral/api/unload", {})
    assert shell.run("%mistral version")[0].startswith("Jupyter Mistral ")


def test_loading_twice_changes_nothing_and_unloading_undoes_it(shell: Shell, peer: Peer) -> None:
    shell.run("%load_ext jupyter_mistral")
    shell.run("%reload_ext jupyter_mistral")
    shell.run("%mistral hi")
    assert len(peer.requests) == 1
    before = shell.ip.input_transformer_manager.token_transformers
    shell.run("%unload_ext jupyter_mistral")
    assert "Err" not in shell.ip.user_ns
    assert all(t.__name__ != "QuestionMarkTransform" for t in before)
    shown, _ = shell.run("%mistral hi")
    assert "not found" in shown
    shell.run("%load_ext jupyter_mistral")
    assert shell.run("%mistral hi")[1] is None


def test_status_without_a_host_says_so_and_starts_none(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    shown, error = shell.run("%mistral status")
    assert error is None
    assert shown == "No model host is running. Your first question or %mistral load starts one.\n"
    assert list(tmp_path.iterdir()) == []


def test_settings_come_from_ipythons_configuration_file() -> None:
    config = Config({"MistralMagics": {"context": "above", "aliases": {"small": "smollm2-135m"}}})
    ip = InteractiveShell(config=config)
    ip.run_line_magic("load_ext", "jupyter_mistral")
    magics = ip.magics_manager.registry["MistralMagics"]
    assert (magics.context, magics.aliases) == ("above", {"small": "smollm2-135m"})
    ip.history_manager.end_session()


def test_a_variable_of_the_users_called_err_is_left_alone() -> None:
    ip = InteractiveShell(user_ns={"Err": "mine"})
    ip.run_line_magic("load_ext", "jupyter_mistral")
    assert ip.user_ns["Err"] == "mine"
    ip.run_line_magic("unload_ext", "jupyter_mistral")
    assert ip.user_ns["Err"] == "mine"
    ip.history_manager.end_session()


def test_code_that_was_stopped_is_shown_and_not_inserted(shell: Shell, peer: Peer) -> None:
    def script(request: ChatRequest) -> object:
        yield Delta("```python\nx = 1\ny = ")
        while not shell.has_shown("y ="):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
        while not peer.left.wait(0.01):
            yield Delta("1")

    peer.script = script  # type: ignore[assignment]
    _, error = shell.run("%mistral -f code --out part set x")
    assert isinstance(error, Stopped)
    assert getattr(shell.ip, "rl_next_input", None) is None
    assert shell.ip.user_ns["part"].code[0].startswith("x = 1")


def test_who_lists_none_of_our_variables(shell: Shell) -> None:
    assert shell.run("%who")[0].strip() == "Interactive namespace is empty."


def test_a_request_has_only_fields_of_the_protocol(shell: Shell, peer: Peer) -> None:
    shell.run("%mistral --context above hi")  # the peer parses with the real parser, which refuses unknown fields
    assert json.dumps(peer.posts[0][1])
    assert peer.requests[0].extras.client == "magics"


def test_thorough_reads_the_notebook_unless_a_context_is_given(shell: Shell, peer: Peer) -> None:
    shell.run("x = 1")
    for flags in ("", "--thorough", "--thorough --context above"):
        shell.run(f"%mistral {flags} what is x?")
    sent = [(request.extras.thorough, request.extras.scope, bool(request.extras.notebook)) for request in peer.requests]
    assert sent == [(False, "notebook", False), (True, "notebook", True), (True, "above", True)]


def test_pieces_of_the_test_host_make_a_whole(peer: Peer) -> None:
    assert "".join(e.text for e in pieces("abcdefghij") if isinstance(e, Delta)) == "abcdefghij"


def test_alias_without_arguments_lists_the_aliases(shell: Shell, peer: Peer) -> None:
    assert "No aliases are defined." in shell.run("%mistral alias")[0]
    shell.run("%mistral alias small qwen2.5-coder-0.5b")
    shown, _ = shell.run("%mistral alias")
    assert "small" in shown
    assert "qwen2.5-coder-0.5b" in shown
    assert not peer.requests


def test_a_flag_after_the_question_is_reported_as_text(shell: Shell, peer: Peer) -> None:
    peer.say("Hi.")
    assert "`--seed` was sent as part of the question. Put flags first." in shell.run("%mistral hello --seed 3")[0]
    assert peer.prompt == "hello --seed 3"
    assert "part of the question" not in shell.run("%mistral --seed 3 hello -- and more words")[0]
