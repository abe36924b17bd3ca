"""What all tests share: how Hypothesis draws, how many threads PyTorch may use, and tiny tiles."""

import pytest
from hypothesis import settings

from cebook import _tiles

# The same examples on every run, and the time it takes.
settings.register_profile("book", derandomize=True, deadline=None)
settings.load_profile("book")


def pytest_addoption(parser):
    parser.addoption(
        "--tiny-tiles",
        action="store_true",
        help="cut every array in thirds, its rows too if they are of odd length, and share all out",
    )


def cut_in_thirds(shape, dtype):
    height, width = shape
    columns = _tiles.spans(width, max(1, width // 3) if width % 2 else width)
    return _tiles.Grid(list(_tiles.spans(height, max(1, height // 3))), list(columns))


def pytest_configure(config):
    if config.getoption("--tiny-tiles", default=False):
        _tiles.grid = cut_in_thirds
        _tiles.CHUNK_ELEMENTS = 32
        _tiles.PARALLEL_FROM = 0
        _tiles.SAMPLE_FROM = 0


@pytest.fixture(scope="module")
def one_thread():
    """Keep PyTorch's threads from waiting for one another, which is all they do on small arrays."""
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
