"""`fix`, `explain` and `{Err[n]}`: the prompt about a cell that failed."""

from __future__ import annotations

import gc

import kernel_peer
import pytest
from jupyter_mistral.kernel.errors import MistralError
from jupyter_mistral.protocol.conversation import Message
from kernel_peer import Peer, pieces
from kernel_shell import Shell

FAILING = """def ratio(a, b):
    password = "hunter2hunter2"
    scaled = a * 2
    return scaled / b

total = 3
ratio(total, 0)"""


@pytest.mark.parametrize("command", ["fix", "explain", "fix 1"])
def test_without_an_error_it_says_what_to_do(shell: Shell, peer: Peer, command: str) -> None:
    shown, error = shell.run(f"%mistral {command}")
    assert isinstance(error, MistralError)
    assert "failed" in shown or "did not fail" in shown
    assert not peer.requests


def test_explain_in_a_fresh_kernel_says_what_it_can_explain(shell: Shell, peer: Peer) -> None:
    shown, _ = shell.run("%mistral explain")
    todo = "Run one, or name a cell that ran: `%mistral explain 3`."
    assert shown == f"MistralError: No cell has failed or shown a figure in this kernel yet. {todo}\n"


def test_fix_sends_cell_traceback_and_variables_and_offers_the_corrected_cell(shell: Shell, peer: Peer) -> None:
    shell.run(FAILING)
    peer.say("You divide by zero.\n\n```python\nratio(total, 1)\n```")
    shown, error = shell.run("%mistral fix")
    assert error is None
    assert (
        peer.prompt
        == f"""Cell In[1]:
```python
{FAILING.replace('"hunter2hunter2"', '"‹hidden›"')}
```

It failed:
```
Traceback (most recent call last):
  Cell In[1], line 7, in <module>
    ratio(total, 0)
  Cell In[1], line 4, in ratio
    return scaled / b
ZeroDivisionError: division by zero
```

Variables:
- total: int = 3
- scaled: int = 6
- b: int = 0
- a: int = 3
- password: str = ‹hidden›

Say in one or two sentences what went wrong, then give the whole corrected cell in one ```python block."""
    )
    assert "You divide by zero." in shown
    assert shell.ip.rl_next_input == "ratio(total, 1)"


def test_a_fix_that_ends_in_prose_is_continued_from_an_opened_block(shell: Shell, peer: Peer) -> None:
    shell.run("1 / 0")
    answers = iter([pieces("You divide by zero."), pieces("1 / 1\n```")])
    peer.script = lambda request: next(answers)
    _, error = shell.run("%mistral fix --out fixed")
    assert error is None
    first, second = peer.requests[-2:]
    assert second.messages[:-1] == first.messages
    assert second.messages[-1] == Message("assistant", ("You divide by zero.\n\n```python\n",))
    assert shell.ip.user_ns["fixed"].text == "You divide by zero.\n\n```python\n1 / 1\n```"
    assert shell.ip.rl_next_input == "1 / 1"


def test_a_fix_that_changes_nothing_is_an_error(shell: Shell, peer: Peer) -> None:
    shell.run("1 / 0")
    peer.say("You divide by zero.\n\n```python\n1 / 0\n```")
    shown, error = shell.run("%mistral fix")
    assert isinstance(error, MistralError)
    assert "The model suggested no change." in shown
    assert getattr(shell.ip, "rl_next_input", None) is None


def test_a_fix_without_code_is_an_error(shell: Shell, peer: Peer) -> None:
    shell.run("1 / 0")
    peer.say("Do not divide by zero.")
    shown, error = shell.run("%mistral fix")
    assert isinstance(error, MistralError)
    assert "The answer contains no code." in shown


def test_explain_takes_the_last_error_and_a_number_takes_that_one(shell: Shell, peer: Peer) -> None:
    shell.run("1 / 0")
    shell.run("undefined_name")
    shell.run("fine = 1")
    shell.run("%mistral explain")
    assert "NameError: name 'undefined_name' is not defined" in peer.prompt
    shell.run("%mistral explain 1")
    assert "ZeroDivisionError" in peer.prompt
    shell.run("%mistral fix Err[1] --seed 5")
    assert "ZeroDivisionError" in peer.prompt
    assert peer.requests[-1].sampling.seed == 5
    roles = [message.role for message in peer.requests[-1].messages]
    assert roles[:2] == ["system", "user"] and "assistant" not in roles[2:-1], "a fix is led by its error alone"
    shell.run("%mistral and then what?")
    assert "Fix the ZeroDivisionError in In[1]." in [message.text for message in peer.requests[-1].messages]


def test_explain_with_the_number_of_a_cell_that_ran_explains_the_cell(shell: Shell, peer: Peer) -> None:
    shell.run("fine = [1, 2]")
    shell.run("%mistral explain In[1]")
    assert peer.prompt.startswith("Cell In[1]:\n```python\nfine = [1, 2]\n```")
    shown, error = shell.run("%mistral explain 99")
    assert isinstance(error, MistralError)
    assert "This kernel has no cell In[99]" in shown


def test_a_syntax_error_shows_its_line_and_caret(shell: Shell, peer: Peer) -> None:
    shell.run("x = (1,\ny = 2")
    shell.run("%mistral explain")
    assert "SyntaxError: '(' was never closed" in peer.prompt
    assert "    x = (1,\n" in peer.prompt


def test_library_frames_are_omitted_and_causes_are_named(shell: Shell, peer: Peer) -> None:
    shell.run(
        "import json\ntry:\n    json.loads('{')\nexcept ValueError as e:\n    raise RuntimeError('bad file') from e"
    )
    shell.run("%mistral explain")
    assert "  caused by json.decoder.JSONDecodeError: Expecting property name" in peer.prompt
    assert "RuntimeError: bad file" in peer.prompt
    shell.run("import json\njson.loads('{')")
    shell.run("%mistral explain")
    text = peer.prompt
    assert "  Cell In[3], line 2, in <module>\n    json.loads('{')" in text
    assert "library frames" in text
    assert "interactiveshell" not in text


def test_colours_and_secrets_are_removed_from_a_traceback(shell: Shell, peer: Peer) -> None:
    shell.run(r"raise ValueError('\x1b[31mred\x1b[0m hf_' + 'aB3' * 12)")
    shell.run("%mistral explain")
    assert "\x1b" not in peer.prompt
    assert "ValueError: red ‹hidden›" in peer.prompt


def test_a_secret_in_the_line_that_failed_is_hidden(shell: Shell, peer: Peer) -> None:
    shell.run("int(password='hunter2hunter2')")
    shell.run("%mistral explain {Err[1]}")
    assert "int(password='‹hidden›')" in peer.prompt
    shell.run("%mistral explain")
    assert "hunter2" not in peer.prompt


def test_err_in_a_question_is_replaced_with_the_traceback(shell: Shell, peer: Peer) -> None:
    shell.run("1 / 0")
    shell.run("%mistral why {Err[1]} and {Err[7]}")
    assert "Traceback (most recent call last):\n  Cell In[1], line 1, in <module>" in peer.prompt
    assert peer.prompt.endswith("and {Err[7]}")
    assert "ZeroDivisionError" in shell.run("print(Err[1])")[0]


def test_an_interrupt_and_a_usage_error_are_not_recorded(shell: Shell, peer: Peer) -> None:
    shell.run("raise KeyboardInterrupt")
    shell.run("%nonsense_magic --x")
    shell.run("%mistral --nonsense")
    assert list(shell.ip.user_ns["Err"]) == []


def test_a_recorded_error_keeps_no_user_objects_alive(shell: Shell) -> None:
    class Big:
        pass

    shell.ip.user_ns["make"] = Big
    shell.run("def f():\n    held = make()\n    raise ValueError\nf()")
    assert 1 in shell.ip.user_ns["Err"]
    shell.run("1 / 0")  # IPython itself holds the last error only
    shell.run("fine = 1")
    gc.collect()
    assert not [each for each in gc.get_objects() if isinstance(each, Big)]


def test_the_users_own_error_handler_is_left_in_place(shell: Shell, peer: Peer) -> None:
    seen = []
    shell.ip.set_custom_exc((ZeroDivisionError,), lambda *args, **kw: seen.append(args[1]))
    shell.run("1 / 0")
    assert seen == [ZeroDivisionError]
    shell.run("%mistral explain")
    assert "ZeroDivisionError" in peer.prompt


def test_a_kernel_without_gpu_memory_is_offered_the_models_memory(
    shell: Shell, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell.run("raise RuntimeError('CUDA out of memory. Tried to allocate 2.00 GiB.')")
    on_gpu = {"device": "cuda", "weights": 3 * 2**30, "kv": 2**30, "free": 0, "total": 2**34}
    monkeypatch.setitem(kernel_peer.STATUS, "memory", on_gpu)
    shown, error = shell.run("%mistral fix")
    assert error is None and not peer.requests, "no answer is needed"
    assert "4.0 GiB" in shown and "%mistral park" in shown
