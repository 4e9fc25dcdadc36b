import ChallengeModel
import Crypto
import Foundation

/// The user names and keys of HMS delivery receipts, as in the receipt configuration of AppGallery Connect.
/// Huawei signs time, nonce and user name, but not the body, so a header that somebody has seen is valid for any body
/// for some time. Therefore a receipt counts only with a ``ReceiptTag`` that Beckon made and Huawei returned unchanged.
/// A replay repeats something that was already true, so no nonces are stored. Source: Huawei, "Message Receipt",
/// `X-HUAWEI-CALLBACK-ID`.
public struct HMSCallbackKeys: Sendable {
    private struct Entry {
        var user: String
        /// "Old receipt configurations use the UTF-8 bytes of the key, new ones what its base64 spells."
        var keys: [SymmetricKey]
    }

    /// Maximum difference between Huawei's clock and this one.
    static let skewMs: Int64 = 300_000
    private static let mostEntries = 32
    private let entries: [Entry]

    /// Reads `user:key,user:key`: at most 32, user names without a colon, keys without a comma, of at least 16
    /// characters. Nil for other text.
    public init?(parsing text: String) {
        var entries: [Entry] = []
        for part in text.split(separator: ",") {
            let pair = part.trimmingWhitespace().split(separator: ":", maxSplits: 1)
            guard pair.count == 2, (1...128).contains(pair[0].utf8.count), (16...512).contains(pair[1].utf8.count)
            else { return nil }
            let key = String(pair[1])
            var keys = [SymmetricKey(data: Data(key.utf8))]
            if let decoded = Data(base64Encoded: key), !decoded.isEmpty { keys.append(SymmetricKey(data: decoded)) }
            entries.append(Entry(user: String(pair[0]), keys: keys))
        }
        guard (1...Self.mostEntries).contains(entries.count) else { return nil }
        self.entries = entries
    }

    /// True when the header was made with one of the keys, within 5 minutes of now.
    /// - Parameter header: `timestamp=1563105451261; nonce=<UUID>; value=<base64 of HMAC-SHA256(key, timestamp + nonce
    ///   + user)>`.
    func accepts(_ header: String?, nowMs: Int64) -> Bool {
        guard let header, header.utf8.count <= 512 else { return false }
        var fields: [String: String] = [:]
        for part in header.split(separator: ";") {
            let pair = part.trimmingWhitespace().split(
                separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard pair.count == 2, fields.updateValue(String(pair[1]), forKey: String(pair[0])) == nil else {
                return false
            }
        }
        guard let timestamp = fields["timestamp"], (1...15).contains(timestamp.utf8.count),
            timestamp.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
            let number = Int64(timestamp), let nonce = fields["nonce"], (1...128).contains(nonce.utf8.count),
            let code = fields["value"].flatMap({ Data(base64Encoded: $0) })
        else { return false }
        // Huawei's current page says milliseconds; an older page says "a standard Unix timestamp".
        let atMs = number < 100_000_000_000 ? number * 1000 : number
        guard abs(nowMs - atMs) <= Self.skewMs else { return false }
        // All keys are tried, so that the time does not reveal which one matches.
        var isGood = false
        for entry in entries {
            let text = Data("\(timestamp)\(nonce)\(entry.user)".utf8)
            for key in entry.keys where HMAC<SHA256>.isValidAuthenticationCode(code, authenticating: text, using: key) {
                isGood = true
            }
        }
        return isGood
    }
}
