// The device's side of the protocol (docs/devices.md): a key that scripts can use and not read, signed requests, signed answers.
const encoder = new TextEncoder();
const base64 = bytes => btoa(String.fromCharCode(...new Uint8Array(bytes)));
const base64url = bytes => base64(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const ES256 = {name: "ECDSA", hash: "SHA-256"};

// What lasts: one object in IndexedDB, which can keep a key that cannot be exported.
const open = () => new Promise((resolve, reject) => {
    const request = indexedDB.open("phone", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("device");
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
});

async function inStore(mode, use) {
    const database = await open();
    try {
        return await new Promise((resolve, reject) => {
            const request = use(database.transaction("device", mode).objectStore("device"));
            request.onsuccess = () => resolve(request.result);
            request.onerror = () => reject(request.error);
        });
    } finally {
        database.close();
    }
}

export class Refusal extends Error {
    constructor(status, body) {
        super(body?.message ?? `HTTP ${status}`);
        [this.status, this.code] = [status, body?.code];
    }
}

// r and s, 32 bytes each, as the ASN.1 that the proof of the key has.
function der(raw) {
    const integer = bytes => {
        let from = 0;
        while (from < 31 && bytes[from] === 0) from += 1;
        const rest = [...bytes.slice(from)];
        if (rest[0] & 0x80) rest.unshift(0);
        return [2, rest.length, ...rest];
    };
    const both = [...integer(raw.slice(0, 32)), ...integer(raw.slice(32))];
    return new Uint8Array([0x30, both.length, ...both]);
}

export class Device {
    constructor(kept) {
        Object.assign(this, kept);
        this.path = `/device/v2/Services/${this.service}/Entities/${this.identity}`;
        this.clockOffset = 0;
    }

    static async load() {
        const kept = await inStore("readonly", store => store.get("device"));
        return kept ? new Device(kept) : null;
    }

    // `invitation`: what the backend gave for the code in the link.
    static async enrol(invitation) {
        const keys = await crypto.subtle.generateKey({name: "ECDSA", namedCurve: "P-256"}, false, ["sign", "verify"]);
        const {service, identity, email, key, codes} = invitation;
        const device = new Device({service, identity, email, key, codes, signing: keys.privateKey});
        const factor = await device.send("POST", "/Factors", {
            FriendlyName: "A web page", FactorType: "push", "Binding.Alg": "ES256",
            "Binding.PublicKey": base64(await crypto.subtle.exportKey("spki", keys.publicKey)),
            "Config.AppId": "com.example.bank.web", "Config.NotificationPlatform": "none",
        }, {password: invitation.access_token});
        Object.assign(device, {
            factor: factor.body.sid, account: factor.body.account_sid, keyID: factor.body.config.credential_sid,
        });
        const proof = new Uint8Array(await crypto.subtle.sign(ES256, device.signing, encoder.encode(device.factor)));
        await device.send("POST", `/Factors/${device.factor}`, {AuthPayload: base64(der(proof))});
        await device.keep();
        return device;
    }

    async keep() {
        const {service, identity, email, key, codes, signing, factor, account, keyID} = this;
        const kept = {service, identity, email, key, codes, signing, factor, account, keyID};
        await inStore("readwrite", store => store.put(kept, "device"));
    }

    static async forget() {
        await inStore("readwrite", store => store.delete("device"));
    }

    async jwt(header, payload) {
        const signed = [header, payload].map(part => base64url(encoder.encode(JSON.stringify(part)))).join(".");
        return `${signed}.${base64url(await crypto.subtle.sign(ES256, this.signing, encoder.encode(signed)))}`;
    }

    // Each request has a token of its own.
    token() {
        const now = Math.floor(Date.now() / 1000) + this.clockOffset;
        return this.jwt(
            {typ: "JWT", alg: "ES256", cty: "twilio-pba;v=1", kid: this.keyID},
            {sub: this.account, nbf: now, exp: now + 600});
    }

    // `password`: the access token; without it the device's own. `tag`, `signal`: for long polls.
    async send(method, path, form, {password, tag, signal} = {}, isRetry = false) {
        const headers = {Authorization: `Basic ${btoa(`token:${password ?? await this.token()}`)}`};
        if (tag) headers["If-None-Match"] = tag;
        const reply = await fetch(this.path + path, {
            method, headers, signal, cache: "no-store", body: form ? new URLSearchParams(form) : undefined,
        });
        // A clock that is wrong is set by the server's, once.
        const date = Date.parse(reply.headers.get("Date") ?? "");
        if (reply.status === 401 && !password && !isRetry && date) {
            this.clockOffset = Math.round((date - Date.now()) / 1000);
            return this.send(method, path, form, {password, tag, signal}, true);
        }
        const isEmpty = reply.status === 204 || reply.status === 304;
        const body = isEmpty ? null : await reply.json().catch(() => null);
        if (reply.status >= 400) throw new Refusal(reply.status, body);
        return {status: reply.status, body, headers: reply.headers};
    }

    async pending() {
        const query = `?FactorSid=${this.factor}&Status=pending&Order=asc&PageSize=20`;
        return (await this.send("GET", `/Challenges${query}`)).body.challenges;
    }

    // The challenge as it is now; with a tag, when it is another. Null: the same after 25 s.
    async challenge(sid, tag, signal) {
        const {status, body, headers} = await this.send(
            "GET", `/Challenges/${sid}?Wait=${tag ? 25 : 0}`, null, {tag, signal});
        if (status === 304) return null;
        return {...body, fields: headers.get("Twilio-Verify-Signature-Fields"), tag: headers.get("ETag")};
    }

    // Says that the challenge arrived, and with it whether notifications are on when that has changed.
    confirm(sid, shown, notifications) {
        const form = {Channel: "visible", Shown: shown};
        if (notifications !== undefined) form["Config.NotificationsEnabled"] = notifications;
        return this.send("POST", `/Challenges/${sid}/Receipts`, form);
    }

    reportNotifications(areOn) {
        return this.send("POST", `/Factors/${this.factor}`, {"Config.NotificationsEnabled": areOn});
    }

    // Signs what was shown, member by member, with the answer.
    async answer(challenge, status, number) {
        const signed = Object.fromEntries(challenge.fields.split(",").map(name => [name, challenge[name]]));
        const form = {AuthPayload: await this.jwt({alg: "ES256", typ: "JWT"}, {...signed, status})};
        if (number) form.Number = number;
        return (await this.send("POST", `/Challenges/${challenge.sid}`, form)).body;
    }

    async remove() {
        try {
            await this.send("DELETE", `/Factors/${this.factor}`);
        } catch (refusal) {
            // Gone already.
            if (![401, 404].includes(refusal.status)) throw refusal;
        }
        await Device.forget();
    }

    // The one-time code of a step (RFC 6238); 0 is now, -1 the one before.
    async code(distance = 0) {
        const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        const bits = [...this.codes.secret.replaceAll("=", "")]
            .map(letter => alphabet.indexOf(letter).toString(2).padStart(5, "0")).join("");
        const secret = Uint8Array.from(bits.match(/.{8}/g), byte => parseInt(byte, 2));
        const counter = new DataView(new ArrayBuffer(8));
        counter.setBigUint64(0, BigInt(this.step() + distance));
        const key = await crypto.subtle.importKey("raw", secret, {name: "HMAC", hash: "SHA-1"}, false, ["sign"]);
        const digest = new DataView(await crypto.subtle.sign("HMAC", key, counter.buffer));
        const number = digest.getUint32(digest.getUint8(19) & 15) & 0x7fffffff;
        return String(number % 1_000_000).padStart(6, "0");
    }

    step() { return Math.floor((Date.now() / 1000 + this.clockOffset) / this.codes.step); }
    secondsLeft() { return this.codes.step - Math.floor(Date.now() / 1000 + this.clockOffset) % this.codes.step; }
}
