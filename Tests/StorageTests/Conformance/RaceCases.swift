import ChallengeModel
import Challenges
import Testing

extension ConformanceCase {
    static let races: [ConformanceCase] = [
        ConformanceCase("two devices answer a thousand challenges at once: one wins each, and says so once") { world in
            let devices = [try await world.factor(), try await world.factor(.fcm)]
            var challenges: [ChallengeSID] = []
            for _ in 0..<1000 { challenges.append(try await world.challenge().sid) }
            _ = try await world.drain()
            let winners = try await withThrowingTaskGroup(of: (ChallengeSID, FactorSID, StoreError?).self) { tasks in
                for sid in challenges {
                    for (index, device) in devices.enumerated() {
                        tasks.addTask {
                            let answer = world.answer(sid, device.sid, approve: index == 0, jwt: "jwt \(index)")
                            return (
                                sid, device.sid,
                                await storeError { _ = try await world.store.answer(answer, nowMs: World.t0 + 1) }
                            )
                        }
                    }
                }
                var winners: [ChallengeSID: [FactorSID]] = [:]
                for try await (sid, device, error) in tasks {
                    if error == nil {
                        winners[sid, default: []].append(device)
                    } else {
                        #expect(error == .alreadyResponded)
                    }
                }
                return winners
            }
            #expect(winners.count == 1000 && winners.values.allSatisfy { $0.count == 1 })
            let left = try await world.drain()
            let resolutions = try left.resolutions
            #expect(resolutions.count == 1000)
            #expect(resolutions.allSatisfy { winners[ChallengeSID($0.challengeSid)!]?.first?.rawValue == $0.factorSid })
            let final = try left.eventTypes.filter { ["challenge.approved", "challenge.denied"].contains($0) }
            #expect(final.count == 1000)
        },
        ConformanceCase(
            "a thousand answers within 50 ms of the expiry, the sweep among them: one status and one end each"
        ) {
            world in
            let device = try await world.factor()
            let expiry = World.t0 + 60_000
            var challenges: [ChallengeSID] = []
            for _ in 0..<1000 { challenges.append(try await world.challenge(expiresAtMs: expiry).sid) }
            _ = try await world.drain()
            let answered = try await withThrowingTaskGroup(of: ChallengeSID?.self) { tasks in
                for (index, sid) in challenges.enumerated() {
                    let nowMs = expiry - 50 + Int64(index % 100)
                    tasks.addTask {
                        let error = await storeError {
                            _ = try await world.store.answer(world.answer(sid, device.sid), nowMs: nowMs)
                        }
                        #expect(nowMs < expiry || error == .alreadyExpired)
                        #expect(error == nil || error == .alreadyExpired)
                        return error == nil ? sid : nil
                    }
                    if index % 20 == 0 {
                        tasks.addTask {
                            _ = try await world.store.sweep(limit: 50, nowMs: nowMs)
                            return nil
                        }
                    }
                }
                return try await tasks.reduce(into: Set<ChallengeSID>()) { if let sid = $1 { $0.insert(sid) } }
            }
            // A refused answer is undone behind its caller's back, and a sweep leaves out whom another one has locked.
            func isPending(_ sid: ChallengeSID) async throws -> Bool { try await world.stored(sid)?.status == .pending }
            for sid in challenges {
                while try await isPending(sid) { _ = try await world.store.sweep(limit: 500, nowMs: expiry + 50) }
            }
            let left = try await world.drain()
            let ends = try left.resolutions
            #expect(ends.count == 1000 && Set(ends.map(\.challengeSid)).count == 1000)
            for end in ends {
                let sid = try #require(ChallengeSID(end.challengeSid))
                let status = try await world.stored(sid)?.status
                #expect(status == (answered.contains(sid) ? .approved : .expired))
                #expect(end.status == (answered.contains(sid) ? .approved : .expired))
            }
            #expect(try left.events.count { $0.type == "beckon.challenge.approved" } == answered.count)
            #expect(try left.events.count { $0.type == "beckon.challenge.expired" } == 1000 - answered.count)
            #expect(!answered.isEmpty && answered.count <= 500)
        },
    ]
}
