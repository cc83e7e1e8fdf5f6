"""Builds a tiny Mistral3 with random weights, eyes and a Tekken tokenizer: `python tests/engine/tiny_mistral3.py OUT`.

The real architecture of Mistral Small 3.1 and 3.2 at 2 M parameters, as a bf16 safetensors folder. All dimensions are
multiples of 64, which bitsandbytes' CPU kernels need. The vocabulary is cut from the one that mistral-common carries.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import mistral_common
import torch
from transformers import (
    GenerationConfig,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    MistralConfig,
    PixtralVisionConfig,
)

WORDS, SPECIALS = 4096, 1000


def build(out: Path, seed: int = 0) -> Path:
    """Write the folder `out` and return it."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    vision = PixtralVisionConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        head_dim=32,
        patch_size=14,
        image_size=1540,
    )
    text = MistralConfig(
        vocab_size=WORDS + SPECIALS,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=64,
        max_position_embeddings=4096,
        sliding_window=None,
        bos_token_id=1,
        eos_token_id=2,
    )
    config = Mistral3Config(
        vision_config=vision.to_dict(),
        text_config=text.to_dict(),
        image_token_index=10,
        spatial_merge_size=2,
        vision_feature_layer=-1,
        tie_word_embeddings=False,
    )
    model = Mistral3ForConditionalGeneration(config).to(torch.bfloat16)
    with torch.no_grad():  # random weights of the usual size give flat scores; steeper ones make choices stable
        for name, weight in model.named_parameters():
            if weight.dim() == 2 and "embed" not in name:
                weight.mul_(3)
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2)
    model.save_pretrained(out)
    (out / "tekken.json").write_text(json.dumps(_tekken()))
    return out


def _tekken() -> dict[str, object]:
    """Version 7 with the picture settings of Mistral Small 3.1."""
    source = Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"
    data: dict[str, object] = json.loads(source.read_text())
    config = dict(data["config"])  # type: ignore[call-overload]  # JSON
    data["config"] = config | {"version": "v7", "default_vocab_size": WORDS + SPECIALS, "num_vocab_tokens": WORDS}
    data["vocab"] = data["vocab"][:WORDS]  # type: ignore[index]  # JSON
    data["image"] = {"image_patch_size": 14, "max_image_size": 1540, "spatial_merge_size": 2}
    return data


if __name__ == "__main__":
    print(build(Path(sys.argv[1])))
