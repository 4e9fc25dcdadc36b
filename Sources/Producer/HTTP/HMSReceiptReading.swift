import ChallengeModel
import Challenges
import Wire

/// What became of one message, by HMS's delivery receipt. Versions 1 (`status`) and 2 (`deliveryStatus.result`) of its body.
/// Source: Huawei, "Message Receipt" and its status codes.
struct HMSReceiptStatus: Sendable, Equatable {
    /// "A single receipt can contain 100 statuses structures", 1,000 by an older page.
    static let most = 1000

    /// What we sent as `bi_tag`; empty without one.
    var tag: String
    var result: Int64
    /// Epoch milliseconds of Huawei's or the device's clock; advice.
    var timestampMs: Int64

    /// Nil when it says nothing of the person's device: not arrived, or not yet.
    var shown: Shown? {
        switch result {
        // Delivered to the app. Whether the app showed it only the app knows.
        case 0: .unknown
        // It arrived, and notifications are off: pushing again shows nothing either.
        case 6: .no
        default: nil
        }
    }

    /// For the metric: Huawei's own word where it is one of its table, else `other`.
    var word: String { Self.known.contains(result) ? "\(result)" : "other" }

    private static let known: Set<Int64> = [0, 2, 5, 6, 10, 14, 15, 22, 27, 31, 51, 102, 144, 201, 256, 259]

    /// - Throws: ``RuleViolation`` that names the member; an element that cannot be read is left out.
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
