#!/usr/bin/env python3
"""Tells genuine events from forged ones, without a secret.

    kcat -b localhost:9092 -t beckon.events -C -e -J | examples/check-events.py https://verify.example.com

Reads records as kcat prints them (one JSON object a line), fetches the public keys from the HTTP API, and prints a line for each
record: its verdict, and the event's type and subject. Exits 1 when a record is not genuine. Needs the package `cryptography`.
"""
import base64
import json
import sys
import urllib.request

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class Keys:
    """The public keys of a JSON Web Key Set. An unknown key id fetches the set again: a key may be new."""

    def __init__(self, fetch):
        """fetch: returns the set as parsed JSON."""
        self.fetch = fetch
        self.known = {}

    def __getitem__(self, key_id):
        if key_id not in self.known:
            self.known = {key["kid"]: public_key(key) for key in self.fetch()["keys"] if key["crv"] == "Ed25519"}
        return self.known.get(key_id)


def public_key(key):
    text = key["x"]
    return Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def is_genuine(value, header, keys):
    """value: the bytes of the record. header: the text of its header beckon-signature, or None."""
    key_id, _, signature = (header or "").partition(":")
    key = keys[key_id] if key_id and signature else None
    if key is None:
        return False
    try:
        key.verify(base64.b64decode(signature, validate=True), value)
        return True
    except (InvalidSignature, ValueError):
        return False


def main(api):
    def fetch():
        with urllib.request.urlopen(api.rstrip("/") + "/.well-known/beckon-event-keys", timeout=10) as reply:
            return json.load(reply)

    keys = Keys(fetch)
    forged = 0
    for line in sys.stdin:
        record = json.loads(line)
        names = record.get("headers") or []
        headers = dict(zip(names[::2], names[1::2]))
        if not is_genuine(record["payload"].encode(), headers.get("beckon-signature"), keys):
            forged += 1
            print("FORGED", record["topic"], record["partition"], record["offset"], flush=True)
            continue
        # A genuine event can be an old one that somebody wrote again: compare ids, and the subject with your own challenge.
        event = json.loads(record["payload"])
        print("genuine", event["type"], event["subject"], flush=True)
    return 1 if forged else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
