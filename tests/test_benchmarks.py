"""The benchmark script runs, and the committed results are whole and say what their numbers say.

No time is judged here. What cebook claims about speed stands in tests/benchmarks/results.json.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import operations, run

SCRIPT = Path(run.__file__)
TOP = {"date", "machine", "load", "versions", "missing", "skipped", "project", "rows"}
ROW = {
    "operation", "data", "shape", "dtype", "threads", "peer", "ratio", "quartiles", "rounds",
    "limit", "met", "seconds", "cores", "extra_bytes", "memory_limit", "memory_met",
}  # fmt: skip


def key(row):
    return (str(run.case_of(row)), row["peer"])


def check_schema(results):
    assert results.keys() == TOP
    assert results["machine"].keys() == {"cpu", "cores", "caches", "system"}
    for row in results["rows"]:
        assert row.keys() == ROW
        assert row["seconds"].keys() == row["cores"].keys() == {"cebook", row["peer"]}
        assert row["quartiles"][0] <= row["ratio"] <= row["quartiles"][1]
        assert min(row["seconds"].values()) > 0
        assert row["extra_bytes"].keys() <= {"cebook", row["peer"]}


def check_that_verdicts_agree_with_numbers(results):
    for row in results["rows"]:
        assert row["met"] == (None if row["limit"] is None else row["ratio"] <= row["limit"])
        limit, ours = row["memory_limit"], row["extra_bytes"].get("cebook")
        assert row["memory_met"] == (None if limit is None or ours is None else ours <= limit)
    for item in results["project"].values():
        assert item.get("met") == (item["seconds"] <= item["limit"] if "limit" in item else None)


def test_script_runs_and_merges(tmp_path):
    output = tmp_path / "results.json"
    pattern = r"^softmax \(8192, 10\) float32 x1$"
    command = [sys.executable, SCRIPT, "--quick", "--only", pattern, "--output", output]
    table = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    results = json.loads(output.read_text("utf-8"))
    check_schema(results)
    check_that_verdicts_agree_with_numbers(results)
    assert {row["peer"] for row in results["rows"]} == {"PyTorch", "SciPy", "JAX"} - set(
        results["missing"]
    )
    assert all(peer in table for peer in results["missing"])

    # A case that is run again replaces its old rows, and no others.
    other = [row | {"dtype": "float64"} for row in results["rows"]]
    again = [row | {"ratio": 9.0} for row in results["rows"]]
    merged = run.merged(
        results | {"rows": other + results["rows"]}, results | {"rows": again}, False
    )
    assert merged["rows"] == again + other


def test_of_several_processes_the_one_in_the_middle_counts():
    lines = [{"case": "c", "rows": [{"ratio": ratio}]} for ratio in (9.0, 1.0, 3.0, 2.0)]
    dead = {"case": "c", "why": "the process ended"}
    assert run.middle([*lines, dead]) == lines[2]
    assert run.middle([dead, dead]) == dead


def test_table_of_operations_names_every_case_once():
    cases = [str(case) for case in operations.cases(cores=2)]
    assert len(set(cases)) == len(cases)


@pytest.fixture(scope="module")
def committed():
    assert run.RESULTS.exists(), "make bench writes the results, which are to be committed"
    return json.loads(run.RESULTS.read_text("utf-8"))


def test_committed_results_are_of_every_case_and_peer(committed):
    check_schema(committed)
    assert committed["missing"] == []
    # PyTorch's softmax of a row of ten million in float32 sums to 1.001.
    skipped = {item["case"]: item["why"] for item in committed["skipped"]}
    assert skipped == {
        f"softmax (1, 10000000) float32 x{threads}": "PyTorch and cebook differ"
        for threads in (1, 2)
    }
    cases = operations.cases(committed["machine"]["cores"])
    cases = [case for case in cases if str(case) not in skipped]
    wanted = {(str(case), peer): limit for case in cases for peer, limit in case.limits.items()}
    found = {key(row): row for row in committed["rows"]}
    assert found.keys() == wanted.keys()
    for name, limit in wanted.items():
        assert found[name]["limit"] == (limit and pytest.approx(limit, rel=1e-3))
    # The other times come from `--project`, which runs this test.
    assert "import cebook" in committed["project"]


def test_committed_verdicts_agree_with_their_numbers(committed):
    check_that_verdicts_agree_with_numbers(committed)


def test_committed_results_of_one_thread_are_of_one(committed):
    busy = {
        (*key(row), name): cores
        for row in committed["rows"]
        for name, cores in row["cores"].items()
        if row["threads"] == 1 and cores > 1.1
    }
    assert busy == {}
