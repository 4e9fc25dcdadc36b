/// The console's script. Every page works without it: it replaces the live part of a page while the tab is visible, and
/// sends forms without leaving the page.
enum Script {
    static let text = #"""
        const policy = globalThis.trustedTypes?.createPolicy("beckon", { createHTML: text => text });
        const parse = text => new DOMParser().parseFromString(policy ? policy.createHTML(text) : text, "text/html").body;
        const accept = { Accept: "text/html-fragment" };
        const said = document.getElementById("said");
        const live = document.getElementById("live");

        // Makes `old` equal to `fresh` and keeps what a person has: focus, open details, what they typed.
        function morph(old, fresh) {
            const kept = new Map([...old.children].filter(child => child.id).map(child => [child.id, child]));
            let place = old.firstChild;
            for (const next of [...fresh.childNodes]) {
                const known = next.id && kept.get(next.id);
                if (known && known !== place) {
                    old.insertBefore(known, place);
                    place = known;
                }
                if (!place) {
                    old.append(next);
                } else if (place.nodeType !== next.nodeType || place.nodeName !== next.nodeName
                    || (place.id ?? "") !== (next.id ?? "")) {
                    if (kept.has(place.id)) {
                        old.insertBefore(next, place);
                    } else {
                        const after = place.nextSibling;
                        place.replaceWith(next);
                        place = after;
                    }
                } else {
                    if (place.nodeType === Node.TEXT_NODE) {
                        if (place.data !== next.data) place.data = next.data;
                    } else {
                        attributes(place, next);
                        morph(place, next);
                    }
                    place = place.nextSibling;
                }
            }
            while (place) {
                const after = place.nextSibling;
                place.remove();
                place = after;
            }
        }

        function attributes(old, fresh) {
            const own = old.nodeName === "DETAILS" ? ["open"] : [];
            for (const { name } of [...old.attributes]) {
                if (!fresh.hasAttribute(name) && !own.includes(name)) old.removeAttribute(name);
            }
            for (const { name, value } of fresh.attributes) {
                if (!own.includes(name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
            }
        }

        let tag = live?.dataset.tag;
        let pending;

        async function refresh(waits) {
            pending?.abort();
            const request = pending = new AbortController();
            const url = new URL(location.href);
            if (waits) url.searchParams.set("wait", "5");
            try {
                const reply = await fetch(url, {
                    headers: { ...accept, "If-None-Match": tag }, signal: request.signal, cache: "no-store",
                });
                if (reply.status === 401) return location.reload();
                document.documentElement.classList.toggle("stale", reply.status >= 500);
                if (reply.ok) {
                    const fresh = parse(await reply.text());
                    tag = reply.headers.get("ETag");
                    morph(live, fresh);
                }
                return reply.ok || reply.status === 304;
            } catch {
                if (request.signal.aborted) return true;
                document.documentElement.classList.add("stale");
            }
        }

        async function follow() {
            const every = Number(live.dataset.live);
            for (;;) {
                if (document.hidden) {
                    await new Promise(done => document.addEventListener("visibilitychange", done, { once: true }));
                }
                const isWell = await refresh("wait" in live.dataset);
                await new Promise(done => setTimeout(done, isWell ? every : 3000));
            }
        }

        document.addEventListener("submit", async event => {
            const form = event.target;
            if (!("act" in form.dataset)) return;
            event.preventDefault();
            const button = event.submitter;
            const body = new URLSearchParams(new FormData(form, button));
            if (button) button.disabled = true;
            try {
                const reply = await fetch(form.action, { method: "POST", headers: accept, body });
                if (reply.status === 401) return location.reload();
                const text = await reply.text();
                said.textContent = text.trim();
                said.className = reply.ok ? "said done" : "said fault";
                if (reply.ok && form.dataset.next) return location.assign(form.dataset.next);
                if (live) await refresh(false);
            } catch {
                said.textContent = "The console does not answer.";
                said.className = "said fault";
            } finally {
                if (button) button.disabled = false;
            }
        });

        if (live) follow();
        """#
}
