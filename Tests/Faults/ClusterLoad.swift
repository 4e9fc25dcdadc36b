import Foundation
import Simulators
import Synchronization
import TestSupport

/// Backends of ``ClusterCampaignTests``: creations at a steady pace, tried again at another producer with the same
/// idempotency key until one acknowledges them, and readers who note every status that they are told.
final class ClusterLoad: Sendable {
    struct Told: Sendable {
        let identity: String
        let expiresAtMs: Int64
        /// The final statuses that readers were told; more than one is a broken promise.
        var final: Set<String> = []
    }

    private struct State {
        var told: [String: Told] = [:]
        var lastAcknowledgedAt = ContinuousClock.now
        var tries = 0
        /// Keys that no producer acknowledged in time.
        var givenUp: [String] = []
        /// Answers that no fault accounts for.
        var refused: [String] = []
        var longest: Duration = .zero
        /// The tries of that one: when, at which producer, and what it said.
        var longestTries: [String] = []
    }

    private let stage: ClusterStage
    private let state = Mutex(State())
    static let lifeMs: Int64 = 45_000
    static let patience: Duration = .seconds(40)
    static let finalStatuses: Set<String> = ["approved", "denied", "expired", "canceled"]

    init(_ stage: ClusterStage) { self.stage = stage }

    var acknowledged: Set<String> { state.withLock { Set($0.told.keys) } }
    var told: [String: Told] { state.withLock { $0.told } }
    var tries: Int { state.withLock { $0.tries } }
    var givenUp: [String] { state.withLock { $0.givenUp } }
    var refused: [String] { state.withLock { $0.refused } }
    var longest: (took: Duration, tries: [String]) { state.withLock { ($0.longest, $0.longestTries) } }

    /// Returns when a creation that begins after now is acknowledged.
    func isServed(within deadline: Duration) async throws -> Duration? {
        let start = ContinuousClock.now
        while ContinuousClock.now < start + deadline {
            if state.withLock({ $0.lastAcknowledgedAt > start }) { return ContinuousClock.now - start }
            try await Task.sleep(for: .milliseconds(20))
        }
        return nil
    }

    /// Returns at the end, or soon after it is cancelled.
    func run(seconds: Int, perSecond: Int) async {
        let start = ContinuousClock.now
        await withTaskGroup(of: Void.self) { group in
            for index in 0..<seconds * perSecond {
                try? await Task.sleep(until: start + .milliseconds(index * 1000 / perSecond), clock: .continuous)
                if Task.isCancelled { break }
                // In an outage they wait; a backend has a bound too.
                if index >= 1000 { await group.next() }
                group.addTask { await self.create(index) }
            }
        }
    }

    private func create(_ index: Int) async {
        let (key, identity) = ("key-\(UUID().uuidString)", ClusterStage.identity(index))
        var draft = ChallengeDraft(message: "Sign in, \(index)?")
        draft.expectedLatencyMs = 2000
        draft.fallbacks = ["sms"]
        let begin = ContinuousClock.now
        draft.expiresAtMs = Int64(Date().timeIntervalSince1970 * 1000) + Self.lifeMs
        var turn = index
        var tries: [String] = []
        while ContinuousClock.now < begin + Self.patience, !Task.isCancelled {
            turn += 1
            state.withLock { $0.tries += 1 }
            do {
                let backend = stage.cluster.backend(at: stage.apis[turn % stage.apis.count])
                let sid = try await backend.createChallenge(
                    serviceSID: stage.service, identity: identity, draft, idempotencyKey: key
                ).sid
                state.withLock { state in
                    state.told[sid] = Told(identity: identity, expiresAtMs: draft.expiresAtMs ?? 0)
                    state.lastAcknowledgedAt = .now
                    if .now - begin > state.longest { (state.longest, state.longestTries) = (.now - begin, tries) }
                }
                return
            } catch let error as BackendError where error.status == 0 || error.status >= 500 {
                tries.append("\(ContinuousClock.now - begin) producer-\(turn % stage.apis.count) \(error)")
                try? await Task.sleep(for: .milliseconds(100))
            } catch let error as BackendError where error.code == 60200 && .now > begin + .milliseconds(Self.lifeMs) {
                // Its expiry has passed while nobody answered.
                break
            } catch {
                if Task.isCancelled { break }
                let what = "creation for \(identity) at producer-\(turn % stage.apis.count): \(error)"
                state.withLock { $0.refused.append(what) }
                break
            }
        }
        state.withLock { $0.givenUp.append(key) }
    }

    /// Reads challenges in turn, each time at another producer, until cancelled.
    func watch() async {
        var turn = 0
        while !Task.isCancelled {
            for (sid, told) in told where !Task.isCancelled {
                turn += 1
                await note(sid, told, at: turn)
                try? await Task.sleep(for: .milliseconds(5))
            }
            try? await Task.sleep(for: .milliseconds(20))
        }
    }

    /// Reads every challenge at every producer.
    /// - Returns: false: there was no time for all of them.
    func readAll(within bound: Duration) async -> Bool {
        let end = ContinuousClock.now + bound
        return await withTaskGroup(of: Bool.self) { group in
            for turn in stage.apis.indices {
                group.addTask {
                    for (sid, told) in self.told {
                        if ContinuousClock.now > end { return false }
                        await self.note(sid, told, at: turn)
                    }
                    return true
                }
            }
            return await group.reduce(true) { $0 && $1 }
        }
    }

    private func note(_ sid: String, _ told: Told, at turn: Int) async {
        let backend = stage.cluster.backend(at: stage.apis[turn % stage.apis.count])
        let status = try? await backend.challenge(serviceSID: stage.service, identity: told.identity, sid: sid).status
        guard let status, Self.finalStatuses.contains(status) else { return }
        state.withLock { _ = $0.told[sid]?.final.insert(status) }
    }
}
