"""A service on this machine with the embeddings API of OpenAI's clients, which can be told to misbehave."""

import base64
import json
import ssl
import threading
import time
from collections import deque
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Service(ThreadingHTTPServer):
    """``POST /v1/embeddings`` of one encoder; ``misbehave`` holds what is answered instead, one for each request."""

    daemon_threads = True

    def __init__(self, encoder, tls=None):
        super().__init__(("127.0.0.1", 0), Handler)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.encoder, self.misbehave, self.seen = encoder, deque(), []
        self.key, self.only_floats, self.shuffled = None, False, False
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.server_address[1]}/v1"

    def rows(self, asked):
        vectors = self.encoder.encode(asked["input"], modality="text")
        as_text = asked["encoding_format"] == "base64" and not self.only_floats
        made = [base64.b64encode(v.tobytes()).decode() if as_text else v.tolist() for v in vectors]
        rows = [{"object": "embedding", "index": i, "embedding": e} for i, e in enumerate(made)]
        return rows[::-1] if self.shuffled else rows


class Handler(BaseHTTPRequestHandler):
    def handle(self):
        with suppress(ConnectionError, ssl.SSLError):  # whoever asked has hung up
            super().handle()

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        service = self.server
        service.seen.append((asked, self.headers.get("Authorization"), time.monotonic()))
        if self.path != "/v1/embeddings":
            self.answer(404, {"error": f"there is no {self.path}"})
        elif service.key is not None and self.headers.get("Authorization") != f"Bearer {service.key}":
            self.answer(401, {"error": {"message": f"Incorrect key: {self.headers.get('Authorization')}"}})
        elif service.misbehave:
            service.misbehave.popleft()(self, asked)
        else:
            self.answer(200, {"object": "list", "data": service.rows(asked), "model": asked["model"]})

    def answer(self, status, body, headers=()):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *said):
        pass


@contextmanager
def serving(encoder, tls=None):
    """While it lasts; tls: an `ssl.SSLContext` for https."""
    service = Service(encoder, tls)
    thread = threading.Thread(target=service.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield service
    finally:
        service.shutdown()
        service.server_close()
        thread.join()
