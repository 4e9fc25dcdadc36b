"""When a device is pushed to again: only one that has once sent a receipt is expected to send the next one."""
import unittest
import urllib.request
import uuid
from datetime import datetime, timedelta, timezone

from device import enrolled
from world import READY, Case, raw, until


class Silence(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        control = READY["simulators"]["control"]
        with urllib.request.urlopen(urllib.request.Request(control + "/keys/fcm", method="POST")) as reply:
            account = reply.read().decode()
        made = raw("POST", "/v1/Credentials", {"FriendlyName": "FCM", "Type": "fcm", "ServiceAccount": account})
        assert made.status_code == 201, made.text
        cls.service = cls.v2.services.create("Silence", push_fcm_credential_sid=made.json()["sid"])
        cls.services = cls.v2.services(cls.service.sid)

    def phone(self):
        """It gets pushes and looks at none of them: what is sent to it is lost."""
        return enrolled(self, self.identity(), push_token=uuid.uuid4().hex * 4, platform="fcm")

    def ask(self, device, seconds=300):
        return self.entity(device.identity).challenges.create(
            factor_sid=device.factor, details_message="Log in?",
            expiration_date=datetime.now(timezone.utc) + timedelta(seconds=seconds)).sid

    def timeline(self, device, challenge, event):
        path = f"/v2/Services/{self.service.sid}/Entities/{device.identity}/Challenges/{challenge}/Timeline"
        return [entry for entry in raw("GET", path).json()["timeline"] if entry["event"] == event]

    def accepted(self, device, challenge):
        return [entry["dispatch"] for entry in self.timeline(device, challenge, "accepted")]

    def confirm(self, device, challenge):
        reply = device.send(
            "POST", f"{device.path}/Challenges/{challenge}/Receipts", device.token(), {"Channel": "visible"})
        self.assertEqual(reply.status_code, 204, reply.text)
        until(lambda: self.timeline(device, challenge, "received"))

    def test_an_sdk_without_receipts_is_pushed_to_once_and_a_phone_that_confirms_again(self):
        silent, confirming = self.phone(), self.phone()
        first = self.ask(confirming)
        self.confirm(confirming, first)
        # A poll is no receipt of its own: the SDKs poll too.
        polled = self.ask(silent)
        self.assertEqual(silent.challenges(Status="pending").json()["challenges"][0]["sid"], polled)
        until(lambda: self.timeline(silent, polled, "received"))

        of_silent, of_confirming = self.ask(silent, seconds=30), self.ask(confirming, seconds=30)
        until(lambda: self.accepted(confirming, of_confirming)[:2] == ["c", "t1"], 30)
        until(lambda: self.timeline(silent, of_silent, "undelivered"), 30)
        until(lambda: self.timeline(silent, of_silent, "expired"), 40)
        self.assertEqual(self.accepted(silent, of_silent), ["c"])
        self.assertEqual([entry["pushed_once"] for entry in self.timeline(silent, of_silent, "accepted")], [True])
        self.assertTrue(all("pushed_once" not in entry for entry in self.timeline(confirming, of_confirming, "accepted")))

    def test_a_setting_of_the_service_requests_redelivery(self):
        silent = self.phone()
        path = f"/v2/Services/{self.service.sid}"
        self.assertEqual(raw("POST", path, {"Push.Redelivery.ExpectedLatency": "500"}).status_code, 200)
        try:
            challenge = self.ask(silent)
        finally:
            self.assertEqual(raw("POST", path, {"Push.Redelivery.ExpectedLatency": ""}).status_code, 200)
        until(lambda: self.accepted(silent, challenge) == ["c", "t1", "t2", "t3"], 60)


if __name__ == "__main__":
    unittest.main()
