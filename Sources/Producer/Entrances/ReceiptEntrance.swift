import ChallengeModel
import Challenges
import KafkaClient
import KafkaGroup
import Logging
import ServiceSupport
import Wire

/// The contents of a record of `receipt-requests`. A pure value.
enum ReceiptReading: Sendable, Equatable {
    case receipt(Receipt)
    case deadLetter(reason: String, detail: String)

    /// Only token, channel, shown and device time are read. Everything else comes from the token.
    init(value: [UInt8], contentType: String?, keys: KeyRing, account: AccountSID, nowMs: Int64) {
        guard !value.isEmpty else {
            self = .deadLetter(reason: "empty", detail: "the value is empty; expected a Receipt")
            return
        }
        let sent: Receipt
        do {
            sent = try OutsideRecord.read(value, contentType: contentType)
        } catch {
            self = .deadLetter(reason: error.reason, detail: error.description)
            return
        }
        guard let token = ReceiptToken(sent.receiptToken, keys: keys, nowMs: nowMs) else {
            self = .deadLetter(
                reason: "token", detail: "receipt_token: expected one of a push that is not past its time")
            return
        }
        guard token.account == account else {
            self = .deadLetter(
                reason: "account", detail: "the token is of another account than the one this topic is bound to")
            return
        }
        var receipt = Receipt()
        receipt.take(token)
        switch sent.channel {
        case .unspecified: receipt.channel = .backend
        case .UNRECOGNIZED:
            self = .deadLetter(reason: "field", detail: "channel: expected a ReceiptChannel")
            return
        default: receipt.channel = sent.channel
        }
        if case .UNRECOGNIZED = sent.shown {} else { receipt.shown = sent.shown }
        receipt.receivedAtMs = nowMs
        receipt.deviceTimeMs = sent.deviceTimeMs
        self = .receipt(receipt)
    }
}

/// Reads topic `receipt-requests`. A record with a valid token becomes a receipt, every other record a dead letter.
/// Only then is the record done.
struct ReceiptEntrance: Sendable {
    static let name = "receipt-requests"

    let store: ChallengeStore
    let deadLetters: DeadLetters
    let account: AccountSID
    let keys: KeyRing
    let clock: @Sendable () -> Int64
    let metrics: ProducerMetrics
    let log: StoreLog

    /// - Returns: true when the outcome is committed; false when the task was cancelled first.
    func handle(_ record: ConsumedRecord) async -> Bool {
        // The token is checked once: a token that was valid when its record was read stays valid while the record waits
        // for the store.
        let reading = ReceiptReading(
            value: record.value, contentType: record.headers.text(of: ContentType.headerName), keys: keys,
            account: account, nowMs: clock())
        switch reading {
        case .deadLetter(let reason, let detail):
            guard await deadLetters.send(record, reason: reason, detail: detail) else { return false }
            metrics.entrance(Self.name, .deadLetter)
            return true
        case .receipt(let receipt):
            var backoff = Backoff()
            while !Task.isCancelled {
                do {
                    try await store.recordReceipt(receipt)
                    metrics.receipt(.kafka)
                    metrics.entrance(Self.name, .accepted)
                    return true
                } catch {
                    log.warning("a receipt waits for the store", error)
                }
                metrics.entranceRetry(Self.name)
                guard await backoff.wait() else { return false }
            }
            return false
        }
    }
}
