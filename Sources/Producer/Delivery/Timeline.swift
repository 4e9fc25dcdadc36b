import ChallengeModel
import Challenges
import Wire

/// The history of a challenge in order of time, from its row and its facts. A pure value. It contains no text of the
/// challenge, no tokens and no numbers, and of the answer only the result.
struct Timeline: Sendable {
    /// The order of entries with the same time.
    private enum Rank: Int { case created, dispatched, pushed, received, undelivered, ended }

    private struct Entry {
        let atMs: Int64
        let rank: Rank
        let members: [(name: String, value: JSONValue)]
    }

    let challenge: Challenge
    let facts: [DeliveryFact]
    let nowMs: Int64

    /// `{"challenge_sid":…,"status":…,"delivery":…,"timeline":[{"event":…,"date":…,…},…]}`; about 430 entries at most.
    var body: JSONValue {
        let status = ChallengeLifecycle.status(
            stored: challenge.status, expiresAtMs: challenge.expiresAtMs, nowMs: nowMs)
        let entries = entries(status).enumerated().sorted { left, right in
            (left.element.atMs, left.element.rank.rawValue, left.offset)
                < (right.element.atMs, right.element.rank.rawValue, right.offset)
        }
        return .object([
            ("challenge_sid", .string(challenge.sid.rawValue)), ("status", .string(status.rawValue)),
            ("delivery", .string(DeliveryProgress(challenge, facts).rawValue)),
            ("timeline", .array(entries.map { .object($0.element.members) })),
        ])
    }

    private func entries(_ status: ChallengeStatus) -> [Entry] {
        var entries = [entry("created", challenge.createdAtMs, .created)]
        // A dispatcher has started the dispatch: the earliest fact about this dispatch.
        var dispatched: [String: Int64] = [:]
        for fact in facts {
            switch fact {
            case .outcome(let outcome):
                let startMs = outcome.sentAtMs > 0 ? outcome.sentAtMs : outcome.atMs
                if outcome.disposition != .dropped {
                    dispatched[outcome.dispatchID] = min(startMs, dispatched[outcome.dispatchID] ?? startMs)
                }
                entries.append(pushed(outcome))
            case .receipt(let receipt):
                var more: [(name: String, value: JSONValue)] = [
                    ("factor_sid", .string(receipt.factorSid)), ("channel", .string(receipt.channel.word)),
                    ("shown", .string(receipt.shown.word)),
                ]
                if !receipt.dispatchID.isEmpty { more.append(("dispatch", .string(receipt.dispatchID))) }
                entries.append(entry("received", receipt.receivedAtMs, .received, more))
            case .escalation(let escalation): entries.append(undelivered(escalation))
            }
        }
        for (dispatch, atMs) in dispatched.sorted(by: { $0.key < $1.key }) {
            entries.append(entry("dispatched", atMs, .dispatched, [("dispatch", .string(dispatch))]))
        }
        if let end = end(status) { entries.append(end) }
        return entries
    }

    private func pushed(_ outcome: PushOutcome) -> Entry {
        var more: [(name: String, value: JSONValue)] = [
            ("factor_sid", .string(outcome.factorSid)), ("dispatch", .string(outcome.dispatchID)),
            ("kind", .string(outcome.kind == .background ? "background" : "visible")),
            ("platform", .string(FactorRules.name(of: outcome.platform))),
        ]
        let reason = outcome.disposition == .dropped ? outcome.dropReason.word : outcome.reason
        if !reason.isEmpty { more.append(("reason", .string(reason))) }
        if outcome.providerStatus > 0 { more.append(("provider_status", .integer(Int64(outcome.providerStatus)))) }
        if outcome.disposition == .accepted, outcome.pushOnce { more.append(("pushed_once", .boolean(true))) }
        if outcome.disposition == .deferred, outcome.retryAtMs > 0 {
            more.append(("until", .string(Timestamp.rfc3339Milliseconds(outcome.retryAtMs))))
        }
        return entry(outcome.disposition.word, outcome.atMs, .pushed, more)
    }

    private func undelivered(_ escalation: Escalation) -> Entry {
        entry(
            "undelivered", escalation.atMs, .undelivered,
            [
                ("attempts", .integer(Int64(escalation.attempts))),
                ("fallbacks", .array(escalation.fallbacks.map { .string($0) })),
                (
                    "devices",
                    .array(
                        escalation.devices.map {
                            .object([("factor_sid", .string($0.factorSid)), ("reason", .string($0.reason))])
                        })
                ),
            ])
    }

    private func end(_ status: ChallengeStatus) -> Entry? {
        switch status {
        case .pending: return nil
        case .approved, .denied:
            var more: [(name: String, value: JSONValue)] = []
            if let responder = challenge.responder { more.append(("factor_sid", .string(responder.rawValue))) }
            if let reason = challenge.deniedReason { more.append(("reason", .string(reason))) }
            return entry(status.rawValue, challenge.respondedAtMs ?? challenge.updatedAtMs, .ended, more)
        case .expired: return entry(status.rawValue, challenge.expiresAtMs, .ended)
        case .canceled, .superseded: return entry(status.rawValue, challenge.updatedAtMs, .ended)
        }
    }

    private func entry(
        _ event: String, _ atMs: Int64, _ rank: Rank, _ more: [(name: String, value: JSONValue)] = []
    ) -> Entry {
        Entry(
            atMs: atMs, rank: rank,
            members: [("event", .string(event)), ("date", .string(Timestamp.rfc3339Milliseconds(atMs)))] + more)
    }
}

extension Challenge {
    /// The reason as in the event `challenge.denied`; nil: the person denied the challenge, or it is not denied.
    var deniedReason: String? { isDeniedByNumber ? "wrong_number" : nil }
}

/// The delivery state of a challenge, over all its devices.
enum DeliveryProgress: String, Sendable, CaseIterable {
    /// No provider has accepted a push.
    case waiting
    /// A provider has accepted a push.
    case accepted
    /// A device has received the challenge, or it was answered.
    case received
    /// No device has received it, and pushing cannot help any more: use a fall-back now. A device may still poll.
    case undelivered

    init(_ challenge: Challenge, _ facts: [DeliveryFact]) {
        var progress = challenge.responder == nil ? DeliveryProgress.waiting : .received
        for fact in facts where progress != .received {
            switch fact {
            case .receipt: progress = .received
            case .escalation: progress = .undelivered
            case .outcome(let outcome) where outcome.disposition == .accepted && progress == .waiting:
                progress = .accepted
            case .outcome: break
            }
        }
        self = progress
    }
}

extension Disposition {
    fileprivate var word: String {
        switch self {
        case .accepted: "accepted"
        case .rejected: "refused"
        case .tokenDead: "token-dead"
        case .deferred: "deferred"
        case .credentialFault: "credential-fault"
        case .dropped: "dropped"
        case .unknown, .unspecified, .UNRECOGNIZED: "unknown"
        }
    }
}

extension ReceiptChannel {
    fileprivate var word: String {
        switch self {
        case .visiblePush, .unspecified, .UNRECOGNIZED: "visible"
        case .backgroundPush: "background"
        case .poll: "poll"
        case .provider: "provider"
        case .backend: "backend"
        }
    }
}

extension Shown {
    fileprivate var word: String {
        switch self {
        case .yes: "yes"
        case .no: "no"
        case .unknown, .UNRECOGNIZED: "unknown"
        }
    }
}
