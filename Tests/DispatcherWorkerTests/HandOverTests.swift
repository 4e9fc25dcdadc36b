import ChallengeModel
import Foundation
import KafkaClient
import KafkaGroup
import PushGateway
import PushProviders
import ServiceSupport
import Synchronization
import TestSupport
import Testing

@testable import DispatcherWorker

@Suite("Stops, crashes, rebalances and a broker that does not answer", .timeLimit(.minutes(5)))
struct HandOverTests {
    @Test("a worker that dies repeats nothing that has an outcome, and loses nothing")
    func crash() async throws {
        try await Rig.with(partitions: 2) { rig in
            // Every tenth has no answer when the worker dies.
            let sender = ScriptedSender { push in
                push.challengeSID.hasSuffix("5") ? .hold : .answer(ScriptedSender.accepted())
            }
            let first = try rig.service(sender)
            try await first.ready()
            try await rig.write((1...400).map { Samples.dispatch($0) })
            let open = (1...400).filter { Samples.challenge($0).hasSuffix("5") }
            try await eventually("all but the held are recorded") { rig.outcomes.count == 400 - open.count }
            await first.crash()

            let second = ScriptedSender()
            let again = try rig.service(second)
            try await eventually("nothing is lost") {
                Set(rig.outcomes.filter { $0.disposition == .accepted }.map(\.unit)).count == 400
            }
            let wrong = Set(second.pushes.map(\.challengeSID)).symmetricDifference(open.map(Samples.challenge))
            #expect(wrong.isEmpty)
            #expect(second.counts.values.allSatisfy { $0 == 1 })
            try await again.stop()
        }
    }

    @Test("a log that was cut below the committed offset is read from its start: nothing new in it is passed over")
    func cut() async throws {
        try await Rig.with { rig in
            try await rig.commit(CommittedOffset(offset: 500, metadata: ""))
            try await rig.write((1...3).map { Samples.dispatch($0) })
            let sender = ScriptedSender()
            let service = try rig.service(sender)
            try await eventually("what is in it is pushed") { rig.outcomes.count == 3 }
            try await rig.write((4...6).map { Samples.dispatch($0) })
            try await eventually("and what comes") { rig.outcomes.count == 6 }
            #expect(sender.counts.values.allSatisfy { $0 == 1 } && sender.counts.count == 6)
            #expect(rig.counters.count(DispatcherMetricName.logsCut.rawValue) == 1)
            try await service.stop()
            #expect(try await rig.committed()?.offset == 6)
        }
    }

    @Test("on SIGTERM answers are waited for; what has none at the bound is recorded as unknown and pushed by the next")
    func drain() async throws {
        try await Rig.with { rig in
            let sender = ScriptedSender { _ in .hold }
            let first = try rig.service(sender)
            try await first.ready()
            try await rig.write((1...20).map { Samples.dispatch($0) })
            try await eventually("all are out") { sender.inFlight == 20 }
            async let stopped: Void = first.stop()
            try await eventually("it drains") {
                first.readiness.reasons[DispatcherService.Check.partitions] == "stopping"
            }
            sender.release()
            try await stopped
            #expect(rig.outcomes.count == 20)
            #expect(rig.outcomes.allSatisfy { $0.disposition == .accepted })
            #expect(try await rig.committed()?.offset == 20)

            let second = try rig.service(sender)
            try await second.ready()
            try await rig.write((21...25).map { Samples.dispatch($0) })
            try await eventually("five more are out") { sender.inFlight == 5 }
            try await second.stop()
            try await eventually("they are recorded") { rig.outcomes.count == 25 }
            #expect(rig.outcomes.suffix(5).allSatisfy { $0.disposition == .unknown && $0.reason == "drained" })
            #expect(try await rig.committed()?.offset == 20, "the records stay open")
            sender.release()

            let third = ScriptedSender()
            let last = try rig.service(third)
            try await eventually("the next owner pushes them") { rig.outcomes.count == 30 }
            #expect(third.pushes.map(\.pushID) == sender.pushes.suffix(5).map(\.pushID))
            try await last.stop()
            #expect(try await rig.committed()?.offset == 25)
        }
    }

    @Test(
        "a lane that ends before its outcomes are acknowledged is not taken up again: as their writer it would pass over them",
        .standIn())
    func unacknowledged() async throws {
        try await Rig.with { rig in
            let sender = ScriptedSender { _ in .hold }
            let running = try rig.service(sender)
            try await running.ready()
            try await rig.write((1...20).map { Samples.dispatch($0) })
            try await eventually("all are out") { sender.inFlight == 20 }
            try rig.broker.inject(.leader(topic: rig.names[.outcomes], partition: 0, broker: nil))
            sender.release()
            let found = running.service.lanes.withLock { $0[0] }
            let lane = try #require(found)
            try await eventually("all are answered") {
                rig.counters.count("beckon_dispatcher_pushes_total|fcm|visible|accepted") == 20
            }
            lane.drain(pushesUntilMs: 0, writesUntilMs: 0)
            let isKept = await lane.drained() != nil
            #expect(!isKept)
            await running.crash()
            try rig.broker.inject(.leader(topic: rig.names[.outcomes], partition: 0, broker: 1))
        }
    }

    @Test(
        "partitions that move are drained first: what is answered meanwhile is done, and the next owner repeats nothing"
    )
    func moved() async throws {
        try await Rig.with(partitions: 2) { rig in
            let sender = ScriptedSender { _ in .hold }
            let first = try rig.service(sender) { $0.drainBound = .seconds(20) }
            try await first.ready()
            try await rig.write((1...20).map { Samples.dispatch($0) })
            try await eventually("all are out") { sender.inFlight == 20 }
            let second = try rig.service(sender)
            try await eventually("the first drains") {
                first.service.lanes.withLock { lanes in lanes.values.allSatisfy { !$0.status.isServing } }
            }
            sender.set { _ in .answer(ScriptedSender.accepted()) }
            sender.release()
            try await eventually("both serve", within: .seconds(60)) {
                first.readiness.isReady && second.readiness.isReady
                    && first.service.lanes.withLock { $0.count } == 1
            }
            try await rig.write((21...40).map { Samples.dispatch($0) })
            try await eventually("the later ones are done") {
                Set(rig.outcomes.filter { $0.disposition == .accepted }.map(\.unit)).count == 40
            }
            // The stand-in refuses the commit, so that the next owner reads some again and finds them done.
            #expect(rig.outcomes.count { $0.disposition == .accepted } == 40)
            #expect(rig.outcomes.allSatisfy { $0.disposition == .accepted || $0.dropReason == .alreadyDone })
            #expect(sender.counts.values.allSatisfy { $0 == 1 })
            try await second.stop()
            try await first.stop()
        }
    }

    @Test("no push starts while the broker acknowledges no commit; it goes on when the broker does", .standIn())
    func refusedCommits() async throws {
        try await Rig.with { rig in
            let sender = ScriptedSender()
            let running = try rig.service(sender)
            try await running.ready()
            let closed = Mutex(0)
            sender.set { _ in
                if !running.service.fence.isOpen(atMs: Moment.now().steadyMs) { closed.withLock { $0 += 1 } }
                return .answer(ScriptedSender.accepted())
            }
            // OffsetCommit: GROUP_AUTHORIZATION_FAILED, which librdkafka hands on at once; until the pushes are held.
            try rig.broker.inject(.requestErrors(apiKey: 8, codes: Array(repeating: 30, count: 5000)))
            try await eventually("the last commit is too old") {
                !running.service.fence.isOpen(atMs: Moment.now().steadyMs)
            }
            try await rig.write((1...50).map { Samples.dispatch($0) })
            try await eventually("the pushes are held") { rig.counters.count("beckon_dispatcher_holds_total") > 0 }
            #expect(sender.pushes.isEmpty)
            try rig.broker.inject(.requestErrors(apiKey: 8, codes: []))
            try await eventually("they go on") { rig.outcomes.count == 50 }
            #expect(closed.withLock { $0 } == 0)
            #expect(sender.counts.values.allSatisfy { $0 == 1 })
            try await running.stop()
        }
    }

    @Test(
        "with the broker away outcomes are kept and no push starts; when it is back nothing is lost or repeated",
        .standIn())
    func brokerAway() async throws {
        try await Rig.with { rig in
            let sender = ScriptedSender { _ in .hold }
            let running = try rig.service(sender) { $0.maxPushesPerLane = 10 }
            try await running.ready()
            try await rig.write((1...40).map { Samples.dispatch($0) })
            try await eventually("the window is full") { sender.inFlight == 10 }
            try rig.broker.inject(.brokerDown(1))
            try await eventually("the last commit is too old") {
                !running.service.fence.isOpen(atMs: Moment.now().steadyMs)
            }
            sender.set { _ in .answer(ScriptedSender.accepted()) }
            sender.release()
            try await eventually("the pushes are held") { rig.counters.count("beckon_dispatcher_holds_total") > 0 }
            #expect(sender.pushes.count == 10)
            try rig.broker.inject(.brokerUp(1))
            try await eventually("all is recorded", within: .seconds(60)) {
                Set(rig.outcomes.filter { $0.disposition == .accepted }.map(\.unit)).count == 40
            }
            let repeated = sender.counts.filter { $0.value > 1 }
            let unknown = Set(rig.outcomes.filter { $0.disposition == .unknown }.map(\.unit))
            #expect(repeated.keys.allSatisfy(unknown.contains))
            try await running.stop()
        }
    }

    @Test("members come and go under load: no push is lost, none repeated without an unknown outcome")
    func rebalance() async throws {
        try await Rig.with(partitions: 4) { rig in
            let sender = ScriptedSender()
            let first = try rig.service(sender)
            try await first.ready()
            let written = Tally()
            let isOver = Tally()
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    while isOver.value == 0 {
                        let from = written.value
                        try await rig.write((from + 1...from + 20).map { Samples.dispatch($0) })
                        written.set(from + 20)
                        try? await Task.sleep(for: .milliseconds(20))
                    }
                }
                let second = try rig.service(sender)
                try await second.ready()
                try await eventually("both serve") {
                    first.readiness.isReady && first.service.lanes.withLock { $0.count } == 2
                        && second.service.lanes.withLock { $0.count } == 2
                }
                try await second.stop()
                try await eventually("the first serves all again") {
                    first.readiness.isReady && first.service.lanes.withLock { $0.count } == 4
                }
                isOver.set(1)
            }
            let total = written.value
            try await eventually("nothing is lost", within: .seconds(60)) {
                Set(rig.outcomes.filter { $0.disposition == .accepted }.map(\.unit)).count == total
            }
            let unknown = Set(rig.outcomes.filter { $0.disposition == .unknown }.map(\.unit))
            let repeated = sender.counts.filter { $0.value > 1 }.map(\.key)
            #expect(repeated.allSatisfy(unknown.contains), "\(repeated.count) of \(total) repeated")
            try await first.stop()
        }
    }
}

/// A number that several tasks look at.
final class Tally: Sendable {
    private let number = Mutex(0)
    var value: Int { number.withLock { $0 } }
    func set(_ value: Int) { number.withLock { $0 = value } }
}
