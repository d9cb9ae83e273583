"""A stand-in for a server under test with scripted failures, for tests of the keywords' errors.

Told by its environment:
    REDIS_URL       shown in its first log record.
    MODE            `exit` ends with status 3 at once, `silent` never says that it listens, `deaf` ignores SIGTERM,
                    `bad-port` says that it listens on port 99999.
    TOKEN           what `/inspect` asks for, if set.
    CHILDREN        that many child processes are started.
    PORT            where it listens; a free port if not given.

Told over HTTP, by GET: /tell/health/<word>, /tell/health_status/<status>, /tell/ready/<status>, /tell/log/<line>,
/tell/exit/<status>, /tell/delay/<seconds>, /tell/body/<what every path answers from now on>.

Its log is on standard error, with field names of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

STATE = {"health": "up", "health_status": "200", "ready": "200", "delay": "0"}
MODE = os.environ.get("MODE", "")


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def log(**record: object) -> None:
    say(json.dumps(record))


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path = self.path.split("/")[1:]
        if path[0] == "tell":
            self.tell(path[1], unquote("/".join(path[2:])))
            self.answer(200, "{}")
        elif self.path == "/status":
            time.sleep(float(STATE["delay"]))
            health = {"state": STATE["health"], "parts": {"redis": STATE["health"]}, "pid": os.getpid()}
            self.answer(int(STATE["health_status"]), json.dumps(health))
        elif self.path == "/ready":
            self.answer(int(STATE["ready"]), "{}")
        elif self.path == "/metrics":
            self.answer(
                200, '# TYPE done counter\ndone_total{kind="a"} 2\ndone_total{kind="b"} 3.5\n# TYPE up gauge\nup 1\n'
            )
        elif self.path == "/inspect":
            token = os.environ.get("TOKEN")
            allowed = not token or self.headers["Authorization"] == f"Bearer {token}"
            self.answer(200 if allowed else 401, '{"consumer": "one", "invalid": {"NotSupported": 2}}')
        else:
            self.answer(404, "nothing here")

    def tell(self, what: str, value: str) -> None:
        if what == "log":
            say(value)
        elif what == "exit":
            self.answer(200, "{}")
            self.wfile.flush()
            say("something went wrong")
            os._exit(int(value))
        else:
            STATE[what] = value

    def answer(self, status: int, body: str) -> None:
        body = STATE.get("body", body)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    log(kind="begin", redis=os.environ.get("REDIS_URL"), extra=os.environ.get("EXTRA"), cwd=str(Path.cwd()))
    if MODE == "exit":
        say("MODE: 'exit' was asked for")
        sys.exit(3)
    if MODE == "silent":
        signal.pause()
    signal.signal(signal.SIGTERM, signal.SIG_IGN if MODE == "deaf" else lambda *_: os._exit(0))
    for _ in range(int(os.environ.get("CHILDREN", "0"))):
        subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "0"))), Handler)
    log(kind="listening", http=99999 if MODE == "bad-port" else server.server_port, severity="info")
    server.serve_forever()


main()
