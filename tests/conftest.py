"""Fixtures for all tests: separate folders for Jupyter's files, and small real models in 4-bit."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import clockwork
import pytest
from hypothesis import settings

# before anything imports torch: its threads sleep while they wait, as in the worker, so that two runs side by side do not slow
# each other down by spinning
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

ROOT = Path(__file__).parent.parent
SMALL = "smollm2-135m"
EMBEDDED = "qwen2.5-coder-0.5b"
# path prefixes; the files of a folder run together because they share what is slow to start
LONGEST_FIRST = ("ui/",)

# No test is timed, and examples are the same in every run, so that a failure is about the change. HYPOTHESIS_PROFILE=search
# tries others.
settings.register_profile("short", deadline=None, derandomize=True, max_examples=25)
settings.register_profile("all", deadline=None, derandomize=True, max_examples=100)
settings.register_profile("search", deadline=None, max_examples=1000)

# a shell that starts us in the background makes us and our children ignore interrupts, which some tests send
signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ("pytest_jupyter.jupyter_server", "run_report")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="also run the tests marked slow, and every example")


def pytest_configure(config: pytest.Config) -> None:
    is_all = config.getoption("--all")
    os.environ["JUPYTER_MISTRAL_TESTS_ALL"] = "1" if is_all else "0"
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("all" if is_all else "short"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect slow tests unless --all is given, and run the slowest files first."""
    if not config.getoption("--all"):
        slow = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("slow")]
    items.sort(key=lambda item: _place(item.path.relative_to(ROOT / "tests").as_posix()))


def _place(path: str) -> int:
    return next((i for i, start in enumerate(LONGEST_FIRST) if path.startswith(start)), len(LONGEST_FIRST))


@pytest.fixture(autouse=True, scope="session")
def _own_places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep tests away from the user's Jupyter settings, running servers and IPython history."""
    home = tmp_path_factory.mktemp("jupyter")
    patch = pytest.MonkeyPatch()
    for name in ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR"):
        folder = home / name.lower()
        folder.mkdir(mode=0o700)
        patch.setenv(f"JUPYTER_{name}", str(folder))
    patch.setenv("IPYTHONDIR", str(home / "ipython"))
    patch.delenv("JUPYTER_MISTRAL_CONNECTION_FILE", raising=False)
    patch.delenv("JUPYTER_MISTRAL_HOME", raising=False)
    yield
    patch.undo()


@pytest.fixture(scope="session")
def models_home() -> Path:
    """A `JUPYTER_MISTRAL_HOME` with the default model and the test model, quantized once and kept between runs."""
    home = Path(os.environ.get("JUPYTER_MISTRAL_TEST_MODELS") or ROOT / ".tests" / "models")
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (home / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name in (SMALL, EMBEDDED):
            pull = [sys.executable, "-m", "jupyter_mistral.cli", "pull", name]
            subprocess.run(pull, check=True, env={**os.environ, "JUPYTER_MISTRAL_HOME": str(home)}, timeout=1200)
    return home


@pytest.fixture
def mistral_home(models_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new `JUPYTER_MISTRAL_HOME` that shares only the models of `models_home`."""
    home = tmp_path / "mistral"
    home.mkdir(mode=0o700)
    (home / "models").symlink_to(models_home / "models")
    monkeypatch.setenv("JUPYTER_MISTRAL_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def ticking(models_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small 4-bit model that loads and answers at once, for tests that do not look at its text; named by its folder."""
    folder = tmp_path_factory.mktemp("models") / "ticking"
    return clockwork.build(folder, models_home / "models" / SMALL / "nf4", window=8192)
