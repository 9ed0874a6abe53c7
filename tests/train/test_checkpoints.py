"""Checkpoints: whole or not there, damage noticed, the newest whole one found."""

import os
import pickle
import resource
import tracemalloc
import zipfile

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from radtune.config import InputError
from radtune.train.checkpoints import checkpoint_files, load_checkpoint, newest_whole, resume_state, save_checkpoint


def state(step):
    return {
        "step": step,
        "adapter": {"a": torch.arange(1000.0) + step},
        "best": {},
        "random": [{"cpu": torch.zeros(8)}],
    }


def test_the_last_ones_stay(tmp_path):
    for step in (1, 2, 10, 100):
        save_checkpoint(tmp_path, state(step), keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_00000010.pt", "step_00000100.pt"]
    path, loaded = newest_whole(tmp_path, print)
    assert (path.stat().st_mode & 0o777, loaded["step"]) == (0o600, 100)
    assert torch.equal(loaded["adapter"]["a"], state(100)["adapter"]["a"])
    # A run that went on from an older one: what it saves is the newest then.
    save_checkpoint(tmp_path, state(20), keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000020.pt"]


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 0.999), st.booleans())
def test_damage_is_noticed_and_passed_over(tmp_path_factory, where, cut):
    folder = tmp_path_factory.mktemp("checkpoints")
    save_checkpoint(folder, state(1), keep=2)
    path = save_checkpoint(folder, state(2), keep=2)
    content = bytearray(path.read_bytes())
    place = content.index(torch.arange(1000.0).add(2).numpy().tobytes()) + int(where * 4000)
    content[place] ^= 0xFF
    path.write_bytes(content[: int(where * len(content))] if cut else content)
    said = []
    found, loaded = newest_whole(folder, said.append)
    assert loaded["step"] == 1
    assert found.name == "step_00000001.pt"
    assert said == [f"warning: {path}: truncated or damaged checkpoint; passed over"]


@pytest.mark.parametrize("packed", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_no_checkpoint_runs_code_or_fills_the_memory(tmp_path, packed):
    class Program:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    path = tmp_path / "step_00000001.pt"
    content = pickle.dumps(Program()) if packed == zipfile.ZIP_STORED else bytes(2 * 10**8)
    with zipfile.ZipFile(path, "w", packed) as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3")
    tracemalloc.start()
    for content in (path.read_bytes(), pickle.dumps(Program()), b"", b"0" * 1000):
        path.write_bytes(content)
        with pytest.raises(InputError, match="truncated or damaged checkpoint"):
            load_checkpoint(path)
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "state",
    [
        [1, "a"], torch.zeros(3), None, {}, {"decides": {}}, {"decides": {}, "step": "1"}, {"decides": [], "step": 1},
        {1: 2, "decides": 5, "step": 1},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_state_of_a_run_is_not_gone_on_with(tmp_path, state):
    torch.save(state, tmp_path / "step_00000001.pt")
    for resume in ("auto", str(tmp_path / "step_00000001.pt")):
        with pytest.raises(InputError, match=r"step_00000001\.pt: no checkpoint of this recipe"):
            resume_state(tmp_path, resume, {"seed": 0}, print)
    torch.save({"decides": {1: 2, "seed": 0}, "step": 1}, tmp_path / "step_00000001.pt")
    with pytest.raises(InputError, match="made with another 1"):
        resume_state(tmp_path, "auto", {"seed": 0}, print)


@pytest.mark.parametrize(
    "content", [b"\x80\x02]q\x00.", b"\x80\x02X", b"(I1\nI2\nu.", b"cos\nsystem\n.", b"\x80\x02h\x05.", b"0.", b"."]
)
def test_odd_pickles_are_one_line(tmp_path, content):
    path = tmp_path / "step_00000001.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3")
    with pytest.raises(InputError, match=r"damaged checkpoint|no checkpoint of this recipe"):
        resume_state(tmp_path, str(path), {}, print)


def test_nothing_there_is_no_error(tmp_path):
    assert newest_whole(tmp_path / "absent", print) == (None, {})
    with pytest.raises(InputError, match="No such file"):
        load_checkpoint(tmp_path / "step_00000001.pt")


def test_a_full_disk_leaves_the_last_one_intact(tmp_path):
    save_checkpoint(tmp_path, state(1), keep=1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(InputError, match=r"step_00000002\.pt: cannot write: File too large"):
            save_checkpoint(tmp_path, {"step": 2, "adapter": torch.zeros(100_000)}, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert checkpoint_files(tmp_path) == [tmp_path / "step_00000001.pt"]
    assert len(list(tmp_path.iterdir())) == 1
    assert load_checkpoint(tmp_path / "step_00000001.pt")["step"] == 1
