"""The sign-in example in a headless Chromium: two browsers, one at the bank's page and one as the phone.

Run by SignInTests.swift, or by hand: BECKON_BINARY=.build/debug/beckon python3 Tests/Examples/sign_in.py
BECKON_PICTURES names a folder for pictures of the pages. Exits 77 when there is no Chromium: skipped.
"""
import base64
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import unittest
import urllib.request
import uuid

import chromium

ROOT = pathlib.Path(__file__).resolve().parents[2]
PICTURES = os.environ.get("BECKON_PICTURES")


class World:
    """`beckon dev`, the example's server and a browser."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        ready = os.path.join(self.folder.name, "ready.json")
        self.log = open(os.path.join(self.folder.name, "log"), "w+")
        self.dev = subprocess.Popen(
            [os.environ.get("BECKON_BINARY", ROOT / ".build/debug/beckon"), "dev", "--ready-file", ready],
            stdout=self.log, stderr=self.log)
        self.server = subprocess.Popen(
            [sys.executable, ROOT / "examples/sign-in/server.py", "--ready-file", ready, "--port", "0"],
            stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.browser = chromium.Chromium()
        line = self.server.stdout.readline()
        if not line:
            self.log.seek(0)
            raise SystemExit(f"the example did not start:\n{self.log.read()}")
        self.origin = line.split()[-1].rstrip("/")
        with open(ready) as file:
            self.beckon = json.load(file)

    def backend(self, path):
        """What Beckon answers to the backend."""
        request = urllib.request.Request(f"{self.beckon['api']}/v2/Services/{self.beckon['service_sid']}{path}")
        secret = f"{self.beckon['account_sid']}:{self.beckon['auth_token']}".encode()
        request.add_header("Authorization", "Basic " + base64.b64encode(secret).decode())
        with urllib.request.urlopen(request, timeout=20) as reply:
            return json.load(reply)

    def close(self):
        self.browser.close()
        for process in (self.server, self.dev):
            process.terminate()
            process.wait(30)
        self.server.stdout.close()
        self.log.close()
        self.folder.cleanup()


class SignIn(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = World()

    @classmethod
    def tearDownClass(cls):
        cls.world.close()

    def setUp(self):
        self.pages = []

    def tearDown(self):
        faults = [fault for page in self.pages for fault in page.faults()]
        for page in self.pages:
            page.close()
        self.assertEqual(faults, [], "scripts failed, or broke the pages' policy")

    def page(self, path="/", **look):
        url = path if path.startswith("http") else self.world.origin + path
        page = self.world.browser.page(url, **look)
        self.pages.append(page)
        return page

    def picture(self, page, name):
        """At both widths, in light and dark: nothing may be cut off at the side, also on the smallest phone."""
        for width, height in ((320, 640), (390, 844), (1280, 900)):
            page.call(
                "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                mobile=width < 600)
            # A page that is too wide makes a phone's window wider, so innerWidth says nothing.
            page.until(f"document.documentElement.scrollWidth <= {width}")
            for scheme in ("light", "dark"):
                page.look(scheme)
                if PICTURES:
                    page.picture(os.path.join(PICTURES, f"{name}-{width}-{scheme}.png"), full="request" not in name)
        page.look("light")

    def bank(self, email):
        page = self.page()
        page.fill("#email", email)
        page.click("#email-form button")
        return page

    def enrolled(self):
        """A person with a phone: the bank's page that waits for it, the phone, and the e-mail address."""
        email = f"{uuid.uuid4().hex[:12]}@example.com"
        bank = self.bank(email)
        bank.shows("Enrol your phone")
        phone = self.page(bank.run("document.querySelector('#enrol-link').href"), width=390, height=844)
        phone.click("#enrol-form button")
        phone.shows("This phone now confirms")
        bank.click("#enrolled")
        bank.shows("Check your phone")
        return bank, phone, email

    def number(self, bank):
        return bank.until("document.querySelector('#number').textContent")

    def asked(self, phone):
        phone.until("document.querySelector('#request').open")

    def approve(self, phone, number):
        self.asked(phone)
        phone.fill("#number", number)
        phone.click("#approve")

    def signed_in(self, bank, phone):
        bank.shows("You are signed in")
        # The page may know before the phone has its reply: its sheet would be taken for the next request's.
        phone.until("!document.querySelector('#request').open")

    # What people do.

    def test_approval_with_the_number(self):
        bank, phone, email = self.enrolled()
        self.asked(phone)
        bank.shows("It waits for your answer")
        phone.shows("Sign in to Example Bank?")
        phone.shows("Chrome on Linux")
        self.picture(bank, "waiting")
        self.picture(phone, "phone-request")
        phone.run("document.querySelector('#number').value = ''")
        phone.click("#approve")
        phone.shows("Enter the number that the sign-in page shows.")
        self.approve(phone, self.number(bank))
        phone.shows("Approved. You are signed in.")
        bank.shows("You are signed in")
        bank.shows(email)
        self.picture(bank, "done")
        self.picture(phone, "phone-approved")
        bank.run("location.reload()")
        bank.shows(email)
        bank.click("#sign-out")
        bank.shows("No password")
        self.assertEqual(bank.run("document.cookie"), "", "no script can read who is signed in")

    def test_denial(self):
        bank, phone, _ = self.enrolled()
        self.asked(phone)
        phone.click("#deny")
        phone.shows("Denied. Nobody is signed in.")
        bank.shows("Request denied")
        self.picture(bank, "denied")
        bank.click("#restart")
        bank.shows("No password")

    def test_a_wrong_number_is_told_and_the_third_one_denies(self):
        bank, phone, _ = self.enrolled()
        right = self.number(bank)
        wrong = str((int(right) + 1) % 100).zfill(2)
        self.approve(phone, wrong)
        phone.until("!document.querySelector('#request-problem').hidden")
        self.picture(phone, "phone-request-wrong-number")
        self.approve(phone, right)
        self.signed_in(bank, phone)

        bank.click("#sign-out")
        bank.click("#email-form button")
        bank.shows("Check your phone")
        wrong = str((int(self.number(bank)) + 1) % 100).zfill(2)
        for _ in range(2):
            self.approve(phone, wrong)
            phone.until("!document.querySelector('#request-problem').hidden")
            phone.run("document.querySelector('#request-problem').hidden = true")
        self.approve(phone, wrong)
        phone.shows("The number was wrong three times.")
        bank.shows("Wrong number")

    def test_put_off_and_sent_again(self):
        bank, phone, _ = self.enrolled()
        self.asked(phone)
        phone.click("#later")
        phone.until("!document.querySelector('#request').open")
        bank.click("#again")
        bank.shows("Sent again.")
        self.asked(phone)
        self.approve(phone, self.number(bank))
        bank.shows("You are signed in")

    def test_a_phone_that_is_away_then_checks_what_is_pending(self):
        bank, phone, email = self.enrolled()
        self.asked(phone)
        phone.click("#deny")
        phone.shows("Denied")
        bank.click("#restart")
        phone.run("location.href = 'about:blank'")
        bank.click("#email-form button")
        bank.shows("Check your phone")
        bank.shows("Your phone does not answer.")
        self.picture(bank, "undelivered")
        phone.call("Page.navigate", url=self.world.origin + "/phone")
        self.asked(phone)
        bank.shows("It waits for your answer")
        bank.until("document.querySelector('#undelivered').hidden")
        # Put off, and found again with the button.
        phone.click("#later")
        phone.click("#check")
        self.approve(phone, self.number(bank))
        bank.shows("You are signed in")
        self.picture(phone, "phone-home")

    def test_a_code_instead(self):
        bank, phone, email = self.enrolled()
        self.asked(phone)
        bank.click("#to-code")
        self.picture(bank, "code")
        bank.fill("#one-time-code", "000 000")
        bank.click("#code-form button")
        bank.shows("This code is not right")
        bank.click("#to-waiting")
        bank.shows("Check your phone")
        bank.click("#to-code")
        bank.fill("#one-time-code", phone.until("document.querySelector('#code').textContent"))
        bank.click("#code-form button")
        bank.shows("You are signed in")
        bank.shows(email)
        # The question on the phone is settled.
        phone.shows("The request is over.")
        phone.until("!document.querySelector('#request').open")

    def test_a_page_that_gave_up_is_not_approved(self):
        bank, phone, _ = self.enrolled()
        self.asked(phone)
        action = phone.run("""import("/device.js").then(async ({Device}) => {
            const device = await Device.load();
            return (await device.pending())[0].hidden_details.action; })""")
        valid = f"fetch('/actions/{action}').then(reply => reply.json()).then(read => read.valid)"
        self.assertIs(phone.run(valid), True)
        bank.click("#cancel")
        bank.shows("No password")
        phone.shows("The request is over.")
        self.assertIs(phone.run(valid), False)

    def test_notifications_are_asked_for_and_reported(self):
        bank, phone, email = self.enrolled()
        phone.shows("Switch notifications on")
        self.asked(phone)
        phone.click("#later")
        self.world.browser.call(
            "Browser.grantPermissions", permissions=["notifications"], origin=self.world.origin,
            browserContextId=phone.context)
        phone.click("#notify")
        phone.until("document.querySelector('#notifications').hidden")
        factor = phone.run("""import("/device.js").then(async ({Device}) => {
            const {identity, factor} = await Device.load();
            return `/Entities/${identity}/Factors/${factor}`; })""")
        self.assertIs(self.world.backend(factor)["config"]["notifications_enabled"], True)

    def test_a_phone_that_is_removed_asks_to_be_enrolled(self):
        bank, phone, email = self.enrolled()
        self.asked(phone)
        phone.click("#deny")
        phone.shows("Denied")
        phone.click("#remove")
        phone.shows("This phone is removed.")
        self.picture(phone, "phone-enrol")
        bank.click("#restart")
        bank.click("#email-form button")
        bank.shows("Enrol your phone")
        self.picture(bank, "enrol")
        bank.click("#enrolled")
        bank.shows("No phone is enrolled yet.")
        # By pasting the link. A second use of it is refused.
        link = bank.run("document.querySelector('#enrol-link').href")
        phone.fill("#link", link)
        phone.click("#enrol-form button")
        phone.shows("This phone now confirms")
        other = self.page(link, width=390, height=844)
        other.click("#enrol-form button")
        other.shows("This link is used up")
        bank.click("#enrolled")
        bank.shows("Check your phone")
        self.approve(phone, self.number(bank))
        bank.shows("You are signed in")

    # For everybody.

    def test_by_keyboard_alone(self):
        bank, phone, email = self.enrolled()
        self.asked(phone)
        phone.press("Escape")
        phone.until("!document.querySelector('#request').open")
        bank.click("#cancel")
        bank.shows("No password")
        bank.until("document.activeElement.id === 'start-title'")
        bank.press("Tab")
        bank.until("document.activeElement.id === 'email'")
        bank.press("Enter")
        bank.shows("Check your phone")
        bank.until("document.activeElement.id === 'waiting-title'")
        self.asked(phone)
        phone.until("document.activeElement.id === 'number'")
        phone.type(self.number(bank))
        phone.press("Enter")
        bank.shows("You are signed in")
        bank.until("document.activeElement.id === 'done-title'")

    def test_everything_has_a_name_and_enough_contrast(self):
        bank, phone, _ = self.enrolled()
        self.asked(phone)
        for page in (bank, phone):
            nodes = page.call("Accessibility.getFullAXTree")["nodes"]
            nameless = [
                node["role"]["value"] for node in nodes if not node["ignored"]
                and node["role"]["value"] in ("button", "link", "textbox", "heading", "dialog", "img", "progressbar")
                and not node.get("name", {}).get("value")]
            self.assertEqual(nameless, [])
            for scheme in ("light", "dark"):
                page.look(scheme)
                self.assertEqual(page.run(CONTRAST), [], f"{scheme}: less than 4.5 to 1")

    def test_no_other_origin_can_use_the_pages(self):
        page = self.page()
        page.shows("No password")
        headers = page.run("fetch('/').then(reply => Object.fromEntries(reply.headers))")
        policy = headers["content-security-policy"]
        for part in ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"):
            self.assertIn(part, policy)
        self.assertNotIn("unsafe", policy)
        # Inline scripts do not run, and a form of another site cannot start a sign-in.
        page.run("document.body.append(Object.assign(document.createElement('script'), {text: 'window.broken = 1'}))")
        self.assertIsNone(page.run("window.broken ?? null"))
        self.pages.remove(page)
        self.assertTrue(any("Content Security Policy" in fault for fault in page.faults()))
        status = page.run("fetch('/sign-in', {method: 'POST', body: 'email=a@b'}).then(reply => reply.status)")
        self.assertEqual(status, 415)
        page.close()


# Texts whose contrast to what lies behind them is below 4.5 (WCAG 2.2 AA), of what can be seen.
CONTRAST = """(() => {
    const parse = color => (color.match(/[\\d.]+/g) ?? []).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
        .reduce((sum, v, index) => sum + v * [.2126, .7152, .0722][index], 0);
    const behind = element => {
        for (let at = element; at; at = at.parentElement) {
            const color = parse(getComputedStyle(at).backgroundColor);
            if (color.length === 3 || color[3] === 1) return color;
        }
        return [255, 255, 255];
    };
    const bad = [];
    for (const element of document.querySelectorAll("body *")) {
        const hasText = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
        if (!hasText || !element.checkVisibility() || element.disabled || element.closest("noscript")) continue;
        const [a, b] = [light(parse(getComputedStyle(element).color)), light(behind(element))];
        const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
        if (ratio < 4.5) bad.push(`${element.textContent.trim().slice(0, 40)}: ${ratio.toFixed(1)}`);
    }
    return bad;
})()"""


if __name__ == "__main__":
    if chromium.executable() is None:
        print("skipped: there is no chromium (apt-get install chromium)")
        sys.exit(1 if os.environ.get("CI") == "true" else 77)
    if PICTURES:
        os.makedirs(PICTURES, exist_ok=True)
    # The suite starts this on a thread that blocks signals, and the processes here would never see their SIGTERM.
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    unittest.main()
