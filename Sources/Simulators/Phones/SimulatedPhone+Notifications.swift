import DeviceKit
import Synchronization

/// What the person sees of challenges: one of each action, and none that is over.
extension SimulatedPhone {
    /// Whether a pushed challenge is to be shown. While something else is shown it is asked for first: it may be over,
    /// or take the place of what is shown. When there is no answer it is shown: better twice than never. An app that is
    /// mute asks for nothing, which would be a receipt: the system shows its notification. An extension on APNs cannot
    /// hold back its own notification.
    func show(_ challengeSID: String) async -> Bool {
        let behaviour = self.behaviour
        let isOnly = state.withLock { state in
            state.shown.hasOthers(than: challengeSID) && behaviour != .mute ? nil : state.shown.pushed(challengeSID)
        }
        if let isOnly { return isOnly }
        guard let challenge = try? await device.challenge(challengeSID) else {
            return state.withLock { $0.shown.pushed(challengeSID) }
        }
        let change = state.withLock { $0.shown.fetched(challenge) }
        withdraw(change)
        // What is shown and was never asked for may be of the same action.
        let others = challenge.actionID == nil ? [] : state.withLock { $0.shown.sids }
        for sid in others where sid != challengeSID {
            guard let other = try? await device.challenge(sid) else { continue }
            withdraw(state.withLock { $0.shown.fetched(other) })
        }
        if behaviour == .closed, provider == .apn {
            state.withLock { _ = $0.shown.pushed(challengeSID) }
            return true
        }
        return change.shows
    }

    func withdraw(_ change: ShownChallenges.Change, detail: String = "") {
        for sid in change.withdrawn { note(.withdrawn, sid, detail: detail) }
    }

    /// An open sheet: asks until its challenge is over or another of its action stands for it.
    func watch(_ sid: String) async {
        guard state.withLock({ $0.open.insert(sid).inserted }) else { return }
        defer {
            state.withLock {
                $0.open.remove(sid)
                $0.sheetContents[sid] = nil
            }
        }
        var last: Device.Reading?
        while !Task.isCancelled, shown.contains(sid) {
            let asked = ContinuousClock.now
            do {
                if let reading = try await device.challenge(sid, after: last) {
                    last = reading
                    keep(reading.challenge)
                    // A reading that was overtaken brings nothing back.
                    let change = state.withLock { state in
                        state.shown.sids.contains(sid) ? state.shown.fetched(reading.challenge) : nil
                    }
                    if let change { withdraw(change, detail: reading.challenge.status.rawValue) }
                    continue
                }
            } catch {
                if Task.isCancelled { return }
                note(Self.kind(of: error), sid, detail: "waiting: \(error)")
                guard (error as? DeviceError)?.isTransient == true else { return }
            }
            // It failed, or the server holds too many who wait.
            if ContinuousClock.now - asked < .seconds(1) { try? await Task.sleep(for: .seconds(1)) }
        }
    }

    /// What an open sheet shows.
    private func keep(_ challenge: DeviceChallenge) {
        let isNew = state.withLock { state in
            guard challenge.status == .pending, state.open.contains(challenge.sid) else {
                state.sheetContents[challenge.sid] = nil
                return false
            }
            return state.sheetContents.updateValue(challenge, forKey: challenge.sid) == nil
        }
        if isNew, state.withLock({ $0.policy.isAttended }) { note(.opened, challenge.sid, detail: "sheet") }
    }
}
