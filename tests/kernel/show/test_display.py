"""Progress messages, receipts, the status table, and interrupts while an output is published."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import asdict

import pytest
from jupyter_mistral.kernel.show.display import bar, defer_interrupt, progress_of, receipt
from jupyter_mistral.kernel.show.tables import status_table
from jupyter_mistral.protocol.events import Delta, Event, Loading, Queued, Reading, Usage
from jupyter_mistral.protocol.failures import Failure
from jupyter_mistral.protocol.status import Memory


@pytest.mark.parametrize(
    ("event", "words", "fraction"),
    [
        (Queued(1), "Waiting for 1 request", None),
        (Queued(3), "Waiting for 3 requests", None),
        (Loading("load", 0.42, "", 12.0), "Loading the model 42%, 12 s left", 0.42),
        (Loading("download", 0.1, "", 600.0), "Downloading the model 10%, 10 min left", 0.1),
        (Loading("quantize"), "Quantizing to 4-bit", None),
        (Loading("warm", 1.0, "", float("inf")), "Warming up 100%", 1.0),
        (Reading(1024, 4096), "Reading 1,024 of 4,096 tokens", 0.25),
        (Reading(4096, 4096, 4000, 0.2), "Reading 4,096 of 4,096 tokens (4,000 cached)", 1.0),
        (Reading(0, 0), "Reading 0 of 0 tokens", None),
        (Reading(512, 2048, 0, 6.0, 2, 5), "Reading part 2 of 5, 512 of 2,048 tokens, 6 s left", 0.25),
        (Delta("x"), "", None),
    ],
)
def test_progress_is_a_sentence_and_a_fraction(event: Event, words: str, fraction: float | None) -> None:
    assert progress_of(event) == (words, fraction)


def test_a_bar_stays_within_its_box_and_escapes_its_words() -> None:
    assert "width:100.0%" in bar("x", 7.0)
    assert "width:0.0%" in bar("x", -1.0)
    assert bar("<b>", None) == "&lt;b&gt;"


def test_a_receipt_omits_values_that_were_not_measured() -> None:
    assert receipt(Usage()) == []
    assert receipt(Usage(model="m", quantization="bf16", energy_j=41.23)) == ["m", "bf16", "41.2 J"]


def test_the_status_shows_the_measured_gpu_values() -> None:
    memory = asdict(Memory("cuda", 5 * 2**30, 2**30, 9 * 2**30, 24 * 2**30))
    assert "other programs" not in status_table({"memory": memory}) and "GPU" not in status_table({"memory": memory})
    table = status_table({"memory": memory | {"others": 3 * 2**30, "gpu": "NVIDIA L4", "power_w": 31.5}})
    assert "cache 1.0 GiB, other programs 3.0 GiB; 9.0 GiB of 24.0 GiB free on cuda" in table
    assert "| GPU | NVIDIA L4, 32 W |" in table
    assert "weights 5.0 GiB and 2.0 GiB in host memory," in status_table({"memory": memory | {"spilled": 2**31}})
    assert "| GPU | NVIDIA L4, 48 °C |" in status_table({"memory": memory | {"gpu": "NVIDIA L4", "temperature_c": 48}})


def test_the_status_shows_that_the_audit_log_cannot_be_written() -> None:
    failure = Failure("not_recorded", "The audit log cannot be written.", "Make room.")
    table = status_table({"state": "ready", "failure": failure.to_dict()})
    assert "| audit log | The audit log cannot be written. Make room. |" in table
    assert "audit log" not in status_table({"state": "ready", "failure": None})


def test_an_interrupt_during_publishing_is_raised_after_it() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), defer_interrupt():
        os.kill(os.getpid(), signal.SIGINT)
        done.append(True)
    assert done == [True]
    with pytest.raises(KeyboardInterrupt):  # the handler is the old one again
        os.kill(os.getpid(), signal.SIGINT)
        signal.pause()


def test_an_error_during_publishing_is_raised_and_the_handler_restored() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="own"), defer_interrupt():
        raise ValueError("own")
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_may_publish_too() -> None:
    done = []

    def publish() -> None:
        with defer_interrupt():
            done.append(True)

    thread = threading.Thread(target=publish)
    thread.start()
    thread.join()
    assert done == [True]
