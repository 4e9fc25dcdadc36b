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
    /// The system shows the notification.
    case yes
    /// The system does not allow the app to show notifications.
    case no
    /// The app cannot tell, for example because it polled.
    case unknown
}
