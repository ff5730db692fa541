"""How many pages may be open at once: each is a WebSocket, a session in memory and a thread now and then."""

from collections import Counter

from starlette.types import ASGIApp, Receive, Scope, Send

from mace_app.ui.server.refusing import refuse

MOST_SESSIONS = 200
MOST_OF_ONE_ADDRESS = 50


class Sessions:
    """ASGI middleware: a WebSocket beyond the bounds is refused before it is opened."""

    def __init__(self, app: ASGIApp, most: int = MOST_SESSIONS, most_of_one: int = MOST_OF_ONE_ADDRESS) -> None:
        self.app = app
        self.most = most
        self.most_of_one = most_of_one
        self._open: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await self.app(scope, receive, send)
            return
        client = scope["client"][0] if scope.get("client") else ""
        if self._open.total() >= self.most or self._open[client] >= self.most_of_one:
            await refuse(scope, receive, send, 503, "Too many pages are open.")
            return
        self._open[client] += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._open[client] -= 1
            if not self._open[client]:
                del self._open[client]
