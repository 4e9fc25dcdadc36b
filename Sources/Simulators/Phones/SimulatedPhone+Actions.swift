import DeviceKit
import Synchronization

extension SimulatedPhone {
    func perform(_ actions: [PhoneAction], challengeSID: String, push: PushMessage?) async {
        var fetched: DeviceChallenge?
        for action in actions {
            if Task.isCancelled { return }
            do {
                switch action {
                case .lose(let why): note(.lost, challengeSID, detail: why)
                case .ignore(let why): note(.ignored, challengeSID, detail: why)
                case .wait(let milliseconds): try await Task.sleep(for: .milliseconds(milliseconds))
                case .display:
                    guard await show(challengeSID) else {
                        note(.ignored, challengeSID, detail: "over, or another of its action is shown")
                        continue
                    }
                    note(.displayed, challengeSID)
                case .keep:
                    guard let push else { continue }
                    let now = device.client.nowMs()
                    if state.withLock({ $0.inbox.add(push, nowMs: now) }) { note(.kept, challengeSID) }
                case .confirm(let channel, let shown): await confirm(push, challengeSID, channel, shown)
                case .fetch:
                    let challenge = try await persisting(challengeSID) { try await device.challenge(challengeSID) }
                    note(.fetched, challengeSID, detail: challenge.status.rawValue)
                    withdraw(state.withLock { $0.shown.fetched(challenge) })
                    guard challenge.status == .pending else { return }
                    fetched = challenge
                case .answer(let approved):
                    guard let fetched else { continue }
                    let needsProof = approved && (fetched.requiresSession || fetched.numberDigits != nil)
                    let proof = needsProof ? try await prove?(fetched) : nil
                    let after = try await persisting(challengeSID) {
                        try await device.answer(fetched, approved: approved, proof: proof ?? ApprovalProof())
                    }
                    state.withLock { $0.shown.remove(challengeSID) }
                    note(.answered, challengeSID, detail: after.status.rawValue)
                case .forge:
                    guard let fetched else { continue }
                    let response = try await ForgedAnswer(challenge: fetched).send(from: device)
                    // The question is still open for whoever holds the right key.
                    if response.isRefused { state.withLock { $0.policy.failed(challengeSID) } }
                    note(
                        response.isRefused ? .refused : .answered, challengeSID, detail: "forged: \(response.detail)")
                case .watch: state.withLock { $0.sheets }?.yield(challengeSID)
                }
            } catch {
                state.withLock { $0.policy.failed(challengeSID) }
                if Task.isCancelled { return }
                note(Self.kind(of: error), challengeSID, detail: "\(error)")
                return
            }
        }
    }

    /// A receipt that fails is no reason not to answer.
    private func confirm(
        _ push: PushMessage?, _ challengeSID: String, _ channel: ReceiptChannel, _ shown: ReceiptShown
    ) async {
        let mayNotify = behaviour != .notificationsOff
        // A visible push of APNs runs the extension, not the app, and says by itself that it is shown.
        let isNews = (channel == .background || provider != .apn) && state.withLock { $0.mayNotify } != mayNotify
        do {
            if let token = push?.receiptToken, !isNews {
                try await device.confirm(receiptToken: token, channel: channel, shown: shown)
            } else {
                try await device.confirm(
                    challenge: challengeSID, channel: channel, shown: shown,
                    notificationsEnabled: isNews ? mayNotify : nil)
            }
            note(.confirmed, challengeSID, detail: "\(channel.rawValue) \(shown.rawValue)")
            if isNews {
                state.withLock { $0.mayNotify = mayNotify }
                note(.reported, challengeSID, detail: "notifications \(mayNotify ? "on" : "off") beside a receipt")
            }
        } catch {
            if !Task.isCancelled { note(Self.kind(of: error), challengeSID, detail: "receipt: \(error)") }
        }
    }

    /// The person sees an error and tries again, nine times over some three quarters of a minute, then gives up.
    private func persisting<Value: Sendable>(
        _ challengeSID: String, _ work: () async throws -> Value
    ) async throws -> Value {
        for pause in [1, 2, 4, 8, 8, 8, 8, 8] {
            do {
                return try await work()
            } catch let error as DeviceError where error.isTransient {
                note(Self.kind(of: error), challengeSID, detail: "\(error)")
                try await Task.sleep(for: .seconds(pause))
            }
        }
        return try await work()
    }
}
