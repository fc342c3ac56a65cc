# ruff: noqa: INP001, S101, T201  -- a script of the image build, in no package: it checks and says what it found
"""Check that a model folder is what vLLM's libraries read: tokenizer, chat template, weights, configuration.

    python check_model.py /models/tiny

Runs in the image build, where transformers is; it loads the model and computes one step on the CPU.
"""

import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

SENTENCE = "Keep the light on, café ☕ 漢字"


def main(folder: str) -> None:
    """Raise where something does not fit."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.decode(tokenizer.encode(SENTENCE)) == SENTENCE, "text does not survive the tokenizer"
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello there"}]
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert prompt == "<|system|>\nBe kind.<|end|>\n<|user|>\nHello there<|end|>\n<|assistant|>\n", prompt
    tokens = tokenizer(prompt, return_tensors="pt")["input_ids"]
    assert tokens[0, 0] == tokenizer.convert_tokens_to_ids("<|system|>"), "special tokens are not recognized"

    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        chances = model(tokens).logits[0, -1].float().softmax(-1)
    likely = [tokenizer.decode([index]) for index in chances.topk(20).indices]
    assert all(word.strip().isalpha() or word == "<|end|>" for word in likely), f"words should be likeliest: {likely}"
    end = chances[tokenizer.eos_token_id].item()
    assert 1 / 400 < end < 1 / 10, f"an answer should end after some sixty tokens, chance of the end is {end}"
    size = sum(weight.numel() for weight in model.parameters())
    print(
        f"{folder}: {size} weights, vocabulary of {len(tokenizer)}, chance of the end {end:.3f}; likeliest {likely[:5]}"
    )


if __name__ == "__main__":
    main(sys.argv[1])
