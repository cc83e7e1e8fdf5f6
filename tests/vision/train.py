"""Trains a Mistral3 with 250,000 weights to recognize the kind of a plot: `python tests/vision/train.py OUT`.

It has the architecture of Mistral Small 3.1 and 3.2 (Pixtral tower, projector, Mistral text model). The engine's own code
makes the pixels and prompts. The result is a bf16 folder that the engine quantizes and loads like any other. The folder
`model/` was made by this script, in about ten minutes on two CPU cores.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import mistral_common
import plots
import torch
from jupyter_mistral.engine.text.prompt_tokenizer import PromptTokenizer
from jupyter_mistral.engine.text.vocabulary import Vocabulary, write_text_tokenizer
from jupyter_mistral.engine.vision import ImagePreparer
from torch.nn.functional import cross_entropy
from transformers import (
    GenerationConfig,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    MistralConfig,
    PixtralVisionConfig,
)

BYTES, SPECIALS = 256, 64
EACH, STEPS, BATCH, RATE = 500, 700, 48, 2e-3
END = 2


def configuration() -> Mistral3Config:
    """Return the configuration. All dimensions are multiples of 64, as bitsandbytes' CPU kernels require."""
    vision = PixtralVisionConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        head_dim=32,
        patch_size=14,
        image_size=plots.SIDE,
    )
    text = MistralConfig(
        vocab_size=BYTES + SPECIALS,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=64,
        max_position_embeddings=1024,
        sliding_window=None,
        bos_token_id=1,
        eos_token_id=END,
    )
    return Mistral3Config(
        vision_config=vision.to_dict(),
        text_config=text.to_dict(),
        image_token_index=10,
        spatial_merge_size=2,
        vision_feature_layer=-1,
        tie_word_embeddings=False,
    )


def write_tekken(out: Path) -> None:
    """Write Mistral's tokenizer, reduced to single bytes, with the image settings of Mistral Small 3.1."""
    source = Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"
    data = json.loads(source.read_text())
    size = {"default_vocab_size": BYTES + SPECIALS, "num_vocab_tokens": BYTES, "default_num_special_tokens": SPECIALS}
    data["config"] |= size | {"version": "v7"}
    data["vocab"] = data["vocab"][:BYTES]
    data["special_tokens"] = [token for token in data.get("special_tokens") or [] if token["rank"] < SPECIALS] or None
    data["image"] = {"image_patch_size": 14, "max_image_size": plots.SIDE, "spatial_merge_size": 2}
    (out / "tekken.json").write_text(json.dumps(data))


def draw_all(kind: str, seeds: range) -> list[bytes]:
    return [plots.draw(kind, seed) for seed in seeds]


def make_pixels(preparer: ImagePreparer, each: int) -> torch.Tensor:
    """Return a tensor [kinds, each, 3, side, side]."""
    with ProcessPoolExecutor(2) as pool:
        images = list(pool.map(draw_all, plots.KINDS, [range(each)] * len(plots.KINDS)))
    return torch.stack([torch.cat([preparer.prepare(data, "plot").pixels for data in kind]) for kind in images])


def prompt_ids(preparer: ImagePreparer, folder: Path, vocabulary: Vocabulary) -> list[int]:
    """Return the ids of the prompt, which are the same for all plots because they have the same size."""
    image = preparer.prepare(plots.draw("bar", 0), "plot")
    return PromptTokenizer(folder, vocabulary, "[IMG]").prompt([("user", [image, plots.QUESTION])]).ids


def train(
    model: Mistral3ForConditionalGeneration,
    pixels: torch.Tensor,
    prompt: list[int],
    answers: list[list[int]],
    steps: int,
    batch: int,
) -> Iterator[float]:
    """Train; yield the loss of each step."""
    longest = max(map(len, answers))
    padded = torch.tensor([answer + [END] * (longest - len(answer)) for answer in answers])
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    start = torch.tensor(prompt)
    for _ in range(steps):
        kinds, which = torch.randint(len(pixels), (batch,)), torch.randint(pixels.shape[1], (batch,))
        ids = torch.cat([start.expand(batch, -1), padded[kinds]], 1)
        images = augment(pixels[kinds, which])
        sizes = torch.tensor([images.shape[-2:]] * batch)
        scores = model(input_ids=ids[:, :-1], pixel_values=images, image_sizes=sizes).logits[:, len(prompt) - 1 :]
        loss = cross_entropy(scores.flatten(0, 1), padded[kinds].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        yield loss.item()


def augment(images: torch.Tensor) -> torch.Tensor:
    """Shift by up to 6 pixels, mirror, change colours: none of these changes the kind of a plot."""
    right, down = torch.randint(-6, 7, (2,)).tolist()
    images = images.roll((down, right), (2, 3))
    if torch.rand(()) < 0.5:
        images = images.flip(3)
    images = images[:, torch.randperm(3)]
    return images * (0.6 + 0.5 * torch.rand(len(images), 1, 1, 1)) + 0.2 * torch.randn(len(images), 3, 1, 1)


def build(out: Path, each: int = EACH, steps: int = STEPS, batch: int = BATCH) -> list[float]:
    """Write the folder `out`; return the losses."""
    torch.manual_seed(0)
    out.mkdir(parents=True, exist_ok=True)
    write_tekken(out)
    write_text_tokenizer(out)
    config, vocabulary = configuration(), Vocabulary(out)
    preparer = ImagePreparer(out, config, vocabulary.control_id)
    model = Mistral3ForConditionalGeneration(config)
    prompt = prompt_ids(preparer, out, vocabulary)
    answers = [[*vocabulary.ids(kind), END] for kind in plots.KINDS]
    losses = []
    for loss in train(model, make_pixels(preparer, each), prompt, answers, steps, batch):
        losses.append(loss)
        if len(losses) % 50 == 0:
            print(f"step {len(losses)}: loss {sum(losses[-50:]) / 50:.4f}", flush=True)
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=END)
    model.to(torch.bfloat16).save_pretrained(out)
    return losses


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    build(parser.parse_args().out)
