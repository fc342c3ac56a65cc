# ruff: noqa: INP001  -- a script of the image build, in no package
"""Write a tiny random Llama with its own tokenizer and chat template: a stand-in for weights, with no download.

    python tiny_model.py /models/tiny

Standard library only, and the same bytes on every machine: equal folders mean equal models.
vLLM loads it, chats, completes, streams and tokenizes with it as with any other model. What it answers are
common English words at random, about sixty of them unless `max_tokens` says less. It knows nothing: use it to
test what surrounds a model, never to judge speed or quality.
"""

import argparse
import json
import random
import struct
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

# Every word becomes one token and is what the model answers with, so text streams word by word and is always
# valid UTF-8. A vocabulary of raw bytes would answer with halves of characters.
WORDS = """
the of and to in is it you that he was for on are with as his they be at one have this from or had by hot word
but what some we can out other were all there when up use your how said an each she which do their time if will
way about many then them write would like so these her long make thing see him two has look more day could go
come did number sound no most people my over know water than call first who may down side been now find any new
work part take get place made live where after back little only round man year came show every good me give our
under name very through just form sentence great think say help low line differ turn cause much mean before move
right boy old too same tell does set three want air well also play small end put home read hand port large spell
add even land here must big high such follow act why ask men change went light kind off need house picture try
us again animal point mother world near build self earth father head stand own page should country found answer
school grow study still learn plant cover food sun four between state keep eye never last let thought city tree
cross farm hard start might story saw far sea draw left late run while press close night real life few north
""".split()  # noqa: SIM905  -- a list would take a line for each

SPECIAL_TOKENS = ("<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>")
PAD, END = SPECIAL_TOKENS[:2]

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] or [] %}{{ part['text'] if part['type'] == 'text' }}{% endfor %}"
    "{% endif %}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Shape:
    """The model's dimensions, as Llama's config.json names them."""

    hidden_size: int = 64
    """Width of the residual stream."""
    intermediate_size: int = 128
    """Width inside each feed-forward block."""
    num_hidden_layers: int = 2
    """Two, so that what differs between layers is exercised."""
    num_attention_heads: int = 2
    """Query heads."""
    num_key_value_heads: int = 1
    """Fewer than query heads: grouped-query attention, as the models people serve have it."""
    head_dim: int = 32
    """The smallest that vLLM's CPU attention kernel takes."""
    max_position_embeddings: int = 8192
    """Longest sequence in tokens, prompt and answer together."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A byte-level BPE vocabulary."""

    tokens: list[str]
    """Position is the token id: special tokens, then the 256 bytes, then merged pieces."""
    merges: list[tuple[str, str]]
    """Which two tokens join, most urgent first."""
    words: frozenset[int]
    """Ids of whole words: what the model answers with."""


def byte_alphabet() -> list[str]:
    """The printable character that byte-level BPE writes for each of the 256 bytes (GPT-2's table)."""
    printable = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    stand_ins = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(stand_ins)) for byte in range(256)]


def train_vocabulary(words: list[str]) -> Vocabulary:
    """Merge the most frequent neighbours until every word, with the space before it, is one token."""
    alphabet = byte_alphabet()
    space = alphabet[ord(" ")]
    pieces = [[space, *word] for word in dict.fromkeys(words)]
    tokens = [*SPECIAL_TOKENS, *alphabet]
    merges: list[tuple[str, str]] = []
    while pairs := Counter(pair for word in pieces for pair in pairwise(word)):
        left, right = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append((left, right))
        tokens.append(left + right)
        pieces = [list(_merged(word, left, right)) for word in pieces]
    whole = {piece for (piece,) in pieces}
    return Vocabulary(tokens, merges, frozenset(index for index, token in enumerate(tokens) if token in whole))


def _merged(word: list[str], left: str, right: str) -> Iterator[str]:
    position = 0
    while position < len(word):
        if word[position : position + 2] == [left, right]:
            yield left + right
            position += 2
        else:
            yield word[position]
            position += 1


def tensors(shape: Shape, vocabulary: Vocabulary, seed: int) -> Iterator[tuple[str, tuple[int, ...], list[float]]]:
    """Name, shape and values of every weight.

    Dimension 0 of the residual stream is the same large number at every position, since no layer writes to it.
    The output layer reads it as the bias that Llama lacks: whole words are likely, the end of the answer comes
    after some sixty tokens (at temperature 1), anything else practically never.
    """
    source = random.Random(seed)  # noqa: S311  -- weights, not secrets

    def normal(rows: int, columns: int, deviation: float) -> list[float]:
        # A sum of four uniform numbers, near enough to a normal one: `random()` is the only method whose
        # sequence Python promises to keep between versions.
        scale = deviation * 3**0.5
        return [scale * (sum(source.random() for _ in range(4)) - 2) for _ in range(rows * columns)]

    size, inner, count = shape.hidden_size, shape.intermediate_size, len(vocabulary.tokens)
    queries, keys = shape.num_attention_heads * shape.head_dim, shape.num_key_value_heads * shape.head_dim
    constant = 8.0

    embedding = normal(count, size, 1.0)
    embedding[::size] = [constant] * count
    yield "model.embed_tokens.weight", (count, size), embedding
    for layer in range(shape.num_hidden_layers):
        prefix = f"model.layers.{layer}."
        for name, rows in (("q_proj", queries), ("k_proj", keys), ("v_proj", keys)):
            yield f"{prefix}self_attn.{name}.weight", (rows, size), normal(rows, size, 0.1)
        yield (
            f"{prefix}self_attn.o_proj.weight",
            (size, queries),
            _silent_first_row(normal(size, queries, 0.2), queries),
        )
        for name in ("gate_proj", "up_proj"):
            yield f"{prefix}mlp.{name}.weight", (inner, size), normal(inner, size, 0.1)
        yield f"{prefix}mlp.down_proj.weight", (size, inner), _silent_first_row(normal(size, inner, 0.2), inner)
        for name in ("input_layernorm", "post_attention_layernorm"):
            yield f"{prefix}{name}.weight", (size,), [1.0] * size
    yield "model.norm.weight", (size,), [1.0] * size

    output = normal(count, size, 0.2)
    end = vocabulary.tokens.index(END)
    output[::size] = [0.0 if token in vocabulary.words else 0.1 if token == end else -4.0 for token in range(count)]
    yield "lm_head.weight", (count, size), output


def _silent_first_row(values: list[float], columns: int) -> list[float]:
    return [0.0] * columns + values[columns:]


def safetensors_file(weights: Iterator[tuple[str, tuple[int, ...], list[float]]]) -> bytes:
    """The weights as bfloat16 in the safetensors format: length of the header, JSON header, values."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    body = bytearray()
    for name, dimensions, values in weights:
        start = len(body)
        # bfloat16 is the upper half of a float32; little-endian, so the second pair of each four bytes.
        whole = struct.pack(f"<{len(values)}f", *values)
        half = bytearray(len(whole) // 2)
        half[0::2], half[1::2] = whole[2::4], whole[3::4]
        body += half
        header[name] = {"dtype": "BF16", "shape": dimensions, "data_offsets": [start, len(body)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + bytes(body)


def tokenizer_json(vocabulary: Vocabulary) -> dict[str, object]:
    """The `tokenizers` library's own format."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": index, "content": token, **flags} for index, token in enumerate(SPECIAL_TOKENS)],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: index for index, token in enumerate(vocabulary.tokens)},
            "merges": [list(pair) for pair in vocabulary.merges],
        },
    }


def configs(shape: Shape, vocabulary: Vocabulary) -> dict[str, dict[str, object]]:
    """The JSON files beside weights and tokenizer, by file name."""
    end, pad = vocabulary.tokens.index(END), vocabulary.tokens.index(PAD)
    return {
        "config.json": {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "dtype": "bfloat16",
            "torch_dtype": "bfloat16",
            "vocab_size": len(vocabulary.tokens),
            "hidden_size": shape.hidden_size,
            "intermediate_size": shape.intermediate_size,
            "num_hidden_layers": shape.num_hidden_layers,
            "num_attention_heads": shape.num_attention_heads,
            "num_key_value_heads": shape.num_key_value_heads,
            "head_dim": shape.head_dim,
            "max_position_embeddings": shape.max_position_embeddings,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "attention_bias": False,
            "mlp_bias": False,
            "tie_word_embeddings": False,
            "bos_token_id": None,
            "eos_token_id": end,
            "pad_token_id": pad,
        },
        "generation_config.json": {"do_sample": True, "temperature": 1.0, "eos_token_id": end, "pad_token_id": pad},
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": END,
            "pad_token": PAD,
            "additional_special_tokens": list(SPECIAL_TOKENS[2:]),
            "model_max_length": shape.max_position_embeddings,
            "clean_up_tokenization_spaces": False,
            "chat_template": CHAT_TEMPLATE,
        },
    }


def write_model(folder: Path, shape: Shape | None = None, seed: int = 0) -> None:
    """Write the whole model into `folder`, which is made when it is not there."""
    shape = shape or Shape()
    vocabulary = train_vocabulary(WORDS)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(safetensors_file(tensors(shape, vocabulary, seed)))
    for name, content in {**configs(shape, vocabulary), "tokenizer.json": tokenizer_json(vocabulary)}.items():
        (folder / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main(arguments: list[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Write a tiny random Llama to test with.")
    parser.add_argument("folder", type=Path, help="where to write it")
    parser.add_argument("--seed", type=int, default=0, help="another seed is another model (default 0)")
    options = parser.parse_args(arguments)
    write_model(options.folder, seed=options.seed)


if __name__ == "__main__":
    main(sys.argv[1:])
