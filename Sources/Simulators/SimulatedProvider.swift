/// Whose look-alike. The raw value is the word of `Config.NotificationPlatform`.
public enum SimulatedProvider: String, Sendable, Codable, Hashable, CaseIterable {
    case apn
    case fcm
    case hms
}
