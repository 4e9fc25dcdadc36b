import AsyncHTTPClient
import ChallengeModel
import DeviceKit
import Foundation
import KafkaClient
import Logging
import NIOCore
import Simulators
import TestSupport
import Testing

/// The policies over real processes, with phones that use them.
@Suite("Policies, end to end", .timeLimit(.minutes(10)))
struct PolicyTests {
    private static let identity = OnePhone.identity
    let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    private static func draft(_ more: [(name: String, value: String)]) -> ChallengeDraft {
        var draft = ChallengeDraft(message: "Is this really you?")
        draft.more = more
        return draft
    }

    @Test("a phone approves with number and session; the number is in no push, record, event or log of any process")
    func number() async throws {
        try await OnePhone.with(.answers) { cluster, service, phone in
            let topics = Topic.allCases.map { cluster.names[$0] }
            try await TopicTail.following(topics, kafka: cluster.kafka, logger: logger) { tail in
                let draft = Self.draft([
                    ("NumberMatching", "true"), ("NumberDigits", "6"), ("RequireSession", "true"),
                ])
                let created = try await cluster.backend.createChallenge(
                    serviceSID: service, identity: Self.identity, draft)
                let number = try #require(created.number)
                let closed = try await cluster.backend.challenge(
                    serviceSID: service, identity: Self.identity, sid: created.sid, until: ["approved", "denied"],
                    deadline: .seconds(30))
                #expect(closed.status == "approved" && closed.number == nil)
                try await phone.log.wait(for: .answered, challenge: created.sid, deadline: .seconds(90))
                let end = ContinuousClock.now + .seconds(90)
                while tail.count(of: cluster.names[.resolutions]) < 1, ContinuousClock.now < end {
                    try await Task.sleep(for: .milliseconds(20))
                }
                let search = SecretSearch(number, what: "number")
                #expect(search.isIn(created.json), "the search finds what is there")
                let pushes = try await cluster.client.execute(
                    HTTPClientRequest(url: cluster.control + "/pushes"), timeout: .seconds(60))
                let pushed = String(buffer: try await pushes.body.collect(upTo: 10 << 20))
                #expect(pushed.contains(created.sid) && !search.isIn(pushed))
                let records = topics.flatMap { tail.records(of: $0) }
                #expect(records.contains { $0.key == Array(created.sid.utf8) })
                for record in records {
                    let headers = record.headers.map { "\($0.name): \(record.headers.text(of: $0.name) ?? "")" }
                    let parts = [record.value, record.key, Array(headers.joined(separator: "\n").utf8)]
                    #expect(!parts.contains { search.isIn($0) }, "\(record.topicPartition.topic)")
                }
                for name in ["producer", "dispatcher", "tracker", "simulator", "broker"] {
                    let log = cluster[name]?.output ?? ""
                    #expect(!log.isEmpty || name == "broker", "\(name) logs")
                    #expect(!search.isIn(log), "\(name)'s log")
                }
            }
        }
    }

    @Test("two challenges of one action: the phone shows one, and the older reads expired")
    func action() async throws {
        try await OnePhone.with(.ignores) { cluster, service, phone in
            let backend = cluster.backend
            let first = try await backend.createChallenge(
                serviceSID: service, identity: Self.identity, Self.draft([("ActionKey", "attempt-1")]))
            try await phone.log.wait(for: .displayed, challenge: first.sid, deadline: .seconds(90))
            let second = try await backend.createChallenge(
                serviceSID: service, identity: Self.identity,
                Self.draft([("ActionKey", "attempt-1"), ("HiddenDetails", #"{"page":"2"}"#)]))
            #expect(second.sid != first.sid)
            let old = try await backend.challenge(serviceSID: service, identity: Self.identity, sid: first.sid)
            #expect(old.status == "expired", "before the phone shows the new one")
            try await phone.log.wait(for: .displayed, challenge: second.sid, deadline: .seconds(90))
            try await phone.log.wait(for: .withdrawn, challenge: first.sid, deadline: .seconds(90))
            #expect(phone.shown == [second.sid])
            // Another action is another question.
            let other = try await backend.createChallenge(
                serviceSID: service, identity: Self.identity, Self.draft([("ActionKey", "attempt-2")]))
            try await phone.log.wait(for: .displayed, challenge: other.sid, deadline: .seconds(90))
            #expect(Set(phone.shown) == [second.sid, other.sid])
            let canceled = try await backend.cancel(
                serviceSID: service, identity: Self.identity, challengeSID: other.sid)
            #expect(canceled.status == "expired")
            try await phone.log.wait(for: .withdrawn, challenge: other.sid)
            #expect(phone.shown == [second.sid])
        }
    }

    @Test(
        "ten pending, three denied: nothing more is pushed, the app finds the seven, the backend is told; then a resend rings"
    )
    func quiet() async throws {
        let limits = ["BECKON_LIMITS_DENIALS": "3", "BECKON_LIMITS_QUIET": "15000"]
        // An app that confirms nothing, as those of published SDKs: each challenge is due to be pushed again.
        try await OnePhone.withMore(.mute, limits: limits) { cluster, service, pool, phone in
            let backend = cluster.backend
            @Sendable func ask(_ identity: String, attempts: Int) async throws -> String {
                let draft = Self.draft([
                    ("Redelivery.ExpectedLatency", "5000"), ("Redelivery.MaxAttempts", "\(attempts)"),
                    ("Fallback", "sms"),
                ])
                return try await backend.createChallenge(serviceSID: service, identity: identity, draft).sid
            }
            @Sendable func pushes() async throws -> [String: [String]] {
                let reply = try await cluster.client.execute(
                    HTTPClientRequest(url: cluster.control + "/pushes?limit=1000"), timeout: .seconds(60))
                let lines = String(buffer: try await reply.body.collect(upTo: 10 << 20)).split(separator: "\n")
                return try lines.map { try JSONDecoder().decode(PushRecord.self, from: Data($0.utf8)) }
                    .filter { $0.kind == "visible" }.reduce(into: [:]) {
                        $0[$1.challengeSID, default: []].append($1.dispatch)
                    }
            }
            try await TopicTail.following([cluster.names[.events]], kafka: cluster.kafka, logger: logger) { tail in
                @Sendable func undelivered() throws -> [CloudEvent] {
                    try tail.records(of: cluster.names[.events]).map { try CloudEvent(json: $0.value) }
                        .filter { $0.type == "beckon.challenge.undelivered" }
                }
                var made: [String] = []
                for _ in 0..<10 { made.append(try await ask(Self.identity, attempts: 4)) }
                for sid in made { try await phone.log.wait(for: .displayed, challenge: sid, deadline: .seconds(90)) }
                for sid in made[..<3] {
                    try await phone.device.answer(try await phone.device.challenge(sid), approved: false)
                }
                let seven = Set(made[3...])
                // Somebody else's, asked later: when it was repeated and given up, the seven would have been too.
                _ = try await pool.enrol(
                    serviceSID: service, identity: "policy-0002", name: "other",
                    profile: PhonePool.Profile(behaviour: .mute))
                let marker = try await ask("policy-0002", attempts: 2)
                try await eventually("the marker is given up") {
                    try undelivered().contains { $0.subject == marker }
                }
                let rang = try await pushes()
                #expect(rang[marker] == ["c", "t1"])
                for sid in made { #expect(rang[sid] == ["c"], "\(sid)") }
                let told = try undelivered().filter { seven.contains($0.subject) }
                #expect(Set(told.map(\.subject)) == seven && told.count == 7)
                #expect(told.allSatisfy { $0.data["fallbacks"] == .list(["sms"]) })
                #expect(Set(try await phone.device.pendingChallenges().map(\.sid)) == seven)

                try await eventually("a resend is taken") {
                    do {
                        _ = try await backend.resend(
                            serviceSID: service, identity: Self.identity, challengeSID: made[5])
                        return true
                    } catch let error as BackendError where error.status == 429 { return false }
                }
                try await eventually("it rings") { try await pushes()[made[5]]?.count == 2 }
                for sid in made[3...] where sid != made[5] { #expect(try await pushes()[sid] == ["c"]) }
            }
        }
    }

    private func eventually(_ what: String, _ isSo: () async throws -> Bool) async throws {
        let end = ContinuousClock.now + .seconds(90)
        while try await !isSo() {
            guard ContinuousClock.now < end else { throw SimulatorError("not within 90 s: \(what)") }
            try await Task.sleep(for: .milliseconds(100))
        }
    }
}
