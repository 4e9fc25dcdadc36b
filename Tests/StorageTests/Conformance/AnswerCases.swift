import ChallengeModel
import Challenges
import Testing

extension ConformanceCase {
    static let answers: [ConformanceCase] = [
        ConformanceCase("of 200 racing answers one wins, with one resolution and one event") { world in
            var factors: [Factor] = []
            for _ in 0..<10 { factors.append(try await world.factor(.fcm)) }
            let challenge = try await world.challenge()
            _ = try await world.drain()
            let fixed = factors
            let outcomes = try await withThrowingTaskGroup(of: Result<Challenge, StoreError>.self) { group in
                for index in 0..<200 {
                    group.addTask {
                        do {
                            return .success(
                                try await world.store.answer(
                                    world.answer(
                                        challenge.sid, fixed[index % 10].sid, approve: index % 2 == 0,
                                        jwt: "jwt-\(index)"), nowMs: World.t0 + 1))
                        } catch let error as StoreError { return .failure(error) }
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            let winners = outcomes.compactMap { try? $0.get() }
            #expect(winners.count == 1)
            #expect(outcomes.count { $0 == .failure(.alreadyResponded) } == 199)
            let stored = try #require(try await world.stored(challenge.sid))
            #expect(stored == winners[0] && stored.status.isFinal && stored.responder != nil)
            let left = try await world.drain()
            #expect(left.rows.count == 2)
            #expect(try left.resolutions.map(\.status) == [stored.status.resolution])
            #expect(try left.resolutions[0].factorSid == stored.responder?.rawValue)
            #expect(try left.events[0].data["factor_sid"] == .string(stored.responder?.rawValue ?? ""))
            #expect(try left.eventTypes == ["challenge.\(stored.status.rawValue)"])
        },
        ConformanceCase("the same bytes again are the same answer; other bytes come too late") { world in
            let factor = try await world.factor()
            let other = try await world.factor(.fcm)
            let challenge = try await world.challenge()
            _ = try await world.drain()
            var first = world.answer(challenge.sid, factor.sid, approve: false, jwt: "jwt")
            first.metadata = #"{"os":"iOS"}"#
            let denied = try await world.store.answer(first, nowMs: World.t0 + 10)
            #expect(denied.status == .denied && denied.respondedAtMs == World.t0 + 10 && denied.signedAnswer == "jwt")
            #expect(denied.metadata == first.metadata)
            #expect(try await world.drain().rows.count == 2)
            let repeated = try await world.store.answer(first, nowMs: World.t0 + 20)
            #expect(repeated == denied)
            // Even past the expiry: it was in time.
            #expect(try await world.store.answer(first, nowMs: World.t0 + 999_999) == denied)
            for late in [
                world.answer(challenge.sid, factor.sid, approve: true, jwt: "other"),
                world.answer(challenge.sid, other.sid, approve: false, jwt: "jwt"),
            ] {
                #expect(
                    await storeError { _ = try await world.store.answer(late, nowMs: World.t0 + 30) }
                        == .alreadyResponded)
            }
            #expect(try await world.drain().rows.isEmpty)
        },
        ConformanceCase("an answer counts up to the last millisecond before the expiry, and not at it") { world in
            let factor = try await world.factor()
            let inTime = try await world.challenge(expiresAtMs: World.t0 + 1000)
            let late = try await world.challenge(expiresAtMs: World.t0 + 1000)
            _ = try await world.drain()
            #expect(
                try await world.store.answer(world.answer(inTime.sid, factor.sid), nowMs: World.t0 + 999).status
                    == .approved)
            #expect(
                await storeError {
                    _ = try await world.store.answer(world.answer(late.sid, factor.sid), nowMs: World.t0 + 1000)
                } == .alreadyExpired)
            // Expiry is computed on read and written by the sweep only.
            #expect(try await world.stored(late.sid)?.status == .pending)
            #expect(try await world.drain().resolutions.count == 1)
            // A refused answer is undone behind its caller's back; until then the sweep leaves the person out.
            var swept = 0
            let end = ContinuousClock.now + .seconds(60)
            while swept == 0, ContinuousClock.now < end {
                swept = try await world.store.sweep(limit: 10, nowMs: World.t0 + 1000)
            }
            #expect(swept == 1)
            #expect(
                await storeError {
                    _ = try await world.store.answer(world.answer(late.sid, factor.sid), nowMs: World.t0 + 1001)
                } == .alreadyExpired)
        },
        ConformanceCase("who is not asked cannot answer") { world in
            let factor = try await world.factor()
            let stranger = try await world.factor(identity: "stranger-1")
            let sibling = try await world.factor(.fcm)
            let challenge = try await world.challenge(factor: factor.sid)
            _ = try await world.drain()
            for other in [stranger, sibling] {
                #expect(
                    await storeError {
                        _ = try await world.store.answer(world.answer(challenge.sid, other.sid), nowMs: World.t0)
                    } == .notFound(.challenge))
            }
            #expect(
                await storeError {
                    _ = try await world.store.answer(
                        world.answer(.generate(nowMs: 0), factor.sid), nowMs: World.t0)
                } == .notFound(.challenge))
            #expect(try await world.drain().rows.isEmpty)
        },
        ConformanceCase("a poll gives one receipt per challenge and device, while it is pending") { world in
            let factor = try await world.factor(.noPush)
            let sibling = try await world.factor()
            let shared = try await world.challenge()
            let mine = try await world.challenge(factor: factor.sid, expiresAtMs: World.t0 + 10)
            let siblings = try await world.challenge(factor: sibling.sid)
            _ = try await world.drain()
            let seen = [shared.sid, mine.sid, siblings.sid, .generate(nowMs: 0)]
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<20 {
                    group.addTask { try await world.store.recordPoll(seen, factor: factor.sid, nowMs: World.t0) }
                }
                try await group.waitForAll()
            }
            let receipts = try await world.drain().receipts
            #expect(Set(receipts.map(\.challengeSid)) == [shared.sid.rawValue, mine.sid.rawValue])
            #expect(receipts.count == 2 && receipts.allSatisfy { $0.channel == .poll && $0.shown == .unknown })
            #expect(receipts.allSatisfy { $0.factorSid == factor.sid.rawValue && $0.dispatchID.isEmpty })
            try await world.store.recordPoll([shared.sid], factor: sibling.sid, nowMs: World.t0)
            #expect(try await world.drain().receipts.map(\.factorSid) == [sibling.sid.rawValue])
            let short = try await world.challenge(factor: factor.sid, expiresAtMs: World.t0 + 10)
            _ = try await world.drain()
            try await world.store.recordPoll([short.sid], factor: factor.sid, nowMs: World.t0 + 10)
            #expect(try await world.drain().rows.isEmpty, "past its expiry")
        },
        ConformanceCase("a receipt leaves without its token, under its challenge") { world in
            var receipt = Receipt()
            receipt.challengeSid = ChallengeSID.generate(nowMs: World.t0).rawValue
            receipt.factorSid = FactorSID.generate(nowMs: World.t0).rawValue
            receipt.channel = .visiblePush
            receipt.shown = .yes
            receipt.receiptToken = "secret"
            receipt.receivedAtMs = World.t0
            try await world.store.recordReceipt(receipt)
            let left = try await world.drain()
            #expect(left.rows.map(\.key) == [receipt.challengeSid])
            #expect(try left.receipts[0].receiptToken.isEmpty && left.receipts[0].shown == .yes)
            receipt.challengeSid = "nonsense"
            let bad = receipt
            #expect(await storeError { try await world.store.recordReceipt(bad) } == .notFound(.challenge))
        },
        ConformanceCase("a resend goes to the devices as they are now, three times at most") { world in
            let moved = try await world.factor(token: "old")
            let gone = try await world.factor(.fcm)
            let challenge = try await world.challenge()
            var change = FactorChange()
            change.pushToken = "new"
            _ = try await world.store.updateFactor(moved.sid, change, nowMs: World.t0)
            _ = try await world.store.deleteFactor(gone.sid, nowMs: World.t0)
            _ = try await world.factor(.fcm)
            _ = try await world.drain()
            var ids: Set<String> = []
            for _ in 0..<3 {
                let sid = try await world.store.createNotification(challenge: challenge.sid, nowMs: World.t0 + 1)
                let dispatch = try #require(try await world.drain().dispatches.first)
                #expect(dispatch.dispatchID == "n:\(sid)")
                #expect(dispatch.targets.map(\.pushToken) == ["new"] && dispatch.targets[0].backgroundBudget == 1)
                #expect(dispatch.redelivery.maxAttempts == 4 && dispatch.expiresAtMs == challenge.expiresAtMs)
                ids.insert(dispatch.dispatchID)
            }
            #expect(ids.count == 3)
            func refusal(_ sid: ChallengeSID, at nowMs: Int64) async -> StoreError? {
                await storeError { _ = try await world.store.createNotification(challenge: sid, nowMs: nowMs) }
            }
            #expect(await refusal(challenge.sid, at: World.t0) == .limit(.notifications))
            #expect(try await world.stored(challenge.sid)?.notifications == 3)
            let other = try await world.challenge(factor: moved.sid)
            #expect(await refusal(other.sid, at: other.expiresAtMs) == .alreadyExpired)
            _ = try await world.store.answer(world.answer(other.sid, moved.sid), nowMs: World.t0)
            #expect(await refusal(other.sid, at: World.t0) == .alreadyResponded)
            #expect(await refusal(.generate(nowMs: 0), at: World.t0) == .notFound(.challenge))
        },
        ConformanceCase("nothing is pushed again to a factor without a platform, or of type totp") { world in
            let polling = try await world.challenge(factor: world.factor(.noPush).sid)
            let typed = try await world.codeChallenge(world.codeFactor().sid)
            _ = try await world.drain()
            for (challenge, reason) in [(polling, StoreError.NoPush.noPlatform), (typed, .codeFactor)] {
                let error = await storeError {
                    _ = try await world.store.createNotification(challenge: challenge.sid, nowMs: World.t0)
                }
                #expect(error == .noPush(reason))
                #expect(try await world.stored(challenge.sid)?.notifications == 0)
            }
            #expect(try await world.drain().dispatches.isEmpty)
        },
    ]

    static let sweeps: [ConformanceCase] = [
        ConformanceCase("the sweep expires what is due, oldest first, so many at a time, each once") { world in
            _ = try await world.factor()
            for index in 0..<5 { _ = try await world.challenge(expiresAtMs: World.t0 + Int64(index) * 10) }
            _ = try await world.drain()
            let nowMs = World.t0 + 30
            #expect(try await world.store.sweep(limit: 3, nowMs: nowMs) == 3)
            #expect(try await world.store.sweep(limit: 3, nowMs: nowMs) == 1)
            #expect(try await world.store.sweep(limit: 3, nowMs: nowMs) == 0)
            let left = try await world.drain()
            #expect(try left.resolutions.map(\.status) == [.expired, .expired, .expired, .expired])
            #expect(try left.eventTypes == Array(repeating: "challenge.expired", count: 4))
            #expect(try Set(left.resolutions.map(\.challengeSid)).count == 4)
        },
        ConformanceCase("an answer and the sweep race: one of them wins") { world in
            let factor = try await world.factor()
            let challenge = try await world.challenge(expiresAtMs: World.t0 + 10)
            _ = try await world.drain()
            async let expired = world.store.sweep(limit: 10, nowMs: World.t0 + 10)
            async let answered: Challenge? = try? world.store.answer(
                world.answer(challenge.sid, factor.sid), nowMs: World.t0 + 9)
            let (count, winner) = (try await expired, await answered)
            #expect((count == 1) != (winner != nil))
            #expect(try await world.drain().resolutions.count == 1)
        },
        ConformanceCase("a factor never verified goes after a day, a closed challenge after thirty or one more") {
            world in
            let factor = try await world.factor(isVerified: false)
            let verified = try await world.factor()
            let challenge = try await world.challenge()
            let day: Int64 = 24 * 3_600_000
            _ = try await world.store.sweep(limit: 10, nowMs: World.t0 + day - 1)
            #expect(try await world.store.factor(keyID: factor.keyID.rawValue) != nil)
            _ = try await world.store.sweep(limit: 10, nowMs: World.t0 + day)
            #expect(try await world.store.factor(keyID: factor.keyID.rawValue) == nil)
            #expect(try await world.store.factor(keyID: verified.keyID.rawValue) != nil)
            _ = try await world.store.sweep(limit: 10, nowMs: World.t0 + 30 * day - 1)
            #expect(try await world.stored(challenge.sid)?.status == .expired)
            _ = try await world.store.sweep(limit: 10, nowMs: World.t0 + 31 * day)
            #expect(try await world.stored(challenge.sid) == nil)
        },
    ]
}
