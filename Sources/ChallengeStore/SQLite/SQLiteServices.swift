public import ChallengeModel
import GRDB

extension SQLiteChallengeStore {
    public func createService(_ new: NewService, nowMs: Int64) async throws -> Service {
        let sid = ServiceSID.generate(nowMs: nowMs)
        return try await write { database in
            guard try database.exists("SELECT 1 FROM accounts WHERE sid = ?", [new.account.rawValue]) else {
                throw StoreError.notFound(.account)
            }
            try database.requireCredential(new.apnCredential, type: "apn", account: new.account)
            try database.requireCredential(new.fcmCredential, type: "fcm", account: new.account)
            try database.requireCredential(new.hmsCredential, type: "hms", account: new.account)
            try database.requireCredential(new.webPushCredential, type: "webpush", account: new.account)
            try database.run(
                """
                INSERT INTO services (\(Service.columns)) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                """,
                [
                    sid.rawValue, new.account.rawValue, new.friendlyName, new.includeDate, new.apnCredential?.rawValue,
                    new.fcmCredential?.rawValue, new.settings, nowMs, nowMs, new.hmsCredential?.rawValue,
                    new.webPushCredential?.rawValue, try new.policy.stored,
                ])
            try database.audit("service.created", account: new.account, subject: sid.rawValue, nowMs: nowMs)
            return Service(
                sid: sid, account: new.account, friendlyName: new.friendlyName, includeDate: new.includeDate,
                apnCredential: new.apnCredential, fcmCredential: new.fcmCredential, settings: new.settings,
                createdAtMs: nowMs, updatedAtMs: nowMs, hmsCredential: new.hmsCredential,
                webPushCredential: new.webPushCredential, policy: new.policy)
        }
    }

    public func service(_ sid: ServiceSID, account: AccountSID) async throws -> Service? {
        try await read { try $0.service(sid, account: account) }
    }

    public func services(account: AccountSID, page request: PageRequest) async throws -> Page<Service> {
        try await read { database in
            let rows = try database.rows(
                """
                SELECT \(Service.columns) FROM services WHERE account_sid = ? AND deleted = 0 AND sid > ? \
                ORDER BY sid LIMIT ?
                """, [account.rawValue, request.after ?? "", request.clampedSize + 1])
            return try page(rows, request, cursor: \.sid.rawValue, Service.init(row:))
        }
    }

    public func updateService(
        _ sid: ServiceSID, account: AccountSID, _ change: ServiceChange, nowMs: Int64
    ) async throws -> Service {
        try await write { database in
            guard var service = try database.service(sid, account: account) else { throw StoreError.notFound(.service) }
            try database.requireCredential(change.apnCredential ?? nil, type: "apn", account: account)
            try database.requireCredential(change.fcmCredential ?? nil, type: "fcm", account: account)
            try database.requireCredential(change.hmsCredential ?? nil, type: "hms", account: account)
            try database.requireCredential(change.webPushCredential ?? nil, type: "webpush", account: account)
            let former = service
            service.friendlyName = change.friendlyName ?? service.friendlyName
            service.includeDate = change.includeDate ?? service.includeDate
            service.apnCredential = change.apnCredential ?? service.apnCredential
            service.fcmCredential = change.fcmCredential ?? service.fcmCredential
            service.hmsCredential = change.hmsCredential ?? service.hmsCredential
            service.webPushCredential = change.webPushCredential ?? service.webPushCredential
            service.settings = change.settings ?? service.settings
            for setting in change.policy { service.policy.apply(setting) }
            service.updatedAtMs = nowMs
            try database.run(
                """
                UPDATE services SET friendly_name = ?, include_date = ?, apn_credential_sid = ?, fcm_credential_sid = ?, \
                hms_credential_sid = ?, webpush_credential_sid = ?, settings = ?, policy = ?, updated_ms = ? WHERE sid = ?
                """,
                [
                    service.friendlyName, service.includeDate, service.apnCredential?.rawValue,
                    service.fcmCredential?.rawValue, service.hmsCredential?.rawValue,
                    service.webPushCredential?.rawValue, service.settings, try service.policy.stored, nowMs,
                    sid.rawValue,
                ])
            try database.audit(
                "service.updated", account: account, subject: sid.rawValue,
                detail: SettingChanges(from: former, to: service).text, nowMs: nowMs)
            return service
        }
    }

    /// The service reads as gone at once; the sweep takes its entities away, a bounded number at a time.
    public func deleteService(_ sid: ServiceSID, account: AccountSID, nowMs: Int64) async throws -> Bool {
        try await write { database in
            guard
                try database.changes(
                    "UPDATE services SET deleted = 1 WHERE sid = ? AND account_sid = ? AND deleted = 0",
                    [sid.rawValue, account.rawValue])
            else { return false }
            try database.audit("service.deleted", account: account, subject: sid.rawValue, nowMs: nowMs)
            return true
        }
    }
}

extension Database {
    func service(_ sid: ServiceSID, account: AccountSID) throws -> Service? {
        try row(
            "SELECT \(Service.columns) FROM services WHERE sid = ? AND account_sid = ? AND deleted = 0",
            [sid.rawValue, account.rawValue]
        ).map(Service.init(row:))
    }

    /// A service may only push with credentials of its own account.
    func requireCredential(_ sid: CredentialSID?, type: String, account: AccountSID) throws {
        guard let sid else { return }
        guard
            try exists(
                "SELECT 1 FROM credentials WHERE sid = ? AND account_sid = ? AND type = ?",
                [sid.rawValue, account.rawValue, type])
        else { throw StoreError.notFound(.credential) }
    }
}

extension Service {
    static let columns = """
        sid, account_sid, friendly_name, include_date, apn_credential_sid, fcm_credential_sid, settings, created_ms, \
        updated_ms, hms_credential_sid, webpush_credential_sid, policy
        """

    init(row: Row) throws {
        var columns = Columns(row)
        self.init(
            sid: try columns.sid(), account: try columns.sid(), friendlyName: columns.text(),
            includeDate: columns.flag(),
            apnCredential: try columns.optionalSID(), fcmCredential: try columns.optionalSID(),
            settings: columns.text(),
            createdAtMs: columns.int64(), updatedAtMs: columns.int64(), hmsCredential: try columns.optionalSID(),
            webPushCredential: try columns.optionalSID(), policy: try ServicePolicy(stored: columns.optionalText()))
    }

    /// The credential that pushes for a platform; nil: there is none.
    func credential(for platform: Platform) -> CredentialSID? {
        switch platform {
        case .apn: apnCredential
        case .fcm: fcmCredential
        case .hms: hmsCredential
        case .webpush: webPushCredential
        default: nil
        }
    }
}
