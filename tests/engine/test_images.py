"""Images change answers, are counted exactly, cached by content, and refused if they are harmful."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import pytest
import torch
from engine_host import Frame, Host
from jupyter_mistral.engine.text.prompt_tokenizer import PromptTokenizer
from jupyter_mistral.engine.text.vocabulary import Vocabulary
from jupyter_mistral.engine.vision import ImagePreparer, decode_image
from jupyter_mistral.protocol.failures import Failure
from PIL import Image
from transformers import AutoConfig
from transformers.models.pixtral.image_processing_pil_pixtral import PixtralImageProcessorPil


def encoded(color: str = "red", size: tuple[int, int] = (300, 200), kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, color).save(out, kind)
    return out.getvalue()


def show(host: Host, *pictures: bytes, question: str = "What is this?", **fields: object) -> Frame:
    content = [*({"image": i} for i in range(len(pictures))), question]
    images = [{"mime": "image/png", "size": len(picture)} for picture in pictures]
    sampling = {"temperature": 0.0, "max_tokens": 12}
    messages = [{"role": "user", "content": content}]
    return host.finish(
        host.send("generate", blob=b"".join(pictures), images=images, messages=messages, sampling=sampling, **fields)
    )


@pytest.fixture(scope="module")
def eyes(tiny: Path) -> ImagePreparer:
    return ImagePreparer(tiny, AutoConfig.from_pretrained(tiny), Vocabulary(tiny).control_id)


def test_the_image_changes_the_answer(seeing_host: Host) -> None:
    red, blue, again = (show(seeing_host, encoded(color)) for color in ("red", "blue", "red"))
    assert red["text"] != blue["text"] and red["text"] == again["text"]


def test_a_repeated_image_is_cached(seeing_host: Host) -> None:
    first = show(seeing_host, encoded("green", (400, 400)), question="One.")["usage"]
    second = show(seeing_host, encoded("green", (400, 400)), question="Two.")["usage"]
    other = show(seeing_host, encoded("lime", (400, 400)), question="Two.")["usage"]
    assert first["prompt_tokens"] == second["prompt_tokens"] == other["prompt_tokens"]
    assert second["cached_tokens"] > 15 * 16 > 64 > other["cached_tokens"]


def test_several_images_in_a_turn_are_counted_and_distinguished(seeing_host: Host) -> None:
    sizes = [(300, 200), (90, 60), (640, 480)]
    pictures = [encoded(color, size) for color, size in zip(("red", "blue", "green"), sizes, strict=True)]
    content = [*({"image": i} for i in range(3)), "Which is larger?"]
    images = [{"mime": "image/png", "size": len(picture)} for picture in pictures]
    messages = [{"role": "user", "content": content}]
    rendered = seeing_host.finish(seeing_host.send("render", blob=b"".join(pictures), images=images, messages=messages))
    none = seeing_host.finish(seeing_host.send("render", messages=[{"role": "user", "content": ["Which is larger?"]}]))
    assert rendered["tokens"] - none["tokens"] == sum(-(-w // 28) * -(-h // 28) + -(-h // 28) for w, h in sizes)
    asked = [show(seeing_host, *order, question="Which is larger?") for order in (pictures, pictures[::-1], pictures)]
    assert {answer["usage"]["prompt_tokens"] for answer in asked} == {rendered["tokens"]}
    assert asked[0]["text"] == asked[2]["text"] != asked[1]["text"]
    assert asked[2]["usage"]["cached_tokens"] > 96 + 12, (
        "keys and values of the first pictures come from the prefix memory"
    )


def test_reusing_half_an_image_changes_nothing(seeing_host: Host, tiny: Path, tmp_path: Path) -> None:
    picture = encoded("green", (640, 480))
    show(seeing_host, picture, question="One.")
    warm = show(seeing_host, picture, encoded("navy", (90, 60)), question="Two.")
    fresh = Host(tmp_path)
    fresh.load(tiny)
    cold = show(fresh, picture, encoded("navy", (90, 60)), question="Two.")
    fresh.close()
    assert warm["usage"]["cached_tokens"] > 0 == cold["usage"]["cached_tokens"]
    assert warm["text"] == cold["text"]


@pytest.mark.parametrize(
    ("size", "tokens"), [((300, 200), 96), ((640, 480), 432), ((1000, 800), 1073), ((1540, 1540), 3080), ((1, 1), 2)]
)
def test_tokens_are_counted_exactly(eyes: ImagePreparer, size: tuple[int, int], tokens: int) -> None:
    """The first four as mistral-common counted them for the same pictures (a row of cells and its mark)."""
    found = eyes.prepare(encoded(size=size), "Image 1")
    assert len(found.ids) == tokens and found.ids[-1] == 13 and found.ids.count(13) == 1


def test_pixels_equal_those_of_transformers(eyes: ImagePreparer) -> None:
    picture = Image.effect_noise((500, 333), 80).convert("RGB")
    out = io.BytesIO()
    picture.save(out, "PNG")
    theirs = PixtralImageProcessorPil(patch_size={"height": 28, "width": 28}, size={"longest_edge": 1540})
    want = theirs(images=[picture], return_tensors="pt")["pixel_values"]
    ours = eyes.prepare(out.getvalue(), "Image 1").pixels
    assert ours.shape == want.shape and torch.allclose(ours, want, atol=0.02)


def test_several_images_are_in_reading_order(tiny: Path, eyes: ImagePreparer) -> None:
    vocabulary = Vocabulary(tiny)
    red, blue = (eyes.prepare(encoded(color, (60, 60)), "PreparedImage") for color in ("red", "blue"))
    prompt = PromptTokenizer(tiny, vocabulary, "[IMG]").prompt([("user", ["first", red, "second", blue, "[IMG]"])])
    assert [picture.digest for _, picture in prompt.images] == [red.digest, blue.digest]
    for start, picture in prompt.images:
        assert tuple(prompt.ids[start : start + len(picture.ids)]) == picture.ids
    assert sum(i == vocabulary.control["[IMG]"] for i in prompt.ids) == 2 * 9
    units = prompt.units
    assert (units < 0).sum() == sum(len(picture.ids) for _, picture in prompt.images)
    assert red.digest != blue.digest and len(set(units[units < 0].tolist())) == (units < 0).sum()


def test_a_text_model_refuses_images(host: Host) -> None:
    failed = show(host, encoded())
    assert failed["failure"]["code"] == "unsupported" and "cannot see images" in failed["failure"]["message"]


def test_a_rotated_photo_is_turned_upright() -> None:
    picture = Image.new("RGB", (40, 20), "red")
    exif = Image.Exif()
    exif[0x0112] = 6
    out = io.BytesIO()
    picture.save(out, "JPEG", exif=exif)
    assert decode_image(out.getvalue(), "Image 1").size == (20, 40)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_four_formats_are_detected_from_content(kind: str) -> None:
    assert decode_image(encoded(kind=kind), "Image 1").size == (300, 200)


def test_transparent_parts_are_white() -> None:
    out = io.BytesIO()
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(out, "PNG")
    assert decode_image(out.getvalue(), "Image 1").getpixel((0, 0)) == (255, 255, 255)


def _giant(wide: int, high: int) -> bytes:
    """A PNG of a few bytes that claims any size."""
    head = struct.pack(">IIBBBBB", wide, high, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.threat("T18")
@pytest.mark.parametrize(
    ("data", "code"),
    [
        (_giant(100_000, 100_000), "too_large"),
        (_giant(20_000, 10), "too_large"),
        (_giant(5000, 5000), "too_large"),
        (_giant(300, 200), "bad_request"),
        (encoded()[:60], "bad_request"),
        (b"", "bad_request"),
        (encoded(kind="BMP"), "bad_request"),
        (encoded(kind="TIFF"), "bad_request"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "bad_request"),
    ],
)
def test_hostile_images_are_refused_by_name(data: bytes, code: str) -> None:
    with pytest.raises(Failure) as caught:
        decode_image(data, "Image 2")
    assert caught.value.code == code and "Image 2" in caught.value.message


@pytest.mark.threat("T18")
def test_a_bad_image_fails_only_its_request(seeing_host: Host) -> None:
    assert show(seeing_host, encoded(), b"junk")["failure"]["code"] == "bad_request"
    assert show(seeing_host, encoded(), question="?")["type"] == "end"
