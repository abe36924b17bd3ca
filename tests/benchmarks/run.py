"""Measure the speed and the memory of cebook against its peers.

Usage: python tests/benchmarks/run.py [--only REGEX] [--quick] [--project] [--output FILE]

A whole run writes results.json anew; with --only or --project the new numbers are put in place of
the old ones. --quick, to try the script out, writes only where --output says.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # a script finds only what lies beside it
from benchmarks import measure, operations  # noqa: E402
from benchmarks.operations import Case  # noqa: E402

ROOT = HERE.parents[1]
RESULTS = HERE / "results.json"
PROJECT = {"site build": ["make", "site"], "test command": ["make", "test"]}
PROCESSES = 5  # where the one in the middle counts
# glibc gives freed memory back at once, so that none of it is used again without being counted.
EXACT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="REGEX", help="cases, such as '^softmax .* float32 x1$'")
    parser.add_argument("--quick", action="store_true", help="few rounds, to try the script out")
    parser.add_argument("--project", action="store_true", help="time the site and the tests alone")
    parser.add_argument("--output", type=Path, metavar="FILE", help=f"default: {RESULTS.name}")
    parser.add_argument("--worker", choices=["time", "memory"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work = work_on_times if options.worker == "time" else work_on_memory
        work(json.load(sys.stdin))
        return 0

    output = options.output or (None if options.quick else RESULTS)
    whole = not (options.only or options.quick or options.project)
    old = json.loads(output.read_text("utf-8")) if output and output.exists() else {}
    new = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": measure.machine(),
        "load": os.getloadavg()[0],  # other processes at the start: it should be near 0
        "versions": measure.versions(),
        "missing": operations.missing_peers(),
        "skipped": [],
        "project": {},
        "rows": [],
    }
    if old and not whole and any(old[key] != new[key] for key in ("machine", "versions")):
        print(f"{output.name} is from another machine or other versions: make it anew, without")
        print("--only and --project, or name another file with --output.")
        return 1
    if new["load"] > 0.5:
        print(f"This machine is busy (load {new['load']:.1f}): expect noise.")
    if new["missing"]:
        print(f"Not installed, and left out: {', '.join(new['missing'])}")
    if options.project:
        for name, command in PROJECT.items():
            new["project"][name] = measure.time_command(command, ROOT)
    else:
        measure_cases(new, options.only or "", options.quick)
        if re.search(options.only or "", "import cebook"):
            new["project"]["import cebook"] = measure.time_import(5 if options.quick else 41)
    report(new)
    if output:
        results = merged(old, new, whole) if old else new
        output.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    return 0


# Results ------------------------------------------------------------------------------------------


def merged(old: dict, new: dict, whole: bool) -> dict:
    """Return the new results, and the old ones of what was not run."""
    project = old["project"] | new["project"]  # a whole run does not time the site and the tests
    if whole:
        return new | {"project": project}
    run = {str(case) for case, _ in by_case(new["rows"])} | {s["case"] for s in new["skipped"]}
    rows = [row for row in old["rows"] if str(case_of(row)) not in run] + new["rows"]
    skipped = [s for s in old["skipped"] if s["case"] not in run] + new["skipped"]
    order = [str(case) for case in operations.cases(new["machine"]["cores"])]
    rows = [row for row in rows if str(case_of(row)) in order]
    rows.sort(key=lambda row: order.index(str(case_of(row))))
    return new | {"skipped": skipped, "project": project, "rows": rows}


def case_of(row: dict) -> Case:
    shape = tuple(row["shape"])
    return Case(row["operation"], row["data"], shape, row["dtype"], row["threads"], {})


def by_case(rows: list[dict]) -> Iterator[tuple[Case, list[dict]]]:
    for case, group in groupby(rows, key=case_of):
        yield case, list(group)


def report(results: dict) -> None:
    """Print a line for every case: cebook's time over the peer's / the limit, and ! if missed."""
    print("\ncebook's time / that of a peer (limit); extra memory in MB")
    for case, rows in by_case(results["rows"]):
        ratios = "  ".join(cell(row["peer"], row["ratio"], row["limit"]) for row in rows)
        print(f"{case!s:64}{ratios}{memory_cells(rows)}")
        for row in rows:
            for name, cores in row["cores"].items():
                if cores > 1.1 * case.threads:
                    print(f"    ! {name} kept {cores} cores busy")
    for name, item in results["project"].items():
        print(f"{name:64}{cell('', item['seconds'], item.get('limit'))} s")
    for item in results["skipped"]:
        print(f"skipped: {item['case']}: {item['why']}")
    held = [row[key] for row in results["rows"] for key in ("met", "memory_met")]
    held += [item.get("met") for item in results["project"].values()]
    print(f"{held.count(True)} limits met, {held.count(False)} missed")


def cell(name: str, value: float, limit: float | None) -> str:
    if limit is None:
        return f"{name} {value:.3g}"
    return f"{name} {value:.3g} ({limit:.3g}){'' if measure.met(value, limit) else ' !'}"


def memory_cells(rows: list[dict]) -> str:
    extra = {name: n for row in rows for name, n in row["extra_bytes"].items() if n is not None}
    limits = {"cebook": rows[0]["memory_limit"]}
    cells = [
        cell(name, n / 1e6, limits.get(name) and limits[name] / 1e6) for name, n in extra.items()
    ]
    return f"  | {'  '.join(cells)}" if cells else ""


# Processes ----------------------------------------------------------------------------------------


def measure_cases(results: dict, only: str, quick: bool) -> None:
    """Add rows: first all times, in one process for each number of threads, then the memory.

    Where nothing is to come in between, nothing comes before it either.
    """
    cases = [case for case in operations.cases(measure.cores()) if re.search(only, str(case))]
    of_process = attrgetter("threads", "is_alone")
    for (threads, is_alone), group in groupby(cases, key=of_process):
        times = times_from_workers if is_alone and not quick else times_from_worker
        for line in times(list(group), threads, quick):
            print(line.get("why", "timed"), line["case"], file=sys.stderr, flush=True)
            if "why" in line:
                results["skipped"].append(line)
            else:
                results["rows"] += line["rows"]
    why = measure.why_no_memory()
    if why:
        results["skipped"].append({"case": "peak memory", "why": why})
        return
    pairs = [
        (case, name)
        for case, rows in by_case(results["rows"])
        if case.threads == 1 and case.shape != operations.SMALL
        for name in ("cebook", *(row["peer"] for row in rows))
        if name in operations.PEERS and case.data not in operations.HOSTILE
    ]
    print(f"measuring the memory of {len(pairs)} calls", file=sys.stderr, flush=True)
    with ThreadPoolExecutor(measure.cores()) as pool:
        found = list(pool.map(memory_from_worker, pairs))
    extra = {(str(case), name): n for (case, name), n in zip(pairs, found, strict=True)}
    for case, rows in by_case(results["rows"]):
        limit = operations.MEMORY_LIMITS.get((case.operation, case.data, case.shape))
        for row in rows:
            names = [name for name in ("cebook", row["peer"]) if (str(case), name) in extra]
            row["extra_bytes"] = {name: extra[str(case), name] for name in names}
            if limit and names:
                row["memory_limit"] = limit
                row["memory_met"] = measure.met(row["extra_bytes"]["cebook"], limit)


def worker(kind: str, threads: int, **more: str) -> subprocess.Popen:
    """Start this script in an environment that holds every library to so many threads."""
    libraries = ("OMP", "OPENBLAS", "MKL", "CEBOOK")
    variables = {f"{name}_NUM_THREADS": str(threads) for name in libraries}
    variables["NPROC"] = str(threads)  # the size of XLA's pool
    if threads == 1:
        variables["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    return subprocess.Popen(
        [sys.executable, __file__, "--worker", kind],
        env=os.environ | variables | more,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def times_from_worker(cases: list[Case], threads: int, quick: bool) -> Iterator[dict]:
    """Yield what the worker prints, and say so of the cases that it did not come to."""
    waiting = {str(case) for case in cases}
    with worker("time", threads) as process:
        alarm = threading.Timer(60 * len(waiting) + 60, process.kill)
        alarm.start()
        try:
            json.dump({"cases": cases, "quick": quick}, process.stdin)
            process.stdin.close()
            for line in process.stdout:
                result = json.loads(line)
                waiting.remove(result["case"])
                yield result
            process.wait()
        finally:
            alarm.cancel()
            process.kill()
    for case in sorted(waiting):
        yield {"case": case, "why": f"the process ended with code {process.returncode}"}


def times_from_workers(cases: list[Case], threads: int, quick: bool) -> Iterator[dict]:
    """Yield what that of several processes says that has the median ratio.

    How far apart two calls lie depends on where a process finds its memory.
    """
    runs = [
        {line["case"]: line for line in times_from_worker(cases, threads, quick)}
        for _ in range(PROCESSES)
    ]
    for case in cases:
        yield middle([run[str(case)] for run in runs])


def middle(lines: list[dict]) -> dict:
    timed = [line for line in lines if "rows" in line]
    timed.sort(key=lambda line: line["rows"][0]["ratio"])
    return timed[len(timed) // 2] if timed else lines[0]


def work_on_times(task: dict) -> None:
    budget, fewest = (0.1, 3) if task["quick"] else (1.5, 5)
    for fields in task["cases"]:
        case = operations.Case.from_json(fields)
        result: dict = {"case": str(case)}
        try:
            calls = operations.make_calls(case, ["cebook", *case.limits])
            result["rows"] = measure.time_case(case, calls, budget, fewest)
        except (operations.NotThereError, measure.DisagreementError) as error:
            result["why"] = str(error)
        print(json.dumps(result), flush=True)


def memory_from_worker(pair: tuple[Case, str]) -> int | None:
    with worker("memory", 1, **EXACT_MEMORY) as process:
        try:
            return int(process.communicate(json.dumps(pair), timeout=300)[0])
        except (subprocess.TimeoutExpired, ValueError) as error:
            process.kill()
            print(f"no memory of {pair[1]}, {pair[0]}: {error}", file=sys.stderr)
            return None


def work_on_memory(task: tuple[list, str]) -> None:
    fields, name = task
    case = operations.Case.from_json(fields)
    small = case._replace(shape=(4,) * len(case.shape))
    calls = [operations.make_calls(each, [name])[name] for each in (case, small)]
    print(measure.extra_bytes(*calls))


if __name__ == "__main__":
    sys.exit(main())
