"""Checks signed requests (JSON on stdin, made by SignatureTests) as receivers do, and that altered ones are refused.

The Python helper library and the Standard Webhooks library are used unmodified; the algorithm of the PHP library is written anew
here, that of the Node library in check.mjs. Prints one line of JSON: how many checks were made, and what went wrong.
"""
import base64, hashlib, hmac, json, os, subprocess, sys
from urllib.parse import parse_qsl

from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from twilio.request_validator import RequestValidator


def python(case):
    validator = RequestValidator(case["token"])
    if case["form"]:
        return validator.validate(case["url"], dict(parse_qsl(case["body"])), case["signature"])
    return validator.validate(case["url"], case["body"], case["signature"])


def php(case):
    def code(url, data):
        # ksort compares names of digits as numbers; there are none.
        for name in sorted(data):
            url += name + data[name]
        return base64.b64encode(hmac.new(case["token"].encode(), url.encode(), hashlib.sha1).digest()).decode()

    # parse_url and its way back, which splits at the first ? and #.
    scheme, rest = case["url"].split("://", 1)
    at = min([i for i in (rest.find(c) for c in "/?#") if i >= 0] or [len(rest)])
    host, behind = rest[:at], rest[at:]
    bare, _, port = host.rpartition(":") if not host.endswith("]") and ":" in host else (host, "", "")
    without = f"{scheme}://{bare}{behind}"
    with_port = case["url"] if port else f"{scheme}://{bare}:{443 if scheme == 'https' else 80}{behind}"
    data, good_body = {}, True
    if case["form"]:
        data = dict(parse_qsl(case["body"]))
    else:
        query = dict(parse_qsl(case["url"].split("?", 1)[1] if "?" in case["url"] else ""))
        good_body = hashlib.sha256(case["body"].encode()).hexdigest() == query.get("bodySHA256")
    return good_body and case["signature"] in (code(without, data), code(with_port, data))


def standard(case):
    headers = {f"webhook-{n}": case[f"webhook-{n}"] for n in ("id", "timestamp", "signature")}
    try:
        Webhook(case["secret"]).verify(case["body"].encode(), headers, json_parse=False)
        return True
    except WebhookVerificationError:
        return False


def altered(case):
    last = "A" if case["signature"][0] != "A" else "B"
    yield "another signature", {**case, "signature": last + case["signature"][1:]}
    yield "another token", {**case, "token": case["token"] + "0"}
    yield "one field more", {**case, "body": case["body"] + ("&z=1" if case["form"] else " ")}
    yield "another path", {**case, "url": case["url"].replace("://", "://x", 1)}


def altered_standard(case):
    yield "another body", {**case, "body": case["body"] + "x"}
    yield "another time", {**case, "webhook-timestamp": str(int(case["webhook-timestamp"]) + 1)}
    yield "another id", {**case, "webhook-id": case["webhook-id"] + "x"}
    wrong = base64.b64encode(b"x" * 32).decode()
    yield "another secret", {**case, "secret": "whsec_" + wrong}


def main():
    cases = json.load(sys.stdin)
    checked, problems, for_node = 0, [], []

    def note(validator, what, case, accepted, expected):
        nonlocal checked
        checked += 1
        if accepted != expected:
            problems.append(f"{validator}: {what}: accepted={accepted} {case['url'][:200]} form={case['form']}")

    for case in cases:
        for validator in (python, php):
            note(validator.__name__, "genuine", case, validator(case), True)
            for what, other in altered(case):
                note(validator.__name__, what, other, validator(other), False)
        for secret in case["secrets"]:
            note("standard", "genuine", case, standard({**case, "secret": secret}), True)
        for what, other in altered_standard({**case, "secret": case["secrets"][0]}):
            note("standard", what, other, standard(other), False)
        for_node += [("genuine", case, True)] + [(what, other, False) for what, other in altered(case)]
    done = subprocess.run(
        ["node", os.path.join(os.path.dirname(__file__), "check.mjs")], input=json.dumps([c for _, c, _ in for_node]),
        capture_output=True, text=True, check=True)
    for (what, case, expected), accepted in zip(for_node, json.loads(done.stdout), strict=True):
        note("node", what, case, accepted, expected)
    print(json.dumps({"checked": checked, "problems": problems}))


main()
