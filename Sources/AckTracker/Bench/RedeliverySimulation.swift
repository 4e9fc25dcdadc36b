import ChallengeModel
import Foundation

/// Fixed against adaptive expected latency, in simulated time, through the tracker's own fold, timers and latency
/// model. For `beckon bench redelivery` and docs/redelivery.md.
public struct RedeliverySimulation: Sendable {
    /// Log-normal times from `accepted` to the receipt.
    public struct Network: Sendable, Codable {
        public let name: String
        public let medianMs: Double
        public let p95Ms: Double

        public static let fast = Network(name: "fast", medianMs: 1_000, p95Ms: 4_000)
        public static let slow = Network(name: "slow", medianMs: 6_000, p95Ms: 20_000)

        /// 1.645 is the 95 % quantile of the normal distribution.
        func latencyMs(_ normal: Double) -> Double { medianMs * exp(log(p95Ms / medianMs) / 1.645 * normal) }
    }

    public struct Result: Sendable, Codable {
        public let network: String
        public let policy: String
        public let challenges: Int
        /// Reached before their expiry.
        public let reached: Int
        /// From creation to the first receipt, in milliseconds.
        public let p50MS: Int
        public let p95MS: Int
        public let p99MS: Int
        /// Second pushes although the first was on its way.
        public let needlessSecondPushes: Int
        /// All pushes after the first.
        public let furtherPushes: Int
        /// The expected latency at the end, in milliseconds.
        public let expectedLatencyMS: Int
        /// Quantiles of the time to reach in steps of 1 %, in milliseconds; for the picture.
        public let quantilesMS: [Int]

        enum CodingKeys: String, CodingKey {
            case network, policy, challenges, reached
            case p50MS = "p50_ms"
            case p95MS = "p95_ms"
            case p99MS = "p99_ms"
            case needlessSecondPushes = "needless_second_pushes"
            case furtherPushes = "further_pushes"
            case expectedLatencyMS = "expected_latency_ms"
            case quantilesMS = "quantiles_ms"
        }
    }

    public var challenges = 20_000
    public var lifeMs: Int64 = 120_000
    /// Share of pushes that never arrive.
    public var lost = 0.1
    public var seed: UInt64 = 1
    /// From a dispatch to the provider's acceptance.
    private let acceptMs: Int64 = 50
    /// Between two creations.
    private let everyMs: Int64 = 50

    public init() {}

    private enum Happening {
        case create(Int)
        case accepted(Int, DispatchID)
        case receipt(Int, DispatchID)
    }

    private struct Person {
        let sid: PackedSID
        let factor: PackedSID
        let createdAtMs: Int64
        var reachedAtMs: Int64?
        var firstArrives = false
        var pushes = 0
    }

    public func run(_ network: Network, adaptive: Bool) -> Result {
        let epochMs: Int64 = 1_760_000_000_000
        var random = SplitMix(state: seed)
        var fold = Fold(policy: TrackerPolicy())
        var model = LatencyModel(policy: fold.policy)
        fold.start(at: FoldTime(localMs: epochMs, wallMs: epochMs))
        var people: [Person] = []
        var byChallenge: [PackedSID: Int] = [:]
        var happenings: [Int64: [Happening]] = [:]
        for index in 0..<challenges {
            happenings[epochMs + Int64(index + 1) * everyMs, default: []].append(.create(index))
        }
        let endMs = epochMs + Int64(challenges) * everyMs + lifeMs
        var needless = 0
        var further = 0
        var nowMs = epochMs
        while nowMs < endMs {
            nowMs += 10
            let time = FoldTime(localMs: nowMs, wallMs: nowMs)
            for happening in happenings.removeValue(forKey: nowMs) ?? [] {
                let fact: Fact
                switch happening {
                case .create:
                    let person = Person(
                        sid: PackedSID(high: random.next(), low: random.next()),
                        factor: PackedSID(high: random.next(), low: random.next()), createdAtMs: nowMs)
                    byChallenge[person.sid] = people.count
                    happenings[nowMs + acceptMs, default: []].append(.accepted(people.count, .creation))
                    people.append(person)
                    fact = dispatch(person, .creation, adaptive, nowMs)
                case .accepted(let index, let id):
                    people[index].pushes += 1
                    let latency = Int64(network.latencyMs(random.normal())) / 10 * 10
                    let isLost = random.unit() < lost
                    if !isLost { happenings[nowMs + max(10, latency), default: []].append(.receipt(index, id)) }
                    if id == .creation { people[index].firstArrives = !isLost }
                    fact = outcome(people[index], id, nowMs)
                case .receipt(let index, let id):
                    if people[index].reachedAtMs == nil { people[index].reachedAtMs = nowMs }
                    fact = receipt(people[index], id, nowMs)
                }
                for case .latency(let key, let ms) in fold.apply(fact, recordedMs: nowMs, at: time) {
                    model.record(key, latencyMs: ms)
                    fold.expectedLatencies = model.expected
                }
            }
            for (sid, _) in fold.due(at: time) {
                guard let index = byChallenge[sid] else { continue }
                for action in fold.decide(sid, at: time) {
                    switch action {
                    case .dispatch(let dispatch, _):
                        guard let id = DispatchID(dispatch.dispatchID) else { continue }
                        further += 1
                        if people[index].pushes == 1, people[index].firstArrives { needless += 1 }
                        let fact = Fact(challenge: sid, kind: .dispatch(dispatch, id, factors: [people[index].factor]))
                        _ = fold.apply(fact, recordedMs: nowMs, at: time)
                        happenings[nowMs + acceptMs, default: []].append(.accepted(index, id))
                    case .escalate(let escalation, _):
                        _ = fold.apply(
                            Fact(challenge: sid, kind: .escalation(escalation)), recordedMs: nowMs, at: time)
                    case .carry: break
                    }
                }
                fold.look(at: sid, time: time)
            }
        }
        let times = people.map { person in
            person.reachedAtMs.map { $0 - person.createdAtMs }.flatMap { $0 <= lifeMs ? $0 : nil } ?? lifeMs
        }.sorted()
        func quantile(_ share: Double) -> Int { Int(times[min(times.count - 1, Int(Double(times.count) * share))]) }
        return Result(
            network: network.name, policy: adaptive ? "adaptive" : "fixed", challenges: challenges,
            reached: times.count { $0 < lifeMs }, p50MS: quantile(0.5), p95MS: quantile(0.95), p99MS: quantile(0.99),
            needlessSecondPushes: needless, furtherPushes: further,
            expectedLatencyMS: Int(model.expected.values.first ?? 8_000),
            quantilesMS: (1..<100).map { quantile(Double($0) / 100) })
    }

    private func dispatch(_ person: Person, _ id: DispatchID, _ adaptive: Bool, _ nowMs: Int64) -> Fact {
        var dispatch = ChallengeDispatch()
        dispatch.dispatchID = id.description
        dispatch.createdAtMs = nowMs
        dispatch.expiresAtMs = nowMs + lifeMs
        dispatch.redelivery.adaptive = adaptive
        var target = DispatchTarget()
        target.factorSid = person.factor.text(prefix: FactorKind.prefix)
        target.platform = .apn
        target.appID = "com.example"
        target.registeredAtMs = 1
        dispatch.targets = [target]
        return Fact(challenge: person.sid, kind: .dispatch(dispatch, id, factors: [person.factor]))
    }

    private func outcome(_ person: Person, _ id: DispatchID, _ nowMs: Int64) -> Fact {
        var outcome = PushOutcome()
        outcome.dispatchID = id.description
        outcome.kind = .visible
        outcome.disposition = .accepted
        outcome.registeredAtMs = 1
        outcome.atMs = nowMs
        return Fact(challenge: person.sid, kind: .outcome(outcome, id, factor: person.factor))
    }

    private func receipt(_ person: Person, _ id: DispatchID, _ nowMs: Int64) -> Fact {
        var receipt = Receipt()
        receipt.dispatchID = id.description
        receipt.channel = .visiblePush
        receipt.receivedAtMs = nowMs
        return Fact(challenge: person.sid, kind: .receipt(receipt, factor: person.factor))
    }
}

/// A small generator with a fixed seed, so that a run can be repeated.
struct SplitMix: Sendable {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }

    /// In 0 to 1, never 0.
    mutating func unit() -> Double { (Double(next() >> 11) + 1) / 9_007_199_254_740_992 }

    /// Standard normal (Box and Muller).
    mutating func normal() -> Double { (-2 * log(unit())).squareRoot() * cos(2 * Double.pi * unit()) }
}
