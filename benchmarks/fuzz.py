"""Damaged files for every reader: only ReadError may come of them, within 2 s and 16 × the decoded size + 128 MiB of memory.

    python benchmarks/fuzz.py                                  # 2,000 inputs for each reader
    python benchmarks/fuzz.py --inputs 100000 --readers ply gltf
    python benchmarks/fuzz.py --coverage 60                    # a minute a reader, led by coverage (needs atheris)

Valid files (`fuzz_seeds.py`) are mutated: bits, numbers, words, pieces left out, doubled or exchanged, ends cut off. With
--coverage atheris chooses among mutations by the code that they reach; it is no dependency of the project: pip install atheris.
One line a reader; unforeseen: refused with a message that no check has written. Where an input failed, what came of it and the
file that keeps it (--save); the exit code is then 1.
"""

# ruff: noqa: E402  (the path must stand before the packages)
import argparse
import importlib.util
import os
import pathlib
import random
import re
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from fuzz_seeds import PNG, SEEDS, SIDECAR, decoded_size

READ, REFUSED, UNFORESEEN = "read", "refused", "unforeseen"
SECONDS, FACTOR, SLACK = 2.0, 16, 128 << 20
SHOWN = 20  # unforeseen inputs that are kept
_TEXTS = """-1 0 1 2147483647 4294967295 99999999999999 1e400 nan 1.#QNAN -1.#IND inf 1e-320 0x10
end_header element property list ascii v f # \\ OFF COFF solid endsolid facet vertex DATA binary_compressed WIDTH HEIGHT
sparse bufferView count byteOffset byteStride null true [] {} <!ENTITY {"""
_CODES = "00 0000 ffffffff ffffff7f 00000080 0000807f 0000c07f 00000001 efbbbf fffe feff"
NUMBERS = [word.encode() for word in _TEXTS.split()[:13]]
WORDS = [word.encode() for word in _TEXTS.split()] + [bytes.fromhex(code) for code in _CODES.split()]


class Hang(BaseException):
    """Raised by the clock; no reader may catch it as damage."""


@contextmanager
def at_most(seconds: float):
    def ring(*_):
        raise Hang

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def read(reader: str, name: str, data: bytes) -> str:
    """Hands an input to its reader → READ; REFUSED for the ReadError that damage may be, UNFORESEEN for one that catches all."""
    from geometry import readers
    from geometry.errors import ReadError
    from geometry.readers.landmark_files import read_landmarks

    try:
        if reader == "landmarks":
            read_landmarks(name, data)
        elif reader == "sidecar":
            readers.read(PNG, "frame.png", {"frame.json": data})
        else:
            readers.claims(name, data[: readers.HEAD_SIZE])
            readers.neighbours(name, data)
            readers.read(data, name, {"frame.json": SIDECAR})
    except ReadError as error:
        return UNFORESEEN if "cannot be decoded as" in error.fault else REFUSED
    return READ


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def resident() -> int:
    pages = pathlib.Path("/proc/self/statm")
    return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if pages.exists() else peak()


def fault_of(reader: str, name: str, data: bytes) -> tuple[str, str]:
    """What is wrong with the way an input was taken, "" where nothing is; and what `read` made of it."""
    before, began, came = resident(), time.process_time(), REFUSED
    try:
        with at_most(10 * SECONDS):
            came = read(reader, name, data)
    except Hang:
        return f"hangs for {10 * SECONDS:.0f} s", REFUSED
    except Exception as error:
        return f"{type(error).__name__}: {error}", REFUSED
    seconds, memory = time.process_time() - began, peak() - before  # of the processor: others may be at work, too
    if seconds > SECONDS:
        return f"takes {seconds:.1f} s", came
    if memory > FACTOR * decoded_size(data) + SLACK:
        return f"takes {memory >> 20} MiB for {decoded_size(data)} decoded bytes", came
    return "", came


def mutated(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """The file with one to six faults."""
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        at, length = rng.randrange(len(made) + 1), int(2 ** rng.uniform(0, 9))
        kind = rng.randrange(9)
        if kind == 0 and made:
            made[at % len(made)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            word = rng.choice(WORDS)
            made[at : at + len(word)] = word
        elif kind == 2:
            made[at:at] = rng.choice((b"", b" ", b"\n")) + rng.choice(WORDS) + rng.choice((b"", b" ", b"\n"))
        elif kind == 3:
            del made[at : at + length]
        elif kind == 4:
            made[at:at] = made[at : at + length] * rng.choice((1, 2, 30))
        elif kind == 5:
            del made[at:]
        elif kind == 6:
            other = rng.choice(others)
            start = rng.randrange(len(other))
            made[at : at + length] = other[start : start + length]
        elif kind == 7 and (numbers := list(re.finditer(rb"-?\d+(\.\d+)?", made))):
            found = rng.choice(numbers)
            made[found.start() : found.end()] = rng.choice(NUMBERS)
        elif kind == 8:
            made[at : at + length] = bytes(rng.randrange(256) for _ in range(min(length, len(made) - at)))
    return bytes(made)


def run_reader(reader: str, inputs: int, seed: int, save: pathlib.Path) -> int:
    """In a process of its own: a crash of native code ends no other. Prints the reader's line → the number of faults."""
    rng, counts, faults = random.Random(f"{reader} {seed}"), Counter(), {}
    seeds = SEEDS[reader]()
    for name, data in seeds.items():
        if read(reader, name, data) != READ:
            raise SystemExit(f"{reader}: the valid {name} is not read")
    began, last = time.perf_counter(), save / f"{reader}-last"
    for _ in range(inputs):
        name = rng.choice(list(seeds))
        data = mutated(seeds[name], list(seeds.values()), rng)
        last.write_bytes(data)  # what a crash leaves behind
        fault, came = fault_of(reader, name, data)
        counts[came] += 1
        if came == UNFORESEEN and counts[came] <= SHOWN:
            (save / f"{reader}-unforeseen{counts[came]}-{name}").write_bytes(data)
        if fault and (kind := re.sub(r"[\d.]+", "#", fault)[:60]) not in faults:
            faults[kind] = kept = save / f"{reader}-{len(faults)}-{name}"
            kept.write_bytes(data)
            print(f"  {kept}: {fault[:300]}")
    last.unlink(missing_ok=True)
    shares = "".join(f"{counts[came]:8d} {came}" for came in (READ, REFUSED, UNFORESEEN))
    print(f"{reader:12s}{inputs:8d} inputs{shares}{len(faults):4d} faults{time.perf_counter() - began:8.0f} s")
    return len(faults)


def run_covered(reader: str, seconds: int, seed: int, save: pathlib.Path) -> None:
    """Hands the process to libFuzzer, which ends it."""
    import atheris

    with atheris.instrument_imports(include=["geometry.readers", "geometry.mesh"]):
        from geometry import readers  # noqa: F401  (instrumented before `read` imports it)
    corpus = save / f"{reader}-corpus"
    corpus.mkdir(exist_ok=True)
    names = list(SEEDS[reader]())
    for number, data in enumerate(SEEDS[reader]().values()):
        (corpus / f"seed{number}").write_bytes(bytes([number]) + data)

    def take(data: bytes) -> None:
        if len(data) > 1:  # the first byte says under which name
            fault, _ = fault_of(reader, names[data[0] % len(names)], data[1:])
            if fault:
                raise RuntimeError(fault)

    options = [f"-max_total_time={seconds}", f"-seed={seed + 1}", f"-artifact_prefix={save}/{reader}-", "-rss_limit_mb=4096"]
    atheris.Setup(
        [sys.argv[0], *options, "-timeout=25", "-max_len=20000", "-print_final_stats=1", "-verbosity=0", str(corpus)], take
    )
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--readers", nargs="+", choices=list(SEEDS), default=list(SEEDS), help="default: all")
    parser.add_argument("--inputs", type=int, default=2000, help="for each reader; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--coverage", type=int, metavar="SECONDS", help="so long a reader, led by coverage; needs atheris")
    parser.add_argument(
        "--save", type=pathlib.Path, default=pathlib.Path("runs/fuzz"), help="folder of failed inputs; default: %(default)s"
    )
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.save.mkdir(parents=True, exist_ok=True)
    if given.alone:
        if given.coverage:
            run_covered(given.readers[0], given.coverage, given.seed, given.save)
        return int(run_reader(given.readers[0], given.inputs, given.seed, given.save) > 0)
    if given.coverage and not importlib.util.find_spec("atheris"):
        parser.error("--coverage needs atheris: pip install atheris")
    failed = 0
    for reader in given.readers:
        own = [sys.executable, __file__, *sys.argv[1:], "--alone", "--readers", reader]
        done = subprocess.run(own, stderr=subprocess.PIPE if given.coverage else None, check=False)
        if given.coverage:
            said = done.stderr.decode("utf-8", "replace")
            runs = re.search(r"number_of_executed_units: *(\d+)", said)
            came = "FAULT" if done.returncode else "no fault"
            print(f"{reader:12s}{runs.group(1) if runs else '?':>8s} inputs by coverage, {came}")
            if done.returncode:
                print("  " + "\n  ".join(said.strip().splitlines()[-12:]))
        elif done.returncode < 0:
            print(f"{reader}: crashed by signal {-done.returncode}: see {given.save / f'{reader}-last'}")
        failed += done.returncode != 0
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
