"""Prefix blocks on disk: safetensors files for their owner only, the least recently used deleted first. Survives restarts.

Files hold keys (hashes) and numbers, no text. Writing happens on a thread of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import threading
import zlib
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

_SUFFIX, _PARTIAL = ".safetensors", ".partial"


class Parking:
    """Blocks under `folder`, one file for each set parked together; `limit` bytes for the whole of `folder.parent`."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit
        for path in (folder.parent, folder):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._where: dict[str, Path] = {}
        self._lock = threading.Lock()
        for path in folder.parent.glob("*/*" + _PARTIAL):
            if not _is_alive(path):  # its writer was killed
                path.unlink(missing_ok=True)
        for path in folder.glob("*" + _SUFFIX):
            with contextlib.suppress(OSError, SafetensorError), safe_open(path, "pt") as file:
                self._where |= dict.fromkeys(file.keys(), path)
        self._work: queue.SimpleQueue[dict[str, torch.Tensor] | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_all, name="parking", daemon=True)
        self._writer.start()

    def __contains__(self, key: str) -> bool:
        with self._lock:
            return key in self._where

    def take(self, key: str) -> torch.Tensor | None:
        """The block, None if it is gone or its bytes are not those that were written."""
        with self._lock:
            path = self._where.get(key)
        if path is None:
            return None
        with contextlib.suppress(OSError, SafetensorError, KeyError, ValueError), safe_open(path, "pt") as file:
            block: torch.Tensor = file.get_tensor(key)
            if _checksum(block) == json.loads(file.metadata()["checksums"])[key]:
                os.utime(path)
                return block
        self._forget(path)
        return None

    def park(self, blocks: dict[str, torch.Tensor]) -> None:
        self._work.put(blocks)

    def close(self) -> None:
        """Finish writing."""
        self._work.put(None)
        self._writer.join(timeout=30)

    def _write_all(self) -> None:
        while (blocks := self._work.get()) is not None:
            with contextlib.suppress(OSError):  # a full disk costs speed tomorrow, not an answer today
                self._write(blocks)
                self._make_room()

    def _write(self, blocks: dict[str, torch.Tensor]) -> None:
        room = self._limit // 2
        while blocks and sum(block.nbytes for block in blocks.values()) > room:
            blocks.popitem()  # the end of a sequence, which is worth least
        if not blocks:
            return
        path = self._folder / (next(reversed(blocks)) + _SUFFIX)
        sums = json.dumps({key: _checksum(block) for key, block in blocks.items()})
        partial = path.with_suffix(f".{os.getpid()}{_PARTIAL}")
        with open(os.open(partial, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
            file.write(save(blocks, metadata={"checksums": sums}))
        partial.replace(path)
        with self._lock:
            self._where |= dict.fromkeys(blocks, path)

    def _make_room(self) -> None:
        stats = [(path, path.stat()) for path in self._folder.parent.glob("*/*") if path.is_file()]
        total = sum(stat.st_size for _, stat in stats)
        for path, stat in sorted(stats, key=lambda pair: pair[1].st_mtime):
            if total <= self._limit:
                return
            self._forget(path)
            total -= stat.st_size

    def _forget(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        with self._lock:
            self._where = {key: at for key, at in self._where.items() if at != path}


def _is_alive(partial: Path) -> bool:
    """Whether the process that writes this file still runs; its id stands in the name."""
    try:
        os.kill(int(partial.suffixes[-2][1:]), 0)
    except (ValueError, IndexError, ProcessLookupError):
        return False
    except PermissionError:
        pass
    return True


def _checksum(block: torch.Tensor) -> int:
    return zlib.crc32(block.contiguous().view(torch.uint8).numpy().data)
