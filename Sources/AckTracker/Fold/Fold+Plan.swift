import ChallengeModel

/// The times at which actions of a challenge are due, on the tracker's clock; nil: not due in the current state.
struct HeldPlan: Hashable, Sendable {
    var pushAt: Int64?
    var escalateAt: Int64?
    var carryAt: Int64?
    /// Time at which the challenge is removed.
    var forgetAt: Int64

    /// The earliest time that needs a decision.
    var next: Int64? {
        let earliest = min(pushAt ?? .max, escalateAt ?? .max, carryAt ?? .max)
        return earliest == .max ? nil : earliest
    }
}

extension Fold {
    /// A time in the past that means "at once" and cannot overflow.
    static let atOnce: Int64 = 0

    /// - Parameter nowMs: the time on the tracker's clock. Actions that are no longer useful are left out.
    func plan(_ held: Held, nowMs: Int64) -> HeldPlan {
        let readAt = held.time(held.readAt) ?? held.anchorMs
        guard held.expiresLocalMs > 0 else { return HeldPlan(forgetAt: readAt + policy.earlyFactsMs) }
        var plan = HeldPlan(forgetAt: held.expiresLocalMs + policy.holdAfterExpiryMs)
        guard held.isBased else { return plan }
        let carryAt = readAt + policy.carryAfterMs
        if carryAt < plan.forgetAt { plan.carryAt = carryAt }
        guard !held.isClosed, nowMs < held.expiresLocalMs else { return plan }
        if nowMs <= lastUseful(held) {
            for position in 0..<held.deviceCount {
                guard let pushAt = pushAt(held, held[position]) else { continue }
                plan.pushAt = min(plan.pushAt ?? .max, pushAt)
            }
        }
        plan.escalateAt = escalateAt(held)
        return plan
    }

    // MARK: Pushing again

    /// The time of the next push to this device; nil when it needs no push, a push is still in progress, or the
    /// attempts or the life are used up.
    func pushAt(_ held: Held, _ device: Device) -> Int64? {
        guard canBePushed(held, device), !device.isPending, !isAnyConfirmed(held) else { return nil }
        guard let due = wish(held, device), due <= lastUseful(held), !isExhausted(held, device) else { return nil }
        return due
    }

    /// Whether a push to the device can help: it is a target that has not confirmed and can be reached. One that shows
    /// no notifications is pushed to until a provider took one push, because that wakes the app.
    private func canBePushed(_ held: Held, _ device: Device) -> Bool {
        device.flags.contains(.target) && device.addressed != 0 && !device.isDead && hasPush(device)
            && device.flags.isDisjoint(with: [.gone, .received])
            && (device.used == 0 || !device.flags.contains(.silenced))
    }

    private func hasPush(_ device: Device) -> Bool { device.platform != UInt8(Platform.noPush.rawValue) }

    private func isExhausted(_ held: Held, _ device: Device) -> Bool {
        device.attempts >= maxAttempts(held) || held.lastAttempt >= UInt8(DispatchBits.lastAttempt)
    }

    /// The time at which the facts require the next push.
    private func wish(_ held: Held, _ device: Device) -> Int64? {
        let latest = max(device.usedAt, device.deferredAt, device.faultAt)
        if device.diedAt > latest {
            // The earlier push could not arrive, and a newer push token is known, so the push is due at once.
            return held.time(max(device.diedAt, device.changedAt))
        }
        guard latest != 0 else { return nil }
        if device.deferredAt == latest, device.deferredAt > device.usedAt {
            let deferrals = max(1, (device.answered & ~device.used).nonzeroBitCount)
            let shortest = grown(Double(policy.minimumDeferralMs), deferrals - 1, cap: Double(held.lifeMs) / 16)
            let earliest = held.anchorMs + Int64(device.deferredAt) + shortest
            return max(earliest, held.time(device.retryAt) ?? earliest + Int64(latencyMs(held, device)))
        }
        if device.faultAt == latest, device.faultAt > device.usedAt {
            // Somebody must correct the credential. The waits grow, because such a push uses up no attempt and is not
            // limited otherwise.
            let faults = max(1, (device.answered & ~device.used).nonzeroBitCount)
            let longest = Double(held.lifeMs) / 4
            return held.anchorMs + Int64(device.faultAt) + wait(held, device, after: device.faultAt)
                + grown(Double(latencyMs(held, device)), faults - 1, cap: longest)
                - Int64(latencyMs(held, device))
        }
        if device.isSilenceMeaningless { return nil }
        return held.anchorMs + Int64(device.usedAt) + wait(held, device, after: device.usedAt)
    }

    /// The expected latency. It grows with each attempt, but the remaining attempts must fit into the life. It includes
    /// up to a tenth of jitter, which is the same in every process.
    private func wait(_ held: Held, _ device: Device, after: UInt32) -> Int64 {
        let latency = Int64(latencyMs(held, device))
        let attempts = max(1, device.attempts)
        let remaining = held.expiresLocalMs - held.anchorMs - Int64(after)
        let share = remaining / Int64(max(1, maxAttempts(held) - attempts) + 1)
        let wait = max(latency, min(grown(Double(latency), attempts - 1, cap: .infinity), share))
        return wait + Int64(held.sid.mixed(UInt64(attempts)) % UInt64(wait / 10 + 1))
    }

    private func grown(_ base: Double, _ times: Int, cap: Double) -> Int64 {
        var value = base
        for _ in 0..<min(times, 12) { value *= policy.growth }
        return Int64(min(value, max(base, cap)))
    }

    private func lastUseful(_ held: Held) -> Int64 {
        held.expiresLocalMs
            - min(policy.usefulMs, Int64(held.latencyMs == 0 ? policy.expectedLatencyMs : held.latencyMs))
    }

    func maxAttempts(_ held: Held) -> Int { Int(held.maxAttempts == 0 ? policy.maxAttempts : held.maxAttempts) }

    /// Milliseconds.
    func latencyMs(_ held: Held, _ device: Device) -> UInt32 {
        if held.flags.contains(.adaptive),
            let learnt = expectedLatencies[LatencyModel.Key(platform: device.platform, app: names[device.app])]
        {
            return learnt
        }
        return held.latencyMs == 0 ? policy.expectedLatencyMs : held.latencyMs
    }

    /// `Confirm=any`: a receipt ends redelivery to all devices, unless it says that the person cannot see the challenge
    /// on that device.
    private func isAnyConfirmed(_ held: Held) -> Bool {
        held.confirmAny
            && (0..<held.deviceCount).contains { held[$0].flags.contains(.target) && held[$0].isDelivered }
    }

    // MARK: Escalating

    /// The time at which the backend must be told; nil when it was told, or when a device has the challenge.
    private func escalateAt(_ held: Held) -> Int64? {
        guard !held.flags.contains(.escalated) else { return nil }
        let latest = held.expiresLocalMs - Int64(Double(held.lifeMs) * policy.escalateWhenLeft)
        var allFailedAt = Self.atOnce
        for position in 0..<held.deviceCount {
            let device = held[position]
            // A device that is not a target confirms nothing.
            guard device.flags.contains(.target) else { continue }
            if device.isDelivered { return nil }
            allFailedAt = max(allFailedAt, failedAt(held, device) ?? .max)
        }
        return min(latest, allFailedAt)
    }

    /// The time at which it is certain that pushes do not reach this device; nil while they may.
    private func failedAt(_ held: Held, _ device: Device) -> Int64? {
        let latency = Int64(latencyMs(held, device))
        if let received = held.time(device.receivedAt) { return received + latency }
        if device.flags.contains(.gone) { return Self.atOnce }
        // Only a poll can confirm this device, so it gets time for one. That its pushes are dropped is no news.
        let firstAt = held.time(held.firstAt) ?? held.anchorMs
        if !hasPush(device) { return firstAt + latency }
        if device.isDead { return Self.atOnce }
        if device.answered == 0 {
            // No dispatcher has answered. The record is still in the log, so it is not repeated, but the backend is
            // told.
            return firstAt + max(0, held.expiresLocalMs - firstAt) / 2
        }
        if device.isPending { return nil }
        let latest = max(device.usedAt, device.deferredAt, device.faultAt)
        if device.faultAt != 0, device.faultAt == latest { return Self.atOnce }
        if device.isSilenceMeaningless, device.usedAt == latest, !device.flags.contains(.silenced) { return nil }
        if device.flags.contains(.silenced), device.used != 0 { return held.anchorMs + Int64(device.usedAt) + latency }
        let isLast = isExhausted(held, device) || (wish(held, device) ?? 0) > lastUseful(held)
        if latest != 0, isLast {
            // After a deferral beyond the useful life there is nothing to wait for, but after a push there is.
            return device.usedAt == latest ? held.anchorMs + Int64(latest) + latency : Self.atOnce
        }
        return nil
    }

    /// One of the words of ``DeviceFailure``.
    func failureReason(_ held: Held, _ device: Device) -> String {
        if device.flags.contains(.received) { return "hidden" }
        if device.flags.contains(.gone) || !hasPush(device) { return "no-device" }
        if device.isDead {
            switch device.death {
            case .tokenDead: return "token-dead"
            case .refused: return "refused"
            case .noDevice, .none: return "no-device"
            }
        }
        let latest = max(device.usedAt, device.deferredAt, device.faultAt)
        if latest == 0 { return "no-outcome" }
        if device.faultAt == latest { return "refused" }
        if device.deferredAt == latest, device.deferredAt > device.usedAt { return "provider-down" }
        if device.flags.contains(.silenced) { return "hidden" }
        return "no-receipt"
    }
}
