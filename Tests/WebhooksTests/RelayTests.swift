import ChallengeModel
import Challenges
import Foundation
import KafkaClient
import Simulators
import Synchronization
import TestSupport
import Testing
import Wire

@testable import Webhooks

@Suite("The webhook relay", .timeLimit(.minutes(5)), .serialized)
struct RelayTests {
    @Test("events reach the webhooks that want them, signed, once, in the order of their challenge")
    func delivers() async throws {
        try await RelayRig.with { rig in
            let all = try await Inbox(rig)
            let some = try await Inbox(rig)
            let webhook = try await rig.webhook(all.port)
            _ = try await rig.webhook(some.port, types: ["challenge.approved"], format: .json)
            let secret = try await rig.store.rotateWebhookSecret(
                webhook.sid, account: rig.account, service: rig.service, keepFormerMs: 0, nowMs: Timestamp.nowMs())
            var expected: [String: [String]] = [:]
            try await rig.relaying {
                for _ in 0..<20 {
                    let challenge = RelayRig.challenge()
                    for type in [EventType.challengeCreated, .challengeDispatched, .challengeApproved] {
                        expected[challenge, default: []].append(try await rig.emit(type, challenge))
                    }
                }
                try await eventually("60 and 20 events arrive") {
                    all.messages.count >= 60 && some.messages.count >= 20
                }
            }
            #expect(all.messages.count == 60)
            #expect(some.messages.count == 20)
            for (challenge, ids) in expected { #expect(all.events.filter { $0.hasPrefix(challenge) } == ids) }
            #expect(Set(some.messages.map(\.type)) == ["beckon.challenge.approved"])
            // The same event has another message id for another webhook.
            #expect(Set(all.messages.map(\.id)).isDisjoint(with: some.messages.map(\.id)))
            let request = try #require(all.messages.first?.request)
            let fields = try Form(request.body).pairs.map { (name: $0.name, value: $0.value) }
            #expect(
                request.header(TwilioSignature.headerName)
                    == TwilioSignature.form(
                        url: "https://127.0.0.1:\(all.port)/hook", parameters: fields, authToken: rig.authToken))
            let id = try #require(request.header("webhook-id"))
            let timestamp = try #require(request.header("webhook-timestamp").flatMap { Int64($0) })
            #expect(
                request.header("webhook-signature")
                    == StandardWebhooks.signature(
                        id: id, timestamp: timestamp, body: request.body, secrets: [WebhookSecret(bytes: secret)]))
            await all.stop()
            await some.stop()
        }
    }

    @Test(
        "what fails is tried again from the store, in order, with the same id; later events of the challenge wait behind it"
    )
    func triesAgain() async throws {
        try await RelayRig.with(partitions: 1) { rig in
            let inbox = try await Inbox(rig) { _, count in count < 2 ? .status(500) : .status(200) }
            _ = try await rig.webhook(inbox.port)
            let challenge = RelayRig.challenge()
            try await rig.relaying {
                var ids: [String] = []
                for type in [EventType.challengeCreated, .challengeDispatched, .challengeApproved] {
                    ids.append(try await rig.emit(type, challenge))
                }
                try await eventually("the last event arrives") { inbox.events.last == ids.last }
                // Twice refused, and then each once.
                #expect(inbox.events == [ids[0], ids[0]] + ids)
                #expect(Set(inbox.messages.prefix(3).map(\.id)).count == 1)
                let times = inbox.messages.prefix(3).map { $0.request.header("webhook-timestamp") ?? "" }
                #expect(times[0] < times[2])
            }
            await inbox.stop()
        }
    }

    @Test("an endpoint that hangs holds no other endpoint, and its events arrive when it answers again")
    func hangs() async throws {
        try await RelayRig.with { rig in
            let good = try await Inbox(rig)
            let bad = try await Inbox(rig) { _, _ in .hang }
            _ = try await rig.webhook(good.port)
            _ = try await rig.webhook(bad.port, fragment: "tt=1000&rt=1000&rc=0")
            try await rig.relaying {
                var ids: Set<String> = []
                for _ in 0..<300 { ids.insert(try await rig.emit(.challengeApproved, RelayRig.challenge())) }
                try await eventually("the good endpoint has all") { Set(good.events) == ids }
                bad.answers { _, _ in .status(200) }
                let before = bad.messages.count
                try await eventually("the other one gets them too") {
                    Set(bad.messages.dropFirst(before).map(\.event)).union(bad.events) == ids
                        && bad.messages.count >= ids.count
                }
                // On a slow machine a request is given up and sent again, with the same id.
                #expect(Set(good.messages.map(\.id)).count == 300)
            }
            await good.stop()
            await bad.stop()
        }
    }

    @Test("a receiver that was down gets everything when it is up, before the next step of the schedule")
    func wasDown() async throws {
        try await RelayRig.with { rig in
            let inbox = try await Inbox(rig)
            _ = try await rig.webhook(inbox.port)
            await inbox.goDown()
            var ids: [String: [String]] = [:]
            try await rig.relaying {
                for _ in 0..<40 {
                    let challenge = RelayRig.challenge()
                    for type in [EventType.challengeCreated, .challengeApproved] {
                        ids[challenge, default: []].append(try await rig.emit(type, challenge))
                    }
                }
                try await eventually("events are stored") { try await rig.store.webhookBacklogs().isEmpty == false }
                try await inbox.goUp()
                try await eventually("all 80 arrive") { Set(inbox.events).count == 80 }
                try await eventually("nothing is stored any more") { try await rig.store.webhookBacklogs().isEmpty }
            }
            for (challenge, expected) in ids {
                #expect(unique(inbox.events.filter { $0.hasPrefix(challenge) }) == expected)
            }
            await inbox.stop()
        }
    }

    @Test("a relay that takes over goes on where the other one stopped, also with what is stored")
    func takesOver() async throws {
        try await RelayRig.with { rig in
            let inbox = try await Inbox(rig) { _, _ in .status(503) }
            _ = try await rig.webhook(inbox.port)
            let challenge = RelayRig.challenge()
            var ids: [String] = []
            try await rig.relaying {
                ids.append(try await rig.emit(.challengeCreated, challenge))
                try await eventually("it is stored") { try await rig.store.webhookBacklogs().count == 1 }
            }
            inbox.answers { _, _ in .status(204) }
            let before = inbox.messages.count
            ids.append(try await rig.emit(.challengeApproved, challenge))
            try await rig.relaying {
                try await eventually("both arrive") { inbox.messages.count >= before + 2 }
                #expect(Array(inbox.events.dropFirst(before)) == ids)
            }
            await inbox.stop()
        }
    }

    @Test(
        "410 ends the event and not its webhook; webhook-delivery: disable ends the webhook, until its customer enables it"
    )
    func goneAndDisabled() async throws {
        try await RelayRig.with(partitions: 1) { rig in
            let inbox = try await Inbox(rig) { message, _ in
                switch message.type {
                case "challenge.created": .status(410)
                case "challenge.denied": .status(500, headers: [("Webhook-Delivery", "disable")])
                default: .status(200)
                }
            }
            let webhook = try await rig.webhook(inbox.port)
            func endpoint() async throws -> WebhookEndpoint {
                try #require(
                    try await rig.store.webhookEndpoint(webhook.sid, account: rig.account, service: rig.service))
            }
            func deliveries(_ state: WebhookDelivery.State) async throws -> [String] {
                try await rig.store.webhookDeliveries(
                    webhook.sid, account: rig.account, service: rig.service, state: state, page: PageRequest()
                ).items.map(\.eventID)
            }
            try await rig.relaying {
                let gone = try await rig.emit(.challengeCreated, RelayRig.challenge())
                try await eventually("it is aborted") { try await deliveries(.aborted) == [gone] }
                #expect(try await endpoint().health.disabledMs == nil)
                let good = try await rig.emit(.challengeApproved, RelayRig.challenge())
                try await eventually("the next one arrives") { inbox.events.contains(good) }
                _ = try await rig.emit(.challengeDenied, RelayRig.challenge())
                try await eventually("the webhook is disabled") { try await endpoint().health.disabledMs != nil }
                #expect(try await endpoint().health.disabledReason == "receiver")
                // Kept while it is disabled.
                let held = try await rig.emit(.challengeApproved, RelayRig.challenge())
                try await eventually("it is held") { try await deliveries(.held).contains(held) }
                #expect(!inbox.events.contains(held))
                var change = WebhookChange()
                change.isEnabled = true
                _ = try await rig.store.updateWebhook(
                    webhook.sid, account: rig.account, service: rig.service, change, nowMs: Timestamp.nowMs())
                inbox.answers { _, _ in .status(200) }
                let replayed = try await rig.store.replayWebhook(
                    webhook.sid, account: rig.account, service: rig.service, .since(0), nowMs: Timestamp.nowMs())
                #expect(replayed >= 2)
                try await eventually("what was held arrives") { inbox.events.contains(held) }
            }
            await inbox.stop()
        }
    }

    @Test("Retry-After is obeyed, a test event goes to its webhook alone, attempts can be read")
    func smallThings() async throws {
        try await RelayRig.with(partitions: 1) { rig in
            let inbox = try await Inbox(rig) { _, count in
                count == 0 ? .status(429, headers: [("Retry-After", "3")]) : .status(200)
            }
            let other = try await Inbox(rig)
            let webhook = try await rig.webhook(inbox.port)
            _ = try await rig.webhook(other.port)
            try await rig.relaying {
                let started = ContinuousClock.now
                let id = try await rig.emit(.challengeApproved, RelayRig.challenge())
                try await eventually("it arrives again") { inbox.messages.count == 2 }
                #expect(ContinuousClock.now - started >= .seconds(3))
                _ = try await rig.store.testWebhook(
                    webhook.sid, account: rig.account, service: rig.service, nowMs: Timestamp.nowMs())
                // The Producer's outbox is not part of this rig: its row goes to Kafka by hand.
                let rows = try await rig.store.outbox.claimOutbox(
                    owner: "test", limit: 10, leaseMs: 60_000, nowMs: Timestamp.nowMs())
                let test = try #require(
                    rows.first { String(decoding: $0.value, as: UTF8.self).contains("webhook.test") })
                try await rig.send(test)
                try await eventually("the test arrives") { inbox.messages.contains { $0.type == "webhook.test" } }
                #expect(!other.messages.contains { $0.type == "webhook.test" })
                try await eventually("three attempts can be read") {
                    try await rig.store.webhookAttempts(
                        webhook.sid, account: rig.account, service: rig.service, page: PageRequest()
                    ).items.count == 3
                }
                let attempts = try await rig.store.webhookAttempts(
                    webhook.sid, account: rig.account, service: rig.service, page: PageRequest()
                ).items
                #expect(attempts.filter { $0.eventID == id }.map(\.status).sorted() == [200, 429])
            }
            await inbox.stop()
            await other.stop()
        }
    }

    @Test("a test of a webhook that was created a moment ago arrives")
    func youngWebhook() async throws {
        try await RelayRig.with(partitions: 1) { rig in
            let known = try await Inbox(rig)
            let young = try await Inbox(rig)
            _ = try await rig.webhook(known.port)
            try await rig.relaying(adjust: { $0.subscriptionsKept = .seconds(3600) }) {
                let first = try await rig.emit(.challengeApproved, RelayRig.challenge())
                try await eventually("the relay has read the webhooks") { known.events.contains(first) }
                let webhook = try await rig.webhook(young.port)
                _ = try await rig.store.testWebhook(
                    webhook.sid, account: rig.account, service: rig.service, nowMs: Timestamp.nowMs())
                let rows = try await rig.store.outbox.claimOutbox(
                    owner: "test", limit: 10, leaseMs: 60_000, nowMs: Timestamp.nowMs())
                try await rig.send(
                    #require(rows.first { String(decoding: $0.value, as: UTF8.self).contains("webhook.test") }))
                try await eventually("the test arrives") { young.messages.contains { $0.type == "webhook.test" } }
            }
            await known.stop()
            await young.stop()
        }
    }

    @Test("trace headers, which anybody may change, hold no partition and reach no receiver when they are wrong")
    func traceHeaders() async throws {
        try await RelayRig.with(partitions: 1) { rig in
            let inbox = try await Inbox(rig) { _, count in count == 0 ? .status(503) : .status(204) }
            _ = try await rig.webhook(inbox.port)
            let valid = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
            try await rig.relaying {
                var ids: Set<String> = []
                for (parent, state) in [
                    ("x\0", ""), ("x\r\nX-Other: 1", ""), (valid, "a=\0"), (valid, "a=b\r\nX-Other: 1"),
                    (valid, "a=" + String(repeating: "b", count: 100_000)), (valid + "\0", ""), (valid, "a=b"),
                ] {
                    ids.insert(
                        try await rig.emit(
                            .challengeCreated, RelayRig.challenge(),
                            with: [RecordHeader("traceparent", parent), RecordHeader("tracestate", state)]))
                }
                try await eventually("all arrive") { ids.isSubset(of: inbox.events) }
                for message in inbox.messages {
                    let parent = message.request.header("traceparent")
                    #expect(parent == nil || parent == valid)
                    #expect([nil, "a=b"].contains(message.request.header("tracestate")))
                    #expect(message.request.header("X-Other") == nil)
                }
                #expect(inbox.messages.contains { $0.request.header("tracestate") == "a=b" })
            }
            await inbox.stop()
        }
    }

    @Test("an account whose receivers are slow leaves places at the same host, and in the process, to others")
    func places() async throws {
        try await RelayRig.with { rig in
            let other = try await rig.store.createAccount(nowMs: Timestamp.nowMs())
            let service = try await rig.store.createService(
                NewService(account: other.sid, friendlyName: "other"), nowMs: Timestamp.nowMs()
            ).sid
            let good = try await Inbox(rig)
            let slow = try await Inbox(rig) { _, _ in .hang }
            for _ in 0..<4 { _ = try await rig.webhook(slow.port, fragment: "tt=15000&rt=15000&rc=0") }
            var new = NewWebhook(
                account: other.sid, service: service, friendlyName: "hook", eventTypes: ["*"],
                url: "https://127.0.0.1:\(good.port)/hook")
            new.format = .json
            _ = try await rig.store.createWebhook(new, nowMs: Timestamp.nowMs())
            try await rig.relaying {
                $0.maxInFlightPerHost = 8
                $0.maxInFlightPerAccount = 8
                $0.maxInFlight = 16
                $0.maxRecords = 64
            } _: {
                for _ in 0..<200 { try await rig.emit(.challengeCreated, RelayRig.challenge()) }
                try await eventually("the slow receiver holds its places") { slow.messages.count >= 4 }
                let id = try await rig.emit(
                    .challengeCreated, RelayRig.challenge(), account: other.sid, service: service)
                try await eventually("the other account's event arrives") { good.events.contains(id) }
                // The first requests are still under way: it waited for none of them.
                #expect(slow.messages.count <= 8)
            }
            await good.stop()
            await slow.stop()
        }
    }

    @Test("a forged record reaches no webhook")
    func forged() async throws {
        try await RelayRig.with(partitions: 1) { rig in
            let inbox = try await Inbox(rig)
            _ = try await rig.webhook(inbox.port)
            try await rig.relaying {
                try await rig.emitForged(.challengeApproved, RelayRig.challenge())
                let good = try await rig.emit(.challengeApproved, RelayRig.challenge())
                try await eventually("the genuine one arrives") { inbox.events.contains(good) }
                #expect(inbox.messages.count == 1)
            }
            await inbox.stop()
        }
    }
}

/// The first of each, in order.
func unique(_ texts: [String]) -> [String] {
    var seen: Set<String> = []
    return texts.filter { seen.insert($0).inserted }
}
