"""Pixels carry meaning: a small trained Mistral3, in 4 bit and in a real worker, names plots that it never saw."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import plots
import pytest
from effort import IS_ALL
from engine_host import Host
from PIL import Image

HERE = Path(__file__).parent
EACH = 15 if IS_ALL else 4


@pytest.fixture(scope="module")
def taught_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A worker that quantized the trained model and loaded it."""
    home = tmp_path_factory.mktemp("home")
    host = Host(home)
    loaded = host.load(HERE / "model", out=str(home / "nf4"))
    assert loaded["type"] == "ready", loaded
    yield host
    assert host.close() == 0


def name(host: Host, *pictures: bytes) -> str:
    content = [*({"image": i} for i in range(len(pictures))), plots.QUESTION]
    images = [{"mime": "image/png", "size": len(picture)} for picture in pictures]
    sampling = {"temperature": 0.0, "max_tokens": 16}
    messages = [{"role": "user", "content": content}]
    end = host.finish(
        host.send("generate", blob=b"".join(pictures), images=images, messages=messages, sampling=sampling)
    )
    assert end["type"] == "end", end
    return str(end["text"])


def test_plots_of_unseen_seeds_styles_and_colours_are_named_from_their_pixels(taught_host: Host) -> None:
    """Guessing is right in 1 of 6; the shipped weights name 9 in 10."""
    asked = [(kind, plots.draw(kind, 10_000 + i, plots.HELD_OUT)) for kind in plots.KINDS for i in range(EACH)]
    answers = [(kind, name(taught_host, picture)) for kind, picture in asked]
    right = sum(kind == answer for kind, answer in answers)
    assert right >= 0.75 * len(answers), [pair for pair in answers if pair[0] != pair[1]]
    assert {kind for kind, answer in answers if kind == answer} == set(plots.KINDS)


def test_plots_whose_pixels_are_shuffled_are_not_named(taught_host: Host) -> None:
    """The control: the same colours in other places tell nothing."""
    asked = [
        (kind, shuffled(plots.draw(kind, 10_000 + i, plots.HELD_OUT)))
        for kind in plots.KINDS
        for i in range(min(5, EACH))
    ]
    assert sum(kind == name(taught_host, picture) for kind, picture in asked) <= 0.5 * len(asked)


def shuffled(picture: bytes) -> bytes:
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).reshape(-1, 3)
    mixed = np.random.default_rng(0).permutation(pixels).reshape(plots.SIDE, plots.SIDE, 3)
    out = io.BytesIO()
    Image.fromarray(mixed).save(out, "PNG")
    return out.getvalue()


def test_the_same_question_about_two_plots_gets_two_names(taught_host: Host) -> None:
    """The second is not answered from the state that the first left."""
    pie, heatmap = (plots.draw(kind, 20_000, plots.HELD_OUT) for kind in ("pie", "heatmap"))
    assert [name(taught_host, picture) for picture in (pie, heatmap, pie)] == ["pie", "heatmap", "pie"]


@pytest.mark.slow
def test_the_script_that_made_the_weights_still_teaches(tmp_path: Path) -> None:
    import train

    losses = train.build(tmp_path / "model", each=8, steps=12, batch=8)
    assert losses[-1] < 0.8 * losses[0]
    made = {path.name for path in (tmp_path / "model").iterdir()}
    assert {path.name for path in (HERE / "model").iterdir()} <= made
    assert (tmp_path / "model" / "tekken.json").read_bytes() == (HERE / "model" / "tekken.json").read_bytes()
