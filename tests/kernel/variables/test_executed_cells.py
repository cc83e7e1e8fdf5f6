"""`--context`: the notebook as reconstructed in a kernel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jupyter_mistral.kernel.variables.executed_cells import ExecutedCell, find_notebook, to_notebook
from kernel_peer import Peer
from kernel_shell import Shell


def code(source: str, number: int | None = None, *outputs: dict[str, Any]) -> dict[str, Any]:
    return {"cell_type": "code", "metadata": {}, "source": source, "execution_count": number, "outputs": list(outputs)}


def markdown(source: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": [source]}


def saved(folder: Path, *cells: dict[str, Any]) -> Path:
    path = folder / "a.ipynb"
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


def sources(notebook: dict[str, Any] | None) -> list[str]:
    return [cell["source"] for cell in (notebook or {"cells": []})["cells"]]


def test_without_a_file_the_cells_that_ran_are_the_notebook(tmp_path: Path) -> None:
    ran = [
        ExecutedCell(1, "x = 1"),
        ExecutedCell(2, "x", value=1),
        ExecutedCell(3, "y", error="Traceback\nNameError: no y"),
    ]
    notebook, focus = to_notebook(ran, "%%mistral\nwhy?", None, "above")
    assert focus == 2
    assert notebook is not None
    assert [c["outputs"] for c in notebook["cells"]] == [
        [],
        [{"output_type": "execute_result", "data": {"text/plain": "1"}, "metadata": {}, "execution_count": 2}],
        [{"output_type": "error", "ename": "NameError", "evalue": "no y", "traceback": ["Traceback\nNameError: no y"]}],
    ]


def test_with_nothing_above_there_is_no_notebook(tmp_path: Path) -> None:
    assert to_notebook([], "%mistral x", None, "above") == (None, None)
    path = saved(tmp_path, code("%mistral x"))
    assert to_notebook([], "%mistral x", path, "notebook") == (None, None)


def test_the_file_gives_order_markdown_and_printed_output_and_the_question_is_left_out(tmp_path: Path) -> None:
    printed = {"output_type": "stream", "name": "stdout", "text": ["a\n", "b\n"]}
    path = saved(
        tmp_path, markdown("# Sales"), code("print(1)", 1, printed), code("%%mistral\nwhy?"), code("later", None)
    )
    above, focus = to_notebook([ExecutedCell(1, "print(1)")], "%%mistral\nwhy?", path, "above")
    assert (sources(above), focus) == (["# Sales", "print(1)"], 1)
    assert above is not None and above["path"] == "a.ipynb"
    assert above["cells"][1]["outputs"] == [{"output_type": "stream", "name": "stdout", "text": "a\nb\n"}]
    notebook, focus = to_notebook([ExecutedCell(1, "print(1)")], "%%mistral\nwhy?", path, "notebook")
    assert (sources(notebook), focus) == (["# Sales", "print(1)", "later"], 1)


def test_cells_that_ran_since_the_last_save_are_added_above_the_question(tmp_path: Path) -> None:
    path = saved(tmp_path, markdown("# Sales"), code("x = 1", 1), code("old", None))
    ran = [ExecutedCell(4, "x = 1", value=5), ExecutedCell(5, "y = 2")]
    notebook, focus = to_notebook(ran, "%mistral why?", path, "above")
    assert (sources(notebook), focus) == (["# Sales", "x = 1", "y = 2"], 2)
    assert notebook is not None
    assert notebook["cells"][1]["execution_count"] == 4  # the file's output is older than this run's


def test_images_are_sent_as_their_size_and_long_text_is_cut(tmp_path: Path) -> None:
    output = {
        "output_type": "display_data",
        "data": {"image/png": "A" * 400, "text/plain": "x" * 30_000},
        "metadata": {},
    }
    path = saved(tmp_path, code("plot()", 1, output), code("%mistral x"))
    notebook, _ = to_notebook([ExecutedCell(1, "plot()")], "%mistral x", path, "above")
    assert notebook is not None
    data = notebook["cells"][0]["outputs"][0]["data"]
    assert data["image/png"] == 300
    assert len(data["text/plain"]) == 20_001


@pytest.mark.parametrize("content", ["{", "[]", '{"cells": 3}', '{"cells": [3]}', "\udcff"])
def test_a_file_that_cannot_be_read_is_ignored(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.ipynb"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    notebook, _ = to_notebook([ExecutedCell(1, "x = 1")], "%mistral x", path, "above")
    assert sources(notebook) == ["x = 1"]


def test_without_a_deleted_notebook_the_executed_cells_remain(tmp_path: Path) -> None:
    path = saved(tmp_path, code("x = 1", 1), code("%mistral x"))
    path.unlink()
    notebook, focus = to_notebook([ExecutedCell(1, "x = 1")], "%mistral x", path, "notebook")
    assert sources(notebook) == ["x = 1"]
    assert focus == 0


def test_the_server_or_vs_code_announces_the_file(tmp_path: Path) -> None:
    path = saved(tmp_path)
    assert find_notebook({}, {"JPY_SESSION_NAME": str(path)}) == path
    assert find_notebook({"__vsc_ipynb_file__": str(path)}, {}) == path
    assert find_notebook({}, {"JPY_SESSION_NAME": str(tmp_path / "gone.ipynb")}) is None
    assert find_notebook({}, {"JPY_SESSION_NAME": "console"}) is None


def test_the_magics_send_the_requested_scope(
    shell: Shell, peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell.run("x = [1, 2]")
    shell.run("sum(x)")
    shell.run("%mistral hi")
    assert peer.requests[-1].extras.notebook is None
    assert peer.requests[-1].extras.variables == ()
    shell.run("%mistral --context above what is x?")
    extras = peer.requests[-1].extras
    assert (extras.scope, extras.focus) == ("above", 1)
    assert sources(dict(extras.notebook or {})) == ["x = [1, 2]", "sum(x)"]
    assert {"name": "x", "type": "list", "summary": "[1, 2]"} in extras.variables
    shell.run("%config MistralMagics.context = 'notebook'")
    path = saved(
        tmp_path, markdown("# Title"), code("x = [1, 2]", 1), code("sum(x)", 2), code("%mistral and now?"), code("z")
    )
    monkeypatch.setenv("JPY_SESSION_NAME", str(path))
    shell.run("%mistral and now?")
    extras = peer.requests[-1].extras
    assert (extras.scope, extras.focus) == ("notebook", 3)
    config = "%config MistralMagics.context = 'notebook'"
    assert sources(dict(extras.notebook or {})) == ["# Title", "x = [1, 2]", "sum(x)", config, "z"]
