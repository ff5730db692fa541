"""Requests that came by a wrong name, or from the page of another site, are refused before anything else is asked."""

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from mace_app.ui.server.access import TOKEN_VARIABLE, Access, is_loopback
from mace_app.ui.server.refusing import refuse


class KnownHosts:
    """ASGI middleware for HTTP and WebSocket alike.

    The host protects against DNS rebinding: a stranger's name that suddenly leads here. The origin protects against
    pages of other sites, also of other ports of this machine, which Streamlit itself would let in.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app = app
        self.access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] in ("http", "websocket") else None
        if refusal is None:
            await self.app(scope, receive, send)
        else:
            await refuse(scope, receive, send, *refusal)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and sentence; None if there is nothing against the request."""
        headers = Headers(scope=scope)
        server = scope.get("server")
        # Another program than `streamlit run` may have bound the server to an address that the options don't say.
        if self.access.token is None and server is not None and server[1] is not None and not is_loopback(server[0]):
            return 403, (
                f"This server is set up for its own machine only. Start it with {TOKEN_VARIABLE} to use it from others."
            )
        given = headers.getlist("host")
        name = host_name(given[0]) if len(given) == 1 else None
        if name is None or not self.access.knows_host(name):
            return 400, (
                "This server does not answer to the name by which it was called. Use the address it printed at its "
                "start, or add the name to STREAMLIT_SERVER_ALLOWED_HOSTS and start it again."
            )
        for origin in headers.getlist("origin"):
            if not self._is_own(origin, given[0]):
                return 403, "Pages of other sites may not use this server. Open its own address in a tab of its own."
        # Pictures, scripts and the like carry no origin; browsers say in these headers for whom they ask.
        foreign = headers.get("sec-fetch-site") in ("cross-site", "same-site")
        if foreign and headers.get("sec-fetch-mode") != "navigate" and "origin" not in headers:
            return 403, "Pages of other sites may not load anything from this server."
        return None

    def _is_own(self, origin: str, host: str) -> bool:
        plain = origin.strip().lower()
        return plain in self.access.origins or plain in (f"http://{host.lower()}", f"https://{host.lower()}")


def host_name(host: str) -> str | None:
    """``example.org`` of the header ``Example.org:8501``; None if it is no host and port."""
    try:
        parts = urlsplit(f"//{host}")
        name, _ = parts.hostname, parts.port
    except ValueError:
        return None
    if not name or parts.netloc != host or parts.username is not None or parts.password is not None:
        return None
    return name.rstrip(".") or None
