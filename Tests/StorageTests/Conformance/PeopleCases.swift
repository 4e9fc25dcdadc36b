import ChallengeModel
import Challenges
import Testing
import Wire

extension ConformanceCase {
    static let people: [ConformanceCase] = [
        ConformanceCase("an account makes 40 entities within a second, by their own call or by a first factor") {
            world in
            func make(_ number: Int, _ atMs: Int64) async throws {
                _ = try await world.store.createEntity(
                    account: world.account, service: world.service, identity: "many-\(1000 + number)", nowMs: atMs)
            }
            for number in 0..<39 { try await make(number, World.t0 + Int64(number) * 20) }
            _ = try await world.factor(nowMs: World.t0 + 800)
            let last = World.t0 + 999
            #expect(await storeError { try await make(40, last) } == .limit(.entityCreations))
            #expect(
                await storeError { _ = try await world.factor(identity: "other-0001", nowMs: last) }
                    == .limit(.entityCreations))
            // Another account's do not count; a factor of an entity that is there makes none; the first leaves the
            // window.
            let other = try await world.store.createAccount(nowMs: World.t0).sid
            let service = try await world.store.createService(
                NewService(account: other, friendlyName: "s"), nowMs: World.t0
            ).sid
            _ = try await world.store.createEntity(
                account: other, service: service, identity: "other-0001", nowMs: last)
            _ = try await world.factor(nowMs: last)
            try await make(41, last + 1)
            // A clock that was set back counts nothing of what it has yet to come to.
            try await make(42, World.t0 - 5000)
        },
        ConformanceCase("an identity is found in any case and by its SID, and keeps its own spelling") { world in
            let store = world.store
            let made = try await store.createEntity(
                account: world.account, service: world.service, identity: "Ann-0001", nowMs: World.t0)
            for text in ["Ann-0001", "ANN-0001", made.sid.rawValue] {
                let found = try await store.entity(account: world.account, service: world.service, identity: text)
                #expect(found == made, "\(text)")
            }
            #expect(
                await storeError {
                    _ = try await store.createEntity(
                        account: world.account, service: world.service, identity: "ann-0001", nowMs: World.t0)
                } == .conflict(.entity))
            // As an identity the SID of another would open that one's challenges.
            #expect(
                await storeError {
                    _ = try await store.createEntity(
                        account: world.account, service: world.service,
                        identity: EntitySID.generate(nowMs: 1).rawValue, nowMs: World.t0)
                } == .conflict(.entity))
            let other = try await store.createAccount(nowMs: World.t0).sid
            #expect(try await store.entity(account: other, service: world.service, identity: "Ann-0001") == nil)
            #expect(
                await storeError {
                    _ = try await store.createEntity(
                        account: other, service: world.service, identity: "bob-0001", nowMs: World.t0)
                } == .notFound(.service))
        },
        ConformanceCase("deleting an entity cancels what is live and takes factors and challenges away") { world in
            let factor = try await world.factor()
            let live = try await world.challenge()
            let closed = try await world.challenge()
            _ = try await world.store.answer(world.answer(closed.sid, factor.sid), nowMs: World.t0 + 1)
            _ = try await world.drain()
            #expect(
                try await world.store.deleteEntity(
                    account: world.account, service: world.service, identity: world.identity.uppercased(),
                    nowMs: World.t0 + 2))
            let left = try await world.drain()
            #expect(try left.resolutions.map(\.challengeSid) == [live.sid.rawValue])
            #expect(try left.eventTypes == ["challenge.canceled", "factor.deleted"])
            #expect(try await world.store.factor(keyID: factor.keyID.rawValue) == nil)
            _ = try await world.store.sweep(limit: 10, nowMs: World.t0 + 3)
            // The same person anew has nothing of the old one.
            let again = try await world.factor()
            #expect(try await world.stored(closed.sid) == nil)
            #expect(
                await storeError {
                    _ = try await world.store.answer(world.answer(closed.sid, again.sid), nowMs: World.t0 + 4)
                } == .notFound(.challenge))
        },
        ConformanceCase("an access token is good for its identity, three tries, one verified factor, and its time") {
            world in
            let store = world.store
            let new = NewAccessToken(
                account: world.account, service: world.service, identity: "ANN-0001", ttlSeconds: 60)
            let (token, secret) = try await store.createAccessToken(new, nowMs: World.t0)
            #expect(Base64URL.decode(secret)?.count == 32)
            #expect(
                try await store.accessToken(token.sid, account: world.account, service: world.service) == token)
            func enrol(_ identity: String, _ secret: String, at nowMs: Int64 = World.t0) async -> StoreError? {
                await storeError {
                    _ = try await store.createFactor(
                        world.newFactor(identity: identity), accessToken: secret, nowMs: nowMs)
                }
            }
            #expect(await enrol("bob-0001", secret) == .accessTokenRefused)
            #expect(await enrol("ann-0001", "x" + secret) == .accessTokenRefused)
            #expect(await enrol("ann-0001", secret, at: World.t0 + 60_000) == .accessTokenRefused)
            var factors: [Factor] = []
            for _ in 0..<3 {
                factors.append(
                    try await store.createFactor(
                        world.newFactor(identity: "ann-0001"), accessToken: secret, nowMs: World.t0 + 59_999))
            }
            #expect(await enrol("ann-0001", secret) == .accessTokenRefused)
            _ = try await world.drain()
            _ = try await store.verifyFactor(factors[1].sid, nowMs: World.t0 + 61_000)
            #expect(await enrol("ann-0001", secret) == .accessTokenRefused)
            // The other tries of the same phone are gone: one token makes one verified factor.
            #expect(
                await storeError { _ = try await store.verifyFactor(factors[0].sid, nowMs: World.t0) }
                    == .notFound(.factor))
            #expect(try await world.drain().eventTypes == ["factor.deleted", "factor.deleted", "factor.verified"])
        },
        ConformanceCase("a spent access token refuses at once") { world in
            let (_, secret) = try await world.store.createAccessToken(
                NewAccessToken(account: world.account, service: world.service, identity: world.identity),
                nowMs: World.t0)
            let factor = try await world.store.createFactor(
                world.newFactor(), accessToken: secret, nowMs: World.t0)
            _ = try await world.store.verifyFactor(factor.sid, nowMs: World.t0)
            #expect(
                await storeError {
                    _ = try await world.store.createFactor(
                        world.newFactor(), accessToken: secret, nowMs: World.t0)
                } == .accessTokenRefused)
        },
        ConformanceCase("a factor makes its entity, has a key id of its own, and its key stands once") { world in
            let key = World.publicKey()
            let new = world.newFactor(key: key)
            let factor = try await world.store.createFactor(new, accessToken: nil, nowMs: World.t0)
            #expect(factor.sid.rawValue.hasPrefix("YF03") && !factor.isVerified && factor.publicKey == key)
            #expect(try await world.store.factor(keyID: factor.keyID.rawValue) == factor)
            #expect(
                try await world.store.factor(
                    factor.sid, account: world.account, service: world.service, identity: world.identity) == factor)
            #expect(
                try await world.store.factor(
                    factor.sid, account: world.account, service: world.service, identity: "someone-else") == nil)
            #expect(
                await storeError { _ = try await world.store.createFactor(new, accessToken: nil, nowMs: World.t0) }
                    == .conflict(.factor))
            let event = try await world.drain().event(.factorCreated)
            #expect(event.id == "\(factor.sid)/factor.created")
            #expect(event.data["entity_identity"] == .string(world.identity))
        },
        ConformanceCase("the 21st factor is refused; those never verified in a day make room") { world in
            var first: Factor?
            for _ in 0..<20 {
                let factor = try await world.factor(isVerified: false)
                first = first ?? factor
            }
            #expect(await storeError { _ = try await world.factor() } == .factorLimit(bound: 20))
            let tomorrow = World.t0 + 24 * 3_600_000
            #expect(
                await storeError { _ = try await world.store.verifyFactor(first!.sid, nowMs: tomorrow) }
                    == .notFound(.factor))
            _ = try await world.factor(nowMs: tomorrow)
            let left = try await world.store.factors(
                account: world.account, service: world.service, identity: world.identity, page: PageRequest())
            #expect(left.items.count == 1)
        },
        ConformanceCase(
            "factors never verified count to the 20 where one more is refused, and beside them where the oldest makes room"
        ) { world in
            _ = try await world.factor()
            for _ in 0..<19 { _ = try await world.factor(isVerified: false) }
            #expect(await storeError { _ = try await world.factor(isVerified: false) } == .factorLimit(bound: 20))
            var change = ServiceChange()
            change.policy = [.whenFull(.replaceOldest)]
            _ = try await world.store.updateService(world.service, account: world.account, change, nowMs: World.t0)
            _ = try await world.factor(isVerified: false)
            #expect(await storeError { _ = try await world.factor(isVerified: false) } == .factorLimit(bound: 20))
        },
        ConformanceCase("verifying twice changes nothing; the same device enrolled anew replaces its older factor") {
            world in
            let old = try await world.factor(token: "same-token")
            let other = try await world.factor(.fcm, token: "same-token")
            let challenge = try await world.challenge()
            _ = try await world.drain()
            #expect(try await world.store.verifyFactor(old.sid, nowMs: World.t0 + 9) == old)
            #expect(try await world.drain().rows.isEmpty)
            let new = try await world.factor(token: "same-token", nowMs: World.t0 + 10)
            let left = try await world.drain()
            #expect(try left.event(.factorDeleted).data["factor_sid"] == .string(old.sid.rawValue))
            #expect(try left.event(.factorDeleted).data["reason"] == "replaced")
            #expect(try left.event(.factorVerified).data["other_factors"] == .integer(1))
            let change = try #require(try left.deviceChanges.first)
            #expect(
                change.gone && change.factorSid == old.sid.rawValue && change.challengeSid == challenge.sid.rawValue)
            let factors = try await world.store.factors(
                account: world.account, service: world.service, identity: world.identity, page: PageRequest())
            #expect(factors.items.map(\.sid) == [other.sid, new.sid])
        },
        ConformanceCase("a device that sends its push token after its verification replaces its older factor too") {
            world in
            let old = try await world.factor(token: "same-token")
            let other = try await world.factor(.fcm, token: "same-token")
            let new = try await world.factor(.noPush, nowMs: World.t0 + 10)
            let challenge = try await world.challenge()
            _ = try await world.drain()
            var change = FactorChange()
            change.platform = .apn
            change.pushToken = "same-token"
            // One that was never verified takes nobody's place.
            let early = try await world.factor(.noPush, isVerified: false)
            _ = try await world.store.updateFactor(early.sid, change, nowMs: World.t0 + 20)
            #expect(try await world.now(old) != nil)
            _ = try await world.drain()
            _ = try await world.store.updateFactor(new.sid, change, nowMs: World.t0 + 30)
            #expect(try await world.now(old) == nil)
            for factor in [other, early] { #expect(try await world.now(factor) != nil) }
            let left = try await world.drain()
            #expect(try left.eventTypes == ["factor.deleted", "factor.updated"])
            #expect(try left.event(.factorDeleted).data["factor_sid"] == .string(old.sid.rawValue))
            #expect(try left.event(.factorDeleted).data["reason"] == "replaced")
            let told = try left.deviceChanges
            #expect(told.allSatisfy { $0.challengeSid == challenge.sid.rawValue })
            #expect(told.map(\.factorSid) == [old.sid.rawValue, new.sid.rawValue])
            #expect(told.map(\.gone) == [true, false])
        },
        ConformanceCase(
            "proof and change of one request are one transaction; whom it replaces makes room for nobody else"
        ) {
            world in
            var change = ServiceChange()
            change.policy = [.maxFactors(2), .whenFull(.replaceOldest)]
            _ = try await world.store.updateService(world.service, account: world.account, change, nowMs: World.t0)
            let oldest = try await world.factor(token: "other-token")
            let old = try await world.factor(token: "same-token", nowMs: World.t0 + 1)
            let new = try await world.factor(.noPush, isVerified: false, nowMs: World.t0 + 2)
            _ = try await world.drain()
            var push = FactorChange()
            push.platform = .apn
            push.pushToken = "same-token"
            let store = world.store
            let commits = store.commits
            let done = try await store.updateFactor(new.sid, isProven: true, push, nowMs: World.t0 + 3)
            #expect(store.commits == commits + 1)
            #expect(done.isVerified && done.pushToken == "same-token" && done.updatedAtMs == World.t0 + 3)
            #expect(try await world.now(done) == done)
            #expect(try await world.now(oldest) != nil)
            #expect(try await world.now(old) == nil)
            #expect(try await world.drain().eventTypes == ["factor.updated", "factor.deleted", "factor.verified"])
        },
        ConformanceCase("a device's request that comes again changes nothing that was changed since") { world in
            let factor = try await world.factor()
            let challenge = try await world.challenge()
            _ = try await world.drain()
            var (off, on) = (FactorChange(), FactorChange())
            (off.notificationsEnabled, on.notificationsEnabled) = (false, true)
            var receipt = Receipt()
            receipt.challengeSid = challenge.sid.rawValue
            receipt.factorSid = factor.sid.rawValue
            func asked(_ number: UInt8, _ body: () async throws -> Void) async throws {
                let request = TokenUse(
                    fingerprint: [number], request: [number], expiresAtMs: World.t0 + 600_000)
                let context = ChangeContext(actor: factor.sid.rawValue, tokenUse: request)
                try await ChangeContext.$current.withValue(context) { try await body() }
            }
            let (told, silent) = (receipt, off)
            for number in [1, 2] as [UInt8] {
                for isAgain in [false, true] {
                    try await asked(number) {
                        if number == 1 {
                            try await world.store.recordReceipt(told, with: silent, nowMs: World.t0)
                        } else {
                            _ = try await world.store.updateFactor(factor.sid, silent, nowMs: World.t0)
                        }
                    }
                    #expect(try await world.now(factor)?.notificationsEnabled == isAgain)
                    let left = try await world.drain()
                    #expect(try left.receipts.count == (number == 1 && !isAgain ? 1 : 0))
                    #expect(
                        try left.eventTypes
                            == (isAgain ? [] : ["factor.updated", "factor.notifications_disabled"]))
                    _ = try await world.store.updateFactor(factor.sid, on, nowMs: World.t0)
                    _ = try await world.drain()
                }
            }
        },
        ConformanceCase("a new push token reaches live challenges only; a new name reaches none") { world in
            let factor = try await world.factor(token: "old")
            let bystander = try await world.factor(.fcm)
            let live = try await world.challenge(factor: factor.sid)
            let answered = try await world.challenge(factor: factor.sid)
            _ = try await world.challenge(factor: bystander.sid)
            _ = try await world.challenge(factor: factor.sid, expiresAtMs: World.t0 + 5)
            _ = try await world.store.answer(world.answer(answered.sid, factor.sid), nowMs: World.t0)
            _ = try await world.drain()
            var change = FactorChange()
            change.friendlyName = "renamed"
            _ = try await world.store.updateFactor(factor.sid, change, nowMs: World.t0 + 5)
            let renamed = try await world.drain()
            #expect(try renamed.eventTypes == ["factor.updated"] && renamed.deviceChanges.isEmpty)
            change.pushToken = "new"
            let updated = try await world.store.updateFactor(factor.sid, change, nowMs: World.t0 + 6)
            #expect(updated.registeredAtMs == World.t0 + 6 && updated.friendlyName == "renamed")
            let moved = try await world.drain()
            let told = try moved.deviceChanges
            #expect(told.map(\.challengeSid) == [live.sid.rawValue])
            #expect(told[0].target.pushToken == "new" && told[0].target.registeredAtMs == World.t0 + 6)
            #expect(told[0].target.credentialSid == world.apn.rawValue && !told[0].gone)
            #expect(told[0].target.backgroundBudget == 1)
            #expect(try renamed.events[0].id != moved.events[0].id)
            _ = try await world.store.updateFactor(factor.sid, change, nowMs: World.t0 + 7)
            #expect(try await world.drain().rows.isEmpty, "nothing changed")
        },
        ConformanceCase("notifications switched off are told once per change; without push the token goes") { world in
            let factor = try await world.factor()
            _ = try await world.drain()
            var change = FactorChange()
            change.notificationsEnabled = false
            _ = try await world.store.updateFactor(factor.sid, change, nowMs: World.t0)
            #expect(try await world.drain().eventTypes == ["factor.updated", "factor.notifications_disabled"])
            _ = try await world.challenge()
            #expect(try await world.drain().dispatches[0].targets[0].notificationsDisabled)
            change.platform = .noPush
            let silent = try await world.store.updateFactor(factor.sid, change, nowMs: World.t0)
            #expect(silent.pushToken == nil)
            #expect(try await world.drain().eventTypes == ["factor.updated"])
        },
        ConformanceCase("notifications switched off before the verification are told by it, once") { world in
            let factor = try await world.factor(isVerified: false)
            var change = FactorChange()
            change.notificationsEnabled = false
            _ = try await world.store.updateFactor(factor.sid, change, nowMs: World.t0)
            _ = try await world.store.verifyFactor(factor.sid, nowMs: World.t0)
            // Both in one request.
            let other = try await world.factor(isVerified: false)
            _ = try await world.store.updateFactor(other.sid, isProven: true, change, nowMs: World.t0)
            let told = try await world.drain().events.filter { $0.type == "beckon.factor.notifications_disabled" }
            #expect(told.map { $0.data["factor_sid"] } == [factor, other].map { .string($0.sid.rawValue) })
        },
        ConformanceCase("a deleted factor is gone for live challenges and for its own requests") { world in
            let factor = try await world.factor()
            let challenge = try await world.challenge()
            _ = try await world.drain()
            #expect(try await world.store.deleteFactor(factor.sid, nowMs: World.t0))
            #expect(try await !world.store.deleteFactor(factor.sid, nowMs: World.t0))
            let left = try await world.drain()
            #expect(try left.deviceChanges.map(\.gone) == [true])
            #expect(try left.event(.factorDeleted).data["reason"] == "requested")
            #expect(
                await storeError {
                    _ = try await world.store.answer(world.answer(challenge.sid, factor.sid), nowMs: World.t0)
                } == .notFound(.challenge))
        },
    ]
}
