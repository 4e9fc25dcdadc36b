public import ChallengeModel
public import KafkaClient

/// What the topics say happened, counted as the promises are worded: created, pushed, duplicated, lost, late.
public struct DeliveryAudit: Sendable, CustomStringConvertible {
    /// Challenges with a dispatch `c` on the log.
    public private(set) var created: Set<String> = []
    /// Challenges with at least one push that a provider accepted.
    public private(set) var pushed: Set<String> = []
    /// Challenges that no provider accepted for certain, although a push of theirs was tried: its answer is `unknown`,
    /// or it is `deferred`. The tracker pushes them again; so they are lost only where its attempts are too. Not among
    /// them is what a drain did not wait for: the next owner pushes that.
    public private(set) var leftToTracker: Set<String> = []
    /// Challenges with a receipt.
    public private(set) var confirmed: Set<String> = []
    /// Different ones of each challenge. A killed Producer's successor sends again what was not marked as sent, the
    /// same in every byte.
    public private(set) var resolved: [String: Set<Resolution>] = [:]
    public private(set) var escalated: Set<String> = []
    /// Outcomes that are on the log more than once, the same in every byte: one push, of which a record was sent again
    /// because its acknowledgement was lost. The stand-in broker does not recognise a record that comes twice.
    public private(set) var recordedAgain = 0
    /// A unit (challenge, device, dispatch, kind) that a provider accepted more than once.
    public struct Duplicate: Sendable {
        public var unit: String
        /// One for each time, ascending: when the push was sent, epoch milliseconds, and the lane that recorded it.
        public var pushes: [(sentAtMs: Int64, writer: String)]

        /// One lane pushed it twice. A lane knows what it has pushed, so no fault accounts for that.
        public var isOfOneLane: Bool { Set(pushes.map(\.writer)).count < pushes.count }
    }

    public private(set) var duplicates: [Duplicate] = []
    public var duplicatedUnits: [String] { duplicates.map(\.unit) }
    /// Pushes whose headers left at or after the challenge's expiry.
    public private(set) var afterExpiry: [String] = []
    /// Tracker's pushes that left more than a second after that device's receipt was on the log.
    public private(set) var afterReceipt: [String] = []
    /// Highest number of accepted dispatches of one challenge and device.
    public private(set) var mostAttempts = 0
    /// Dispatched units without any outcome.
    public private(set) var withoutOutcome: [String] = []
    /// Challenges without a receipt, by the number of their dispatches that a provider accepted.
    public private(set) var unconfirmedByAttempts: [Int: Int] = [:]

    /// Of what a tail has read.
    public init(_ tail: TopicTail, _ names: TopicNames) throws {
        try self.init(
            challenges: tail.records(of: names[.challenges]), outcomes: tail.records(of: names[.outcomes]),
            receipts: tail.records(of: names[.receipts]), resolutions: tail.records(of: names[.resolutions]),
            appendedByMs: { tail.appendedByMs($0) })
    }

    /// - Parameter appendedByMs: when a receipt was on the log, epoch milliseconds; not the time stamp that its writer
    ///   gave it, for the promise counts from the broker's acknowledgement.
    public init(
        challenges: [ConsumedRecord], outcomes: [ConsumedRecord], receipts: [ConsumedRecord],
        resolutions: [ConsumedRecord], appendedByMs: (ConsumedRecord) -> Int64
    ) throws {
        var dispatched: Set<String> = []
        var withOutcome: Set<String> = []
        for record in challenges {
            let value = try ChallengeRecord(value: record.value, contentType: ContentType.protobuf.rawValue)
            guard case .dispatch(let dispatch) = value.kind else { continue }
            if dispatch.dispatchID == "c" { created.insert(dispatch.challengeSid) }
            for target in dispatch.targets {
                dispatched.insert("\(dispatch.challengeSid) \(target.factorSid) \(dispatch.dispatchID)")
            }
        }
        var receiptAtMs: [String: Int64] = [:]
        for record in receipts {
            let receipt = try Receipt(value: record.value, contentType: ContentType.protobuf.rawValue)
            confirmed.insert(receipt.challengeSid)
            let device = "\(receipt.challengeSid) \(receipt.factorSid)"
            receiptAtMs[device] = min(receiptAtMs[device] ?? .max, appendedByMs(record))
        }
        for record in resolutions {
            let resolution = try Resolution(value: record.value, contentType: ContentType.protobuf.rawValue)
            resolved[resolution.challengeSid, default: []].insert(resolution)
        }
        var accepted: [String: [(sentAtMs: Int64, writer: String)]] = [:]
        var attempts: [String: Set<String>] = [:]
        var recorded: Set<[UInt8]> = []
        for record in outcomes {
            let value = try OutcomeRecord(value: record.value, contentType: ContentType.protobuf.rawValue)
            switch value.kind {
            case .escalation(let escalation): escalated.insert(escalation.challengeSid)
            case .push(let outcome):
                let device = "\(outcome.challengeSid) \(outcome.factorSid)"
                withOutcome.insert("\(device) \(outcome.dispatchID)")
                if outcome.sentAtMs > 0 {
                    if outcome.sentAtMs >= outcome.expiresAtMs { afterExpiry.append("\(device) \(outcome.dispatchID)") }
                    if let receipt = receiptAtMs[device], outcome.sentAtMs - 1000 > receipt,
                        !outcome.dispatchID.hasPrefix("n:")
                    {
                        afterReceipt.append("\(device) \(outcome.dispatchID): \(outcome.sentAtMs - receipt) ms after")
                    }
                }
                if outcome.disposition == .deferred || outcome.disposition == .unknown && outcome.reason != "drained" {
                    leftToTracker.insert(outcome.challengeSid)
                }
                if !recorded.insert(record.value).inserted {
                    recordedAgain += 1
                } else if outcome.disposition == .accepted {
                    pushed.insert(outcome.challengeSid)
                    accepted["\(device) \(outcome.dispatchID) \(outcome.kind)", default: []].append(
                        (outcome.sentAtMs, record.headers.text(of: "beckon-writer") ?? ""))
                    attempts[device, default: []].insert(outcome.dispatchID)
                }
            case nil: break
            }
        }
        leftToTracker.subtract(pushed)
        duplicates = accepted.filter { $0.value.count > 1 }.sorted { $0.key < $1.key }.map { unit, pushes in
            Duplicate(unit: unit, pushes: pushes.sorted { $0.sentAtMs < $1.sentAtMs })
        }
        mostAttempts = attempts.values.map(\.count).max() ?? 0
        withoutOutcome = dispatched.subtracting(withOutcome).sorted()
        var most: [String: Int] = [:]
        for (device, dispatches) in attempts {
            let challenge = String(device.prefix { $0 != " " })
            most[challenge] = max(most[challenge] ?? 0, dispatches.count)
        }
        for challenge in created.subtracting(confirmed) { unconfirmedByAttempts[most[challenge] ?? 0, default: 0] += 1 }
    }

    public var description: String {
        """
        created \(created.count), pushed \(pushed.count), confirmed \(confirmed.count), resolved \(resolved.count), \
        escalated \(escalated.count), lost \(created.subtracting(pushed).subtracting(escalated).subtracting(confirmed).count), \
        duplicated \(duplicatedUnits.count), recorded again \(recordedAgain), after expiry \(afterExpiry.count), after receipt \(afterReceipt.count), \
        most attempts \(mostAttempts), dispatches without outcome \(withoutOutcome.count), not confirmed after so many \
        attempts \(unconfirmedByAttempts.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" })
        """
    }
}
