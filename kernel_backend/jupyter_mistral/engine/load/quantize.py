"""A Hugging Face folder in bf16 or fp16 -> the same model in NF4, saved as safetensors, so that the next load only copies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    BitsAndBytesConfig,
)

from ...models import store
from ..text.vocabulary import write_text_tokenizer
from . import experts
from .folder import Tell, whole
from .progress import told

NF4 = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_quant_type="nf4",
    bnb_4bit_use_double_quant=True,
    bnb_4bit_compute_dtype=torch.bfloat16,
    bnb_4bit_quant_storage=torch.uint8,
)
# kept in bf16; by full name, since a bare "vision_tower" matches nothing in transformers 5
KEPT = ["lm_head", "model.vision_tower", "model.multi_modal_projector", "vision_tower", "multi_modal_projector"]
_PASSED_ON = (
    "tekken.json",
    "preprocessor_config.json",
    "processor_config.json",
    "chat_template.json",
    "chat_template.jinja",
    "SYSTEM_PROMPT.txt",
)


def model_class(config: Any) -> Any:
    """The transformers class that reads text, and pictures where the model has eyes."""
    return AutoModelForImageTextToText if hasattr(config, "vision_config") else AutoModelForCausalLM


def quantize(source: Path, out: Path, device: str, tell: Tell) -> None:
    """Write the folder `out`. The model is thrown away after: bitsandbytes may save only what has never run, and a fresh load
    frees the memory that quantizing took."""
    config = AutoConfig.from_pretrained(source)
    how = BitsAndBytesConfig(**{k: v for k, v in NF4.to_dict().items() if not k.startswith(("_", "quant_method"))})
    how.llm_int8_skip_modules = KEPT
    with whole(out) as folder:
        built, start = config, 0.0
        if experts.has_experts(config):
            experts.quantize_experts(source, folder, tell)
            built, start = experts.narrowed(config), 0.7
        with told(tell, "quantize", start, 0.8, "making the weights 4 bit"):
            model = model_class(config).from_pretrained(
                source,
                config=built,
                quantization_config=how,
                dtype=torch.bfloat16,
                device_map={"": device},
                use_safetensors=True,
                ignore_mismatched_sizes=built is not config,
            )
        with told(tell, "quantize", 0.8, 0.95, "writing the 4-bit weights"):
            if built is not config:
                experts.without(model)
            model.save_pretrained(folder, max_shard_size="4GB")
        _write_config(folder, config)
        del model
        for name in _PASSED_ON:
            if (source / name).is_file():
                shutil.copyfile(source / name, folder / name)
        if not (source / "tekken.json").is_file():
            AutoTokenizer.from_pretrained(source).save_pretrained(folder)
        write_text_tokenizer(folder)
        store.write_manifest(folder, {"quantization": "nf4", "source": source.name})


def _write_config(folder: Path, config: Any) -> None:
    """What is told of the model itself, where it was built with other settings."""
    if not experts.has_experts(config):
        return
    told = json.loads((folder / "config.json").read_text())
    true = {k: v for k, v in config.to_dict().items() if k in told and k != "quantization_config"}
    (folder / "config.json").write_text(json.dumps(told | true, indent=2))
