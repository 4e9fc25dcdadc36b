public import ChallengeModel
import Foundation

/// The keys that the store seals with.
public struct StoreKeys: Sendable {
    /// `BECKON_STORE_KEYS`: secrets at rest.
    public let store: KeyRing
    /// `BECKON_CONFIGURATION_KEYS`: secrets on topic `configuration`.
    public let configuration: KeyRing

    public init(store: KeyRing, configuration: KeyRing) {
        self.store = store
        self.configuration = configuration
    }
}

extension SealedPlace {
    /// What a value in this place is bound to.
    /// - Parameters:
    ///   - account: SID of the account.
    ///   - sid: of the row.
    func context(account: String, sid: String) -> [String] {
        switch self {
        case .authTokens, .formerAuthTokens: [account, "auth-token"]
        case .credentials: [account, sid, "credential"]
        case .codeSecrets: [account, sid, "totp-secret"]
        case .numbers: [account, sid, "number"]
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
    /// A value that no key opens, or that cannot be sealed.
    init(sealing error: any Error) {
        switch error {
        case let error as StoreError: self = error
        case let error as SealError: self = .failed("a sealed value cannot be opened: \(error)")
        default: self = .failed("\(type(of: error))")
        }
    }
}

extension Decision {
    /// In the transaction of every value that is sealed: a rotation that ends meanwhile does not call its key unused.
    func noteSealing(_ value: SealedValue) throws { try rows.noteSealing(value.keyID, proof: rules.keyProof) }
}

extension ChallengeStore {
    /// Compares the keys with what the store is sealed with, and notes the first one, before it seals anything.
    /// - Parameter store: what it is called in a complaint.
    /// - Throws: ``StoreError/failed(_:)`` that says which key is missing or wrong.
    package static func checkSealingKeys(
        _ ring: KeyRing, of store: String, in rows: any StoreTransaction
    ) throws {
        let known = try rows.sealingKeys()
        let findings: [(keyID: String, finding: SealingKeys.Finding)] = try known.map { keyID, proof in
            (keyID, try SealingKeys.finding(keyID, in: ring, proof: proof) { try rows.sample(under: keyID) })
        }
        if let complaint = SealingKeys.complaint(findings, path: store) { throw StoreError.failed(complaint) }
        for key in ring.keys where known.contains(where: { $0.keyID == key.id && $0.proof == nil }) {
            try rows.setProof(SealingKeys.proof(of: KeyRing(keys: [key])), ofKey: key.id)
        }
        if !known.contains(where: { $0.keyID == ring.first.id }) {
            try rows.noteSealing(ring.first.id, proof: SealingKeys.proof(of: ring))
        }
    }

    /// Seals every value under the first store key that another one sealed. Works beside a producer, a few hundred values a
    /// transaction; one that was stopped goes on where it was, because what is left is what has another key's id.
    /// - Parameter onProgress: called after each transaction.
    /// - Throws: `CancellationError` between two transactions.
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
    /// - Returns: behind which SID it goes on, nil: nowhere; values sealed again, and values that could not be opened.
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
            try rows.replace(place, of: row.sid, with: rules.seal(value, context))
            done += 1
        }
        return (found.count == some ? found.last?.sid : nil, done, left)
    }

    /// Takes away the keys but the first that no value is sealed under. - Returns: their ids.
    fileprivate func retireSealingKeys(but first: String) throws -> [String] {
        try rows.sealingKeys().map(\.keyID).filter { keyID in
            guard keyID != first, try rows.sample(under: keyID) == nil else { return false }
            try rows.deleteSealingKey(keyID)
            return true
        }
    }
}

extension StoreTransaction {
    /// Any value that is sealed under a key.
    fileprivate func sample(under keyID: String) throws -> (sealed: [UInt8], context: [String])? {
        for place in SealedPlace.allCases {
            guard let row = try sealedRows(place, under: keyID, after: "", limit: 1).first else { continue }
            return (row.sealed, place.context(account: row.account, sid: row.sid))
        }
        return nil
    }
}
