import ChallengeModel
import Wire

/// The tracker's knowledge about one challenge, for people: its state, the next action and the reason. It contains no
/// identity, text or push token.
public struct ChallengeView: Sendable, Codable, Hashable {
    public struct DeviceView: Sendable, Codable, Hashable {
        public var factorSid: String
        public var platform: String
        /// `waiting`, `awaiting-outcome`, `deferred`, `confirmed`, `hidden`, `token-dead`, `refused`, `no-device`,
        /// `exhausted`, `pushed-once`, `not-addressed`.
        public var state: String
        /// Dispatches that a provider accepted, in order.
        public var accepted: [String]
        /// Dispatches to the device that have no outcome.
        public var awaitingOutcome: [String]
        /// RFC 3339; nil: none.
        public var lastAcceptedAt: String?
        public var receivedAt: String?
        public var nextPushAt: String?
        /// The provider's reason for the latest failure.
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
    /// True when the backend was told that it needs a fall-back.
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
    /// The view of a challenge; nil when it is not held.
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
        case ("early", _): "facts arrived before their challenge; they are kept for a while"
        case ("closed", _):
            "answered, canceled, superseded or expired: it is not pushed, and is held until its expiry has passed"
        case ("expired", _): "it has expired; it is held a little longer so that late facts find it"
        case (_, "push"): "a device has neither confirmed nor failed, and its expected latency will have passed by then"
        case (_, "escalate"): "no device has confirmed, and the backend must know by then that it needs a fall-back"
        case (_, "carry"): "held for a long time: its state is written again so that a replay stays short"
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
        guard device.flags.contains(.target) else {
            return ("not-addressed", "no dispatch that was read is addressed to it")
        }
        if device.isDelivered { return ("confirmed", "it has confirmed the challenge; it gets no more pushes") }
        if device.flags.contains(.received) {
            return ("hidden", "it has the challenge but shows no notifications: the person must open the app")
        }
        if device.isDead || device.flags.contains(.gone) || device.platform == UInt8(Platform.noPush.rawValue) {
            return (failureReason(held, device), "pushes cannot reach it any more")
        }
        if device.isPending {
            return ("awaiting-outcome", "a dispatch is on the log and has no outcome yet")
        }
        if nextPush == nil, device.isSilenceMeaningless {
            return ("pushed-once", "pushed; it has never sent a receipt, so its silence is no reason to push again")
        }
        if nextPush == nil, device.attempts >= maxAttempts(held) {
            return ("exhausted", "all \(maxAttempts(held)) attempts are used up")
        }
        if device.deferredAt > device.usedAt { return ("deferred", "the provider asked for a later try") }
        return (
            "waiting",
            nextPush == nil ? "no further push would help" : "pushed; the tracker waits for a receipt until then"
        )
    }

    /// Resends have no number of their own here.
    private func dispatches(_ bits: UInt64) -> [String] {
        (0..<64).filter { bits & 1 << UInt64($0) != 0 }.map {
            $0 == 0 ? "c" : $0 < DispatchBits.firstResend ? "t\($0)" : "n:…"
        }
    }
}
