"""The gate: without the token, or the cookie that it was exchanged for, nobody gets in, over HTTP or WebSocket.

It works in Jupyter's manner: the address with ``?token=…`` is opened once, the browser keeps a cookie, and the address
is left without the token. Without either there is a page that asks for the token.
"""

import hmac
import math
from hashlib import sha256
from urllib.parse import parse_qs, parse_qsl, quote, urlencode, urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from mace_app.ui.server.login_page import login_page
from mace_app.ui.server.rates import Rate
from mace_app.ui.server.refusing import refuse

LOGIN_PATH = "/login"
# What supervisors of containers ask for; it says nothing but that the server lives.
HEALTH_PATH = "/_stcore/health"
LONGEST_FORM = 8192
WRONG_TOKENS, WRONG_SECONDS = 10, 60.0


class TokenGate:
    """ASGI middleware around everything that asks for ``token``."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app = app
        self._token = token.encode()
        # The cookie is not the token: one that leaks can't be used to log in elsewhere, and ends with the token.
        self._cookie = hmac.new(self._token, b"cookie of MACE Studio", sha256).hexdigest()
        self._wrong = Rate(WRONG_TOKENS, WRONG_SECONDS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or self._open(scope):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await refuse(scope, receive, send, 403, "")
        elif scope["path"] == LOGIN_PATH and scope["method"] == "POST":
            await (await self._log_in(Request(scope, receive)))(scope, receive, send)
        else:
            await self._ask(scope)(scope, receive, send)

    def _open(self, scope: Scope) -> bool:
        if scope["type"] == "http" and scope["path"] == HEALTH_PATH and scope["method"] in ("GET", "HEAD"):
            return True
        cookie = HTTPConnection(scope).cookies.get(cookie_name(scope), "")
        return hmac.compare_digest(cookie.encode(), self._cookie.encode())

    def _ask(self, scope: Scope) -> Response:
        """For a request without cookie: let it in with its token, or ask for one."""
        query = scope["query_string"].decode("latin-1")
        given = parse_qs(query).get("token", [""])[0]
        place = _without_token(scope["path"], query)
        if not given:
            return login_page(place)
        return self._answer(scope, given, place)

    async def _log_in(self, request: Request) -> Response:
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > LONGEST_FORM:
                return login_page("/", "What was sent is too long for a token.", 413)
        form = parse_qs(body.decode("utf-8", "replace"))
        given, place = form.get("token", [""])[0].strip(), form.get("next", ["/"])[0]
        return self._answer(request.scope, given, _own_place(place))

    def _answer(self, scope: Scope, given: str, place: str) -> Response:
        client = scope["client"][0] if scope.get("client") else ""
        if (seconds := self._wrong.wait(client)) > 0:
            again = math.ceil(seconds)
            page = login_page(place, f"Too many wrong tokens. Try again in {again} seconds.", 429)
            page.headers["Retry-After"] = str(again)
            return page
        if not hmac.compare_digest(given.encode("utf-8", "replace"), self._token):
            self._wrong.note(client)
            return login_page(place, "That is not the token of this server. It may have been started anew since.", 403)
        answer = RedirectResponse(place, 303, headers={"Cache-Control": "no-store"})
        answer.set_cookie(
            cookie_name(scope), self._cookie, httponly=True, samesite="lax", secure=scope.get("scheme") == "https"
        )
        return answer


def cookie_name(scope: Scope) -> str:
    """Browsers share cookies among the ports of a host, so the port is part of the name."""
    try:
        port = urlsplit(f"//{Headers(scope=scope).get('host', '')}").port
    except ValueError:
        port = None
    return f"mace-studio-{port or 'default'}"


def _without_token(path: str, query: str) -> str:
    kept = [(name, value) for name, value in parse_qsl(query, keep_blank_values=True) if name != "token"]
    return _own_place(quote(path) + (f"?{urlencode(kept)}" if kept else ""))


def _own_place(place: str) -> str:
    """A path of this server: ``//elsewhere`` and ``https://elsewhere`` would lead away from it."""
    plain = "".join(character for character in place if character.isprintable() and character != "\\")
    return "/" + plain.lstrip("/") if plain.startswith("/") and plain.lstrip("/") != "login" else "/"
