// The page where the person signs in. It knows no secret: the browser is recognised by a cookie that scripts cannot read.
const $ = id => document.getElementById(id);
const sections = ["start", "enrol", "waiting", "code", "over", "done"];
let events, ends;

function show(section) {
    for (const name of sections) $(name).hidden = name !== section;
    problem("problem", "");
    // Screen readers say where we are now.
    document.querySelector(`#${section} h1`).focus();
    document.title = `${document.querySelector(`#${section} h1`).textContent} – Example Bank`;
}

function problem(id, text) {
    $(id).textContent = text;
    $(id).hidden = !text;
}

async function post(path, body = {}) {
    let reply;
    try {
        reply = await fetch(path, {
            method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body),
        });
    } catch {
        throw new Error("No connection. Try again.");
    }
    const read = await reply.json();
    if (!reply.ok) throw new Error(read.message);
    return read;
}

// While it runs, the button cannot be pressed twice.
function on(id, event, handle, problemID = "problem") {
    $(id).addEventListener(event, async occurred => {
        occurred.preventDefault();
        const button = event === "submit" ? $(id).querySelector("button") : $(id);
        if (button.disabled) return;
        button.disabled = true;
        problem(problemID, "");
        try {
            await handle();
        } catch (error) {
            problem(problemID, error.message);
        } finally {
            button.disabled = false;
        }
    });
}

function draw(rows) {
    const edge = 4, size = rows.length + 2 * edge;
    const path = rows.flatMap((row, y) =>
        [...row].map((cell, x) => cell === "1" ? `M${x + edge} ${y + edge}h1v1h-1z` : "")).join("");
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", `0 0 ${size} ${size}`);
    svg.setAttribute("class", "qr");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", "QR code of the link below");
    svg.setAttribute("shape-rendering", "crispEdges");
    const drawn = document.createElementNS("http://www.w3.org/2000/svg", "path");
    drawn.setAttribute("d", path);
    svg.append(drawn);
    $("qr").replaceChildren(svg);
}

async function enrol() {
    const {link, qr} = await post("/enrolments", {email: $("email").value});
    draw(qr);
    $("enrol-link").href = link;
    show("enrol");
}

async function begin() {
    const reply = await post("/sign-in", {email: $("email").value});
    if (reply.needs === "phone") {
        if (!$("enrol").hidden) throw new Error("No phone is enrolled yet. Scan the code, or open the link.");
        return enrol();
    }
    for (const id of ["undelivered", "waiting-problem", "code-problem"]) $(id).hidden = true;
    $("sent").textContent = "";
    show("waiting");
    tell(reply.state);
    listen();
}

function listen() {
    events?.close();
    events = new EventSource("/sign-in/events");
    events.onmessage = event => tell(JSON.parse(event.data));
    // The browser connects again by itself, unless the server has refused.
    events.onerror = () => {
        if (events.readyState === EventSource.CLOSED && !$("waiting").hidden) {
            over("This sign-in is over", "Start again to get a new request.");
        }
    };
}

const sentences = {
    waiting: "The request is on its way to your phone.",
    accepted: "The request was sent to your phone.",
    received: "Your phone has the request. It waits for your answer.",
    undelivered: "Your phone has not confirmed that the request arrived.",
};

function tell(state) {
    if (state.status !== "pending") return finish(state);
    if (state.number) $("number").textContent = state.number;
    ends = Date.parse(state.until);
    const isThere = state.delivery === "received";
    const wasSent = isThere || state.delivery === "accepted";
    $("step-sent").className = wasSent ? "done" : "now";
    $("step-there").className = isThere ? "done" : wasSent ? "now" : "";
    $("step-answer").className = isThere ? "now" : "";
    const sentence = sentences[state.delivery] ?? sentences.waiting;
    if ($("progress").textContent !== sentence) $("progress").textContent = sentence;
    $("undelivered").hidden = state.delivery !== "undelivered";
}

async function finish(state) {
    events.close();
    // A code was used, or the person went away: this challenge has no say any more.
    if ($("waiting").hidden && $("code").hidden) return;
    if (state.status === "approved") {
        try {
            await post("/sign-in/finish");
            return await welcome();
        } catch (error) {
            return over("Sign-in failed", error.message);
        }
    }
    if (state.status === "denied" && state.denied === "wrong_number") {
        return over("Wrong number", "The number was wrong three times. If that was not you, somebody else has your phone.");
    }
    if (state.status === "denied") {
        return over("Request denied", "The request was denied on your phone. Nobody was signed in.");
    }
    over("Request expired", "Nobody answered in time.");
}

function over(title, text) {
    events?.close();
    $("over-title").textContent = title;
    $("over-text").textContent = text;
    show("over");
}

async function welcome() {
    const {email} = await (await fetch("/session")).json();
    if (!email) return show("start");
    $("who").textContent = email;
    show("done");
}

setInterval(() => {
    if ($("waiting").hidden || !ends) return;
    const left = Math.max(0, Math.round((ends - Date.now()) / 1000));
    $("life").textContent = `The request is valid for ${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}.`;
}, 500);

on("email-form", "submit", begin);
on("to-enrol", "click", enrol);
on("enrolled", "click", begin);
on("again", "click", async () => {
    await post("/sign-in/again");
    $("sent").textContent = "Sent again.";
}, "waiting-problem");
on("cancel", "click", async () => {
    events.close();
    // Only then may the next one begin: the reply takes the cookie of this attempt away.
    try {
        await post("/sign-in/cancel");
    } finally {
        show("start");
    }
});
on("to-code", "click", async () => {
    show("code");
    $("one-time-code").value = "";
    $("one-time-code").focus();
});
on("to-waiting", "click", async () => show("waiting"));
on("code-form", "submit", async () => {
    // A right code cancels the challenge: not to be taken for its expiry.
    events.close();
    try {
        await post("/sign-in/code", {code: $("one-time-code").value});
    } catch (error) {
        listen();
        throw error;
    }
    await welcome();
}, "code-problem");
on("restart", "click", async () => show("start"));
on("sign-out", "click", async () => {
    await post("/sign-out");
    show("start");
});
welcome();
