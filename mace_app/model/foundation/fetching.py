"""Fetching a published file with mace-torch's own download function, into mace-torch's own cache, watched.

mace-torch opens the address with ``urllib``, whose opener a program may choose. Ours counts bytes and refuses what is
no model before anything is kept: a web page, and a body shorter than the server had said.
"""

import contextlib
import http.client
import io
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mace_app.model.adapter import mace_downloads
from mace_app.model.foundation.errors import FoundationError
from mace_app.published import Published

Progress = Callable[[int, int | None], None]


def cache_folder() -> Path:
    """mace-torch's own: ``mace`` below XDG_CACHE_HOME, or below ``~/.cache``."""
    return Path(mace_downloads().get_cache_dir())


def fetch(model: Published, progress: Progress) -> tuple[Path, bool]:
    """The file of ``model`` and whether it was downloaded just now rather than found in the cache.

    ``progress`` is told the bytes that came and how many are expected, if the server says so. FoundationError, one
    sentence, if the file can't be had; then the cache is as it was.
    """
    downloads = mace_downloads()
    table = downloads.mace_mp_urls if model.table == "mp" else downloads.mace_off_urls
    address = table[model.name]
    with _watched(model, progress) as opener, contextlib.redirect_stdout(io.StringIO()):
        try:
            os.makedirs(cache_folder(), exist_ok=True)
            path = _through_mace(downloads, model, address)
        except _Refused as error:
            raise _failed(model, str(error)) from error
        except urllib.error.HTTPError as error:
            error.close()
            raise _failed(model, f"{_host(error.url or address)} answered {error.code} {error.reason}") from error
        except (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, ConnectionError, TimeoutError) as error:
            reason = getattr(error, "reason", None) or error
            text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
            raise _failed(model, f"there is no connection to {_host(address)} ({text})") from error
    return path, opener.used


def _through_mace(downloads: Any, model: Published, address: str) -> Path:
    if model.table == "mp":
        return Path(downloads.download_mace_mp_checkpoint(model.name))
    # ``mace_off`` would also load the file, which executes it; so only its cache and its download are used.
    path = cache_folder() / os.path.basename(address).split("?")[0]
    if not path.is_file():
        downloads._urlretrieve_with_timeout(address, str(path))
    return path


class _Refused(Exception):
    """Why what a server sent is not kept."""


class _Opener(urllib.request.BaseHandler):
    """Wraps every answer that is about to be read."""

    handler_order = 2000  # after redirections and refusals were dealt with

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.used = False

    def http_response(self, request: urllib.request.Request, response: Any) -> Any:
        if isinstance(response, _Counted):
            return response  # that of a redirection
        self.used = True
        if response.headers.get_content_type() == "text/html":
            response.close()
            raise _Refused(f"{_host(request.full_url)} answered with a web page instead of the file")
        return _Counted(response, self._progress)

    https_response = http_response


class _Counted:
    """A response whose bytes are counted; its end before the length it had announced is an error."""

    def __init__(self, response: Any, progress: Progress) -> None:
        self._response = response
        self._progress = progress
        length = response.headers.get("Content-Length")
        self._expected = int(length) if length is not None and length.isdigit() else None
        self._come = 0
        progress(0, self._expected)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._response, name)

    def __enter__(self) -> "_Counted":
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()

    def read(self, amount: int) -> bytes:
        block: bytes = self._response.read1(amount)  # what has come, so that a slow line is seen to move
        self._come += len(block)
        if not block and self._expected is not None and self._come != self._expected:
            raise _Refused(f"only {self._come} of {self._expected} bytes came before the connection ended")
        self._progress(self._come, self._expected)
        return block


@contextlib.contextmanager
def _watched(model: Published, progress: Progress) -> Iterator[_Opener]:
    handler = _Opener(progress)
    urllib.request.install_opener(urllib.request.build_opener(handler))
    try:
        yield handler
    finally:
        urllib.request.install_opener(urllib.request.build_opener())


def _host(address: str) -> str:
    return urlsplit(address).hostname or address


def _failed(model: Published, reason: str) -> FoundationError:
    return FoundationError(
        f"{model.title} could not be downloaded: {reason}. Try again, or fetch `{model.file}.model` on another machine "
        "and give it as a file."
    )
