"""The tiny model: what its files hold, and that they are the same everywhere."""

import hashlib
import importlib.util
import json
import struct
import sys
from pathlib import Path
from types import ModuleType

import pytest

ENGINE = Path(__file__).parents[3] / "inference" / "engine"


def script(name: str) -> ModuleType:
    """A script of the image build, which is in no package, as a module."""
    spec = importlib.util.spec_from_file_location(f"engine_{name}", ENGINE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


tiny_model = script("tiny_model")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model as the image has it."""
    path = tmp_path_factory.mktemp("models") / "tiny"
    tiny_model.main([str(path)])
    return path


def tensors(path: Path) -> dict[str, tuple[list[int], bytes]]:
    """Shape and bytes of every weight, read by the format's own definition."""
    raw = (path / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header, body = json.loads(raw[8 : 8 + length]), raw[8 + length :]
    del header["__metadata__"]
    assert {entry["dtype"] for entry in header.values()} == {"BF16"}
    return {
        name: (entry["shape"], body[entry["data_offsets"][0] : entry["data_offsets"][1]])
        for name, entry in header.items()
    }


def test_weights_are_the_same_on_every_machine(folder: Path) -> None:
    """A change of these bytes changes what every recorded answer was: do it on purpose."""
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert digest.startswith("47c890c5271ca0bc")
    assert sum(file.stat().st_size for file in folder.iterdir()) < 500_000


def test_another_seed_is_another_model_of_the_same_form(folder: Path, tmp_path: Path) -> None:
    """Only weights differ, and all names and shapes stay."""
    tiny_model.main([str(tmp_path), "--seed", "1"])
    here, there = tensors(folder), tensors(tmp_path)
    assert {name: shape for name, (shape, _) in here.items()} == {name: shape for name, (shape, _) in there.items()}
    assert here["lm_head.weight"] != there["lm_head.weight"]
    assert (folder / "tokenizer.json").read_bytes() == (tmp_path / "tokenizer.json").read_bytes()


def test_every_weight_that_the_configuration_promises_is_there(folder: Path) -> None:
    """Names and shapes follow Llama's for the dimensions in config.json, and no byte is left over."""
    config = json.loads((folder / "config.json").read_text())
    size, inner, vocabulary = (config[key] for key in ("hidden_size", "intermediate_size", "vocab_size"))
    queries = config["num_attention_heads"] * config["head_dim"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    expected = {
        "model.embed_tokens.weight": [vocabulary, size],
        "model.norm.weight": [size],
        "lm_head.weight": [vocabulary, size],
    }
    for layer in range(config["num_hidden_layers"]):
        shapes = {
            "self_attn.q_proj": [queries, size],
            "self_attn.k_proj": [keys, size],
            "self_attn.v_proj": [keys, size],
            "self_attn.o_proj": [size, queries],
            "mlp.gate_proj": [inner, size],
            "mlp.up_proj": [inner, size],
            "mlp.down_proj": [size, inner],
            "input_layernorm": [size],
            "post_attention_layernorm": [size],
        }
        expected |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in shapes.items()}
    found = tensors(folder)
    assert {name: shape for name, (shape, _) in found.items()} == expected
    for shape, raw in found.values():
        assert len(raw) == 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)


def test_numbers_are_written_as_bfloat16() -> None:
    """The upper half of a float32: 1.0 is 0x3F80, -2.0 is 0xC000, little-endian."""
    raw = tiny_model.safetensors_file(iter([("w", (3,), [1.0, -2.0, 0.0])]))
    assert raw[-6:] == bytes([0x80, 0x3F, 0x00, 0xC0, 0x00, 0x00])


def test_vocabulary_has_every_byte_and_every_word_once(folder: Path) -> None:
    """Any text can be written, a word with the space before it is one token, ids are dense."""
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    vocabulary = model["vocab"]
    assert sorted(vocabulary.values()) == list(range(len(vocabulary)))
    assert set(tiny_model.byte_alphabet()) <= set(vocabulary)
    assert len(set(tiny_model.byte_alphabet())) == 256
    assert all("Ġ" + word in vocabulary for word in tiny_model.WORDS)
    assert all(left + right in vocabulary for left, right in model["merges"])


def test_configuration_names_the_end_of_an_answer_as_the_tokenizer_does(folder: Path) -> None:
    """eos_token_id of config and generation config is the id of the token that the chat template writes."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    end = next(token["id"] for token in tokenizer["added_tokens"] if token["content"] == "<|end|>")
    assert tokenizer["model"]["vocab"]["<|end|>"] == end
    for name in ("config.json", "generation_config.json"):
        assert json.loads((folder / name).read_text())["eos_token_id"] == end
    assert "<|end|>" in json.loads((folder / "tokenizer_config.json").read_text())["chat_template"]


def test_transformers_reads_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The image build's own check: tokenizer, chat template, weights, one step."""
    for name in ("transformers", "torch"):
        pytest.importorskip(name, reason=f"{name} is in the engine's image only, whose build runs this check")
    script("check_model").main(str(folder))
    assert "weights" in capsys.readouterr().out
