"""What every test process starts with."""

import os
from collections.abc import Iterator

import pytest

# `export` sets it too, but a process that has loaded TensorFlow before does not heed it: with
# oneDNN the same input does not always give the same bytes.
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What runs on this machine have found out is neither used nor added to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
