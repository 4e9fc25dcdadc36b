import ArgumentParser
import Foundation
import Wire

/// `beckon bench api`: a Producer under HTTP load.
struct BenchAPICommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "api",
        abstract: "Measures a Producer with default limits, in a process of its own, under HTTP load.",
        discussion: """
            Producer, stand-in broker and a hello-world of the same HTTP server are processes of their own, one after the other \
            under the client of this one. A database file is filled once and used again, with the file beside it that has its keys.

            Prints: creates (calls that were answered as they should), seconds, per_second, p50_ms, p99_ms (from when a call was \
            due to its reply), errors, calls (the same by kind, for a mixed load), cpu_us_per_create (of the Producer, user and \
            system, per call), broker_cpu_us, rss_mb (the Producer's highest), idle_connections (open at the end), commits_per_second, outbox_rows (not relayed yet), \
            factors, closed_challenges, kafka (up or down), hello_per_second, hello_cpu_us, ratio (per_second to \
            hello_per_second), load_average (of the machine over a minute, at the end).
            """)

    enum Load: String, ExpressibleByArgument, CaseIterable {
        /// Creates only.
        case create
        /// Devices listing what is pending for them.
        case list
        /// What backends and devices do in the life of a challenge, and enrolments.
        case mixed
    }

    @Option(help: "sqlite:PATH, created when missing; sqlite:temporary: a file that is removed afterwards.")
    var database =
        "sqlite:temporary"
    @Option(help: "create, list or mixed.") var load = Load.create
    @Option(help: "Calls per second; 0: as many as possible.") var rate = 0.0
    @Option(help: "Seconds of load.") var seconds = 10.0
    @Option(help: "Connections of the client.") var connections = 64
    @Option(help: "Factors in the store, one identity each, before the load.") var factors = 100_000
    @Option(help: "Answered challenges in the store before the load.") var closedChallenges = 0
    @Option(help: "Idle connections that are opened before the load.") var idle = 0
    @Flag(help: "The broker goes down before the load starts.") var kafkaDown = false
    @Option(help: "Seconds of the hello-world measurement; 0: none.") var helloSeconds = 3.0
    @Option(help: "File for the Producer's log; without it the log is discarded.") var log: String?

    func validate() throws {
        guard database.hasPrefix("sqlite:"), seconds > 0, (1...10_000).contains(connections), factors > 0, rate >= 0,
            closedChallenges >= 0, helloSeconds >= 0, idle >= 0
        else {
            throw ValidationError(
                "expected --database sqlite:PATH, --connections 1 to 10000, --seconds and --factors above 0, all others 0 or more"
            )
        }
    }

    func run() async throws {
        let report = try await APIBench(options: self).run()
        let encoder = JSONEncoder.line
        encoder.keyEncodingStrategy = .convertToSnakeCase
        print(try encoder.text(report))
        if report.errors > 0 { throw ExitCode.failure }
    }
}
