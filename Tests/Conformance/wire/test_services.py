from world import Case, client, raw, READY


class Services(Case):
    def test_every_parameter_comes_back(self):
        parameters = dict(
            friendly_name="Everything", code_length=8, lookup_enabled=True, skip_sms_to_landlines=True,
            dtmf_input_required=True, tts_name="Bank", psd2_enabled=True, do_not_share_warning_enabled=True,
            custom_code_enabled=True, push_include_date=True, totp_issuer="Bank & Co", totp_time_step=60,
            totp_code_length=8, totp_skew=2, default_template_sid="HJ" + "1" * 32,
            whatsapp_msg_service_sid="MG" + "1" * 32, whatsapp_from="+15550100", passkeys_relying_party_id="bank.example",
            passkeys_relying_party_name="Bank", passkeys_relying_party_origins="https://bank.example",
            passkeys_authenticator_attachment="platform", passkeys_discoverable_credentials="preferred",
            passkeys_user_verification="required", verify_event_subscription_enabled=True)
        made = self.v2.services.create(**parameters)
        for service in (made, self.v2.services(made.sid).fetch()):
            for name in ("friendly_name", "code_length", "lookup_enabled", "skip_sms_to_landlines", "dtmf_input_required",
                         "tts_name", "psd2_enabled", "do_not_share_warning_enabled", "custom_code_enabled",
                         "default_template_sid", "verify_event_subscription_enabled"):
                self.assertEqual(getattr(service, name), parameters[name], name)
            self.assertEqual(service.push, {"include_date": True, "apn_credential_sid": None, "fcm_credential_sid": None})
            self.assertEqual(service.totp, {"issuer": "Bank & Co", "time_step": 60, "code_length": 8, "skew": 2})
            self.assertEqual(service.whatsapp, {"msg_service_sid": "MG" + "1" * 32, "from": "+15550100"})
            self.assertEqual(service.passkeys["relying_party"], {
                "id": "bank.example", "name": "Bank", "origins": ["https://bank.example"]})
            self.assertEqual(service.passkeys["user_verification"], "required")
        changed = self.v2.services(made.sid).update(friendly_name="Less", totp_skew=0, lookup_enabled=False)
        self.assertEqual((changed.friendly_name, changed.totp["skew"], changed.totp["time_step"]), ("Less", 0, 60))
        self.assertFalse(changed.lookup_enabled)
        self.assertTrue(self.v2.services(made.sid).delete())
        self.refused(20404, 404, self.v2.services(made.sid).fetch)
        self.refused(20404, 404, self.v2.services(made.sid).delete)

    def test_defaults(self):
        made = self.v2.services.create("Plain")
        self.assertEqual(made.totp, {"issuer": "Plain", "time_step": 30, "code_length": 6, "skew": 1})
        self.assertFalse(made.push["include_date"])
        self.assertEqual(set(made.links), {
            "verification_checks", "verifications", "rate_limits", "messaging_configurations", "entities", "webhooks",
            "access_tokens"})

    def test_what_breaks_a_rule(self):
        for parameters in (
                dict(friendly_name="x" * 33), dict(code_length=3), dict(code_length=11), dict(totp_time_step=19),
                dict(totp_time_step=61), dict(totp_code_length=2), dict(totp_code_length=9), dict(totp_skew=3),
                dict(push_apn_credential_sid="CR" + "0" * 32), dict(push_fcm_credential_sid="nonsense")):
            with self.subTest(parameters):
                self.refused(60200, 400, lambda: self.v2.services.create(**{"friendly_name": "x", **parameters}))
                parameters.setdefault("friendly_name", "x")
                self.refused(60200, 400, lambda: self.v2.services(self.service.sid).update(**parameters))
        error = self.refused_raw(60200, 400, raw("POST", "/v2/Services", {"CodeLength": 6}))
        self.assertIn("FriendlyName", error["message"])

    def test_who_is_not_let_in(self):
        self.refused(20003, 401, lambda: client("wrong").verify.v2.services.create("x"))
        self.refused_raw(20003, 401, raw("GET", "/v2/Services", auth=("AC" + "0" * 32, "x")))
        self.refused(20404, 404, self.v2.services("VA" + "0" * 32).fetch)

    def test_three_pages(self):
        made = [self.v2.services.create(f"Page {number}").sid for number in range(5)]
        listed = [service.sid for service in self.v2.services.list(page_size=2)]
        self.assertEqual(listed[-5:], made)
        self.assertEqual(len(set(listed)), len(listed))
        self.assertIn(READY["service_sid"], listed)
        self.paged(self.v2.services.page(page_size=2), "services", listed)

    def test_page_sizes_and_tokens(self):
        for size in ("0", "1001", "-1", "many"):
            self.refused_raw(60373, 400, raw("GET", f"/v2/Services?PageSize={size}"))
        self.refused_raw(60374, 400, raw("GET", "/v2/Services?PageToken=DNnonsense"))
        other = raw("GET", "/v2/Services?PageSize=1").json()["meta"]["next_page_url"]
        token = other.split("PageToken=")[1]
        self.refused_raw(
            60374, 400, raw("GET", f"/v2/Services/{self.service.sid}/Entities?PageToken={token}"))

    def test_unknown_parameters_are_named(self):
        response = raw("POST", "/v2/Services", {"FriendlyName": "x", "friendlyname": "y", "Puch.IncludeDate": "true"})
        self.assertEqual(response.status_code, 201)
        self.assertEqual(response.headers["Beckon-Ignored"], "friendlyname,Puch.IncludeDate")

    def test_wrong_methods(self):
        response = raw("PUT", f"/v2/Services/{self.service.sid}")
        self.refused_raw(20004, 405, response)
        self.assertEqual(response.headers["Allow"], "GET, POST, DELETE")
        self.refused_raw(20415, 415, raw(
            "POST", "/v2/Services", '{"FriendlyName":"x"}', headers={"Content-Type": "application/json"}))
        self.refused_raw(20413, 413, raw("POST", "/v2/Services", {"FriendlyName": "x" * 70_000}))


class AccessTokens(Case):
    def test_made_and_fetched(self):
        identity = self.identity()
        made = self.services.access_tokens.create(
            identity=identity, factor_type="push", factor_friendly_name="Phone", ttl=300)
        self.assertEqual((made.entity_identity, str(made.factor_type), made.ttl), (identity, "push", 300))
        self.assertLess(len(made.token), 4096)
        self.assertEqual(self.services.access_tokens(made.sid).fetch().factor_friendly_name, "Phone")
        self.assertEqual(self.services.access_tokens.create(identity=identity, factor_type="push").ttl, 60)

    def test_what_breaks_a_rule(self):
        create = self.services.access_tokens.create
        for parameters in (dict(ttl=59), dict(ttl=301), dict(identity="short"), dict(identity="a b c d e"),
                           dict(factor_type="totp"), dict(factor_friendly_name="x" * 65)):
            with self.subTest(parameters):
                self.refused(60305, 400, lambda: create(
                    **{"identity": "user-0001", "factor_type": "push", **parameters}))
        self.refused(20404, 404, self.services.access_tokens("YK" + "0" * 32).fetch)


class Entities(Case):
    def test_life(self):
        identity = self.identity().upper()
        made = self.services.entities.create(identity=identity)
        self.assertEqual(made.identity, identity)
        self.assertEqual(made.links["factors"], made.links["new_factors"])
        self.assertEqual(self.entity(identity.lower()).fetch().sid, made.sid)
        self.assertEqual(self.entity(made.sid).fetch().identity, identity)
        self.refused(60301, 409, lambda: self.services.entities.create(identity=identity.lower()))
        self.assertTrue(self.entity(identity).delete())
        self.refused(20404, 404, self.entity(identity).fetch)
        self.refused(20404, 404, self.entity(identity).delete)

    def test_what_breaks_a_rule(self):
        for identity in ("short", "x" * 65, "with space", "ünïcödé-1"):
            self.refused(60200, 400, lambda: self.services.entities.create(identity=identity))

    def test_three_pages(self):
        service = self.v2.services(self.v2.services.create("Pages").sid)
        made = [service.entities.create(identity=f"person-{number:04}").sid for number in range(5)]
        self.assertEqual([entity.sid for entity in service.entities.list(page_size=2)], made)
        self.paged(service.entities.page(page_size=2), "entities", made)
