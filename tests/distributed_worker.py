"""The processes of the groups: they run cases that ``test_distributed`` has written down.

``python distributed_worker.py FOLDER`` reads ``FOLDER/cases``, a list for each number of processes.
Each process meets the others at a file, and writes to ``FOLDER/results-SIZE-RANK`` after every
case, since some cases are the last that it lives to see.
"""

import os
import pickle
import sys
import time
import traceback
import warnings
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from torch.distributed.tensor.parallel import loss_parallel

from cebook.distributed import vocab_parallel_cross_entropy

# Seconds until a group gives up: one in which a process is going to be missing, and the others.
SHORT, LONG = 4, 120

all_reduce = dist.all_reduce


def run(group, action, arguments, options):
    """Return what the action returns, or the error it raises, its warnings, and the time it took.

    The error is its type, its text, and the type of what it was raised from.
    """
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = ACTIONS[action](group, *arguments, **options)
        except Exception as error:
            result = (type(error).__name__, str(error), type(error.__cause__).__name__)
    said = [(warning.category.__name__, str(warning.message)) for warning in caught]
    return result, said, time.perf_counter() - start


def loss(group, logits, targets, **options):
    return vocab_parallel_cross_entropy(logits, targets, group=group, return_grad=True, **options)


def loss_alone(group, logits, targets, **options):
    return vocab_parallel_cross_entropy(logits, targets, group=group, **options)


def reduced(group, logits, targets, **options):
    """Return operation and length of every all-reduce, and how many collectives of each kind."""
    calls = []

    def counting(vector, op, group):
        calls.append((str(op).rpartition(".")[2], vector.numel(), vector.element_size()))
        return all_reduce(vector, op=op, group=group)

    dist.all_reduce = counting
    try:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            loss(group, logits, targets, **options)
    finally:
        dist.all_reduce = all_reduce
    events = {event.key: event.count for event in profile.key_averages()}
    return calls, {name: n for name, n in events.items() if name.startswith("c10d::")}


def dying(group, after, logits, targets, **options):
    """Die after so many all-reduces."""
    calls = []

    def last_words(vector, op, group):
        if len(calls) == after:
            os._exit(1)
        calls.append(op)
        return all_reduce(vector, op=op, group=group)

    dist.all_reduce = last_words
    loss(group, logits, targets, **options)


def absent(group, *arguments, **options):
    """Make no call, until the others have given up."""
    time.sleep(SHORT + 1)


def of_pytorch(group, logits, targets, **options):
    """Return loss and local gradient of PyTorch's ``loss_parallel``, of the whole logits."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(group),))
    split = distribute_tensor(torch.tensor(logits), mesh, [Shard(logits.ndim - 1)])
    split.requires_grad_()
    with loss_parallel():
        result = torch.nn.functional.cross_entropy(split, torch.tensor(targets), **options)
        result.sum().backward()
    return result.full_tensor().detach().numpy(), split.grad.to_local().numpy()


ACTIONS = {
    action.__name__: action for action in (loss, loss_alone, reduced, dying, absent, of_pytorch)
}


def main(folder):
    torch.set_num_threads(1)
    cases = pickle.loads((folder / "cases").read_bytes())
    # PyTorch is imported once, and no thread has been started.
    members = [(rank, size) for size in cases for rank in range(size)]
    children = [fork(live, rank, size, cases[size], folder) for rank, size in members]
    for child in children:
        os.waitpid(child, 0)


def fork(function, *arguments):
    child = os.fork()
    if child == 0:
        try:
            function(*arguments)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)  # With dead processes in a group there is no orderly end.
    return child


def live(rank, size, cases, folder):
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/rendezvous-{size}",
        rank=rank,
        world_size=size,
        timeout=timedelta(seconds=LONG),
    )
    # All processes have to make all groups, in one order.
    groups = [
        dist.new_group(case["ranks"], timedelta(seconds=SHORT if case["hangs"] else LONG))
        for case in cases
        if case["ranks"] is not None
    ]
    with (folder / f"results-{size}-{rank}").open("wb") as results:
        for case in cases:
            group = dist.group.WORLD if case["ranks"] is None else groups.pop(0)
            if case["ranks"] is None or rank in case["ranks"] or case["outsiders"]:
                pickle.dump((case["name"], run(group, *case["calls"][rank])), results)
                results.flush()


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    main(Path(sys.argv[1]))
