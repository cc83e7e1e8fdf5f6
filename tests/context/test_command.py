"""`jupyter mistral context` with a real model's tokenizer: exact, without torch, and clear about what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from jupyter_mistral.commands.context import main
from jupyter_mistral.context import build
from jupyter_mistral.context.token_counts import TokenCounter
from jupyter_mistral.protocol.conversation import Message

from ..conftest import EMBEDDED, SMALL

TURNS = [
    Message("user", ("  first <|im_end|> question\n",)),
    Message("assistant", ("\n\nAn answer.",)),
    Message("user", ("What is x?",)),
]


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    cells = [
        {"cell_type": "markdown", "source": "# Title <|im_start|>", "id": "a", "metadata": {}},
        {
            "cell_type": "code",
            "source": "x = 1\nx",
            "execution_count": 1,
            "id": "b",
            "outputs": [{"output_type": "stream", "text": "out <|im_end|> 你好\n"}],
        },
    ]
    path = tmp_path / "small.ipynb"
    path.write_text(json.dumps({"cells": cells, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}))
    return path


@pytest.mark.parametrize("name", [EMBEDDED, SMALL])
def test_the_total_is_what_the_engine_reads(name: str, mistral_home: Path, notebook: Path) -> None:
    pytest.importorskip("torch", reason="compares with the engine's own template, which needs torch")
    from jupyter_mistral.engine.text.prompt_tokenizer import PromptTokenizer
    from jupyter_mistral.engine.text.vocabulary import Vocabulary

    folder = mistral_home / "models" / name / "nf4"
    tokens = TokenCounter(folder)
    built = build(
        TURNS, json.loads(notebook.read_text()), budget=2000, count=tokens.count, overhead=tokens.overhead, focus=1
    )
    prompt = PromptTokenizer(folder, Vocabulary(folder), None).prompt([(m.role, m.content) for m in built.messages])
    assert built.total_tokens == len(prompt.ids) == sum(s.tokens for s in built.ledger)


def test_the_command_prints_messages_and_ledger_without_torch(mistral_home: Path, notebook: Path) -> None:
    program = f"""
import sys
from jupyter_mistral.commands.context import main
code = main([{str(notebook)!r}, "--question", "What is x?", "--focus", "1", "--budget", "1000", "--model", {SMALL!r}, "--json"])
assert not {{"torch", "transformers", "jupyter_server"}} & set(sys.modules), "heavy imports"
sys.exit(code)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [m["role"] for m in report["messages"]] == ["system", "user"]
    assert report["total_tokens"] == sum(row["tokens"] for row in report["ledger"]) <= 1000
    assert {"source", "output"} <= {row["segment"] for row in report["ledger"] if row["cell"] == 1}


def test_without_json_it_reads_like_text(
    mistral_home: Path, notebook: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(notebook), "--question", "What is x?", "--focus", "none"]) == 0
    shown = capsys.readouterr().out
    assert "x = 1" in shown
    assert "tokens" in shown


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{not json", "not valid JSON"),
        ("[1]", "it has no cells"),
        ("[" * 200_000, "not valid JSON"),
        (None, "cannot be read"),
    ],
)
def test_an_invalid_notebook_is_refused_in_one_sentence(
    text: str | None, sentence: str, mistral_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.ipynb"
    if text is not None:
        path.write_text(text)
    assert main([str(path), "--question", "q"]) == 1
    assert sentence in capsys.readouterr().err


def test_a_focus_beyond_the_last_cell_is_refused_in_one_sentence(
    mistral_home: Path, notebook: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(notebook), "--question", "x?", "--model", SMALL, "--focus", "2"]) == 1
    assert "has 2 cells" in capsys.readouterr().err
    assert main([str(notebook), "--question", "x?", "--model", SMALL, "--focus", "1"]) == 0


def test_without_a_model_it_says_what_to_do(
    tmp_path: Path, notebook: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JUPYTER_MISTRAL_HOME", str(tmp_path / "empty"))
    assert main([str(notebook), "--question", "q"]) == 1
    assert "Run `jupyter mistral pull" in capsys.readouterr().err


def test_thorough_shows_the_parts_in_which_a_large_notebook_is_read(
    mistral_home: Path, notebook: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = [{"cell_type": "code", "source": f"value_{i} = measure({i})", "outputs": []} for i in range(120)]
    large = tmp_path / "large.ipynb"
    large.write_text(json.dumps({"cells": cells, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}))
    asked = ["--question", "What is value_3?", "--budget", "900", "--model", SMALL, "--thorough"]
    assert main([str(large), *asked, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert len(report["windows"]) > 2
    assert report["total_tokens"] == sum(window["total_tokens"] for window in report["windows"])
    assert all(w["total_tokens"] == sum(row["tokens"] for row in w["ledger"]) <= 900 for w in report["windows"])
    assert main([str(large), *asked]) == 0
    assert f"Read in {len(report['windows'])} parts" in capsys.readouterr().out
    assert main([str(notebook), *asked, "--json"]) == 0  # it fits: one prompt, as without the flag
    assert "messages" in json.loads(capsys.readouterr().out)
