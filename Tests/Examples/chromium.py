"""A headless Chromium, driven over the DevTools protocol through a pair of pipes. Nothing but the standard library."""
import base64
import json
import os
import shutil
import subprocess
import tempfile
import threading

NAMES = ("chromium", "chromium-browser", "google-chrome")


def executable():
    """None: there is none."""
    return os.environ.get("BECKON_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class Failed(Exception):
    pass


class Chromium:
    def __init__(self, *arguments):
        self.folder = tempfile.mkdtemp()
        # It reads commands from descriptor 3 and writes to 4.
        to_read, self.writing = os.pipe()
        self.reading, to_write = os.pipe()
        command = [
            executable(), "--headless=new", "--remote-debugging-pipe", f"--user-data-dir={self.folder}",
            "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
            "--disable-component-update", "--no-default-browser-check", "--hide-scrollbars", *arguments, "about:blank",
        ]
        if os.geteuid() == 0:
            command.insert(1, "--no-sandbox")  # It refuses to run as root with one.
        self.log = open(os.path.join(self.folder, "log"), "w+b")
        # The shell moves the pipes to where they belong, in a process of its own.
        self.process = subprocess.Popen(
            ["bash", "-c", f'exec 3<&{to_read} 4>&{to_write}; exec "$@"', "bash", *command],
            pass_fds=(to_read, to_write), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        os.close(to_read)
        os.close(to_write)
        self.condition, self.number, self.replies, self.events, self.is_gone = threading.Condition(), 0, {}, [], False
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        buffered = b""
        while chunk := os.read(self.reading, 1 << 16):
            *messages, buffered = (buffered + chunk).split(b"\0")
            with self.condition:
                for message in map(json.loads, messages):
                    if "id" in message:
                        self.replies[message["id"]] = message
                    else:
                        self.events = self.events[-999:] + [message]
                self.condition.notify_all()
        with self.condition:
            self.is_gone = True
            self.condition.notify_all()

    def call(self, method, session=None, seconds=90, **parameters):
        with self.condition:
            self.number += 1
            number = self.number
            message = {"id": number, "method": method, "params": parameters}
            if session:
                message["sessionId"] = session
            os.write(self.writing, json.dumps(message).encode() + b"\0")
            self.condition.wait_for(lambda: number in self.replies or self.is_gone, seconds)
            reply = self.replies.pop(number, None)
        if reply is None:
            self.log.seek(0)
            raise Failed(f"{method}: no answer; Chromium wrote:\n{self.log.read().decode(errors='replace')[-2000:]}")
        if "error" in reply:
            raise Failed(f"{method}: {reply['error']['message']}")
        return reply["result"]

    def page(self, url, **look):
        """A page with cookies and storage of its own."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        return Page(self, session, target, context).open(url, **look)

    def close(self):
        try:
            self.call("Browser.close", seconds=10)
        except (Failed, OSError):
            self.process.kill()
        self.process.wait()
        os.close(self.writing)
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Page:
    def __init__(self, browser, session, target, context):
        self.browser, self.session, self.target, self.context = browser, session, target, context
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        return self.browser.call(method, self.session, **parameters)

    def open(self, url, width=1280, height=900, scheme="light"):
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.look(scheme)
        self.call("Page.navigate", url=url)
        return self

    def look(self, scheme):
        self.call("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": "reduce"}])

    def run(self, script):
        """The value of an expression; promises are waited for."""
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise Failed(f"{script}: {result['exceptionDetails'].get('exception', {}).get('description')}")
        return result["result"].get("value")

    def until(self, condition, seconds=45):
        """Waits in the page until the expression is true, and returns its value."""
        value = self.run(f"""new Promise(done => {{
            const end = Date.now() + {seconds * 1000};
            const look = () => {{
                let value;
                try {{ value = {condition}; }} catch {{ }}
                if (value || Date.now() > end) done(value); else setTimeout(look, 30);
            }};
            look();
        }})""")
        if not value:
            raise Failed(f"did not come true within {seconds} s: {condition}\nthe page says:\n{self.text()}")
        return value

    def shows(self, text, seconds=45):
        self.until(f"document.body?.innerText.includes({json.dumps(text)})", seconds)

    def text(self):
        return self.run("document.body.innerText")

    def click(self, selector):
        self.until(f"document.querySelector({json.dumps(selector)})?.checkVisibility()")
        self.until(f"!document.querySelector({json.dumps(selector)}).disabled")
        self.run(f"document.querySelector({json.dumps(selector)}).click()")

    def fill(self, selector, text):
        self.until(f"document.querySelector({json.dumps(selector)})?.checkVisibility()")
        self.run(f"document.querySelector({json.dumps(selector)}).value = {json.dumps(text)}")

    def type(self, text):
        self.call("Input.insertText", text=text)

    def press(self, key):
        codes = {"Tab": 9, "Enter": 13, "Escape": 27}
        text = {"Enter": "\r"}.get(key)
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=codes[key], **more)

    def faults(self):
        """What the page's scripts and its policy complained of."""
        found = []
        for event in self.browser.events:
            if event.get("sessionId") != self.session:
                continue
            if event["method"] == "Runtime.exceptionThrown":
                found.append(json.dumps(event["params"]["exceptionDetails"])[:500])
            if event["method"] == "Log.entryAdded" and event["params"]["entry"]["source"] in ("security", "violation"):
                found.append(event["params"]["entry"]["text"])
        return found

    def picture(self, path, full=True):
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        data = self.call("Page.captureScreenshot", **({"clip": clip, "captureBeyondViewport": True} if full else {}))
        with open(path, "wb") as file:
            file.write(base64.b64decode(data["data"]))

    def close(self):
        self.browser.call("Target.closeTarget", targetId=self.target)
