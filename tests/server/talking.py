"""Speaking to a running server as no browser would: any header, any path, and its WebSocket."""

import http.client
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from app_server import Server
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

TOKEN = "a-token-of-24-characters"


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


def ask(
    server: Server,
    path: str,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | Iterator[bytes] | None = None,
) -> Answer:
    """One request, its path and headers exactly as given; nothing is followed."""
    address = urlsplit(server.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    try:
        connection.request(method, path, body, dict(headers or {}), encode_chunked=not isinstance(body, bytes | None))
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


@contextmanager
def socket(server: Server, **headers: str) -> Iterator[ClientConnection]:
    """The WebSocket of the pages, with these headers besides those of the protocol."""
    url = server.url.replace("http", "ws", 1) + "/_stcore/stream"
    with connect(
        url, additional_headers=headers, subprotocols=["streamlit"], open_timeout=60, max_size=None, max_queue=None
    ) as connection:  # type: ignore[list-item]
        yield connection


def socket_status(server: Server, **headers: str) -> int:
    """101 if the WebSocket opens, otherwise the status with which it was refused."""
    try:
        with socket(server, **headers):
            return 101
    except InvalidStatus as refusal:
        return refusal.response.status_code


@dataclass
class Visit:
    """A page that was opened over the WebSocket: what is needed to upload into it."""

    session: str
    cookies: dict[str, str] = field(default_factory=dict)

    def headers(self) -> dict[str, str]:
        return {
            "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
            "X-Xsrftoken": self.cookies["_streamlit_xsrf"],
        }


@contextmanager
def visit(server: Server, cookies: Mapping[str, str] | None = None) -> Iterator[Visit]:
    """Open the app as its page does, as long as the block lasts."""
    health = ask(server, "/_stcore/health")
    pair = health.headers["Set-Cookie"].split(";")[0]
    kept = {**(cookies or {}), "_streamlit_xsrf": pair.partition("=")[2]}
    header = "; ".join(f"{name}={value}" for name, value in kept.items())
    with socket(server, Cookie=header) as connection:
        start = BackMsg()
        start.rerun_script.query_string = ""
        connection.send(start.SerializeToString())
        while True:
            message = ForwardMsg.FromString(connection.recv(60))
            if message.HasField("new_session"):
                break
        yield Visit(message.new_session.initialize.session_id, kept)


def form(content: bytes, name: str = "structures.xyz", edge: str = "edge") -> bytes:
    """A form with one file."""
    head = f'--{edge}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n'
    return f"{head}Content-Type: text/plain\r\n\r\n".encode() + content + f"\r\n--{edge}--\r\n".encode()


def upload(server: Server, visit: Visit, body: bytes | Iterator[bytes], file: str = "one", **headers: str) -> Answer:
    """Put a form into the page's upload route; headers may be replaced."""
    sent = {"Content-Type": "multipart/form-data; boundary=edge", **visit.headers(), **headers}
    return ask(server, f"/_stcore/upload_file/{visit.session}/{file}", "PUT", sent, body)
