"""The doctor: each thing that can be wrong is named with what to do, and nothing else is."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
from jupyter_mistral import health
from jupyter_mistral.commands.prepare import try_seal
from jupyter_mistral.health import Check
from jupyter_mistral.models import EMBEDDED, memory, store
from jupyter_mistral.models.memory import GIB, Machine


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JUPYTER_MISTRAL_HOME", str(tmp_path / "home"))
    for name in ("RUNTIME_DIR", "CONFIG_DIR"):
        folder = tmp_path / name.lower()
        folder.mkdir(mode=0o700)
        monkeypatch.setenv(f"JUPYTER_{name}", str(folder))
    return tmp_path / "home"


def look(name: str) -> Check:
    found = {check.name: check for check in health.examine()}
    return found[name]


def only(check: object) -> Check:
    (found,) = list(check)  # type: ignore[call-overload]
    return found


def fill() -> Path:
    folder = store.private_folder(store.model_dir(EMBEDDED) / "nf4")
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    store.write_manifest(folder)
    return folder


def test_without_a_model_it_says_how_to_get_it_and_ends_with_1() -> None:
    command = [sys.executable, "-m", "jupyter_mistral.cli", "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stderr
    assert f"blocked  model      {EMBEDDED} is not downloaded" in done.stdout
    assert "-> jupyter mistral pull" in done.stdout
    assert not done.stderr


def test_with_everything_in_place_nothing_is_blocked(mistral_home: Path) -> None:
    command = [sys.executable, "-m", "jupyter_mistral.cli", "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    told = json.loads(done.stdout)
    states = {check["name"]: check["state"] for check in told["checks"]}
    assert (done.returncode, told["ok"]) == (0, True), told
    assert states["model"] == states["engine"] == states["memory"] == states["python"] == "ok"
    assert states["seal"] in ("ok", "warn")
    assert all(check["todo"] for check in told["checks"] if check["state"] != "ok")


def test_a_damaged_model_is_named() -> None:
    folder = fill()
    assert only(health._model()).state == "ok"
    (folder / "model.safetensors").write_bytes(b"weighus")
    found = only(health._model())
    assert (found.state, found.todo) == ("blocked", f"Run `jupyter mistral pull {EMBEDDED}` to repair it.")
    assert "model.safetensors" in found.found


def test_missing_and_untested_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version
    assert only(health._packages()).state == "ok"

    def old(name: str) -> str:
        return "4.40.0" if name == "transformers" else real(name)

    monkeypatch.setattr(importlib.metadata, "version", old)
    found = only(health._packages())
    assert found.state == "warn"
    assert "transformers 4.40.0 (supported:" in found.found

    def gone(name: str) -> str:
        if name == "bitsandbytes":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", gone)
    found = only(health._packages())
    assert (found.state, found.found) == ("blocked", "not installed: bitsandbytes")
    assert "pip install 'jupyter-mistral[engine]'" in found.todo


def test_memory_that_is_too_small_blocks_and_taken_memory_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    for here, state in (
        (Machine("", 0, 0, 16 * GIB, 12 * GIB), "ok"),
        (Machine("", 0, 0, 16 * GIB, GIB // 2), "warn"),
        (Machine("", 0, 0, GIB, GIB), "blocked"),
    ):
        monkeypatch.setattr(memory, "machine", lambda here=here: here)
        assert only(health._memory()).state == state


def test_a_gpu_that_torch_cannot_use_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "machine", lambda: Machine("A card", 24 * GIB, 20 * GIB, 16 * GIB, 12 * GIB))
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.13.0+cpu")
    found = only(health._gpu())
    assert found.state == "warn"
    assert "20.0 GiB of 24.0 GiB" in found.found
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.13.0+cu130")
    assert only(health._gpu()).state == "ok"


def test_a_full_disk_blocks_only_what_is_not_there_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(health.shutil, "disk_usage", lambda path: usage(10**9, 0, 10**8))
    found = only(health._disk())
    assert found.state == "blocked"
    assert "95 MiB free" in found.found


def test_a_disk_on_which_chats_cannot_be_saved_is_a_warning_where_the_model_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(health.store, "disk_bytes", lambda name: 10**12)
    monkeypatch.setattr(health.shutil, "disk_usage", lambda path: usage(10**9, 0, 10**6))
    found = only(health._disk())
    assert (found.state, found.todo != "") == ("warn", True)
    assert "chats may not be saved" in found.found
    monkeypatch.setattr(health.shutil, "disk_usage", lambda path: usage(10**9, 0, 10**8))
    assert only(health._disk()).state == "ok"


@pytest.mark.threat("T30")
@pytest.mark.parametrize("name", ["chats", "chats/chats.sqlite", "audit/audit-2026-01-01.jsonl", "tokens.json"])
def test_words_or_tokens_open_to_others_are_a_warning(home: Path, name: str) -> None:
    store.private_folder(home)
    path = home / name
    store.private_folder(path.parent)
    path.mkdir(mode=0o700) if name == "chats" else path.touch(mode=0o600)
    assert only(health._home()).state == "ok"
    path.chmod(0o750 if name == "chats" else 0o644)
    found = only(health._home())
    assert (found.state, found.todo) == ("warn", f"chmod go= '{path}'")
    assert str(path) in found.found


def test_a_folder_open_to_others_is_a_warning(home: Path) -> None:
    home.mkdir(mode=0o755)
    home.chmod(0o755)
    found = only(health._home())
    assert (found.state, found.todo) == ("warn", f"chmod 700 '{home}'")
    home.chmod(0o700)
    assert only(health._home()).state == "ok"


def test_a_folder_that_cannot_be_made_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JUPYTER_MISTRAL_HOME", str(tmp_path / "file" / "home"))
    assert only(health._home()).state == "blocked"


@pytest.mark.parametrize(
    ("file", "enabled", "state"),
    [
        ("jupyter_server_config.json", False, "warn"),
        ("jupyter_server_config.d/zz.json", False, "warn"),
        ("jupyter_server_config.json", True, "ok"),
    ],
)
def test_the_users_own_settings_decide_about_the_server_extension(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, enabled: bool, state: str
) -> None:
    # in a virtual environment Jupyter puts that environment's settings before the user's, unless told not to
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    path = tmp_path / "config_dir" / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"ServerApp": {"jpserver_extensions": {"jupyter_mistral": enabled}}}))
    assert only(health._extension()).state == state
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
    assert only(health._extension()).state == "ok"


def test_the_seal_is_tried_by_a_real_worker() -> None:
    found = only(health._seal(try_seal))
    assert found.state in ("ok", "warn")
    assert ("no network access (verified" in found.found) == (found.state == "ok")


def test_importing_the_doctor_is_cheap() -> None:
    code = "import sys, jupyter_mistral.health; sys.exit('torch' in sys.modules or 'asyncio' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_where_no_worker_can_be_started_at_all_it_says_what_can_be_done_instead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Windows")
    found = only(health._seal(try_seal))
    assert found.state == "blocked" and "Windows" in found.found
    assert "WSL" in found.todo and "pip install" not in found.todo
