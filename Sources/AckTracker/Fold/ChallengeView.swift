import ChallengeModel
import Wire

/// What the tracker holds of one challenge, for people: state, next action, why. No identity, text or push token.
public struct ChallengeView: Sendable, Codable, Hashable {
    public struct DeviceView: Sendable, Codable, Hashable {
        public var factorSid: String
        public var platform: String
        /// `waiting`, `awaiting-outcome`, `deferred`, `confirmed`, `hidden`, `token-dead`, `refused`, `no-device`, `exhausted`,
        /// `not-addressed`.
        public var state: String
        /// Dispatches that a provider took, in order.
        public var accepted: [String]
        /// Dispatches that name it and have no outcome.
        public var awaitingOutcome: [String]
        /// RFC 3339; nil: none.
        public var lastAcceptedAt: String?
        public var receivedAt: String?
        public var nextPushAt: String?
        /// The provider's word for the latest failure.
        public var detail: String?
        /// A sentence.
        public var why: String

        enum CodingKeys: String, CodingKey {
            case factorSid = "factor_sid"
            case platform, state, accepted
            case awaitingOutcome = "awaiting_outcome"
            case lastAcceptedAt = "last_accepted_at"
            case receivedAt = "received_at"
            case nextPushAt = "next_push_at"
            case detail, why
        }
    }

    public var challengeSid: String
    public var accountSid: String
    public var serviceSid: String
    public var partition: Int32
    /// `early` (facts without their challenge), `open`, `closed`, `expired`.
    public var state: String
    /// The backend was told that it needs another way.
    public var escalated: Bool
    public var expiresAt: String?
    /// `push`, `escalate`, `carry`, `forget`.
    public var nextAction: String
    public var nextAt: String
    /// A sentence.
    public var why: String
    public var devices: [DeviceView]

    enum CodingKeys: String, CodingKey {
        case challengeSid = "challenge_sid"
        case accountSid = "account_sid"
        case serviceSid = "service_sid"
        case partition, state, escalated
        case expiresAt = "expires_at"
        case nextAction = "next_action"
        case nextAt = "next_at"
        case why, devices
    }
}

extension Fold {
    /// Nil when the challenge is not held.
    func view(_ sid: PackedSID, partition: Int32, at time: FoldTime) -> ChallengeView? {
        guard let slot = table.find(sid) else { return nil }
        let held = table[slot]
        let plan = plan(held, nowMs: time.localMs)
        let next: [(String, Int64?)] = [
            ("push", plan.pushAt), ("escalate", plan.escalateAt), ("carry", plan.carryAt), ("forget", plan.forgetAt),
        ]
        let (action, nextAt) =
            next.compactMap { name, at in at.map { (name, $0) } }.min { $0.1 < $1.1 } ?? ("forget", plan.forgetAt)
        func text(_ localMs: Int64?) -> String? {
            localMs.map { Timestamp.rfc3339Milliseconds(time.wall(max($0, min(time.localMs, held.anchorMs)))) }
        }
        let state =
            !held.isBased
            ? "early" : held.isClosed ? "closed" : held.expiresLocalMs <= time.localMs ? "expired" : "open"
        return ChallengeView(
            challengeSid: sid.text(prefix: ChallengeKind.prefix), accountSid: names[held.account],
            serviceSid: names[held.service], partition: partition, state: state,
            escalated: held.flags.contains(.escalated),
            expiresAt: held.expiresAtMs > 0 ? Timestamp.rfc3339Milliseconds(held.expiresAtMs) : nil,
            nextAction: action, nextAt: text(max(nextAt, time.localMs)) ?? "", why: why(held, state, action),
            devices: (0..<held.deviceCount).map { view(held, held[$0], at: time, text) })
    }

    private func why(_ held: Held, _ state: String, _ action: String) -> String {
        switch (state, action) {
        case ("early", _): "facts came before their challenge; they are kept for a while"
        case ("closed", _):
            "answered, canceled, superseded or expired: nothing is pushed, it is held until its time is over"
        case ("expired", _): "its life is over; it is held a little longer so that late facts find it"
        case (_, "push"): "a device has neither confirmed nor failed, and its expected latency will have passed"
        case (_, "escalate"): "no device has confirmed, and by then the backend has to know that it needs another way"
        case (_, "carry"): "held for long: its state is written again so that a replay stays short"
        default: "nothing is left to do: confirmed, or escalated with the attempts used up"
        }
    }

    private func view(
        _ held: Held, _ device: Device, at time: FoldTime, _ text: (Int64?) -> String?
    ) -> ChallengeView.DeviceView {
        let nextPush = pushAt(held, device)
        let (state, why) = state(held, device, nextPush)
        return ChallengeView.DeviceView(
            factorSid: device.factor.text(prefix: FactorKind.prefix),
            platform: "\(Platform(rawValue: Int(device.platform)) ?? .unspecified)", state: state,
            accepted: dispatches(device.used), awaitingOutcome: dispatches(device.addressed & ~device.answered),
            lastAcceptedAt: text(held.time(device.usedAt)), receivedAt: text(held.time(device.receivedAt)),
            nextPushAt: text(nextPush), detail: device.detail == 0 ? nil : names[device.detail], why: why)
    }

    private func state(_ held: Held, _ device: Device, _ nextPush: Int64?) -> (String, String) {
        guard device.flags.contains(.target) else { return ("not-addressed", "no dispatch that was read names it") }
        if device.isDelivered { return ("confirmed", "it confirmed that it has the question; it is pushed to no more") }
        if device.flags.contains(.received) {
            return ("hidden", "it has the question and shows no notifications: the person has to open the app")
        }
        if device.isDead || device.flags.contains(.gone) || device.platform == UInt8(Platform.noPush.rawValue) {
            return (failureReason(held, device), "pushing cannot reach it any more")
        }
        if device.isPending {
            return ("awaiting-outcome", "a dispatch is on the log and no dispatcher has answered it yet")
        }
        if nextPush == nil, device.attempts >= maxAttempts(held) {
            return ("exhausted", "all \(maxAttempts(held)) attempts are used up")
        }
        if device.deferredAt > device.usedAt { return ("deferred", "the provider asked to come back later") }
        return (
            "waiting", nextPush == nil ? "no further push would be of use" : "pushed; a receipt is awaited until then"
        )
    }

    /// Resends have no number of their own here.
    private func dispatches(_ bits: UInt64) -> [String] {
        (0..<64).filter { bits & 1 << UInt64($0) != 0 }.map {
            $0 == 0 ? "c" : $0 < DispatchBits.firstResend ? "t\($0)" : "n:…"
        }
    }
}
