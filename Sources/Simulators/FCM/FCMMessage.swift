import DeviceKit
import Wire

/// A message that FCM's v1 API takes, checked as its reference describes it.
struct FCMMessage: Sendable, Hashable {
    static let longest = 4096
    /// "Maximum is four weeks."
    static let longestLifeSeconds: Int64 = 2_419_200

    var token: String
    var values: [String: String]
    var isHighPriority = false
    var collapseKey: String?
    /// Seconds, whole; 0: now or never.
    var lifeSeconds: Int64 = longestLifeSeconds
    /// A `notification` is in it: the system shows it, and the app's code does not run while it is closed.
    var hasNotification = false
    var validateOnly = false

    /// - Throws: ``FCMError`` `INVALID_ARGUMENT` with the place and the rule.
    init(_ bytes: [UInt8]) throws(FCMError) {
        guard let tree = try? JSONParser.parse(bytes, .reply), let top = tree.members else {
            throw .invalidArgument("Invalid JSON payload received.")
        }
        try Self.only(["message", "validate_only"], top, at: "")
        switch tree["validate_only"] {
        case nil: break
        case .boolean(let value): validateOnly = value
        default: throw .invalidArgument("Invalid value at 'validate_only' (TYPE_BOOL)")
        }
        guard let message = tree["message"], let members = message.members else {
            throw .invalidArgument("message: must be an object")
        }
        try Self.only(
            [
                "name", "data", "notification", "android", "webpush", "apns", "fcm_options", "token", "topic",
                "condition",
            ],
            members, at: "message.")
        let targets = members.filter { ["token", "topic", "condition"].contains($0.name) }
        guard targets.count == 1, let token = message["token"]?.stringValue else {
            throw .invalidArgument(
                "Exactly one of token, topic or condition is required; this stand-in knows token only")
        }
        guard Self.isToken(token) else {
            throw .invalidArgument("The registration token is not a valid FCM registration token")
        }
        self.token = token
        var size = 0
        values = try Self.strings(message["data"], at: "message.data", size: &size)
        for name in values.keys where Self.isReserved(name) {
            throw .invalidArgument("Invalid data payload key: \(name)")
        }
        if let notification = message["notification"] {
            try Self.measure(notification, at: "message.notification", size: &size)
            hasNotification = true
        }
        if let android = message["android"] { try read(android: android, size: &size) }
        guard size <= Self.longest else { throw .invalidArgument("Android message is too big") }
    }

    private mutating func read(android: JSONValue, size: inout Int) throws(FCMError) {
        guard let members = android.members else { throw .invalidArgument("message.android: must be an object") }
        try Self.only(
            [
                "collapse_key", "priority", "ttl", "restricted_package_name", "data", "notification", "fcm_options",
                "direct_boot_ok", "bandwidth_constrained_ok", "restricted_satellite_ok",
            ], members, at: "message.android.")
        if let priority = android["priority"] {
            switch priority.stringValue?.uppercased() {
            case "HIGH": isHighPriority = true
            case "NORMAL": break
            default:
                throw .invalidArgument(
                    "Invalid value at 'message.android.priority' (type.googleapis.com/google.firebase.fcm.v1.AndroidMessagePriority)"
                )
            }
        }
        if let ttl = android["ttl"] {
            guard let seconds = ttl.stringValue.flatMap(Self.seconds), seconds <= Self.longestLifeSeconds else {
                throw .invalidArgument(
                    "Invalid value at 'message.android.ttl' (type.googleapis.com/google.protobuf.Duration)")
            }
            lifeSeconds = seconds
        }
        if let key = android["collapse_key"] {
            guard let text = key.stringValue else {
                throw .invalidArgument("Invalid value at 'message.android.collapse_key' (TYPE_STRING)")
            }
            collapseKey = text
        }
        if android["data"] != nil {
            values = try Self.strings(android["data"], at: "message.android.data", size: &size)
        }
        if let notification = android["notification"] {
            try Self.measure(notification, at: "message.android.notification", size: &size)
            hasNotification = true
        }
    }

    /// A protobuf duration in JSON: `300s`, `3.5s`; whole seconds of it.
    private static func seconds(_ text: String) -> Int64? {
        guard text.hasSuffix("s") else { return nil }
        let parts = text.dropLast().split(separator: ".", omittingEmptySubsequences: false)
        guard 1...2 ~= parts.count, parts[0].utf8.allSatisfy(isDigit), let whole = Int64(parts[0]) else { return nil }
        if parts.count == 2 {
            guard 1...9 ~= parts[1].utf8.count, parts[1].utf8.allSatisfy(isDigit) else { return nil }
        }
        return whole
    }

    private static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }

    private static func isToken(_ text: String) -> Bool {
        32...4096 ~= text.utf8.count
            && text.utf8.allSatisfy {
                isDigit($0) || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0 | 0x20) || $0 == UInt8(ascii: "_")
                    || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: ":")
            }
    }

    /// "The key should not be a reserved word (from, message_type, or any word starting with google or gcm)."
    private static func isReserved(_ name: String) -> Bool {
        name == "from" || name == "message_type" || name.hasPrefix("google") || name.hasPrefix("gcm")
    }

    private static func only(_ names: Set<String>, _ members: [(name: String, value: JSONValue)], at place: String)
        throws(FCMError)
    {
        for member in members where !names.contains(member.name) {
            throw .invalidArgument(
                "Invalid JSON payload received. Unknown name \"\(member.name)\" at '\(place)': Cannot find field.")
        }
    }

    private static func strings(_ tree: JSONValue?, at place: String, size: inout Int) throws(FCMError) -> [String:
        String]
    {
        guard let tree else { return [:] }
        guard let members = tree.members else { throw .invalidArgument("\(place): must be an object") }
        var values: [String: String] = [:]
        for member in members {
            guard let text = member.value.stringValue else {
                throw .invalidArgument("Invalid value at '\(place)[\(member.name)].value' (TYPE_STRING)")
            }
            size += member.name.utf8.count + text.utf8.count
            values[member.name] = text
        }
        return values
    }

    private static func measure(_ tree: JSONValue, at place: String, size: inout Int) throws(FCMError) {
        guard let members = tree.members else { throw .invalidArgument("\(place): must be an object") }
        for member in members { size += member.name.utf8.count + (member.value.stringValue?.utf8.count ?? 0) }
    }
}
