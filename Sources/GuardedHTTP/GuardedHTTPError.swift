/// Why a request to a customer's address got no answer.
public enum GuardedHTTPError: Error, Sendable, Hashable {
    /// The address, or one of the addresses behind the name, may not be connected to. The detail is for our own log; a
    /// customer sees the one message of ``CustomerURLError/refused``.
    case refused(detail: String)
    /// The name has no address.
    case nameNotFound
    /// No name server has answered: our own network may be at fault.
    case nameServerSilent
    case connectTimeout
    /// TCP was refused or reset.
    case connect(String)
    case tls(TLSFault, String)
    /// The answer, or a part of it, did not come in time.
    case readTimeout
    /// The peer closed the connection without an answer.
    case closed
    /// What came is no HTTP/1.1 answer.
    case notHTTP(String)
    /// Our own bounds: too many look-ups or connections at once. Nothing was sent.
    case busy
    case cancelled

    public enum TLSFault: String, Sendable, Hashable {
        /// The certificate is for another name.
        case name
        /// The certificate is not signed by a root that we trust, or not valid now.
        case certificate
        case other
    }
}
