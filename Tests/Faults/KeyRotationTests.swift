import ChallengeModel
import Foundation
import KafkaClient
import Logging
import Simulators
import TestSupport
import Testing

/// docs/operations.md, "Rotating the record keys", role by role under load.
@Suite("The record keys are rotated under load", .timeLimit(.minutes(10)), .serialized)
struct RecordKeyRotationTests {
    let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    static let roles = [("tracker", "ack-tracker"), ("dispatcher", "dispatcher"), ("producer", "producer")]

    @Test("in two phases, all verify, then sign: no dead letter, no hold, every challenge pushed once and confirmed")
    func twoPhases() async throws {
        try await BeckonCluster.with { cluster in
            let new = KeyRing.random(id: "k2")
            let (verifying, signing) = (
                KeyRing(keys: cluster.recordKeys.keys + new.keys), KeyRing(keys: new.keys + cluster.recordKeys.keys)
            )
            @Sendable func start(_ name: String, _ role: String, _ keys: KeyRing) async throws {
                try cluster.start(name, role, more: ["BECKON_RECORD_KEYS": keys.text])
                _ = try await cluster[name]?.ready()
            }
            for (name, role) in Self.roles.reversed() { try await start(name, role, cluster.recordKeys) }
            let service = try await cluster.startPhones(20, behaviour: "answers")
            let topics = Topic.copartitioned.map { cluster.names[$0] } + [cluster.names[.deadLetters]]
            try await TopicTail.following(topics, kafka: cluster.kafka, logger: logger) { tail in
                let backend = cluster.backend
                let load = Task {
                    var sids: Set<String> = []
                    var number = 0
                    while !Task.isCancelled {
                        number += 1
                        var draft = ChallengeDraft(message: "Sign in?")
                        // Longer than any restart here: a second attempt would be a device that was not asked in time.
                        draft.expectedLatencyMs = 60_000
                        // The API is away while its only Producer is restarted.
                        let made = try? await backend.createChallenge(
                            serviceSID: service, identity: "person-\(String(format: "%05d", number % 20 + 1))", draft)
                        if let made { sids.insert(made.sid) }
                        try? await Task.sleep(for: .milliseconds(40))
                    }
                    return sids
                }
                // Any order of roles within a phase.
                for (phase, order) in [(verifying, Self.roles), (signing, Self.roles.reversed())] {
                    for (name, role) in order {
                        _ = await cluster[name]?.stop()
                        try await start(name, role, phase)
                    }
                }
                let begun = topics.map { tail.count(of: $0) }
                for (topic, before) in zip(topics, begun) where topic != cluster.names[.deadLetters] {
                    for _ in 0..<900 where tail.count(of: topic) < before + 20 {
                        try await Task.sleep(for: .milliseconds(100))
                    }
                    let codes = tail.records(of: topic).dropFirst(before + 10).map {
                        $0.headers.text(of: RecordAuthenticator.headerName) ?? ""
                    }
                    #expect(!codes.isEmpty && codes.allSatisfy { $0.hasPrefix("k2:") }, "\(topic)")
                }
                load.cancel()
                let sids = await load.value
                #expect(sids.count > 50)
                let names = cluster.names
                func audit() throws -> DeliveryAudit {
                    try DeliveryAudit(tail, names)
                }
                for _ in 0..<900 where try !sids.isSubset(of: audit().confirmed) || !audit().withoutOutcome.isEmpty {
                    try await Task.sleep(for: .milliseconds(100))
                }
                let found = try audit()
                #expect(sids.subtracting(found.confirmed).isEmpty, "\(found)\n\(cluster.tails)")
                #expect(
                    found.withoutOutcome.isEmpty && found.duplicatedUnits.isEmpty && found.afterReceipt.isEmpty,
                    "\(found)")
                #expect(tail.records(of: names[.deadLetters]).isEmpty)
                for (name, _) in Self.roles {
                    #expect(cluster[name]?.output.contains("a partition is held") == false, "\(name)")
                }
            }
        }
    }
}
