"""A running `beckon dev` and an unmodified twilio-python that talks to it."""
import base64
import hashlib
import hmac
import json
import os
import struct
import time
import unittest
import uuid
from urllib.parse import urlsplit

import requests
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

import described

with open(os.environ["BECKON_READY"]) as ready:
    READY = json.load(ready)
API = READY["api"]
DESCRIPTION = described.load()


def compare(response, *args, **kwargs):
    """Every reply that a client of ours gets passes here."""
    if DESCRIPTION is not None:
        DESCRIPTION.check(
            response.request.method, urlsplit(response.url).path, response.status_code, response.headers,
            response.content)
    assert "Date" in response.headers and response.headers["Twilio-Request-Id"].startswith("RQ")


def client(password=None):
    """The helper library as it is published; another base URL is all that it gets."""
    http = TwilioHttpClient()
    http.session.hooks["response"].append(compare)
    made = Client(READY["account_sid"], password or READY["auth_token"], http_client=http)
    made.verify.base_url = API
    return made


SESSION = requests.Session()
SESSION.hooks["response"].append(compare)


def raw(method, path, data=None, auth=None, **kwargs):
    """What the helper library cannot be made to send."""
    return SESSION.request(
        method, path if path.startswith("http") else API + path, data=data,
        auth=auth or (READY["account_sid"], READY["auth_token"]), timeout=20, **kwargs)


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"did not come true within {seconds} s")


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.client = client()
        cls.v2 = cls.client.verify.v2
        cls.service = cls.v2.services.create("Conformance")
        cls.services = cls.v2.services(cls.service.sid)

    def identity(self):
        return "user-" + uuid.uuid4().hex[:12]

    def entity(self, identity):
        return self.services.entities(identity)

    def refused(self, code, status, call):
        """The helper library raises what the API documents."""
        with self.assertRaises(TwilioRestException) as caught:
            call()
        self.assertEqual((caught.exception.code, caught.exception.status), (code, status), caught.exception.msg)
        return caught.exception

    def refused_raw(self, code, status, response):
        self.assertEqual((response.status_code, response.json()["code"]), (status, code), response.text)
        return response.json()

    def paged(self, iterator, key, expected):
        """All of a list, in order, each once, over at least three pages."""
        pages = []
        page = iterator
        while page is not None:
            pages.append(list(page))
            page = page.next_page()
        self.assertGreaterEqual(len(pages), 3)
        self.assertEqual([item.sid for items in pages for item in items], expected)
        self.assertTrue(all(len(items) <= 2 for items in pages))


def code(secret, step, algorithm="sha1", digits=6):
    """RFC 6238, written from the RFC."""
    padded = secret + "=" * (-len(secret) % 8)
    digest = hmac.new(base64.b32decode(padded), struct.pack(">Q", step), getattr(hashlib, algorithm)).digest()
    offset = digest[-1] & 15
    number = struct.unpack(">I", digest[offset:offset + 4])[0] & 0x7FFFFFFF
    return str(number % 10**digits).zfill(digits)


class Codes:
    """An authenticator app that never shows a code twice: of steps of 20 s and a skew of two, five are good at once."""

    def __init__(self, secret, step=20, skew=2, algorithm="sha1", digits=6):
        self.secret, self.step, self.skew, self.algorithm, self.digits = secret, step, skew, algorithm, digits
        self.last = 0

    def now(self):
        return int(time.time()) // self.step

    def at(self, step):
        return code(self.secret, step, self.algorithm, self.digits)

    def fresh(self):
        until(lambda: self.now() + self.skew > self.last, 60)
        # One step of margin at the old end: the clock moves on while the request is on its way.
        self.last = max(self.last + 1, self.now() - self.skew + 1)
        return self.at(self.last)

    def wrong(self):
        good = {self.at(self.now() + distance) for distance in range(-4, 5)}
        return next(text for text in (str(n).zfill(self.digits) for n in range(100)) if text not in good)
