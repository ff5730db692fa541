"""Saying no, over HTTP and over a WebSocket."""

from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

POLICY_VIOLATION = 1008


async def refuse(
    scope: Scope, receive: Receive, send: Send, status: int, sentence: str, headers: dict[str, str] | None = None
) -> None:
    """Answer with ``status`` and a sentence; a WebSocket is closed before it is opened, which browsers see as 403."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": ""})
        return
    answer = PlainTextResponse(
        sentence + "\n", status_code=status, headers={"Cache-Control": "no-store", **(headers or {})}
    )
    await answer(scope, receive, send)
