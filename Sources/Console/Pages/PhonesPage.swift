import DeviceKit
import Simulators
import Wire

/// The simulated phones of `beckon dev` on the screen.
struct PhonesPage: Sendable {
    let desk: PhoneDesk

    var routes: [ConsoleRoute] {
        [
            ConsoleRoute(
                path: "/phones", name: "Phones", get: { try await show($0) }, post: { try await add($0) }, waits: true),
            ConsoleRoute(path: "/phones/challenges", post: { try await ask($0) }),
            ConsoleRoute(path: "/phones/challenges/{sid}/cancel", post: { try await cancel($0) }),
            ConsoleRoute(path: "/phones/{phone}/answers", post: { try await answer($0) }),
            ConsoleRoute(path: "/phones/{phone}/deeds", post: { try await handle($0) }),
            ConsoleRoute(path: "/faults", post: { try await setFaults($0) }),
            ConsoleRoute(path: "/faults/end", post: { _ in try endFaults() }),
            ConsoleRoute(path: "/inbox/latest", get: { try await latest($0) }, waits: true),
        ]
    }

    // MARK: - Acts

    private func add(_ request: ConsoleRequest) async throws -> Answer {
        guard let provider = request.field("provider").flatMap({ SimulatedProvider(rawValue: $0) }) else {
            throw ConsoleRefusal(status: 400, message: "Choose one of the platforms.")
        }
        let seat = try await desk.add(provider, identity: try identity(request))
        return .done("\(seat.title) is enrolled and online.", path: "/phones")
    }

    private func identity(_ request: ConsoleRequest) throws -> String {
        guard let identity = request.field("identity"), identity.utf8.count <= 64 else {
            throw ConsoleRefusal(status: 400, message: "Name the person: 1 to 64 characters.")
        }
        return identity
    }

    private func ask(_ request: ConsoleRequest) async throws -> Answer {
        guard let message = request.field("message") else {
            throw ConsoleRefusal(status: 400, message: "Write the question that the person reads.")
        }
        var draft = ChallengeDraft(message: message)
        for number in 1...3 {
            if let label = request.field("label\(number)"), let value = request.field("value\(number)") {
                draft.fields.append(.init(label: label, value: value))
            }
        }
        if request.field("number") != nil { draft.more.append(("NumberMatching", "true")) }
        let life = request.field("life").flatMap { Int64($0) } ?? 300
        draft.expiresAtMs = request.nowMs + min(max(life, 30), 3600) * 1000
        let asked = try await desk.ask(draft, identity: try identity(request))
        return .done("The challenge \(asked.sid) was created. Watch the phones.", path: "/phones")
    }

    private func cancel(_ request: ConsoleRequest) async throws -> Answer {
        try await desk.cancel(request.values[0])
        return .done("The challenge was canceled.", path: "/phones")
    }

    private func answer(_ request: ConsoleRequest) async throws -> Answer {
        guard let sid = request.field("sid"), let verdict = request.field("verdict"),
            ["approve", "deny"].contains(verdict)
        else { throw ConsoleRefusal(status: 400, message: "Approve or deny.") }
        try await desk.answer(
            request.values[0], sid, approved: verdict == "approve", number: request.field("number"))
        return .done(verdict == "approve" ? "Approved." : "Denied.", path: "/phones")
    }

    private func handle(_ request: ConsoleRequest) async throws -> Answer {
        guard let deed = request.field("deed").flatMap({ PhoneDesk.Deed(rawValue: $0) }) else {
            throw ConsoleRefusal(status: 400, message: "There is no such switch.")
        }
        try await desk.handle(request.values[0], deed)
        return .done("Done.", path: "/phones")
    }

    private func setFaults(_ request: ConsoleRequest) async throws -> Answer {
        guard let provider = request.field("provider").flatMap({ SimulatedProvider(rawValue: $0) }),
            let preset = request.field("fault").flatMap({ FaultPreset(rawValue: $0) })
        else { throw ConsoleRefusal(status: 400, message: "Choose a provider and a fault.") }
        try desk.setFaults(preset.faults, provider)
        return .done("\(Provider.name(provider.rawValue)) \(preset.title) from now on.", path: "/phones")
    }

    private func endFaults() throws -> Answer {
        for provider in SimulatedProvider.allCases { try desk.setFaults(ProviderFaults(), provider) }
        return .done("All providers work.", path: "/phones")
    }

    private func latest(_ request: ConsoleRequest) async throws -> Answer {
        let longest: Duration
        switch request.item("wait") {
        case nil: longest = .zero
        case let text?:
            guard let seconds = Int(text.hasSuffix("s") ? text.dropLast() : text[...]), 0...30 ~= seconds else {
                return .reply(.json(.object([("error", .string("wait: expected 0s to 30s"))]), status: 400))
            }
            longest = .seconds(seconds)
        }
        guard let found = try await Inbox(desk: desk).latest(try .init(request), atMost: longest) else {
            return .reply(.json(.object([("error", .string("no push that fits has arrived"))]), status: 404))
        }
        return .reply(.json(found))
    }

    // MARK: - The page

    private func show(_ request: ConsoleRequest) async throws -> Answer {
        // A tab that saw this version is answered when there is another, or when the times it shows get old.
        if request.item("wait") != nil, let seen = Page.version(of: request.tag) {
            await desk.change(after: seen, atMost: request.wait(atMost: 5))
            try Task.checkCancellation()
        }
        let version = desk.version
        let asked = await desk.asked()
        return .page(
            Page(
                title: "Phones",
                still: tag("section") {
                    tag("h1") { "Phones" }
                    tag("p", ["class": "lead"]) {
                        "Ask a person something, and answer on one of their phones. Everything but the phones is real."
                    }
                    askForm
                },
                live: live(asked, nowMs: request.nowMs), everyMs: 250, waits: true, version: version,
                after: more))
    }

    private func live(_ asked: [PhoneDesk.Asked], nowMs: Int64) -> Escaped {
        let seats = desk.seats
        return tag("div", ["class": "stack"]) {
            announcement(seats)
            faultNotice
            if seats.isEmpty { tag("p") { "The phones are being enrolled…" } }
            tag("div", ["class": "phones"]) { seats.map { card($0, nowMs: nowMs) } }
            if !asked.isEmpty {
                tag("section", ["aria-labelledby": "asked"]) {
                    tag("h2", ["id": "asked"]) { "Asked here" }
                    tag("ul", ["class": "asked"]) { asked.map { line($0, nowMs: nowMs) } }
                }
            }
        }
    }

    /// What a screen reader says when a phone rings.
    private func announcement(_ seats: [PhoneDesk.Seat]) -> Escaped {
        tag("p", ["class": "hidden", "role": "status"]) {
            seats.flatMap { seat in seat.phone.sheets.map { "\(seat.title) rings: \($0.message)" } }
                .joined(separator: ". ")
        }
    }

    private var faultNotice: Escaped {
        let faulty = SimulatedProvider.allCases.compactMap { provider -> (SimulatedProvider, String)? in
            let faults = desk.faults(provider)
            guard faults != ProviderFaults() else { return nil }
            return (provider, FaultPreset(faults)?.title ?? "has faults")
        }
        return faulty.isEmpty
            ? .nothing
            : tag("p", ["class": "notice"]) {
                faulty.map { provider, title in badge(.warning, "\(Provider.name(provider.rawValue)) \(title)") }
                button("End all faults", action: "/faults/end", kind: "link")
            }
    }

    private func line(_ asked: PhoneDesk.Asked, nowMs: Int64) -> Escaped {
        let tones: [String: Tone] = ["approved": .good, "denied": .bad, "pending": .warning]
        return tag("li") {
            badge(tones[asked.status] ?? .quiet, asked.status)
            tag(
                "a",
                [
                    "class": "question",
                    "href": ChallengePage.url(asked.sid, service: desk.serviceSID, identity: asked.identity),
                ]
            ) {
                asked.message
            }
            tag("span", ["class": "hint"]) {
                "\(asked.identity), "
                moment(asked.atMs, nowMs: nowMs)
            }
            if let number = asked.number, asked.status == "pending" {
                tag("span") {
                    "The sign-in page shows "
                    tag("strong", ["class": "number"]) { number }
                }
            }
            if asked.status == "pending", let quiet = asked.quietUntilMs {
                tag("span", ["class": "hint"]) {
                    "not pushed: after several denials Beckon stops pushes to a person, for "
                    tag("span") { Words.span(max(quiet - nowMs, 0)) }
                    " more. An app that is opened still finds it."
                }
            }
            if asked.status == "pending" {
                button(
                    "Cancel", action: "/phones/challenges/\(asked.sid)/cancel", kind: "link",
                    label: "Cancel the challenge “\(asked.message)”")
            }
        }
    }

    // MARK: - A phone

    private func card(_ seat: PhoneDesk.Seat, nowMs: Int64) -> Escaped {
        let behaviour = seat.phone.behaviour
        let (tone, state) = PhoneWords.state(behaviour, isAttended: seat.isAttended)
        let sheets = seat.isAttended ? seat.phone.sheets : []
        return tag(
            "article",
            ["class": sheets.isEmpty ? "phone" : "phone ringing", "id": seat.id, "aria-labelledby": "\(seat.id)-name"]
        ) {
            tag("header") {
                tag("h2", ["id": "\(seat.id)-name"]) { seat.title }
                tag("span", ["class": "hint"]) {
                    "\(seat.identity) · \(Provider.name(seat.phone.provider.rawValue))"
                }
                badge(tone, state)
            }
            tag("div", ["class": "screen"]) {
                screen(seat, behaviour, sheets, nowMs: nowMs)
            }
            if seat.isAttended { switches(seat, behaviour) }
            details(seat, nowMs: nowMs)
        }
    }

    @Markup
    private func screen(
        _ seat: PhoneDesk.Seat, _ behaviour: PhoneBehaviour, _ sheets: [DeviceChallenge], nowMs: Int64
    ) -> Escaped {
        if !sheets.isEmpty {
            sheets.map { sheet(seat, $0, nowMs: nowMs) }
        } else if !seat.isAttended {
            tag("p", ["class": "quiet"]) { "Nobody handles this phone. Its behaviour: \(behaviour)." }
        } else if behaviour == .offline {
            tag("p", ["class": "quiet"]) { "No network. The provider keeps what it can." }
        } else if behaviour == .closed, let sid = seat.phone.shown.last {
            notification(seat, sid)
        } else if behaviour == .closed {
            tag("p", ["class": "quiet"]) { "The app is closed. Pushes still reach its extension." }
        } else if behaviour == .notificationsOff {
            tag("p", ["class": "quiet"]) { "Notifications are off. Open the app to see what is waiting." }
        } else {
            tag("p", ["class": "quiet"]) { "Nothing to answer." }
        }
    }

    private func notification(_ seat: PhoneDesk.Seat, _ sid: String) -> Escaped {
        let message = seat.phone.pushes.last { $0.values["challenge_sid"] == sid }?.values["message"] ?? "A question"
        return tag("div", ["class": "notification"]) {
            tag("p") { message }
            deed(seat, .open, "Open")
        }
    }

    private func sheet(_ seat: PhoneDesk.Seat, _ challenge: DeviceChallenge, nowMs: Int64) -> Escaped {
        let field = "\(seat.id)-\(challenge.sid)"
        return tag(
            "form", ["class": "sheet", "method": "post", "action": "/phones/\(seat.id)/answers", "data-act": ""]
        ) {
            tag("input", ["type": "hidden", "name": "sid", "value": challenge.sid])
            tag("p", ["class": "question"]) { challenge.message }
            if !challenge.fields.isEmpty {
                facts(challenge.fields.map { ($0.label, Escaped($0.value)) })
            }
            if let digits = challenge.numberDigits {
                tag("div", ["class": "field"]) {
                    tag("label", ["for": field]) { "Number that the sign-in page shows" }
                    tag(
                        "input",
                        [
                            "id": field, "name": "number", "inputmode": "numeric", "autocomplete": "off",
                            "maxlength": String(digits), "size": String(digits),
                        ])
                }
            }
            tag("div", ["class": "choices"]) {
                // The first one is what the key Enter means in the field above.
                tag("button", ["name": "verdict", "value": "approve", "class": "good"]) { "Approve" }
                tag("button", ["name": "verdict", "value": "deny", "class": "bad"]) { "Deny" }
            }
            tag("p", ["class": "hint"]) { "expires " + Words.distance(nowMs - challenge.expiresAtMs) }
        }
    }

    private func switches(_ seat: PhoneDesk.Seat, _ behaviour: PhoneBehaviour) -> Escaped {
        tag("div", ["class": "switches", "role": "group", "aria-label": "Switches of \(seat.title)"]) {
            switch behaviour {
            case .notificationsOff:
                deed(seat, .on, "Notifications on")
                deed(seat, .open, "Open the app")
            case .closed: deed(seat, .open, "Open the app")
            case .offline: deed(seat, .on, "Go online")
            default:
                deed(seat, .silence, "Notifications off")
                deed(seat, .close, "Close the app")
                deed(seat, .offline, "Go offline")
            }
        }
    }

    private func deed(_ seat: PhoneDesk.Seat, _ deed: PhoneDesk.Deed, _ text: String) -> Escaped {
        button(
            text, action: "/phones/\(seat.id)/deeds", values: [("deed", deed.rawValue)], label: "\(text): \(seat.title)"
        )
    }

    private func details(_ seat: PhoneDesk.Seat, nowMs: Int64) -> Escaped {
        let events = seat.phone.log.events.suffix(12).reversed()
        return tag("div", ["class": "beside"]) {
            tag("details") {
                tag("summary") { "What happened" }
                tag("ol", ["class": "events"]) {
                    events.map { event in
                        tag("li") {
                            PhoneWords.event(event) + " "
                            moment(event.atMs, nowMs: nowMs)
                        }
                    }
                }
            }
            if let push = seat.phone.pushes.last {
                tag("details") {
                    tag("summary") { "Last push, as it arrived" }
                    tag("pre", ["tabindex": "0", "aria-label": "Last push of \(seat.title)"]) { RawPush(push).text }
                }
            }
        }
    }

    // MARK: - Forms

    private var askForm: Escaped {
        tag("form", ["class": "card ask", "method": "post", "action": "/phones/challenges", "data-act": ""]) {
            field("Person", id: "identity") {
                tag("select", ["id": "identity", "name": "identity"]) {
                    desk.identities.map { identity in tag("option", ["value": identity]) { identity } }
                }
            }
            field("Question", id: "message") {
                tag(
                    "input",
                    [
                        "id": "message", "name": "message", "maxlength": "256", "required": "",
                        "value": "Sign in to Acme Bank?",
                    ])
            }
            field("Detail", id: "label1") {
                tag("input", ["id": "label1", "name": "label1", "maxlength": "36", "value": "Place"])
            }
            field("Its value", id: "value1") {
                tag(
                    "input",
                    ["id": "value1", "name": "value1", "maxlength": "128", "value": "Berlin, Firefox on Linux"])
            }
            field("Expires after", id: "life") {
                tag("select", ["id": "life", "name": "life"]) {
                    [("60", "a minute"), ("300", "5 minutes"), ("3600", "an hour")].map { seconds, text in
                        tag("option", ["value": seconds, "selected": seconds == "300" ? "" : nil]) { text }
                    }
                }
            }
            tag("div", ["class": "check"]) {
                tag("input", ["id": "number", "name": "number", "type": "checkbox", "value": "yes"])
                tag("label", ["for": "number"]) { "The person must type a number" }
            }
            tag("button", ["class": "main"]) { "Make the phones ring" }
        }
    }

    private var more: Escaped {
        tag("section", ["class": "columns", "aria-label": "More"]) {
            tag("form", ["class": "card", "method": "post", "action": "/phones", "data-act": ""]) {
                tag("h2") { "Add a phone" }
                field("Person", id: "new-identity") {
                    tag(
                        "input",
                        [
                            "id": "new-identity", "name": "identity", "value": PhoneDesk.person, "maxlength": "64",
                            "required": "",
                        ])
                }
                field("Platform", id: "new-provider") {
                    tag("select", ["id": "new-provider", "name": "provider"]) {
                        [("apn", "iPhone (APNs)"), ("fcm", "Android (FCM)"), ("hms", "Huawei (HMS)")].map {
                            value, text in
                            tag("option", ["value": value]) { text }
                        }
                    }
                }
                tag("button") { "Add" }
            }
            tag("form", ["class": "card", "method": "post", "action": "/faults", "data-act": ""]) {
                tag("h2") { "Let a provider fail" }
                field("Provider", id: "fault-provider") {
                    tag("select", ["id": "fault-provider", "name": "provider"]) {
                        Provider.all.map { word in tag("option", ["value": word]) { Provider.name(word) } }
                    }
                }
                field("It", id: "fault") {
                    tag("select", ["id": "fault", "name": "fault"]) {
                        FaultPreset.allCases.map { preset in tag("option", ["value": preset.rawValue]) { preset.title }
                        }
                    }
                }
                tag("button") { "Switch" }
            }
        }
    }
}
