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

from mace_app.jobs import FoundationFolder, JobsError, RunFolder, Workspace
from mace_app.jobs.names import slug

# The version in the address lets a browser keep the file for good.
PLOTLY_MOUNT = f"/vendor/plotly-{plotly.__version__}"
PLOTLY_FOLDER = Path(plotly.__file__).parent / "package_data"
DOWNLOAD_ROUTE = "/downloads/runs"
FOUNDATION_ROUTE = "/downloads/foundations"
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
        Route(FOUNDATION_ROUTE + "/{foundation}/{name}", _download_export, methods=["GET"]),
    ]


def download_url(run: RunFolder, name: str) -> str:
    """Where a browser fetches a file of `RunFolder.downloads`."""
    return f"{DOWNLOAD_ROUTE}/{quote(run.id, safe='')}/{quote(name)}"


def foundation_url(folder: FoundationFolder, name: str) -> str:
    """Where a browser fetches an export of a foundation model, by its `FoundationExport.name`."""
    return f"{FOUNDATION_ROUTE}/{quote(folder.id, safe='')}/{quote(name, safe='')}"


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


async def _download_export(request: Request) -> Response:
    return await run_in_threadpool(_export_of, request.path_params["foundation"], request.path_params["name"])


def _file_of(identifier: str, name: str) -> Response:
    """The file if the run and the name are on their lists, otherwise 404 with a sentence."""
    try:
        run = Workspace().run(identifier)
        path = run.download_path(name)
    except JobsError as error:
        return _missing(str(error))
    return _file(path, download_name(run, name))


def _export_of(identifier: str, name: str) -> Response:
    """The exported file if the foundation model and the name are on their lists, otherwise 404 with a sentence."""
    try:
        folder = Workspace().foundation(identifier)
        export = next((export for export in folder.exports() if export.name == name and export.path is not None), None)
    except JobsError as error:
        return _missing(str(error))
    if export is None or export.path is None or not export.path.resolve().is_relative_to(folder.path.resolve()):
        return _missing(f"The foundation model {identifier} has no file {name!r} to download.")
    return _file(export.path, export.name)


def _file(path: Path, saved_as: str) -> Response:
    return FileResponse(path, filename=saved_as, media_type="application/octet-stream", headers=_HEADERS)


def _missing(sentence: str) -> Response:
    return PlainTextResponse(sentence, status_code=404, headers={"X-Content-Type-Options": "nosniff"})
