"""The benchmarks of inference, in their smallest form: both sides answer alike, and each part says what it counted."""

import json
import re


def test_all_parts_say_what_they_measured(succeeds, adapters) -> None:
    parts = "what=[speed,closed,classes,adapters,parity,valid]"
    sizes = ("reports=1", "runs=1", "batch_size=2", "parity_reports=2", "valid_reports=3")
    two = f"adapters=[{adapters[0]},{adapters[1]}]"
    said = succeeds("benchmarks/bench_inference.py", parts, *sizes, two).stdout
    assert re.findall(r"(\w+) +\d+\.\d reports/s", said)[:3] == ["one_at_a_time", "transformers", "ours"]
    assert said.count("constrained, batch") == 2
    assert re.findall(r"(\d+) classes: (\d of \d) parse", said) == [("13", "3 of 3"), ("133", "3 of 3")]
    assert said.count("valid: 3 of 3 answers") == 2
    assert re.findall(r"(\d+)(?: answers)? differ", said) == ["0"] * 9, said  # of adapters, and of parity's eight


def test_on_a_cpu_all_engines_write_the_same(succeeds) -> None:
    said = succeeds("benchmarks/bench_inference_gpu.py", "device=cpu", "reports=1", "batch_sizes=[1]").stdout
    figures = [json.loads(line) for line in said.splitlines()[1:]]
    assert [one["engine"].split()[-1] for one in figures] == ["engine", "generate", "continuous"]
    assert all(one["answers_as_the_first"] == 1 for one in figures)
