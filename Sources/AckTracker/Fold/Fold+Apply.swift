import ChallengeModel

extension Fold {
    /// Folds one fact.
    /// - Parameters:
    ///   - recordedMs: the record's timestamp, a hint used on replay only.
    ///   - isNews: false for records whose events an earlier owner has written.
    mutating func apply(_ fact: Fact, recordedMs: Int64, at time: FoldTime, isNews: Bool = true) -> [News] {
        var news: [News] = []
        if isForeign(fact) { return isNews ? [.foreign] : [] }
        switch fact.kind {
        case .dispatch(let dispatch, let id, let factors):
            fold(dispatch, id, factors, fact, at: time)
        case .carried(let carried, let factors):
            fold(carried, factors, fact, recordedMs, at: time)
        case .deviceChanged, .outcome, .escalation, .receipt, .resolution:
            if table.find(fact.challenge) == nil {
                // On replay, `challenges` was read to its end before. A fact this old belongs to a challenge that is no
                // longer held.
                if isStale(fact, recordedMs, at: time) { return [] }
                news.append(.early)
            }
            guard let slot = slotMaking(fact.challenge, isEarly: true, at: time) else { return [.dropped] }
            if table[slot].service == 0 { table[slot].service = names.number(of: fact.service) }
            switch fact.kind {
            case .outcome(let outcome, let id, let factor):
                fold(outcome, id, factor, slot, &news, at: time)
            case .receipt(let receipt, let factor):
                fold(receipt, factor, slot, &news, at: time)
            case .escalation(let escalation):
                if !table[slot].flags.contains(.escalated) { news.append(.undelivered(escalation)) }
                table[slot].flags.insert(.escalated)
            case .deviceChanged(let changed, let factor):
                if !table[slot].isClosed { fold(changed, factor, slot, recordedMs, at: time) }
            case .resolution(let resolution):
                if !table[slot].isClosed, let outcome = ChallengeOutcome(resolution, of: table[slot]) {
                    news.append(.ended(outcome))
                }
                close(slot)
            case .dispatch, .carried:
                break
            }
            schedule(slot, at: time)
        }
        return isNews ? news : []
    }

    /// A record of another service has no effect on this challenge. Early facts claim their service, and the challenge
    /// itself decides, see ``takeBase(_:_:_:at:)``.
    private func isForeign(_ fact: Fact) -> Bool {
        guard !fact.service.isEmpty, let slot = table.find(fact.challenge), table[slot].service != 0 else {
            return false
        }
        switch fact.kind {
        case .dispatch, .carried: guard table[slot].isBased else { return false }
        case .deviceChanged, .outcome, .escalation, .receipt, .resolution: break
        }
        return names[table[slot].service] != fact.service
    }

    private func isStale(_ fact: Fact, _ recordedMs: Int64, at time: FoldTime) -> Bool {
        if case .outcome(let outcome, _, _) = fact.kind, outcome.expiresAtMs > 0,
            time.local(outcome.expiresAtMs) &+ policy.holdAfterExpiryMs <= time.localMs
        {
            return true
        }
        return time.isReplay && recordedMs > 0 && recordedMs < time.wallMs - 2 * policy.earlyFactsMs
    }

    // MARK: challenges

    private mutating func fold(
        _ dispatch: ChallengeDispatch, _ id: DispatchID, _ factors: [PackedSID], _ fact: Fact, at time: FoldTime
    ) {
        guard time.local(dispatch.expiresAtMs) + policy.holdAfterExpiryMs > time.localMs,
            let slot = slotMaking(fact.challenge, isEarly: false, at: time)
        else { return }
        defer { schedule(slot, at: time) }
        let cold = takeBase(dispatch, fact.traceparent, slot, at: time)
        if id == .creation { table[slot].flags.insert(.complete) }
        if case .attempt(let number) = id {
            table[slot].lastAttempt = max(table[slot].lastAttempt, UInt8(min(number, DispatchBits.lastAttempt)))
        }
        guard !table[slot].isClosed else { return }
        let firstAt = table[slot].offset(time.of(dispatch.createdAtMs))
        table[slot].firstAt = table[slot].firstAt == 0 ? firstAt : min(table[slot].firstAt, firstAt)
        let bit = table[slot].bit(of: id)
        takeTargets(dispatch.targets, factors, slot, changedAtMs: nil, bit: bit, cold)
    }

    private mutating func fold(
        _ carried: CarriedChallenge, _ factors: [PackedSID], _ fact: Fact, _ recordedMs: Int64, at time: FoldTime
    ) {
        let dispatch = carried.dispatch
        guard time.local(dispatch.expiresAtMs) + policy.holdAfterExpiryMs > time.localMs,
            let slot = slotMaking(fact.challenge, isEarly: false, at: time)
        else { return }
        defer { schedule(slot, at: time) }
        let isKnown = table[slot].flags.contains(.complete)
        let cold = takeBase(dispatch, fact.traceparent, slot, at: time)
        markRead(slot, at: time)
        table[slot].flags.insert(.complete)
        if carried.escalated { table[slot].flags.insert(.escalated) }
        table[slot].lastAttempt = max(table[slot].lastAttempt, UInt8(clamping: carried.lastAttemptNumber))
        if carried.closed { close(slot) }
        // A tracker that has read all records knows at least as much.
        guard !isKnown, !table[slot].isClosed else { return }
        let firstAt = table[slot].offset(time.of(dispatch.createdAtMs))
        table[slot].firstAt = table[slot].firstAt == 0 ? firstAt : min(table[slot].firstAt, firstAt)
        // Its events were written before the state was carried.
        table[slot].flags.insert(.dispatched)
        if carried.devices.contains(where: \.confirmed) { table[slot].flags.insert(.confirmed) }
        takeTargets(dispatch.targets, factors, slot, changedAtMs: nil, bit: 0, cold)
        let lastAttempt = UInt64(min(carried.lastAttemptNumber, UInt32(DispatchBits.lastAttempt)))
        for progress in carried.devices {
            guard let factor = PackedSID(progress.factorSid, prefix: FactorKind.prefix),
                let position = table[slot].position(of: factor)
            else { continue }
            let at = table[slot].offset(time.of(recordedMs))
            restore(progress, &table[slot][position], upTo: lastAttempt, at: at)
        }
    }

    /// Turns the carried counts into sets. The state does not name the dispatches, so the latest are assumed, because
    /// their outcomes may be read again.
    private func restore(_ progress: DeviceProgress, _ device: inout Device, upTo lastAttempt: UInt64, at: UInt32) {
        let all: UInt64 = lastAttempt >= 55 ? DispatchBits.attempts : (1 << (lastAttempt + 1)) - 1
        func latest(_ count: UInt32) -> UInt64 {
            var bits: UInt64 = 0
            for bit in (0...lastAttempt).reversed() where bits.nonzeroBitCount < Int(count) { bits |= 1 << bit }
            var resend = UInt64(63)
            while bits.nonzeroBitCount < Int(count), resend >= UInt64(DispatchBits.firstResend) {
                bits |= 1 << resend
                resend -= 1
            }
            return bits
        }
        device.addressed |= all
        device.answered |= all
        device.used |= latest(progress.accepted)
        device.background |= latest(progress.backgroundUsed)
        if progress.accepted > 0 {
            device.usedAt = max(device.usedAt, at)
            device.isAccepted = true
        } else if !progress.confirmed {
            // Nothing was accepted, so a further push is due.
            device.deferredAt = max(device.deferredAt, at)
        }
        if progress.confirmed {
            device.flags.insert(.received)
            device.receivedAt = device.receivedAt == 0 ? at : min(device.receivedAt, at)
            if progress.hidden { device.flags.insert(.notShown) } else { device.flags.insert(.shown) }
        }
        guard progress.unreachable else { return }
        switch progress.reason {
        case "token-dead": die(&device, .tokenDead, registeredAtMs: device.registeredAtMs, at: at)
        case "refused": die(&device, .refused, registeredAtMs: device.registeredAtMs, at: at)
        default: device.flags.insert(.gone)
        }
    }

    /// - Returns: the record to pack with the targets; nil when the base was already known.
    private mutating func takeBase(
        _ dispatch: ChallengeDispatch, _ traceparent: String, _ slot: UInt32, at time: FoldTime
    ) -> ColdRecord? {
        guard !table[slot].isBased else { return nil }
        let service = names.number(of: dispatch.serviceSid)
        // Early facts of another service are forgotten.
        if table[slot].service != 0, service != 0, table[slot].service != service { table[slot].disown() }
        table[slot].service = service
        markBased(slot)
        table[slot].expiresAtMs = dispatch.expiresAtMs
        table[slot].expiresLocalMs = time.local(dispatch.expiresAtMs)
        table[slot].lifeMs = UInt32(clamping: dispatch.expiresAtMs - max(0, dispatch.createdAtMs))
        table[slot].account = names.number(of: dispatch.accountSid)
        guard !table[slot].isClosed else { return nil }
        table[slot].latencyMs =
            dispatch.redelivery.expectedLatencyMs == 0 ? 0 : max(50, dispatch.redelivery.expectedLatencyMs)
        table[slot].maxAttempts = UInt8(clamping: dispatch.redelivery.maxAttempts)
        table[slot].confirmAny = dispatch.redelivery.confirm == .any
        if dispatch.redelivery.adaptive { table[slot].flags.insert(.adaptive) }
        if dispatch.backgroundAllowed { table[slot].flags.insert(.backgroundAllowed) }
        var cold = ColdRecord(packed: table[slot].cold)
        cold.entity = dispatch.entitySid
        cold.identity = dispatch.identity
        cold.message = dispatch.message
        cold.fallbacks = dispatch.fallbacks
        cold.traceparent = traceparent
        return cold
    }

    /// - Parameters:
    ///   - changedAtMs: the time of a `DeviceChanged`; nil: the targets come from a dispatch.
    ///   - bit: the dispatch that names the targets.
    ///   - fresh: the rest of the cold record, when it is not packed yet.
    private mutating func takeTargets(
        _ targets: [DispatchTarget], _ factors: [PackedSID], _ slot: UInt32, changedAtMs: Int64?, bit: UInt64,
        _ fresh: ColdRecord? = nil
    ) {
        var cold = fresh ?? ColdRecord(packed: table[slot].cold)
        let before = cold.pushTokens
        for (target, factor) in zip(targets, factors) {
            guard let position = table[slot].positionMaking(factor) else { continue }
            while cold.pushTokens.count < table[slot].deviceCount { cold.pushTokens.append("") }
            var device = table[slot][position]
            if changedAtMs == nil {
                device.flags.insert(.target)
                if !target.pushOnce { device.isPushedUntilConfirmed = true }
            }
            device.addressed |= bit
            if let changedAtMs { device.changedAt = max(device.changedAt, table[slot].offset(changedAtMs)) }
            let isNewer =
                !device.hasTarget
                || (target.registeredAtMs, changedAtMs == nil ? 0 : 1)
                    > (device.registeredAtMs, device.isTargetFromChange ? 1 : 0)
                || (changedAtMs != nil && target.registeredAtMs == device.registeredAtMs)
            if isNewer {
                device.hasTarget = true
                device.isTargetFromChange = changedAtMs != nil
                device.registeredAtMs = target.registeredAtMs
                device.platform = UInt8(clamping: target.platform.rawValue)
                device.environment = UInt8(clamping: target.environment.rawValue)
                device.app = names.number(of: target.appID)
                device.credential = names.number(of: target.credentialSid)
                device.backgroundBudget = max(device.backgroundBudget, UInt16(clamping: target.backgroundBudget))
                if target.notificationsDisabled {
                    device.flags.insert(.silenced)
                } else {
                    device.flags.remove(.silenced)
                }
                cold.pushTokens[position] = target.pushToken
            }
            table[slot][position] = device
        }
        if fresh != nil || cold.pushTokens != before { table[slot].cold = cold.packed() }
    }

    private mutating func fold(
        _ changed: DeviceChanged, _ factor: PackedSID, _ slot: UInt32, _ recordedMs: Int64, at time: FoldTime
    ) {
        if changed.gone {
            guard let position = table[slot].positionMaking(factor) else { return }
            table[slot][position].flags.insert(.gone)
        } else {
            takeTargets([changed.target], [factor], slot, changedAtMs: time.of(recordedMs), bit: 0)
        }
    }

    // MARK: outcomes, receipts, resolutions

    private mutating func fold(
        _ outcome: PushOutcome, _ id: DispatchID, _ factor: PackedSID, _ slot: UInt32, _ news: inout [News],
        at time: FoldTime
    ) {
        let isBackground = outcome.kind == .background
        if outcome.disposition == .accepted, !table[slot].flags.contains(.dispatched) {
            table[slot].flags.insert(.dispatched)
            news.append(.dispatched(outcome))
        }
        guard !table[slot].isClosed, let position = table[slot].positionMaking(factor) else { return }
        // The dispatcher's clock decided this drop, but here the challenge is still open. If that clock is wrong, the
        // backend would never be told. The drop therefore counts as no outcome, so that the tracker escalates later. A
        // challenge that has really expired is soon removed anyway.
        if outcome.disposition == .dropped, outcome.dropReason == .expiredBeforePush { return }
        let bit = table[slot].bit(of: id)
        let at = table[slot].offset(time.of(outcome.atMs))
        var device = table[slot][position]
        let wasAnswered = device.answered & bit != 0
        // A credential that is still faulty is the same incident, even with deferrals in between.
        let isToldFault =
            outcome.disposition == .credentialFault && device.faultAt != 0 && device.faultAt >= device.usedAt
        defer { table[slot][position] = device }
        if !isBackground { device.answered |= bit }
        switch outcome.disposition {
        case .accepted, .unknown:
            if isBackground {
                device.background |= bit
            } else {
                device.used |= bit
                device.usedAt = max(device.usedAt, at)
                if outcome.disposition == .accepted { device.isAccepted = true }
                if id == .creation { device.firstUsedAt = device.firstUsedAt == 0 ? at : min(device.firstUsedAt, at) }
            }
        case .rejected:
            if isBackground { return }
            die(&device, .refused, registeredAtMs: outcome.registeredAtMs, at: at)
        case .tokenDead:
            die(&device, .tokenDead, registeredAtMs: outcome.registeredAtMs, at: at)
        case .deferred:
            if isBackground { return }
            let retryAt = outcome.retryAtMs == 0 ? 0 : table[slot].offset(time.local(outcome.retryAtMs))
            if (at, retryAt) > (device.deferredAt, device.retryAt) {
                (device.deferredAt, device.retryAt) = (at, retryAt)
            }
        case .credentialFault:
            if isBackground { return }
            device.faultAt = max(device.faultAt, at)
        case .dropped:
            if outcome.dropReason == .deviceGone { device.flags.insert(.gone) }
            // The dispatcher knows of a receipt that counts for all devices, and the fold does not. The wait for the
            // next attempt starts anew, so that such attempts do not follow one another at once.
            if outcome.dropReason == .confirmedBeforePush { device.deferredAt = max(device.deferredAt, at) }
            if outcome.dropReason == .noPushChannel {
                die(&device, .noDevice, registeredAtMs: outcome.registeredAtMs, at: at)
            }
            return
        case .unspecified, .UNRECOGNIZED:
            return
        }
        if outcome.disposition != .accepted, !outcome.reason.isEmpty {
            let detail = names.number(of: String(outcome.reason.prefix(64)), limit: Self.maxDetails)
            if at > device.failedAt || (at == device.failedAt && names[detail] > names[device.detail]) {
                (device.failedAt, device.detail) = (at, detail)
            }
        }
        if !wasAnswered, !isToldFault, outcome.disposition.isPermanentFailure { news.append(.pushFailed(outcome)) }
    }

    private func die(_ device: inout Device, _ death: Device.Death, registeredAtMs: Int64, at: UInt32) {
        if registeredAtMs > device.deadRegisteredAtMs {
            (device.deadRegisteredAtMs, device.death, device.diedAt) = (registeredAtMs, death, at)
        } else if registeredAtMs == device.deadRegisteredAtMs {
            device.diedAt = max(device.diedAt, at)
            if death.rawValue > device.death.rawValue { device.death = death }
        }
    }

    private mutating func fold(
        _ receipt: Receipt, _ factor: PackedSID, _ slot: UInt32, _ news: inout [News], at time: FoldTime
    ) {
        if !table[slot].flags.contains(.confirmed) {
            table[slot].flags.insert(.confirmed)
            news.append(.confirmed(receipt))
        }
        guard !table[slot].isClosed, let position = table[slot].positionMaking(factor) else { return }
        var device = table[slot][position]
        let at = table[slot].offset(time.of(receipt.receivedAtMs))
        if device.receivedAt == 0, device.used != 0 {
            news.append(.matched)
        }
        // The latency of the first push is measured even when its receipt arrives after the second push. Without the
        // slow ones, the expected latency would become shorter and shorter.
        let isOfApp = receipt.channel == .visiblePush || receipt.channel == .backgroundPush
        if isOfApp, !time.isReplay, receipt.dispatchID == "c", !device.isMeasured, device.firstUsedAt != 0,
            at >= device.firstUsedAt
        {
            device.isMeasured = true
            let key = LatencyModel.Key(platform: device.platform, app: names[device.app])
            news.append(.latency(key, Int64(at) - Int64(device.firstUsedAt)))
        }
        device.flags.insert(.received)
        device.receivedAt = device.receivedAt == 0 ? at : min(device.receivedAt, at)
        if receipt.channel == .poll { device.flags.insert(.polled) }
        if receipt.shown == .yes { device.flags.insert(.shown) }
        if receipt.shown == .no { device.flags.insert(.notShown) }
        table[slot][position] = device
    }

    private mutating func close(_ slot: UInt32) {
        table[slot].flags.insert(.closed)
        table[slot].flags.remove([.backgroundAllowed, .adaptive])
        table[slot].latencyMs = 0
        table[slot].maxAttempts = 0
        table[slot].confirmAny = false
        table[slot].firstAt = 0
        table[slot].device = Device()
        table[slot].others = nil
        table[slot].resends = nil
        table[slot].cold = []
    }
}

extension Disposition {
    /// Whether the push will never arrive, so that somebody must act.
    var isPermanentFailure: Bool { self == .rejected || self == .tokenDead || self == .credentialFault }
}
