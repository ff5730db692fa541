"""A server that others can reach asks for a token, on every address and on the WebSocket."""

import os
import re
import subprocess
import sys
from urllib.parse import quote, urlsplit

import pytest
from app_server import ROOT, Server, free_port
from talking import TOKEN, ask, socket_status

ADDRESSES = (
    "/",
    "/train",
    "/static/index.html",
    "/_stcore/host-config",
    "/_stcore/metrics",
    "/app/static/icon.svg",
    "/downloads/runs/a/model.pt",
    "/media/a",
)


def printed_token(server: Server) -> str:
    found = re.search(r"http://localhost:\d+/\?token=([\w-]+)", server.log.read_text())
    assert found, "the token is not printed"
    return found[1]


def cookie_of(server: Server, token: str) -> dict[str, str]:
    answer = ask(server, f"/?token={quote(token)}")
    assert answer.status == 303
    name, _, value = answer.headers["Set-Cookie"].split(";")[0].partition("=")
    return {name: value}


def header_of(cookies: dict[str, str]) -> str:
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


@pytest.mark.parametrize("path", ADDRESSES)
def test_without_the_token_no_address_gives_anything(open_server: Server, path: str) -> None:
    answer = ask(open_server, path)
    assert answer.status == 401
    assert "asks for its token" in answer.text
    assert "streamlit" not in answer.text.lower()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
def test_no_method_goes_round_the_gate(open_server: Server, method: str) -> None:
    for path in ("/_stcore/upload_file/a/b", "/_stcore/health/", "/%5fstcore/health/x", "//_stcore/host-config"):
        assert ask(open_server, path, method).status == 401, path


def test_only_the_health_of_the_server_is_open(open_server: Server) -> None:
    assert ask(open_server, "/_stcore/health").body == b"ok"
    assert ask(open_server, "/_stcore/health", "PUT").status == 401


def test_the_websocket_stays_shut_without_the_token(open_server: Server) -> None:
    assert socket_status(open_server) == 403
    assert socket_status(open_server, Cookie="mace-studio-default=; mace-studio=x") == 403
    cookies = dict.fromkeys(cookie_of(open_server, printed_token(open_server)), "0" * 64)
    assert socket_status(open_server, Cookie=header_of(cookies)) == 403
    assert socket_status(open_server, Authorization=f"token {printed_token(open_server)}") == 403


def test_the_printed_address_is_exchanged_for_a_cookie_and_the_token_leaves_the_address(open_server: Server) -> None:
    token = printed_token(open_server)
    assert len(token) >= 32
    answer = ask(open_server, f"/runs?run=a%20b&token={token}")
    assert (answer.status, answer.headers["Location"]) == (303, "/runs?run=a+b")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie and token not in cookie
    kept = cookie.split(";")[0]
    assert str(urlsplit(open_server.url).port) in kept.partition("=")[0]
    assert ask(open_server, "/", headers={"Cookie": kept}).status == 200
    assert socket_status(open_server, Cookie=kept) == 101


@pytest.mark.parametrize("wrong", ["x", "", "ä" * 40, "\x00", "%ff", "A" * 100_0])
def test_wrong_tokens_and_odd_ones_are_refused(token_server: Server, wrong: str) -> None:
    answer = ask(token_server, f"/?token={quote(wrong)}", headers={"X-Forwarded-For": f"192.0.2.{len(wrong) % 250}"})
    assert answer.status in (401, 403) and "Set-Cookie" not in answer.headers


def test_a_token_in_the_address_leads_to_no_other_site(token_server: Server) -> None:
    for path in ("//evil.example/", "/\\evil.example", "///evil.example", "/%2f%2fevil.example"):
        location = ask(token_server, f"{path}?token={TOKEN}").headers["Location"]
        assert re.match(r"/(?![/\\])", location), location
    for place in ("https://evil.example", "//evil.example", "\\\\evil.example", "javascript:alert(1)"):
        body = f"token={TOKEN}&next={quote(place)}".encode()
        sent = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = ask(token_server, "/login", "POST", sent, body)
        assert answer.status == 303 and re.match(r"/(?![/\\])", answer.headers["Location"]), place


def test_the_form_shows_what_it_is_given_as_text(token_server: Server) -> None:
    answer = ask(token_server, "/%22%3E%3Cscript%3Ealert(1)%3C/script%3E?a=%22%3E%3Cscript%3E")
    assert "<script" not in answer.text
    assert answer.status == 401


def test_guessing_is_slowed_down_with_a_sentence(token_server: Server) -> None:
    # Streamlit's server believes this header from a proxy on this machine, so the test has addresses of its own.
    sender = {"X-Forwarded-For": "203.0.113.9"}
    answers = [ask(token_server, f"/?token=wrong-{n}", headers=sender) for n in range(12)]
    assert [answer.status for answer in answers] == [403] * 10 + [429] * 2
    assert "Too many wrong tokens" in answers[-1].text and int(answers[-1].headers["Retry-After"]) <= 60
    assert ask(token_server, f"/?token={TOKEN}", headers={"X-Forwarded-For": "203.0.113.10"}).status == 303


def test_a_chosen_token_also_guards_a_server_of_this_machine_and_is_not_printed(token_server: Server) -> None:
    assert ask(token_server, "/").status == 401
    assert socket_status(token_server) == 403
    assert socket_status(token_server, Cookie=header_of(cookie_of(token_server, TOKEN))) == 101
    assert TOKEN not in token_server.log.read_text()


def test_workers_and_the_supervisor_do_not_inherit_the_token() -> None:
    code = "import app, os; print(os.environ.get('MACE_APP_TOKEN'))"
    seen = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "MACE_APP_TOKEN": TOKEN},
    )  # fmt: skip
    assert seen.stdout.strip() == "None", seen.stderr


def test_a_server_for_others_answers_to_numbers_and_its_listed_names_only(open_server: Server) -> None:
    for host in ("192.0.2.7", "192.0.2.7:8501", "[2001:db8::1]:8501", "studio.example", "localhost"):
        assert ask(open_server, "/", headers={"Host": host}).status == 401, host
    for host in ("evil.example", "studio.example.evil.example", "xstudio.example", "1.2.3.4.evil.example"):
        assert ask(open_server, "/", headers={"Host": host}).status == 400, host


@pytest.mark.parametrize("token", ["short", "with a space in the middle", "umläute-umläute-umläute"])
def test_a_token_that_can_not_serve_ends_the_start_with_a_sentence(token: str) -> None:
    started = subprocess.run(
        [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(free_port())],
        cwd=ROOT, capture_output=True, text=True, timeout=60, env={**os.environ, "MACE_APP_TOKEN": token},
    )  # fmt: skip
    assert started.returncode != 0
    assert "MACE_APP_TOKEN has" in started.stderr and "Traceback" not in started.stderr
