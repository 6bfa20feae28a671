"""The fuzzer: its valid files are read, damage is refused by name, and what breaks the bounds is reported and kept."""

import importlib
import random
import sys
import time
from pathlib import Path

import pytest

from geometry import readers


@pytest.fixture(scope="module")
def fuzz():
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
    try:
        yield importlib.import_module("fuzz")
    finally:
        sys.path.pop(0)


def reader_names():
    return ["ply", "truedepth", "obj", "stl", "off", "gltf", "pcd", "png", "sidecar", "npz", "landmarks"]


@pytest.mark.parametrize("reader", reader_names())
def test_damage_of_any_kind_is_refused_by_a_message_that_a_check_has_written(fuzz, reader, tmp_path, capsys):
    assert set(reader_names()) == set(fuzz.SEEDS)
    assert fuzz.run_reader(reader, 120, 5, tmp_path) == 0
    assert " 0 unforeseen" in capsys.readouterr().out and not list(tmp_path.iterdir())


@pytest.mark.parametrize("fault", ["crash", "hang", "memory"])
def test_what_breaks_a_bound_is_reported_and_kept(fuzz, fault, tmp_path, monkeypatch, capsys):
    def broken(data, *given, **named):
        if fault == "crash":
            raise KeyError("x")
        if fault == "hang":
            began = time.process_time()
            while time.process_time() - began < 0.2:
                pass
        else:
            bytearray(40 << 20)

    seeds = fuzz.SEEDS["off"]()
    monkeypatch.setattr(fuzz, "SEEDS", {"off": lambda: seeds})
    read = fuzz.read
    calls = iter([True])  # the valid file is read first
    monkeypatch.setattr(fuzz, "read", lambda *given: read(*given) if next(calls, False) else broken(given[2]))
    monkeypatch.setattr(fuzz, "SECONDS", 0.1)
    monkeypatch.setattr(fuzz, "SLACK", -(1 << 40) if fault == "memory" else fuzz.SLACK)
    assert fuzz.run_reader("off", 2, 0, tmp_path) >= 1
    words = {"crash": "KeyError", "hang": "takes 0.2 s", "memory": "MiB for"}[fault]
    assert words in capsys.readouterr().out and len(list(tmp_path.iterdir())) >= 1


def test_mutations_repeat_and_differ(fuzz):
    data = fuzz.SEEDS["stl"]()["binary.stl"]
    make = lambda seed: [fuzz.mutated(data, [data], random.Random(seed))]
    assert make(1) == make(1) != make(2)
    assert readers.read(data, "binary.stl").triangles.shape == (40, 3)
