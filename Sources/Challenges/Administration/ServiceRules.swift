public import ChallengeModel

extension ChallengeStore {
    public func createService(_ new: NewService, nowMs: Int64) async throws -> Service {
        let service = Service(
            sid: .generate(nowMs: nowMs), account: new.account, friendlyName: new.friendlyName,
            includeDate: new.includeDate, apnCredential: new.apnCredential, fcmCredential: new.fcmCredential,
            settings: new.settings, createdAtMs: nowMs, updatedAtMs: nowMs, hmsCredential: new.hmsCredential,
            webPushCredential: new.webPushCredential, policy: new.policy)
        try await write(nowMs) { decision in
            try decision.rows.lock(new.account)
            try decision.requireAccount(new.account)
            try decision.requireCredentials(of: service)
            try decision.rows.insert(service)
            try decision.audit("service.created", account: new.account, subject: service.sid.rawValue)
        }
        return service
    }

    public func service(_ sid: ServiceSID, account: AccountSID) async throws -> Service? {
        try await engine.read { try $0.service(sid, account: account) }
    }

    public func services(account: AccountSID, page: PageRequest) async throws -> Page<Service> {
        try await engine.read { try $0.services(account: account, page: page) }
    }

    public func updateService(
        _ sid: ServiceSID, account: AccountSID, _ change: ServiceChange, nowMs: Int64
    ) async throws -> Service {
        try await write(nowMs) { decision in
            try decision.rows.lock(account)
            guard let former = try decision.rows.service(sid, account: account) else {
                throw StoreError.notFound(.service)
            }
            var service = former
            service.apply(change)
            service.updatedAtMs = nowMs
            // Credentials that do not change were checked when they were set.
            try decision.requireCredentials(of: service, but: former)
            try decision.rows.update(service)
            try decision.audit(
                "service.updated", account: account, subject: sid.rawValue,
                details: SettingChanges(from: former, to: service).members)
            return service
        }
    }

    /// Marks a service as deleted, which takes effect at once. The sweep deletes its entities, a bounded number at a
    /// time.
    public func deleteService(_ sid: ServiceSID, account: AccountSID, nowMs: Int64) async throws -> Bool {
        try await write(nowMs) { decision in
            guard try decision.rows.markDeleted(sid, account: account) else { return false }
            try decision.audit("service.deleted", account: account, subject: sid.rawValue)
            return true
        }
    }
}

extension Decision {
    /// A service may only push with credentials of its own account.
    /// - Parameter former: the former state of the service, whose credentials were checked before; nil: none.
    /// - Throws: `notFound(.credential)`.
    fileprivate func requireCredentials(of service: Service, but former: Service? = nil) throws {
        let places: [(KeyPath<Service, CredentialSID?>, type: String)] = [
            (\.apnCredential, "apn"), (\.fcmCredential, "fcm"), (\.hmsCredential, "hms"),
            (\.webPushCredential, "webpush"),
        ]
        for (place, type) in places {
            guard let sid = service[keyPath: place], sid != former?[keyPath: place] else { continue }
            guard try rows.credential(sid, account: service.account)?.type == type else {
                throw StoreError.notFound(.credential)
            }
        }
    }
}

extension Service {
    fileprivate mutating func apply(_ change: ServiceChange) {
        friendlyName = change.friendlyName ?? friendlyName
        includeDate = change.includeDate ?? includeDate
        apnCredential = change.apnCredential ?? apnCredential
        fcmCredential = change.fcmCredential ?? fcmCredential
        hmsCredential = change.hmsCredential ?? hmsCredential
        webPushCredential = change.webPushCredential ?? webPushCredential
        settings = change.settings ?? settings
        for setting in change.policy { policy.apply(setting) }
    }
}
