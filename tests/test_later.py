"""What is kept out of a process's start is there when it is used."""

import subprocess
import sys

import pytest

START = """
import sys
import radtune
import torch
from torchtune import training
from torchtune.data._utils import load_dataset
from radtune.engines.local import TorchtuneEngine
from radtune.train.distributed import whole

HEAVY = ("datasets", "sympy", "torch._inductor", "torch.distributed.fsdp", "torch.distributed.tensor", "torchao")

def heavy():
    return [name for name in HEAVY if name in sys.modules]
"""

NOT_COMPILED = """
layer = torch.nn.Linear(4, 4)
optimizer = torch.optim.AdamW(layer.parameters())
layer(torch.ones(1, 4)).sum().backward()
optimizer.step()
optimizer.zero_grad()
assert whole([layer.weight])[0].shape == (4, 4)
assert heavy() == [], heavy()
"""

COMPILED = """
@torch.compiler.disable
def apart(x):
    return x + 1

assert apart(torch.ones(1)) == 2
graphs = []

def backend(graph, inputs):
    graphs.append(graph)
    return graph.forward

assert torch.compile(lambda x: apart(x * 2) * 3, backend=backend)(torch.ones(1)) == 9
assert len(graphs) == 2  # the function between them is left out
import torch._dynamo.config
assert torch._dynamo.config.recompile_limit
"""

USED = """
from torchao.dtypes.nf4tensor import NF4Tensor, to_nf4
from radtune.train import distributed
weight = to_nf4(torch.ones(256, 256))
assert isinstance(weight, NF4Tensor) and not isinstance(weight, distributed.DTensor)
assert heavy() == [], heavy()
torch.distributed.init_process_group("gloo", init_method="tcp://127.0.0.1:0", rank=0, world_size=1)
mesh = torch.distributed.init_device_mesh("cpu", (1,))
sharded = distributed.distribute_tensor(torch.ones(2), mesh)
assert isinstance(sharded, distributed.DTensor) and not isinstance(torch.ones(2), distributed.DTensor)
assert distributed.whole(sharded).tolist() == [1, 1]
assert load_dataset("json", data_files=sys.argv[1], split="train")[0] == {"a": 1}
import torchao
assert training._activation_offloading.torchao.__version__ == torchao.__version__
assert torchao.dtypes.NF4Tensor is torchao.dtypes.nf4tensor.NF4Tensor is NF4Tensor
assert training.get_quantizer_mode(None) is None
assert not any(type(module).__name__ == "_Later" for module in sys.modules.values())
"""

# Where torchtune finds a GPU, it compiles a function while it is being imported.
AT_IMPORT = """
import sys
import radtune
import torch
torch.cuda.is_available, torch.cuda.get_device_capability = lambda: True, lambda *device: (9, 0)
from torchtune import training
from radtune.train.distributed import FSDPModule
import torch.distributed.fsdp
assert FSDPModule is torch.distributed.fsdp.FSDPModule
"""


@pytest.mark.parametrize("code", [START + NOT_COMPILED + USED + COMPILED, AT_IMPORT], ids=["when used", "at import"])
def test_kept_out_until_it_is_used(code, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"a": 1}\n')
    done = subprocess.run([sys.executable, "-c", code, rows], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
