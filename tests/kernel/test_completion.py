"""Tab completion after the magics, in a real IPython shell."""

from __future__ import annotations

from pathlib import Path

import pytest
from IPython.core.completer import provisionalcompleter
from jupyter_mistral.kernel.line.subcommands import COMMANDS
from kernel_peer import Peer
from kernel_shell import Shell


def offered(shell: Shell, line: str) -> list[str]:
    """The completions at the end of `line`, requested like a kernel or terminal does."""
    shell.ip.Completer.use_jedi = True  # as in a kernel: it has words of its own for everything
    with provisionalcompleter():
        return [completion.text for completion in shell.ip.Completer.completions(line, len(line))]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("%mistral re", {"reset", "read"}),
        ("%mistral fi", {"fix"}),
        ("mistral unl", {"unload"}),
        ("%mistral --con", {"--context"}),
        ("%mistral --context a", {"above"}),
        ("%%mistral -f j", {"json"}),
        ("%%mistral --seed 3 --no-", {"--no-history"}),
        ("%mistral help un", {"unload"}),
        ("%mistral load --k", {"--kv"}),
        ("%mistral load x --kv int", {"int8", "int4"}),
        ("%mistral read paper.pdf --ocr o", {"on", "off"}),
        ("%mistral fix 3 --max", {"--max-tokens"}),
        ("%mistral alt --a", {"--apply"}),
    ],
)
def test_tab_offers_commands_flags_and_their_values(shell: Shell, line: str, words: set[str]) -> None:
    assert set(offered(shell, line)) == words


def test_tab_alone_offers_the_commands(shell: Shell) -> None:
    assert set(offered(shell, "%mistral ")) == set(COMMANDS)


def test_tab_offers_models_and_aliases_for_a_model(shell: Shell, peer: Peer) -> None:
    shell.ip.run_line_magic("mistral", "alias small smollm2-135m")
    names = set(offered(shell, "%mistral load "))
    assert {"small", "qwen2.5-coder-0.5b"} <= names
    assert set(offered(shell, "%mistral --model ")) == names
    assert offered(shell, "%mistral alias other qw") == ["qwen2.5-coder-0.5b"]
    assert offered(shell, "%mistral dealias s") == offered(shell, "%%mistral sm") == ["small"]


def test_tab_offers_figures_for_a_figure(shell: Shell) -> None:
    shell.ip.run_cell("from matplotlib.figure import Figure\nrevenue, other = Figure(), 3")
    assert offered(shell, "%mistral explain r") == offered(shell, "%mistral --see r") == ["revenue"]


def test_inside_a_question_tab_is_ipythons_own(shell: Shell) -> None:
    shell.ip.run_cell("recent_sales = 1")
    assert "recent_sales" in offered(shell, "%mistral what is odd in {recent")
    assert "fix" not in offered(shell, "%mistral what is fi")


def test_tab_starts_no_host(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    offered(shell, "%mistral load ")
    assert list(tmp_path.iterdir()) == []


def test_a_variable_called_mistral_is_the_users(shell: Shell) -> None:
    shell.ip.run_cell("mistral = 1")
    assert "fix" not in offered(shell, "mistral fi")
    assert offered(shell, "%mistral fi") == ["fix"]


def test_without_the_extension_tab_is_ipythons_own(shell: Shell) -> None:
    shell.run("%unload_ext jupyter_mistral")
    assert "fix" not in offered(shell, "%mistral fi")
