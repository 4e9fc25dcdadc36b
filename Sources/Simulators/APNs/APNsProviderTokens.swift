import Crypto
import DeviceKit
import Foundation
import Synchronization
import Wire

/// The keys that may sign provider tokens, and the tokens that were found good.
///
/// A signature is checked once per token: dispatchers use one token for all their pushes, and Apple's servers can be
/// thought to remember too.
final class APNsProviderTokens: Sendable {
    struct KeyID: Hashable, Sendable {
        var team: String
        var key: String
    }

    private struct Key {
        var publicKey: P256.Signing.PublicKey
        /// Nil: all.
        var topics: Set<String>?
        /// When distinct tokens were first seen, epoch seconds, those of the last 20 minutes.
        var updates: [Int64] = []
        var distinctTokens = 0
    }

    private struct Known {
        var id: KeyID
        var issuedAt: Int64
    }

    private struct State {
        var keys: [KeyID: Key] = [:]
        var known: [String: Known] = [:]
    }

    /// Most tokens remembered; past it all are forgotten and checked anew.
    private static let mostKnown = 4096
    /// "Not more than once every 20 minutes."
    private static let updateWindow: Int64 = 20 * 60
    /// "No older than one hour."
    private static let longestLife: Int64 = 3600

    private let state = Mutex(State())
    /// Distinct tokens of one key within 20 minutes; the next one is refused.
    private let mostUpdates: Int

    init(mostUpdates: Int) { self.mostUpdates = mostUpdates }

    func register(team: String, key: String, publicKey: P256.Signing.PublicKey, topics: Set<String>?) {
        state.withLock {
            $0.keys[KeyID(team: team, key: key)] = Key(publicKey: publicKey, topics: topics)
            $0.known = $0.known.filter { $0.value.id != KeyID(team: team, key: key) }
        }
    }

    func revoke(team: String, key: String) {
        state.withLock {
            $0.keys[KeyID(team: team, key: key)] = nil
            $0.known = $0.known.filter { $0.value.id != KeyID(team: team, key: key) }
        }
    }

    func distinctTokens(team: String, key: String) -> Int {
        state.withLock { $0.keys[KeyID(team: team, key: key)]?.distinctTokens ?? 0 }
    }

    /// - Parameters:
    ///   - authorization: the header's value, nil when it is missing.
    ///   - topic: of the push; nil passes here.
    /// - Throws: `MissingProviderToken`, `InvalidProviderToken` (also for an `iat` in the future),
    ///   `ExpiredProviderToken`, `TooManyProviderTokenUpdates`, `TopicDisallowed`.
    func check(authorization: String?, topic: String?, nowSeconds: Int64) throws(APNsReason) {
        guard let authorization else { throw .missingProviderToken }
        if let known = state.withLock({ $0.known[authorization] }) {
            return try finish(known, topic: topic, nowSeconds: nowSeconds)
        }
        let token = try SentToken(authorization: authorization)
        let id = KeyID(team: token.team, key: token.key)
        guard let publicKey = state.withLock({ $0.keys[id]?.publicKey }),
            token.jwt.isSigned(by: publicKey)
        else { throw .invalidProviderToken }
        let known = Known(id: id, issuedAt: token.issuedAt)
        // A token that is too old is no update: it is refused as what it is.
        if nowSeconds - token.issuedAt <= Self.longestLife, token.issuedAt <= nowSeconds {
            let isTooMany = state.withLock { state -> Bool in
                guard state.known[authorization] == nil else { return false }
                let recent = (state.keys[id]?.updates ?? []).filter { nowSeconds - $0 < Self.updateWindow }
                guard recent.count < mostUpdates else { return true }
                state.keys[id]?.updates = recent + [nowSeconds]
                state.keys[id]?.distinctTokens += 1
                if state.known.count >= Self.mostKnown { state.known.removeAll() }
                state.known[authorization] = known
                return false
            }
            if isTooMany { throw .tooManyProviderTokenUpdates }
        }
        try finish(known, topic: topic, nowSeconds: nowSeconds)
    }

    private func finish(_ known: Known, topic: String?, nowSeconds: Int64) throws(APNsReason) {
        guard known.issuedAt <= nowSeconds else { throw .invalidProviderToken }
        guard nowSeconds - known.issuedAt <= Self.longestLife else { throw .expiredProviderToken }
        guard let topic else { return }
        let isAllowed = state.withLock { $0.keys[known.id]?.topics?.contains(topic) ?? true }
        guard isAllowed else { throw .topicDisallowed }
    }
}

/// The parts of `bearer <JWT>`: ES256, `kid`, `iss`, `iat`.
private struct SentToken {
    var team: String
    var key: String
    /// Epoch seconds.
    var issuedAt: Int64
    var jwt: CompactJWT

    init(authorization: String) throws(APNsReason) {
        guard authorization.prefix(7).lowercased() == "bearer " else { throw .invalidProviderToken }
        guard let jwt = CompactJWT(authorization.dropFirst(7), .reply), jwt.isES256,
            let key = jwt.header["kid"]?.stringValue, let team = jwt.payload["iss"]?.stringValue,
            let issuedAt = jwt.payload["iat"]?.integerValue,
            (0...APNsHeaders.latestSeconds).contains(issuedAt)
        else { throw .invalidProviderToken }
        self.team = team
        self.key = key
        self.issuedAt = issuedAt
        self.jwt = jwt
    }
}
