"""A phone, written from the wire reference with `cryptography` alone."""
import base64
import json
import time

import requests
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from world import API, SESSION


def unpadded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwt(header, payload, key):
    signed = ".".join(unpadded(json.dumps(part).encode()) for part in (header, payload))
    r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return signed + "." + unpadded(r.to_bytes(32, "big") + s.to_bytes(32, "big"))


class Device:
    def __init__(self, service, identity, push_token="ab" * 32, platform="apn"):
        self.service, self.identity, self.push_token, self.platform = service, identity, push_token, platform
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.path = f"{API}/v2/Services/{service}/Entities/{identity}"
        self.factor = None

    @property
    def public_key(self):
        der = self.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(der).decode()

    def send(self, method, url, password, data=None, params=None):
        return SESSION.request(
            method, url, data=data, params=params, auth=("token", password), timeout=20,
            headers={"Accept": "application/x-www-form-urlencoded"} if method == "GET" else None)

    def token(self, key=None, header=None, **claims):
        now = int(time.time())
        return jwt(
            {"typ": "JWT", "alg": "ES256", "cty": "twilio-pba;v=1", "kid": self.kid, **(header or {})},
            {"sub": self.account, "exp": now + 600, "nbf": now, **claims}, key or self.key)

    # As the SDKs do.

    def create(self, access_token, **changed):
        form = {
            "FriendlyName": "Ann's +1 = iPhone; é", "FactorType": "push", "Binding.Alg": "ES256",
            "Binding.PublicKey": self.public_key, "Config.SdkVersion": "3.0.2",
            "Config.NotificationPlatform": self.platform, "Config.AppId": "com.example.bank",
            "Metadata": json.dumps({"os": "iOS"}),
        }
        if self.platform != "none":
            form["Config.NotificationToken"] = self.push_token
        form.update(changed)
        response = self.send("POST", self.path + "/Factors", access_token, form)
        if response.status_code == 201:
            body = response.json()
            self.factor, self.account = body["sid"], body["account_sid"]
            self.kid = body["config"]["credential_sid"]
        return response

    def verify(self, key=None, over=None):
        signature = (key or self.key).sign((over or self.factor).encode(), ec.ECDSA(hashes.SHA256()))
        return self.send(
            "POST", f"{self.path}/Factors/{self.factor}", self.token(),
            {"AuthPayload": base64.b64encode(signature).decode()})

    def update(self, push_token):
        return self.send(
            "POST", f"{self.path}/Factors/{self.factor}", self.token(), {
                "FriendlyName": "Ann's phone", "Config.AppId": "com.example.bank", "Config.SdkVersion": "3.0.3",
                "Config.NotificationPlatform": "apn", "Config.NotificationToken": push_token})

    def delete(self):
        return self.send("DELETE", f"{self.path}/Factors/{self.factor}", self.token())

    def challenges(self, **params):
        return self.send(
            "GET", self.path + "/Challenges", self.token(),
            params={"FactorSid": self.factor, "PageSize": 50, "Order": "asc", **params})

    def fetch(self, sid, password=None):
        return self.send("GET", f"{self.path}/Challenges/{sid}", password or self.token())

    def payload(self, fetched, status, key=None, **changed):
        """The members that the header names, as they were read, and the answer."""
        body = fetched.json()
        fields = fetched.headers["Twilio-Verify-Signature-Fields"].split(",")
        return jwt(
            {"alg": "ES256", "typ": "JWT"}, {**{name: body[name] for name in fields}, "status": status, **changed},
            key or self.key)

    def post(self, sid, payload, password=None, **more):
        return self.send(
            "POST", f"{self.path}/Challenges/{sid}", password or self.token(), {"AuthPayload": payload, **more})

    def answer(self, sid, status, **more):
        return self.post(sid, self.payload(self.fetch(sid), status), **more)


def enrolled(case, identity, **arguments):
    device = Device(case.service.sid, identity, **arguments)
    token = case.services.access_tokens.create(identity=identity, factor_type="push").token
    assert device.create(token).status_code == 201
    verified = device.verify()
    assert verified.status_code == 200 and verified.json()["status"] == "verified", verified.text
    return device
