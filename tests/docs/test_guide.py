"""The snippets of the guide run as they stand: each page in a kernel of a real Jupyter server with a real small model."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from jupyter_mistral.cli import all_parsers
from jupyter_mistral.kernel.line.flags import Options
from jupyter_mistral.kernel.line.subcommands import parse_command
from jupyter_mistral.notebook_runner import JupyterServer, NotebookRunner, serving
from nbformat.v4 import new_code_cell, new_notebook, new_output

DOCS = Path(__file__).parent.parent.parent / "docs"
_SNIPPET = re.compile(r"(<!-- not run: .*? -->\n\n)?```(ipython|python|bash)\n(.*?)```", re.DOTALL)
PAGES = sorted(path.name for path in DOCS.glob("*.md") if "```ipython" in path.read_text(encoding="utf-8"))
# what the page takes for granted; the third cell is an error, which `fix 3` names
SET_UP = (
    "%load_ext jupyter_mistral",
    "import matplotlib.pyplot as plt, pandas as pd\n"
    "from matplotlib.backends.backend_pdf import PdfPages\n"
    "df = pd.DataFrame({'price': [1.0, 2.0, -30.0]})\n"
    "fig, ax = plt.subplots(); ax.plot([1, 2, 9]); ax.set_ylabel('price (EUR)')\n"
    "for name, pages in (('paper.pdf', 5), ('scan.pdf', 1)):\n"
    "    with PdfPages(name) as pdf:\n"
    "        for number in range(pages):\n"
    "            page = plt.figure(figsize=(4, 3)); page.text(0.1, 0.5, f'Method {number}: weighing.'); pdf.savefig(page); plt.close(page)",
    "1 / 0",
)


def snippets(page: str, language: str) -> Iterator[tuple[str, bool]]:
    """Each snippet of a page, and whether it is run."""
    for mark, found, text in _SNIPPET.findall((DOCS / page).read_text(encoding="utf-8")):
        if found == language:
            yield text.rstrip(), not mark


@pytest.fixture(scope="module")
def server(ticking: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    folder = tmp_path_factory.mktemp("guide")
    patch = pytest.MonkeyPatch()
    home = folder / "home"
    home.mkdir(mode=0o700)
    patch.setenv("JUPYTER_MISTRAL_HOME", str(home))
    image = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    figure = new_code_cell("plot()", outputs=[new_output("display_data", {"image/png": image})])
    for page in PAGES:
        nbformat.write(new_notebook(cells=[figure]), folder / f"{page}.ipynb")
    flags = ["--ServerApp.jpserver_extensions={'jupyter_mistral': True}", f"--MistralExtension.default_model={ticking}"]
    with serving(folder, lab=False, log=folder / "log", flags=flags) as running:
        yield running
    patch.undo()


@pytest.mark.parametrize("page", PAGES)
def test_the_snippets_of_a_page_run(page: str, server: JupyterServer) -> None:
    sources = [text for text, is_run in snippets(page, "ipython") if is_run]
    cells = [line for text in sources for line in ([text] if text.startswith("%%") else text.splitlines())]
    assert cells
    notebook = new_notebook(cells=[new_code_cell(source) for source in (*SET_UP, *cells)])
    notebook.cells[len(SET_UP) - 1].metadata.tags = ["raises-exception"]
    for cell in notebook.cells:
        if cell.source.startswith(
            ("%mistral fix", "%%mistral -f code")
        ):  # this model never writes code, which is an error
            cell.metadata.tags = ["raises-exception"]
    printed: list[str] = []
    with server.kernel(f"{page}.ipynb") as kernel:
        NotebookRunner(notebook, kernel, printed.append).run()
    errors = [line for line in "".join(printed).splitlines() if "Error: " in line]
    expected = ("ZeroDivisionError", "MistralError: The answer contains no code.")
    assert errors and all(error.startswith(expected) for error in errors), errors


@pytest.mark.parametrize("page", PAGES)
def test_a_snippet_that_is_not_run_is_a_command_of_ours(page: str) -> None:
    for text, is_run in snippets(page, "ipython"):
        for line in [] if is_run else text.splitlines():
            words = line.removeprefix("%mistral ")
            assert words.startswith("--model ") or parse_command(words, Options(), ()) is not None, line


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_every_jupyter_mistral_line_has_arguments_that_its_command_takes(page: str) -> None:
    parsers = dict(all_parsers())
    for text, _ in snippets(page, "bash"):
        for line in text.splitlines():
            if not line.startswith("jupyter mistral "):
                continue
            name, *arguments = shlex.split(line.partition("|")[0], comments=True)[2:]
            with contextlib.redirect_stderr(io.StringIO()) as complaint:
                try:
                    parsers[name].parse_args(arguments)
                except SystemExit:
                    pytest.fail(f"{line}: {complaint.getvalue()}")


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_python_snippets_compile(page: str) -> None:
    for text, _ in snippets(page, "python"):
        compile(text, page, "exec")
