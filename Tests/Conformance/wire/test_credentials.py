import json
from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from world import Case, raw


def pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


def certificate(key):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Apple Push Services: com.example")])
    now = datetime.now(timezone.utc)
    return x509.CertificateBuilder(
        subject_name=name, issuer_name=name, public_key=key.public_key(), serial_number=1, not_valid_before=now,
        not_valid_after=now + timedelta(days=1)).sign(key, hashes.SHA256()).public_bytes(
            serialization.Encoding.PEM).decode()


class Credentials(Case):
    def kinds(self):
        rsa_key = rsa.generate_private_key(65537, 2048)
        account = {"type": "service_account", "project_id": "p", "client_email": "x@p.iam", "private_key_id": "1",
                   "private_key": pem(rsa_key)}
        return {
            "key": {"Type": "apn", "TeamId": "TEAM000001", "KeyId": "KEY0000001",
                    "PrivateKey": pem(ec.generate_private_key(ec.SECP256R1())), "Sandbox": "true"},
            "certificate": {"Type": "apn", "Certificate": "Bag Attributes\n" + certificate(rsa_key),
                            "PrivateKey": pem(rsa_key)},
            "fcm": {"Type": "fcm", "ServiceAccount": json.dumps(account)},
            "hms": {"Type": "hms", "AppId": "100000001", "AppSecret": "secret-of-hms"},
        }

    def test_life(self):
        for name, form in self.kinds().items():
            with self.subTest(name):
                made = raw("POST", "/v1/Credentials", {"FriendlyName": name, **form})
                self.assertEqual(made.status_code, 201, made.text)
                body = made.json()
                self.assertEqual((body["type"], body["friendly_name"]), (form["Type"], name))
                self.assertEqual(body["sandbox"], "True" if name == "key" else "False")
                fetched = raw("GET", body["url"])
                self.assertEqual(fetched.json(), body)
                for secret in ("PRIVATE", "secret-of-hms", "CERTIFICATE"):
                    self.assertNotIn(secret, made.text + fetched.text)
                if form["Type"] != "hms":
                    parameter = "push_apn_credential_sid" if form["Type"] == "apn" else "push_fcm_credential_sid"
                    service = self.v2.services.create("x", **{parameter: body["sid"]})
                    self.assertEqual(service.push[parameter[5:]], body["sid"])
                self.assertEqual(raw("DELETE", body["url"]).status_code, 204)
                self.refused_raw(20404, 404, raw("GET", body["url"]))

    def test_what_breaks_a_rule(self):
        kinds = self.kinds()
        for kind, changed in (
                ("key", {"TeamId": "short"}), ("key", {"KeyId": ""}), ("key", {"PrivateKey": "nonsense"}),
                ("certificate", {"Certificate": "nonsense"}),
                ("certificate", {"PrivateKey": pem(rsa.generate_private_key(65537, 2048))}),
                ("certificate", {"PrivateKey": ""}), ("fcm", {"ServiceAccount": "{}"}), ("hms", {"AppId": "x"}),
                ("hms", {"AppSecret": ""}), ("key", {"Type": "gcm"}), ("key", {"FriendlyName": "x" * 65})):
            with self.subTest(kind=kind, changed=list(changed)):
                self.refused_raw(60200, 400, raw("POST", "/v1/Credentials", {**kinds[kind], **changed}))

    def test_three_pages(self):
        form = self.kinds()["hms"]
        made = [raw("POST", "/v1/Credentials", form).json()["sid"] for _ in range(5)]
        seen, pages, url = [], 0, "/v1/Credentials?PageSize=2"
        while url:
            page = raw("GET", url).json()
            seen += [credential["sid"] for credential in page["credentials"]]
            pages, url = pages + 1, page["meta"]["next_page_url"]
        self.assertGreaterEqual(pages, 3)
        self.assertEqual(seen[-5:], made)
