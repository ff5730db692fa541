"""A server for this machine only answers to its own names, and to its own pages."""

import socket as sockets
from urllib.parse import urlsplit

import pytest
from app_server import Server
from talking import ask, socket_status

ADDRESSES = (
    "/",
    "/train",
    "/_stcore/health",
    "/_stcore/host-config",
    "/static/index.html",
    "/downloads/runs/a/model.pt",
)


def port_of(server: Server) -> int:
    return urlsplit(server.url).port or 0


def test_it_listens_on_the_loopback_interface_only(local_server: Server) -> None:
    with sockets.socket(sockets.AF_INET, sockets.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; tells which address this machine has
        except OSError:
            pytest.skip("this machine has no other interface")
        other = probe.getsockname()[0]
    with pytest.raises(OSError), sockets.create_connection((other, port_of(local_server)), timeout=2):
        pass


def test_no_token_is_asked_for_on_the_machine_itself(local_server: Server) -> None:
    assert ask(local_server, "/").status == 200
    assert socket_status(local_server) == 101
    assert "is ready. Open http://127.0.0.1" in local_server.log.read_text()


@pytest.mark.parametrize("path", ADDRESSES)
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "192.0.2.7", ""])
def test_foreign_hosts_are_refused_on_every_address(local_server: Server, path: str, host: str) -> None:
    answer = ask(local_server, path, headers={"Host": host})
    assert answer.status == 400
    assert "does not answer to the name" in answer.text


def test_the_own_names_are_known_with_and_without_port(local_server: Server) -> None:
    port = port_of(local_server)
    for host in ("localhost", f"localhost:{port}", "LOCALHOST", f"127.0.0.1:{port}", f"[::1]:{port}"):
        assert ask(local_server, "/_stcore/health", headers={"Host": host}).status == 200, host


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:3000", "https://127.0.0.1"])
def test_pages_of_other_sites_are_refused_also_those_of_other_ports(
    local_server: Server, method: str, origin: str
) -> None:
    for path in ("/_stcore/health", "/_stcore/upload_file/a/b"):
        answer = ask(local_server, path, method, {"Origin": origin})
        assert answer.status == 403
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_what_other_sites_embed_is_refused_and_their_links_work(local_server: Server) -> None:
    picture = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert ask(local_server, "/downloads/runs/a/model.pt", headers=picture).status == 403
    assert ask(local_server, "/app/static/icon.svg", headers={**picture, "Sec-Fetch-Site": "same-site"}).status == 403
    assert ask(local_server, "/train", headers=link).status == 200


def test_the_websocket_opens_for_the_own_page_only(local_server: Server) -> None:
    port = port_of(local_server)
    assert socket_status(local_server, Origin=f"http://127.0.0.1:{port}") == 101
    for origin in ("http://evil.example", "null", "http://localhost:3000", "http://127.0.0.1:1", "file://"):
        assert socket_status(local_server, Origin=origin) == 403, origin


def test_a_rebound_name_opens_no_websocket(local_server: Server) -> None:
    import http.client

    port = port_of(local_server)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    upgrade = {
        "Host": f"evil.example:{port}",
        "Origin": f"http://evil.example:{port}",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    connection.request("GET", "/_stcore/stream", headers=upgrade)
    assert connection.getresponse().status == 403
    connection.close()


@pytest.mark.parametrize("path", ["/", "/_stcore/health", "/no/such/page", "/downloads/runs/a/b", "/static/index.html"])
def test_every_answer_tells_browsers_what_pages_may_do(local_server: Server, path: str) -> None:
    headers = ask(local_server, path).headers
    policy = headers["Content-Security-Policy"]
    scripts = next(part for part in policy.split("; ") if part.startswith("script-src"))
    assert "unsafe" not in scripts and "*" not in policy and "http" not in policy
    assert "frame-ancestors 'self'" in policy and "object-src 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["X-Frame-Options"] == "SAMEORIGIN"
