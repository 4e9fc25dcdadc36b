public import ChallengeModel

/// What a look at a store has found. The look changes nothing.
public struct StoreFacts: Sendable {
    public enum Schema: Sendable, Hashable {
        case served
        /// The file does not exist, or the database has no tables of Beckon.
        case absent
        /// An earlier version's; the text says which schema there is and which one is expected.
        case older(String)
        case newer(String)
    }

    /// A webhook, and how long its endpoint took to answer.
    public struct Webhook: Sendable, Hashable {
        public let sid: String
        public let url: String
        /// The longest of its last few attempts in milliseconds; 0: none is known.
        public let slowestMs: Int64
    }

    public var schema = Schema.served
    /// Which key is missing or wrong; nil: none.
    public var keyComplaint: String?
    /// At most ``StoreInspection/mostRows``.
    public var credentials: [ProviderCredential] = []
    /// Credentials that no key opens.
    public var sealedCredentials: [String] = []
    /// The app of any device that a credential pushes to, by credential.
    public var apps: [String: String] = [:]
    /// Those that are enabled; at most ``StoreInspection/mostRows``.
    public var webhooks: [Webhook] = []
    /// Of the file and of its volume; nil: a database, or unknown.
    public var file: File?
    /// Of the database's server; nil: a file.
    public var connections: Connections?

    public init() {}

    public struct File: Sendable, Hashable {
        public var isReadableByOthers: Bool
        /// 0 to 1.
        public var freeShare: Double
        public var freeBytes: Int64

        public init(isReadableByOthers: Bool, freeShare: Double, freeBytes: Int64) {
            self.isReadableByOthers = isReadableByOthers
            self.freeShare = freeShare
            self.freeBytes = freeBytes
        }
    }

    public struct Connections: Sendable, Hashable {
        /// `max_connections` without those that are reserved for superusers.
        public var most: Int
        /// Sessions of all clients.
        public var used: Int
        /// Sessions of Beckon.
        public var ours: Int

        public init(most: Int, used: Int, ours: Int) {
            self.most = most
            self.used = used
            self.ours = ours
        }
    }
}
