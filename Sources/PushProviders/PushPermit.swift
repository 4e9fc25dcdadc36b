/// Decides whether a push may still be sent. It is asked when the push is about to leave. This may be seconds after the
/// hand-over, because a push waits for a connection, a stream and an access token.
public protocol PushPermit: AnyObject, Sendable {
    /// False when the push must not be sent any more; it is then `deferred` with the reason `withdrawn`. Called on an
    /// event loop for each push, so it must not block.
    var isValid: Bool { get }
}
