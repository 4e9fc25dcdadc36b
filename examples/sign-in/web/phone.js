// The phone as a web page: lists what is pending, confirms that it arrived, shows it, answers it.
import {Device} from "/device.js";

const $ = id => document.getElementById(id);
let device, shown, watch;
// What was shown already, so that a challenge is confirmed and announced once.
const known = new Set();
// What was on the screen since it last rang.
const opened = new Set();
const sleep = milliseconds => new Promise(resolve => setTimeout(resolve, milliseconds));

function tell(id, text) {
    $(id).textContent = text;
    $(id).hidden = !text;
}

async function run(button, work, problemID = "problem") {
    if (button?.disabled) return;
    if (button) button.disabled = true;
    tell(problemID, "");
    try {
        await work();
    } catch (error) {
        // The factor was deleted: by the person, by another phone, or because it was away for too long.
        if (error.status === 401 || (error.status === 404 && error.code === 60390)) return forgotten();
        tell(problemID, error.status ? error.message : "No connection. Try again.");
    } finally {
        if (button) button.disabled = false;
    }
}

async function post(path, body) {
    const headers = {"Content-Type": "application/json"};
    if (device) headers["Phone-Key"] = device.key;
    const reply = await fetch(path, {method: "POST", headers, body: JSON.stringify(body)});
    const read = await reply.json();
    if (!reply.ok) throw Object.assign(new Error(read.message), {status: reply.status});
    return read;
}

// Enrolment.

const codeIn = text => text.includes("#") ? text.slice(text.indexOf("#") + 1) : text;

async function enrol() {
    const code = codeIn(location.hash || $("link").value.trim());
    if (!code) throw Object.assign(new Error("Paste the link from the sign-in page."), {status: 400});
    // The code in the address is good once: a reload must not try it again.
    history.replaceState(null, "", "/phone");
    $("link-field").hidden = false;
    const invitation = await post("/enrolments/redeem", {code});
    const made = await Device.enrol(invitation);
    device = made;
    // The code of the step before proves the secret as well, and leaves the present one for a sign-in.
    await post("/phone/codes", {code: await device.code(-1)});
    tell("said", `This phone now confirms the sign-ins of ${device.email}.`);
    start();
}

async function forgotten() {
    await Device.forget();
    device = null;
    $("request").close();
    start();
    tell("problem", "This phone is not enrolled any more. Enrol it again.");
}

// Requests.

async function check() {
    const pending = await device.pending();
    // Only the last of an action: the others are over.
    const newest = new Map(pending.map(challenge => [challenge.beckon?.action_id ?? challenge.sid, challenge]));
    list([...newest.values()]);
    for (const challenge of newest.values()) {
        if (known.has(challenge.sid)) continue;
        known.add(challenge.sid);
        await announce(challenge);
    }
    if (shown && !pending.some(challenge => challenge.sid === shown.sid)) await withdraw();
    // One that has just come is opened, unless another one is.
    const fresh = [...newest.values()].at(-1);
    if (fresh && !shown && !opened.has(fresh.sid)) await show(fresh.sid);
}

async function announce(challenge) {
    const may = "Notification" in window && Notification.permission === "granted";
    if (document.hidden && may) {
        const notification = new Notification("Example Bank", {body: challenge.details.message, tag: challenge.sid});
        notification.onclick = () => { window.focus(); run(null, () => show(challenge.sid)); };
    }
    // Seen: on the page, or as a notification.
    await device.confirm(challenge.sid, !document.hidden || may ? "yes" : "no", await changedPermission());
}

function list(challenges) {
    $("none").hidden = challenges.length > 0;
    $("requests").replaceChildren(...challenges.toReversed().map(challenge => {
        const item = document.createElement("li"), button = document.createElement("button");
        const when = document.createElement("small");
        button.type = "button";
        button.append(challenge.details.message, when);
        when.textContent = new Date(challenge.date_created).toLocaleTimeString([], {hour: "2-digit", minute: "2-digit"});
        button.addEventListener("click", () => run(button, () => show(challenge.sid)));
        item.append(button);
        return item;
    }));
}

async function show(sid) {
    const challenge = await device.challenge(sid);
    opened.add(sid);
    if (challenge.status !== "pending" || !await isValid(challenge)) {
        past(challenge.details.message, challenge.status === "pending" ? "over" : challenge.status);
        return;
    }
    shown = challenge;
    $("question").textContent = challenge.details.message;
    $("details").replaceChildren(...(challenge.details.fields ?? []).flatMap(({label, value}) => {
        const term = document.createElement("dt"), detail = document.createElement("dd");
        term.textContent = label;
        detail.textContent = value;
        return [term, detail];
    }));
    const digits = challenge.beckon?.number_digits ?? 0;
    $("number-field").hidden = !digits;
    $("number").value = "";
    $("number").maxLength = digits || 1;
    tell("request-problem", "");
    if (!$("request").open) $("request").showModal();
    $(digits ? "number" : "question").focus();
    follow(challenge);
}

// Whether the page that asked still waits. The backend knows; without an answer the challenge counts.
async function isValid(challenge) {
    const action = challenge.hidden_details?.action;
    if (!action) return true;
    try {
        const reply = await fetch(`/actions/${encodeURIComponent(action)}`);
        return !reply.ok || (await reply.json()).valid;
    } catch {
        return true;
    }
}

// While it is on the screen: another phone may answer it, and the page may give up.
async function follow(challenge) {
    watch?.abort();
    const own = watch = new AbortController();
    let {tag} = challenge;
    while (!own.signal.aborted) {
        try {
            const now = await device.challenge(challenge.sid, tag, own.signal);
            if (own.signal.aborted) return;
            if (now && now.status !== "pending") return withdraw(now.status);
            tag = now?.tag ?? tag;
        } catch (error) {
            if (error.name === "AbortError") return;
            await sleep(2000);
        }
    }
}

async function withdraw(status = "over") {
    const {sid, details} = shown;
    hide();
    past(details.message, status === "approved" ? "answered elsewhere" : "over");
    tell("said", status === "approved" ? "The request was answered elsewhere." : "The request is over.");
    remove(sid);
}

function hide() {
    watch?.abort();
    shown = null;
    if ($("request").open) $("request").close();
}

// Without network the list is read again later.
async function remove(sid) {
    const pending = await device.pending().catch(() => []);
    list(pending.filter(challenge => challenge.sid !== sid));
}

function past(message, word) {
    const item = document.createElement("li"), what = document.createElement("span"), how = document.createElement("span");
    what.textContent = message;
    how.textContent = word;
    how.className = word === "approved" || word === "denied" ? word : "over";
    item.append(what, how);
    $("past").prepend(item);
    while ($("past").children.length > 5) $("past").lastChild.remove();
    $("before").hidden = false;
}

async function answer(status) {
    const challenge = shown;
    if (!challenge) return;
    const digits = challenge.beckon?.number_digits ?? 0;
    const number = status === "approved" && digits ? $("number").value.trim() : "";
    if (status === "approved" && digits && !/^[0-9]+$/.test(number)) {
        $("number").focus();
        return tell("request-problem", "Enter the number that the sign-in page shows.");
    }
    // From here on the end of the challenge is ours.
    watch?.abort();
    try {
        const answered = await device.answer(challenge, status, number);
        hide();
        past(challenge.details.message, answered.status);
        tell("said", answered.status === "approved" ? "Approved. You are signed in." : "Denied. Nobody is signed in.");
        remove(challenge.sid);
    } catch (refusal) {
        if (refusal.code !== 60324) {
            // 60322, 60323: somebody was faster, or it is too late.
            if ([60322, 60323].includes(refusal.code)) return withdraw();
            throw refusal;
        }
        // A wrong number: three are allowed.
        const now = await device.challenge(challenge.sid);
        if (now.status !== "pending") {
            hide();
            past(challenge.details.message, now.status);
            tell("problem", "The number was wrong three times. The request is denied.");
            return remove(challenge.sid);
        }
        shown = now;
        follow(now);
        // The message ends with the number of tries that are left.
        const left = /tries left: ([0-9]+)/.exec(refusal.message)?.[1];
        tell("request-problem", left ? `This number is wrong. Tries left: ${left}.` : refusal.message);
        $("number").select();
    }
}

// A push service would wake us. Until then the backend does: what comes says nothing but "look".
async function listen(own) {
    let seen = "";
    while (device === own) {
        try {
            const reply = await fetch("/phone/wake", {headers: {"Phone-Key": own.key, Seen: seen}, cache: "no-store"});
            online(true);
            if (reply.ok) {
                const {count} = await reply.json();
                // It rang, perhaps again for what was put off: it is shown again.
                if (seen && seen !== String(count)) opened.clear();
                seen = String(count);
            } else {
                // The backend was started again and does not know us. We look now and then.
                await sleep(5000);
            }
            if (device === own) await run(null, check);
        } catch {
            online(false);
            await sleep(2000);
        }
    }
}

function online(isOnline) {
    $("online").classList.toggle("on", isOnline);
    $("online").textContent = !device ? "Not enrolled" : isOnline ? "Listening" : "Offline";
}

// Notifications.

let reported;
const permission = () => "Notification" in window ? Notification.permission : "denied";

// What the server does not know yet; undefined: nothing.
async function changedPermission() {
    const areOn = permission() === "granted";
    if (reported === areOn) return undefined;
    reported = areOn;
    return areOn;
}

function nudge() {
    $("notifications").hidden = !device || !("Notification" in window) || permission() === "granted";
    $("notify").hidden = permission() === "denied";
    $("notifications-text").textContent = permission() === "denied"
        ? "They are off for this page. Allow them in the settings of your browser: then you see requests in the background."
        : "Then you see requests while this page is in the background.";
}

// One-time codes.

let codeStep;
async function tick() {
    if (!device) return;
    $("code-life").max = device.codes.step;
    $("code-life").value = device.secondsLeft();
    if (codeStep === device.step()) return;
    codeStep = device.step();
    const code = await device.code();
    $("code").textContent = `${code.slice(0, 3)} ${code.slice(3)}`;
}

// The page.

function start() {
    for (const id of ["home", "codes", "remove"]) $(id).hidden = !device;
    $("enrol").hidden = Boolean(device);
    $("link-field").hidden = location.hash.length > 1;
    if (!device) $("before").hidden = true;
    codeStep = undefined;
    online(Boolean(device));
    nudge();
    tick();
    if (device) listen(device);
}

$("enrol-form").addEventListener("submit", event => {
    event.preventDefault();
    run(event.submitter, enrol);
});
$("check").addEventListener("click", () => run($("check"), async () => {
    opened.clear();
    await check();
    tell("said", $("requests").children.length ? "" : "Checked just now: nothing waits for you.");
}));
$("notify").addEventListener("click", () => run($("notify"), async () => {
    await Notification.requestPermission();
    const areOn = await changedPermission();
    if (areOn !== undefined) await device.reportNotifications(areOn);
    nudge();
}));
$("answer").addEventListener("submit", event => {
    event.preventDefault();
    run($("approve"), () => answer("approved"), "request-problem");
});
$("deny").addEventListener("click", () => run($("deny"), () => answer("denied"), "request-problem"));
$("later").addEventListener("click", hide);
$("request").addEventListener("close", () => { if (shown) hide(); });
$("remove").addEventListener("click", () => run($("remove"), async () => {
    await device.remove();
    device = null;
    known.clear();
    start();
    tell("said", "This phone is removed.");
}));
addEventListener("hashchange", () => { if (!device) start(); });
addEventListener("focus", () => { if (device) run(null, check); });
document.addEventListener("visibilitychange", () => { if (device && !document.hidden) run(null, check); });
setInterval(tick, 500);

device = await Device.load();
start();
