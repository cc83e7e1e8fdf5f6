"""Cuts a GGUF file of the llama layout to its first layers and tokens: real weights that convert in a moment."""

from __future__ import annotations

from pathlib import Path

WORDS = 2048


def build(out: Path, source: Path, layers: int = 2) -> Path:
    """Write the file `out`, in a folder of its own, and return it."""
    import gguf

    out.parent.mkdir(parents=True, exist_ok=True)
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(out, "llama")
    words = reader.fields["tokenizer.ggml.tokens"].contents()[:WORDS]
    known = set(words)
    changed = {
        "llama.block_count": lambda _: layers,
        "llama.vocab_size": lambda _: WORDS,
        "tokenizer.ggml.tokens": lambda _: words,
        "tokenizer.ggml.token_type": lambda kinds: kinds[:WORDS],
        "tokenizer.ggml.merges": lambda pairs: [pair for pair in pairs if pair.replace(" ", "") in known],
    }
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture":
            value = changed.get(name, lambda same: same)(field.contents())
            writer.add_key_value(name, value, field.types[0], field.types[-1] if len(field.types) > 1 else None)
    kept = {
        tensor.name: (tensor.data[:WORDS] if tensor.name == "token_embd.weight" else tensor.data, tensor.tensor_type)
        for tensor in reader.tensors
        if not tensor.name.startswith("blk.") or int(tensor.name.split(".")[1]) < layers
    }
    for name, (data, kind) in kept.items():
        writer.add_tensor_info(name, data.shape, data.dtype, data.nbytes, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for data, _ in kept.values():
        writer.write_tensor_data(data)
    writer.close()
    return out
