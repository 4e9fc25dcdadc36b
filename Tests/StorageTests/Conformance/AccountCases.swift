import ChallengeModel
import Challenges
import Testing

extension ConformanceCase {
    static let accounts: [ConformanceCase] = [
        ConformanceCase("an account has a token of 64 digits, and no other opens it") { world in
            #expect(world.authToken.count == 64 && world.authToken.allSatisfy(\.isHexDigit))
            for _ in 0..<2 {
                #expect(
                    try await world.store.authenticate(
                        .account(world.account, authToken: world.authToken), nowMs: World.t0)
                        == Principal(account: world.account, role: .full, key: nil))
                #expect(
                    try await world.store.authenticate(
                        .account(world.account, authToken: "x" + world.authToken), nowMs: World.t0) == nil)
            }
            let other = try await world.store.createAccount(nowMs: World.t0)
            #expect(
                try await world.store.authenticate(.account(other.sid, authToken: world.authToken), nowMs: World.t0)
                    == nil)
            #expect(
                try await world.store.authenticate(
                    .account(.generate(nowMs: 0), authToken: world.authToken), nowMs: World.t0) == nil)
        },
        ConformanceCase("a service is its account's only, changes what is given, and reads as gone once deleted") {
            world in
            let store = world.store
            let other = try await store.createAccount(nowMs: World.t0).sid
            #expect(try await store.service(world.service, account: other) == nil)
            var change = ServiceChange()
            change.friendlyName = "new"
            change.settings = #"{"a":1}"#
            let changed = try await store.updateService(
                world.service, account: world.account, change, nowMs: World.t0 + 5)
            #expect(changed.friendlyName == "new" && changed.apnCredential == world.apn)
            #expect(changed.updatedAtMs == World.t0 + 5)
            #expect(try await store.service(world.service, account: world.account) == changed)
            #expect(
                await storeError {
                    _ = try await store.updateService(world.service, account: other, change, nowMs: 0)
                } == .notFound(.service))
            #expect(try await !store.deleteService(world.service, account: other, nowMs: World.t0))
            let factor = try await world.factor()
            let challenge = try await world.challenge()
            #expect(try await store.deleteService(world.service, account: world.account, nowMs: World.t0))
            #expect(try await !store.deleteService(world.service, account: world.account, nowMs: World.t0))
            #expect(try await store.service(world.service, account: world.account) == nil)
            #expect(try await store.services(account: world.account, page: PageRequest()).items.isEmpty)
            #expect(try await store.factor(keyID: factor.keyID.rawValue) == nil)
            #expect(try await world.stored(challenge.sid) == nil)
            #expect(await storeError { _ = try await world.challenge() } == .notFound(.service))
            // The sweep takes the rest away and tells whoever still holds the challenge.
            _ = try await world.drain()
            _ = try await store.sweep(limit: 100, nowMs: World.t0)
            let left = try await world.drain()
            #expect(try left.resolutions.map(\.status) == [.canceled])
            #expect(try left.event(.factorDeleted).data["reason"] == "entity-deleted")
        },
        ConformanceCase("a service cannot name another account's credential, or one of another kind") { world in
            let other = try await world.store.createAccount(nowMs: World.t0).sid
            var new = NewService(account: other, friendlyName: "thief")
            new.apnCredential = world.apn
            let theft = new
            #expect(
                await storeError { _ = try await world.store.createService(theft, nowMs: World.t0) }
                    == .notFound(.credential))
            var change = ServiceChange()
            change.fcmCredential = world.apn
            let mixUp = change
            #expect(
                await storeError {
                    _ = try await world.store.updateService(
                        world.service, account: world.account, mixUp, nowMs: World.t0)
                } == .notFound(.credential))
        },
        ConformanceCase("lists are pages that hold everything once, in order") { world in
            for index in 0..<6 {
                _ = try await world.store.createService(
                    NewService(account: world.account, friendlyName: "s\(index)"), nowMs: World.t0 + Int64(index))
            }
            var seen: [ServiceSID] = []
            var request = PageRequest(size: 3)
            repeat {
                let page = try await world.store.services(account: world.account, page: request)
                #expect(page.items.count <= 3)
                seen += page.items.map(\.sid)
                request.after = page.next
            } while request.after != nil
            #expect(seen.count == 7 && seen == seen.sorted() && Set(seen).count == 7)
        },
        ConformanceCase("a credential is published sealed, republished on demand, and ends in a tombstone") { world in
            let store = world.store
            let made = try await store.createCredential(
                account: world.account, friendlyName: "key", secret: World.apnsSecret, nowMs: World.t0)
            #expect(made.type == "apn" && made.sandbox)
            #expect(try await store.credential(made.sid, account: world.account) == made)
            #expect(try await store.credential(made.sid, account: .generate(nowMs: 0)) == nil)
            let row = try #require(try await world.drain().values(.configuration).first)
            #expect(row.key == made.sid.rawValue)
            let sealed = try SealedConfiguration(value: row.value, contentType: nil)
            let secret = try sealed.openCredential(keys: TestKeys.configuration)
            #expect(secret.apnsToken.teamID == "TEAM000001")
            #expect(secret.credentialSid == made.sid.rawValue && secret.accountSid == world.account.rawValue)
            #expect(throws: (any Error).self) { try sealed.openCredential(keys: TestKeys.store) }
            try await store.republishConfiguration(nowMs: World.t0)
            #expect(try await world.drain().values(.configuration).count == 3)
            var new = ServiceChange()
            new.apnCredential = made.sid
            _ = try await store.updateService(world.service, account: world.account, new, nowMs: World.t0)
            #expect(try await !store.deleteCredential(made.sid, account: .generate(nowMs: 0), nowMs: World.t0))
            #expect(try await store.deleteCredential(made.sid, account: world.account, nowMs: World.t0))
            #expect(try await !store.deleteCredential(made.sid, account: world.account, nowMs: World.t0))
            #expect(sealed.version == 1 && !sealed.deleted)
            let end = try await world.drain().values(.configuration)
            #expect(end.count == 2 && end.allSatisfy { $0.key == made.sid.rawValue } && end[0].value.isEmpty)
            // What a compacted topic keeps of it, so that an old record is known to be old.
            let mark = try SealedConfiguration(value: end[1].value, contentType: nil)
            #expect(mark.deleted && mark.version == 2 && mark.sid == made.sid.rawValue && mark.sealed.isEmpty)
            #expect(try await store.service(world.service, account: world.account)?.apnCredential == nil)
            try await store.republishConfiguration(nowMs: World.t0)
            let again = try await world.drain().values(.configuration)
            #expect(again.count == 3 && again.last?.value == end[1].value)
        },
    ]
}
