import ChallengeModel
import DeviceKit
import Foundation
import Simulators
import Synchronization

/// Why a step did not do what it says.
struct StepFailed: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

final class FailureCount: Sendable {
    private let state = Mutex((count: 0, isFinished: false))
    var count: Int { state.withLock { $0.count } }
    var isFinished: Bool { state.withLock { $0.isFinished } }
    func add() { state.withLock { $0.count += 1 } }
    func finish() { state.withLock { $0.isFinished = true } }
}

/// The guided tour: each step makes a person with phones, asks a question, and checks on the topics and at the API that
/// what should happen did.
struct Tour: Sendable {
    struct Step: Sendable {
        let title: String
        let run: @Sendable (Tour) async throws -> Void
    }

    let cluster: DevCluster
    let playground: Playground
    let watch: TourObserver

    init(cluster: DevCluster, playground: Playground) throws {
        self.cluster = cluster
        self.playground = playground
        watch = try TourObserver(kafka: cluster.kafka, names: cluster.names, logger: cluster.logger)
    }

    func run(counting failures: FailureCount) async throws {
        await withTaskGroup { group in
            group.addTask { try? await watch.run() }
            for (index, step) in Self.steps.enumerated() {
                Terminal.line("\(index + 1). \(step.title)")
                let started = ContinuousClock.now
                do {
                    try await step.run(self)
                    Terminal.line("   done in \((ContinuousClock.now - started).short)")
                } catch {
                    failures.add()
                    Terminal.line("   FAILED after \((ContinuousClock.now - started).short): \(error)")
                }
                if Task.isCancelled { break }
            }
            if !Task.isCancelled { failures.finish() }
            group.cancelAll()
        }
    }

    // MARK: What steps are made of

    /// Enrols phones of one person, runs them for the time of `body`.
    func withPhones(
        _ identity: String, _ profiles: [PhonePool.Profile],
        _ body: @escaping @Sendable ([SimulatedPhone]) async throws -> Void
    ) async throws {
        var phones: [SimulatedPhone] = []
        for (index, profile) in profiles.enumerated() {
            phones.append(
                try await playground.pool.enrol(
                    serviceSID: playground.serviceSID, identity: identity, name: "\(identity)/\(index + 1)",
                    profile: profile))
        }
        let enrolled = phones
        try await withThrowingTaskGroup(of: Void.self) { group async throws in
            for phone in enrolled { group.addTask { await phone.run() } }
            for phone in enrolled where ![.polls, .offline, .deleted].contains(phone.behaviour) {
                try await phone.log.wait(for: .online)
            }
            for phone in enrolled where phone.behaviour == .deleted { try await phone.log.wait(for: .deleted) }
            try await body(enrolled)
            group.cancelAll()
        }
    }

    func ask(_ identity: String, _ draft: ChallengeDraft) async throws -> Question {
        let asked = ContinuousClock.now
        let challenge = try await playground.backend.createChallenge(
            serviceSID: playground.serviceSID, identity: identity, draft)
        return Question(tour: self, identity: identity, sid: challenge.sid, asked: asked)
    }
}

/// A challenge that a step has asked, and what is seen of it.
struct Question: Sendable {
    let tour: Tour
    let identity: String
    let sid: String
    let asked: ContinuousClock.Instant

    /// Waits for a fact on the topics; the step fails without it.
    @discardableResult
    func expect<Value: Sendable>(
        _ what: String, within deadline: Duration = .seconds(15),
        _ find: @escaping @Sendable (TourObserver.Fact) -> Value?
    ) async throws -> Value {
        let value = await tour.watch.wait(for: sid, within: deadline) { entries in
            for entry in entries { if let value = find(entry.fact) { return value } }
            return nil as Value?
        }
        guard let value else { throw StepFailed("no \(what) within \(deadline.short); seen: \(story)") }
        return value
    }

    func expectAccepted(_ dispatch: String, _ kind: PushKind = .visible) async throws {
        try await expect("accepted \(kind) push of dispatch \(dispatch)") { fact in
            if case .pushed(let outcome) = fact, outcome.dispatchID == dispatch, outcome.kind == kind,
                outcome.disposition == .accepted
            {
                true
            } else {
                nil
            }
        }
    }

    @discardableResult
    func expectReceipt(_ channel: ChallengeModel.ReceiptChannel) async throws -> Receipt {
        try await expect("receipt over \(channel)") { fact in
            if case .received(let receipt) = fact, receipt.channel == channel { receipt } else { nil }
        }
    }

    /// The final status, on the topic and at the API.
    func expectStatus(_ status: ResolutionStatus) async throws {
        try await expect("resolution \(status)") { fact in
            if case .resolved(let resolution) = fact, resolution.status == status { true } else { nil }
        }
        let read = try await read()
        guard read.status == "\(status)" else { throw StepFailed("the API says \(read.status), expected \(status)") }
    }

    func read() async throws -> BackendChallenge {
        try await tour.playground.backend.challenge(
            serviceSID: tour.playground.serviceSID, identity: identity, sid: sid)
    }

    func tell(_ text: String) { Terminal.line("   \(text)") }

    /// Everything seen so far, with times since it was asked.
    func tellStory() { tell(story) }

    private var story: String {
        tour.watch.entries(of: sid).compactMap { entry -> String? in
            let text: String? =
                switch entry.fact {
                case .dispatched(let dispatch): "dispatch \(dispatch.dispatchID)"
                case .pushed(let outcome):
                    "\(outcome.platform) \(outcome.kind) \(outcome.dispatchID): \(outcome.disposition)\(outcome.reason.isEmpty ? "" : " (\(outcome.reason))")"
                case .escalated: "escalation"
                case .received(let receipt): "receipt over \(receipt.channel), shown \(receipt.shown)"
                case .resolved(let resolution): "\(resolution.status)"
                case .event: nil
                }
            return text.map { "\($0) +\((entry.seen - asked).short)" }
        }.joined(separator: "; ")
    }
}
