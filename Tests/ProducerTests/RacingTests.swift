import ChallengeModel
import Challenges
import Foundation
import Synchronization
import Testing

@testable import Producer

@Suite("Answers that race", .timeLimit(.minutes(10)))
struct RacingTests {
    /// Two devices of one identity.
    private static func scene(_ producer: ProducerHarness) async throws -> (service: ServiceSID, devices: [TestDevice])
    {
        let path = try await producer.makeService()
        let first = try await producer.enroll("user-0001", service: path)
        let second = try await producer.enroll("user-0001", service: path)
        return (try #require(ServiceSID(path.split(separator: "/").last ?? "")), [first, second])
    }

    private static func create(
        _ producer: ProducerHarness, _ service: ServiceSID, expiresInMs: Int64
    ) async throws -> ChallengeSID {
        let now = producer.clock.nowMs
        return try await producer.store.createChallenge(
            NewChallenge(
                account: producer.account.sid, service: service, identity: "user-0001", factor: nil, message: "Log in?",
                expiresAtMs: now + expiresInMs), nowMs: now
        ).0.sid
    }

    /// - Returns: the statuses of both answers.
    private static func answer(
        _ producer: ProducerHarness, _ challenge: ChallengeSID, _ devices: [TestDevice]
    ) async throws -> [Int] {
        var requests: [(TestDevice, String)] = []
        for (index, device) in devices.enumerated() {
            let read = try await producer.get(
                "\(device.challengesPath)/\(challenge)", as: device.token(nowMs: producer.clock.nowMs))
            guard read.header("Twilio-Verify-Signature-Fields") != nil else { continue }
            requests.append((device, try device.answer(read, index == 0 ? "approved" : "denied")))
        }
        return try await withThrowingTaskGroup(of: Int.self) { group in
            for (device, payload) in requests {
                group.addTask {
                    try await producer.post(
                        "\(device.challengesPath)/\(challenge)", [("AuthPayload", payload)],
                        as: device.token(nowMs: producer.clock.nowMs)
                    ).status
                }
            }
            var statuses: [Int] = []
            for try await status in group { statuses.append(status) }
            return statuses
        }
    }

    /// Finals told by the outbox: per challenge the statuses of its `Resolution`s, and the types of its final events.
    private static func finals(
        _ producer: ProducerHarness
    ) async throws -> (resolutions: [String: Int], events: [String: [String]]) {
        var resolutions: [String: Int] = [:]
        var events: [String: [String]] = [:]
        while true {
            let rows = try await producer.store.outbox.claimOutbox(
                owner: "race", limit: 500, leaseMs: 60_000, nowMs: producer.clock.nowMs)
            if rows.isEmpty { return (resolutions, events) }
            for row in rows {
                if row.topic == .resolutions { resolutions[row.key, default: 0] += 1 }
                if row.topic == .events {
                    let type = try CloudEvent(json: row.value).type
                    let isFinal = ["approved", "denied", "expired"].contains { type == "beckon.challenge.\($0)" }
                    if isFinal { events[row.key, default: []].append(type) }
                }
            }
            try await producer.store.outbox.deleteOutbox(rows.map(\.id), owner: "race")
        }
    }

    @Test("two devices answer 1,000 challenges at once: one wins each, and is told once")
    func twoDevices() async throws {
        // Different partition counts keep the relay from starting, so that the outbox keeps what happened.
        try await ProducerHarness.run(ownBroker: [.receipts: 5], limits: .none) { producer in
            let (service, devices) = try await Self.scene(producer)
            try await withThrowingTaskGroup(of: [Int].self) { group in
                for index in 0..<1000 {
                    if index >= 16 { #expect(try await group.next()?.sorted() == [200, 403]) }
                    group.addTask {
                        let challenge = try await Self.create(producer, service, expiresInMs: 300_000)
                        return try await Self.answer(producer, challenge, devices)
                    }
                }
                for try await statuses in group { #expect(statuses.sorted() == [200, 403]) }
            }
            let (resolutions, events) = try await Self.finals(producer)
            #expect(resolutions.count == 1000 && resolutions.values.allSatisfy { $0 == 1 })
            #expect(events.count == 1000 && events.values.allSatisfy { $0.count == 1 })
        }
    }

    @Test("1,000 answers within 50 ms of the expiry, with the sweep at work: one status and one final event each")
    func atExpiry() async throws {
        try await ProducerHarness.run(ownBroker: [.receipts: 5], limits: .none) { producer in
            let (service, devices) = try await Self.scene(producer)
            var challenges: [ChallengeSID] = []
            for _ in 0..<1000 { challenges.append(try await Self.create(producer, service, expiresInMs: 60_000)) }
            // The expiry is in whole milliseconds of the tests' clock; each answer comes from 25 ms before to 25 ms
            // after it.
            let now = producer.clock.nowMs
            let account = producer.account.sid
            let factor = try #require(FactorSID(devices[0].factor))
            let store = producer.store
            let won = Winners()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for step in 0..<50 {
                    let atMs = now + 60_000 - 25 + Int64(step)
                    group.addTask { while try await store.expireDue(limit: 20, nowMs: atMs) == 20 {} }
                    for sid in challenges[(step * 20)..<(step * 20 + 20)] {
                        group.addTask {
                            let answer = Answer(
                                challenge: sid, factor: factor, isApproval: true, signedAnswer: "answer \(sid)")
                            do {
                                let answered = try await store.answer(answer, nowMs: atMs)
                                won.add(sid, answered.status)
                                #expect(atMs < now + 60_000, "an answer at or after the expiry never counts")
                            } catch StoreError.alreadyExpired {}
                        }
                    }
                }
                try await group.waitForAll()
            }
            while try await store.expireDue(limit: 1000, nowMs: now + 61_000) > 0 {}
            let (resolutions, events) = try await Self.finals(producer)
            let winners = won.all
            #expect(!winners.isEmpty && winners.count < 1000, "both sides win some")
            for sid in challenges {
                let stored = try await store.challenge(
                    sid, account: account, service: service, identity: "user-0001", factor: nil)
                let status = try #require(stored).status
                #expect(status == winners[sid] ?? .expired)
                #expect(resolutions[sid.rawValue] == 1)
                #expect(events[sid.rawValue] == ["beckon.challenge.\(status.rawValue)"])
            }
        }
    }
}

private final class Winners: Sendable {
    private let statuses = Mutex<[ChallengeSID: ChallengeStatus]>([:])
    var all: [ChallengeSID: ChallengeStatus] { statuses.withLock { $0 } }
    func add(_ sid: ChallengeSID, _ status: ChallengeStatus) { statuses.withLock { $0[sid] = status } }
}
