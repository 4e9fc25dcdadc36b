/// How phones get their pushes: from a ``PushNetwork`` in the same process, or over HTTP from another
/// (``RemotePushReception``).
public protocol PushReception: Sendable {
    /// Makes a token known before anything is sent to it: pushes are stored for it while nobody receives, and pushes
    /// for another app are refused.
    func register(_ provider: SimulatedProvider, token: String, appID: String) async throws

    /// Puts a phone online. What was stored comes first. At most 1,000 pushes wait to be taken; a phone that is slower
    /// loses the newest.
    /// - Returns: ends when another reception takes the token over, or the token is unregistered. When the sequence's
    ///   iteration is cancelled the phone is offline again.
    func receive(_ provider: SimulatedProvider, token: String, appID: String) async throws -> AsyncStream<SimulatedPush>

    /// What the phone's system says became of a push: HMS makes a receipt of it, the others have none.
    /// - Parameter result: Huawei's receipt status: 0 arrived, 6 not shown, ….
    func report(_ provider: SimulatedProvider, token: String, messageID: String, result: Int) async throws

    /// The app was deleted: from now on the provider says so.
    func unregister(_ provider: SimulatedProvider, token: String) async throws
}
