"""A model folder as GGUF: read back it is the same model; llama.cpp reads and answers prompts as our engine does."""

import json
import shutil
import unicodedata
from pathlib import Path

import httpx2
import numpy as np
import pytest
from safetensors.torch import load_file
from tokenizers import Tokenizer

from radtune.config import InputError
from radtune.engines.launch import LLAMA_CPP, serving
from radtune.models.checkpoint import open_model
from radtune.models.gguf import SPLITS, GgufModel
from radtune.models.gguf_writing import FILE_TYPES, modelfile, write_gguf
from radtune.models.tokenizer import prompt_tokens

MINI = Path("data/mini")
# Where tokenizers part: digits, blanks, marks, other scripts, what is no letter, and nothing.
ODD = (
    "Heart size normal. 12 mm nodule, 3.5 x 2 cm; T12.", "Köln — naïve ½ 2024 １２ ² №", "\t\r\n  x \n\n\n y  ",
    "I'LL don't WE'RE", "🙂🙃 e\u0301 ça \u00a0\u2009z\u200b", "胸部 X線: 異常なし。 Сердце", "a" * 300, " ",
    "\x7f\x01", "#### ___ ----- </s> <|x|> [INST]",
)  # fmt: skip


def ask(base_url, path, body):
    url = base_url.removesuffix("/v1") + path
    return httpx2.post(url, json=body, timeout=600, trust_env=False).raise_for_status().json()


def tokens_of(base_url, text):
    return ask(base_url, "/tokenize", {"content": text, "add_special": False, "parse_special": True})["tokens"]


@pytest.fixture(scope="module")
def mini(tmp_path_factory):
    """llama.cpp's server with the mini model, and its prompts by our tokenizer."""
    folder = tmp_path_factory.mktemp("gguf")
    write_gguf(MINI, folder / "mini.gguf", "F16")
    with serving(LLAMA_CPP, folder / "mini.gguf", 4096, folder / "log") as server:
        yield server.base_url


def test_prompts_have_the_tokens_that_they_have_in_training(mini):
    tokenizer = open_model(MINI).tokenizer()
    for text in ODD:
        if "<|" not in text:
            assert tokens_of(mini, text) == tokenizer.encode(text, add_bos=False, add_eos=False), repr(text)
    message = f"Which findings?\n\n{ODD[0]}"
    chat = {"messages": [{"role": "user", "content": message}]}
    assert tokens_of(mini, ask(mini, "/apply-template", chat)["prompt"]) == prompt_tokens(tokenizer, message)


@pytest.mark.parametrize("split", [name for name in SPLITS if name != "llama-bpe"])
def test_other_ways_to_split_texts_are_llama_cpps_too(tmp_path, split):
    folder = Path(shutil.copytree(MINI, tmp_path / "mini"))
    content = json.loads((MINI / "tokenizer.json").read_text())
    content |= {"pre_tokenizer": SPLITS[split], "normalizer": {"type": "NFC"} if split == "qwen2" else None}
    content["model"]["ignore_merges"] = False
    (folder / "tokenizer.json").write_text(json.dumps(content))
    write_gguf(folder, tmp_path / "mini.gguf", "Q8_0")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    with serving(LLAMA_CPP, tmp_path / "mini.gguf", 512, tmp_path / "log") as server:
        for text in ODD:
            # llama.cpp composes no letters.
            text = unicodedata.normalize("NFC", text)
            expected = tokenizer.encode(text, add_special_tokens=False).ids
            assert tokens_of(server.base_url, text) == expected, repr(text)


@pytest.mark.parametrize("kind", FILE_TYPES)
def test_what_is_written_is_read_as_the_same_model(tmp_path, kind):
    write_gguf(MINI, tmp_path / "mini.gguf", kind)
    model = GgufModel(tmp_path / "mini.gguf")
    model.write(tmp_path / "mini", "")
    before, after = (load_file(folder / "model.safetensors") for folder in (MINI, tmp_path / "mini"))
    assert before.keys() == after.keys()
    for name, weight in before.items():
        # By the root of the mean square, what each type is off on weights that are all alike likely.
        limit = {"F16": 1e-3, "Q8_0": 0.01, "Q6_K": 0.03, "Q5_K": 0.05, "Q4_K": 0.1, "Q4_0": 0.12}[kind]
        off = (after[name].float() - weight.float()).norm() / weight.float().norm()
        assert off <= limit, (name, off)
    ours, theirs = (json.loads((folder / "config.json").read_text()) for folder in (MINI, tmp_path / "mini"))
    alike = set(ours) & set(theirs) - {"dtype", "eos_token_id"}
    assert {name: ours[name] for name in alike} == {name: theirs[name] for name in alike}
    assert len(alike) > 15 and set(theirs["eos_token_id"]) <= set(ours["eos_token_id"])
    vocabularies = [json.loads((folder / "tokenizer.json").read_text()) for folder in (MINI, tmp_path / "mini")]
    for part in ("pre_tokenizer", "decoder", "added_tokens"):
        assert vocabularies[0][part] == vocabularies[1][part]
    assert vocabularies[0]["model"]["vocab"] == vocabularies[1]["model"]["vocab"]


def test_ollama_gets_the_prompt_of_training_and_its_stops():
    text = modelfile(MINI, Path("x/mini.gguf"))
    (tokenizer,) = [open_model(MINI).tokenizer()]
    before, after = text.split('"""')[1].removesuffix("{{ .Response }}").split("{{ .Prompt }}")
    framed = tokenizer.decode(prompt_tokens(tokenizer, "Name them."), skip_special_tokens=False)
    assert f"{before}Name them.{after}" == framed
    assert text.startswith("FROM ./mini.gguf\n") and 'PARAMETER stop "<|eot_id|>"\n' in text


def test_what_llama_cpp_would_read_otherwise_is_refused(tmp_path, command):
    folder = Path(shutil.copytree(MINI, tmp_path / "mini"))
    output = tmp_path / "out" / "mini.gguf"
    content = json.loads((MINI / "tokenizer.json").read_text())
    for change, message in (
        ({"pre_tokenizer": None}, "splits text as no model that is known here"),
        ({"normalizer": {"type": "Lowercase"}}, "splits text as no model"),
        ({"model": {"type": "Unigram"}}, "not a tokenizer of byte pairs"),
    ):
        (folder / "tokenizer.json").write_text(json.dumps(content | change))
        with pytest.raises(InputError, match=message):
            write_gguf(folder, output, "F16")
    assert list(output.parent.iterdir()) == []
    (folder / "tokenizer.json").write_text(json.dumps(content))
    config = json.loads((MINI / "config.json").read_text())
    for change, message in (
        ({"num_hidden_layers": 5}, "9 weights are missing"),
        ({"num_attention_heads": 4}, "head_dim is not hidden_size over"),
        ({"rms_norm_eps": "small"}, "rms_norm_eps is no number"),
    ):
        (folder / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(InputError, match=message):
            write_gguf(folder, output, "F16")
    code, _, said = command("scripts/export_gguf.py", f"checkpoint_dir={MINI}", f"output={tmp_path / 'x.bin'}")
    assert code == 2 and "ends in .gguf" in said
    code, printed, said = command("scripts/export_gguf.py", f"checkpoint_dir={MINI}", f"output={output}", "type=Q8_0")
    assert code == 0 and "written to" in printed, said
    names = {path.name for path in output.parent.iterdir()}
    assert names == {"mini.gguf", "mini.Modelfile", "mini.gguf.manifest.json"}
    assert output.stat().st_mode & 0o077 == 0
    assert np.fromfile(output, "S4", 1)[0] == b"GGUF"
