import AsyncHTTPClient
import Foundation
import NIOCore
import ServiceSupport
import Simulators
import TestSupport
import Testing

/// The text of `/metrics` of real processes against the descriptions that `beckon metrics` prints.
@Suite("Metrics", .timeLimit(.minutes(10)))
struct MetricsTests {
    private struct Described: Decodable {
        let name, kind, help: String
        let labels: [String: [String]]
    }

    private struct Sample {
        let name: String
        let labels: [String: String]
        let value: Double
    }

    @Test("docs/metrics.md is what `beckon metrics` prints; BECKON_WRITE_DOCS=1 writes it")
    func documented() async throws {
        let file = ToolRun.root.appending(path: "docs/metrics.md")
        let page = try String(contentsOf: file, encoding: .utf8)
        let mark = "<!-- beckon metrics -->\n\n"
        let head = try #require(page.range(of: mark), "docs/metrics.md has lost the line \(mark)").upperBound
        let expected = page[..<head] + (try await BeckonProcess.output(of: ["metrics"]))
        if ProcessInfo.processInfo.environment["BECKON_WRITE_DOCS"] == "1" {
            try expected.write(to: file, atomically: true, encoding: .utf8)
        } else {
            #expect(page == expected, "run this test with BECKON_WRITE_DOCS=1")
        }
    }

    @Test("promtool accepts the text of every role, each series is as described, and a challenge moves the funnel")
    func roles() async throws {
        let described = try await descriptions()
        try await BeckonCluster.with { cluster in
            let roles = ["producer", "dispatcher", "ack-tracker", "webhooks"]
            for role in roles { try cluster.start(role, role) }
            var admin: [String: String] = [:]
            for role in roles { admin[role] = try await cluster[role]?.ready()["admin"] }
            var before: [String: [Sample]] = [:]
            for role in roles { before[role] = try Self.samples(try await text(admin[role], cluster)) }
            for (role, samples) in before { checkZeroes(role, samples, described) }

            let service = try await cluster.startPhones(1, behaviour: "answers", platform: "apn")
            let challenge = try await cluster.backend.createChallenge(
                serviceSID: service, identity: "person-00001", ChallengeDraft(message: "Sign in?"))
            let outcomes = "beckon_challenge_outcomes_total"
            try await until("the tracker has counted the end", cluster) {
                let samples = try Self.samples(try await text(admin["ack-tracker"], cluster))
                return value(samples, outcomes, ["outcome": "approved", "responsible": "person"]) == 1
            }
            #expect(!challenge.sid.isEmpty)

            for role in roles {
                let text = try await text(admin[role], cluster)
                let complaints = try await promtool(text)
                #expect(complaints == "", "\(role)")
                for sample in try Self.samples(text) { check(sample, of: role, described) }
            }
            let producer = try Self.samples(try await text(admin["producer"], cluster))
            #expect(value(producer, "beckon_challenges_created_total", ["source": "http"]) == 1)
            #expect(value(producer, "beckon_answers_total", ["result": "approved"]) == 1)
            #expect(value(producer, "beckon_outbox_relayed_total", ["topic": "challenges"]) ?? 0 >= 1)
            #expect(value(producer, "beckon_ready", [:]) == 1)
            // The person can have answered before the dispatcher has noted the provider's answer.
            try await until("the dispatcher has counted the push", cluster) {
                let samples = try Self.samples(try await text(admin["dispatcher"], cluster))
                return value(samples, "beckon_dispatcher_accepted_after_seconds_count", ["provider": "apn"]) ?? 0 >= 1
            }
            let dispatcher = try Self.samples(try await text(admin["dispatcher"], cluster))
            let accepted = ["provider": "apn", "kind": "visible", "disposition": "accepted"]
            #expect(value(dispatcher, "beckon_dispatcher_pushes_total", accepted) ?? 0 >= 1)
            #expect(value(dispatcher, "beckon_dispatcher_push_seconds_count", ["provider": "apn"]) ?? 0 >= 1)
            #expect(value(dispatcher, "beckon_dispatcher_accepted_after_seconds_count", ["provider": "apn"]) ?? 0 >= 1)
            try await until("partitions served are partitions expected", cluster) {
                let samples = try Self.samples(try await text(admin["dispatcher"], cluster))
                return value(samples, "beckon_dispatcher_lanes", [:]) == 12
                    && value(samples, "beckon_dispatcher_partitions_expected", [:]) == 12
            }
            try checkProcess(dispatcher)
        }
    }

    // MARK: - What is checked

    private func checkZeroes(_ role: String, _ samples: [Sample], _ described: [String: Described]) {
        let own = Set(samples.map(\.name))
        for family in described.values where family.kind == "counter" && own.contains(family.name) {
            guard family.labels.values.allSatisfy({ !$0.isEmpty }) else { continue }
            let sets = family.labels.values.map(\.count).reduce(1, *)
            #expect(
                samples.count { $0.name == family.name } >= sets,
                "\(role): \(family.name) lacks label sets before anything has happened")
        }
    }

    private func check(_ sample: Sample, of role: String, _ described: [String: Described]) {
        var name = sample.name
        var labels = sample.labels
        if described[name] == nil {
            for suffix in ["_bucket", "_sum", "_count"] where name.hasSuffix(suffix) { name.removeLast(suffix.count) }
            labels["le"] = nil
        }
        guard let family = described[name] else {
            Issue.record("\(role) shows \(sample.name), which `beckon metrics` does not list")
            return
        }
        #expect(Set(labels.keys) == Set(family.labels.keys), "\(role): \(sample.name)")
        for (label, value) in labels {
            let known = family.labels[label] ?? []
            #expect(
                known.isEmpty || known.contains(value), "\(role): \(sample.name) has \(label)=\(value), not described")
        }
    }

    private func checkProcess(_ samples: [Sample]) throws {
        let now = Date().timeIntervalSince1970
        let started = try #require(value(samples, "process_start_time_seconds", [:]))
        // The boot time of /proc/stat is in whole seconds.
        #expect(started <= now + 2 && started > now - 3600)
        for name in ["process_resident_memory_bytes", "process_open_fds", "process_max_fds"] {
            #expect(value(samples, name, [:]) ?? 0 > 0, "\(name)")
        }
        #expect(value(samples, "process_cpu_seconds_total", [:]) ?? -1 >= 0)
        let build = try #require(samples.first { $0.name == "beckon_build_info" })
        #expect(build.value == 1 && build.labels["role"] == "dispatcher")
        #expect(build.labels["librdkafka"]?.split(separator: ".").count ?? 0 >= 3)
    }

    // MARK: - Reading

    private func descriptions() async throws -> [String: Described] {
        let lines = try await BeckonProcess.output(of: ["metrics", "--json"]).split(separator: "\n")
        let all = try lines.map { try JSONDecoder().decode(Described.self, from: Data($0.utf8)) }
        #expect(Set(all.map(\.name)).count == all.count, "two descriptions have one name")
        #expect(all.allSatisfy { $0.help.hasSuffix(".") }, "a HELP text is a sentence")
        return Dictionary(uniqueKeysWithValues: all.map { ($0.name, $0) })
    }

    private func text(_ admin: String?, _ cluster: BeckonCluster) async throws -> String {
        let request = HTTPClientRequest(url: try #require(admin) + "/metrics")
        let response = try await cluster.client.execute(request, timeout: .seconds(30))
        return String(buffer: try await response.body.collect(upTo: 8 << 20))
    }

    private static func samples(_ text: String) throws -> [Sample] {
        try text.split(separator: "\n").filter { !$0.hasPrefix("#") }.map { line in
            let match = try #require(line.wholeMatch(of: #/([a-z_]+)(?:\{(.*)\})? ([-+0-9.e]+)/#), "\(line)")
            var labels: [String: String] = [:]
            for pair in (match.2 ?? "").matches(of: #/([a-z_]+)="((?:[^"\\]|\\.)*)"/#) {
                labels[String(pair.1)] = String(pair.2)
            }
            return Sample(name: String(match.1), labels: labels, value: try #require(Double(match.3)))
        }
    }

    private func value(_ samples: [Sample], _ name: String, _ labels: [String: String]) -> Double? {
        samples.first { $0.name == name && $0.labels == labels }?.value
    }

    /// - Returns: what promtool complains about.
    private func promtool(_ text: String) async throws -> String {
        let file = FileManager.default.temporaryDirectory.appending(path: "metrics-\(UUID().uuidString)")
        try Data(text.utf8).write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        let checked = try await ToolRun.of("/usr/bin/promtool", ["check", "metrics"], input: file)
        #expect(checked.status == 0)
        return checked.output
    }

    private func until(
        _ what: String, _ cluster: BeckonCluster, _ condition: () async throws -> Bool
    ) async throws {
        let end = ContinuousClock.now + .seconds(120)
        while try await !condition() {
            guard ContinuousClock.now < end else {
                throw BeckonProcess.Failure(description: "never: \(what)\n\(cluster.tails)")
            }
            try await Task.sleep(for: .milliseconds(200))
        }
    }
}
