"""The functions that the JupyterLab panel calls in the kernel."""

from __future__ import annotations

import base64

from jupyter_mistral.kernel import panel_calls
from jupyter_mistral.kernel.figures import history
from kernel_shell import Shell

PNG = base64.b64encode(b"\x89PNG the pixels of a plot").decode()


def test_a_figure_is_found_by_its_run_and_by_its_image(shell: Shell) -> None:
    panel_calls.watch_figures(shell.ip)
    shell.run("import matplotlib.figure\nfigure = matplotlib.figure.Figure()")
    _, error = shell.run("figure.subplots().bar(['a', 'b'], [1, 3])\nfigure")
    assert error is None
    (facts,) = panel_calls.facts_of_run(shell.ip, 2)
    assert "bars" in facts
    assert panel_calls.facts_of_run(shell.ip, 1) == []
    recorded = history.install(shell.ip)
    recorded.record_message({"msg_type": "display_data", "content": {"data": {"image/png": PNG}}})
    assert panel_calls.facts_of_image(shell.ip, PNG[-16:]) == [facts]
    assert panel_calls.facts_of_image(shell.ip, "AAAA") == []
