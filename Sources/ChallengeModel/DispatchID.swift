/// Identifies one dispatch of a challenge. It is part of the unit of idempotence, with challenge, device and kind, so
/// that a resend by the backend and a retry by the tracker never count as repeats of each other.
public enum DispatchID: Hashable, Sendable, CustomStringConvertible {
    /// `c`: the dispatch of the creation.
    case creation
    /// `t1`, `t2`, …: an attempt of the ack tracker. Only the tracker writes these. 1 to 65,535.
    case attempt(UInt16)
    /// `n:<NT sid>`: a resend that the backend requested.
    case resend(NotificationSID)

    /// Nil when `text` is none of the three forms.
    public init?(_ text: some StringProtocol) {
        if text == "c" {
            self = .creation
        } else if text.hasPrefix("t"), let number = UInt16(text.dropFirst()), number > 0 {
            self = .attempt(number)
        } else if text.hasPrefix("n:"), let sid = NotificationSID(text.dropFirst(2)) {
            self = .resend(sid)
        } else {
            return nil
        }
    }

    /// Like the generic initializer, but faster.
    public init?(_ text: String) {
        if text == "c" {
            self = .creation
        } else {
            self.init(text[...])
        }
    }

    public var isAttempt: Bool { if case .attempt = self { true } else { false } }
    public var isResend: Bool { if case .resend = self { true } else { false } }

    public var description: String {
        switch self {
        case .creation: "c"
        case .attempt(let number): "t\(number)"
        case .resend(let sid): "n:\(sid)"
        }
    }
}
