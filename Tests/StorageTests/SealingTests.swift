import ChallengeModel
import Crypto
import Foundation
import GRDB
import Synchronization
import Testing

@testable import Challenges
@testable import Storage

@Suite("The keys that a store is sealed with", .timeLimit(.minutes(5)))
struct SealingTests {
    private let one = KeyRing.random(id: "one").first
    private let two = KeyRing.random(id: "two").first

    private func open(_ path: String, _ keys: [KeyRing.Key]) throws -> ChallengeStore {
        try ChallengeStore.sqlite(
            path: path, keys: StoreKeys(store: KeyRing(keys: keys), configuration: TestKeys.configuration),
            limits: .none, logger: quiet)
    }

    private func refusal(_ path: String, _ keys: [KeyRing.Key]) async -> String? {
        do {
            try await open(path, keys).close()
            return nil
        } catch StoreError.failed(let text) {
            return text
        } catch {
            return "\(error)"
        }
    }

    @Test(
        "wrong, missing and exchanged keys are refused before anything is written; the error names the key, never its bytes"
    )
    func wrongKeys() async throws {
        try await withTemporaryFolder { folder in
            let path = folder.appending(path: "store.db").path
            // Also of a store that holds nothing yet.
            try await open(path, [one]).close()
            let store = try open(path, [one])
            let world = try await World(store)
            await store.close()
            let other = KeyRing.random(id: "one").first
            for keys in [[other], [other, two], [two, other]] {
                let text = await refusal(path, keys)
                #expect(text?.contains("key one in BECKON_STORE_KEYS is not the key") == true, "\(text ?? "opened")")
            }
            let text = await refusal(path, [two])
            #expect(text?.contains("BECKON_STORE_KEYS lacks key one") == true && text?.contains("reseal") == true)
            #expect(text?.contains(path) == true && text?.contains(KeyRing(keys: [one]).text.dropFirst(4)) == false)
            let again = try open(path, [two, one])
            #expect(
                try await again.authenticate(.account(world.account, authToken: world.authToken), nowMs: World.t0)
                    != nil)
            await again.close()
            // Now values may be sealed under both.
            #expect(await refusal(path, [one])?.contains("lacks key two") == true)
        }
    }

    @Test("a store of before is checked by what is sealed in it")
    func storeOfBefore() async throws {
        try await withTemporaryFolder { folder in
            let path = folder.appending(path: "store.db").path
            let store = try open(path, [one])
            _ = try await World(store)
            try await store.sqlite.writeRows { try $0.run("UPDATE sealing_keys SET proof = NULL") }
            await store.close()
            #expect(await refusal(path, [KeyRing.random(id: "one").first])?.contains("is not the key") == true)
            #expect(await refusal(path, [two])?.contains("lacks key one") == true)
            #expect(await refusal(path, [one]) == nil)
        }
    }

    @Test(
        "reseal rotates every value beside a producer, tells how far it is, goes on where it was stopped, and retires the old key"
    )
    func reseal() async throws {
        try await withTemporaryFolder { folder in
            let path = folder.appending(path: "store.db").path
            let store = try open(path, [one])
            let world = try await World(store)
            let device = try await world.factor()
            let code = try await world.codeFactor()
            var numbered = world.newChallenge(factor: device.sid)
            numbered.requiresNumber = true
            let challenge = try await store.create(numbered, nowMs: World.t0).challenge
            let number = try #require(try store.number(of: challenge))
            let rotated = try await store.rotateAuthToken(world.account, keepFormerMs: 1_000_000, nowMs: World.t0)
            for _ in 0..<250 { _ = try await store.createAccount(nowMs: World.t0) }
            await store.close()

            // One that is stopped after its first step: an old key's values are left, and it is not retired.
            let stopped = try open(path, [two, one])
            let steps = Mutex(0)
            let task = Task {
                try await stopped.reseal { _ in
                    steps.withLock { $0 += 1 }
                    withUnsafeCurrentTask { $0?.cancel() }
                }
            }
            _ = try? await task.value
            #expect(steps.withLock { $0 } >= 1)
            await stopped.close()

            let producer = try open(path, [two, one])
            let resealing = try open(path, [two, one])
            let result = try await resealing.reseal()
            #expect(result.keyID == "two" && result.failed == 0 && result.retired == ["one"])
            await resealing.close()
            await producer.close()

            let after = try open(path, [two])
            for token in [world.authToken, rotated.authToken] {
                #expect(
                    try await after.authenticate(.account(world.account, authToken: token), nowMs: World.t0 + 1) != nil)
            }
            let found = try #require(try await after.challenge(challenge.sid))
            #expect(try after.number(of: found) == number)
            try await after.republishConfiguration(nowMs: World.t0)
            _ = try await after.verifyCodeFactor(
                code.sid, code: world.code(atMs: World.t0 + 30_000), nowMs: World.t0 + 30_000)
            await after.close()
            #expect(await refusal(path, [one])?.contains("lacks key two") == true)
        }
    }

    @Test("a value that no key opens is left and counted, and its key is not retired")
    func damaged() async throws {
        try await withTemporaryFolder { folder in
            let path = folder.appending(path: "store.db").path
            let store = try open(path, [one])
            let account = try await store.createAccount(nowMs: World.t0)
            _ = try await store.createAccount(nowMs: World.t0)
            try await store.sqlite.writeRows {
                try $0.run(
                    "UPDATE accounts SET token_sealed = ? WHERE sid = ?",
                    [blob([UInt8](repeating: 7, count: 60)), account.sid.rawValue])
            }
            await store.close()
            let resealing = try open(path, [two, one])
            let result = try await resealing.reseal()
            #expect(result.resealed == 1 && result.failed == 1 && result.retired.isEmpty)
            await resealing.close()
        }
    }
}

@Suite("Wrong numbers")
struct NumberGuessTests {
    @Test("as many as the limit within the span, then none until the oldest is out of it")
    func limit() {
        var guesses = NumberGuesses("")
        for second in 0..<3 {
            #expect(guesses.closedUntilMs(limit: 3, windowMs: 10_000, nowMs: Int64(second) * 1000) == nil)
            guesses.add(limit: 3, windowMs: 10_000, nowMs: Int64(second) * 1000)
        }
        #expect(NumberGuesses(guesses.text) == guesses && guesses.text == "0,1000,2000")
        #expect(guesses.closedUntilMs(limit: 3, windowMs: 10_000, nowMs: 9999) == 10_000)
        #expect(guesses.closedUntilMs(limit: 3, windowMs: 10_000, nowMs: 10_000) == nil)
        guesses.add(limit: 3, windowMs: 10_000, nowMs: 10_000)
        #expect(guesses.closedUntilMs(limit: 3, windowMs: 10_000, nowMs: 10_000) == 11_000)
        #expect(guesses.closedUntilMs(limit: 0, windowMs: 10_000, nowMs: 10_000) == nil, "0: no limit")
    }

    @Test("a clock that was set back, and texts that are none, close nothing for longer than the span")
    func clocks() {
        let ahead = NumberGuesses("5000,5000,5000")
        #expect(ahead.closedUntilMs(limit: 3, windowMs: 10_000, nowMs: 0) == 10_000)
        for text in ["99999999999,99999999999", "-9223372036854775808,9223372036854775807,x,,"] {
            #expect(NumberGuesses(text).closedUntilMs(limit: 1, windowMs: 10_000, nowMs: 1) == nil)
        }
    }
}
