import threading
from datetime import datetime, timedelta, timezone

from cryptography.hazmat.primitives.asymmetric import ec

from device import Device, enrolled, jwt
from world import READY, Case, raw, until

FIELDS = [{"label": "Where", "value": "Lisbon / é"}, {"label": "IP", "value": "10.0.0.1"}]


class Push(Case):
    def challenge(self, device, **parameters):
        return self.entity(device.identity).challenges.create(**{
            "factor_sid": device.factor, "details_message": "Log in / é?", "details_fields": FIELDS,
            "hidden_details": {"ip": "10.0.0.1"}, **parameters})


class Backend(Push):
    def test_a_challenge_as_the_backend_sees_it(self):
        device = enrolled(self, self.identity())
        made = self.challenge(device)
        self.assertEqual((str(made.status), str(made.factor_type), str(made.responded_reason)), ("pending", "push", "none"))
        self.assertEqual(made.details, {"message": "Log in / é?", "fields": FIELDS})
        self.assertEqual(made.hidden_details, {"ip": "10.0.0.1"})
        self.assertIsNone(made.date_responded)
        self.assertAlmostEqual((made.expiration_date - made.date_created).total_seconds(), 300, delta=1)
        fetched = self.entity(device.identity).challenges(made.sid).fetch()
        self.assertEqual((fetched.sid, fetched.identity, fetched.factor_sid), (made.sid, device.identity, device.factor))

    def test_details_date_when_asked_for(self):
        service = self.v2.services.create("Dated", push_include_date=True)
        plain, self.service = self.service, service
        services, self.services = self.services, self.v2.services(service.sid)
        try:
            made = self.challenge(enrolled(self, self.identity()))
            self.assertRegex(made.details["date"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        finally:
            self.service, self.services = plain, services

    def test_what_breaks_a_rule(self):
        device = enrolled(self, self.identity())
        soon = datetime.now(timezone.utc)
        for parameters in (
                dict(details_message="x" * 257), dict(details_fields=[FIELDS[0]] * 21),
                dict(details_fields=[{"label": "x" * 37, "value": ""}]),
                dict(details_fields=[{"label": "x", "value": "x" * 129}]), dict(details_fields=[{"label": "x"}]),
                dict(hidden_details={"x": "y" * 1024}), dict(hidden_details={"x": 1}),
                dict(expiration_date=soon - timedelta(seconds=5)), dict(expiration_date=soon + timedelta(minutes=62)),
                dict(factor_sid="nonsense")):
            with self.subTest(parameters):
                self.refused(60200, 400, lambda: self.challenge(device, **parameters))
        path = f"/v2/Services/{self.service.sid}/Entities/{device.identity}/Challenges"
        error = self.refused_raw(60200, 400, raw("POST", path, {"FactorSid": device.factor}))
        self.assertIn("Details.Message", error["message"])
        self.refused(20404, 404, lambda: self.challenge(device, factor_sid="YF03" + "0" * 30))
        self.refused(20404, 404, self.entity(device.identity).challenges("YC03" + "0" * 30).fetch)

    def test_lists(self):
        device = enrolled(self, self.identity())
        other = enrolled(self, device.identity, push_token="cd" * 32)
        made = [self.challenge(device).sid for _ in range(5)]
        others = self.challenge(other).sid
        challenges = self.entity(device.identity).challenges
        self.assertEqual([c.sid for c in challenges.list(page_size=2)], made + [others])
        self.assertEqual([c.sid for c in challenges.list(order="desc")], [others] + made[::-1])
        self.assertEqual([c.sid for c in challenges.list(factor_sid=device.factor, page_size=2)], made)
        self.paged(challenges.page(factor_sid=device.factor, status="pending", order="desc", page_size=2),
                   "challenges", made[::-1])
        device.answer(made[0], "approved")
        device.answer(made[1], "denied")
        self.assertEqual([c.sid for c in challenges.list(status="approved")], made[:1])
        self.assertEqual([c.sid for c in challenges.list(status="denied")], made[1:2])
        self.assertEqual([c.sid for c in challenges.list(status="expired")], [])
        path = f"/v2/Services/{self.service.sid}/Entities/{device.identity}/Challenges"
        for query in ("Status=open", "Order=up", "FactorSid=nonsense"):
            self.refused_raw(60200, 400, raw("GET", f"{path}?{query}"))
        self.refused_raw(20404, 404, raw("GET", path.replace(device.identity, "nobody-0001")))

    def test_factors_as_the_backend_sees_them(self):
        device = enrolled(self, self.identity())
        factors = self.entity(device.identity).factors
        fetched = factors(device.factor).fetch()
        self.assertEqual((str(fetched.status), fetched.metadata), ("verified", {"os": "iOS"}))
        self.assertEqual(fetched.config["notification_platform"], "apn")
        changed = factors(device.factor).update(
            friendly_name="Tablet", config_notification_platform="fcm", config_notification_token="f" * 40,
            config_sdk_version="9")
        self.assertEqual(
            (changed.friendly_name, changed.config["notification_token"], changed.config["sdk_version"]),
            ("Tablet", "f" * 40, "9"))
        self.assertEqual(factors(device.factor).update(config_notification_platform="none").config["notification_token"], None)
        self.refused(60200, 400, lambda: factors(device.factor).update(config_notification_platform="apn"))
        self.refused(60200, 400, lambda: factors(device.factor).update(friendly_name="x" * 65))
        self.assertTrue(factors(device.factor).delete())
        self.refused(20404, 404, factors(device.factor).fetch)
        self.refused(20404, 404, factors(device.factor).delete)

    def test_the_backend_enrols_for_a_device(self):
        identity = self.identity()
        device = Device(self.service.sid, identity)
        create = lambda **changed: self.entity(identity).new_factors.create(**{
            "friendly_name": "Phone", "factor_type": "push", "binding_alg": "ES256",
            "binding_public_key": device.public_key, "config_app_id": "com.example", "config_notification_platform": "none",
            **changed})
        made = create(metadata={"os": "Android"})
        self.assertEqual(made.binding, {"alg": "ES256", "public_key": device.public_key})
        self.assertEqual((made.identity, str(made.status)), (identity, "unverified"))
        self.refused(60317, 409, create)
        other = Device(self.service.sid, identity).public_key
        for code, changed in (
                (60314, dict(binding_public_key="nonsense")), (60314, dict(binding_public_key=device.public_key[:-4])),
                (60200, dict(binding_alg="RS256")), (60200, dict(config_notification_platform="apns")),
                (60200, dict(config_notification_platform="apn")),
                (60200, dict(config_notification_platform="apn", config_notification_token="short")),
                (60200, dict(config_notification_token="ab" * 32)), (60200, dict(factor_type="passkeys")),
                (60200, dict(config_app_id="x" * 101)), (60200, dict(friendly_name=""))):
            with self.subTest(changed):
                self.refused(code, 400, lambda: create(**{"binding_public_key": other, **changed}))

    def test_twenty_factors(self):
        identity = self.identity()
        for _ in range(20):
            device = Device(self.service.sid, identity, platform="none")
            token = self.services.access_tokens.create(identity=identity, factor_type="push").token
            self.assertEqual(device.create(token).status_code, 201)
        token = self.services.access_tokens.create(identity=identity, factor_type="push").token
        self.refused_raw(60315, 400, Device(self.service.sid, identity, platform="none").create(token))

    def test_an_unverified_factor(self):
        device = Device(self.service.sid, self.identity())
        device.create(self.services.access_tokens.create(identity=device.identity, factor_type="push").token)
        self.refused(60318, 403, lambda: self.challenge(device))

    def test_a_backend_does_not_answer(self):
        device = enrolled(self, self.identity())
        made = self.challenge(device)
        self.refused(20006, 403, lambda: self.entity(device.identity).challenges(made.sid).update(
            auth_payload=device.payload(device.fetch(made.sid), "approved")))


class Notifications(Push):
    def test_three_times(self):
        device = enrolled(self, self.identity())
        made = self.challenge(device)
        notifications = self.entity(device.identity).challenges(made.sid).notifications
        for ttl in (300, 0, 60):
            notification = notifications.create(ttl=ttl)
            self.assertEqual(
                (notification.ttl, notification.priority, notification.challenge_sid), (ttl, "high", made.sid))
        self.refused(60309, 429, notifications.create)

    def test_refused(self):
        device = enrolled(self, self.identity())
        made = self.challenge(device)
        notifications = self.entity(device.identity).challenges(made.sid).notifications
        for ttl in (-1, 301):
            self.refused(60200, 400, lambda: notifications.create(ttl=ttl))
        device.answer(made.sid, "approved")
        self.refused(60322, 403, notifications.create)
        self.refused(
            20404, 404, lambda: self.entity(device.identity).challenges("YC03" + "0" * 30).notifications.create())
        expired = self.challenge(device, expiration_date=datetime.now(timezone.utc) + timedelta(seconds=1))
        challenge = self.entity(device.identity).challenges(expired.sid)
        until(lambda: str(challenge.fetch().status) == "expired")
        self.refused(60323, 403, challenge.notifications.create)
        silent = enrolled(self, self.identity(), platform="none")
        challenge = self.entity(silent.identity).challenges(self.challenge(silent).sid)
        self.refused(60307, 400, challenge.notifications.create)


class Phone(Push):
    """The device protocol, from the reference alone."""

    def test_enrols_answers_and_goes(self):
        identity = self.identity()
        device = enrolled(self, identity)
        updated = device.update("cd" * 32)
        self.assertEqual((updated.status_code, updated.json()["config"]["notification_token"]), (200, "cd" * 32))
        self.assertEqual(updated.json()["config"]["credential_sid"], device.kid)
        approved, denied = self.challenge(device), self.challenge(device)
        listed = device.challenges(Status="pending")
        self.assertEqual([c["sid"] for c in listed.json()["challenges"]], [approved.sid, denied.sid])
        fetched = device.fetch(approved.sid)
        self.assertNotIn(" ", fetched.headers["Twilio-Verify-Signature-Fields"])
        self.assertNotIn("date", fetched.json()["details"])
        self.assertEqual(device.answer(approved.sid, "approved", Metadata='{"os":"iOS"}').json()["status"], "approved")
        self.assertEqual(device.answer(denied.sid, "denied").json()["status"], "denied")
        seen = self.entity(identity).challenges(approved.sid).fetch()
        self.assertEqual((str(seen.status), seen.metadata), ("approved", {"os": "iOS"}))
        self.assertIsNotNone(seen.date_responded)
        self.assertNotIn("Twilio-Verify-Signature-Fields", device.fetch(approved.sid).headers)
        self.assertEqual(device.delete().status_code, 204)
        self.assertIn(device.delete().status_code, (401, 404))

    def test_pages_by_the_names_of_both_sdks(self):
        device = enrolled(self, self.identity())
        made = [self.challenge(device).sid for _ in range(3)]
        for name in ("pageToken", "PageToken"):
            seen, params = [], {}
            while True:
                page = device.challenges(PageSize=1, Status="pending", **params).json()
                seen += [challenge["sid"] for challenge in page["challenges"]]
                if page["meta"]["next_page_url"] is None:
                    break
                params = {name: page["meta"]["next_page_url"].split("PageToken=")[1]}
            self.assertEqual(seen, made)

    def test_enrolment_refused(self):
        identity = self.identity()
        device = Device(self.service.sid, identity)
        token = self.services.access_tokens.create(identity=identity, factor_type="push").token
        self.refused_raw(20101, 401, device.create("nonsense"))
        self.refused_raw(60313, 403, device.create(token[:-2] + "xx"))
        self.refused_raw(60313, 403, Device(self.service.sid, self.identity()).create(token))
        self.refused_raw(60313, 403, Device(READY["service_sid"], identity).create(token))
        self.assertEqual(device.create(token).status_code, 201)
        self.refused_raw(60311, 403, device.verify(key=ec.generate_private_key(ec.SECP256R1())))
        self.refused_raw(60311, 403, device.verify(over="YF03" + "0" * 30))
        self.assertEqual(device.verify().json()["status"], "verified")
        self.refused_raw(60313, 403, Device(self.service.sid, identity).create(token))

    def test_jwt_refused(self):
        device = enrolled(self, self.identity())
        other = enrolled(self, self.identity())
        now = int(datetime.now(timezone.utc).timestamp())
        for code, token in (
                (20160, "nonsense"), (20159, device.token(key=other.key)), (20152, device.token(header={"alg": "none"})),
                (20152, device.token(header={"alg": "HS256"})), (20152, device.token(header={"cty": "x"})),
                (20151, device.token(header={"kid": "CR" + "0" * 32})), (20153, device.token(sub="AC" + "0" * 32)),
                (20156, device.token(nbf=now - 900, exp=now - 300)), (20155, device.token(nbf=now + 300, exp=now + 900)),
                (20157, device.token(exp=now + 7200)), (20154, device.token(exp="soon")), (20151, other.token())):
            with self.subTest(code):
                response = device.send("GET", device.path + "/Challenges", token)
                self.refused_raw(code, 401, response)
                self.assertIn("GMT", response.headers["Date"])

    def test_answers_refused(self):
        device = enrolled(self, self.identity())
        second = enrolled(self, device.identity, push_token="ef" * 32)
        made = self.challenge(device)
        fetched = device.fetch(made.sid)
        stranger = ec.generate_private_key(ec.SECP256R1())
        for payload in (
                device.payload(fetched, "approved", key=stranger), device.payload(fetched, "perhaps"),
                device.payload(fetched, "approved", details={"message": "Pay nothing?", "fields": []}),
                device.payload(fetched, "approved", hidden_details=None),
                device.payload(fetched, "approved", sid="YC03" + "0" * 30),
                device.payload(fetched, "approved", factor_sid=second.factor), "nonsense", "a.b.c",
                device.payload(fetched, "approved")[:-8],
                jwt({"alg": "none", "typ": "JWT"}, {**fetched.json(), "status": "approved"}, device.key)):
            self.refused_raw(60324, 403, device.post(made.sid, payload))
        # Another device of the same person: the challenge is not addressed to it.
        good = device.payload(fetched, "approved")
        self.assertEqual(second.post(made.sid, good).status_code, 404)
        self.assertEqual(second.fetch(made.sid).status_code, 404)
        self.assertEqual(device.post(made.sid, good, password=second.token()).status_code, 404)
        self.assertEqual(device.fetch(made.sid).json()["status"], "pending")
        self.assertEqual(device.post(made.sid, good).json()["status"], "approved")
        # The very same bytes again are a lost reply; any other answer comes too late.
        self.assertEqual(device.post(made.sid, good).json()["status"], "approved")
        self.refused_raw(60322, 403, device.post(made.sid, device.payload(fetched, "denied")))
        # An answer is good for its challenge only.
        self.refused_raw(60324, 403, device.post(self.challenge(device).sid, good))

    def test_parsed_values_count_not_text(self):
        device = enrolled(self, self.identity())
        made = self.challenge(device)
        fetched = device.fetch(made.sid)
        body = fetched.json()
        names = fetched.headers["Twilio-Verify-Signature-Fields"].split(",")
        payload = {"status": "denied", **{name: body[name] for name in reversed(names)}, "more": 1}
        payload["details"] = dict(reversed(payload["details"].items()))
        self.assertEqual(device.post(made.sid, jwt({"typ": "JWT", "alg": "ES256"}, payload, device.key)).json()["status"], "denied")

    def test_expired(self):
        device = enrolled(self, self.identity())
        made = self.challenge(device, expiration_date=datetime.now(timezone.utc) + timedelta(seconds=1))
        fetched = device.fetch(made.sid)
        payload = device.payload(fetched, "approved") if "Twilio-Verify-Signature-Fields" in fetched.headers else None
        until(lambda: device.fetch(made.sid).json()["status"] == "expired")
        self.refused_raw(60323, 403, device.post(made.sid, payload or "late"))
        self.assertEqual([c["sid"] for c in device.challenges(Status="expired").json()["challenges"]], [made.sid])
        self.assertEqual(device.challenges(Status="pending").json()["challenges"], [])

    def test_a_new_installation_replaces_the_old(self):
        identity = self.identity()
        old = enrolled(self, identity)
        new = enrolled(self, identity)
        self.assertEqual([f.sid for f in self.entity(identity).factors.list()], [new.factor])
        self.refused_raw(20151, 401, old.challenges())
        self.refused(20404, 404, lambda: self.challenge(old))
        self.refused(20404, 404, self.entity(identity).factors(old.factor).fetch)
        path = f"/v2/Services/{self.service.sid}/Entities/{identity}/Challenges"
        fan_out = raw("POST", path, {"Details.Message": "Who is it?"})
        self.assertEqual(fan_out.status_code, 201)
        self.assertEqual(new.answer(fan_out.json()["sid"], "approved").json()["factor_sid"], new.factor)

    def test_two_devices_one_answer(self):
        first = enrolled(self, self.identity())
        second = enrolled(self, first.identity, push_token="ef" * 32)
        path = f"/v2/Services/{self.service.sid}/Entities/{first.identity}/Challenges"
        for _ in range(20):
            sid = raw("POST", path, {"Details.Message": "Who is it?"}).json()["sid"]
            payloads = [device.payload(device.fetch(sid), "approved") for device in (first, second)]
            answers = []
            threads = [
                threading.Thread(target=lambda d=device, p=payload: answers.append(d.post(sid, p).status_code))
                for device, payload in zip((first, second), payloads)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(sorted(answers), [200, 403])

    def test_receipts(self):
        device = enrolled(self, self.identity())
        made = self.challenge(device)
        path = f"{device.path}/Challenges/{made.sid}/Receipts"
        self.assertEqual(device.send("POST", path, device.token(), {"Channel": "visible", "Shown": "yes"}).status_code, 204)
        self.refused_raw(60200, 400, device.send("POST", path, device.token(), {"Channel": "smoke"}))
        self.refused_raw(20160, 401, raw("POST", "/v2/Receipts", {"ReceiptToken": "nonsense"}))
