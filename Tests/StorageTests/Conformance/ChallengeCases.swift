import ChallengeModel
import Challenges
import Testing

extension ConformanceCase {
    static let challenges: [ConformanceCase] = [
        ConformanceCase("a text with U+0000 is refused whole: it is neither cut, nor another's name") { world in
            let store = world.store
            let factor = try await world.factor()
            func refusal(_ change: (inout NewChallenge) -> Void) async -> StoreError? {
                var new = world.newChallenge()
                change(&new)
                return await storeError { [new] in _ = try await store.create(new, nowMs: World.t0) }
            }
            #expect(await refusal { $0.message = "Pay 1,000\u{0}0 to Bob?" } == .nulInText)
            #expect(await refusal { $0.fields = "[]\u{0}" } == .nulInText)
            #expect(await refusal { $0.hiddenDetails = "{}\u{0}" } == .nulInText)
            #expect(await refusal { $0.traceparent = "00\u{0}" } == .nulInText)
            #expect(await refusal { $0.actionKey = "attempt\u{0}1" } == .nulInText)
            #expect(await refusal { $0.requestID = "r\u{0}1" } == .nulInText)
            #expect(await refusal { $0.identity = world.identity + "\u{0}x" } == .nulInText)
            // What an id with more behind it would have found, were it cut.
            _ = try await store.create(world.newChallenge(requestID: "r"), nowMs: World.t0)
            #expect(await refusal { $0.requestID = "r\u{0}" } == .nulInText)
            #expect(
                await storeError {
                    _ = try await store.entity(
                        account: world.account, service: world.service, identity: world.identity + "\u{0}x")
                } == .nulInText)
            #expect(
                await storeError { _ = try await store.factor(keyID: factor.keyID.rawValue + "\u{0}") } == .nulInText)
            var change = FactorChange()
            change.friendlyName = "phone\u{0}"
            let renamed = change
            #expect(
                await storeError { _ = try await store.updateFactor(factor.sid, renamed, nowMs: World.t0) }
                    == .nulInText)
            #expect(try await world.store.factor(keyID: factor.keyID.rawValue)?.friendlyName == "phone")
            #expect(
                await storeError {
                    _ = try await store.createKey(
                        account: world.account, role: .read, friendlyName: "a\u{0}b", nowMs: World.t0)
                } == .nulInText)
        },
        ConformanceCase("a challenge leaves as dispatch c, filled completely, and as an event without its details") {
            world in
            let factor = try await world.factor(token: "tok")
            _ = try await world.drain()
            var new = world.newChallenge(factor: factor.sid, requestID: "r-1")
            new.fallbacks = ["sms", "voice"]
            new.traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
            let (challenge, isNew) = try await world.store.createChallenge(new, nowMs: World.t0)
            #expect(isNew && challenge.sid.rawValue.hasPrefix("YC03") && challenge.status == .pending)
            #expect(try await world.stored(challenge.sid) == challenge)
            let left = try await world.drain()
            #expect(left.rows.count == 2 && left.rows.allSatisfy { $0.traceparent == new.traceparent })
            let row = try #require(left.values(.challenges).first)
            #expect(row.key == challenge.sid.rawValue && row.expiresAtMs == new.expiresAtMs)
            let dispatch = try #require(try left.dispatches.first)
            #expect(dispatch.dispatchID == "c" && dispatch.message == "Sign in?" && dispatch.identity == world.identity)
            #expect(dispatch.createdAtMs == World.t0 && dispatch.expiresAtMs == new.expiresAtMs)
            #expect(dispatch.fallbacks == ["sms", "voice"] && dispatch.backgroundAllowed)
            #expect(dispatch.entitySid == challenge.entity.rawValue)
            #expect(dispatch.redelivery.maxAttempts == 4 && dispatch.redelivery.expectedLatencyMs == 8000)
            #expect(dispatch.redelivery.confirm == .each)
            let target = try #require(dispatch.targets.first)
            #expect(target.factorSid == factor.sid.rawValue && target.platform == .apn && target.pushToken == "tok")
            #expect(target.appID == "com.example.app" && target.credentialSid == world.apn.rawValue)
            #expect(target.registeredAtMs == World.t0 && target.backgroundBudget == 1)
            let event = try left.event(.challengeCreated)
            #expect(event.id == "\(challenge.sid)/challenge.created" && event.subject == challenge.sid.rawValue)
            #expect(event.data["request_id"] == "r-1" && event.data["status"] == "pending")
            #expect(event.data["service_sid"] == .string(world.service.rawValue))
            #expect(event.data["factor_sids"] == .list([.string(factor.sid.rawValue)]))
            for row in left.rows {
                #expect(!String(decoding: row.value, as: UTF8.self).contains("hush"))
                #expect(!String(decoding: row.value, as: UTF8.self).contains("10.0.0.1"))
            }
        },
        ConformanceCase("a fan-out goes to every factor verified at creation, polling ones included") { world in
            let apn = try await world.factor(.apn)
            let fcm = try await world.factor(.fcm)
            let none = try await world.factor(.noPush)
            let unverified = try await world.factor(isVerified: false)
            _ = try await world.drain()
            let challenge = try await world.challenge()
            let late = try await world.factor(.fcm)
            #expect(challenge.factor == nil)
            let targets = try await world.drain().dispatches[0].targets
            #expect(Set(targets.map(\.factorSid)) == Set([apn, fcm, none].map(\.sid.rawValue)))
            #expect(Set(targets.map(\.platform)) == [.apn, .fcm, .noPush])
            #expect(targets.first { $0.platform == .fcm }?.credentialSid == world.fcm.rawValue)
            #expect(targets.first { $0.platform == .fcm }?.backgroundBudget == 0)
            #expect(try await world.stored(challenge.sid, factor: none.sid) != nil)
            for stranger in [late, unverified] {
                #expect(try await world.stored(challenge.sid, factor: stranger.sid) == nil)
            }
        },
        ConformanceCase("without a verified factor there is no challenge, and the reason is said") { world in
            func refusal(_ new: NewChallenge) async -> StoreError? {
                await storeError { _ = try await world.store.createChallenge(new, nowMs: World.t0) }
            }
            #expect(await refusal(world.newChallenge()) == .notFound(.entity))
            let factor = try await world.factor(isVerified: false)
            _ = try await world.drain()
            #expect(await refusal(world.newChallenge()) == .noVerifiedFactor(fallbacks: []))
            #expect(await refusal(world.newChallenge(factor: factor.sid)) == .factorUnverified)
            let other = try await world.factor(identity: "other-0001")
            _ = try await world.drain()
            #expect(await refusal(world.newChallenge(factor: other.sid)) == .notFound(.factor))
            var foreign = world.newChallenge(factor: factor.sid)
            foreign.account = .generate(nowMs: 0)
            #expect(await refusal(foreign) == .notFound(.service))
            #expect(try await world.drain().rows.isEmpty)
        },
        ConformanceCase("two background pushes an hour and APNs device are granted, then none, then two again") {
            world in
            let factor = try await world.factor()
            _ = try await world.drain()
            for (minute, budget) in [(0, 1), (10, 1), (20, 0), (59, 0), (60, 1), (61, 0), (70, 1), (71, 0)] {
                let nowMs = World.t0 + Int64(minute) * 60_000
                _ = try await world.challenge(factor: factor.sid, expiresAtMs: nowMs + 300_000, nowMs: nowMs)
                let dispatch = try #require(try await world.drain().dispatches.first)
                #expect(dispatch.targets[0].backgroundBudget == UInt32(budget), "minute \(minute)")
                #expect(dispatch.backgroundAllowed == (budget > 0))
            }
        },
        ConformanceCase("200 racing creations with one request id make one challenge; after 25 h it is free again") {
            world in
            _ = try await world.factor()
            _ = try await world.drain()
            let made = try await withThrowingTaskGroup(of: (ChallengeSID, Bool).self) { group in
                for _ in 0..<200 {
                    group.addTask {
                        let made = try await world.store.createChallenge(
                            world.newChallenge(requestID: "r"), nowMs: World.t0)
                        return (made.0.sid, made.isNew)
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(Set(made.map(\.0)).count == 1 && made.count { $0.1 } == 1)
            #expect(try await world.drain().rows.count == 2)
            let life: Int64 = 25 * 3_600_000
            func again(at nowMs: Int64) async throws -> Bool {
                let new = world.newChallenge(expiresAtMs: nowMs + 1000, requestID: "r")
                let made = try await world.store.createChallenge(new, nowMs: nowMs)
                return made.isNew
            }
            #expect(try await !again(at: World.t0 + life - 1))
            #expect(try await again(at: World.t0 + life))
            #expect(try await !again(at: World.t0 + life + 1))
        },
        ConformanceCase("one that is over already is refused, unless its request id made a challenge in time") {
            world in
            _ = try await world.factor()
            let made = try await world.store.createChallenge(
                world.newChallenge(expiresAtMs: World.t0 + 1000, requestID: "in time"), nowMs: World.t0)
            let again = try await world.store.createChallenge(
                world.newChallenge(expiresAtMs: World.t0 + 1000, requestID: "in time"), nowMs: World.t0 + 1000)
            #expect(again.0.sid == made.0.sid && !again.isNew)
            await #expect(throws: StoreError.alreadyExpired) {
                try await world.store.createChallenge(
                    world.newChallenge(expiresAtMs: World.t0 + 1000, requestID: "too late"), nowMs: World.t0 + 1000)
            }
        },
        ConformanceCase(
            "a request id that was rejected makes nothing for 25 h, and one that made a challenge is not rejected"
        ) {
            world in
            _ = try await world.factor()
            _ = try await world.drain()
            func reject(_ id: String, at nowMs: Int64) async throws -> Bool {
                try await world.store.rejectRequest(
                    id, account: world.account, service: world.service.rawValue, eventID: "e",
                    data: [
                        "request_id": .string(id), "code": .integer(1), "reason": "test", "fallbacks": .list([]),
                    ],
                    nowMs: nowMs)
            }
            func create(_ id: String, at nowMs: Int64) async throws -> ChallengeCreation.Outcome {
                let new = world.newChallenge(expiresAtMs: nowMs + 1000, requestID: id)
                let made = try await world.store.create(new, nowMs: nowMs)
                return made.outcome
            }
            let life: Int64 = 25 * 3_600_000
            #expect(try await reject("no", at: World.t0))
            let event = try await world.drain().event(.requestRejected)
            #expect(event.id == "e" && event.subject == "no" && event.data["code"] == .integer(1))
            for nowMs in [World.t0, World.t0 + life - 1] {
                await #expect(throws: StoreError.requestClosed) { _ = try await create("no", at: nowMs) }
                #expect(try await !reject("no", at: nowMs))
            }
            #expect(try await world.drain().rows.isEmpty, "told once")
            #expect(try await create("yes", at: World.t0) == .created)
            _ = try await world.drain()
            #expect(try await !reject("yes", at: World.t0))
            #expect(try await create("yes", at: World.t0) == .repeated)
            #expect(try await world.drain().rows.isEmpty)
            // Free again, and kept no longer.
            _ = try await world.store.sweep(limit: 100, nowMs: World.t0 + life)
            #expect(try await create("no", at: World.t0 + life) == .created)
            #expect(try await reject("yes", at: World.t0 + life))
        },
        ConformanceCase("a request id whose challenge is gone with its person makes no other") { world in
            _ = try await world.factor()
            _ = try await world.store.create(world.newChallenge(requestID: "r"), nowMs: World.t0)
            _ = try await world.store.deleteEntity(
                account: world.account, service: world.service, identity: world.identity, nowMs: World.t0)
            _ = try await world.store.sweep(limit: 100, nowMs: World.t0)
            _ = try await world.factor()
            await #expect(throws: StoreError.requestClosed) {
                try await world.store.create(world.newChallenge(requestID: "r"), nowMs: World.t0)
            }
        },
        ConformanceCase("lists filter by factor and by the status that the clock shows, both ways, in pages") { world in
            let one = try await world.factor(.apn)
            let two = try await world.factor(.fcm)
            var sids: [ChallengeSID] = []
            for index in 0..<9 {
                let nowMs = World.t0 + Int64(index)
                sids.append(
                    try await world.challenge(
                        factor: index % 3 == 0 ? one.sid : nil,
                        expiresAtMs: index < 3 ? World.t0 + 100 : World.t0 + 100_000, nowMs: nowMs
                    ).sid)
            }
            _ = try await world.store.answer(world.answer(sids[3], one.sid), nowMs: World.t0 + 50)
            func list(
                _ status: ChallengeStatus?, factor: FactorSID? = nil, descending: Bool = false, at nowMs: Int64
            ) async throws -> [ChallengeSID] {
                var filter = ChallengeFilter(
                    account: world.account, service: world.service, identity: world.identity.lowercased())
                filter.status = status
                filter.factor = factor
                filter.descending = descending
                var found: [ChallengeSID] = []
                var request = PageRequest(size: 2)
                repeat {
                    let page = try await world.store.challenges(filter, page: request, nowMs: nowMs)
                    #expect(page.items.count <= 2)
                    found += page.items.map(\.sid)
                    request.after = page.next
                } while request.after != nil
                return found
            }
            let before = World.t0 + 99
            let after = World.t0 + 100
            #expect(try await list(nil, at: before) == sids)
            #expect(try await list(nil, descending: true, at: before) == sids.reversed())
            #expect(try await list(.pending, at: before) == sids.filter { $0 != sids[3] })
            #expect(try await list(.pending, at: after) == Array(sids[4...]))
            #expect(try await list(.expired, at: before).isEmpty)
            #expect(try await list(.expired, at: after) == Array(sids[..<3]))
            #expect(try await list(.approved, at: after) == [sids[3]])
            #expect(
                try await list(nil, factor: two.sid, at: before) == sids.enumerated().filter { $0.0 % 3 != 0 }.map(\.1))
            #expect(try await list(.pending, factor: one.sid, descending: true, at: after) == sids[4...].reversed())
        },
        ConformanceCase("another account, service or identity sees nothing of a challenge") { world in
            _ = try await world.factor()
            let challenge = try await world.challenge()
            _ = try await world.factor(identity: "other-0001")
            func found(_ account: AccountSID, _ service: ServiceSID, _ identity: String) async throws -> Bool {
                try await world.store.challenge(
                    challenge.sid, account: account, service: service, identity: identity, factor: nil) != nil
            }
            let neighbour = try await world.store.createService(
                NewService(account: world.account, friendlyName: "n"), nowMs: World.t0
            ).sid
            #expect(try await found(world.account, world.service, world.identity))
            #expect(try await found(world.account, world.service, challenge.entity.rawValue))
            #expect(try await !found(.generate(nowMs: 0), world.service, world.identity))
            #expect(try await !found(world.account, neighbour, world.identity))
            #expect(try await !found(world.account, neighbour, challenge.entity.rawValue))
            #expect(try await !found(world.account, world.service, "other-0001"))
        },
    ]
}
