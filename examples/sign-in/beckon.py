"""What a backend asks of Beckon, with nothing but the standard library."""
import base64
import http.client
import json
from urllib.parse import quote, urlencode, urlsplit


class Refused(Exception):
    """Beckon answered with an error: its code, its HTTP status and its message (docs/errors.md)."""

    def __init__(self, status, body):
        super().__init__(body.get("message", f"HTTP {status}"))
        self.status, self.code = status, body.get("code", 0)


class Unreachable(Exception):
    """Beckon did not answer in time."""


class Beckon:
    def __init__(self, api, account, secret, service):
        self.api, self.service = urlsplit(api), service
        self.authorization = "Basic " + base64.b64encode(f"{account}:{secret}".encode()).decode()

    def exchange(self, method, path, body=None, headers=None, seconds=10):
        """One request as it is. Returns status, headers and body."""
        secure = self.api.scheme == "https"
        connection = (http.client.HTTPSConnection if secure else http.client.HTTPConnection)(
            self.api.netloc, timeout=seconds)
        try:
            connection.request(method, path, body, headers or {})
            reply = connection.getresponse()
            return reply.status, reply.headers, reply.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(str(error)) from error
        finally:
            connection.close()

    def call(self, method, path, form=None, headers=None, seconds=10):
        """A call of the backend: a form goes in, JSON comes out. Returns the JSON and the headers."""
        headers = {"Authorization": self.authorization, **(headers or {})}
        body = None
        if form is not None:
            body = urlencode(form)
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        status, replied, data = self.exchange(
            method, f"/v2/Services/{self.service}{path}", body, headers, seconds)
        read = json.loads(data) if data else {}
        if status >= 400:
            raise Refused(status, read)
        return read, replied

    def person(self, identity):
        return f"/Entities/{quote(identity, safe='')}"

    # Enrolment.

    def access_token(self, identity):
        """What one phone enrols with: valid for five minutes, for one phone."""
        form = {"Identity": identity, "FactorType": "push", "Ttl": 300}
        return self.call("POST", "/AccessTokens", form)[0]["token"]

    def create_code_factor(self, identity):
        """An authenticator for one-time codes. Its secret is in this reply only."""
        form = {"FactorType": "totp", "FriendlyName": "Authenticator"}
        return self.call("POST", f"{self.person(identity)}/Factors", form)[0]

    def verify_code_factor(self, identity, factor, code):
        return self.call("POST", f"{self.person(identity)}/Factors/{factor}", {"AuthPayload": code})[0]

    def code_factor(self, identity):
        """The SID of the person's newest authenticator; None: there is none."""
        factors = self.call("GET", f"{self.person(identity)}/Factors?PageSize=100")[0]["factors"]
        verified = [f["sid"] for f in factors if f["factor_type"] == "totp" and f["status"] == "verified"]
        return verified[-1] if verified else None

    # Challenges.

    def create_challenge(self, identity, form, attempt):
        """Asks all phones of the person. The same attempt again makes no second challenge."""
        headers = {"Idempotency-Key": attempt}
        return self.call("POST", f"{self.person(identity)}/Challenges", form, headers)[0]

    def challenge(self, identity, sid, tag=None, wait=0):
        """The challenge and its version; None and the same version when nothing changed within `wait` seconds."""
        headers = {"If-None-Match": tag} if tag else {}
        read, replied = self.call(
            "GET", f"{self.person(identity)}/Challenges/{sid}?Wait={wait}", headers=headers, seconds=wait + 10)
        return (read or None), replied.get("ETag", tag)

    def push_again(self, identity, sid):
        return self.call("POST", f"{self.person(identity)}/Challenges/{sid}/Notifications", {})[0]

    def cancel(self, identity, sid):
        return self.call("POST", f"{self.person(identity)}/Challenges/{sid}", {"Status": "canceled"})[0]

    def check_code(self, identity, factor, code):
        """Whether the one-time code is right. It counts once."""
        form = {"FactorSid": factor, "AuthPayload": code}
        return self.call("POST", f"{self.person(identity)}/Challenges", form)[0]["status"] == "approved"
