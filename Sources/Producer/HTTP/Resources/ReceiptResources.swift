import ChallengeModel
import Challenges

extension API {
    /// `POST …/Challenges/{sid}/Receipts`, by a device with its own token. The device may also report whether the app
    /// shows notifications.
    func createReceipt(
        _ call: APICall, _ service: String, _ identity: String, _ sid: String
    ) async throws -> APIReply {
        let (challenge, caller) = try await challenge(call, service, identity, sid)
        guard let factor = caller.factor else {
            throw APIError(.accessDenied, "Access denied: only the device may confirm a challenge, with its own token")
        }
        var parameters = try call.parameters()
        var receipt = try receipt(&parameters, call)
        receipt.accountSid = challenge.account.rawValue
        receipt.serviceSid = challenge.service.rawValue
        receipt.challengeSid = challenge.sid.rawValue
        receipt.factorSid = factor.sid.rawValue
        var change = FactorChange()
        change.notificationsEnabled = try parameters.boolean("Config.NotificationsEnabled")
        if change == FactorChange() {
            try await record(receipt)
        } else {
            try await record(receipt, with: change, of: factor.sid, nowMs: call.nowMs)
        }
        metrics.receipt(.device)
        return .noContent(ignoring: parameters.unread)
    }

    /// `POST /v2/Receipts`, for anyone with the receipt token of a push. It only confirms receipt, and may be repeated.
    /// Every invalid token gets the same reply, so that it reveals nothing.
    func redeemReceiptToken(_ call: APICall) async throws -> APIReply {
        var parameters = try call.parameters()
        let text = (try? parameters.text("ReceiptToken")) ?? ""
        guard let token = ReceiptToken(text, keys: recordKeys, nowMs: call.nowMs) else {
            metrics.authenticationFailed(.receiptToken)
            throw APIError(.invalidToken, "Invalid token: ReceiptToken")
        }
        var receipt = try receipt(&parameters, call)
        receipt.take(token)
        try await record(receipt)
        metrics.receipt(.token)
        return .noContent(ignoring: parameters.unread)
    }

    func record(_ receipt: Receipt) async throws {
        guard !recentReceipts.contains(receipt) else { return }
        try await store.recordReceipt(receipt)
        recentReceipts.insert(receipt)
    }

    /// The device's report is written even when nothing changes. Only a write uses up the token, so that a repeat of
    /// the request changes nothing after a later change.
    private func record(_ receipt: Receipt, with change: FactorChange, of factor: FactorSID, nowMs: Int64) async throws
    {
        if recentReceipts.contains(receipt) {
            _ = try await store.updateFactor(factor, change, nowMs: nowMs)
        } else {
            try await store.recordReceipt(receipt, with: change, nowMs: nowMs)
            recentReceipts.insert(receipt)
        }
    }

    private func receipt(_ parameters: inout ParameterReader, _ call: APICall) throws(RuleViolation) -> Receipt {
        var receipt = Receipt()
        let channels: KeyValuePairs<String, ReceiptChannel> = [
            "visible": .visiblePush, "background": .backgroundPush, "poll": .poll,
        ]
        receipt.channel = try parameters.choice("Channel", channels) ?? .visiblePush
        let shown: KeyValuePairs<String, Shown> = ["yes": .yes, "no": .no, "unknown": .unknown]
        receipt.shown = try parameters.choice("Shown", shown) ?? .unknown
        receipt.deviceTimeMs = Int64(try parameters.integer("DeviceTime", in: 0...(1 << 50)) ?? 0)
        receipt.receivedAtMs = call.nowMs
        return receipt
    }
}

extension Receipt {
    /// Copies the values that a token proves.
    mutating func take(_ token: ReceiptToken) {
        accountSid = token.account.rawValue
        serviceSid = token.service.rawValue
        challengeSid = token.challenge.rawValue
        factorSid = token.factor.rawValue
        dispatchID = token.dispatch.description
        receiptToken = ""
    }
}
