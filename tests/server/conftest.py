"""Running servers: one as anybody starts it, and one that other machines can reach."""

from collections.abc import Iterator

import pytest
from app_server import Server, end_workers, launch
from talking import TOKEN


def _running(factory: pytest.TempPathFactory, environment: dict[str, str]) -> Iterator[Server]:
    folder = factory.mktemp("server")
    server = launch(folder / "workspace", folder / "server.log", environment)
    yield server
    server.stop()
    end_workers(folder / "workspace")


@pytest.fixture(scope="session")
def local_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`streamlit run app.py`, and a small limit of uploads."""
    yield from _running(tmp_path_factory, {"STREAMLIT_SERVER_MAX_UPLOAD_SIZE": "2"})


@pytest.fixture(scope="session")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Bound to every interface, as in a container, with a token made by itself."""
    yield from _running(
        tmp_path_factory, {"STREAMLIT_SERVER_ADDRESS": "0.0.0.0", "STREAMLIT_SERVER_ALLOWED_HOSTS": "studio.example"}
    )


@pytest.fixture(scope="session")
def token_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """For this machine only, but with a token, as among the users of a login node."""
    yield from _running(tmp_path_factory, {"MACE_APP_TOKEN": TOKEN})
