"""Uploads: bounded in size, number and rate, and written to disk as they arrive."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import IO

import streamlit as st
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mace_app.ui.server.rates import Rate
from mace_app.ui.server.refusing import refuse
from mace_app.ui.server.upload_store import Note, UploadStore

MOST_AT_ONCE = 4
MOST_PER_MINUTE = 30
PATIENCE_SECONDS = 60.0
# What a form adds to the file that is in it.
FORM_BYTES = 1 << 20
_PATH = re.compile(r"/_stcore/upload_file/[^/]+/[^/]+")
_BOUNDARY = "mace-studio-upload"


class Uploads:
    """ASGI middleware before Streamlit's own upload route.

    A body that is too large ends with 413, one that stops coming with 408. What is refused for another reason is read
    to its end and dropped, and its page is told why: browsers show nothing of an answer that comes too early.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._at_work = 0
        self._rate = Rate(MOST_PER_MINUTE, 60.0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "PUT" or not _PATH.fullmatch(scope["path"]):
            await self.app(scope, receive, send)
            return
        try:
            await self._take(scope, receive, send)
        except _TooLarge:
            most = st.get_option("server.maxUploadSize")
            await refuse(
                scope,
                receive,
                send,
                413,
                f"The file is larger than {most} MB, the most this server takes. Put it on the server's disk and "
                "name its path, or raise STREAMLIT_SERVER_MAX_UPLOAD_SIZE.",
                {"Connection": "close"},
            )
        except TimeoutError:
            await refuse(scope, receive, send, 408, "The upload stopped. Try again.", {"Connection": "close"})
        except FormParserError:
            await refuse(scope, receive, send, 400, "This is no upload of one file.", {"Connection": "close"})

    async def _take(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        most = int(st.get_option("server.maxUploadSize")) << 20
        announced = headers.get("content-length", "")
        if announced.isdigit() and int(announced) > most + FORM_BYTES:
            raise _TooLarge
        store = await run_in_threadpool(UploadStore)
        client = scope["client"][0] if scope.get("client") else ""
        reason = self._objection(client, int(announced) if announced.isdigit() else 0, await _room(store))
        form = _Form(headers.get("content-type", ""), most)
        if reason:
            async for piece in _pieces(receive):
                await run_in_threadpool(form.write, piece)
            await self._hand_on(scope, send, form, Note(refused=reason))
            return
        self._rate.note(client)
        self._at_work += 1
        path = await run_in_threadpool(store.new)
        kept = False
        try:
            with await run_in_threadpool(path.open, "xb") as file:
                form.file = file
                full = await self._write(form, receive, store)
            note = Note(refused=_NO_ROOM) if full else Note(stored=path.name)
            kept = await self._hand_on(scope, send, form, note) and not full
        finally:
            self._at_work -= 1
            if not kept:
                path.unlink(missing_ok=True)

    def _objection(self, client: str, size: int, room: int) -> str:
        if self._at_work >= MOST_AT_ONCE:
            return f"{MOST_AT_ONCE} files are being uploaded already, the most at once. Wait until one is done."
        if (seconds := self._rate.wait(client)) > 0:
            return f"More than {MOST_PER_MINUTE} files in a minute. Upload the next one in {seconds:.0f} seconds."
        return _NO_ROOM if size > room else ""

    async def _write(self, form: "_Form", receive: Receive, store: UploadStore) -> bool:
        """To disk, as long as there is room; True if it ended. The rest is read and dropped."""
        full = False
        async for piece in _pieces(receive):
            if not full and len(piece) > await _room(store):
                form.file, full = None, True
            try:
                await run_in_threadpool(form.write, piece)
            except OSError:
                form.file, full = None, True
        return full

    async def _hand_on(self, scope: Scope, send: Send, form: "_Form", note: Note) -> bool:
        """Give Streamlit the same upload with the note as its content; True if it took it."""
        body = form.with_content(note.to_bytes())
        replaced = [(name, value) for name, value in scope["headers"] if name not in _REPLACED]
        replaced += [
            (b"content-type", f"multipart/form-data; boundary={_BOUNDARY}".encode()),
            (b"content-length", str(len(body)).encode()),
        ]
        messages = [{"type": "http.request", "body": body, "more_body": False}]
        taken = False

        async def receive_note() -> Message:
            return messages.pop() if messages else {"type": "http.disconnect"}

        async def watch(message: Message) -> None:
            nonlocal taken
            if message["type"] == "http.response.start":
                taken = 200 <= message["status"] < 300
            await send(message)

        await self.app({**scope, "headers": replaced}, receive_note, watch)
        return taken


_NO_ROOM = "The disk of the workspace is too full for this file. Delete runs or data sets, then upload it again."
_REPLACED = (b"content-type", b"content-length", b"transfer-encoding")


class _TooLarge(Exception):
    """More bytes than `server.maxUploadSize`."""


class _Form:
    """A form with one file in it, read as it comes; the file's bytes go to ``file`` if that is set."""

    def __init__(self, content_type: str, most: int) -> None:
        kind, parameters = parse_options_header(content_type)
        if kind != b"multipart/form-data" or b"boundary" not in parameters:
            raise FormParserError("no multipart form")
        self.file: IO[bytes] | None = None
        self._most = most
        self._size = 0
        self._parts = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._name, self._value = b"", b""
        self._parser = MultipartParser(
            parameters[b"boundary"],
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_part_data": self._data,
            },
        )

    def write(self, piece: bytes) -> None:
        """FormParserError if it is no such form, OSError if the file can't be written."""
        self._parser.write(piece)

    def with_content(self, content: bytes) -> bytes:
        """The same form with other bytes in the place of the file's."""
        if self._parts != 1:
            raise FormParserError("not one file")
        head = b"".join(name + b": " + value + b"\r\n" for name, value in self._headers)
        edge = f"--{_BOUNDARY}".encode()
        return edge + b"\r\n" + head + b"\r\n" + content + b"\r\n" + edge + b"--\r\n"

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > 1:
            raise FormParserError("more than one file")

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers.append((self._name, self._value))
        self._name, self._value = b"", b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        if self._size > self._most:
            raise _TooLarge
        if self.file is not None:
            self.file.write(memoryview(data)[start:end])


async def _pieces(receive: Receive) -> AsyncIterator[bytes]:
    """The body as it comes; TimeoutError when nothing comes for a while, FormParserError when the sender has gone."""
    while True:
        message = await asyncio.wait_for(receive(), PATIENCE_SECONDS)
        if message["type"] == "http.disconnect":
            raise FormParserError("the sender has gone")
        if body := message.get("body", b""):
            yield body
        if not message.get("more_body", False):
            return


async def _room(store: UploadStore) -> int:
    return await run_in_threadpool(store.room)
