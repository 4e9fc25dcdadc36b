public import ChallengeModel
import Crypto
import Foundation
import Synchronization

extension ChallengeStore {
    /// Authenticates a login; nil when it is wrong. The secret is compared in constant time. Changes by another process
    /// are seen within ``StorePolicy/loginCacheMs`` ms, changes by this process at once.
    public func authenticate(_ login: Login, nowMs: Int64) async throws -> Principal? {
        let (subject, secret) =
            switch login {
            case .account(let sid, let authToken): (sid.rawValue, authToken)
            case .key(let sid, let secret): (sid.rawValue, secret)
            }
        let digest = Decision.hash(secret)
        if let known = logins.principal(subject, digest: digest) { return known }
        let generation = logins.generation
        let principal =
            switch login {
            case .account(let sid, _): try await principal(account: sid, digest: digest, nowMs: nowMs)
            case .key(let sid, _): try await principal(key: sid, digest: digest)
            }
        if let principal { logins.insert(principal, subject, digest: digest, generation: generation) }
        return principal
    }

    private func principal(account: AccountSID, digest: [UInt8], nowMs: Int64) async throws -> Principal? {
        guard let tokens = try await engine.read({ try $0.authTokens(of: account) }) else { return nil }
        for sealed in [tokens.present, tokens.formerUntilMs > nowMs ? tokens.former : nil].compactMap(\.self) {
            let token = try rules.open(sealed, StoreRules.authTokenContext(account))
            if HMACComparison.equal(Array(SHA256.hash(data: token)), digest) {
                return Principal(account: account, role: .full, key: nil)
            }
        }
        return nil
    }

    private func principal(key sid: APIKeySID, digest: [UInt8]) async throws -> Principal? {
        guard let (key, hash) = try await engine.read({ try $0.keyInUse(sid) }), HMACComparison.equal(hash, digest)
        else { return nil }
        return Principal(account: key.account, role: key.role, key: sid)
    }

    /// The account that a login names, whether or not its secret is right; nil: there is no such account.
    public func account(of login: Login) async throws -> AccountSID? {
        try await engine.read { rows in
            switch login {
            case .account(let sid, _): try rows.hasAccount(sid) ? sid : nil
            case .key(let sid, _): try rows.account(ofKey: sid)
            }
        }
    }
}

/// Caches hashes of correct secrets, so that the requests of a busy backend do not each read and decrypt a secret. An
/// entry lives as long as a change by another process may stay unnoticed.
final class KnownLogins: Sendable {
    private struct Entry {
        let digest: [UInt8]
        let principal: Principal
        let until: ContinuousClock.Instant
    }

    private struct State {
        var entries: [String: [Entry]] = [:]
        var generation = 0
    }

    private static let bound = 1000
    private let state = Mutex(State())

    /// Increases with every change by this process. A result that was read before the change is not cached.
    var generation: Int { state.withLock { $0.generation } }

    func principal(_ subject: String, digest: [UInt8]) -> Principal? {
        guard let entries = state.withLock({ $0.entries[subject] }) else { return nil }
        let now = ContinuousClock.now
        return entries.first { $0.until > now && HMACComparison.equal($0.digest, digest) }?.principal
    }

    func insert(_ principal: Principal, _ subject: String, digest: [UInt8], generation: Int) {
        let now = ContinuousClock.now
        let entry = Entry(
            digest: digest, principal: principal, until: now + .milliseconds(StorePolicy.loginCacheMs))
        state.withLock { state in
            guard state.generation == generation else { return }
            if state.entries.count >= Self.bound { state.entries.removeAll(keepingCapacity: true) }
            // Two auth tokens are valid during a rotation.
            let others = (state.entries[subject] ?? []).filter { $0.until > now && $0.digest != digest }
            state.entries[subject] = others.suffix(1) + [entry]
        }
    }

    func forgetAll() {
        state.withLock { state in
            state.generation += 1
            state.entries.removeAll(keepingCapacity: true)
        }
    }
}
