import ChallengeModel
import KafkaClient
import Testing

@testable import AckTracker

/// Builds facts of one challenge and feeds them to a fold, times in milliseconds from the challenge's creation.
struct FoldStory {
    static let epochMs: Int64 = 1_760_000_000_000
    let challenge = ChallengeSID.generate(variant: 3, nowMs: FoldStory.epochMs)
    let factors: [FactorSID]
    let service = ServiceSID.generate(nowMs: FoldStory.epochMs)
    let account = AccountSID.generate(nowMs: FoldStory.epochMs)
    var lifeMs: Int64 = 300_000
    var redelivery = Redelivery()
    var platform = Platform.apn
    var isSilenced = false
    var backgroundBudget: UInt32 = 0
    /// The devices have never sent a receipt of their own.
    var isPushedOnce = false
    var fold: Fold

    init(devices: Int = 1, policy: TrackerPolicy = .test) {
        factors = (0..<devices).map { _ in FactorSID.generate(variant: 3, nowMs: FoldStory.epochMs) }
        fold = Fold(policy: policy)
        fold.start(at: Self.time(0))
    }

    var sid: PackedSID { PackedSID(challenge.rawValue, prefix: "YC")! }

    static func time(_ ms: Int64, isReplay: Bool = false) -> FoldTime {
        FoldTime(localMs: epochMs + ms, wallMs: epochMs + ms, isReplay: isReplay)
    }

    /// The state that the fold carries on at a time, and the fact that the next owner reads.
    func carried(_ ms: Int64) throws -> (state: CarriedChallenge, fact: Fact) {
        var carried: CarriedChallenge?
        for case .carry(let found, _) in decide(ms) { carried = found }
        let state = try #require(carried)
        let factors = state.dispatch.targets.map { packed($0.factorSid) }
        return (state, Fact(challenge: sid, kind: .carried(state, factors: factors)))
    }

    // MARK: Facts

    func dispatch(_ id: String = "c", devices: [Int]? = nil, edit: (inout ChallengeDispatch) -> Void = { _ in }) -> Fact
    {
        var dispatch = ChallengeDispatch()
        dispatch.accountSid = account.rawValue
        dispatch.serviceSid = service.rawValue
        dispatch.challengeSid = challenge.rawValue
        dispatch.entitySid = "YE" + String(repeating: "ab", count: 16)
        dispatch.identity = "person-1"
        dispatch.message = "Sign in?"
        dispatch.dispatchID = id
        dispatch.createdAtMs = Self.epochMs
        dispatch.expiresAtMs = Self.epochMs + lifeMs
        dispatch.redelivery = redelivery
        dispatch.fallbacks = ["sms", "voice"]
        dispatch.backgroundAllowed = true
        dispatch.targets = (devices ?? Array(factors.indices)).map { target($0) }
        edit(&dispatch)
        return fact(.dispatch(dispatch, DispatchID(id)!, factors: dispatch.targets.map { packed($0.factorSid) }))
    }

    func target(_ device: Int, token: String = "aabb", registeredAtMs: Int64 = 1) -> DispatchTarget {
        var target = DispatchTarget()
        target.factorSid = factors[device].rawValue
        target.platform = platform
        target.pushToken = token
        target.appID = "com.example"
        target.credentialSid = "CR" + String(repeating: "01", count: 16)
        target.registeredAtMs = registeredAtMs
        target.backgroundBudget = backgroundBudget
        target.notificationsDisabled = isSilenced
        target.pushOnce = isPushedOnce
        return target
    }

    func outcome(
        _ disposition: Disposition, _ id: String = "c", device: Int = 0, kind: PushKind = .visible,
        retryAtMs: Int64 = 0,
        reason: String = "", atMs: Int64 = 0, registeredAtMs: Int64 = 1, drop: DropReason = .unspecified
    ) -> Fact {
        var outcome = PushOutcome()
        outcome.accountSid = account.rawValue
        outcome.serviceSid = service.rawValue
        outcome.challengeSid = challenge.rawValue
        outcome.factorSid = factors[device].rawValue
        outcome.dispatchID = id
        outcome.kind = kind
        outcome.disposition = disposition
        outcome.dropReason = drop
        outcome.reason = reason
        outcome.retryAtMs = retryAtMs == 0 ? 0 : Self.epochMs + retryAtMs
        outcome.registeredAtMs = registeredAtMs
        outcome.platform = platform
        outcome.expiresAtMs = Self.epochMs + lifeMs
        outcome.atMs = Self.epochMs + atMs
        return fact(.outcome(outcome, DispatchID(id)!, factor: packed(factors[device].rawValue)))
    }

    func receipt(
        device: Int = 0, channel: ReceiptChannel = .visiblePush, shown: Shown = .unknown, atMs: Int64 = 0,
        dispatch: String = "", service other: ServiceSID? = nil
    ) -> Fact {
        var receipt = Receipt()
        receipt.dispatchID = dispatch
        receipt.accountSid = account.rawValue
        receipt.serviceSid = (other ?? service).rawValue
        receipt.challengeSid = challenge.rawValue
        receipt.factorSid = factors[device].rawValue
        receipt.channel = channel
        receipt.shown = shown
        receipt.receivedAtMs = Self.epochMs + atMs
        return fact(.receipt(receipt, factor: packed(factors[device].rawValue)))
    }

    func resolution(_ status: ResolutionStatus = .approved) -> Fact {
        var resolution = Resolution()
        resolution.challengeSid = challenge.rawValue
        resolution.status = status
        return fact(.resolution(resolution))
    }

    func escalation() -> Fact {
        var escalation = Escalation()
        escalation.challengeSid = challenge.rawValue
        return fact(.escalation(escalation))
    }

    func gone(device: Int = 0) -> Fact {
        var changed = DeviceChanged()
        changed.challengeSid = challenge.rawValue
        changed.factorSid = factors[device].rawValue
        changed.gone = true
        return fact(.deviceChanged(changed, factor: packed(changed.factorSid)))
    }

    func registered(device: Int = 0, token: String, registeredAtMs: Int64) -> Fact {
        var changed = DeviceChanged()
        changed.challengeSid = challenge.rawValue
        changed.factorSid = factors[device].rawValue
        changed.target = target(device, token: token, registeredAtMs: registeredAtMs)
        return fact(.deviceChanged(changed, factor: packed(changed.factorSid)))
    }

    func packed(_ factor: String) -> PackedSID { PackedSID(factor, prefix: "YF")! }
    private func fact(_ kind: Fact.Kind) -> Fact { Fact(challenge: sid, kind: kind) }

    // MARK: Feeding

    @discardableResult
    mutating func at(_ ms: Int64, _ facts: Fact...) -> [Fold.News] {
        facts.flatMap { fold.apply($0, recordedMs: Self.epochMs + ms, at: Self.time(ms)) }
    }

    /// When the next push and the escalation are due, from the creation on.
    var pushAt: Int64? { plan.pushAt.map { $0 - Self.epochMs } }
    var escalateAt: Int64? { plan.escalateAt.map { $0 - Self.epochMs } }
    var plan: HeldPlan {
        fold.table.find(sid).map { fold.plan(fold.table[$0], nowMs: Self.epochMs) } ?? HeldPlan(forgetAt: 0)
    }

    func decide(_ ms: Int64) -> [Fold.Action] { fold.decide(sid, at: Self.time(ms)) }

    /// The dispatch that is due then, if any.
    func pushes(_ ms: Int64) -> ChallengeDispatch? {
        for case .dispatch(let dispatch, _) in decide(ms) { return dispatch }
        return nil
    }

    func escalates(_ ms: Int64) -> Escalation? {
        for case .escalate(let escalation, _) in decide(ms) { return escalation }
        return nil
    }
}

extension TrackerPolicy {
    /// No spread after a start, the rest as shipped.
    static var test: TrackerPolicy {
        var policy = TrackerPolicy()
        policy.restartSpreadMs = 0
        return policy
    }
}

extension TrackedPartition.Item {
    /// A fact as if it had been read from a record.
    static func fact(_ fact: Fact, offset: Int64, timestampMs: Int64) -> Self {
        .fact(
            fact,
            ConsumedRecord(
                topicPartition: TopicPartition(topic: "beckon.receipts", partition: 0), offset: offset,
                timestampMs: timestampMs, key: [], value: [], headers: []))
    }
}
