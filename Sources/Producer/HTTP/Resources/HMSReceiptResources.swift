import ChallengeModel
import Challenges
import Wire

extension API {
    /// `POST /v2/HmsReceipts`: writes HMS's own delivery receipts to topic `receipts`. A caller without Huawei's
    /// signature always gets the same 401. A caller with it always gets the same success, whether or not Beckon knows
    /// the messages.
    /// Huawei expects a reply within 200 ms, so the receipts of a request are written concurrently and share a commit.
    func takeHMSReceipts(_ call: APICall) async throws -> APIReply {
        guard let hmsCallback, hmsCallback.accepts(call.callbackID, nowMs: call.nowMs) else {
            metrics.authenticationFailed(.hmsCallback)
            throw APIError(.invalidToken, "Invalid token: X-HUAWEI-CALLBACK-ID")
        }
        let statuses = try HMSReceiptStatus.read(call.body)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (index, status) in statuses.enumerated() {
                if index >= Self.hmsReceiptsAtOnce { try await group.next() }
                group.addTask { try await take(status, nowMs: call.nowMs) }
            }
            try await group.waitForAll()
        }
        return .ok(.object([("code", .string("0")), ("message", .string("success"))]))
    }

    private static var hmsReceiptsAtOnce: Int { 64 }

    private func take(_ status: HMSReceiptStatus, nowMs: Int64) async throws {
        guard let tag = ReceiptTag(status.tag, keys: recordKeys) else {
            // A message of another product of the same app, a test by AppGallery Connect, or a forgery.
            metrics.hmsReceipt(status: status.word, isOurs: false)
            return
        }
        metrics.hmsReceipt(status: status.word, isOurs: true)
        guard let shown = status.shown, let challenge = try await store.challenge(tag.challenge),
            nowMs <= challenge.expiresAtMs + ReceiptToken.graceMs
        else { return }
        var receipt = Receipt()
        receipt.accountSid = challenge.account.rawValue
        receipt.serviceSid = challenge.service.rawValue
        receipt.challengeSid = tag.challenge.rawValue
        receipt.factorSid = tag.factor.rawValue
        receipt.dispatchID = tag.dispatch?.description ?? ""
        receipt.channel = .provider
        receipt.shown = shown
        receipt.receivedAtMs = nowMs
        receipt.deviceTimeMs = status.timestampMs
        try await record(receipt)
        metrics.receipt(.provider)
    }
}
