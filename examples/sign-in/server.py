#!/usr/bin/env python3
"""A backend that signs people in with Beckon, and a phone as a web page. See README.md beside this file.

    examples/sign-in/server.py --ready-file /tmp/beckon.json
"""
import argparse
import http.server
import json
import os
import pathlib
import re
import sys
import time
from datetime import datetime, timezone
from http import cookies

import qr
from attempts import Attempt, Table, WakeUps, identity_of
from beckon import Beckon, Refused, Unreachable

WEB = pathlib.Path(__file__).parent / "web"
FILES = {
    "/": ("sign-in.html", "text/html"), "/phone": ("phone.html", "text/html"), "/style.css": ("style.css", "text/css"),
    "/sign-in.js": ("sign-in.js", "text/javascript"), "/phone.js": ("phone.js", "text/javascript"),
    "/device.js": ("device.js", "text/javascript"), "/icon.svg": ("icon.svg", "image/svg+xml"),
}
POLICY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
LONGEST_WAIT = 25
ENDED = ("approved", "denied", "expired")


class Problem(Exception):
    """What the page is told."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class Backend:
    def __init__(self, beckon, origin):
        self.beckon, self.origin = beckon, origin
        self.attempts, self.sessions = Table(seconds=900), Table(seconds=8 * 3600)
        self.enrolments, self.phones = Table(seconds=300), Table(seconds=365 * 86400)
        # Attempts by the name that phones see.
        self.actions = {}
        self.wake_ups = WakeUps()

    # The browser that signs in.

    def sign_in(self, email, browser):
        if not re.fullmatch(r"[^@\s]+@[^@\s]+", email) or len(email) > 254:
            raise Problem(400, "Enter an e-mail address, for example ann@example.com.")
        attempt = Attempt(email)
        fields = [("Browser", browser), ("Time", datetime.now(timezone.utc).strftime("%H:%M UTC"))]
        form = [
            ("Details.Message", "Sign in to Example Bank?"),
            *(("Details.Fields", json.dumps({"label": label, "value": value})) for label, value in fields),
            # The phone asks with this name whether the page still waits.
            ("HiddenDetails", json.dumps({"action": attempt.name})),
            # One attempt in one browser: a second click gets the same challenge.
            ("ActionKey", attempt.name), ("NumberMatching", "true"), ("Fallback", "totp"),
        ]
        try:
            challenge = self.beckon.create_challenge(attempt.identity, form, attempt.name)
        except Refused as refused:
            # 60318: the person has no phone. 20404: Beckon does not know the person.
            if refused.code in (60318, 20404):
                return None, {"needs": "phone"}
            if refused.status == 429:
                raise Problem(429, "Too many attempts. Wait a moment, or use a code.") from refused
            raise
        attempt.challenge = challenge["sid"]
        self.actions[attempt.name] = attempt
        while len(self.actions) > 10_000:
            self.actions.pop(next(iter(self.actions)))
        self.wake_ups.ring(attempt.identity)
        return self.attempts.add(attempt), {"state": self.state(challenge)}

    def state(self, challenge):
        """What the page shows."""
        extras = challenge.get("beckon") or {}
        return {
            "status": challenge["status"], "reason": challenge["responded_reason"],
            "delivery": extras.get("delivery", "waiting"), "denied": extras.get("denied_reason"),
            "number": (extras.get("number_matching") or {}).get("number"), "until": challenge["expiration_date"],
        }

    def follow(self, attempt):
        """Every state of the challenge from now on, to its end. None: still the same, 25 s later."""
        tag = None
        while True:
            challenge, tag = self.beckon.challenge(
                attempt.identity, attempt.challenge, tag, LONGEST_WAIT if tag else 0)
            if challenge is not None and challenge["status"] in ENDED:
                attempt.is_open = False
            yield self.state(challenge) if challenge else None
            if not attempt.is_open:
                return

    def push_again(self, attempt):
        try:
            self.beckon.push_again(attempt.identity, attempt.challenge)
        except Refused as refused:
            # 60307: the phone has no push channel. It hears of it all the same.
            if refused.code == 60309:
                raise Problem(429, "Sent three times already. Open the app on your phone, or use a code.") from refused
            if refused.code != 60307:
                raise Problem(409, "This request is over. Start again.") from refused
        self.wake_ups.ring(attempt.identity)

    def use_code(self, attempt, code):
        factor = self.beckon.code_factor(attempt.identity)
        if factor is None:
            raise Problem(409, "You have no codes yet. Enrol a phone: it shows them.")
        try:
            is_right = re.fullmatch(r"[0-9]{6}", code) and self.beckon.check_code(attempt.identity, factor, code)
        except Refused as refused:
            raise Problem(429, "Too many wrong codes. Try again later.") from refused
        if not is_right:
            raise Problem(403, "This code is not right, or was used before. Wait for the next one.")
        self.cancel(attempt)

    def cancel(self, attempt):
        attempt.is_open = False
        try:
            self.beckon.cancel(attempt.identity, attempt.challenge)
        except Refused:
            pass  # It is over already.

    def is_valid(self, action):
        attempt = self.actions.get(action)
        return attempt is not None and attempt.is_open

    def session(self, attempt):
        """Only for an attempt that the person approved, and once."""
        challenge, _ = self.beckon.challenge(attempt.identity, attempt.challenge)
        if challenge["status"] != "approved":
            raise Problem(403, "This sign-in was not approved.")
        return self.sessions.add(attempt.email)

    # The phone.

    def enrol(self, email):
        """A link for one phone. In a real bank the person is signed in when they get it."""
        if not re.fullmatch(r"[^@\s]+@[^@\s]+", email) or len(email) > 254:
            raise Problem(400, "Enter an e-mail address, for example ann@example.com.")
        link = f"{self.origin}/phone#{self.enrolments.add(email)}"
        return {"link": link, "qr": qr.matrix(link)}

    def redeem(self, code):
        """What the phone needs to make its two factors. Good once."""
        email = self.enrolments.pop(code)
        if email is None:
            raise Problem(404, "This link is used up or older than five minutes. Ask for a new one.")
        identity = identity_of(email)
        token = self.beckon.access_token(identity)
        codes = self.beckon.create_code_factor(identity)
        key = self.phones.add({"identity": identity, "codes": codes["sid"]})
        return {
            "email": email, "identity": identity, "service": self.beckon.service, "access_token": token, "key": key,
            "codes": {"secret": codes["binding"]["secret"], "step": codes["config"]["time_step"]},
        }

    def confirm_codes(self, phone, code):
        self.beckon.verify_code_factor(phone["identity"], phone["codes"], code)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # A page that is silent for so long is gone.
    timeout = 60
    backend = None

    def do_GET(self):
        self.answer(self.get)

    def do_POST(self):
        self.answer(self.post)

    def do_DELETE(self):
        self.answer(self.device)

    def answer(self, handle):
        try:
            handle()
        except Problem as problem:
            self.reply(problem.status, {"message": str(problem)})
        except Refused as refused:
            self.reply(502, {"message": f"Beckon refused: {refused} ({refused.code})"})
        except Unreachable:
            self.reply(503, {"message": "Beckon does not answer. Try again in a moment."})
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            self.close_connection = True

    # What there is.

    def get(self):
        path = self.path.split("?")[0]
        if path in FILES:
            name, kind = FILES[path]
            return self.send(200, (WEB / name).read_bytes(), kind + "; charset=utf-8")
        if path == "/session":
            email = self.backend.sessions.get(self.cookie("session"))
            return self.reply(200, {"email": email})
        if path == "/sign-in/events":
            return self.events()
        if path.startswith("/actions/"):
            return self.reply(200, {"valid": self.backend.is_valid(path.removeprefix("/actions/"))})
        if path.startswith("/device/"):
            return self.device()
        if path == "/phone/wake":
            phone = self.phone()
            seen = self.headers.get("Seen", "")
            count = self.backend.wake_ups.wait(phone["identity"], int(seen) if seen.isdigit() else -1, LONGEST_WAIT)
            return self.reply(200, {"count": count})
        raise Problem(404, "There is nothing here.")

    def post(self):
        if self.path.startswith("/device/"):
            return self.device()
        asked = self.json()
        if self.path == "/sign-in":
            key, answer = self.backend.sign_in(asked.get("email", ""), self.browser())
            return self.reply(201, answer, {"attempt": key} if key else {})
        if self.path == "/sign-in/again":
            self.backend.push_again(self.attempt())
            return self.reply(200, {})
        if self.path == "/sign-in/code":
            attempt = self.attempt()
            self.backend.use_code(attempt, asked.get("code", "").replace(" ", ""))
            return self.reply(200, {}, {"session": self.backend.sessions.add(attempt.email), "attempt": ""})
        if self.path == "/sign-in/finish":
            return self.reply(200, {}, {"session": self.backend.session(self.attempt()), "attempt": ""})
        if self.path == "/sign-in/cancel":
            self.backend.cancel(self.attempt())
            return self.reply(200, {}, {"attempt": ""})
        if self.path == "/sign-out":
            self.backend.sessions.pop(self.cookie("session"))
            return self.reply(200, {}, {"session": ""})
        if self.path == "/enrolments":
            return self.reply(201, self.backend.enrol(asked.get("email", "")))
        if self.path == "/enrolments/redeem":
            return self.reply(200, self.backend.redeem(asked.get("code", "")))
        if self.path == "/phone/codes":
            self.backend.confirm_codes(self.phone(), asked.get("code", ""))
            return self.reply(200, {})
        raise Problem(404, "There is nothing here.")

    def events(self):
        """Server-sent events: the state at once, and again after each change."""
        states = self.backend.follow(self.attempt())
        try:
            first = next(states)
        except Unreachable:
            first = None  # With an error the page would not connect again.
        self.send_response(200)
        for name, value in {**POLICY, "Content-Type": "text/event-stream", "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True
        self.event(first)
        try:
            for state in states:
                self.event(state)
        except (Refused, Unreachable):
            pass  # The page connects again.

    def event(self, state):
        self.wfile.write(f"data: {json.dumps(state)}\n\n".encode() if state else b": still here\n\n")

    def device(self):
        """Hands a request of the phone on to Beckon as it is. Real phones talk to Beckon directly."""
        path = self.path.removeprefix("/device")
        if not re.match(r"/v2/(Services/[^/]+/Entities/[^/]+/(Factors|Challenges)\b|Receipts$)", path):
            raise Problem(404, "There is nothing here.")
        kept = ("Authorization", "Content-Type", "If-None-Match")
        headers = {name: self.headers[name] for name in kept if self.headers[name]}
        status, replied, data = self.backend.beckon.exchange(
            self.command, path, self.body() if self.command == "POST" else None, headers, LONGEST_WAIT + 10)
        self.send_response(status)
        for name in ("Content-Type", "ETag", "Twilio-Verify-Signature-Fields", "Retry-After"):
            if replied[name]:
                self.send_header(name, replied[name])
        self.send_header("Cache-Control", "no-store")
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if status not in (204, 304):
            self.wfile.write(data)

    # Who asks.

    def attempt(self):
        attempt = self.backend.attempts.get(self.cookie("attempt"))
        if attempt is None:
            raise Problem(404, "This sign-in is over. Start again.")
        return attempt

    def phone(self):
        phone = self.backend.phones.get(self.headers.get("Phone-Key", ""))
        if phone is None:
            raise Problem(401, "This phone is not known here.")
        return phone

    def cookie(self, name):
        found = cookies.SimpleCookie(self.headers.get("Cookie", "")).get(name)
        return found.value if found else ""

    def browser(self):
        agent = self.headers.get("User-Agent", "")
        name = next((n for n in ("Firefox", "Edg", "Chrome", "Safari") if n in agent), "A browser")
        system = next((s for s in ("Android", "iPhone", "Windows", "Mac OS", "Linux") if s in agent), "an unknown system")
        return f"{name.replace('Edg', 'Edge')} on {system}"

    # What comes and goes.

    def body(self):
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > 65_536:
            self.close_connection = True
            raise Problem(413, "The request is too large.")
        return self.rfile.read(int(length))

    def json(self):
        """Only pages of this origin can send it: other origins would need a permission that they do not get."""
        data = self.body()
        if self.headers.get_content_type() != "application/json":
            raise Problem(415, "Expected application/json.")
        try:
            asked = json.loads(data)
        except ValueError as error:
            raise Problem(400, "Expected JSON.") from error
        if not isinstance(asked, dict) or not all(isinstance(value, str) for value in asked.values()):
            raise Problem(400, "Expected a JSON object of texts.")
        return asked

    def reply(self, status, value, cookies_set=None):
        headers = []
        for name, text in (cookies_set or {}).items():
            secure = "; Secure" if self.backend.origin.startswith("https:") else ""
            age = "; Max-Age=0" if not text else ""
            headers.append(("Set-Cookie", f"{name}={text}; Path=/; HttpOnly; SameSite=Strict{secure}{age}"))
        self.send(status, json.dumps(value).encode(), "application/json", headers)

    def send(self, status, data, kind, headers=()):
        self.send_response(status)
        for name, value in [*POLICY.items(), ("Content-Type", kind), ("Content-Length", str(len(data))), *headers]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main():
    parser = argparse.ArgumentParser(description="Signs people in with Beckon.")
    parser.add_argument("--ready-file", help="the ready file of `beckon dev`; without it BECKON_API, BECKON_ACCOUNT, "
                        "BECKON_SECRET and BECKON_SERVICE say where Beckon is and who asks")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="0: any free one")
    parser.add_argument("--origin", help="as browsers see it; default http://localhost:PORT")
    chosen = parser.parse_args()
    if chosen.ready_file:
        # `beckon dev` may still be starting.
        for _ in range(300):
            if os.path.exists(chosen.ready_file) and os.path.getsize(chosen.ready_file):
                break
            time.sleep(0.2)
        else:
            sys.exit(f"{chosen.ready_file}: not there after a minute. Does `beckon dev --ready-file {chosen.ready_file}` run?")
        with open(chosen.ready_file) as file:
            ready = json.load(file)
        where = (ready["api"], ready["account_sid"], ready["auth_token"], ready["service_sid"])
    else:
        names = ("BECKON_API", "BECKON_ACCOUNT", "BECKON_SECRET", "BECKON_SERVICE")
        missing = [name for name in names if not os.environ.get(name)]
        if missing:
            sys.exit(f"missing: {', '.join(missing)}, or --ready-file")
        where = tuple(os.environ[name] for name in names)
    server = Server((chosen.host, chosen.port), Handler)
    origin = chosen.origin or f"http://localhost:{server.server_port}"
    Handler.backend = Backend(Beckon(*where), origin)
    print(f"Sign in:    {origin}/\nThe phone:  {origin}/phone", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
