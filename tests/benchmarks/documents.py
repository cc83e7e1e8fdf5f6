"""What decoding in a child costs: `python tests/benchmarks/documents.py`. Each figure is taken on this machine, now.

Ordinary pictures with and without a spare child ready, against decoding them in this process; pages of a PDF by its text; pages
of a scan by recognition, with the share of words that come out right.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "documents"))

import hostile_images as images
import hostile_pdfs as pdfs
import psutil
from jupyter_mistral.documents import images as in_process
from jupyter_mistral.documents.decoder import Decoder
from jupyter_mistral.protocol.documents import Document
from PIL import Image
from test_scans import accuracy, drawn, text_of

ROUNDS = 7


def ordinary() -> dict[str, tuple[bytes, str]]:
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


async def of_pictures() -> None:
    for name, (data, kind) in ordinary().items():
        decoder = Decoder()
        started = time.perf_counter()
        await decoder.image(data)
        cold, warm = time.perf_counter() - started, []
        for _ in range(ROUNDS):
            await asyncio.sleep(1)  # so that the spare child is ready
            started = time.perf_counter()
            await decoder.image(data)
            warm.append(time.perf_counter() - started)
        await asyncio.sleep(1)
        spare = [child for child in psutil.Process().children() if "jupyter_mistral.documents" in child.cmdline()]
        held = sum(child.memory_info().rss for child in spare) / 2**20
        await decoder.close()
        here = float("nan")
        if kind != "svg":
            started = time.perf_counter()
            in_process.to_png(data, kind)
            here = time.perf_counter() - started
        print(
            f"{name:28} first {cold * 1e3:5.0f} ms, with a spare child {statistics.median(warm) * 1e3:5.0f} ms, "
            f"in this process {here * 1e3:5.0f} ms; the spare child holds {held:.0f} MB"
        )


async def read(data: bytes, ocr: str) -> tuple[float, Document]:
    decoder, started = Decoder(), time.perf_counter()
    async with contextlib.aclosing(decoder.document(data, ocr=ocr)) as steps:
        last = [step async for step in steps][-1]
    seconds = time.perf_counter() - started
    await decoder.close()
    assert isinstance(last, Document)
    return seconds, last


async def of_documents() -> None:
    for count in (1, 20, 200):
        seconds, _ = await read(pdfs.pages(count, "Page {n}. " + pdfs.SENTENCE), "off")
        print(f"PDF by its text, {count:3} pages  {seconds:5.2f} s, {seconds / count * 1e3:.0f} ms a page")
    texts = [text_of(seed) for seed in range(4)]
    once, _ = await read(pdfs.scanned(drawn(texts[0], 2), (595, 842)), "auto")
    seconds, shares = 0.0, []
    for text in texts:
        took, made = await read(pdfs.scanned(drawn(text, 2), (595, 842), 3), "auto")
        seconds += took - once
        shares.append(accuracy(f"Quarterly measurements {text}", made.pages[0].markdown))
    print(
        f"PDF of scans, first page {once:.1f} s with the models' loading, each further {seconds / 8:.1f} s; "
        f"{statistics.mean(shares):.1%} of the words right"
    )


if __name__ == "__main__":
    asyncio.run(of_pictures())
    asyncio.run(of_documents())
