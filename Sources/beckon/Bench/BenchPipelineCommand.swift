import ArgumentParser
import Foundation

/// `beckon bench pipeline`: records through a dispatcher of its own process, to outcomes.
struct BenchPipelineCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pipeline",
        abstract:
            "Sends records through a dispatcher, in a process of its own, to a provider, and counts the outcomes.",
        discussion: """
            Without --kafka the stand-in broker serves; with it a real cluster does, whose topics have to exist. Without
            --provider the APNs look-alike serves, with it any HTTP/2 server does.

            Prints: pushes (asked for), seconds (first record to last outcome), per_second, cpu_us_per_push and rss_mb (of the
            dispatcher alone; the highest), rss_end_mb, lost (pushes without an outcome), duplicates (accepted more than
            once), refused (with an outcome that is not accepted), p50_ms and p99_ms (record written to outcome made).
            """)

    @Option(help: "Number of pushes; each has its own record.") var count = 100_000
    @Option(help: "HOST:PORT of a real cluster.") var kafka: String?
    @Option(help: "Prefix of the topics of that cluster.") var topicPrefix = "beckon."
    @Option(help: "https://HOST:PORT of an HTTP/2 server instead of the APNs simulator.") var provider: String?
    @Option(help: "PEM file of root certificates for --provider.") var caFile: String?
    @Option(help: "Partitions of the embedded broker.") var partitions = 12
    @Option(help: "Records per second; 0: as fast as the dispatcher reads them.") var rate = 0
    @Option(help: "File for the dispatcher's log; without it the log is discarded.") var log: String?

    func validate() throws {
        guard count > 0, (1...64).contains(partitions), rate >= 0 else {
            throw ValidationError("--count must be 1 or more, --partitions 1 to 64, --rate 0 or more")
        }
        guard provider != nil || caFile == nil else {
            throw ValidationError("--ca-file needs --provider; the simulator has its own certificate")
        }
    }

    func run() async throws {
        let report = try await PipelineRun(options: self).run()
        print(
            try BenchLine.text(
                Line(
                    pushes: count, seconds: rounded(report.seconds),
                    perSecond: rounded(Double(count) / report.seconds),
                    cpuUsPerPush: rounded(report.cpuSeconds * 1e6 / Double(count)), rssMb: rounded(report.highestMB),
                    rssEndMb: rounded(report.endMB), lost: report.lost, duplicates: report.duplicates,
                    refused: report.refused, p50Ms: report.p50Ms, p99Ms: report.p99Ms)))
        if report.lost > 0 { throw ExitCode.failure }
    }

    private struct Line: Encodable {
        let pushes: Int
        let seconds: Double
        let perSecond: Double
        let cpuUsPerPush: Double
        let rssMb: Double
        let rssEndMb: Double
        let lost: Int
        let duplicates: Int
        let refused: Int
        let p50Ms: Int64
        let p99Ms: Int64
    }
}
