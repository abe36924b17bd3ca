"""How it is measured: interleaved rounds, peak memory, fresh processes, and the machine."""

from __future__ import annotations

import compileall
import gc
import os
import platform
import re
import statistics
import subprocess
import sys
import time
import tracemalloc
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.operations import Call, Case

STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
SHORTEST = 2e-3  # seconds: shorter calls are timed several at a time
TOLERANCE = {"float32": 1e-3, "float64": 1e-7}
# Their results are not those of cebook, or, for almost equal distributions, are noise.
NOT_COMPARED = ("np.exp in cache", "ordinary data")


class DisagreementError(Exception):
    """A peer computes something else."""


# Time ---------------------------------------------------------------------------------------------


def time_case(case: Case, calls: dict[str, Call], budget: float, fewest: int) -> list[dict]:
    """Return a row for every peer: cebook's time over the peer's, in rounds that alternate."""
    check_that_results_agree(case, calls)
    once = {name: _timed(call, 1)[0] for name, call in calls.items()}
    number = {name: max(1, round(SHORTEST / max(once[name], 1e-6))) for name in calls}
    round_time = sum(once[name] * number[name] for name in calls)
    rounds = min(max(fewest, round(budget / round_time)), 101)
    wall: dict[str, list[float]] = {name: [] for name in calls}
    cpu: dict[str, list[float]] = {name: [] for name in calls}
    gc.collect()
    gc.disable()
    try:
        for i in range(rounds):
            for name in list(calls)[:: 1 if i % 2 else -1]:
                seconds, share = _timed(calls[name], number[name])
                wall[name].append(seconds)
                cpu[name].append(share)
    finally:
        gc.enable()
    return [_row(case, peer, wall, cpu) for peer in calls if peer != "cebook"]


def _timed(call: Call, number: int) -> tuple[float, float]:
    """Return the seconds of a call and the cores it kept busy; its result is freed afterwards."""
    cpu, start = time.process_time(), time.perf_counter()
    for _ in range(number - 1):
        call()
    result = call()
    seconds = time.perf_counter() - start
    cores = (time.process_time() - cpu) / seconds
    del result
    return seconds / number, cores


def _row(case: Case, peer: str, wall: dict[str, list[float]], cpu: dict[str, list[float]]) -> dict:
    ratios = [ours / theirs for ours, theirs in zip(wall["cebook"], wall[peer], strict=True)]
    low, ratio, high = (rounded(q) for q in quartiles(ratios))
    limit = None if case.limits[peer] is None else rounded(case.limits[peer])
    return {
        "operation": case.operation,
        "data": case.data,
        "shape": list(case.shape),
        "dtype": case.dtype,
        "threads": case.threads,
        "peer": peer,
        "ratio": ratio,
        "quartiles": [low, high],
        "rounds": len(ratios),
        "limit": limit,
        "met": met(ratio, limit),
        "seconds": {name: rounded(statistics.median(wall[name])) for name in ("cebook", peer)},
        "cores": {name: rounded(statistics.median(cpu[name]), 3) for name in ("cebook", peer)},
        "extra_bytes": {},
        "memory_limit": None,
        "memory_met": None,
    }


def met(value: float | None, limit: float | None) -> bool | None:
    return None if value is None or limit is None else value <= limit


def quartiles(values: list[float]) -> list[float]:
    return statistics.quantiles(values, n=4, method="inclusive")


def rounded(value: float, digits: int = 4) -> float:
    return float(f"{value:.{digits}g}")


def check_that_results_agree(case: Case, calls: dict[str, Call]) -> None:
    """Raise unless all compute the same thing; this also compiles what has to be compiled."""
    expected = _arrays(calls["cebook"]())
    for name, call in calls.items():
        actual = _arrays(call())
        if name in NOT_COMPARED or case.data == "nearby":
            continue
        for a, e in zip(actual, expected, strict=True):
            if not abs(a - e).max() <= TOLERANCE[case.dtype] * abs(e).max():
                raise DisagreementError(f"{name} and cebook differ")


def _arrays(result: Any) -> list[np.ndarray]:
    if result is None:
        return []
    if isinstance(result, (tuple, list)):
        return [array for item in result for array in _arrays(item)]
    return [np.asarray(result)]


# Memory -------------------------------------------------------------------------------------------


def why_no_memory() -> str:
    """Return why peak memory cannot be measured here, or nothing."""
    try:
        _reset_peak()
        _status("VmHWM")
    except (OSError, TypeError):
        return "no /proc/self/clear_refs or VmHWM to read peak memory from"
    return ""


def extra_bytes(call: Call, small_call: Call) -> int:
    """Return the peak memory of a call beyond what was there before and what it returns.

    The resident set counts every library's memory alike. What a call leaves behind for the next,
    as cebook its scratch, only NumPy's own count of the very first call shows. The larger one is
    taken, which is against cebook: of the others the first call is not counted. A small call comes
    before it all, so that modules imported on first use do not count.
    """
    small_call()
    tracemalloc.start()
    result = call()
    traced = tracemalloc.get_traced_memory()[1] - _nbytes(result)
    tracemalloc.stop()
    del result
    call()
    gc.collect()
    _reset_peak()
    before = _status("VmRSS")
    result = call()
    return max(0, traced, _status("VmHWM") - before - _nbytes(result))


def _nbytes(result: Any) -> int:
    return sum(array.nbytes for array in _arrays(result))


def _reset_peak() -> None:
    CLEAR_REFS.write_text("5", encoding="ascii")


def _status(field: str) -> int:
    return 1024 * int(re.search(rf"{field}:\s+(\d+) kB", STATUS.read_text(encoding="ascii"))[1])


# The project --------------------------------------------------------------------------------------


def time_import(rounds: int) -> dict:
    """Return what `import cebook` adds to `import numpy`, in pairs of fresh processes."""
    # As pip leaves it: with PYTHONDONTWRITEBYTECODE an edited module is compiled at every import.
    import cebook

    compileall.compile_dir(Path(cebook.__file__).parent, quiet=1)
    limit, differences = 0.010, []
    commands = ["import numpy", "import numpy, cebook"]
    for i in range(-2, rounds):  # the first two fill the caches
        seconds = {}
        for code in commands[:: 1 if i % 2 else -1]:
            start = time.perf_counter()
            # With a timeout subprocess looks every 50 ms whether the process has ended.
            subprocess.run([sys.executable, "-c", code], check=True)
            seconds[code] = time.perf_counter() - start
        if i >= 0:
            differences.append(seconds[commands[1]] - seconds[commands[0]])
    low, median, high = (rounded(q) for q in quartiles(differences))
    return {
        "seconds": median,
        "quartiles": [low, high],
        "rounds": rounds,
        "limit": limit,
        "met": met(median, limit),
    }


def time_command(command: list[str], root: Path) -> dict:
    """Return the wall time of a command of the Makefile; raise if it fails."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MAKE") and not name.endswith("_NUM_THREADS")
    }
    start = time.perf_counter()
    subprocess.run(
        command, cwd=root, env=environment, stdout=sys.stderr, check=True, timeout=2 * 3600
    )
    return {"command": " ".join(command), "seconds": round(time.perf_counter() - start, 1)}


# The machine --------------------------------------------------------------------------------------


def cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def machine() -> dict:
    """Return the processor, and nothing that tells whose it is."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else ""
    name = re.search(r"model name\s*: (.*)", text)
    return {
        "cpu": name[1] if name else platform.processor() or platform.machine(),
        "cores": cores(),
        "caches": {
            _cache(i, "level") + _cache(i, "type")[:1].lower().replace("u", ""): _cache(i, "size")
            for i in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"))
        },
        "system": f"{platform.system()} {platform.machine()}",
    }


def _cache(index: Path, field: str) -> str:
    text = (index / field).read_text(encoding="ascii").strip()
    return f"L{text}" if field == "level" else text


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("cebook", "numpy", "scipy", "scikit-learn", "torch", "jax", "jaxlib", "optax"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
