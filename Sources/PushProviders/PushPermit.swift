/// Asked when a push is about to leave, which may be seconds after it was handed over: it waited for a connection, a stream,
/// an access token.
public protocol PushPermit: AnyObject, Sendable {
    /// False: it must not leave any more, and is `deferred` as `withdrawn`. Called on an event loop for each push; must not block.
    var isValid: Bool { get }
}
