import ChallengeModel
import Challenges
import Wire

/// The status of one message in an HMS delivery receipt. It supports versions 1 (`status`) and 2
/// (`deliveryStatus.result`) of the body. Source: Huawei, "Message Receipt" and its status codes.
struct HMSReceiptStatus: Sendable, Equatable {
    /// "A single receipt can contain 100 statuses structures", 1,000 by an older page.
    static let most = 1000

    /// The value that Beckon sent as `bi_tag`; empty when it is missing.
    var tag: String
    var result: Int64
    /// Time of Huawei's or the device's clock in epoch milliseconds; informative only.
    var timestampMs: Int64

    /// The value for the receipt. Nil when the message has not arrived on the device.
    var shown: Shown? {
        switch result {
        // The message was delivered to the app. Only the app knows whether it was shown.
        case 0: .unknown
        // The message arrived, but notifications are off. Another push would not be shown either.
        case 6: .no
        default: nil
        }
    }

    /// The label of the metric: Huawei's number if it is documented, otherwise `other`.
    var word: String { Self.known.contains(result) ? "\(result)" : "other" }

    private static let known: Set<Int64> = [0, 2, 5, 6, 10, 14, 15, 22, 27, 31, 51, 102, 144, 201, 256, 259]

    /// - Throws: ``RuleViolation`` that names the member. An element that cannot be read is skipped.
    static func read(_ body: [UInt8]) throws(RuleViolation) -> [HMSReceiptStatus] {
        let tree = try? JSONParser.parse(String(decoding: body, as: UTF8.self))
        guard case .array(let elements)? = tree?["statuses"], elements.count <= most else {
            throw RuleViolation("statuses", "an array of at most \(most) receipts in a JSON object")
        }
        return elements.compactMap { element in
            let delivery = element["deliveryStatus"]
            guard case .integer(let result)? = delivery?["result"] ?? element["status"] else { return nil }
            var status = HMSReceiptStatus(tag: element["biTag"]?.stringValue ?? "", result: result, timestampMs: 0)
            if case .integer(let time)? = delivery?["timestamp"] ?? element["timestamp"], 0..<1 << 50 ~= time {
                status.timestampMs = time
            }
            return status
        }
    }
}
