"""The console in a headless Chromium: what a newcomer does with the phones, and what an SRE looks at.

Run by ConsolePagesTests.swift, or by hand: BECKON_BINARY=.build/debug/beckon python3 Tests/Examples/console.py
BECKON_PICTURES names a folder for pictures of the pages. Exits 77 when there is no Chromium: skipped.
"""
import base64
import csv
import http.server
import io
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

import chromium
from sign_in import CONTRAST

ROOT = pathlib.Path(__file__).resolve().parents[2]
PICTURES = os.environ.get("BECKON_PICTURES")
BINARY = os.environ.get("BECKON_BINARY", ROOT / ".build/debug/beckon")
OPERATOR, VIEWER = "operator-operator-operator", "viewer-viewer-viewer-viewer"

# Rules of accessibility that a tree of names does not show: what breaks them on this page.
RULES = """(() => {
    const bad = [];
    const all = selector => [...document.querySelectorAll(selector)];
    if (!document.documentElement.lang) bad.push("no language");
    if (!document.title) bad.push("no title");
    for (const landmark of ["header", "main", "footer"]) {
        if (all(`body > ${landmark}`).length !== 1) bad.push(`not exactly one ${landmark}`);
    }
    if (all("h1").length !== 1) bad.push("not exactly one h1");
    let level = 0;
    for (const heading of all("h1, h2, h3, h4")) {
        const own = Number(heading.nodeName[1]);
        if (own > level + 1) bad.push(`${heading.nodeName} after h${level}: ${heading.textContent}`);
        level = own;
    }
    const ids = all("[id]").map(element => element.id);
    for (const id of new Set(ids.filter((id, index) => ids.indexOf(id) !== index))) bad.push(`twice: #${id}`);
    for (const element of all("[aria-labelledby], [aria-describedby]")) {
        for (const id of `${element.getAttribute("aria-labelledby") ?? ""}`.split(" ").filter(Boolean)) {
            if (!document.getElementById(id)) bad.push(`names #${id}, which is not there`);
        }
    }
    for (const field of all("input:not([type=hidden]), select, textarea")) {
        if (!field.labels?.length && !field.getAttribute("aria-label")) bad.push(`no label: ${field.name}`);
    }
    for (const table of all("table")) {
        if (!table.caption) bad.push("a table without a caption");
        if (!table.querySelector("th[scope]")) bad.push("a table without headings");
    }
    for (const picture of all("svg")) {
        const isNamed = picture.getAttribute("role") === "img"
            && (picture.getAttribute("aria-label") || picture.getAttribute("aria-labelledby"));
        if (!isNamed && picture.getAttribute("aria-hidden") !== "true") bad.push("a picture without a name");
    }
    for (const element of all("[tabindex]")) if (element.tabIndex > 0) bad.push("a tabindex above 0");
    for (const list of all("ul, ol")) {
        for (const child of list.children) if (child.nodeName !== "LI") bad.push(`${child.nodeName} in a list`);
    }
    for (const button of all("button, a.button")) {
        const box = button.getBoundingClientRect();
        if (button.checkVisibility() && box.width && (box.height < 24 || box.width < 24)) {
            bad.push(`smaller than 24 pixels: ${button.textContent}`);
        }
    }
    if (!document.querySelector("a.skip[href='#main']")) bad.push("no link to the content");
    return bad;
})()"""


class World:
    """`beckon dev`, a console of its own that asks for tokens, and a browser."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.log = open(os.path.join(self.folder.name, "log"), "w+")
        self.processes = []
        self.dev = self.started("dev", "dev", environment={})
        self.origin = self.dev["console"]
        self.role = self.started(
            "console", "console", "--admin-port", "0", "--console-port", "0", "--console-targets", self.dev["metrics"],
            "--console-api-url", self.dev["api"],
            environment={
                "BECKON_CONSOLE_OPERATOR_TOKEN": OPERATOR, "BECKON_CONSOLE_VIEWER_TOKEN": VIEWER,
                "BECKON_CONSOLE_API_KEY": f"{self.dev['account_sid']}:{self.dev['auth_token']}",
            })["console"]
        self.browser = chromium.Chromium()

    def started(self, name, *arguments, environment):
        """Runs a command until its ready file is there, and returns what stands in it."""
        ready = os.path.join(self.folder.name, f"{name}.json")
        process = subprocess.Popen(
            [BINARY, *arguments, "--ready-file", ready], stdout=self.log, stderr=self.log,
            env={**{name: os.environ[name] for name in os.environ if not name.startswith("BECKON_")}, **environment})
        self.processes.append(process)
        while not os.path.exists(ready):
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
            self.log.seek(0)
            raise SystemExit(f"{name} did not start:\n{self.log.read()}")
        with open(ready) as file:
            return json.load(file)

    def close(self):
        self.browser.close()
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            process.wait(60)
        self.log.close()
        self.folder.cleanup()


def send(url, body=None, **headers):
    """Status and text of a request that no browser sends."""
    request = urllib.request.Request(url, data=body.encode() if body is not None else None)
    for name, value in headers.items():
        request.add_header(name.replace("_", "-"), value)
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


class Console(unittest.TestCase):
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

    def page(self, path="/", origin=None, **look):
        page = self.world.browser.page((origin or self.world.origin) + path, **look)
        self.pages.append(page)
        page.until("document.readyState === 'complete' && !!document.querySelector('main')")
        return page

    def comes(self, page, condition, seconds=60):
        """Waits outside of the page, so that the page may be left meanwhile, or run no scripts."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if page.run(f"!!({condition})"):
                    return
            except chromium.Failed:
                pass  # Between two pages.
            time.sleep(0.05)
        self.fail(f"did not come true within {seconds} s: {condition}\nthe page says:\n{page.text()}")

    def says(self, page, text):
        self.comes(page, f"document.body?.innerText.includes({json.dumps(text)})")

    def check(self, page, name):
        """The rules of accessibility, at all widths and in both schemes; pictures when they are asked for."""
        nodes = page.call("Accessibility.getFullAXTree")["nodes"]
        nameless = [
            node["role"]["value"] for node in nodes if not node["ignored"]
            and node["role"]["value"] in ("button", "link", "textbox", "heading", "combobox", "checkbox", "image", "region")
            and not node.get("name", {}).get("value")]
        self.assertEqual(nameless, [], name)
        for width, height in ((320, 640), (390, 844), (1280, 900)):
            page.call(
                "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                mobile=width < 600)
            # A page that is too wide makes a phone's window wider, so innerWidth says nothing.
            page.until(f"document.documentElement.scrollWidth <= {width}")
            self.assertEqual(page.run(RULES), [], f"{name} at {width}")
            for scheme in ("light", "dark"):
                page.look(scheme)
                self.assertEqual(page.run(CONTRAST), [], f"{name}, {scheme}: less than 4.5 to 1")
                if PICTURES and width > 320:
                    page.picture(os.path.join(PICTURES, f"{name}-{width}-{scheme}.png"))
        page.look("light")

    # The newcomer.

    def ring(self, page, message, number=False):
        page.fill("#message", message)
        page.run(f"document.querySelector('#number').checked = {json.dumps(number)}")
        page.click(".ask button")
        page.shows("was created. Watch the phones.")

    def sheet(self, page, phone, message):
        """The open sheet of a phone: a selector."""
        page.until(f"document.querySelector('#{phone} .sheet .question')?.textContent === {json.dumps(message)}")
        return f"#{phone} .sheet"

    def state(self, page, message):
        return f"""[...document.querySelectorAll('.asked li')].find(
            line => line.textContent.includes({json.dumps(message)}))?.querySelector('.badge').textContent.slice(2)"""

    def count(self, page, stage):
        return page.run(f"""Number([...document.querySelectorAll('.stage')].find(
            element => element.querySelector('strong').textContent === '{stage}')
            .querySelector('.count').textContent.replace(/[^0-9]/g, ''))""")

    def test_a_phone_rings_one_taps_approve_and_the_funnel_moves(self):
        overview = self.page("/")
        overview.shows("Everything works")
        before = {stage: self.count(overview, stage) for stage in ("Created", "Answered")}
        page = self.page("/phones")
        self.check(page, "phones-quiet")
        self.ring(page, "Open the vault?")
        for phone in ("phone-2", "phone-3"):
            self.sheet(page, phone, "Open the vault?")
        page.shows("Berlin, Firefox on Linux")
        self.assertEqual(page.run(self.state(page, "Open the vault?")), "pending")
        page.until("document.querySelector('#live [role=status]').textContent.includes('iPhone rings: Open the vault?')")
        self.check(page, "phones-ringing")
        page.click("#phone-3 .sheet button.good")
        page.shows("Approved.")
        page.until(f"{self.state(page, 'Open the vault?')} === 'approved'")
        # The other phone of the person takes its notification back.
        page.until("!document.querySelector('.sheet')")
        for stage in ("Created", "Answered"):
            overview.until(f"""Number([...document.querySelectorAll('.stage')].find(
                element => element.querySelector('strong').textContent === '{stage}')
                .querySelector('.count').textContent.replace(/[^0-9]/g, '')) > {before[stage]}""")
        overview.shows("approved")
        self.check(overview, "overview")

        page.click(".asked a.question")
        self.says(page, "received after")
        page.until("document.querySelectorAll('svg.lanes rect.lane').length >= 2")
        text = page.text()
        self.assertNotIn("Open the vault?", text, "the text of a challenge is on no page for an SRE")
        page.shows("approved")
        page.click("summary")
        self.check(page, "challenge")
        page.click("main .lead a")
        self.comes(page, "document.querySelector('#devices')")
        page.shows("phone-3")
        # How much of each limit the person has used.
        for words in ("challenges created", "challenges pending", "denials", "wrong numbers", "not reached"):
            page.shows(words)
        self.assertRegex(page.text(), r"[1-9]\d* of 20")
        self.check(page, "person")

    def test_denied(self):
        # The only denial here: three of one person stop all pushes to them.
        page = self.page("/phones")
        self.ring(page, "Pay 1,000 euro?")
        self.sheet(page, "phone-2", "Pay 1,000 euro?")
        page.click("#phone-2 .sheet button.bad")
        page.until(f"{self.state(page, 'Pay 1,000 euro?')} === 'denied'")

    def test_the_number_must_be_typed_and_a_wrong_one_is_told(self):
        page = self.page("/phones")
        self.ring(page, "Sign in with a number?", number=True)
        self.sheet(page, "phone-3", "Sign in with a number?")
        number = page.until("document.querySelector('.asked .number').textContent")
        self.check(page, "phones-number")
        wrong = str((int(number) + 1) % 100).zfill(2)
        page.fill("#phone-3 .sheet input[name=number]", wrong)
        page.click("#phone-3 .sheet button.good")
        page.shows("The phone says:")
        # What a person types stays while the page is replaced around it.
        page.run("document.querySelector('#phone-3 .sheet input[name=number]').focus()")
        page.fill("#phone-3 .sheet input[name=number]", number)
        age = page.run("document.querySelector('.asked time').textContent")
        page.until(f"document.querySelector('.asked time').textContent !== {json.dumps(age)}")
        self.assertEqual(page.run("document.activeElement.name + document.activeElement.value"), f"number{number}")
        page.press("Enter")
        page.until(f"{self.state(page, 'Sign in with a number?')} === 'approved'")

    def test_the_app_is_closed_and_notifications_are_off(self):
        page = self.page("/phones")
        page.click("#phone-3 .switches form:nth-of-type(2) button")
        page.until("document.querySelector('#phone-3 .badge').textContent.includes('app closed')")
        page.click("#phone-2 .switches form:nth-of-type(1) button")
        page.until("document.querySelector('#phone-2 .badge').textContent.includes('notifications off')")
        self.ring(page, "Are you there?")
        page.until("document.querySelector('#phone-3 .notification')?.textContent.includes('Are you there?')")
        self.assertIsNone(page.run("document.querySelector('#phone-2 .sheet')"), "nothing shows on that phone")
        page.click("#phone-3 .notification button")
        self.sheet(page, "phone-3", "Are you there?")
        page.click("#phone-2 .switches form:nth-of-type(2) button")
        self.sheet(page, "phone-2", "Are you there?")
        page.click("#phone-2 .sheet button.good")
        page.until(f"{self.state(page, 'Are you there?')} === 'approved'")
        page.click("#phone-2 .switches form:nth-of-type(1) button")
        page.until("document.querySelector('#phone-2 .badge').textContent.includes('on')")

    def test_a_provider_that_fails_is_seen_and_mended(self):
        page = self.page("/phones")
        page.run("document.querySelector('#fault-provider').value = 'hms'")
        page.run("document.querySelector('#fault').value = 'fails'")
        page.click("form[action='/faults'] button")
        page.shows("HMS fails for every push")
        page.click("form[action='/faults/end'] button")
        page.shows("All providers work.")
        page.until("!document.querySelector('.notice')")

    def test_without_script(self):
        page = self.page("/phones")
        page.call("Emulation.setScriptExecutionDisabled", value=True)
        page.call("Page.reload")
        self.comes(page, "document.readyState === 'complete' && document.querySelector('.ask')")
        page.run("document.querySelector('#message').value = 'Without script?'")
        page.run("document.querySelector('.ask').requestSubmit()")
        self.says(page, "Without script?")

        sheet = """[...document.querySelectorAll('#phone-3 .sheet')].find(
            sheet => sheet.querySelector('.question').textContent === 'Without script?')"""

        def rings():
            return page.run(f"!!{sheet}")
        # Nothing updates the page by itself.
        for _ in range(100):
            if rings():
                break
            page.run("window.isOld = true")
            page.call("Page.navigate", url=self.world.origin + "/phones")
            self.comes(page, "!window.isOld && document.readyState === 'complete' && document.querySelector('.phones')")
        self.assertTrue(rings())
        page.run(f"{sheet}.querySelector('button.good').click()")
        self.comes(page, self.state(page, "Without script?") + " === 'approved'")

    def test_a_test_waits_for_the_next_push(self):
        page = self.page("/phones")
        self.ring(page, "For a test")
        # By its challenge: an earlier push to the phone would answer at once.
        challenge = page.run("document.querySelector('#said').textContent.match(/YC[0-9a-f]{32}/)[0]")
        asked = f"/inbox/latest?phone=phone-3&challenge={challenge}&kind=visible&wait=10s"
        status, text = send(self.world.origin + asked)
        push = json.loads(text)
        self.assertEqual((status, push["values"]["message"], push["provider"]), (200, "For a test", "apn"))
        self.assertEqual(push["identity"], "newcomer")
        self.sheet(page, "phone-3", "For a test")
        later = f"{asked.replace('10s', '0s')}&after={push['accepted_at_ms']}"
        self.assertEqual(send(self.world.origin + later)[0], 404)
        self.assertEqual(send(self.world.origin + "/inbox/latest?wait=yes")[0], 400)
        # The page shows the same push without its tokens.
        page.run("document.querySelectorAll('#phone-3 details').forEach(details => details.open = true)")
        page.until("document.querySelector('#phone-3 pre').textContent.includes('For a test')")
        self.assertNotIn(push["values"]["receipt_token"], page.run("document.documentElement.outerHTML"))
        page.click("#phone-3 .sheet button.good")
        page.until(f"{self.state(page, 'For a test')} === 'approved'")

    # The SRE.

    def test_the_pages_of_an_sre(self):
        for path, word in (
                ("/providers", "half answered within"), ("/workers", "all 12 partitions are served"),
                ("/challenges", "Name a person"), ("/webhooks", "Where events are posted to."),
                ("/dead-letters", "Records that no role could process"), ("/audit", "service.create")):
            page = self.page(path)
            page.shows(word)
            self.assertEqual(page.run("document.querySelector('nav [aria-current]').getAttribute('href')"), path)
            self.check(page, path[1:])
        page = self.page("/audit")
        page.click("main td a")
        self.comes(page, "document.querySelector('#actor').value")
        page = self.page("/challenges")
        page.fill("#identity", "newcomer")
        page.click(".ask button")
        self.says(page, "phone-2")

    def call(self, path, form=None):
        """A call of the API with the account's token."""
        request = urllib.request.Request(
            self.world.dev["api"] + path, data=urllib.parse.urlencode(form).encode() if form else None)
        token = f"{self.world.dev['account_sid']}:{self.world.dev['auth_token']}"
        request.add_header("Authorization", "Basic " + base64.b64encode(token.encode()).decode())
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.load(reply)

    def test_an_event_that_nobody_accepted_is_sent_again(self):
        service = self.call("/v2/Services", {"FriendlyName": "shop"})["sid"]
        answers, got = [503], []

        class Receiver(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                got.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(answers[0])
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        self.addCleanup(receiver.server_close)
        self.addCleanup(receiver.shutdown)
        hook = self.call(f"/v2/Services/{service}/Webhooks", {
            "FriendlyName": "orders", "EventTypes": "*",
            "WebhookUrl": f"http://127.0.0.1:{receiver.server_port}/hook?secret"})["sid"]
        self.call(f"/v2/Services/{service}/Webhooks/{hook}/Tests", {"a": "b"})
        page = self.page(f"/webhooks/{service}/{hook}")
        page.until("!!document.querySelector('td button')")
        page.shows("503")
        self.assertNotIn("secret", page.text(), "of a webhook's address only the host is shown")
        self.check(page, "webhook")
        answers[0] = 204
        before = len(got)
        page.click("td button")
        page.shows("1 event is sent again.")
        page.until("!document.querySelector('td button')")
        self.assertGreater(len(got), before)
        page = self.page(f"/audit?subject={hook}")
        page.shows("webhooks.replay")
        page.shows("console:developer")
        # Nobody may without being an operator, and no page of another site may.
        act = f"/webhooks/{service}/{hook}/replays"
        for token, expected in ((VIEWER, 403), ("wrong" * 5, 401)):
            self.assertEqual(
                send(self.world.role + act, "event=x", Authorization=f"Bearer {token}")[0], expected)
        self.assertEqual(send(self.world.origin + act, "event=x", Sec_Fetch_Site="cross-site")[0], 403)

    def test_the_audit_trail_is_a_file(self):
        page = self.page("/audit")
        page.shows("Export as CSV")
        link = page.run("[...document.querySelectorAll('main a')].find(a => a.textContent === 'Export as CSV').href")
        status, text = send(link)
        rows = list(csv.DictReader(io.StringIO(text)))
        self.assertEqual(status, 200)
        self.assertIn("service.created", {row["action"] for row in rows})
        for row in rows:
            self.assertTrue(all(cell[:1] not in ("=", "+", "-", "@") for cell in row.values() if cell), row)
        subject = rows[-1]["subject"]
        page = self.page(f"/audit?subject={subject}")
        link = page.run(
            "[...document.querySelectorAll('main a')].find(a => a.textContent === 'Export as JSON lines').href")
        lines = [json.loads(line) for line in send(link)[1].splitlines()]
        self.assertEqual({line["subject"] for line in lines}, {subject}, "the filter is kept")
        self.assertEqual(send(self.world.role + "/audit/export")[0], 401)

    # The last by its name: for a quarter of an hour the overview then warns of the dead letter.
    def test_written_back_is_a_dead_letter_and_the_audit_trail_has_it(self):
        record = subprocess.run(
            ["kcat", "-b", self.world.dev["kafka"], "-P", "-t", "beckon.requests", "-k", "<dead>",
             "-H", "content-type=application/json"], input=b"{not json", timeout=60)
        self.assertEqual(record.returncode, 0)
        page = self.page("/dead-letters")
        for _ in range(100):
            if page.run("!!document.querySelector('input[name=id]')"):
                break
            page.run("window.isOld = true")
            page.call("Page.navigate", url=self.world.origin + "/dead-letters?topic=requests")
            self.comes(page, "!window.isOld && document.readyState === 'complete' && document.querySelector('#reason')")
        self.assertIn("<dead>", page.text())
        self.assertNotIn("not json", page.text(), "what a record contains is shown nowhere")
        self.check(page, "dead-letters")
        page.click("main form[method=post] button")
        self.says(page, "Mark at least one record.")
        page.call("Page.navigate", url=self.world.origin + "/dead-letters")
        self.comes(page, "document.querySelector('input[name=id]')")
        page.click("input[name=id]")
        page.click("main form[method=post] button")
        self.says(page, "1 of 1 records were written back")
        self.check(page, "replay")
        replay = page.run("document.querySelector('main code').textContent")
        page = self.page(f"/audit?subject={replay}")
        page.shows("dead-letters.replay")
        page.shows("console:developer")

    def test_a_viewer_looks_and_may_not_act(self):
        page = self.page("/", self.world.role)
        self.says(page, "Sign in")
        self.check(page, "sign-in")
        page.fill("#token", "something-else-altogether")
        page.click("button.main")
        self.says(page, "That is not a token of this console.")
        page.fill("#token", VIEWER)
        page.click("button.main")
        self.says(page, "Overview")
        self.says(page, "viewer")
        self.assertEqual(page.run("document.cookie"), "", "no script can read who is signed in")
        self.assertEqual(page.run("document.querySelectorAll('main form[method=post]').length"), 0)
        self.says(page, "Everything works")
        page.call("Page.navigate", url=self.world.role + "/workers")
        self.says(page, "all 12 partitions are served")
        page.click(".who button")
        self.says(page, "the viewer token may only look")

    def test_no_other_site_can_act_or_read(self):
        cookie = {"Content_Type": "application/x-www-form-urlencoded"}
        act = self.world.origin + "/faults/end"
        self.assertEqual(send(act, "", Sec_Fetch_Site="cross-site", **cookie)[0], 403)
        self.assertEqual(send(act, "", Origin="https://evil.example", **cookie)[0], 403)
        self.assertEqual(send(self.world.origin + "/", Host="evil.example")[0], 403)
        self.assertEqual(send(self.world.role + "/sign-out", "", **cookie)[0], 403, "no browser, and no bearer")
        status, _ = send(self.world.role + "/", Authorization=f"Bearer {VIEWER}")
        self.assertEqual(status, 200)
        self.assertEqual(send(self.world.role + "/", Authorization="Bearer nothing")[0], 401)
        # Inline scripts do not run.
        page = self.page("/")
        page.run("(() => { try { document.body.append(Object.assign(document.createElement('script'),"
                 " {text: 'window.broken = 1'})) } catch (error) { return error.name } })()")
        self.assertIsNone(page.run("window.broken ?? null"))
        self.pages.remove(page)
        self.assertTrue(page.faults(), "the policy says so")
        page.close()

    def test_by_keyboard_alone(self):
        page = self.page("/phones")
        page.press("Tab")
        self.assertEqual(page.run("document.activeElement.className"), "skip")
        page.press("Enter")
        page.until("location.hash === '#main'")
        page.press("Tab")
        page.until("document.activeElement.id === 'identity'")
        self.ring(page, "By keyboard?")
        self.sheet(page, "phone-2", "By keyboard?")
        page.run("document.querySelector('#phone-2 .sheet button.good').focus()")
        page.press("Enter")
        page.until(f"{self.state(page, 'By keyboard?')} === 'approved'")


if __name__ == "__main__":
    if chromium.executable() is None:
        print("skipped: there is no chromium (apt-get install chromium)")
        sys.exit(1 if os.environ.get("CI") == "true" else 77)
    if PICTURES:
        os.makedirs(PICTURES, exist_ok=True)
    # The suite starts this on a thread that blocks signals, and the processes here would never see their SIGTERM.
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    unittest.main()
