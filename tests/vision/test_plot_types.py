"""A small trained Mistral3, quantized to 4-bit in a real worker, recognizes plots that it has never seen."""

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
def trained_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A worker that has quantized and loaded the trained model."""
    home = tmp_path_factory.mktemp("home")
    host = Host(home)
    loaded = host.load(HERE / "model", out=str(home / "nf4"))
    assert loaded["type"] == "ready", loaded
    yield host
    assert host.close() == 0


def recognize(host: Host, *images: bytes) -> str:
    content = [*({"image": i} for i in range(len(images))), plots.QUESTION]
    headers = [{"mime": "image/png", "size": len(image)} for image in images]
    sampling = {"temperature": 0.0, "max_tokens": 16}
    messages = [{"role": "user", "content": content}]
    end = host.finish(
        host.send("generate", blob=b"".join(images), images=headers, messages=messages, sampling=sampling)
    )
    assert end["type"] == "end", end
    return str(end["text"])


def test_plots_with_unseen_seeds_styles_and_colours_are_recognized(trained_host: Host) -> None:
    """Guessing is right in 1 of 6; the shipped weights name 9 in 10."""
    questions = [(kind, plots.draw(kind, 10_000 + i, plots.HELD_OUT)) for kind in plots.KINDS for i in range(EACH)]
    answers = [(kind, recognize(trained_host, image)) for kind, image in questions]
    right = sum(kind == answer for kind, answer in answers)
    assert right >= 0.75 * len(answers), [pair for pair in answers if pair[0] != pair[1]]
    assert {kind for kind, answer in answers if kind == answer} == set(plots.KINDS)


def test_plots_with_shuffled_pixels_are_not_recognized(trained_host: Host) -> None:
    """The control: the same colours at other positions have no meaning."""
    questions = [
        (kind, shuffle_pixels(plots.draw(kind, 10_000 + i, plots.HELD_OUT)))
        for kind in plots.KINDS
        for i in range(min(5, EACH))
    ]
    assert sum(kind == recognize(trained_host, image) for kind, image in questions) <= 0.5 * len(questions)


def shuffle_pixels(image: bytes) -> bytes:
    pixels = np.asarray(Image.open(io.BytesIO(image)).convert("RGB")).reshape(-1, 3)
    mixed = np.random.default_rng(0).permutation(pixels).reshape(plots.SIDE, plots.SIDE, 3)
    out = io.BytesIO()
    Image.fromarray(mixed).save(out, "PNG")
    return out.getvalue()


def test_the_same_question_about_two_plots_gets_two_answers(trained_host: Host) -> None:
    """The second is not answered from cached state of the first."""
    pie, heatmap = (plots.draw(kind, 20_000, plots.HELD_OUT) for kind in ("pie", "heatmap"))
    assert [recognize(trained_host, image) for image in (pie, heatmap, pie)] == ["pie", "heatmap", "pie"]


@pytest.mark.slow
def test_the_training_script_still_trains(tmp_path: Path) -> None:
    import train

    losses = train.build(tmp_path / "model", each=8, steps=12, batch=8)
    assert losses[-1] < 0.8 * losses[0]
    files = {path.name for path in (tmp_path / "model").iterdir()}
    assert {path.name for path in (HERE / "model").iterdir()} <= files
    assert (tmp_path / "model" / "tekken.json").read_bytes() == (HERE / "model" / "tekken.json").read_bytes()
