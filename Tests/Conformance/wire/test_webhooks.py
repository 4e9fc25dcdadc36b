from world import Case, raw

URL = "https://backend.example/hooks?x=1#rc=3&rp=5xx"


class Webhooks(Case):
    def test_life(self):
        made = self.services.webhooks.create(
            friendly_name="All", event_types=["challenge.approved", "factor.created"], webhook_url=URL)
        self.assertEqual(made.event_types, ["challenge.approved", "factor.created"])
        self.assertEqual(
            (str(made.status), str(made.version), made.webhook_url, str(made.webhook_method)),
            ("enabled", "v2", URL, "POST"))
        fetched = self.services.webhooks(made.sid).fetch()
        self.assertEqual((fetched.sid, fetched.friendly_name), (made.sid, "All"))
        changed = self.services.webhooks(made.sid).update(
            friendly_name="Some", event_types=["*"], webhook_url="http://127.0.0.1:9/", status="disabled",
            resource_version="v1")
        self.assertEqual(
            (changed.friendly_name, changed.event_types, changed.webhook_url, str(changed.status), str(changed.version)),
            ("Some", ["*"], "http://127.0.0.1:9/", "disabled", "v1"))
        self.assertEqual(self.services.webhooks(made.sid).update(status="enabled").friendly_name, "Some")
        self.assertTrue(self.services.webhooks(made.sid).delete())
        self.refused(20404, 404, self.services.webhooks(made.sid).fetch)
        self.refused(20404, 404, lambda: self.services.webhooks(made.sid).update(friendly_name="x"))
        self.refused(20404, 404, self.services.webhooks(made.sid).delete)

    def test_three_pages(self):
        service = self.v2.services(self.v2.services.create("Pages").sid)
        made = [
            service.webhooks.create(friendly_name=f"w{number}", event_types=["*"], webhook_url=URL).sid
            for number in range(5)]
        self.assertEqual([webhook.sid for webhook in service.webhooks.list(page_size=2)], made)
        self.paged(service.webhooks.page(page_size=2), "webhooks", made)

    def test_what_breaks_a_rule(self):
        good = dict(friendly_name="w", event_types=["*"], webhook_url=URL)
        webhook = self.services.webhooks.create(**good)
        for parameters in (
                dict(friendly_name="x" * 65), dict(event_types=["challenge.aproved"]),
                dict(webhook_url="ftp://x"), dict(webhook_url="/relative"), dict(webhook_url="https://user:pw@host/"),
                dict(webhook_url="https://host/" + "x" * 2048), dict(status="paused"), dict(resource_version="v3")):
            with self.subTest(parameters):
                self.refused(60200, 400, lambda: self.services.webhooks.create(**{**good, **parameters}))
                self.refused(60200, 400, lambda: self.services.webhooks(webhook.sid).update(**parameters))
        for missing in ("FriendlyName", "EventTypes", "WebhookUrl"):
            form = {"FriendlyName": "w", "EventTypes": "*", "WebhookUrl": URL}
            del form[missing]
            error = self.refused_raw(60200, 400, raw("POST", f"/v2/Services/{self.service.sid}/Webhooks", form))
            self.assertIn(missing, error["message"])

    def test_another_service_has_none_of_it(self):
        webhook = self.services.webhooks.create(friendly_name="w", event_types=["*"], webhook_url=URL)
        other = self.v2.services(self.v2.services.create("Other").sid)
        self.refused(20404, 404, other.webhooks(webhook.sid).fetch)
        self.refused(20404, 404, other.webhooks(webhook.sid).delete)
        self.assertEqual(other.webhooks.list(), [])
