"""The addresses served beside the pages: the chart library, and downloads that are streamed from disk.

A page's own download button would hold the whole file in the server's memory; these routes don't.
"""

from pathlib import Path
from urllib.parse import quote

import plotly
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from mace_app.jobs import JobsError, RunFolder, Workspace
from mace_app.jobs.names import slug

# The version in the address lets a browser keep the file for good.
PLOTLY_MOUNT = f"/vendor/plotly-{plotly.__version__}"
PLOTLY_FOLDER = Path(plotly.__file__).parent / "package_data"
DOWNLOAD_ROUTE = "/downloads/runs"
_HEADERS = {
    # Without this, Streamlit compresses the stream: slow for large files, and without a length.
    "Content-Encoding": "identity",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}


def routes() -> list[BaseRoute]:
    """What `app.py` hands to `st.App`. Streamlit keeps `/_stcore`, `/media`, `/component` and `/static` for itself."""
    return [
        Mount(PLOTLY_MOUNT, _Unchanging(directory=PLOTLY_FOLDER)),
        Route(DOWNLOAD_ROUTE + "/{run}/{name:path}", _download, methods=["GET"]),
    ]


def download_url(run: RunFolder, name: str) -> str:
    """Where a browser fetches a file of `RunFolder.downloads`."""
    return f"{DOWNLOAD_ROUTE}/{quote(run.id, safe='')}/{quote(name)}"


def download_name(run: RunFolder, name: str) -> str:
    """The name a downloaded file is saved under: ``ethanol-model.pt``."""
    try:
        start = slug(run.info().name, run.id)
    except JobsError:
        start = run.id
    return f"{start}-{name.rpartition('/')[2]}"


class _Unchanging(StaticFiles):
    """Files whose address holds their version, so a browser need never ask again."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response

    async def get_response(self, path: str, scope: Scope) -> Response:
        if Path(path).name != "plotly.min.js":
            return PlainTextResponse("Not found", status_code=404)
        return await super().get_response(path, scope)


async def _download(request: Request) -> Response:
    return await run_in_threadpool(_file_of, request.path_params["run"], request.path_params["name"])


def _file_of(identifier: str, name: str) -> Response:
    """The file if the run and the name are on their lists, otherwise 404 with a sentence."""
    try:
        run = Workspace().run(identifier)
        path = run.download_path(name)
    except JobsError as error:
        return PlainTextResponse(str(error), status_code=404, headers={"X-Content-Type-Options": "nosniff"})
    return FileResponse(
        path, filename=download_name(run, name), media_type="application/octet-stream", headers=_HEADERS
    )
