import ChallengeModel
import Challenges
import Testing

extension ConformanceCase {
    static let keys: [ConformanceCase] = [
        ConformanceCase("a key opens its account with its role, another secret does not, and revoked it opens nothing")
        {
            world in
            let (store, account) = (world.store, world.account)
            for role in AccountRole.allCases {
                let (key, secret) = try await store.createKey(
                    account: account, role: role, friendlyName: "till", nowMs: World.t0)
                #expect(secret.utf8.count == 43)
                // One published helper library refuses `-` and `_`.
                #expect(
                    secret.utf8.allSatisfy {
                        (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0)
                    })
                let principal = Principal(account: account, role: role, key: key.sid)
                for _ in 0..<2 {
                    #expect(try await store.authenticate(.key(key.sid, secret: secret), nowMs: World.t0) == principal)
                    for wrong in ["", "x" + secret, String(secret.dropLast())] {
                        #expect(try await store.authenticate(.key(key.sid, secret: wrong), nowMs: World.t0) == nil)
                    }
                }
                let other = try await store.createAccount(nowMs: World.t0).sid
                #expect(try await !store.revokeKey(key.sid, account: other, nowMs: World.t0))
                #expect(try await store.revokeKey(key.sid, account: account, nowMs: World.t0 + 1))
                #expect(try await !store.revokeKey(key.sid, account: account, nowMs: World.t0 + 2))
                #expect(try await store.authenticate(.key(key.sid, secret: secret), nowMs: World.t0) == nil)
            }
            let page = try await store.keys(account: account, page: PageRequest(size: 2))
            #expect(page.items.count == 2 && page.next != nil)
            let rest = try await store.keys(account: account, page: PageRequest(size: 3, after: page.next))
            #expect(rest.items.count == AccountRole.allCases.count - 2 && rest.next == nil)
            #expect(
                (page.items + rest.items).allSatisfy { $0.revokedAtMs == World.t0 + 1 && $0.friendlyName == "till" })
            #expect(
                await storeError {
                    _ = try await store.createKey(
                        account: .generate(nowMs: 0), role: .full, friendlyName: "", nowMs: World.t0)
                } == .notFound(.account))
        },
        ConformanceCase("an account has at most 200 keys that are not revoked") { world in
            var last: APIKeySID?
            for _ in 0..<200 {
                last = try await world.store.createKey(
                    account: world.account, role: .read, friendlyName: "", nowMs: World.t0
                ).0.sid
            }
            let one: () async throws -> Void = {
                _ = try await world.store.createKey(
                    account: world.account, role: .read, friendlyName: "", nowMs: World.t0)
            }
            #expect(await storeError(one) == .limit(.keys))
            #expect(try await world.store.revokeKey(try #require(last), account: world.account, nowMs: World.t0))
            #expect(await storeError(one) == nil)
        },
        ConformanceCase("while a token is rotated two are good, then the new one only") { world in
            let (store, account) = (world.store, world.account)
            func isGood(_ token: String, _ nowMs: Int64) async throws -> Bool {
                try await store.authenticate(.account(account, authToken: token), nowMs: nowMs) != nil
            }
            let second = try await store.rotateAuthToken(account, keepFormerMs: 1000, nowMs: World.t0)
            #expect(second.authToken != world.authToken && second.sid == account)
            #expect(try await isGood(second.authToken, World.t0))
            #expect(try await !isGood(world.authToken, World.t0 + 1000), "its time is over")
            #expect(try await isGood(world.authToken, World.t0 + 999))
            let third = try await store.rotateAuthToken(account, keepFormerMs: 1000, nowMs: World.t0 + 10)
            #expect(try await !isGood(world.authToken, World.t0 + 11), "two are good, not three")
            #expect(try await isGood(second.authToken, World.t0 + 11))
            let fourth = try await store.rotateAuthToken(account, keepFormerMs: 0, nowMs: World.t0 + 20)
            #expect(try await !isGood(third.authToken, World.t0 + 20))
            #expect(try await isGood(fourth.authToken, World.t0 + 20))
            #expect(
                await storeError {
                    _ = try await store.rotateAuthToken(.generate(nowMs: 0), keepFormerMs: 0, nowMs: World.t0)
                } == .notFound(.account))
        },
        ConformanceCase("a change that fails leaves no mark in the trail, and the trail goes when its time is over") {
            world in
            let (store, account) = (world.store, world.account)
            let before = try await trail(of: world).count
            let context = ChangeContext(actor: "SK" + String(repeating: "1", count: 100), requestID: "RQ1")
            try await ChangeContext.$current.withValue(context) { () async throws in
                let entity = try await store.createEntity(
                    account: account, service: world.service, identity: "Person-0009", nowMs: World.t0)
                #expect(
                    await storeError {
                        _ = try await store.createEntity(
                            account: account, service: world.service, identity: "person-0009", nowMs: World.t0)
                    } == .conflict(.entity))
                let events = try await trail(of: world)
                #expect(events.count == before + 1)
                #expect(events[0].action == "entity.created" && events[0].subject == entity.sid.rawValue)
                #expect(events[0].actor.utf8.count == 64 && events[0].requestID == "RQ1")
            }
            _ = try await store.createAccessToken(
                NewAccessToken(account: account, service: world.service, identity: "Person-0009"), nowMs: World.t0)
            _ = try await store.sweep(limit: 100, nowMs: World.t0 + 31 * 86_400_000)
            #expect(try await trail(of: world).contains { $0.action == "entity.created" })
            #expect(try await !trail(of: world).contains { $0.action == "access_token.created" }, "traffic: 30 days")
            _ = try await store.sweep(limit: 100, nowMs: World.t0 + 401 * 86_400_000)
            #expect(try await trail(of: world).isEmpty)
            let other = try await store.createAccount(nowMs: World.t0).sid
            #expect(
                try await store.auditEvents(AuditFilter(account: other), page: PageRequest()).items.map(\.action)
                    == ["account.created"])
        },
        ConformanceCase("a device's token is claimed with the change, by one request, until it ends") { world in
            let store = world.store
            let factor = try await world.factor()
            var change = FactorChange()
            change.friendlyName = "new"
            let changed = change
            func request(_ number: UInt8) -> TokenUse {
                TokenUse(
                    fingerprint: [UInt8](repeating: 7, count: 32), request: [UInt8](repeating: number, count: 32),
                    expiresAtMs: World.t0 + 1000)
            }
            func update(_ number: UInt8) async -> StoreError? {
                await storeError {
                    try await ChangeContext.$current.withValue(
                        ChangeContext(actor: "x", tokenUse: request(number))
                    ) {
                        _ = try await store.updateFactor(factor.sid, changed, nowMs: World.t0)
                    }
                }
            }
            let fingerprint = request(1).fingerprint
            #expect(
                await storeError {
                    try await ChangeContext.$current.withValue(ChangeContext(actor: "x", tokenUse: request(9))) {
                        _ = try await store.updateFactor(.generate(nowMs: 0), changed, nowMs: World.t0)
                    }
                } == .notFound(.factor))
            #expect(try await store.useOfDeviceToken(fingerprint, nowMs: World.t0) == nil, "nothing was changed")
            #expect(await update(1) == nil)
            #expect(await update(1) == nil)
            #expect(await update(2) == .tokenReplayed)
            #expect(try await store.useOfDeviceToken(fingerprint, nowMs: World.t0 + 999) == request(1).request)
            #expect(try await store.useOfDeviceToken(fingerprint, nowMs: World.t0 + 1000) == nil)
            _ = try await store.sweep(limit: 100, nowMs: World.t0 + 1000)
            #expect(await update(2) == .tokenReplayed, "a Producer whose clock is behind takes the token still")
            _ = try await store.sweep(limit: 100, nowMs: World.t0 + 1000 + 15 * 60_000)
            #expect(await update(2) == nil, "the row is gone")
        },
    ]
}

private func trail(of world: World) async throws -> [AuditEvent] {
    try await world.store.auditEvents(AuditFilter(account: world.account), page: PageRequest(size: 1000)).items
}
