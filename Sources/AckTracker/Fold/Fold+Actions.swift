import ChallengeModel

extension Fold {
    /// A record that the tracker must write about a challenge.
    enum Action: Sendable, Equatable {
        case dispatch(ChallengeDispatch, traceparent: String)
        case escalate(Escalation, traceparent: String)
        case carry(CarriedChallenge, traceparent: String)
    }

    /// The actions of a challenge that are due now. The fold does not change here; it learns about its own records from
    /// the log.
    func decide(_ sid: PackedSID, at time: FoldTime) -> [Action] {
        guard let slot = table.find(sid) else { return [] }
        let held = table[slot]
        let plan = plan(held, nowMs: time.localMs)
        var actions: [Action] = []
        if plan.forgetAt <= time.localMs { return [] }
        if let pushAt = plan.pushAt, pushAt <= time.localMs { actions.append(dispatch(held, at: time)) }
        if let escalateAt = plan.escalateAt, escalateAt <= time.localMs {
            let context = ColdRecord(packed: held.cold).traceparent
            actions.append(.escalate(escalation(held, at: time), traceparent: context))
        }
        if let carryAt = plan.carryAt, carryAt <= time.localMs { actions.append(carry(held)) }
        return actions
    }

    private func dispatch(_ held: Held, at time: FoldTime) -> Action {
        let cold = ColdRecord(packed: held.cold)
        var next = base(held, cold)
        next.dispatchID = DispatchID.attempt(UInt16(held.lastAttempt) + 1).description
        for position in 0..<held.deviceCount {
            let device = held[position]
            guard let due = pushAt(held, device) else { continue }
            // Devices that become due slightly later are included, so that two devices of a person need one record.
            guard due <= time.localMs + Int64(latencyMs(held, device)) / 8 else { continue }
            var target = self.target(device, cold, position)
            target.backgroundBudget = UInt32(max(0, Int(device.backgroundBudget) - device.background.nonzeroBitCount))
            next.targets.append(target)
        }
        return .dispatch(next, traceparent: cold.traceparent)
    }

    private func escalation(_ held: Held, at time: FoldTime) -> Escalation {
        let cold = ColdRecord(packed: held.cold)
        var escalation = Escalation()
        escalation.accountSid = names[held.account]
        escalation.serviceSid = names[held.service]
        escalation.challengeSid = held.sid.text(prefix: ChallengeKind.prefix)
        escalation.identity = cold.identity
        escalation.fallbacks = cold.fallbacks
        escalation.expiresAtMs = held.expiresAtMs
        escalation.atMs = time.wallMs
        var used: UInt64 = 0
        for position in 0..<held.deviceCount {
            let device = held[position]
            guard device.flags.contains(.target) else { continue }
            used |= device.used
            var failure = DeviceFailure()
            failure.factorSid = device.factor.text(prefix: FactorKind.prefix)
            failure.reason = failureReason(held, device)
            failure.detail = names[device.detail]
            failure.attempts = UInt32(device.attempts)
            failure.lastAttemptAtMs = held.time(device.usedAt).map(time.wall) ?? 0
            escalation.devices.append(failure)
        }
        escalation.attempts = UInt32(used.nonzeroBitCount)
        if escalation.devices.contains(where: { $0.reason == "hidden" }) {
            escalation.advice = "ask the person to open the app"
        }
        return escalation
    }

    private func carry(_ held: Held) -> Action {
        var carried = CarriedChallenge()
        carried.closed = held.isClosed
        carried.escalated = held.flags.contains(.escalated)
        carried.lastAttemptNumber = UInt32(held.lastAttempt)
        guard !held.isClosed else {
            carried.dispatch.challengeSid = held.sid.text(prefix: ChallengeKind.prefix)
            carried.dispatch.expiresAtMs = held.expiresAtMs
            carried.dispatch.createdAtMs = held.expiresAtMs - Int64(held.lifeMs)
            return .carry(carried, traceparent: "")
        }
        let cold = ColdRecord(packed: held.cold)
        carried.dispatch = base(held, cold)
        var used: UInt64 = 0
        for position in 0..<held.deviceCount {
            let device = held[position]
            guard device.flags.contains(.target) else { continue }
            used |= device.used
            carried.dispatch.targets.append(target(device, cold, position))
            var progress = DeviceProgress()
            progress.factorSid = device.factor.text(prefix: FactorKind.prefix)
            progress.accepted = UInt32(device.attempts)
            progress.confirmed = device.flags.contains(.received)
            progress.unreachable = device.isDead || device.flags.contains(.gone)
            progress.reason = progress.unreachable ? failureReason(held, device) : ""
            progress.backgroundUsed = UInt32(device.background.nonzeroBitCount)
            progress.hidden = !device.isDelivered && !device.flags.isDisjoint(with: [.notShown, .silenced])
            carried.devices.append(progress)
        }
        carried.attempts = UInt32(used.nonzeroBitCount)
        return .carry(carried, traceparent: cold.traceparent)
    }

    private func base(_ held: Held, _ cold: ColdRecord) -> ChallengeDispatch {
        var dispatch = ChallengeDispatch()
        dispatch.accountSid = names[held.account]
        dispatch.serviceSid = names[held.service]
        dispatch.challengeSid = held.sid.text(prefix: ChallengeKind.prefix)
        dispatch.entitySid = cold.entity
        dispatch.identity = cold.identity
        dispatch.message = cold.message
        dispatch.expiresAtMs = held.expiresAtMs
        dispatch.createdAtMs = held.expiresAtMs - Int64(held.lifeMs)
        dispatch.redelivery.maxAttempts = UInt32(held.maxAttempts)
        dispatch.redelivery.expectedLatencyMs = held.latencyMs
        dispatch.redelivery.adaptive = held.flags.contains(.adaptive)
        dispatch.redelivery.confirm = held.confirmAny ? .any : .each
        dispatch.fallbacks = cold.fallbacks
        dispatch.backgroundAllowed = held.flags.contains(.backgroundAllowed)
        return dispatch
    }

    private func target(_ device: Device, _ cold: ColdRecord, _ position: Int) -> DispatchTarget {
        var target = DispatchTarget()
        target.factorSid = device.factor.text(prefix: FactorKind.prefix)
        target.platform = Platform(rawValue: Int(device.platform)) ?? .unspecified
        target.environment = ProviderEnvironment(rawValue: Int(device.environment)) ?? .environmentUnspecified
        target.pushToken = position < cold.pushTokens.count ? cold.pushTokens[position] : ""
        target.appID = names[device.app]
        target.credentialSid = names[device.credential]
        target.registeredAtMs = device.registeredAtMs
        target.backgroundBudget = UInt32(device.backgroundBudget)
        target.notificationsDisabled = device.flags.contains(.silenced)
        target.pushOnce = !device.isPushedUntilConfirmed
        return target
    }
}
