import Foundation
import KafkaClient
import TestSupport
import Wire

/// Draws one fault after the other, the same for the same seed; mends it, and waits until creations are acknowledged
/// again.
struct FaultSchedule {
    private enum Fault: CaseIterable {
        case kill, freeze, restart
        case databaseRestart, databaseKill, databasePromote, sessionKill, databaseStall, databaseRefuse, databaseDelay
        case cutBeforeCommit, cutBehindCommit, cutCommitAnswer, halfOpenCommit
        case brokerDown
    }

    private var random: SeededGenerator
    private let stage: ClusterStage
    private let load: ClusterLoad
    /// One line for each fault: what, when, and how long until a creation was acknowledged after it was mended.
    private(set) var log: [String] = []
    /// Roles that were not there although no fault had ended them.
    private(set) var endedByThemselves: [String] = []
    /// What was done to dispatchers.
    private(set) var disturbances: [Disturbance] = []
    private(set) var recoveries: [Duration] = []
    /// What can move a partition to another dispatcher, with epoch milliseconds.
    private(set) var moves: [(what: String, fromMs: Int64, toMs: Int64)] = []

    init(seed: UInt64, stage: ClusterStage, load: ClusterLoad) {
        random = SeededGenerator(seed: seed)
        self.stage = stage
        self.load = load
    }

    /// From when a fault was mended until a creation was acknowledged.
    var recovery: String {
        let sorted = recoveries.sorted()
        guard let longest = sorted.last else { return "none" }
        return "median \(Self.text(sorted[sorted.count / 2])), longest \(Self.text(longest))"
    }

    mutating func run(seconds: Int) async throws {
        let start = ContinuousClock.now
        let end = start + .seconds(seconds)
        // All of them once, in the seed's order, before one comes again.
        var turn: [Fault] = []
        try await Task.sleep(for: .seconds(2))
        while ContinuousClock.now + .seconds(4) < end {
            if turn.isEmpty { turn = Fault.allCases.shuffled(using: &random) }
            let fault = turn.removeLast()
            let at = ContinuousClock.now - start
            let fromMs = Timestamp.nowMs()
            try stage.cluster.standInsRun()
            let what: String
            do {
                what = try await strike(fault)
            } catch {
                note("\(Self.text(at)) \(fault): \(error)")
                throw error
            }
            if what.contains("dispatcher") || what.hasPrefix("Kafka") {
                moves.append((what, fromMs, Timestamp.nowMs()))
            }
            guard let recovery = try await load.isServed(within: .seconds(60)) else {
                note("\(Self.text(at)) \(what): no creation within 60 s")
                continue
            }
            recoveries.append(recovery)
            note("\(Self.text(at)) \(what): served again after \(Self.text(recovery))")
            for role in stage.endedRoles() {
                note(role.how)
                endedByThemselves.append(role.how)
                if ClusterStage.dispatchers.contains(role.name) { disturb(.killed, role.name, fromMs: fromMs) }
                try stage.start(role.name)
            }
            try await stage.replaceStandby()
            try await Task.sleep(for: .milliseconds(Int.random(in: 500...2500, using: &random)))
        }
    }

    private mutating func note(_ line: String) {
        log.append(line)
        Progress.say(line)
    }

    /// From that time until now.
    private mutating func disturb(_ kind: Disturbance.Kind, _ role: String, fromMs: Int64) {
        disturbances.append(Disturbance(kind: kind, worker: role, fromMs: fromMs, toMs: Timestamp.nowMs()))
    }

    /// A unit that was pushed twice, and the last fault before that could have moved its partition.
    func story(of duplicate: DeliveryAudit.Duplicate) -> String {
        guard let first = duplicate.pushes.first, let last = duplicate.pushes.last else { return duplicate.unit }
        let move = moves.last { $0.fromMs <= last.sentAtMs }
        let fault =
            move.map {
                "\($0.what), from \($0.fromMs - first.sentAtMs) to \($0.toMs - first.sentAtMs) ms after the first"
            }
        return """
            \(duplicate.unit): pushed twice, the second time \(last.sentAtMs - first.sentAtMs) ms after the first, by \
            \(duplicate.isOfOneLane ? "the same lane" : "another lane"); \(fault ?? "no fault before")
            """
    }

    private static func text(_ duration: Duration) -> String {
        String(format: "%.2f s", Double(duration.components.seconds) + Double(duration.components.attoseconds) / 1e18)
    }

    private mutating func strike(_ fault: Fault) async throws -> String {
        let role = ClusterStage.roles.randomElement(using: &random) ?? ""
        let one = Int.random(in: 0..<stage.proxies.count, using: &random)
        let milliseconds = Int.random(in: 1000...3000, using: &random)
        let proxy = stage.proxies[one]
        let fromMs = Timestamp.nowMs()
        func hold() async throws { try await Task.sleep(for: .milliseconds(milliseconds)) }
        switch fault {
        case .kill:
            stage.cluster.kill(role)
            try await hold()
            disturb(.killed, role, fromMs: fromMs)
            try stage.start(role)
            return "kill -9 \(role)"
        case .freeze:
            guard let pid = stage.cluster[role]?.identifier else { return "no \(role)" }
            kill(pid, SIGSTOP)
            // Past its session: what it held is others' when it wakes.
            try await Task.sleep(for: stage.cluster.kafka.sessionTimeout + .milliseconds(milliseconds))
            kill(pid, SIGCONT)
            disturb(.frozen, role, fromMs: fromMs)
            return "SIGSTOP \(role)"
        case .restart:
            let status = await stage.cluster[role]?.stop() ?? nil
            if status == nil { disturb(.killed, role, fromMs: fromMs) }
            try stage.start(role)
            guard let status else { return "SIGTERM \(role), killed after 60 s" }
            return "SIGTERM \(role)" + (status == 0 ? "" : ", which ended with status \(status)")
        case .databaseRestart:
            try await stage.server.stop(.fast)
            try await stage.server.start()
            return "PostgreSQL restarted (fast)"
        case .databaseKill:
            try await stage.server.stop(.killed)
            try await stage.server.start()
            return "PostgreSQL killed"
        case .databasePromote:
            try await stage.failOver()
            return "PostgreSQL killed, its standby promoted"
        case .sessionKill:
            let others = "backend_type = 'client backend' AND pid <> pg_backend_pid()"
            let statement = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE \(others)"
            _ = try await retried(statement) { try await stage.server.sql(statement) }
            return "all sessions terminated"
        case .databaseStall:
            proxy.set(.stall)
            try await hold()
            proxy.set(.none)
            return "PostgreSQL stalled for producer-\(one)"
        case .databaseRefuse:
            for proxy in stage.proxies {
                proxy.set(.refuse)
                proxy.cutAll()
            }
            try await hold()
            for proxy in stage.proxies { proxy.set(.none) }
            return "PostgreSQL away for \(milliseconds) ms"
        case .databaseDelay:
            proxy.set(delay: .milliseconds(20))
            try await hold()
            proxy.set(delay: .zero)
            return "PostgreSQL slow for producer-\(one)"
        case .cutBeforeCommit: return try await cut(.cutBeforeCommit, "cut before COMMIT")
        case .cutBehindCommit: return try await cut(.cutBehindCommit, "cut behind COMMIT")
        case .cutCommitAnswer: return try await cut(.cutCommitAnswer, "answer of COMMIT cut")
        case .halfOpenCommit: return try await cut(.halfOpenAtCommit, "half-open at COMMIT")
        case .brokerDown:
            guard stage.cluster.brokerControl != nil else { return "no switch for a real broker" }
            try await stage.cluster.setBroker("/brokers/1/down")
            try await hold()
            try await stage.cluster.setBroker("/brokers/1/up")
            return "Kafka away for \(milliseconds) ms"
        }
    }

    /// At every producer, five times.
    private func cut(_ fault: PostgresProxy.Fault, _ what: String) async throws -> String {
        let before = stage.proxies.reduce(0) { $0 + $1.cuts }
        for proxy in stage.proxies { proxy.set(fault, times: 5) }
        let end = ContinuousClock.now + .seconds(10)
        while stage.proxies.reduce(0, { $0 + $1.cuts }) < before + 5 * stage.proxies.count, ContinuousClock.now < end {
            try await Task.sleep(for: .milliseconds(20))
        }
        for proxy in stage.proxies { proxy.set(.none) }
        return "\(what), \(stage.proxies.reduce(0) { $0 + $1.cuts } - before) times"
    }
}
