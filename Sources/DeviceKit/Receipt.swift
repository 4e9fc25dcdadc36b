/// How a device learned of a challenge.
public enum ReceiptChannel: String, Sendable, Codable, Hashable {
    /// By the visible notification.
    case visible
    /// By the background push.
    case background
    /// By asking.
    case poll
}

/// Whether the person can see the notification.
public enum ReceiptShown: String, Sendable, Codable, Hashable {
    case yes
    /// The system lets the app show none.
    case no
    case unknown
}
