"""A web server that plays the one of the published files, well or badly."""

import http.server
import threading
import time

_OTHERS = {"page": b"<html>Sign in</html>", "nonsense": b"PK\x03\x04 no model"}


class Server:
    """``url`` answers as ``behaviour`` says: file, moved, missing, truncated, page, nonsense, slow."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.behaviour = "file"
        self.asked: list[str] = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(self.path)
                server._answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.root = f"http://127.0.0.1:{self._http.server_address[1]}"

    def url(self, name: str) -> str:
        return f"{self.root}/{name}"

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        if self.behaviour == "missing":
            handler.send_error(404)
            return
        if self.behaviour == "moved" and not handler.path.startswith("/elsewhere"):
            handler.send_response(302)
            handler.send_header("Location", f"{self.root}/elsewhere")
            handler.end_headers()
            return
        content = _OTHERS.get(self.behaviour, self.content)
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html" if self.behaviour == "page" else "application/octet-stream")
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        if self.behaviour == "truncated":
            handler.wfile.write(content[: len(content) // 2])
        elif self.behaviour == "slow":
            handler.wfile.write(content[:1000])
            handler.wfile.flush()
            deadline = time.monotonic() + 30
            while self.behaviour == "slow" and time.monotonic() < deadline:
                time.sleep(0.02)
        else:
            handler.wfile.write(content)
