import ChallengeModel

/// Records for the topics that dispatchers and trackers read.
extension Decision {
    /// Enqueues one dispatch of a challenge for `challenges`.
    /// - Parameter pushExpiresAtMs: the expiry of this push, when it differs from the challenge's.
    func dispatch(
        _ challenge: Challenge, _ id: DispatchID, to targets: [DispatchTarget], pushExpiresAtMs: Int64? = nil,
        traceparent: String?
    ) throws {
        var dispatch = ChallengeDispatch()
        dispatch.accountSid = challenge.account.rawValue
        dispatch.serviceSid = challenge.service.rawValue
        dispatch.challengeSid = challenge.sid.rawValue
        dispatch.entitySid = challenge.entity.rawValue
        dispatch.identity = challenge.identity
        dispatch.dispatchID = id.description
        dispatch.message = challenge.message
        dispatch.createdAtMs = challenge.createdAtMs
        dispatch.expiresAtMs = challenge.expiresAtMs
        dispatch.pushExpiresAtMs = pushExpiresAtMs ?? 0
        dispatch.targets = targets
        dispatch.redelivery = challenge.redelivery
        dispatch.fallbacks = challenge.fallbacks
        dispatch.backgroundAllowed = targets.contains { $0.backgroundBudget > 0 }
        var record = ChallengeRecord()
        record.kind = .dispatch(dispatch)
        try rows.enqueue(
            OutboxRecord(
                .challenges, key: challenge.sid.rawValue, value: record.protobufBytes(),
                expiresAtMs: challenge.expiresAtMs, traceparent: traceparent), nowMs: nowMs)
    }

    /// Enqueues a change of a device for a live challenge.
    /// - Parameter target: the device as it is now; nil: it was removed.
    func deviceChanged(
        _ factor: FactorSID, of challenge: ChallengeSID, to target: DispatchTarget?, expiresAtMs: Int64,
        traceparent: String?
    ) throws {
        var changed = DeviceChanged()
        changed.challengeSid = challenge.rawValue
        changed.factorSid = factor.rawValue
        if let target { changed.target = target } else { changed.gone = true }
        var record = ChallengeRecord()
        record.kind = .deviceChanged(changed)
        try rows.enqueue(
            OutboxRecord(
                .challenges, key: challenge.rawValue, value: record.protobufBytes(), expiresAtMs: expiresAtMs,
                traceparent: traceparent), nowMs: nowMs)
    }

    /// Enqueues the resolution of a challenge for dispatchers and trackers, and its event.
    func publishResolution(of challenge: Challenge, reason: String?, traceparent: String?) throws {
        let more: [String: EventValue] = reason.map { ["reason": .string($0)] } ?? [:]
        let type: EventType
        switch challenge.status {
        case .pending: throw StoreError.failed("a pending challenge has no resolution")
        case .approved: type = .challengeApproved
        case .denied: type = .challengeDenied
        case .expired: type = .challengeExpired
        case .canceled: type = .challengeCanceled
        case .superseded: type = .challengeSuperseded
        }
        // A code challenge is never dispatched, so it needs no resolution.
        guard !challenge.isCodeChallenge else { return try emit(type, challenge, more, traceparent: traceparent) }
        var resolution = Resolution()
        resolution.accountSid = challenge.account.rawValue
        resolution.serviceSid = challenge.service.rawValue
        resolution.challengeSid = challenge.sid.rawValue
        resolution.status = challenge.status.resolution ?? .resolutionUnspecified
        resolution.factorSid = challenge.responder?.rawValue ?? ""
        resolution.atMs = nowMs
        try rows.enqueue(
            OutboxRecord(
                .resolutions, key: challenge.sid.rawValue, value: resolution.protobufBytes(), traceparent: traceparent),
            nowMs: nowMs)
        try emit(type, challenge, more, traceparent: traceparent)
    }
}
