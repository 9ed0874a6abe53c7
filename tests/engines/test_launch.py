"""Servers that are started here end with whoever started them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from radtune.config import InputError
from radtune.engines.launch import LLAMA_CPP, serving
from radtune.models.gguf_writing import write_gguf

STARTS = """
import sys, time
from pathlib import Path
from radtune.engines.launch import serving
with serving("llama.cpp", Path(sys.argv[1]), 512, Path(sys.argv[2])) as server:
    print(server.base_url, flush=True)
    while True:
        time.sleep(0.1)
"""


def servers_with(path):
    """The processes whose command line names a file."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if str(path).encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_server_ends_with_the_process_that_started_it(tmp_path, number):
    path = tmp_path / "mini.gguf"
    write_gguf(Path("data/mini"), path, "F16")
    words = [sys.executable, "-c", STARTS, path, tmp_path / "log"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=os.environ)
    try:
        assert process.stdout.readline().startswith(b"http://127.0.0.1:")
        assert len(servers_with(path)) == 3  # who started it, who looks after it, and it
    finally:
        process.send_signal(number)
        process.wait()
    until = time.monotonic() + 600
    while servers_with(path) and time.monotonic() < until:
        time.sleep(0.1)
    assert servers_with(path) == []


def test_a_server_that_cannot_start_is_an_error_with_its_log(tmp_path):
    (tmp_path / "none.gguf").write_bytes(b"GGUF")
    told = pytest.raises(InputError, match=r"llama.cpp with .*none.gguf ended before it answered; see .*log")
    with told, serving(LLAMA_CPP, tmp_path / "none.gguf", 512, tmp_path / "log"):
        pytest.fail("it answered")
    assert (tmp_path / "log").stat().st_mode & 0o077 == 0
    assert (tmp_path / "log").stat().st_size > 0


def test_a_model_that_is_not_there_is_one_line():
    words = [sys.executable, "-m", "radtune.engines.launch", LLAMA_CPP]
    for given, said in (["nowhere.gguf", "4096", "8080"], "nowhere.gguf: no such file\n"), ([], "give MODEL.gguf"):
        ended = subprocess.run([*words, *given], capture_output=True, text=True, timeout=60)
        assert ended.returncode == 1 and ended.stderr.startswith(said) and ended.stderr.count("\n") == 1
