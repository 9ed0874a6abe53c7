"""The mini model's copies, asked for real: in our engine, and as GGUF in llama.cpp's server."""

from pathlib import Path

import pytest
import torch

from radtune.files import write_jsonl
from radtune.models.checkpoint import fresh_adapter, load_trainable, open_model
from radtune.models.export import FineTuned, export
from radtune.score.copies import read_copies
from radtune.sources.table import read_any_reports

SCRIPT = "scripts/verify_model.py"
LORA = {
    "lora_attn_modules": ["q_proj", "v_proj"], "apply_lora_to_mlp": False, "apply_lora_to_output": False,
    "lora_rank": 4, "lora_alpha": 8, "lora_dropout": 0.0, "quantize_base": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """What a training of the mini model leaves: an adapter that changes a little, and the merged model."""
    base = open_model(Path("data/mini"))
    start = fresh_adapter(load_trainable(base, LORA, torch.device("cpu"), torch.float32, 0), 0)
    torch.manual_seed(0)
    tensors = {name: tensor if "lora_a" in name else 0.01 * torch.randn_like(tensor) for name, tensor in start.items()}
    folder = tmp_path_factory.mktemp("training")
    list(export(folder, FineTuned(base, tensors, LORA, torch.float32), "", merged=True, torchtune=False))
    return folder


def test_a_copy_is_asked_of_its_server_once(training, tmp_path, command):
    """All copies of a real model are in tests/test_real_model.py; loading our engine takes longer than all of this."""
    task = tmp_path / "own.yaml"
    task.write_text(Path("configs/tasks/multiple_choice.yaml").read_text())
    reports, output = tmp_path / "reports.jsonl", tmp_path / "out"
    write_jsonl(reports, list(read_any_reports(Path("data/synthetic_reports.jsonl")))[:8])
    keys = (f"task={task}", f"reports={reports}", f"training_dir={training}", "limit=5", f"output={output}")
    code, printed, said = command(SCRIPT, *keys, "copies=[gguf_Q8_0]")
    assert code == 0, said
    found = read_copies(output / "copies.json")
    (copy,) = found.copies
    assert (copy.name, copy.flipped, copy.unread, found.n_reports, found.gold) == ("gguf_Q8_0", 0, 0, 5, None)
    assert copy.named > 0 and "gguf_Q8_0" in printed
    assert 2**21 < copy.cost.disk_bytes < 2**23 and copy.cost.peak_bytes > 2**25 and copy.cost.reports_per_s > 0
    # Once more: nothing is run, and the same comes out; beside it, what cannot be asked.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("radtune.ask.copies._run", None)
        patch.setenv("PATH", "")
        code, printed, said = command(SCRIPT, *keys, "copies=[gguf_Q8_0, vllm]")
        assert code == 1 and "not asked: vllm: no vllm on the PATH" in printed, said
        assert read_copies(output / "copies.json").copies == found.copies
        # Nor are answers to another question taken for those to this one.
        task.write_text(f"{task.read_text()}title: Another\n")
        with pytest.raises(TypeError):
            command(SCRIPT, *keys, "copies=[gguf_Q8_0]")


def test_what_cannot_be_asked_is_said(training, tmp_path, command):
    keys = ("task=multiple_choice", "reports=data/synthetic_reports.jsonl", f"output={tmp_path / 'out'}")
    # Gold may have its ids in a column that the reports have not.
    (tmp_path / "gold.csv").write_text("NOTE_ID,labels\nmimic-0-000000,Edema\n")
    keys += (f"gold={tmp_path / 'gold.csv'}", "id_column=NOTE_ID")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", "")
        code, _, said = command(SCRIPT, *keys, f"training_dir={training}", "copies=[vllm]")
    assert code == 2 and "no copy could be asked: no vllm on the PATH" in said
    code, _, said = command(SCRIPT, *keys, f"training_dir={tmp_path}")
    assert code == 2 and "merged/config.json: No such file" in said
