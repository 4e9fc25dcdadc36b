public import ChallengeModel
import Foundation
import GRDB

extension SQLiteChallengeStore {
    public func answer(_ answer: Answer, nowMs: Int64) async throws -> Challenge {
        // A wrong number is counted: its refusal is committed.
        let result: Result<Challenge, StoreError> = try await write { database in
            guard let stored = try database.challenge(answer.challenge),
                try database.isTarget(answer.factor, of: answer.challenge)
            else { throw StoreError.notFound(.challenge) }
            // The phone whose reply was lost sends the same bytes again.
            if stored.challenge.responder == answer.factor, stored.challenge.signedAnswer == answer.signedAnswer {
                return .success(stored.challenge)
            }
            // A factor that was deleted while its request was on the way answers nothing any more.
            guard
                let factor = try database.row(
                    "SELECT public_key FROM factors WHERE sid = ? AND verified = 1", [answer.factor.rawValue])
            else { throw StoreError.notFound(.challenge) }
            if answer.isApproval {
                try database.requireOpen(stored.challenge, nowMs: nowMs)
                if let refusal = try self.refusal(of: answer, to: stored, in: database, nowMs: nowMs) {
                    return .failure(.approvalRefused(refusal))
                }
            }
            let closed = try database.close(
                stored, answer.isApproval ? .approve : .deny, by: answer, key: factor[0], nowMs: nowMs)
            if !answer.isApproval { try database.countDenial(of: closed, limits: self.limits, nowMs: nowMs) }
            return .success(closed)
        }
        return try result.get()
    }

    public func cancelChallenge(_ sid: ChallengeSID, nowMs: Int64) async throws -> Challenge {
        try await write { database in
            guard let stored = try database.challenge(sid) else { throw StoreError.notFound(.challenge) }
            if stored.challenge.status == .canceled { return stored.challenge }
            return try database.close(stored, .cancel, nowMs: nowMs)
        }
    }

    public func recordPoll(_ challenges: [ChallengeSID], factor: FactorSID, nowMs: Int64) async throws {
        guard !challenges.isEmpty else { return }
        // A read first: a phone polls many times and is new to a challenge once.
        let unseen = try await read { database in
            try challenges.filter { try database.isUnseen($0, by: factor, nowMs: nowMs) }
        }
        guard !unseen.isEmpty else { return }
        try requireWritable()
        try await write { database in
            for sid in unseen where try database.isUnseen(sid, by: factor, nowMs: nowMs) {
                guard let stored = try database.challenge(sid) else { continue }
                try database.run(
                    "UPDATE challenge_targets SET polled = 1 WHERE challenge_sid = ? AND factor_sid = ?",
                    [sid.rawValue, factor.rawValue])
                var receipt = Receipt()
                receipt.accountSid = stored.challenge.account.rawValue
                receipt.serviceSid = stored.challenge.service.rawValue
                receipt.challengeSid = sid.rawValue
                receipt.factorSid = factor.rawValue
                receipt.channel = .poll
                receipt.shown = .unknown
                receipt.receivedAtMs = nowMs
                try database.enqueue(
                    .receipts, key: sid.rawValue, value: receipt.protobufBytes(), traceparent: stored.traceparent,
                    nowMs: nowMs)
            }
        }
    }

    public func recordReceipt(_ receipt: Receipt) async throws {
        let checked = try CheckedReceipt(receipt)
        try await write { try $0.enqueue(checked) }
    }

    public func recordReceipt(_ receipt: Receipt, with change: FactorChange, nowMs: Int64) async throws {
        let checked = try CheckedReceipt(receipt)
        try await write { database in
            guard !ChangeContext.current.isRepeated else { return }
            try database.enqueue(checked)
            let factor = try database.factor(checked.factor)
            _ = try database.apply(change, to: factor, limits: self.limits, nowMs: nowMs)
        }
    }

    public func createNotification(
        challenge sid: ChallengeSID, ttlSeconds: Int?, nowMs: Int64
    ) async throws -> NotificationSID {
        let notification = NotificationSID.generate(nowMs: nowMs)
        // A limit's refusal is committed.
        let refusal: LimitRefusal? = try await write { database in
            guard let stored = try database.challenge(sid) else { throw StoreError.notFound(.challenge) }
            let challenge = stored.challenge
            // The rule that decides answers decides here too: what can still be approved can be pushed again.
            try database.requireOpen(challenge, nowMs: nowMs)
            guard challenge.notifications < StorePolicy.notificationsPerChallenge else {
                throw StoreError.limit(.notifications)
            }
            guard let service = try database.service(challenge.service, account: challenge.account) else {
                throw StoreError.notFound(.service)
            }
            if let quietUntilMs = try database.quietUntilMs(of: challenge.entity, limits: self.limits, nowMs: nowMs) {
                return try database.refuseResend(
                    of: challenge, quietUntilMs: quietUntilMs, limits: self.limits, nowMs: nowMs)
            }
            try database.resend(
                stored, as: notification,
                pushExpiresAtMs: ttlSeconds.map { min(nowMs + Int64($0) * 1000, challenge.expiresAtMs) },
                service: service, nowMs: nowMs)
            return nil
        }
        if let refusal { throw StoreError.limited(refusal) }
        return notification
    }
}

extension Database {
    /// - Throws: `alreadyResponded`, `alreadyExpired` for what cannot be approved any more.
    func requireOpen(_ challenge: Challenge, nowMs: Int64) throws(StoreError) {
        switch ChallengeLifecycle.decide(
            .approve, status: challenge.status, expiresAtMs: challenge.expiresAtMs, nowMs: nowMs)
        {
        case .alreadyResponded: throw .alreadyResponded
        case .alreadyExpired, .unchanged: throw .alreadyExpired
        case .become: return
        }
    }

    /// The one compare-and-set from `pending`. Only the transaction that wins it writes the `Resolution` and the event.
    /// - Parameters:
    ///   - key: the public key that the signed answer is good under.
    ///   - reason: of the event.
    /// - Throws: `alreadyResponded`, `alreadyExpired`.
    @discardableResult
    func close(
        _ stored: StoredChallenge, _ command: ChallengeCommand, by answer: Answer? = nil, key: Data? = nil,
        reason: String? = nil, nowMs: Int64
    ) throws -> Challenge {
        var challenge = stored.challenge
        switch ChallengeLifecycle.decide(
            command, status: challenge.status, expiresAtMs: challenge.expiresAtMs, nowMs: nowMs)
        {
        case .alreadyResponded: throw StoreError.alreadyResponded
        case .alreadyExpired: throw StoreError.alreadyExpired
        case .unchanged: return challenge
        case .become(let status): challenge.status = status
        }
        challenge.updatedAtMs = nowMs
        if let answer {
            challenge.respondedAtMs = nowMs
            challenge.responder = answer.factor
            // A one-time code is no signature and is not kept.
            challenge.signedAnswer = answer.signedAnswer.isEmpty ? nil : answer.signedAnswer
            challenge.metadata = answer.metadata
            challenge.responderKey = challenge.signedAnswer == nil ? nil : key.map { [UInt8]($0) }
        }
        challenge.sealedNumber = nil
        let isWinner = try changes(
            """
            UPDATE challenges SET status = ?, updated_ms = ?, responded_ms = ?, responder_sid = ?, signed_answer = ?, \
            metadata = ?, responder_key = ?, number_key_id = NULL, number_sealed = NULL WHERE sid = ? AND status = 'pending' AND \(command == .expire ? "expires_ms <= ?" : "expires_ms > ?")
            """,
            [
                challenge.status.rawValue, nowMs, challenge.respondedAtMs, challenge.responder?.rawValue,
                challenge.signedAnswer, challenge.metadata, challenge.responderKey.map { blob($0) },
                challenge.sid.rawValue, nowMs,
            ])
        guard isWinner else { throw StoreError.alreadyResponded }
        try publishResolution(of: challenge, reason: reason, traceparent: stored.traceparent, nowMs: nowMs)
        return challenge
    }

    private func publishResolution(
        of challenge: Challenge, reason: String?, traceparent: String?, nowMs: Int64
    ) throws {
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
        // Of what was never dispatched nobody waits for the end.
        guard !challenge.isCodeChallenge else {
            return try emit(type, challenge, more, traceparent: traceparent, nowMs: nowMs)
        }
        var resolution = Resolution()
        resolution.accountSid = challenge.account.rawValue
        resolution.serviceSid = challenge.service.rawValue
        resolution.challengeSid = challenge.sid.rawValue
        resolution.status = challenge.status.resolution ?? .resolutionUnspecified
        resolution.factorSid = challenge.responder?.rawValue ?? ""
        resolution.atMs = nowMs
        try enqueue(
            .resolutions, key: challenge.sid.rawValue, value: resolution.protobufBytes(), traceparent: traceparent,
            nowMs: nowMs)
        try emit(type, challenge, more, traceparent: traceparent, nowMs: nowMs)
    }

    /// Pending, addressed to the factor, and not polled by it before.
    func isUnseen(_ challenge: ChallengeSID, by factor: FactorSID, nowMs: Int64) throws -> Bool {
        try exists(
            """
            SELECT 1 FROM challenge_targets t JOIN challenges c ON c.sid = t.challenge_sid \
            WHERE t.challenge_sid = ? AND t.factor_sid = ? AND t.polled = 0 AND c.status = 'pending' AND c.expires_ms > ?
            """, [challenge.rawValue, factor.rawValue, nowMs])
    }

    /// The targets of a challenge with the push tokens that they have now; deleted ones are out.
    func targetsNow(of challenge: ChallengeSID, service: Service) throws -> [DispatchTarget] {
        try rows(
            "SELECT factor_sid, background_budget FROM challenge_targets WHERE challenge_sid = ? ORDER BY factor_sid",
            [challenge.rawValue]
        ).compactMap { row in
            guard let found = try self.row("SELECT \(Factor.columns) FROM factors WHERE sid = ?", [row[0] as String])
            else { return nil }
            return try Factor(row: found).dispatchTarget(of: service, backgroundBudget: row[1])
        }
    }
}

/// A receipt as it leaves: of a challenge and a factor, without the token that it came with.
private struct CheckedReceipt: Sendable {
    let challenge: ChallengeSID
    let factor: FactorSID
    let value: [UInt8]
    let receivedAtMs: Int64

    /// - Throws: `notFound(.challenge)` for SIDs that are none.
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

extension Database {
    fileprivate func enqueue(_ receipt: CheckedReceipt) throws {
        try enqueue(.receipts, key: receipt.challenge.rawValue, value: receipt.value, nowMs: receipt.receivedAtMs)
    }
}
