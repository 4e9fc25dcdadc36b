import AsyncHTTPClient
import ChallengeModel
import Foundation
import KafkaClient
import Logging
import NIOCore
import NIOHTTP1
import Simulators
import TestSupport
import Testing
import Wire

@Suite("A dispatcher whose clock is ten minutes ahead", .timeLimit(.minutes(10)), .serialized)
struct WrongClockTests {
    let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    @Test(
        "holds, is unready and says so; the backend is told in time; one with a right clock then pushes what was held",
        .shiftedClock)
    func ahead() async throws {
        try await BeckonCluster.with { cluster in
            for (name, role) in [("producer", "producer"), ("tracker", "ack-tracker")] { try cluster.start(name, role) }
            for name in ["producer", "tracker"] { _ = try await cluster[name]?.ready() }
            let service = try await cluster.startPhones(1, behaviour: "answers", platform: "fcm")
            let preload = try await ShiftedClock.preload(in: cluster.folder)
            let wrong = try cluster.start("wrong", "dispatcher", more: ["LD_PRELOAD": preload])
            let admin = try await wrong.ready()["admin"] ?? ""
            let names = cluster.names
            let topics = [names[.challenges], names[.outcomes]]
            try await TopicTail.following(topics, kafka: cluster.kafka, logger: logger) { tail in
                func create(lifeMs: Int64) async throws -> String {
                    var draft = ChallengeDraft(message: "Sign in?")
                    draft.expiresAtMs = Timestamp.nowMs() + lifeMs
                    return try await cluster.backend.createChallenge(
                        serviceSID: service, identity: "person-00001", draft
                    ).sid
                }
                func escalated(_ sid: String) throws -> Bool {
                    try tail.records(of: names[.outcomes]).contains { record in
                        guard case .escalation(let told) = try OutcomeRecord(value: record.value, contentType: nil).kind
                        else { return false }
                        return told.challengeSid == sid
                    }
                }
                let short = try await create(lifeMs: 30_000)
                let long = try await create(lifeMs: 1_200_000)
                for _ in 0..<1200 where try !escalated(short) { try await Task.sleep(for: .milliseconds(100)) }
                #expect(try escalated(short), "\(cluster.tails)")
                // No outcome of either: neither pushed nor dropped.
                let outcomes = try tail.records(of: names[.outcomes]).filter { record in
                    if case .push = try OutcomeRecord(value: record.value, contentType: nil).kind {
                        true
                    } else {
                        false
                    }
                }
                #expect(outcomes.isEmpty)
                let answer = try await cluster.client.get(url: admin + "/readyz").get()
                let body = answer.body.map { String(buffer: $0) } ?? ""
                #expect(
                    answer.status.code == 503 && body.contains("dispatcher-clock") && body.contains("ahead"), "\(body)")
                #expect(wrong.output.contains("the clock is wrong"))
                await wrong.stop()
                try cluster.start("right", "dispatcher")
                for _ in 0..<1200 {
                    let read = try await cluster.backend.challenge(
                        serviceSID: service, identity: "person-00001", sid: long)
                    if read.status == "approved" { return }
                    try await Task.sleep(for: .milliseconds(100))
                }
                Issue.record("what was held is not pushed\n\(cluster.tails)")
            }
        }
    }
}
