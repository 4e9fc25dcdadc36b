import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1
import Synchronization
import TestSupport
import Testing
import Wire

/// Creations at a steady pace, each asked for once, with every answer kept: for ``ClusterOutageTests``.
final class OutageLoad: Sendable, CustomStringConvertible {
    enum Phase: Int, CaseIterable, Sendable {
        case before, outage, recovery
    }

    private struct Answer {
        let phase: Phase
        let askedAt: ContinuousClock.Instant
        let took: Duration
        /// 0: none came.
        let status: Int
        let retryAfter: String?
        let sid: String?
        /// What an answer without success said.
        let text: String
    }

    private struct Producer {
        /// Megabytes, the highest of each phase.
        var memory: [Phase: Double] = [:]
        /// What `/readyz` said while it was not ready, by phase.
        var reasons: [Phase: Set<String>] = [:]
        var isReady = true
        var readyAgainAt: ContinuousClock.Instant?
        var outboxRows: Double = 0
    }

    private struct State {
        var phase = Phase.before
        var begun: [Phase: ContinuousClock.Instant] = [:]
        var returnedAtMs: Int64 = 0
        var answers: [Answer] = []
        var producers: [String: Producer] = [:]
        var backlogEndedAt: ContinuousClock.Instant?
    }

    private let stage: ClusterStage
    private let state = Mutex(State())
    private let authorization: String
    /// So that a dispatch that waits for Kafka does not expire there.
    private static let life = 600

    init(_ stage: ClusterStage) {
        self.stage = stage
        let account = stage.cluster.account
        authorization = "Basic " + Data("\(account.sid):\(account.authToken)".utf8).base64EncodedString()
    }

    func begin(_ phase: Phase) {
        state.withLock { state in
            state.phase = phase
            state.begun[phase] = .now
            if phase == .recovery { state.returnedAtMs = Timestamp.nowMs() }
        }
    }

    var acknowledged: Set<String> { state.withLock { Set($0.answers.compactMap(\.sid)) } }
    /// Creations that may have been made although nobody was told so.
    var unanswered: Int { state.withLock { $0.answers.count { $0.status == 0 || $0.text.contains("has not said") } } }

    func wasBegunInOutage(_ sid: String) -> Bool {
        state.withLock { state in state.answers.contains { $0.sid == sid && $0.phase == .outage } }
    }

    /// - Parameter epochMs: 0: nothing was late.
    func sinceReturn(epochMs: Int64) -> Duration {
        .milliseconds(max(0, epochMs - state.withLock { $0.returnedAtMs }))
    }

    func run(seconds: Int, perSecond: Int) async throws {
        let start = ContinuousClock.now
        try await withThrowingTaskGroup(of: Void.self) { group in
            for index in 0..<seconds * perSecond {
                try await Task.sleep(until: start + .milliseconds(index * 1000 / perSecond), clock: .continuous)
                // Each ends after ten seconds at the latest.
                if index >= 3000 { try await group.next() }
                group.addTask { await self.create(index) }
            }
            try await group.waitForAll()
        }
    }

    private func create(_ index: Int) async {
        let (askedAt, phase) = (ContinuousClock.now, state.withLock { $0.phase })
        let identity = ClusterStage.identity(index)
        var request = HTTPClientRequest(
            url: stage.apis[index % stage.apis.count]
                + "/v2/Services/\(stage.service)/Entities/\(identity)/Challenges")
        request.method = .POST
        request.headers.add(name: "Authorization", value: authorization)
        request.headers.add(name: "Idempotency-Key", value: UUID().uuidString)
        request.headers.add(name: "Content-Type", value: "application/x-www-form-urlencoded")
        let expiry = Timestamp.rfc3339Seconds(Timestamp.nowMs() + Int64(Self.life) * 1000)
        request.body = .bytes(
            ByteBuffer(string: "Details.Message=Sign+in&ExpirationDate=\(expiry.replacing(":", with: "%3A"))"))
        var (status, retryAfter, sid, text) = (0, String?.none, String?.none, "")
        do {
            let response = try await stage.cluster.client.execute(request, timeout: .seconds(10))
            let body = Data(try await response.body.collect(upTo: 1 << 16).readableBytesView)
            let reply = (try? JSONSerialization.jsonObject(with: body)) as? [String: Any]
            status = Int(response.status.code)
            retryAfter = response.headers.first(name: "Retry-After")
            if status == 201 { sid = reply?["sid"] as? String } else { text = reply?["message"] as? String ?? "" }
        } catch {
            text = "\(error)"
        }
        let answer = Answer(
            phase: phase, askedAt: askedAt, took: .now - askedAt, status: status, retryAfter: retryAfter, sid: sid,
            text: text)
        state.withLock { $0.answers.append(answer) }
    }

    /// Looks at the producers once a second until cancelled.
    func watch() async {
        while !Task.isCancelled {
            for name in ClusterStage.producers { await look(at: name) }
            state.withLock { state in
                let isEmpty = state.producers.values.allSatisfy { $0.outboxRows == 0 }
                if !isEmpty || state.phase != .recovery { state.backlogEndedAt = nil }
                if isEmpty, state.backlogEndedAt == nil { state.backlogEndedAt = .now }
            }
            try? await Task.sleep(for: .milliseconds(500))
        }
    }

    private func look(at name: String) async {
        guard let process = stage.cluster[name], let admin = try? await process.ready()["admin"] else { return }
        let ready = try? await get(admin + "/readyz")
        let metrics = try? await get(admin + "/metrics").body
        let rows = metrics?.split(separator: "\n").first { $0.hasPrefix("beckon_outbox_rows ") }
            .flatMap { Double($0.split(separator: " ")[1]) }
        let memory = Self.memory(of: process.identifier)
        state.withLock { state in
            var producer = state.producers[name] ?? Producer()
            producer.memory[state.phase] = max(producer.memory[state.phase] ?? 0, memory)
            let isReady = ready?.status == 200
            if !isReady { producer.reasons[state.phase, default: []].insert(ready?.body ?? "no answer") }
            if isReady, !producer.isReady { producer.readyAgainAt = .now }
            producer.isReady = isReady
            if let rows { producer.outboxRows = rows }
            state.producers[name] = producer
        }
    }

    private func get(_ url: String) async throws -> (status: UInt, body: String) {
        let response = try await stage.cluster.client.execute(HTTPClientRequest(url: url), timeout: .seconds(5))
        return (response.status.code, String(buffer: try await response.body.collect(upTo: 4 << 20)))
    }

    /// Resident megabytes.
    private static func memory(of pid: Int32) -> Double {
        let status = (try? String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)) ?? ""
        let line = status.split(separator: "\n").first { $0.hasPrefix("VmRSS:") }
        return (line?.split(whereSeparator: \.isWhitespace).dropFirst().first).flatMap { Double($0) }.map { $0 / 1000 }
            ?? 0
    }

    // MARK: - Results

    private static func text(_ duration: Duration) -> String { String(format: "%.2f s", duration / .seconds(1)) }

    private static func summary(_ answers: [Answer]) -> String {
        let took = answers.map(\.took).sorted()
        guard !took.isEmpty else { return "none" }
        let kinds = Dictionary(grouping: answers) { answer in
            let after = answer.retryAfter.map { ", Retry-After \($0)" } ?? ""
            return answer.status == 201 ? "201" : "\(answer.status)\(after) \"\(answer.text.prefix(60))\""
        }
        let counts = kinds.sorted { $0.value.count > $1.value.count }.map { "\($0.value.count) × \($0.key)" }
        return
            "p50 \(text(took[took.count / 2])), p99 \(text(took[took.count * 99 / 100])), longest \(text(took[took.count - 1])): "
            + counts.joined(separator: "; ")
    }

    var description: String {
        let state = state.withLock { $0 }
        var lines: [String] = []
        for phase in Phase.allCases {
            lines.append("  \(phase): \(Self.summary(state.answers.filter { $0.phase == phase }))")
            for (name, producer) in state.producers.sorted(by: { $0.key < $1.key }) {
                let reasons = (producer.reasons[phase] ?? []).sorted().prefix(4).map { "\"\($0.prefix(160))\"" }
                lines.append(
                    "    \(name): \(Int(producer.memory[phase] ?? 0)) MB"
                        + (reasons.isEmpty ? ", ready" : ", not ready: \(reasons.joined(separator: " "))"))
            }
        }
        guard let returned = state.begun[.recovery] else { return lines.joined(separator: "\n") }
        func since(_ time: ContinuousClock.Instant?) -> String { time.map { Self.text($0 - returned) } ?? "never" }
        let after = state.answers.filter { $0.askedAt + $0.took > returned }
        let first = after.filter { $0.status == 201 }.map { $0.askedAt + $0.took }.min()
        let lastRefused = after.filter { $0.status != 201 }.map { $0.askedAt + $0.took }.max()
        lines.append(
            "  the first creation \(since(first)) after the return, the last refusal \(since(lastRefused)) after it"
        )
        lines.append("  the outbox empty \(since(state.backlogEndedAt)) after the return")
        for (name, producer) in state.producers.sorted(by: { $0.key < $1.key }) {
            lines.append("  \(name) ready again \(since(producer.readyAgainAt)) after the return")
        }
        return lines.joined(separator: "\n")
    }

    func check(_ away: ClusterOutageTests.Away) {
        let state = state.withLock { $0 }
        let (outage, returned) = (state.begun[.outage] ?? .now, state.begun[.recovery] ?? .now)
        // What was under way when it began, or ended, may end in any way.
        let answers = state.answers.filter {
            $0.askedAt > outage + .seconds(10) && $0.askedAt + $0.took < returned
        }
        switch away {
        case .postgreSQL:
            #expect(answers.allSatisfy { $0.status == 503 && $0.retryAfter != nil }, "an answer that says nothing")
        case .kafka: #expect(answers.allSatisfy { $0.status == 201 }, "Kafka is not needed to create")
        }
        let last = state.answers.suffix(200)
        #expect(last.allSatisfy { $0.status == 201 }, "it does not go on by itself: \(Self.summary(Array(last)))")
        for (name, producer) in state.producers {
            #expect(producer.reasons[.outage] != nil, "\(name) was ready all the time")
            #expect(producer.isReady, "\(name) is not ready")
            let (former, highest) = (producer.memory[.before] ?? 0, producer.memory[.outage] ?? 0)
            #expect(highest < former + 100, "\(name): \(former) MB before, \(highest) MB in the outage")
        }
    }
}
