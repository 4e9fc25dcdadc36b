import DeviceKit
import Wire

/// A payload that Apple takes: at most 4,096 bytes of JSON with an `aps` dictionary that agrees with the push type.
struct APNsPayload: Sendable, Hashable {
    static let longest = 4096

    /// The text of `aps.alert`; nil without one.
    var alert: String?
    /// Top-level strings beside `aps`.
    var values: [String: String]

    /// - Parameters:
    ///   - length: of the payload as it came.
    ///   - bytes: the payload, whole when `length` is at most ``longest``.
    /// - Throws: `PayloadEmpty` also for what is not a JSON dictionary with `aps`; `InvalidPushType` when the payload
    ///   is not what the push type says: an alert without `alert`, a background push without `content-available: 1` or
    ///   with something to show or hear.
    init(_ bytes: [UInt8], length: Int, pushType: APNsHeaders.PushType) throws(APNsReason) {
        guard length > 0 else { throw .payloadEmpty }
        guard length <= Self.longest else { throw .payloadTooLarge }
        guard let tree = try? JSONParser.parse(bytes, .reply), let members = tree.members,
            let aps = tree["aps"], aps.members != nil
        else { throw .payloadEmpty }
        switch aps["alert"] {
        case .string(let text): alert = text
        case .object: alert = aps["alert"]?["body"]?.stringValue ?? aps["alert"]?["title"]?.stringValue ?? ""
        case nil: alert = nil
        default: throw .invalidPushType
        }
        let isSilent = aps["content-available"] == .integer(1)
        switch pushType {
        case .alert: if alert == nil { throw .invalidPushType }
        case .background:
            if !isSilent || alert != nil || aps["sound"] != nil || aps["badge"] != nil { throw .invalidPushType }
        }
        var values: [String: String] = [:]
        for member in members where member.name != "aps" {
            if case .string(let text) = member.value { values[member.name] = text }
        }
        self.values = values
    }
}
