"""The catalogue, the store on disk and the arithmetic of memory."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jupyter_mistral import models
from jupyter_mistral.models import catalogue, memory, store
from jupyter_mistral.models.entry import Hub, Packages
from jupyter_mistral.models.listing import rows
from jupyter_mistral.models.memory import GIB, Machine
from jupyter_mistral.protocol.failures import Failure

BIG = Machine("A card", 24_564 * 2**20, 24 * GIB, 64 * GIB, 60 * GIB)
LAPTOP = Machine("", 0, 0, 8 * GIB, 5 * GIB)
TINY = {
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_size": 256,
    "vocab_size": 1000,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JUPYTER_MISTRAL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def fill(folder: Path, files: dict[str, bytes], about: dict[str, Any] | None = None) -> Path:
    store.private_folder(folder)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    store.write_manifest(folder, about)
    return folder


def local(tmp_path: Path, config: dict[str, Any] | None = None, **files: bytes) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(TINY | (config or {})))
    (folder / "model.safetensors").write_bytes(bytes(2_000_000))
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


# ---------------------------------------------------------------------------------------------- catalogue


def test_the_catalogue_names_what_the_issue_asks_for() -> None:
    names = {entry.name for entry in catalogue.ENTRIES}
    assert names >= {"qwen2.5-coder-0.5b", "smollm2-135m", "mistral-small-3.1", "mistral-small-3.2", "codestral-22b"}
    assert names >= {"ministral-3-3b", "ministral-3-8b", "ministral-3-14b", "pixtral-12b", "mixtral-8x7b"}
    assert names >= {"deephermes-24b", "devstral-small", "mistral-large"}
    for entry in catalogue.ENTRIES:
        assert entry.licence and entry.title and entry.sources, entry.name
        assert 0 < entry.sixteen_bit < entry.parameters, entry.name
        # two bytes a parameter, give or take vocabulary tables that are counted once or twice; GGUF files are smaller
        assert entry.file or 0.95 < entry.download_bytes / (2 * entry.parameters) < 1.05, entry.name
        if any(isinstance(source, Packages) for source in entry.sources):
            assert len(entry.sha256) == 64 and entry.file_bytes, entry.name


def test_names_ids_and_folders_are_found(tmp_path: Path) -> None:
    assert catalogue.find("Mistral-Small-3.2").name == "mistral-small-3.2"
    assert catalogue.find("mistralai/Mistral-Small-3.2-24B-Instruct-2506").name == "mistral-small-3.2"
    assert catalogue.find("somebody/some-model").sources == (Hub("somebody/some-model"),)
    found = catalogue.find(str(local(tmp_path)))
    assert (found.layers, found.kv_heads, found.head_dim, found.context_length) == (2, 2, 64, 4096)
    assert found.parameters == 1_000_000
    assert found.can == ("text",)


@pytest.mark.parametrize(
    "name", ["mistral-smal", "", "a/b/c", "org/..", "org/na me", "./nowhere", "/etc", "org/\x1b[31m"]
)
def test_unknown_names_are_refused_with_a_hint(name: str) -> None:
    with pytest.raises(Failure) as caught:
        catalogue.find(name)
    assert caught.value.code == "unknown_model"
    assert caught.value.todo
    assert "\x1b" not in str(caught.value)
    if name == "mistral-smal":
        assert "Did you mean" in caught.value.todo


def test_a_config_that_makes_no_sense_gives_no_shapes(tmp_path: Path) -> None:
    config = {"num_hidden_layers": "many", "hidden_size": -1, "num_attention_heads": None, "text_config": [1]}
    found = catalogue.find(str(local(tmp_path, config)))
    assert (found.layers, found.head_dim) == (0, 0)


def test_the_default_is_a_mistral_from_20_gb_of_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for here, name in ((BIG, "mistral-small-3.2"), (LAPTOP, "qwen2.5-coder-0.5b")):
        monkeypatch.setattr(memory, "machine", lambda here=here: here)
        assert models.default_name() == name


# ---------------------------------------------------------------------------------------------- memory


def test_memory_of_a_24b_is_that_of_its_shapes() -> None:
    small = catalogue.find("mistral-small-3.1")
    assert memory.weight_bytes(small) == pytest.approx(15.03e9, rel=0.002)
    assert memory.kv_bytes(small, 1) == 160 * 1024
    assert memory.kv_bytes(small, 32_768, kv="int8") == 32_768 * (80 + 7.5) * 1024
    assert memory.need(small, 32_768) == memory.weight_bytes(small) + 5 * GIB + memory.GPU_MARGIN


def test_experts_are_counted_in_4_bit() -> None:
    assert memory.weight_bytes(catalogue.find("mixtral-8x7b")) == pytest.approx(24.5e9, rel=0.01)


@pytest.mark.parametrize(
    ("name", "file_bytes"),
    [("smollm2-135m", 111_878_154), ("qwen2.5-coder-0.5b", 457_345_941), ("qwen2.5-coder-1.5b", 1_143_326_715)],
)
def test_weights_in_4_bit_take_what_their_files_measure(name: str, file_bytes: int) -> None:
    assert memory.weight_bytes(catalogue.find(name)) == pytest.approx(file_bytes, rel=0.01)


def test_what_fits_where() -> None:
    find = catalogue.find
    assert memory.fits(find("mistral-small-3.2"), 32_768, BIG).where == "gpu"
    assert memory.fits(find("mistral-small-3.2"), 131_072, BIG).where == "cpu"
    assert memory.fits(find("mistral-small-3.2"), 4096, LAPTOP).where == "no"
    assert memory.fits(find("qwen2.5-coder-0.5b"), 4096, LAPTOP).where == "cpu"
    assert memory.fits(find("mistral-large"), 4096, BIG).where == "no"
    assert "8.0 GiB" in memory.fits(find("ministral-3-8b"), 4096, LAPTOP).reason
    assert memory.fits(find("nobody/knows"), 4096, BIG).where == "no"
    # what does not fit in 16 bits may in fewer
    assert memory.fits(find("mistral-small-3.2"), 131_072, BIG, "int4").where == "gpu"


def test_a_model_that_would_fit_with_layers_in_host_memory_says_so() -> None:
    find = catalogue.find
    half = Machine("A card", 12 * GIB, 11 * GIB, 64 * GIB, 60 * GIB)
    assert memory.fits(find("mistral-small-3.2"), 8192, half).where == "cpu"
    assert "With `--spill` it runs on the GPU" in memory.fits(find("mistral-small-3.2"), 8192, half).reason
    assert "--spill" not in memory.fits(find("mistral-small-3.2"), 131_072, half).reason, (
        "its context alone is too much"
    )
    for other in (LAPTOP, Machine("A card", 12 * GIB, 11 * GIB, 8 * GIB, 8 * GIB)):
        assert "--spill" not in memory.fits(find("mistral-small-3.2"), 8192, other).reason


def test_the_largest_gpu_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA T4, 15360, 15000'\necho 'NVIDIA A, B, 24564, 20000'\necho '[N/A], x, y'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    memory.machine.cache_clear()
    try:
        here = memory.machine()
        assert (here.gpu_name, here.gpu_total) == ("NVIDIA A, B", 24_564 * 2**20)
        assert 0 < here.ram_free <= here.ram_total
        tool.write_text("#!/bin/sh\nexit 9\n")
        memory.machine.cache_clear()
        assert memory.machine().gpu_total == 0
    finally:
        memory.machine.cache_clear()


# ---------------------------------------------------------------------------------------------- store


def test_a_model_is_absent_then_downloaded_then_ready() -> None:
    entry = catalogue.find("smollm2-135m")
    folder = store.model_dir(entry.name)
    assert store.locate(entry) == store.Located(folder / "source", folder / "nf4", "absent")
    fill(folder / "source", {entry.file: b"GGUF"})
    assert store.locate(entry) == store.Located(folder / "source" / entry.file, folder / "nf4", "source")
    fill(folder / "nf4", {"config.json": b"{}", "model.safetensors": b"weights"})
    assert store.locate(entry) == store.Located(folder / "nf4", None, "ready")
    assert store.remove(entry.name, only_source=True) > 0
    assert store.locate(entry).state == "ready"
    assert store.remove(entry.name) > 0
    assert store.locate(entry).state == "absent"


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_download_is_counted_while_another_process_moves_it(is_folder: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = store.private_folder(store.model_dir("smollm2-135m") / "source.part")
    (folder / "pip-download").mkdir()
    (folder / "pip-download" / "half.whl").write_bytes(b"half")
    (folder / "whole").write_bytes(b"whole")
    (folder / "link").symlink_to(folder / "whole")
    assert store.disk_bytes("smollm2-135m") == 9
    scan = os.scandir

    class Late:
        """A folder's entries: the folder goes before it is listed, or its file before anybody looks at it."""

        def __init__(self, path: Any) -> None:
            is_here = Path(path) == folder / "pip-download"
            if is_here and is_folder:
                (folder / "pip-download" / "half.whl").unlink(missing_ok=True)
                (folder / "pip-download").rmdir()
            with scan(path) as found:
                self._found = iter(list(found))
            if is_here:
                (folder / "pip-download" / "half.whl").unlink(missing_ok=True)

        def __enter__(self) -> Late:
            return self

        def __exit__(self, *_: object) -> None: ...

        def __iter__(self) -> Late:
            return self

        def __next__(self) -> Any:
            return next(self._found)

    monkeypatch.setattr(os, "scandir", Late)
    assert store.disk_bytes("smollm2-135m") == 5


def test_an_unfinished_download_is_no_model() -> None:
    entry = catalogue.find("smollm2-135m")
    source = store.private_folder(store.model_dir(entry.name) / "source")
    (source / entry.file).write_bytes(b"half")
    assert store.locate(entry).state == "absent"


@pytest.mark.parametrize("half", ["source", "nf4"])
@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda path: path.write_bytes(b"wei"), "3 bytes instead of 7"),
        (lambda path: path.unlink(), "missing"),
        (lambda path: (path.parent / "manifest.json").write_text('{"files": {}}'), "manifest.json"),
        (lambda path: (path.parent / "manifest.json").write_text("{"), "manifest.json"),
        (
            lambda path: (path.parent / "manifest.json").write_text(
                '{"files": {"../../../x": {"size": 1, "sha256": ""}}}'
            ),
            "outside",
        ),
    ],
)
def test_a_damaged_model_is_named_with_the_repair(half: str, damage: Any, word: str) -> None:
    entry = catalogue.find("somebody/some-model")
    folder = fill(store.model_dir(entry.name) / half, {"config.json": b"{}", "model.safetensors": b"weights"})
    damage(folder / "model.safetensors")
    with pytest.raises(Failure) as caught:
        store.locate(entry)
    assert caught.value.code == "corrupt_model"
    assert word in caught.value.message
    assert "jupyter mistral pull somebody/some-model" in caught.value.todo
    assert store.delete_damaged(entry) == [half]
    assert store.locate(entry).state == "absent"


@pytest.mark.threat("T15")
@pytest.mark.fault("F12")
def test_a_flipped_bit_is_seen_where_bytes_are_hashed() -> None:
    folder = fill(store.model_dir("x") / "nf4", {"config.json": b"{}", "model.safetensors": b"weights"})
    (folder / "model.safetensors").write_bytes(b"weighus")
    assert store.check(folder)
    with pytest.raises(Failure, match=r"model\.safetensors .* sha256"):
        store.check(folder, deep=True)


@pytest.mark.threat("T15")
@pytest.mark.parametrize("name", ["pytorch_model.bin", "modeling_x.py", "weights.pkl", "x.pt", "kernel.so"])
def test_a_folder_with_code_or_pickles_is_refused(tmp_path: Path, name: str) -> None:
    folder = local(tmp_path, **{name: b"trap"})
    with pytest.raises(Failure) as caught:
        store.locate(catalogue.find(str(folder)))
    assert caught.value.code == "unsupported"
    assert name in caught.value.message


@pytest.mark.threat("T15")
@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_auto_map_is_refused(tmp_path: Path, file: str) -> None:
    folder = local(tmp_path)
    (folder / file).write_text(json.dumps({**TINY, "auto_map": {"AutoModel": "x.X"}}))
    with pytest.raises(Failure, match="auto_map"):
        store.locate(catalogue.find(str(folder)))


def test_a_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    folder = local(tmp_path)
    (folder / "model.safetensors").unlink()
    with pytest.raises(Failure, match="no safetensors weights"):
        store.locate(catalogue.find(str(folder)))


def test_a_local_folder_is_made_4_bit_elsewhere_and_again_when_it_changes(tmp_path: Path) -> None:
    folder = local(tmp_path)
    entry = catalogue.find(str(folder))
    located = store.locate(entry)
    assert (located.path, located.state) == (folder, "source")
    assert located.out is not None and store.home() in located.out.parents
    nf4 = fill(located.out, {"config.json": b"{}", "model.safetensors": b"weights"})
    assert store.locate(entry) == store.Located(nf4, None, "ready")
    later = (nf4 / "manifest.json").stat().st_mtime + 10
    os.utime(folder / "model.safetensors", (later, later))
    assert store.locate(entry).state == "source"


def test_a_folder_that_is_4_bit_already_is_loaded_as_it_is(tmp_path: Path) -> None:
    folder = local(tmp_path, {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}})
    entry = catalogue.find(str(folder))
    assert store.locate(entry) == store.Located(folder, None, "ready")
    assert entry.parameters > 1_500_000


@pytest.mark.threat("T14")
def test_names_cannot_leave_the_home(tmp_path: Path) -> None:
    for name in ("../../etc", "org/../..", "/etc/passwd", "..", "a\x00b", "C:\\x"):
        assert store.model_dir(name).parent == store.home() / "models"
        assert store.model_dir(name).name not in ("", ".", "..")
    assert store.safe_name("/a/mine") != store.safe_name("/b/mine")


@pytest.mark.threat("T30")
def test_files_are_private(home: Path) -> None:
    folder = fill(store.model_dir("x") / "nf4", {"config.json": b"{}"})
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in ("config.json", "manifest.json"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600


# ---------------------------------------------------------------------------------------------- listing


def test_rows_tell_states_and_memory_within_the_context() -> None:
    entry = catalogue.find("smollm2-135m")
    fill(store.model_dir(entry.name) / "source", {entry.file: b"GGUF"})
    fill(store.model_dir("somebody/else") / "nf4", {"config.json": json.dumps(TINY).encode(), "m.safetensors": b"w"})
    broken = fill(store.model_dir("qwen2.5-coder-1.5b") / "nf4", {"config.json": b"{}"})
    (broken / "config.json").unlink()
    found = {row["name"]: row for row in json.loads(json.dumps(rows()))}
    assert found["smollm2-135m"]["state"] == "on disk"
    assert found["smollm2-135m"]["disk"]["now"] > 4
    assert found["smollm2-135m"]["memory"]["4096"] > 10**8
    assert found["smollm2-135m"]["memory"]["32768"] is None
    assert found["smollm2-135m"]["fits_by_context"]["131072"] is None
    assert found["somebody/else"]["state"] == "ready"
    assert found["qwen2.5-coder-1.5b"]["state"] == "damaged"
    assert found["mistral-small-3.2"]["state"] == "absent"
    assert found["mistral-large"]["state"] == "external"
    assert [row["name"] for row in found.values() if row["default"]] == [models.default_name()]


def test_importing_the_models_is_cheap() -> None:
    code = (
        "import sys; from jupyter_mistral.models import catalogue, fetch, hub, listing, memory, packages, store;"
        "heavy = {'torch', 'transformers', 'huggingface_hub', 'pip', 'numpy', 'psutil', 'jupyter_server'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
