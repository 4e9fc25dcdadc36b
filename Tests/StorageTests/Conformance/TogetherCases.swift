import ChallengeModel
import Challenges
import Testing

extension ConformanceCase {
    /// Runs so many at once, and returns what each of them came to, in no order.
    private static func together<Value: Sendable>(
        _ count: Int, _ body: @escaping @Sendable (Int) async throws -> Value
    ) async -> [Result<Value, StoreError>] {
        await withTaskGroup(of: Result<Value, StoreError>.self) { tasks in
            for index in 0..<count {
                tasks.addTask {
                    do { return .success(try await body(index)) } catch {
                        return .failure(error as? StoreError ?? .failed("\(error)"))
                    }
                }
            }
            return await tasks.reduce(into: []) { $0.append($1) }
        }
    }

    /// What is judged of one person, account or request, asked for by many at once.
    static let together: [ConformanceCase] = [
        ConformanceCase("of many creations at once as many are allowed as the limit has", limits: ChallengeLimits()) {
            world in
            _ = try await world.factor()
            let made = await together(40) { _ in try await world.challenge() }
            #expect(made.count { (try? $0.get()) != nil } == 10)
            for case .failure(let error) in made {
                guard case .limited = error else { Issue.record("\(error)"); continue }
            }
        },
        ConformanceCase("of an action asked for by many at once there is one live challenge") { world in
            _ = try await world.factor()
            let made = await together(20) { index in
                var new = world.newChallenge()
                new.actionKey = "sign-in"
                // Every other one asks something else, so that it supersedes.
                new.message = index.isMultiple(of: 2) ? "Sign in?" : "Sign in \(index)?"
                return try await world.store.create(new, nowMs: World.t0)
            }
            #expect(made.allSatisfy { (try? $0.get()) != nil })
            var filter = ChallengeFilter(account: world.account, service: world.service, identity: world.identity)
            filter.status = .pending
            let live = try await world.store.challenges(filter, page: PageRequest(size: 100), nowMs: World.t0)
            #expect(live.items.count == 1)
            let left = try await world.drain()
            let superseded = try left.eventTypes.count { $0 == "challenge.superseded" }
            #expect(try left.eventTypes.count { $0 == "challenge.created" } == superseded + 1)
        },
        ConformanceCase("a request id makes one challenge, whoever it is for and however many ask at once") { world in
            for index in 0..<4 { _ = try await world.factor(identity: "Person-\(index)") }
            let made = await together(20) { index in
                try await world.store.create(
                    world.newChallenge(identity: "Person-\(index % 4)", requestID: "R1"), nowMs: World.t0)
            }
            #expect(Set(made.compactMap { try? $0.get().challenge.sid }).count == 1)
            #expect(made.allSatisfy { (try? $0.get()) != nil })
            #expect(try await world.drain().eventTypes.count { $0 == "challenge.created" } == 1)
        },
        ConformanceCase("an idempotency key is one request's, whoever asks with it at once") { world in
            for index in 0..<2 { _ = try await world.factor(identity: "Person-\(index)") }
            let made = await together(20) { index in
                var new = world.newChallenge(identity: "Person-\(index % 2)")
                new.idempotency = IdempotencyKey(key: [9], request: [UInt8(index % 2)])
                return try await world.store.create(new, nowMs: World.t0)
            }
            #expect(Set(made.compactMap { try? $0.get().challenge.sid }).count == 1)
            #expect(made.count { $0.error == .idempotencyConflict } == 10)
            #expect(try await world.drain().eventTypes.count { $0 == "challenge.created" } == 1)
        },
        ConformanceCase("a device's new push token reaches every challenge that is made meanwhile") { world in
            let device = try await world.factor(token: "old")
            _ = try await world.drain()
            let made = await together(21) { index -> ChallengeSID? in
                guard index == 10 else { return try await world.challenge().sid }
                var change = FactorChange()
                change.pushToken = "new"
                _ = try await world.store.updateFactor(device.sid, change, nowMs: World.t0)
                return nil
            }
            var tokens: [String: String] = [:]
            let left = try await world.drain()
            for record in try left.challengeRecords {
                switch record.kind {
                case .dispatch(let dispatch): tokens[dispatch.challengeSid] = dispatch.targets.first?.pushToken
                case .deviceChanged(let changed): tokens[changed.challengeSid] = changed.target.pushToken
                default: break
                }
            }
            for sid in try made.compactMap({ try $0.get() }) { #expect(tokens[sid.rawValue] == "new") }
        },
        ConformanceCase("an identity is made once, and an account makes no more than 40 a second, by many at once") {
            world in
            let made = await together(10) { _ in
                try await world.store.createEntity(
                    account: world.account, service: world.service, identity: "Person-0009", nowMs: World.t0)
            }
            #expect(made.count { (try? $0.get()) != nil } == 1)
            #expect(made.count { $0.error == .conflict(.entity) } == 9)
            let others = await together(60) { index in
                try await world.store.createEntity(
                    account: world.account, service: world.service, identity: "Person-1\(index)", nowMs: World.t0)
            }
            #expect(others.count { (try? $0.get()) != nil } == 39)
            #expect(others.count { $0.error == .limit(.entityCreations) } == 21)
        },
        ConformanceCase("a service that goes while its identities are made leaves none behind") { world in
            _ = await together(30) { index in
                if index == 15 {
                    _ = try await world.store.deleteService(world.service, account: world.account, nowMs: World.t0)
                } else if index > 20 {
                    _ = try await world.store.sweep(limit: 100, nowMs: World.t0)
                } else {
                    _ = try await world.factor(identity: "Person-\(index)")
                }
            }
            for _ in 0..<5 { _ = try await world.store.sweep(limit: 100, nowMs: World.t0) }
            #expect(try await world.store.service(world.service, account: world.account) == nil)
            let left = try await world.drain()
            let (created, deleted) = (
                try left.eventTypes.count { $0 == "factor.created" },
                try left.eventTypes.count { $0 == "factor.deleted" }
            )
            #expect(created == deleted)
        },
    ]
}

extension Result {
    fileprivate var error: Failure? {
        if case .failure(let error) = self { error } else { nil }
    }
}
