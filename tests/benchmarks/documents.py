"""Measures the cost of decoding in a child process: `python tests/benchmarks/documents.py`.

Compares ordinary images with and without a spare child to decoding in this process; reads the text of PDF pages; recognizes
scanned pages and measures the share of correct words.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "documents"))

import hostile_images as images
import hostile_pdfs as pdfs
import psutil
from jupyter_mistral.documents import images as in_process
from jupyter_mistral.documents.decoder import Decoder
from jupyter_mistral.protocol.documents import Document
from PIL import Image
from test_ocr import accuracy, drawn, text_of

ROUNDS = 7


def ordinary_images() -> dict[str, tuple[bytes, str]]:
    import io

    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4.8))
    axes.plot(range(50), [x**0.5 for x in range(50)])
    made = {}
    for kind in ("png", "svg"):
        out = io.BytesIO()
        figure.savefig(out, format=kind)
        made[f"plot, 640 x 480 {kind.upper()}"] = out.getvalue(), kind
    photo = Image.effect_noise((4032, 3024), 60).convert("RGB").resize((4032, 3024), Image.Resampling.BOX)
    made["photo, 4032 x 3024 JPEG"] = images.saved(photo, "JPEG", quality=80), "jpeg"
    return made


async def measure_images() -> None:
    for name, (data, kind) in ordinary_images().items():
        decoder = Decoder()
        started = time.perf_counter()
        await decoder.image(data)
        cold_s, warm_s = time.perf_counter() - started, []
        for _ in range(ROUNDS):
            await asyncio.sleep(1)  # so that the spare child is ready
            started = time.perf_counter()
            await decoder.image(data)
            warm_s.append(time.perf_counter() - started)
        await asyncio.sleep(1)
        spare = [child for child in psutil.Process().children() if "jupyter_mistral.documents" in child.cmdline()]
        memory = sum(child.memory_info().rss for child in spare) / 2**20
        await decoder.close()
        in_process_s = float("nan")
        if kind != "svg":
            started = time.perf_counter()
            in_process.to_png(data, kind)
            in_process_s = time.perf_counter() - started
        print(
            f"{name:28} first {cold_s * 1e3:5.0f} ms, with a spare child {statistics.median(warm_s) * 1e3:5.0f} ms, "
            f"in this process {in_process_s * 1e3:5.0f} ms; the spare child uses {memory:.0f} MB"
        )


async def read(data: bytes, ocr: str) -> tuple[float, Document]:
    decoder, started = Decoder(), time.perf_counter()
    async with contextlib.aclosing(decoder.document(data, ocr=ocr)) as steps:
        last = [step async for step in steps][-1]
    seconds = time.perf_counter() - started
    await decoder.close()
    assert isinstance(last, Document)
    return seconds, last


async def measure_documents() -> None:
    for count in (1, 20, 200):
        seconds, _ = await read(pdfs.pages(count, "Page {n}. " + pdfs.SENTENCE), "off")
        print(f"PDF with text, {count:3} pages  {seconds:5.2f} s, {seconds / count * 1e3:.0f} ms a page")
    texts = [text_of(seed) for seed in range(4)]
    once, _ = await read(pdfs.scanned(drawn(texts[0], 2), (595, 842)), "auto")
    seconds, shares = 0.0, []
    for text in texts:
        took, made = await read(pdfs.scanned(drawn(text, 2), (595, 842), 3), "auto")
        seconds += took - once
        shares.append(accuracy(f"Quarterly measurements {text}", made.pages[0].markdown))
    print(
        f"Scanned PDF, first page {once:.1f} s including loading the models, each further {seconds / 8:.1f} s; "
        f"{statistics.mean(shares):.1%} of the words correct"
    )


if __name__ == "__main__":
    asyncio.run(measure_images())
    asyncio.run(measure_documents())
