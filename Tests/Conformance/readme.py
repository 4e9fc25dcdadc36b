"""Runs the documentation's shell blocks against the built executable, in order and in one shell, and looks at what they print.

Usage: readme.py README.md docs/devices.md docs/api.md docs/moving.md. Blocks marked `sh` are run; those that build or test the repository are not: that has
happened, or this would not run.
"""
import os
import re
import signal
import subprocess
import sys
import tempfile

BINARY = os.environ["BECKON_BINARY"]
SKIPPED = ("scripts/demo", "scripts/test")
# What a block of a page must print, by a command that stands in it.
EXPECTED = [
    ("Sign in from Lisbon?", [r'"status": "approved"', r'"factor_sid": "YF']),
    ("beckon.requests", [r'"request_id":"r-1"', r'"type":"beckon.challenge.approved"']),
    ("proof=", [r"(?m)^verified$"]),
    ("# The phone polls:", [r"(?m)^Sign in to Bank\?$"]),
    ("jq -c --arg fields", [r'"status": "approved"']),
    ("-X DELETE", [r"(?m)^204$", r"(?m)^20151$"]),
    ("FactorType=totp", [r'"sid": "YF02', r'"code_length": 6']),
    ("If-None-Match", [r"(?m)^304$"]),
    ("account create", [r'"sid": "SK', r'"role": "send"']),
    ("Push.FcmCredentialSid", [r'"apn_credential_sid": "CR', r'"fcm_credential_sid": "CR']),
    ("Binding.Secret", [r'"status": "unverified"', r'"code_length": 6']),
    ("Moved?", [r"(?s)^created\n.*accepted\n.*received\n.*approved"]),
    ("Fallback=sms' -d Redelivery.MaxAttempts=3", [r'"fallbacks":\["sms"\]', r'"max_attempts":3']),
]


def blocks(page):
    with open(page) as file:
        text = file.read()
    found = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [block for block in found if not any(line.startswith(SKIPPED) for line in block.splitlines())]


def prepared(block, ready):
    block = "\n".join(line for line in block.splitlines() if not line.startswith("scripts/"))
    return block.replace(".build/release/beckon", BINARY).replace("/tmp/beckon.json", ready)


def main(pages):
    folder = tempfile.mkdtemp()
    ready = os.path.join(folder, "ready.json")
    wanted = [(page, block) for page in pages for block in blocks(page)]
    # A marker behind each block tells what it printed from what the next one does.
    script = "set -u\n" + "".join(
        f"{prepared(block, ready)}\nprintf '\\n-- end of block {number}\\n'\n" for number, (_, block) in enumerate(wanted))
    process = subprocess.Popen(
        ["bash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder,
        start_new_session=True,
        # What this test is told is no setting of the roles that the blocks start.
        env={name: value for name, value in os.environ.items() if not name.startswith("BECKON_")})
    failures = []
    try:
        process.stdin.write(script + "kill %1\nwait\n")
        process.stdin.close()
        output = process.stdout.read()
        process.wait(30)
    finally:
        try:
            os.killpg(process.pid, signal.SIGTERM)
        except ProcessLookupError:
            pass
    outputs = re.split(r"\n-- end of block \d+\n", output)
    if len(outputs) != len(wanted) + 1:
        sys.exit(f"{len(outputs) - 1} of {len(wanted)} blocks came to their end:\n{output}")
    seen = set()
    for (page, block), printed in zip(wanted, outputs):
        if re.search(r"command not found|: No such file|unbound variable|parse error|syntax error", printed):
            failures.append(f"{page}:\n{block}\nprinted:\n{printed}")
        for mark, patterns in EXPECTED:
            if mark not in block:
                continue
            seen.add(mark)
            for pattern in patterns:
                if not re.search(pattern, printed):
                    failures.append(f"{page}:\n{block}\nprinted, without {pattern}:\n{printed}")
    failures += [f"no block has {mark}: change EXPECTED with the page" for mark, _ in EXPECTED if mark not in seen]
    if failures:
        sys.exit("\n\n".join(failures))
    print(f"{len(wanted)} shell blocks of {', '.join(map(os.path.basename, pages))} do what they say")


main(sys.argv[1:])
