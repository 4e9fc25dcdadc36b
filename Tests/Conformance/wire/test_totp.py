import random
import time
from datetime import datetime, timedelta, timezone
from urllib.parse import parse_qs, unquote, urlsplit

from device import enrolled
from world import Case, Codes, raw, until


class Totp(Case):
    def factor(self, identity=None, verified=True, step=20, skew=2, **parameters):
        identity = identity or self.identity()
        made = self.entity(identity).new_factors.create(
            friendly_name="Ann's app", factor_type="totp", config_time_step=step, config_skew=skew, **parameters)
        codes = Codes(
            made.binding["secret"], step, skew, parameters.get("config_alg", "sha1"),
            parameters.get("config_code_length", 6))
        if verified:
            factor = self.entity(identity).factors(made.sid).update(auth_payload=codes.fresh())
            self.assertEqual(str(factor.status), "verified")
        return identity, made, codes

    def test_the_secret_is_shown_once(self):
        identity = self.identity()
        made = self.entity(identity).new_factors.create(
            friendly_name="ann@bank", factor_type="totp", metadata={"app": "1"})
        self.assertEqual(made.config, {"alg": "sha1", "skew": 1, "code_length": 6, "time_step": 30})
        self.assertEqual((str(made.status), str(made.factor_type), made.metadata), ("unverified", "totp", {"app": "1"}))
        self.assertTrue(made.sid.startswith("YF02"))
        uri = urlsplit(made.binding["uri"])
        self.assertEqual((uri.scheme, uri.netloc, unquote(uri.path)), ("otpauth", "totp", "/Conformance:ann@bank"))
        self.assertEqual(
            {name: values[0] for name, values in parse_qs(uri.query).items()},
            {"secret": made.binding["secret"], "issuer": "Conformance", "algorithm": "SHA1", "digits": "6", "period": "30"})
        fetched = raw("GET", f"/v2/Services/{self.service.sid}/Entities/{identity}/Factors/{made.sid}").json()
        self.assertNotIn("binding", fetched)
        self.assertNotIn(made.binding["secret"], str(fetched))

    def test_defaults_of_the_service(self):
        service = self.v2.services.create(
            "Defaults", totp_issuer="Bank & Co", totp_time_step=60, totp_code_length=8, totp_skew=0)
        made = self.v2.services(service.sid).entities("user-0001").new_factors.create(
            friendly_name="x", factor_type="totp")
        self.assertEqual(made.config, {"alg": "sha1", "skew": 0, "code_length": 8, "time_step": 60})
        self.assertIn("otpauth://totp/Bank%20%26%20Co:x?", made.binding["uri"])

    def test_all_algorithms_verify_and_approve(self):
        for algorithm in ("sha1", "sha256", "sha512"):
            for digits in (3, 8):
                with self.subTest(algorithm=algorithm, digits=digits):
                    identity, factor, codes = self.factor(config_alg=algorithm, config_code_length=digits)
                    challenge = self.entity(identity).challenges.create(
                        factor_sid=factor.sid, auth_payload=codes.fresh())
                    self.assertEqual(
                        (str(challenge.status), str(challenge.factor_type), challenge.factor_sid),
                        ("approved", "totp", factor.sid))
                    self.assertIsNotNone(challenge.date_responded)

    def test_a_code_instead_of_the_phone(self):
        identity, factor, codes = self.factor()
        phone = enrolled(self, identity)
        path = f"/v2/Services/{self.service.sid}/Entities/{identity}/Challenges"

        def ask(**more):
            made = raw("POST", path, {"Details.Message": "Log in?", **more})
            self.assertEqual(made.status_code, 201, made.text)
            return f"{path}/{made.json()['sid']}"

        asked = ask(Fallback="totp")
        self.refused_raw(60324, 403, raw("POST", asked, {"AuthPayload": codes.wrong()}))
        answered = raw("POST", asked, {"AuthPayload": codes.fresh()})
        self.assertEqual(
            (answered.status_code, answered.json()["status"], answered.json()["factor_sid"]),
            (200, "approved", factor.sid), answered.text)
        # The phone is too late, and sees that.
        sid = asked.rsplit("/", 1)[1]
        self.assertEqual(phone.fetch(sid).json()["status"], "approved")
        # Not without the fall-back, not for a phone, and not where a number or a session is needed.
        right = {"AuthPayload": codes.fresh()}
        self.refused_raw(20006, 403, raw("POST", ask(), right))
        for rule in ({"NumberMatching": "true"}, {"RequireSession": "true"}):
            self.refused_raw(60324, 403, raw("POST", ask(Fallback="totp", **rule), right))
        reply = phone.post(ask(Fallback="totp").rsplit("/", 1)[1], right["AuthPayload"])
        self.assertEqual(reply.status_code, 403)
        # Five wrong codes in a row, over all challenges.
        for _ in range(5):
            self.refused_raw(60324, 403, raw("POST", ask(Fallback="totp"), {"AuthPayload": codes.wrong()}))
        self.refused_raw(60310, 429, raw("POST", ask(Fallback="totp"), right))

    def test_a_secret_of_ones_own(self):
        secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
        identity, factor, codes = self.factor(binding_secret=secret)
        self.assertEqual(factor.binding["secret"], secret)
        self.refused(60317, 409, lambda: self.factor(identity, False, binding_secret=secret.lower()))
        for wrong in ("short", "0" * 32, "A" * 300):
            self.refused(60200, 400, lambda: self.factor(identity, False, binding_secret=wrong))

    def test_created_first_answered_later(self):
        identity, factor, codes = self.factor()
        challenges = self.entity(identity).challenges
        made = challenges.create(factor_sid=factor.sid)
        self.assertEqual(str(made.status), "pending")
        self.assertIsNone(made.details)
        self.refused(60324, 403, lambda: challenges(made.sid).update(auth_payload=codes.wrong()))
        self.assertEqual(str(challenges(made.sid).fetch().status), "pending")
        answered = challenges(made.sid).update(auth_payload=codes.fresh(), metadata={"where": "web"})
        self.assertEqual((str(answered.status), answered.metadata), ("approved", {"where": "web"}))
        self.refused(60322, 403, lambda: challenges(made.sid).update(auth_payload=codes.fresh()))
        listed = challenges.list(factor_sid=factor.sid, status="approved")
        self.assertEqual([challenge.sid for challenge in listed], [made.sid])

    def test_a_wrong_code_at_creation_leaves_it_pending(self):
        identity, factor, codes = self.factor()
        made = self.entity(identity).challenges.create(factor_sid=factor.sid, auth_payload=codes.wrong())
        self.assertEqual(str(made.status), "pending")
        answered = self.entity(identity).challenges(made.sid).update(auth_payload=codes.fresh())
        self.assertEqual(str(answered.status), "approved")

    def test_no_code_is_good_twice(self):
        identity, factor, codes = self.factor()
        challenges = self.entity(identity).challenges
        good = codes.fresh()
        self.assertEqual(str(challenges.create(factor_sid=factor.sid, auth_payload=good).status), "approved")
        again = challenges.create(factor_sid=factor.sid, auth_payload=good)
        self.assertEqual(str(again.status), "pending")
        # Nor is the code of a step before one that was accepted.
        self.refused(60324, 403, lambda: challenges(again.sid).update(auth_payload=codes.at(codes.last - 1)))

    def test_five_wrong_codes(self):
        identity, factor, codes = self.factor()
        challenges = self.entity(identity).challenges
        made = challenges.create(factor_sid=factor.sid)
        for _ in range(5):
            self.refused(60324, 403, lambda: challenges(made.sid).update(auth_payload=codes.wrong()))
        self.refused(60308, 429, lambda: challenges(made.sid).update(auth_payload=codes.fresh()))
        # Another challenge has its own five.
        self.assertEqual(
            str(challenges.create(factor_sid=factor.sid, auth_payload=codes.fresh()).status), "approved")

    def test_five_wrong_codes_for_a_factor(self):
        identity, factor, codes = self.factor(verified=False)
        update = self.entity(identity).factors(factor.sid).update
        for _ in range(5):
            self.refused(60311, 403, lambda: update(auth_payload=codes.wrong()))
        self.refused(60310, 429, lambda: update(auth_payload=codes.fresh()))
        self.assertEqual(str(self.entity(identity).factors(factor.sid).fetch().status), "unverified")

    def test_no_wrong_code_is_good(self):
        identity, factor, codes = self.factor(config_code_length=8)
        challenges = self.entity(identity).challenges
        for _ in range(20):
            made = challenges.create(factor_sid=factor.sid, auth_payload=str(random.randrange(10**8)).zfill(8))
            self.assertEqual(str(made.status), "pending")
            for _ in range(4):
                # Near misses: the right code but for one digit.
                near, place = list(codes.at(codes.now())), random.randrange(8)
                near[place] = str((int(near[place]) + random.randrange(1, 10)) % 10)
                self.refused(60324, 403, lambda: challenges(made.sid).update(auth_payload="".join(near)))

    def test_challenges_are_counted(self):
        identity, factor, codes = self.factor(config_code_length=4)
        create = self.entity(identity).challenges.create
        for _ in range(10):
            create(factor_sid=factor.sid)
        self.refused(60312, 429, lambda: create(factor_sid=factor.sid))
        identity, factor, codes = self.factor(config_code_length=5)
        create = self.entity(identity).challenges.create
        for _ in range(50):
            create(factor_sid=factor.sid)
        self.refused(60312, 429, lambda: create(factor_sid=factor.sid))

    def test_expired(self):
        identity, factor, codes = self.factor()
        challenges = self.entity(identity).challenges
        made = challenges.create(
            factor_sid=factor.sid, expiration_date=datetime.now(timezone.utc) + timedelta(seconds=1))
        until(lambda: str(challenges(made.sid).fetch().status) == "expired")
        self.refused(60323, 403, lambda: challenges(made.sid).update(auth_payload=codes.fresh()))

    def test_settings_change(self):
        identity, factor, codes = self.factor(verified=False)
        changed = self.entity(identity).factors(factor.sid).update(
            friendly_name="Other", config_time_step=60, config_skew=1, config_code_length=8, config_alg="sha256")
        self.assertEqual(changed.config, {"alg": "sha256", "skew": 1, "code_length": 8, "time_step": 60})
        self.assertEqual(changed.friendly_name, "Other")
        codes = Codes(factor.binding["secret"], 60, 1, "sha256", 8)
        verified = self.entity(identity).factors(factor.sid).update(auth_payload=codes.fresh())
        self.assertEqual(str(verified.status), "verified")

    def test_what_breaks_a_rule(self):
        identity, factor, codes = self.factor(verified=False)
        create = self.entity(identity).new_factors.create
        for parameters in (
                dict(friendly_name="x" * 65), dict(config_time_step=19), dict(config_time_step=61), dict(config_skew=3),
                dict(config_code_length=2), dict(config_code_length=9), dict(config_alg="md5"),
                dict(metadata={"x": "y" * 1024}), dict(metadata={"x": 1})):
            with self.subTest(parameters):
                self.refused(60200, 400, lambda: create(
                    **{"friendly_name": "x", "factor_type": "totp", **parameters}))
        for payload in ("12", "123456789", "12345a", ""):
            self.refused(60200, 400, lambda: self.entity(identity).factors(factor.sid).update(auth_payload=payload))
        self.refused(60318, 403, lambda: self.entity(identity).challenges.create(factor_sid=factor.sid))
        self.refused(20404, 404, lambda: self.entity(identity).challenges.create(factor_sid="YF02" + "0" * 30))
        self.refused(20404, 404, self.entity(identity).factors("YF02" + "0" * 30).fetch)

    def test_nothing_is_pushed(self):
        identity, factor, codes = self.factor()
        made = self.entity(identity).challenges.create(factor_sid=factor.sid, details_message="Pay?")
        self.assertEqual(made.details["message"], "Pay?")
        self.refused(60307, 400, lambda: self.entity(identity).challenges(made.sid).notifications.create())

    def test_deleted(self):
        identity, factor, codes = self.factor()
        made = self.entity(identity).challenges.create(factor_sid=factor.sid)
        self.assertTrue(self.entity(identity).factors(factor.sid).delete())
        self.refused(20404, 404, self.entity(identity).factors(factor.sid).fetch)
        self.refused(20404, 404, lambda: self.entity(identity).challenges(made.sid).update(auth_payload="123456"))
        self.refused(20404, 404, lambda: self.entity(identity).challenges.create(factor_sid=factor.sid))

    def test_both_types_in_one_list(self):
        identity = self.identity()
        made = []
        for number in range(4):
            made.append(self.factor(identity, False)[1].sid)
            device = enrolled(self, identity, push_token=f"{number:02}" * 32)
            made.append(device.factor)
            time.sleep(0.002)
        listed = [factor.sid for factor in self.entity(identity).factors.list(page_size=3)]
        self.assertEqual(listed, made)
        self.paged(self.entity(identity).factors.page(page_size=2), "factors", made)

    def test_a_device_has_no_part_in_it(self):
        identity, factor, codes = self.factor()
        device = enrolled(self, identity)
        made = self.entity(identity).challenges.create(factor_sid=factor.sid)
        self.assertEqual(device.fetch(made.sid).status_code, 404)
        self.assertEqual(device.post(made.sid, codes.fresh()).status_code, 404)
        response = device.send("GET", f"{device.path}/Factors/{factor.sid}", device.token())
        self.refused_raw(20151, 401, response)
        token = self.services.access_tokens.create(identity=identity, factor_type="push").token
        self.refused_raw(60313, 403, device.create(token, FactorType="totp"))

    def test_a_hundred_factors(self):
        identity = self.identity()
        create = self.entity(identity).new_factors.create
        made = [create(friendly_name="x", factor_type="totp").sid for _ in range(100)]
        self.refused(60315, 400, lambda: create(friendly_name="x", factor_type="totp"))
        self.entity(identity).factors(made[0]).delete()
        # A hundred a day, deleted or not.
        self.refused(60326, 429, lambda: create(friendly_name="x", factor_type="totp"))
