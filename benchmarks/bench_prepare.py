"""Measures report preparation: MIMIC-CXR's zip layout, made of synthetic reports, read by the real command.

    python benchmarks/bench_prepare.py
    python benchmarks/bench_prepare.py count=227835 sample=100000

Prints reports per second, wall and CPU time, and the peak resident memory of the command's process.
"""

import os
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

from radtune.command import run_command
from radtune.config import InputError, key
from radtune.progress import progress
from radtune.report import Report
from radtune.sources.synthetic import generate

COMMAND = Path(__file__).parents[1] / "scripts" / "prepare_reports.py"


@dataclass
class BenchConfig:
    """Keys of this command."""

    count: int = key("How many reports the zip holds.", 100_000)
    sample: int | None = key("How many of them to draw; all if left out.", None)
    seed: int = key("Seed of the reports.", 0)


def main(config: BenchConfig) -> None:
    """Makes the zip, runs the command on it, prints what it took."""
    with tempfile.TemporaryDirectory() as folder:
        archive, output = Path(folder) / "mimic-cxr-reports.zip", Path(folder) / "reports.jsonl"
        write_mimic_zip(archive, config.count, config.seed)
        print(f"{config.count:,} reports, {archive.stat().st_size / 1e6:,.0f} MB packed")
        arguments = ["source=mimic_cxr", f"input={archive}", f"output={output}"]
        if config.sample is not None:
            arguments.append(f"sample={config.sample}")
        started = time.perf_counter()
        process = os.posix_spawn(sys.executable, [sys.executable, str(COMMAND), *arguments], os.environ)
        _, status, usage = os.wait4(process, 0)
        seconds = time.perf_counter() - started
        if status:
            raise InputError(f"{COMMAND.name} failed with exit code {os.waitstatus_to_exitcode(status)}")
        cpu_seconds = usage.ru_utime + usage.ru_stime
        mebibytes = usage.ru_maxrss / 1024  # Linux counts kibibytes
        print(f"{config.count / seconds:,.0f} reports/s, {seconds:.1f} s wall, {cpu_seconds:.1f} s CPU")
        print(f"{mebibytes:,.0f} MiB peak, {output.stat().st_size / 1e6:,.0f} MB of reports.jsonl")


def write_mimic_zip(path: Path, count: int, seed: int) -> None:
    """Writes synthetic reports as PhysioNet packs MIMIC-CXR: ``files/p10/p10000000/s50000000.txt`` and so on."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for index, made in enumerate(progress(generate(count, seed), "reports", count)):
            subject, study = 10_000_000 + index // 3, 50_000_000 + index
            archive.writestr(f"files/p{subject // 1_000_000}/p{subject}/s{study}.txt", mimic_layout(made.report))


def mimic_layout(report: Report) -> str:
    """A report under the headings, indents and blank lines of MIMIC-CXR's files."""
    sections = [("EXAMINATION", "CHEST (PA AND LAT)"), ("INDICATION", "___ year old with cough  // acute process?")]
    sections += [("COMPARISON", "___"), ("FINDINGS", report.findings), ("IMPRESSION", report.impression)]
    blocks = [f" {name}: \n \n {body}" for name, body in sections if body]
    return " " * 33 + "FINAL REPORT\n" + "\n \n".join(blocks).replace(". ", ".\n ") + "\n"


if __name__ == "__main__":
    run_command(main, BenchConfig)
