"""What stands between the network and the pages: hosts, origins, the token, uploads, headers."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import streamlit as st
from starlette.middleware import Middleware

from mace_app.ui.server.access import TOKEN_VARIABLE, Access, AccessError, server_access
from mace_app.ui.server.gate import TokenGate
from mace_app.ui.server.headers import SecurityHeaders
from mace_app.ui.server.known_hosts import KnownHosts
from mace_app.ui.server.sessions import Sessions
from mace_app.ui.server.uploads import Uploads

__all__ = ["Access", "AccessError", "announcement", "lifespan_of", "middleware", "server_access"]


def middleware(access: Access) -> list[Middleware]:
    """From the outside in; they surround Streamlit's own routes, its WebSocket and ours."""
    gate = [Middleware(TokenGate, token=access.token)] if access.token is not None else []
    return [
        Middleware(SecurityHeaders),
        Middleware(KnownHosts, access=access),
        *gate,
        Middleware(Sessions),
        Middleware(Uploads),
    ]


def announcement(access: Access) -> str:
    """What the terminal says once the server is there."""
    bound = st.get_option("server.address")
    host = "localhost" if bound in (None, "0.0.0.0", "::") else f"[{bound}]" if ":" in bound else bound
    scheme = "https" if st.get_option("server.sslCertFile") else "http"
    url = f"{scheme}://{host}:{st.get_option('server.port')}"
    if access.token is None:
        return f"MACE Studio is ready. Open {url} in a browser on this machine."
    if not access.generated:
        return f"MACE Studio is ready at {url} and asks for the token of {TOKEN_VARIABLE}."
    text = (
        f"MACE Studio is ready and asks for a token. Open\n\n    {url}/?token={access.token}\n\nonce in each browser."
    )
    if access.local:
        return text
    return f"{text} From another machine, put this machine's name or IP address in the place of {host}."


def lifespan_of(access: Access) -> Callable[[st.App], AbstractAsyncContextManager[None]]:
    """For `st.App`: says where the server is once its port is known."""

    @asynccontextmanager
    async def lifespan(_: st.App) -> AsyncIterator[None]:
        print(announcement(access), flush=True)
        yield

    return lifespan
