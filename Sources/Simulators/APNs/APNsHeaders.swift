import NIOHPACK

/// The headers and path of a push, read as strictly as Apple's page on sending has them.
struct APNsHeaders: Sendable, Hashable {
    enum PushType: String, Sendable, Hashable {
        case alert, background
    }

    /// Lower-case hexadecimal.
    var deviceToken: String
    /// Lower-case UUID; nil: to be made up.
    var messageID: String?
    /// The provider token after `bearer `; nil: there is none.
    var providerToken: String?
    var topic: String?
    var pushType: PushType?
    var priority: Int?
    var collapseID: String?
    /// Epoch seconds; 0: one try, not stored; nil: the provider's choice.
    var expiration: Int64?

    /// First fault that stands in path or headers, in the order in which they are looked at here.
    private(set) var fault: APNsReason?

    private static let prefix = "/3/device/"
    /// The end of the year 9999, epoch seconds.
    static let latestSeconds: Int64 = 253_402_300_799

    init(method: String, path: String, headers: HPACKHeaders) {
        deviceToken = ""
        var expirationText: String?
        var priorityText: String?
        var typeText: String?
        var seenTwice = false
        func once(_ old: String?, _ value: String) -> String {
            if old != nil { seenTwice = true }
            return value
        }
        for (name, value, _) in headers {
            switch name {
            case "apns-id": messageID = once(messageID, value)
            case "apns-topic": topic = once(topic, value)
            case "apns-push-type": typeText = once(typeText, value)
            case "apns-priority": priorityText = once(priorityText, value)
            case "apns-collapse-id": collapseID = once(collapseID, value)
            case "apns-expiration": expirationText = once(expirationText, value)
            case "authorization": providerToken = once(providerToken, value)
            default: break
            }
        }
        pushType = typeText.flatMap(PushType.init(rawValue:))
        priority = priorityText.flatMap { Int($0) }
        expiration = expirationText.flatMap { Int64($0) }

        if method != "POST" {
            fault = .methodNotAllowed
        } else if !path.hasPrefix(Self.prefix) {
            fault = .badPath
        } else if path.utf8.count == Self.prefix.utf8.count {
            fault = .missingDeviceToken
        } else if seenTwice {
            fault = .duplicateHeaders
        } else if let messageID, !Self.isLowerCaseUUID(messageID) {
            self.messageID = nil
            fault = .badMessageID
        }
        if fault == nil {
            deviceToken = path.dropFirst(Self.prefix.utf8.count).lowercased()
            laterFault = Self.laterFault(
                headers: self, hasPriority: priorityText != nil, hasExpiration: expirationText != nil)
        }
    }

    /// First fault that Apple would find after the provider token was found good.
    private(set) var laterFault: APNsReason?

    private static func laterFault(headers: APNsHeaders, hasPriority: Bool, hasExpiration: Bool) -> APNsReason? {
        guard let topic = headers.topic, !topic.isEmpty else { return .missingTopic }
        guard topic.utf8.count <= 255, topic.utf8.allSatisfy(isTopicByte) else { return .badTopic }
        guard let type = headers.pushType else { return .invalidPushType }
        if hasPriority, headers.priority.map({ ![1, 5, 10].contains($0) }) ?? true { return .badPriority }
        // Without the header it is 10, which background pushes must not have.
        if type == .background, headers.priority != 5 { return .badPriority }
        if hasExpiration, !(headers.expiration.map { (0...latestSeconds).contains($0) } ?? false) {
            return .badExpirationDate
        }
        if let collapseID = headers.collapseID, collapseID.utf8.count > 64 { return .badCollapseID }
        guard isDeviceToken(headers.deviceToken) else { return .badDeviceToken }
        return nil
    }

    /// 32 to 100 bytes in hexadecimal; Apple says only that the length may change.
    private static func isDeviceToken(_ text: String) -> Bool {
        let bytes = text.utf8
        return 64...200 ~= bytes.count && bytes.count % 2 == 0 && bytes.allSatisfy(isHex)
    }

    private static func isLowerCaseUUID(_ text: String) -> Bool {
        var index = 0
        for byte in text.utf8 {
            switch index {
            case 8, 13, 18, 23: if byte != UInt8(ascii: "-") { return false }
            case 36...: return false
            default: if !isHex(byte) { return false }
            }
            index += 1
        }
        return index == 36
    }

    private static func isHex(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
    }

    private static func isTopicByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"):
            true
        default: false
        }
    }
}
