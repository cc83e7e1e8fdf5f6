"""What would be written, as a diff to look at, and the writing of exactly that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ...protocol.failures import Failure
from ..figures import Facts
from ..host.client import Client
from .notebook import Notebook, Place
from .writing import Basis, basis_of, known_of, write

Tell = Callable[[int, int, str], None]  # figures done, of how many, which one
FactsOf = Callable[[Place, dict[str, object]], Facts | None]
_FROM: dict[Basis, str] = {
    "numbers": "from the figure's numbers",
    "pixels": "from its pixels",
    "code": "from the cell's code alone",
}


@dataclass(frozen=True)
class Proposal:
    """An alt text for one figure. new: empty where none was made, and `why` says why."""

    place: Place
    new: str = ""
    why: str = ""


@dataclass
class Review:
    """The proposals for one notebook, not written yet."""

    notebook: Notebook
    proposals: list[Proposal] = field(default_factory=list)

    @property
    def changes(self) -> list[Proposal]:
        return [p for p in self.proposals if p.new and p.new != p.place.alt]

    def apply(self) -> int:
        """Write the changes into the file; gives how many. Raises `Failure` where the file was changed meanwhile."""
        for proposal in self.changes:
            self.notebook.set(proposal.place, proposal.new)
        if self.changes:
            self.notebook.write()
        return len(self.changes)

    def diff(self) -> str:
        """In the form of a unified diff: one hunk a figure."""
        name = self.notebook.path.name
        lines = [f"--- {name}", f"+++ {name} with alt text"]
        for proposal in self.proposals:
            lines.append(f"@@ {proposal.place} @@ {proposal.why}".rstrip())
            same = not proposal.new or proposal.new == proposal.place.alt
            if proposal.place.alt:
                lines.append(f"{' ' if same else '-'}{proposal.place.alt}")
            if not same:
                lines.append(f"+{proposal.new}")
        return "\n".join(lines)

    def summary(self) -> str:
        figures, changes = len(self.proposals), len(self.changes)
        return (
            f"{figures} figure{'' if figures == 1 else 's'}, {changes} alt text{'' if changes == 1 else 's'} to write."
        )


def review(
    path: Path,
    client: Client,
    can_see: bool,
    tell: Tell,
    *,
    model: str | None = None,
    overwrite: bool = False,
    facts_of: FactsOf = lambda place, bundle: None,
) -> Review:
    """Alt texts for the notebook's figures that have none of a person's. Nothing is written. Raises `Failure`.

    overwrite: also what a person wrote. facts_of: the numbers that a running kernel still has.
    """
    found = Review(Notebook(path))
    places = found.notebook.places()
    if not places:
        raise Failure("not_found", f"{path.name} holds no figure.", "Run the cells that draw, and save the notebook.")
    for i, place in enumerate(places):
        tell(i, len(places), str(place))
        found.proposals.append(_proposal(found.notebook, place, client, can_see, model, overwrite, facts_of))
    tell(len(places), len(places), "")
    return found


def _proposal(
    notebook: Notebook,
    place: Place,
    client: Client,
    can_see: bool,
    model: str | None,
    overwrite: bool,
    facts_of: FactsOf,
) -> Proposal:
    if place.is_hand_written and not overwrite:
        return Proposal(place, why="kept: a person wrote it (--overwrite replaces it)")
    bundle = notebook.bundle(place)
    known = known_of(bundle, place.source, facts_of(place, bundle))
    basis = basis_of(known, can_see)
    if basis is None:
        return Proposal(place, why="skipped: no numbers, no code, and the model does not see pictures")
    text = write(client, known, basis, model)
    return Proposal(place, text, _FROM[basis] if text else f"skipped: the model wrote nothing fit {_FROM[basis]}")
