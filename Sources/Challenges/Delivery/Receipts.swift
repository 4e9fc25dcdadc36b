public import ChallengeModel

extension ChallengeStore {
    /// Records that a device has read these pending challenges: a receipt of channel `poll`, once per (challenge,
    /// factor).
    public func recordPoll(_ challenges: [ChallengeSID], factor: FactorSID, nowMs: Int64) async throws {
        guard !challenges.isEmpty else { return }
        // A read comes first, because a phone polls many times, but needs a receipt for each challenge only once.
        let unseen = try await engine.read { try $0.unpolled(challenges, by: factor, nowMs: nowMs) }
        guard !unseen.isEmpty else { return }
        try requireWritable()
        try await write(nowMs) { try $0.recordPoll(unseen, by: factor) }
    }

    /// Writes a checked receipt to topic `receipts`.
    public func recordReceipt(_ receipt: Receipt) async throws {
        let checked = try CheckedReceipt(receipt)
        try await write(receipt.receivedAtMs) { try $0.enqueue(checked) }
    }

    /// Writes a receipt, and a change that the device sends with it, in one transaction. A repeated request changes
    /// nothing.
    public func recordReceipt(_ receipt: Receipt, with change: FactorChange, nowMs: Int64) async throws {
        let checked = try CheckedReceipt(receipt)
        try await write(nowMs) { decision in
            guard !decision.caller.isRepeated else { return }
            let person = try decision.rows.lockedPerson(ofFactor: checked.factor)
            try decision.enqueue(checked)
            guard let factor = try decision.rows.factor(checked.factor) else { throw StoreError.notFound(.factor) }
            _ = try decision.apply(change, to: factor, of: person)
        }
    }
}

extension Decision {
    fileprivate func recordPoll(_ challenges: [ChallengeSID], by factor: FactorSID) throws {
        // In an order: two polls of one device do not wait for each other in a circle.
        for sid in try rows.unpolled(challenges.sorted(), by: factor, nowMs: nowMs) {
            guard let stored = try rows.challenge(sid), try rows.markPolled(sid, by: factor) else { continue }
            var receipt = Receipt()
            receipt.accountSid = stored.challenge.account.rawValue
            receipt.serviceSid = stored.challenge.service.rawValue
            receipt.challengeSid = sid.rawValue
            receipt.factorSid = factor.rawValue
            receipt.channel = .poll
            receipt.shown = .unknown
            receipt.receivedAtMs = nowMs
            try rows.enqueue(
                OutboxRecord(
                    .receipts, key: sid.rawValue, value: receipt.protobufBytes(), traceparent: stored.traceparent),
                nowMs: nowMs)
        }
    }

    /// - Parameter receipt: a receipt that was not processed before.
    func learn(_ receipt: Receipt) throws {
        // A poll says nothing about pushes: apps that know no receipts poll too.
        guard receipt.channel != .poll, let factor = FactorSID(receipt.factorSid) else { return }
        try rows.noteReceipt(of: factor)
    }

    fileprivate func enqueue(_ receipt: CheckedReceipt) throws {
        try rows.enqueue(
            OutboxRecord(.receipts, key: receipt.challenge.rawValue, value: receipt.value), nowMs: receipt.receivedAtMs)
    }
}

/// A receipt as it is published: with its challenge and factor, without the receipt token.
private struct CheckedReceipt: Sendable {
    let challenge: ChallengeSID
    let factor: FactorSID
    let value: [UInt8]
    let receivedAtMs: Int64

    /// - Throws: `notFound(.challenge)` for texts that are not SIDs.
    init(_ receipt: Receipt) throws(StoreError) {
        guard let challenge = ChallengeSID(receipt.challengeSid), let factor = FactorSID(receipt.factorSid) else {
            throw .notFound(.challenge)
        }
        (self.challenge, self.factor) = (challenge, factor)
        var receipt = receipt
        receipt.receiptToken = ""
        value = receipt.protobufBytes()
        receivedAtMs = receipt.receivedAtMs
    }
}
