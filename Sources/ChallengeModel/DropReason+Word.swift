extension DropReason {
    /// The word in metrics and timelines.
    public var word: String {
        switch self {
        case .expiredBeforePush: "expired"
        case .resolvedBeforePush: "resolved"
        case .confirmedBeforePush: "confirmed"
        case .overtaken: "overtaken"
        case .alreadyDone: "already-done"
        case .noPushChannel: "no-push-channel"
        case .deviceGone: "device-gone"
        case .unspecified, .UNRECOGNIZED: "other"
        }
    }
}
