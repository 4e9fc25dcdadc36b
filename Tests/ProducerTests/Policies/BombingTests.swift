import ChallengeModel
import Challenges
import Foundation
import Testing
import Wire

@testable import Producer

/// Somebody who knows the identity asks for challenges as fast as allowed for an hour, and asks for each to be sent
/// again as often as allowed. What rings is counted from the records that leave the Producer.
@Suite("Push bombing", .timeLimit(.minutes(10)))
struct BombingTests {
    struct Attack: Sendable, CustomTestStringConvertible {
        enum Person: String {
            /// Says no to everything, five seconds later.
            case denies
            /// Lets it ring.
            case ignores
        }
        enum Asking: String {
            /// Each challenge stands for itself.
            case separately
            /// One `ActionKey` whose details change: each supersedes the one before it, and one is pending.
            case supersedingly
        }
        enum Phone: String {
            /// So that nothing is repeated.
            case confirming
            /// As published SDKs are: each challenge is pushed `Redelivery.MaxAttempts` times.
            case silent
        }

        let person: Person
        let asking: Asking
        let phone: Phone
        /// Rings in an hour at most.
        let most: Int

        var testDescription: String {
            "asked \(asking.rawValue), the phone \(phone.rawValue), the person \(person.rawValue)"
        }
    }

    static let attacks = [
        // Three denials or a few more until it is quiet, four times an hour.
        Attack(person: .denies, asking: .separately, phone: .confirming, most: 100),
        Attack(person: .denies, asking: .separately, phone: .silent, most: 100),
        Attack(person: .denies, asking: .supersedingly, phone: .confirming, most: 100),
        Attack(person: .denies, asking: .supersedingly, phone: .silent, most: 100),
        // Ten pending at once, each for five minutes: 120 and ten more, each with three resends and three repetitions.
        Attack(person: .ignores, asking: .separately, phone: .confirming, most: 130 * 4),
        Attack(person: .ignores, asking: .separately, phone: .silent, most: 130 * 7),
        // 20 and 240 creations, each for 15 s: three resends and one repetition.
        Attack(person: .ignores, asking: .supersedingly, phone: .confirming, most: 260 * 4),
        Attack(person: .ignores, asking: .supersedingly, phone: .silent, most: 260 * 5),
    ]

    @Test(
        "an hour of push bombing: the rings are bounded, and the person signs in while it goes on", arguments: attacks)
    func bombing(attack: Attack) async throws {
        try await ProducerHarness.run(ownBroker: [.receipts: 5]) { producer in
            let scene = try await PolicyScene(producer)
            _ = try await producer.drainOutbox()
            var siege = Siege(scene: scene, attack: attack)
            let start = producer.clock.nowMs
            while producer.clock.nowMs < start + 3_600_000 { try await siege.step() }
            let rings = siege.rings
            let waited = try await siege.signIn()
            print(
                "an hour of push bombing, \(attack.testDescription): asked \(siege.askedInTheHour) times, rang \(rings) times; "
                    + "then waited \(waited) s to sign in")
            #expect(rings <= attack.most)
            #expect(rings > 0)
            // Four intervals of the bucket.
            #expect(waited <= 60)
        }
    }

    /// The attack as it goes.
    private struct Siege {
        typealias Due = (atMs: Int64, sid: String)

        let scene: PolicyScene
        let attack: Attack
        private(set) var rings = 0
        private(set) var asked = 0
        private(set) var askedInTheHour = 0
        private var nextMs: Int64 = 0
        private var denials: [Due] = []
        private var resends: [Due] = []
        /// The tracker's, at the earliest that it can be: the expected latency after each other.
        private var attempts: [Due] = []

        init(scene: PolicyScene, attack: Attack) {
            self.scene = scene
            self.attack = attack
        }

        private var producer: ProducerHarness { scene.producer }

        /// Seconds after its creation at which a challenge is asked for again: when most comes of it.
        private var resendsAfter: [Int64] {
            switch (attack.person, attack.phone, attack.asking) {
            case (.denies, _, _), (_, .confirming, _): [1, 2, 3]
            case (_, .silent, .separately): [25, 26, 27]
            case (_, .silent, .supersedingly): [9, 10, 11]
            }
        }

        /// Does what is due now, and goes on by seconds while something happens, else to what is next.
        mutating func step() async throws {
            let now = producer.clock.nowMs
            if now >= nextMs { try await ask() }
            for resend in Self.take(&resends, now) {
                _ = try await producer.post(
                    "\(scene.phone.challengesPath)/\(resend)/Notifications", as: producer.backend)
            }
            for sid in Self.take(&denials, now) where try await scene.read(sid).text("status") == "pending" {
                #expect(try await scene.answer(sid, "denied").status == 200)
            }
            try await listen()
            rings += Self.take(&attempts, now).count
            askedInTheHour = asked
            let due = (denials + resends + attempts).map(\.atMs).min() ?? nextMs
            producer.clock.advance(.seconds(max(1, (min(due, nextMs) - now) / 1000)))
        }

        private static func take(_ due: inout [Due], _ now: Int64) -> [String] {
            defer { due.removeAll { $0.atMs <= now } }
            return due.filter { $0.atMs <= now }.map(\.sid)
        }

        private mutating func ask() async throws {
            let now = producer.clock.nowMs
            let form =
                attack.asking == .separately
                ? [] : [("ActionKey", "attempt"), ("HiddenDetails", #"{"number":"\#(asked)"}"#)]
            let answer = try await scene.create(form)
            guard answer.status == 201 else {
                #expect(answer.status == 429, "\(answer.text)")
                nextMs = now + Int64(try #require(Int(answer.header("Retry-After") ?? ""))) * 1000
                return
            }
            asked += 1
            let sid = try answer.text("sid")
            if attack.person == .denies { denials.append((now + 5000, sid)) }
            resends += resendsAfter.map { (now + $0 * 1000, sid) }
        }

        /// What the dispatchers and the tracker are told.
        private mutating func listen() async throws {
            let now = producer.clock.nowMs
            for row in try await producer.drainOutbox() {
                switch row.topic {
                case .resolutions: attempts.removeAll { $0.sid == row.key }
                case .challenges:
                    switch try ChallengeRecord(value: row.value, contentType: nil).kind {
                    case .dispatch(let dispatch):
                        rings += dispatch.targets.count
                        guard attack.phone == .silent, dispatch.dispatchID == "c" else { continue }
                        attempts += (1...3).map { (now + $0 * 8000, row.key) }
                    case .deviceChanged(let changed) where changed.gone: attempts.removeAll { $0.sid == row.key }
                    default: continue
                    }
                default: continue
                }
            }
        }

        /// The person opens the app, says no to what is not theirs, signs in when the backend says so, and finds the
        /// challenge by polling. The attacker asks every second, and is first in three of four.
        /// - Returns: seconds from the first try to the creation.
        mutating func signIn() async throws -> Int {
            let start = producer.clock.nowMs
            for sid in try await pending() { #expect(try await scene.answer(sid, "denied").status == 200) }
            var (tries, personMs) = (0, start)
            while true {
                let now = producer.clock.nowMs
                guard now >= personMs else {
                    try await ask()
                    producer.clock.advance(.seconds(1))
                    continue
                }
                tries += 1
                if tries % 4 != 0 { try await ask() }
                let own = try await scene.create()
                if own.status == 201 {
                    #expect(try await pending().contains(try own.text("sid")))
                    #expect(try await scene.answer(try own.text("sid")).text("status") == "approved")
                    return Int((now - start) / 1000)
                }
                #expect(own.status == 429, "\(own.text)")
                personMs = now + Int64(try #require(Int(own.header("Retry-After") ?? ""))) * 1000
                try await ask()
                producer.clock.advance(.seconds(1))
            }
        }

        private func pending() async throws -> [String] {
            let phone = scene.phone
            return try await producer.get(
                "\(phone.challengesPath)?Status=pending&PageSize=100", as: phone.token(nowMs: producer.clock.nowMs)
            ).items("challenges").compactMap { $0["sid"]?.stringValue }
        }
    }
}
