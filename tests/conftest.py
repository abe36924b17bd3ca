"""What all tests share: how Hypothesis draws, and how many threads PyTorch may use."""

import pytest
from hypothesis import settings

# The same examples on every run, and the time it takes.
settings.register_profile("book", derandomize=True, deadline=None)
settings.load_profile("book")


@pytest.fixture(scope="module")
def one_thread():
    """Keep PyTorch's threads from waiting for one another, which is all they do on small arrays."""
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
