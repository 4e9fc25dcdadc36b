import ArgumentParser
import PushGateway

/// `beckon bench`: measurements, one JSON line each.
struct BenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench", abstract: "Measurements; each prints one JSON line.", subcommands: [BenchSendCommand.self]
    )
}

/// `beckon bench send`: the push transport against any HTTP/2 server.
struct BenchSendCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "send",
        abstract: "Sends pushes in the shape of APNs alerts to any HTTP/2 server, over the gateway's transport.",
        discussion: """
            Prints: pushes, seconds, per_second, cpu_us_per_push (this process, user and system), p50_ms and p99_ms (hand-over to
            answer), errors (pushes that did not end with 2xx), connections (opened).
            """)

    @Option(help: "https://HOST:PORT") var url: String
    @Option(help: "PEM file of roots besides the system's.") var caFile: String?
    @Option(help: "Pushes to send.") var count = 100_000
    @Option(help: "Pushes outstanding at a time.") var inFlight = 500
    @Option(help: "Most connections; opened as the load asks.") var connections = 1
    @Option(help: "Milliseconds from hand-over to answer.") var deadlineMs = 10_000

    func run() async throws {
        let load = SendLoad(
            url: url, caFile: caFile, count: count, inFlight: inFlight, connections: connections, deadlineMs: deadlineMs
        )
        let report = try await load.run()
        print(
            "{\"pushes\":\(report.pushes),\"seconds\":\(rounded(report.seconds)),"
                + "\"per_second\":\(rounded(report.perSecond)),"
                + "\"cpu_us_per_push\":\(rounded(report.cpuMicrosecondsPerPush)),"
                + "\"p50_ms\":\(rounded(report.p50Ms)),\"p99_ms\":\(rounded(report.p99Ms)),"
                + "\"errors\":\(report.errors),\"connections\":\(report.connections)}")
    }

    private func rounded(_ value: Double) -> Double { (value * 1000).rounded() / 1000 }
}
