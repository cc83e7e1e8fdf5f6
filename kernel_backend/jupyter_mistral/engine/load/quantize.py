"""Quantizes a Hugging Face folder in bf16 or fp16 to NF4 and saves it as safetensors, so that the next load only copies."""

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
from .folder import Report, write_folder
from .progress import report_progress

NF4 = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_quant_type="nf4",
    bnb_4bit_use_double_quant=True,
    bnb_4bit_compute_dtype=torch.bfloat16,
    bnb_4bit_quant_storage=torch.uint8,
)
# stay in bf16; by full name too, since a bare "vision_tower" matches nothing in transformers 5
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
    """The transformers class for text, or for text and images where the model has vision."""
    return AutoModelForImageTextToText if hasattr(config, "vision_config") else AutoModelForCausalLM


def quantize(source: Path, out: Path, device: str, report: Report) -> None:
    """Write the folder `out`. The model is then dropped: bitsandbytes can only save a model that has never run, and loading it
    again frees the memory that quantizing took."""
    config = AutoConfig.from_pretrained(source)
    settings = BitsAndBytesConfig(**{k: v for k, v in NF4.to_dict().items() if not k.startswith(("_", "quant_method"))})
    settings.llm_int8_skip_modules = KEPT
    with write_folder(out) as folder:
        built, start = config, 0.0
        if experts.has_experts(config):
            experts.quantize_experts(source, folder, report)
            built, start = experts.with_narrow_experts(config), 0.7
        with report_progress(report, "quantize", start, 0.8, "quantizing to 4-bit"):
            model = model_class(config).from_pretrained(
                source,
                config=built,
                quantization_config=settings,
                dtype=torch.bfloat16,
                device_map={"": device},
                use_safetensors=True,
                ignore_mismatched_sizes=built is not config,
            )
        with report_progress(report, "quantize", 0.8, 0.95, "writing the 4-bit weights"):
            if built is not config:
                experts.remove_experts(model)
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
    """Restore the model's own settings where it was built with narrow experts."""
    if not experts.has_experts(config):
        return
    written = json.loads((folder / "config.json").read_text())
    own = {k: v for k, v in config.to_dict().items() if k in written and k != "quantization_config"}
    (folder / "config.json").write_text(json.dumps(written | own, indent=2))
