"""What the backend remembers: sign-in attempts, enrolments, phones, sessions. All in memory, all bounded."""
import collections
import hashlib
import secrets
import threading
import time

MOST = 10_000


def identity_of(email):
    """Beckon gets no e-mail address: an identity is a name that says nothing about the person."""
    return "user-" + hashlib.sha256(email.strip().lower().encode()).hexdigest()[:32]


class Table:
    """Values by a random key that nobody can guess. The oldest ones go when there are too many, or when they are old."""

    def __init__(self, seconds):
        self.seconds, self.lock, self.values = seconds, threading.Lock(), collections.OrderedDict()

    def add(self, value):
        key = secrets.token_urlsafe(16)
        with self.lock:
            while len(self.values) >= MOST:
                self.values.popitem(last=False)
            self.values[key] = (time.monotonic() + self.seconds, value)
        return key

    def get(self, key):
        with self.lock:
            end, value = self.values.get(key, (0, None))
            return value if end > time.monotonic() else None

    def pop(self, key):
        value = self.get(key)
        with self.lock:
            self.values.pop(key, None)
        return value


class Attempt:
    """One person who tries to sign in in one browser."""

    def __init__(self, email):
        self.email, self.identity = email, identity_of(email)
        # The phone sees this name, so it opens nothing: the browser is recognised by its cookie.
        self.name = secrets.token_urlsafe(16)
        self.challenge = None
        self.is_open = True


class WakeUps:
    """Stands in for a push service: a phone that waits here hears that there is something to fetch, and no more."""

    def __init__(self):
        self.condition, self.counts = threading.Condition(), collections.Counter()

    def ring(self, identity):
        with self.condition:
            if len(self.counts) >= MOST:
                self.counts.clear()
            self.counts[identity] += 1
            self.condition.notify_all()

    def wait(self, identity, seen, seconds):
        """The number of rings, as soon as it differs from `seen`."""
        with self.condition:
            self.condition.wait_for(lambda: self.counts[identity] != seen, seconds)
            return self.counts[identity]
