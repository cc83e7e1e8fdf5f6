"""Proposes alt text for a notebook's figures as a diff, and writes exactly what the diff shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from ...protocol.failures import Failure
from ..figures import Facts
from ..host.client import Client
from .notebook import FigureOutput, Notebook
from .writing import Basis, Sources, choose_basis, collect_sources, write_alt_text

ShowProgress: TypeAlias = Callable[[int, int, str], None]  # figures done, total, name of the next one
FactsOf: TypeAlias = Callable[[FigureOutput, dict[str, object]], Facts | None]
_BASIS_NOTES: dict[Basis, str] = {
    "numbers": "from the figure's numbers",
    "pixels": "from its image",
    "code": "from the cell's code alone",
}


@dataclass(frozen=True)
class Proposal:
    """The alt text for one figure. new: empty if there is none. note: its source, or why there is none."""

    output: FigureOutput
    new: str = ""
    note: str = ""


@dataclass
class Review:
    """The proposals for one notebook, not written yet."""

    notebook: Notebook
    proposals: list[Proposal] = field(default_factory=list)

    @property
    def changes(self) -> list[Proposal]:
        return [p for p in self.proposals if p.new and p.new != p.output.alt]

    def apply(self) -> int:
        """Write the changes to the file and return their number. Raises `Failure` if the file has changed since."""
        for proposal in self.changes:
            self.notebook.set_alt(proposal.output, proposal.new)
        if self.changes:
            self.notebook.write()
        return len(self.changes)

    def diff(self) -> str:
        """Format the proposals as a unified diff with one hunk per figure."""
        name = self.notebook.path.name
        lines = [f"--- {name}", f"+++ {name} with alt text"]
        for proposal in self.proposals:
            lines.append(f"@@ {proposal.output} @@ {proposal.note}".rstrip())
            is_unchanged = not proposal.new or proposal.new == proposal.output.alt
            if proposal.output.alt:
                lines.append(f"{' ' if is_unchanged else '-'}{proposal.output.alt}")
            if not is_unchanged:
                lines.append(f"+{proposal.new}")
        return "\n".join(lines)

    def summary(self) -> str:
        figures, changes = len(self.proposals), len(self.changes)
        return (
            f"{figures} figure{'' if figures == 1 else 's'}, {changes} alt text{'' if changes == 1 else 's'} to write."
        )


def make_review(
    path: Path,
    client: Client,
    can_see: bool,
    show_progress: ShowProgress,
    *,
    model: str | None = None,
    overwrite: bool = False,
    facts_of: FactsOf = lambda output, bundle: None,
) -> Review:
    """Propose alt text for each figure of the notebook that has none. Writes nothing. Raises `Failure`.

    overwrite: also replace text written by a person. facts_of: the numbers of a figure that the running kernel still has.
    """
    review = Review(Notebook(path))
    outputs = review.notebook.figure_outputs()
    if not outputs:
        raise Failure("not_found", f"{path.name} contains no figures.", "Run the cells that draw them, and save it.")
    for i, output in enumerate(outputs):
        show_progress(i, len(outputs), str(output))
        bundle = review.notebook.bundle(output)
        sources = collect_sources(bundle, output.source, facts_of(output, bundle))
        review.proposals.append(_propose(output, sources, client, can_see, model, overwrite))
    show_progress(len(outputs), len(outputs), "")
    return review


def _propose(
    output: FigureOutput, sources: Sources, client: Client, can_see: bool, model: str | None, overwrite: bool
) -> Proposal:
    if output.is_hand_written and not overwrite:
        return Proposal(output, note="kept: written by a person (--overwrite replaces it)")
    basis = choose_basis(sources, can_see)
    if basis is None:
        return Proposal(output, note="skipped: it has no numbers and no code, and the model has no vision")
    text = write_alt_text(client, sources, basis, model)
    if not text:
        return Proposal(output, note=f"skipped: no usable text was generated {_BASIS_NOTES[basis]}")
    return Proposal(output, text, _BASIS_NOTES[basis])
