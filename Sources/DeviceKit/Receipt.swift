/// The way in which a device received a challenge.
public enum ReceiptChannel: String, Sendable, Codable, Hashable {
    /// A visible notification.
    case visible
    /// A background push.
    case background
    /// A poll by the app.
    case poll
}

/// Whether the person can see the notification.
public enum ReceiptShown: String, Sendable, Codable, Hashable {
    case yes
    /// The system does not allow the app to show notifications.
    case no
    case unknown
}
