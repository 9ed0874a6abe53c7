"""All images through `transformers serve` with a vision model of random weights: real tokens, a real path of images.

Its answers are noise. `pytest -m real tests/test_vision_server.py`.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from chat_server import answered
from health import free_port, wait_until_healthy
from test_radiographs import COUNT, images, read_jsonl  # noqa: F401  (a fixture)

# Llama 3's, with the place of each image.
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}<image>{% endif %}{% endfor %}{% endif %}<|eot_id|>"
    "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
# An image of 56 x 56 pixels in patches of 14 x 14.
SIDE, PATCH = 56, 14


def make_llava(folder: Path) -> Path:
    """A Llava of 0.3 million random parameters, with the mini model's tokens."""
    import torch
    from transformers import (
        AutoTokenizer,
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained("data/mini")
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    size = {"num_hidden_layers": 2, "num_attention_heads": 2}
    vision = CLIPVisionConfig(hidden_size=32, intermediate_size=64, image_size=SIDE, patch_size=PATCH, **size)
    text = LlamaConfig(vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, **size)
    image = tokenizer.convert_tokens_to_ids("<image>")
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=image)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    pixels = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    more = {"patch_size": PATCH, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    LlavaProcessor(pixels, tokenizer, chat_template=TEMPLATE, **more).save_pretrained(folder)
    return folder


@pytest.mark.real
def test_a_vision_model_answers_each_image_once(images, tmp_path, start_fork, command):  # noqa: F811
    port = free_port()
    model, output = make_llava(tmp_path / "llava"), tmp_path / "answers.jsonl"
    words = [Path(sys.executable).with_name("transformers"), "serve", model, "--device", "cpu", "--port", str(port)]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until_healthy(port, lambda: server.poll() is None)
        given = [f"reports={images}", f"output={output}", "task=radiograph", f"model={model}", "max_tokens=4"]
        given += [f"base_url=http://127.0.0.1:{port}/v1", "concurrency=2", "timeout_s=600"]
        process = start_fork("gpt_data_generate.py", *given)
        process.wait_until(lambda: len(answered(output)) >= 9)
        process.kill()
        process.communicate()
        held = len(answered(output))
        code, out, err = command("gpt_data_generate.py", *given)
    finally:
        server.kill()
        server.wait()
    assert (code, err) == (0, "") and f"{COUNT} reports, {COUNT - held} answers" in out
    rows = [row for _, row in read_jsonl(output)]
    assert [row["report_id"] for row in rows] == [f"x{number:02}" for number in range(COUNT)]
    assert len({row["images"][0] for row in rows}) == COUNT and {row["model_returned"] for row in rows} != {None}
    # One prompt for all, in which the image has its patches' tokens.
    (tokens,) = {row["usage"]["prompt_tokens"] for row in rows}
    assert tokens > (SIDE // PATCH) ** 2
