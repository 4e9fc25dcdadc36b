import ChallengeModel
import PushGateway
import PushProviders

/// One push of a record that the lane has taken.
struct PushUnit: Sendable {
    /// Offset of its record.
    let record: Int64
    let fingerprint: UInt64
    let device: UInt64
    private var content: Content
    var attempts = 0
    /// Time of the hand-over to the gateway; nil while the push waits for its retry.
    var sentAtSteadyMs: Int64?
    /// A first push that leaves only while the facts are recent: a predecessor may have made it, or its record is more
    /// than a second old, so that the device may have confirmed the challenge after a poll.
    private(set) var needsFacts: Bool
    /// Time of the first hand-over to the gateway of such a push.
    var firstSentAtSteadyMs: Int64?
    /// True when a later dispatch to the device was read while this one waited.
    var isOvertaken = false

    /// A box for the contents: a unit moves in and out of dictionaries, and each move of a struct would copy two dozen
    /// strings.
    private final class Content: Sendable {
        let dispatch: CheckedDispatch
        let push: Push

        init(dispatch: CheckedDispatch, push: Push) {
            self.dispatch = dispatch
            self.push = push
        }
    }

    init(
        record: Int64, fingerprint: UInt64, device: UInt64, dispatch: CheckedDispatch, push: Push, attempts: Int = 0,
        sentAtSteadyMs: Int64? = nil, needsFacts: Bool = false
    ) {
        self.record = record
        self.fingerprint = fingerprint
        self.device = device
        content = Content(dispatch: dispatch, push: push)
        self.attempts = attempts
        self.sentAtSteadyMs = sentAtSteadyMs
        self.needsFacts = needsFacts
        firstSentAtSteadyMs = needsFacts ? sentAtSteadyMs : nil
    }

    /// Call it when a first push was handed over and could not leave within a second of its record.
    mutating func becomeLate() {
        needsFacts = true
        firstSentAtSteadyMs = firstSentAtSteadyMs ?? sentAtSteadyMs
    }

    /// Whether such a push has tried to leave in time for so long that it leaves late rather than never: with a
    /// long queue at the provider each try would come too late.
    func isOverdue(steadyMs: Int64) -> Bool {
        firstSentAtSteadyMs.map { steadyMs - $0 >= FactFreshness.longestHoldMs } ?? false
    }

    var dispatch: CheckedDispatch { content.dispatch }
    var push: Push {
        get { content.push }
        set { content = Content(dispatch: content.dispatch, push: newValue) }
    }
}

/// Creates the pushes and outcomes of a dispatch.
struct PushBuilder: Sendable {
    let recordKeys: KeyRing

    func push(_ planned: PlannedPush, of checked: CheckedDispatch, factor: FactorSID) -> Push {
        let dispatch = checked.dispatch
        let target = planned.target
        let token = ReceiptToken(
            account: checked.account, service: checked.service, challenge: checked.challenge, factor: factor,
            dispatch: checked.id, expiresAtMs: dispatch.expiresAtMs)
        var push = Push(
            pushID: PushID.make(
                challenge: dispatch.challengeSid, factor: factor.rawValue, dispatch: dispatch.dispatchID,
                kind: planned.kind),
            kind: planned.kind, challengeSID: dispatch.challengeSid, factorSID: factor.rawValue,
            dispatchID: dispatch.dispatchID, message: dispatch.message, expiresAtMs: dispatch.expiresAtMs,
            receiptToken: token.sealed(with: recordKeys), platform: target.platform, pushToken: target.pushToken,
            appID: target.appID, credentialSID: target.credentialSid, environment: target.environment,
            registeredAtMs: target.registeredAtMs)
        if dispatch.pushExpiresAtMs > 0 { push.heldUntilMs = dispatch.pushExpiresAtMs }
        if PushProviders.traits(of: target.platform)?.returnsReceiptTags ?? false {
            push.receiptTag = ReceiptTag(challenge: checked.challenge, factor: factor, dispatch: checked.id)
                .sealed(with: recordKeys)
        }
        return push
    }

    /// The outcome of a push that the provider or the gateway answered.
    func outcome(_ answer: PushAnswer, of push: Push, in checked: CheckedDispatch, nowMs: Int64) -> PushOutcome {
        var outcome = blank(of: checked, factor: push.factorSID, kind: push.kind, nowMs: nowMs)
        outcome.disposition = answer.disposition
        // The gateway drops pushes for only one reason.
        if answer.disposition == .dropped { outcome.dropReason = .expiredBeforePush }
        outcome.reason = answer.reason
        outcome.providerStatus = UInt32(clamping: answer.status)
        if answer.disposition == .deferred { outcome.retryAtMs = answer.retryAtMs }
        outcome.providerMessageID = answer.providerMessageID
        outcome.platform = push.platform
        outcome.appID = push.appID
        outcome.credentialSid = push.credentialSID
        outcome.registeredAtMs = push.registeredAtMs
        outcome.pushOnce = checked.dispatch.targets.contains { $0.pushOnce && $0.factorSid == push.factorSID }
        outcome.tokenDiedAtMs = answer.tokenDiedAtMs
        outcome.sentAtMs = answer.sentAtMs
        outcome.explain()
        return outcome
    }

    /// The outcome of a push that was not sent.
    func outcome(_ planned: PlannedPush, of checked: CheckedDispatch, nowMs: Int64) -> PushOutcome {
        var outcome = blank(of: checked, factor: planned.target.factorSid, kind: planned.kind, nowMs: nowMs)
        switch planned.decision {
        case .drop(let reason):
            outcome.disposition = .dropped
            outcome.dropReason = reason
        case .reject(let reason):
            outcome.disposition = .rejected
            outcome.reason = reason
        case .push:
            break
        }
        outcome.platform = planned.target.platform
        outcome.appID = planned.target.appID
        outcome.credentialSid = planned.target.credentialSid
        outcome.registeredAtMs = planned.target.registeredAtMs
        outcome.explain()
        return outcome
    }

    private func blank(of checked: CheckedDispatch, factor: String, kind: PushKind, nowMs: Int64) -> PushOutcome {
        var outcome = PushOutcome()
        outcome.accountSid = checked.dispatch.accountSid
        outcome.serviceSid = checked.dispatch.serviceSid
        outcome.challengeSid = checked.dispatch.challengeSid
        outcome.factorSid = factor
        outcome.dispatchID = checked.dispatch.dispatchID
        outcome.kind = kind
        outcome.expiresAtMs = checked.dispatch.expiresAtMs
        outcome.atMs = nowMs
        return outcome
    }
}
