"""Bounds on pages that are open at once."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from mace_app.ui.server.sessions import Sessions


async def stream(scope: Scope, receive: Receive, send: Send) -> None:
    """Open until the browser goes."""
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    assert (await receive())["type"] == "websocket.disconnect"


class Page:
    """A browser's side of one WebSocket."""

    def __init__(self, app: Sessions, address: str) -> None:
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        self._from_app: asyncio.Queue[Message] = asyncio.Queue()
        scope = {"type": "websocket", "path": "/_stcore/stream", "client": (address, 1)}
        self._task = asyncio.create_task(app(scope, self._to_app.get, self._from_app.put))

    async def opened(self) -> bool:
        await self._to_app.put({"type": "websocket.connect"})
        return (await self._from_app.get())["type"] == "websocket.accept"

    async def close(self) -> None:
        await self._to_app.put({"type": "websocket.disconnect"})
        await self._task


def in_a_thread(visit: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Tests in a browser leave a loop of events running in this one."""
    with ThreadPoolExecutor(1) as executor:
        executor.submit(lambda: asyncio.run(visit())).result()


@pytest.mark.parametrize(("addresses", "refused"), [("aab", "a"), ("abc", "abc")])
def test_a_page_too_many_is_refused_until_another_is_closed(addresses: str, refused: str) -> None:
    async def visit() -> None:
        app = Sessions(stream, most=3, most_of_one=2)
        pages = [Page(app, address) for address in addresses]
        assert all([await page.opened() for page in pages])
        assert not any([await Page(app, address).opened() for address in refused])
        for page in pages:
            await page.close()
        assert all([await Page(app, address).opened() for address in "abc"])
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    in_a_thread(visit)


def test_a_page_that_breaks_off_does_not_stay_counted() -> None:
    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        raise OSError("gone")

    async def visit() -> None:
        app = Sessions(fails, most=1, most_of_one=1)
        for _ in range(3):
            page = Page(app, "a")
            with pytest.raises(OSError, match="gone"):
                await page._to_app.put({"type": "websocket.connect"})
                await page._task

    in_a_thread(visit)
