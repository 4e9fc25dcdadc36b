"""Programs of the documentation, as printed: the two backends of docs/sign-in.md, each at most 60 lines, sign people in; the
one of docs/moving.md talks to Beckon with the helper library."""
import hashlib
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import unittest
import urllib.error
import urllib.parse
import urllib.request
import uuid

from device import Device
from world import READY, Case, Codes, raw, until

DOCS = pathlib.Path(__file__).resolve().parents[3] / "docs"
PATH = f"/v2/Services/{READY['service_sid']}"


def block(language, page="sign-in.md"):
    found = re.findall(rf"^```{language}\n(.*?)^```", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
    assert len(found) == 1, f"{page} has {len(found)} blocks of {language}"
    assert len(found[0].splitlines()) <= 60, f"{language}: {len(found[0].splitlines())} lines"
    return found[0]


class Person:
    """With a phone and an authenticator."""

    def __init__(self):
        self.email = f"{uuid.uuid4().hex[:12]}@example.com"
        self.identity = "user-" + hashlib.sha256(self.email.encode()).hexdigest()[:32]

    def enrol(self):
        self.phone = Device(
            READY["service_sid"], self.identity, push_token=uuid.uuid4().hex * 4, platform="fcm")
        token = raw("POST", f"{PATH}/AccessTokens", {"Identity": self.identity, "FactorType": "push"}).json()["token"]
        assert self.phone.create(token).status_code == 201 and self.phone.verify().status_code == 200
        made = raw("POST", f"{PATH}/Entities/{self.identity}/Factors", {
            "FactorType": "totp", "FriendlyName": "Codes", "Config.TimeStep": 20, "Config.Skew": 2}).json()
        self.codes = Codes(made["binding"]["secret"])
        verified = raw(
            "POST", f"{PATH}/Entities/{self.identity}/Factors/{made['sid']}", {"AuthPayload": self.codes.fresh()})
        assert verified.json()["status"] == "verified", verified.text
        return self

    def pending(self):
        return until(lambda: self.phone.challenges(Status="pending").json()["challenges"])[-1]

    def approve(self, number):
        answered = self.phone.answer(self.pending()["sid"], "approved", Number=number)
        assert answered.status_code == 200, answered.text


class Docs(Case):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.environment = {**os.environ, "BECKON_READY": os.environ["BECKON_READY"]}

    def tearDown(self):
        self.folder.cleanup()

    def script(self, name, text):
        path = os.path.join(self.folder.name, name)
        with open(path, "w") as file:
            file.write(text)
        return path

    def test_python_with_the_helper_library(self):
        with socket.create_server(("127.0.0.1", 0)) as found:
            port = found.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, self.script("backend.py", block("python"))],
            env={**self.environment, "PORT": str(port)}, stderr=subprocess.DEVNULL)

        def call(method, path, **form):
            body = urllib.parse.urlencode(form).encode() if method == "POST" else None
            query = "?" + urllib.parse.urlencode(form) if method == "GET" and form else ""
            request = urllib.request.Request(f"http://127.0.0.1:{port}{path}{query}", body, method=method)
            try:
                with urllib.request.urlopen(request, timeout=40) as reply:
                    return reply.status, json.load(reply)
            except urllib.error.HTTPError as refused:
                return refused.code, json.load(refused)

        def is_up():
            try:
                return call("GET", "/")[0] == 404
            except OSError:
                return False

        try:
            until(is_up)
            person = Person()
            status, refused = call("POST", "/sign-in", email=person.email)
            self.assertIn(refused["code"], (60318, 20404))
            person.enrol()

            status, made = call("POST", "/sign-in", email=person.email)
            self.assertEqual(status, 201, made)
            attempt = "/sign-in/" + made["attempt"]
            first = call("GET", attempt)[1]
            self.assertEqual(first["status"], "pending")
            self.assertEqual(person.pending()["hidden_details"], {"action": made["attempt"]})
            seen = first
            while seen.get("delivery") != "received":
                seen = call("GET", attempt, tag=seen["tag"])[1]
            self.assertEqual(call("GET", "/actions/" + made["attempt"]), (200, {"valid": True}))
            person.approve(first["number"])
            while seen.get("status") != "approved":
                seen = call("GET", attempt, tag=seen["tag"])[1]
            self.assertEqual(call("GET", "/actions/" + made["attempt"]), (200, {"valid": False}))
            # What is refused comes with its code: the challenge was answered.
            self.assertEqual(call("POST", attempt + "/again")[1]["code"], 60322)

            attempt = "/sign-in/" + call("POST", "/sign-in", email=person.email)[1]["attempt"]
            self.assertEqual(call("POST", attempt + "/code", code=person.codes.wrong())[0], 403)
            self.assertEqual(call("POST", attempt + "/code", code=person.codes.fresh()), (200, {"status": "approved"}))
            self.assertEqual(call("GET", attempt)[1]["status"], "expired")
        finally:
            # Not SIGTERM: the suite starts this on a thread that blocks it.
            process.kill()
            process.wait(20)

    def test_python_of_the_page_about_moving(self):
        environment = {
            **os.environ, "ACCOUNT_SID": READY["account_sid"], "AUTH_TOKEN": READY["auth_token"],
            "SERVICE_SID": self.service.sid, "BECKON_API": READY["api"]}
        printed = subprocess.run(
            [sys.executable, self.script("moving.py", block("python", "moving.md"))], env=environment, timeout=60,
            capture_output=True, text=True)
        self.assertEqual(printed.stdout, "Conformance True\n", printed.stderr)

    def terminal(self, email):
        return subprocess.Popen(
            ["bash", self.script("sign-in.sh", block("sh")), email], env=self.environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def lines_until(self, process, text):
        seen = []
        for line in process.stdout:
            seen.append(line)
            if text in line:
                return line
        self.fail(f"ended without {text!r}:\n{''.join(seen)}")

    def test_curl(self):
        person = Person()
        process = self.terminal(person.email)
        self.lines_until(process, "You have no phone yet.")
        self.assertEqual(process.wait(30), 1)
        process.stdin.close()
        process.stdout.close()
        person.enrol()

        with self.terminal(person.email) as process:
            number = self.lines_until(process, "this number").split()[-1]
            person.pending()
            self.lines_until(process, "Your phone has the request.")
            process.stdin.write("again\n")
            process.stdin.flush()
            self.lines_until(process, "Sent again.")
            person.approve(number)
            self.lines_until(process, "Signed in.")
            self.assertEqual(process.wait(30), 0)

        with self.terminal(person.email) as process:
            self.lines_until(process, "this number")
            for code, said in ((person.codes.wrong(), "not right"), (person.codes.fresh(), "Signed in with a code.")):
                process.stdin.write(code + "\n")
                process.stdin.flush()
                self.lines_until(process, said)
            self.assertEqual(process.wait(30), 0)


if __name__ == "__main__":
    unittest.main()
