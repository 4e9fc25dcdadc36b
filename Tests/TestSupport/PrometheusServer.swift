import AsyncHTTPClient
public import Foundation
import NIOCore
import NIOHTTP1
import Synchronization
public import Testing

/// A Prometheus server of the machine with the rules of `deploy/prometheus/rules`. Only the times of the rules are
/// changed, by one formula, so that an alert that waits for hours fires within seconds.
public final class PrometheusServer: Sendable {
    /// A rule of the files: the name of its alert, with the labels that distinguish rules of one name.
    public struct Rule: Hashable, Sendable, Comparable, CustomStringConvertible {
        public let description: String

        init(name: String, labels: [String: String]) {
            let own = ["role", "window"].compactMap { key in labels[key].map { "\(key)=\($0)" } }
            description = ([name] + own).joined(separator: " ")
        }

        public init(_ description: String) { self.description = description }

        public static func < (lhs: Rule, rhs: Rule) -> Bool { lhs.description < rhs.description }
    }

    public struct Sample: Sendable {
        public let labels: [String: String]
        public let value: Double
    }

    /// How the times of the rules are shortened. Both functions keep the order of the times.
    public struct ShortTimes: Sendable {
        /// 1 on a machine that is not busy.
        public let stretch: Double

        public init(stretch: Double = 1) { self.stretch = stretch }

        /// Of a range, `[5m]`: five minutes become 10 s, three days 54 s.
        func range(_ seconds: Double) -> Int { Int(10_000 * pow(seconds / 300, 0.25) * stretch) }

        /// Of a wait, `for: 1m`: a minute becomes 1 s, three hours 5 s.
        func wait(_ seconds: Double) -> Int { Int(1000 * pow(seconds / 60, 0.3) * stretch) }

        private static let units: [Substring: Double] = ["s": 1, "m": 60, "h": 3600, "d": 86_400]

        /// - Returns: the text of a file of rules with other times, and nothing else changed.
        public func shortened(_ rules: String) -> String {
            rules.replacing(#/\[(\d+)([smhd])\]/#) { match in
                "[\(range((Double(match.1) ?? 0) * (Self.units[match.2] ?? 0)))ms]"
            }.replacing(#/\b((?:keep_firing_for|for|interval): )(\d+)([smhd])\b/#) { match in
                "\(match.1)\(wait((Double(match.2) ?? 0) * (Self.units[match.3] ?? 0)))ms"
            }
        }
    }

    public static let executable = "/usr/bin/prometheus"
    private static let files = ["causes", "slo"]

    /// Every alert rule of the files.
    public let rules: Set<Rule>
    private let process: Mutex<Process>
    private let log: URL
    private let url: String

    /// Starts the server.
    /// - Parameters:
    ///   - targets: addresses by job.
    ///   - folder: for configuration, data and log.
    public init(scraping targets: [String: [String]], times: ShortTimes, folder: URL) async throws {
        var rules: Set<Rule> = []
        var names: [String] = []
        for name in Self.files {
            let source = ToolRun.root.appending(path: "deploy/prometheus/rules/\(name).yaml")
            let text = try String(contentsOf: source, encoding: .utf8)
            rules.formUnion(Self.alerts(text))
            let file = folder.appending(path: "\(name).yaml")
            try times.shortened(text).write(to: file, atomically: true, encoding: .utf8)
            names.append(file.path)
        }
        self.rules = rules
        let interval = "\(Int(1000 * times.stretch))ms"
        var configuration = "global: {scrape_interval: \(interval), evaluation_interval: \(interval)}\nrule_files:\n"
        for name in names { configuration += "  - \(name)\n" }
        configuration += "scrape_configs:\n"
        for (job, addresses) in targets.sorted(by: { $0.key < $1.key }) {
            configuration +=
                "  - job_name: \(job)\n    static_configs: [{targets: [\(addresses.joined(separator: ","))]}]\n"
        }
        let file = folder.appending(path: "prometheus.yaml")
        try configuration.write(to: file, atomically: true, encoding: .utf8)
        let checked = try await ToolRun.of("/usr/bin/promtool", ["check", "config", file.path])
        guard checked.status == 0 else { throw BeckonProcess.Failure(description: checked.output) }
        let port = try BeckonCluster.freePort()
        url = "http://127.0.0.1:\(port)"
        log = folder.appending(path: "prometheus.log")
        _ = FileManager.default.createFile(atPath: log.path, contents: nil)
        let handle = try FileHandle(forWritingTo: log)
        let process = Process()
        // timeout(1): it does not outlive a test that is killed.
        process.executableURL = URL(filePath: "/usr/bin/timeout")
        process.arguments = [
            "3600", Self.executable, "--config.file=\(file.path)",
            "--storage.tsdb.path=\(folder.appending(path: "tsdb").path)", "--web.listen-address=127.0.0.1:\(port)",
            "--log.level=warn",
        ]
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = handle
        process.standardError = handle
        try process.run()
        self.process = Mutex(process)
        let end = ContinuousClock.now + .seconds(120)
        while (try? await query("vector(1)"))?.count != 1 {
            guard ContinuousClock.now < end, process.isRunning else {
                throw BeckonProcess.Failure(description: "Prometheus does not answer:\n\(output)")
            }
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    /// The rules of a file, by their text.
    private static func alerts(_ text: String) -> [Rule] {
        text.split(separator: "      - alert: ").dropFirst().map { part in
            let part = String(part)
            var labels: [String: String] = [:]
            for match in part.matches(of: #/(?m)^ {10}(role|window): (\S+)$/#) {
                labels[String(match.1)] = String(match.2)
            }
            return Rule(name: String(part.prefix { !$0.isNewline }), labels: labels)
        }
    }

    public var output: String { (try? String(contentsOf: log, encoding: .utf8)) ?? "" }

    private struct Answer<Content: Decodable>: Decodable { let data: Content }

    private struct Alerts: Decodable {
        struct Alert: Decodable {
            let labels: [String: String]
            let state: String
        }

        let alerts: [Alert]
    }

    private enum Value: Decodable {
        case time(Double)
        case number(Double)

        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            if let text = try? container.decode(String.self) {
                self = .number(Double(text) ?? .nan)
            } else {
                self = .time(try container.decode(Double.self))
            }
        }
    }

    private struct Vector: Decodable {
        struct Element: Decodable {
            let metric: [String: String]
            let value: [Value]
        }

        let result: [Element]
    }

    /// The rules whose alert fires now, for whatever series.
    public func firing() async throws -> Set<Rule> {
        let alerts: Alerts = try await get("/api/v1/alerts")
        return Set(
            alerts.alerts.filter { $0.state == "firing" }.map {
                Rule(name: $0.labels["alertname"] ?? "", labels: $0.labels)
            })
    }

    /// An instant query whose result is a vector.
    public func query(_ expression: String) async throws -> [Sample] {
        var allowed = CharacterSet.alphanumerics
        allowed.insert(charactersIn: "-._~")
        let encoded = expression.addingPercentEncoding(withAllowedCharacters: allowed) ?? ""
        let vector: Vector = try await get("/api/v1/query?query=\(encoded)")
        return vector.result.map { element in
            guard case .number(let value)? = element.value.last else {
                return Sample(labels: element.metric, value: .nan)
            }
            return Sample(labels: element.metric, value: value)
        }
    }

    private func get<Content: Decodable>(_ path: String) async throws -> Content {
        let response = try await HTTPClient.shared.execute(HTTPClientRequest(url: url + path), timeout: .seconds(30))
        let body = try await response.body.collect(upTo: 16 << 20)
        guard response.status == .ok else {
            throw BeckonProcess.Failure(description: "\(path): \(response.status) \(String(buffer: body))")
        }
        return try JSONDecoder().decode(Answer<Content>.self, from: Data(String(buffer: body).utf8)).data
    }

    /// Ends it, and returns when it has ended. SIGTERM would not reach it: a child of a thread that blocks signals
    /// inherits that. timeout(1) and what it runs are one process group.
    public func stop() async {
        let process = process.withLock { $0 }
        kill(-process.processIdentifier, SIGKILL)
        while process.isRunning { try? await Task.sleep(for: .milliseconds(20)) }
    }
}

extension Trait where Self == ConditionTrait {
    /// A test that starts Prometheus: skipped, with the reason, where it is missing; in CI it fails there.
    public static var prometheus: Self {
        .enabled(
            if: FileManager.default.isExecutableFile(atPath: PrometheusServer.executable)
                || ProcessInfo.processInfo.environment["CI"] != nil, "needs Prometheus: scripts/install --tests")
    }
}
