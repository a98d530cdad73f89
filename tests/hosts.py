"""HTTP servers on the loopback, which fail as public hosts do."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Host(ThreadingHTTPServer):
    """Serves `files` by path; sends half of those in `cut` (then hangs up, or hangs if `stall`), that many times."""

    daemon_threads = True

    def __init__(self, files, cut=None, stall=False):
        super().__init__(("127.0.0.1", 0), Answer)
        self.files, self.cut, self.stall = files, dict(cut or {}), stall
        self.asked, self.over = [], threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/"


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        host, path = self.server, self.path.removeprefix("/")
        host.asked.append(path)
        if path not in host.files:
            return self.send_error(404)
        body = host.files[path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = host.cut.get(path, 0) > 0
        if cut:
            host.cut[path] -= 1
        self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut and host.stall:
            host.over.wait(30)

    def log_message(self, *_):
        pass
