"""`jupyter mistral …` as a user runs it: real processes, a real host, a real small model."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_mistral.commands import terminal
from jupyter_mistral.models import catalogue, store
from jupyter_mistral.protocol.events import Loading

SMALL = "smollm2-135m"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without models, and a runtime folder in which no host is announced."""
    monkeypatch.setenv("JUPYTER_MISTRAL_HOME", str(tmp_path / "home"))
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(runtime))
    return tmp_path / "home"


def run(*words: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "jupyter_mistral.cli", *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL
    )


def fill(name: str, half: str = "nf4") -> Path:
    folder = store.private_folder(store.model_dir(name) / half)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    store.write_manifest(folder)
    return folder


@pytest.mark.parametrize("words", [[], ["dance"], ["pull", "a", "b"], ["models", "--nonsense"], ["rm"]])
def test_misuse_ends_with_2(words: list[str]) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert "usage: jupyter mistral" in done.stderr


def test_help_names_every_command() -> None:
    done = run("--help")
    assert done.returncode == 0
    for name in ("demo", "pull", "models", "status", "load", "unload", "serve", "doctor", "context", "audit", "rm"):
        assert re.search(rf"^    {name} ", done.stdout, re.MULTILINE), name


@pytest.mark.parametrize("command", ["demo", "serve", "context", "audit"])
def test_commands_with_arguments_of_their_own_get_them(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0, done.stderr
    assert f"jupyter mistral {command}" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pull", "no-such-model"], "no model named"),
        (["pull", "mistral-large"], "too large"),
        (["rm", SMALL], "is not downloaded"),
        (["load"], "No model host is running"),
        (["unload"], "No model host is running"),
    ],
)
def test_a_failure_is_one_line_on_standard_error(words: list[str], said: str) -> None:
    done = run(*words)
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.startswith("jupyter mistral: ")
    assert done.stderr.count("\n") == 1
    assert not done.stdout


def test_models_are_a_table_and_as_json_rows() -> None:
    fill(SMALL)
    done = run("models")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    head, rule, *lines = done.stdout.splitlines()
    starts = [match.start() for match in re.finditer("─+", rule)]
    assert len(starts) == 12
    for line in [head, *lines[: len(catalogue.ENTRIES)]]:
        assert all(line[start - 1 : start] in (" ", "") for start in starts[1:]), line
    assert next(line for line in lines if SMALL in line).split()[-2:] == ["ready", "Apache-2.0"]
    rows = json.loads(run("models", "--json").stdout)
    assert {row["name"]: row["state"] for row in rows}[SMALL] == "ready"
    small = {row["name"]: row["memory"] for row in json.loads(run("models", "--json", "--kv", "int4").stdout)}[SMALL]
    assert small["4096"] < next(row["memory"]["4096"] for row in rows if row["name"] == SMALL)


def test_a_pipe_that_closes_early_is_no_failure() -> None:
    line = f"'{sys.executable}' -m jupyter_mistral.cli models --json | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_status_without_a_host_says_so_and_what_is_on_disk() -> None:
    done = run("status")
    assert done.returncode == 0, done.stderr
    assert "No model host is running" in done.stdout
    assert "none" in done.stdout
    fill(SMALL)
    assert SMALL in run("status").stdout
    told = json.loads(run("status", "--json").stdout)
    assert told["host"] is None
    assert told["state"] == "absent"
    assert told["seal"]["kind"] == "none"
    assert told["on_disk"] == [SMALL]


def test_rm_deletes_all_or_only_the_download() -> None:
    fill(SMALL)
    entry = catalogue.find(SMALL)
    source = fill(SMALL, "source")
    (source / entry.file).write_bytes(b"x" * 2**21)
    assert "2 MiB freed" in run("rm", "--source", SMALL).stdout
    assert store.locate(entry).state == "ready"
    assert run("rm", SMALL).returncode == 0
    assert store.locate(entry).state == "absent"


def test_a_second_pull_checks_and_fetches_nothing(models_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_MISTRAL_HOME", str(models_home))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    done = run("pull", SMALL)
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith(f"{SMALL} is ready in 4-bit: ")
    assert Path(last.split(": ")[1], "model.safetensors").is_file()
    assert "\r" not in done.stdout


@pytest.fixture
def host(mistral_home: Path, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`jupyter mistral serve` with the small model on disk; ended by the test or here."""
    command = [sys.executable, "-m", "jupyter_mistral.cli", "serve"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL) as process:
        runtime = Path(os.environ["JUPYTER_RUNTIME_DIR"])
        deadline = time.monotonic() + 300
        while not list(runtime.glob("mistral-*.json")) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        yield process
        process.send_signal(signal.SIGTERM)
        process.wait(120)


def test_a_running_host_loads_tells_and_unloads(host: subprocess.Popen[bytes]) -> None:
    told = json.loads(run("status", "--json").stdout)
    assert told["host"]["pid"] == host.pid
    assert told["state"] == "unloaded"
    loaded = run("load", SMALL)
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.splitlines()[-1].startswith(f"{SMALL} is ready (nf4, context ")
    told = json.loads(run("status", "--json").stdout)
    assert (told["state"], told["model"]["name"]) == ("ready", SMALL)
    assert told["memory"]["weights"] > 10**8
    text = run("status").stdout
    assert re.search(rf"^model +{SMALL} \(nf4", text, re.MULTILINE)
    assert re.search(r"^network +(blocked by|NOT blocked)", text, re.MULTILINE)
    assert run("unload").returncode == 0
    assert json.loads(run("status", "--json").stdout)["state"] == "unloaded"


def test_loading_what_is_not_on_disk_says_what_to_do(host: subprocess.Popen[bytes]) -> None:
    done = run("load", "ministral-3-3b")
    assert done.returncode == 1
    assert "jupyter mistral pull" in done.stderr


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def events() -> list[Loading]:
    half = [Loading("download", i / 100, f"{i} of 100 MB", 100.0 - i) for i in range(101)]
    return [*half, Loading("quantize", None, "reading the tokenizer"), Loading("load", 0.5, "copying", None)]


def test_progress_redraws_one_line_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    out = Terminal()
    progress = terminal.Progress(out)
    for event in events():
        progress(event)
    progress.close()
    drawn = out.getvalue().split("\r")
    assert len(drawn) == len(events()) + 1
    assert "[██████████··········]  50%  Downloading: 50 of 100 MB" in drawn[51]
    assert all(len(line.rstrip("\n")) < 60 for line in drawn)
    assert out.getvalue().endswith("\n")
    # a shorter line leaves nothing of a longer one behind
    assert all(len(after.rstrip("\n")) >= len(before.rstrip()) for before, after in itertools.pairwise(drawn))


def test_progress_elsewhere_is_a_few_plain_lines() -> None:
    out = io.StringIO()
    progress = terminal.Progress(out)
    for event in events():
        progress(event)
    progress.close()
    lines = out.getvalue().splitlines()
    assert len(lines) == 13
    assert lines[0] == "  0%  Downloading: 0 of 100 MB, 1 min 40 s left"
    assert lines[-2] == "Quantizing to 4-bit: reading the tokenizer"


@pytest.mark.parametrize(("count", "text"), [(0.4, "0 s"), (59.4, "59 s"), (125, "2 min 05 s"), (4200, "1 h 10 min")])
def test_time_reads_as_people_say_it(count: float, text: str) -> None:
    assert terminal.seconds(count) == text


def test_starting_the_command_imports_nothing_heavy() -> None:
    code = (
        "import sys; import jupyter_mistral.cli as cli; cli.make_parser();"
        "heavy = {'torch', 'transformers', 'tornado', 'IPython', 'jupyter_server', 'huggingface_hub', 'asyncio'};"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_interrupt_is_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.write_text('#!/bin/sh\necho asked > "$0.asked"\nexec sleep 60\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")
    command = [sys.executable, "-m", "jupyter_mistral.cli", "models"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        while not Path(f"{tool}.asked").exists() and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert said.strip() == "jupyter mistral: stopped."


def test_a_folder_that_cannot_be_used_is_a_sentence_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    command = [sys.executable, "-m", "jupyter_mistral.cli", "token", "create", "editor"]
    environ = {**os.environ, "JUPYTER_MISTRAL_HOME": str(tmp_path / "file" / "home")}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.startswith(f"jupyter mistral: {tmp_path}")
    assert done.stderr.count("\n") == 1


def test_json_of_status_has_every_field_of_the_protocol() -> None:
    from dataclasses import fields

    from jupyter_mistral.protocol.status import Status

    told: dict[str, Any] = json.loads(run("status", "--json").stdout)
    assert {field.name for field in fields(Status)} <= set(told)
