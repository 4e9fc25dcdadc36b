public import ChallengeModel
import Foundation

/// The keys with which the store seals values.
public struct StoreKeys: Sendable {
    /// `BECKON_STORE_KEYS`, for secrets at rest.
    public let store: KeyRing
    /// `BECKON_CONFIGURATION_KEYS`, for secrets on topic `configuration`.
    public let configuration: KeyRing

    public init(store: KeyRing, configuration: KeyRing) {
        self.store = store
        self.configuration = configuration
    }
}

extension SealedPlace {
    /// The context that a sealed value in this place is bound to.
    /// - Parameters:
    ///   - account: SID of the account.
    ///   - sid: SID of the row.
    func context(account: String, sid: String) -> [String] {
        switch self {
        case .authTokens, .formerAuthTokens: [account, "auth-token"]
        case .credentials: [account, sid, "credential"]
        case .codeSecrets: [account, sid, "totp-secret"]
        case .numbers: [account, sid, "number"]
        case .webhookSecrets: [account, sid, "webhook-secret"]
        case .formerWebhookSecrets: [account, sid, "former-webhook-secret"]
        }
    }
}

extension StoreRules {
    func seal(_ bytes: [UInt8], _ context: [String]) throws(StoreError) -> SealedValue {
        do {
            let (keyID, sealed) = try keys.store.seal(bytes, context: context)
            return SealedValue(keyID: keyID, bytes: [UInt8](sealed))
        } catch {
            throw StoreError(sealing: error)
        }
    }

    func open(_ value: SealedValue, _ context: [String]) throws(StoreError) -> [UInt8] {
        do {
            return [UInt8](try keys.store.open(value.bytes, keyID: value.keyID, context: context))
        } catch {
            throw StoreError(sealing: error)
        }
    }
}

extension StoreError {
    /// The error for a value that no key opens, or that cannot be sealed.
    init(sealing error: any Error) {
        switch error {
        case let error as StoreError: self = error
        case let error as SealError: self = .failed("a sealed value cannot be opened: \(error)")
        default: self = .failed("\(type(of: error))")
        }
    }
}

extension Decision {
    /// Call it in the transaction of every sealed value, so that a rotation that ends at the same time does not report
    /// the key as unused.
    func noteSealing(_ value: SealedValue) throws { try rows.noteSealing(value.keyID, proof: rules.keyProof) }
}

extension ChallengeStore {
    /// Compares the keys with the keys of the store, and records the first key before it seals anything.
    /// - Parameter store: the store's name in the error message.
    /// - Throws: ``StoreError/failed(_:)`` that says which key is missing or wrong.
    package static func checkSealingKeys(
        _ ring: KeyRing, of store: String, in rows: any StoreTransaction
    ) throws {
        let known = try rows.sealingKeys()
        if let complaint = try sealingComplaint(ring, of: store, in: rows) { throw StoreError.failed(complaint) }
        for key in ring.keys where known.contains(where: { $0.keyID == key.id && $0.proof == nil }) {
            try rows.setProof(SealingKeys.proof(of: KeyRing(keys: [key])), ofKey: key.id)
        }
        if !known.contains(where: { $0.keyID == ring.first.id }) {
            try rows.noteSealing(ring.first.id, proof: SealingKeys.proof(of: ring))
        }
    }

    /// Compares the keys with the keys of the store. Only reads.
    /// - Parameter store: the store's name in the message.
    /// - Returns: which key is missing or wrong; nil: none.
    package static func sealingComplaint(
        _ ring: KeyRing, of store: String, in rows: any StoreTransaction
    ) throws -> String? {
        let findings: [(keyID: String, finding: SealingKeys.Finding)] = try rows.sealingKeys().map { keyID, proof in
            (keyID, try SealingKeys.finding(keyID, in: ring, proof: proof) { try rows.sample(under: keyID) })
        }
        return SealingKeys.complaint(findings, path: store)
    }

    /// Opens a provider credential as the store keeps it.
    /// - Throws: ``StoreError/failed(_:)`` when no key opens it.
    package static func opened(
        _ sealed: SealedValue, credential sid: String, of account: String, keys: KeyRing
    ) throws -> ProviderCredential {
        do {
            let bytes = try keys.open(
                sealed.bytes, keyID: sealed.keyID, context: SealedPlace.credentials.context(account: account, sid: sid))
            return try ProviderCredential(value: [UInt8](bytes), contentType: nil)
        } catch {
            throw StoreError(sealing: error)
        }
    }

    /// Seals every value again that another key than the first store key sealed. A producer may run at the same time.
    /// Each transaction seals a few hundred values. After an interruption, the next run continues, because the
    /// remaining values have the id of another key.
    /// - Parameter onProgress: called after each transaction.
    /// - Throws: `CancellationError`, between two transactions.
    public func reseal(onProgress: @Sendable (ResealProgress) -> Void = { _ in }) async throws -> ResealResult {
        let first = rules.keys.store.first.id
        var (all, allFailed) = (0, 0)
        let others = try await engine.read { try $0.sealingKeys() }.map(\.keyID).filter { $0 != first }
        for place in SealedPlace.allCases {
            var (resealed, failed) = (0, 0)
            for keyID in others {
                var last: String? = ""
                while let after = last {
                    try Task.checkCancellation()
                    let step = try await write(0) { try $0.reseal(place, under: keyID, after: after) }
                    resealed += step.done
                    failed += step.left
                    last = step.next
                    if step.done + step.left > 0 {
                        onProgress(ResealProgress(place: place.rawValue, resealed: resealed, failed: failed))
                    }
                }
            }
            all += resealed
            allFailed += failed
        }
        let retired = try await write(0) { try $0.retireSealingKeys(but: first) }
        return ResealResult(keyID: first, resealed: all, failed: allFailed, retired: retired)
    }
}

extension Decision {
    /// - Returns: the SID after which the next call continues (nil: this was the last), the number of values sealed
    ///   again, and the number of values that no key opens.
    fileprivate func reseal(
        _ place: SealedPlace, under keyID: String, after sid: String
    ) throws -> (next: String?, done: Int, left: Int) {
        let some = 200
        let found = try rows.sealedRows(place, under: keyID, after: sid, limit: some)
        var (done, left) = (0, 0)
        for row in found {
            let context = place.context(account: row.account, sid: row.sid)
            guard let value = try? rules.open(SealedValue(keyID: keyID, bytes: row.sealed), context) else {
                left += 1
                continue
            }
            try rows.replace(row, of: place, with: rules.seal(value, context))
            done += 1
        }
        return (found.count == some ? found.last?.sid : nil, done, left)
    }

    /// Removes all keys except the first that seal no value any more, and returns their ids.
    fileprivate func retireSealingKeys(but first: String) throws -> [String] {
        try rows.sealingKeys().map(\.keyID).filter { keyID in
            guard keyID != first, try rows.sample(under: keyID) == nil else { return false }
            try rows.deleteSealingKey(keyID)
            return true
        }
    }
}

extension StoreTransaction {
    /// Any value that a key has sealed.
    fileprivate func sample(under keyID: String) throws -> (sealed: [UInt8], context: [String])? {
        for place in SealedPlace.allCases {
            guard let row = try sealedRows(place, under: keyID, after: "", limit: 1).first else { continue }
            return (row.sealed, place.context(account: row.account, sid: row.sid))
        }
        return nil
    }
}
