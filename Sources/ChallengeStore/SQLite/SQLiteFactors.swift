public import ChallengeModel
import Foundation
import GRDB

extension SQLiteChallengeStore {
    public func createFactor(_ new: NewFactor, accessToken: String?, nowMs: Int64) async throws -> Factor {
        let sid = FactorSID.generate(variant: 0x03, nowMs: nowMs)
        return try await write { database in
            let service = try database.service(new.service, account: new.account)
            guard let policy = service?.policy else { throw StoreError.notFound(.service) }
            let existing = try database.entity(account: new.account, service: new.service, identity: new.identity)
            if existing == nil, EntitySID(new.identity) != nil { throw StoreError.notFound(.entity) }
            let token = try accessToken.map {
                try database.useAccessToken($0, for: new, identity: existing?.identity ?? new.identity, nowMs: nowMs)
            }
            let entity =
                try existing
                ?? ChangeContext.$current.withValue(.current.by(token)) {
                    try database.insertEntity(
                        account: new.account, service: new.service, identity: new.identity,
                        limit: self.entityCreationsPerSecond, nowMs: nowMs)
                }
            try database.pruneUnverified(
                "entity_sid = ?", [entity.sid.rawValue], createdBeforeMs: nowMs - StorePolicy.unverifiedLifeMs,
                limit: 100, nowMs: nowMs)
            guard
                try !database.exists(
                    "SELECT 1 FROM factors WHERE entity_sid = ? AND public_key = ?",
                    [entity.sid.rawValue, blob(new.publicKey)])
            else { throw StoreError.conflict(.factor) }
            try database.admitFactor(new, of: entity.sid, policy: policy)
            try database.countFactorCreation(sid, of: entity.sid, nowMs: nowMs)
            let factor = Factor(
                sid: sid, account: new.account, service: new.service,
                entity: entity.sid, identity: entity.identity, friendlyName: new.friendlyName, isVerified: false,
                publicKey: new.publicKey, keyID: .generate(nowMs: nowMs), platform: new.platform,
                pushToken: new.platform == .noPush ? nil : new.pushToken, appID: new.appID,
                environment: new.environment, sdkVersion: new.sdkVersion,
                notificationsEnabled: new.notificationsEnabled,
                metadata: new.metadata, registeredAtMs: nowMs, createdAtMs: nowMs, updatedAtMs: nowMs, signedAtMs: nowMs
            )
            try database.insert(factor, accessToken: token)
            try ChangeContext.$current.withValue(.current.by(token)) {
                try database.emit(.factorCreated, factor, nowMs: nowMs)
            }
            return factor
        }
    }

    public func factor(
        _ sid: FactorSID, account: AccountSID, service: ServiceSID, identity: String
    ) async throws -> Factor? {
        try await read { database in
            guard let entity = try database.entity(account: account, service: service, identity: identity) else {
                return nil
            }
            return try database.row(
                "SELECT \(Factor.columns) FROM factors WHERE sid = ? AND entity_sid = ?",
                [sid.rawValue, entity.sid.rawValue]
            ).map(Factor.init(row:))
        }
    }

    public func factor(keyID: String) async throws -> Factor? {
        try await read { database in
            guard let row = try database.row("SELECT \(Factor.columns) FROM factors WHERE key_id = ?", [keyID]) else {
                return nil
            }
            let factor = try Factor(row: row)
            return try database.service(factor.service, account: factor.account) == nil ? nil : factor
        }
    }

    public func factors(
        account: AccountSID, service: ServiceSID, identity: String, page request: PageRequest
    ) async throws -> Page<Factor> {
        try await read { database in
            guard let entity = try database.entity(account: account, service: service, identity: identity) else {
                return Page(items: [], next: nil)
            }
            let rows = try database.rows(
                "SELECT \(Factor.columns) FROM factors WHERE entity_sid = ? AND sid > ? ORDER BY sid LIMIT ?",
                [entity.sid.rawValue, request.after ?? "", request.clampedSize + 1])
            return try page(rows, request, cursor: \.sid.rawValue, Factor.init(row:))
        }
    }

    public func updateFactor(
        _ sid: FactorSID, isProven: Bool, _ change: FactorChange, nowMs: Int64
    ) async throws -> Factor {
        try await write { database in
            let factor = try database.factor(sid)
            // The same request again, because its reply was lost: what was changed since then stands.
            guard !ChangeContext.current.isRepeated else { return factor }
            // Whom the factor replaces is told by what it has with its change.
            let changed = try database.apply(change, to: factor, limits: self.limits, nowMs: nowMs)
            return isProven ? try database.verify(changed, nowMs: nowMs) : changed
        }
    }

    public func deleteFactor(_ sid: FactorSID, nowMs: Int64) async throws -> Bool {
        try await write { database in
            guard let row = try database.row("SELECT \(Factor.columns) FROM factors WHERE sid = ?", [sid.rawValue])
            else { return false }
            try database.delete(Factor(row: row), reason: .requested, nowMs: nowMs)
            return true
        }
    }
}

extension ChangeContext {
    /// On behalf of whoever holds the access token.
    func by(_ accessToken: AccessTokenSID?) -> ChangeContext {
        var context = self
        if let accessToken { context.actor = accessToken.rawValue }
        return context
    }
}

/// Why a factor went, as `factor.deleted` says it.
enum FactorDeletion: String {
    case requested
    /// Another one was verified with its push token, platform and app, or for want of room in its place.
    case replaced
    case entityDeleted = "entity-deleted"
    case neverVerified = "never-verified"
    /// Its access token was spent on another factor.
    case tokenSpent = "token-spent"
    /// Its push token was dead for as long as the service allows.
    case unreachable
}

extension Factor {
    mutating func apply(_ change: FactorChange) {
        friendlyName = change.friendlyName ?? friendlyName
        platform = change.platform ?? platform
        pushToken = platform == .noPush ? nil : change.pushToken ?? pushToken
        appID = change.appID ?? appID
        environment = change.environment ?? environment
        sdkVersion = change.sdkVersion ?? sdkVersion
        notificationsEnabled = change.notificationsEnabled ?? notificationsEnabled
    }

    /// A provider would see the same device and app.
    func hasRegistration(of other: Factor) -> Bool {
        platform == other.platform && pushToken == other.pushToken && appID == other.appID
            && environment == other.environment
    }
}
