import AckTracker
import ArgumentParser
import Foundation
import PushGateway
import Wire

/// `beckon bench`: measurements, one JSON line each.
struct BenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench", abstract: "Runs measurements; each prints one JSON line.",
        subcommands: [
            BenchSendCommand.self, BenchPipelineCommand.self, BenchTrackerCommand.self, BenchAPICommand.self,
            BenchHelloCommand.self, BenchFillCommand.self, BenchWebhooksCommand.self, BenchRedeliveryCommand.self,
        ])
}

/// `beckon bench send`: the push transport against any HTTP/2 server.
struct BenchSendCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "send",
        abstract: "Sends pushes with the form of APNs alerts to any HTTP/2 server, over the gateway's transport.",
        discussion: """
            Prints: pushes, seconds, per_second, cpu_us_per_push (this process, user and system), p50_ms and p99_ms (from hand-over
            to answer; with --rate, from the time a push was due), errors (pushes without a 2xx answer), connections (opened).
            """)

    @Option(help: "https://HOST:PORT") var url: String
    @Option(help: "PEM file of root certificates, in addition to the system's.") var caFile: String?
    @Option(help: "Pushes to send.") var count = 100_000
    @Option(help: "Pushes that may be outstanding at the same time.") var inFlight = 500
    @Option(help: "Maximum number of connections; opened when the load needs them.") var connections = 1
    @Option(help: "Milliseconds that a push may take from hand-over to answer.") var deadlineMs = 10_000
    @Option(help: "Pushes per second, evenly spread, at most --in-flight outstanding; 0: as fast as possible.")
    var rate = 0

    func run() async throws {
        let load = SendLoad(
            url: url, caFile: caFile, count: count, inFlight: inFlight, connections: connections,
            deadlineMs: deadlineMs,
            rate: rate)
        let report = try await load.run()
        print(
            try BenchLine.text(
                Line(
                    pushes: report.pushes, seconds: rounded(report.seconds), perSecond: rounded(report.perSecond),
                    cpuUsPerPush: rounded(report.cpuMicrosecondsPerPush), p50Ms: rounded(report.p50Ms),
                    p99Ms: rounded(report.p99Ms), errors: report.errors, connections: report.connections)))
    }

    private struct Line: Encodable {
        let pushes: Int
        let seconds: Double
        let perSecond: Double
        let cpuUsPerPush: Double
        let p50Ms: Double
        let p99Ms: Double
        let errors: Int
        let connections: Int
    }
}

/// `beckon bench tracker`: memory and speed of the ack tracker.
struct BenchTrackerCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tracker",
        abstract: "Replays records until the tracker holds --open challenges, then measures timers.",
        discussion: """
            Needs no broker: the replay measures MAC check, decoding and fold on all cores, not the network. Prints: open,
            rss_mb (the whole process), replay_per_second, cpu_us_per_record, timer_p50_ms and timer_p99_ms (from due to
            decided and signed), timers_fired, facts_per_second (facts that arrive during the timer measurement; the same
            process creates them).
            """)

    @Option(help: "Number of challenges; each has one device, a 64-byte message and a five-minute life.") var open =
        1_000_000
    @Option(help: "Facts per second during the timer measurement.") var factsPerSecond = 20_000

    func validate() throws {
        guard (1...10_000_000).contains(open) else { throw ValidationError("--open must be 1 to 10000000") }
        guard (0...200_000).contains(factsPerSecond) else {
            throw ValidationError("--facts-per-second must be 0 to 200000")
        }
    }

    func run() async throws {
        let result = await TrackerLoad.run(open: open, factsPerSecond: factsPerSecond)
        print(try JSONEncoder.line.text(result))
    }
}

/// `beckon bench redelivery`: fixed against adaptive expected latency, in simulated time.
struct BenchRedeliveryCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "redelivery",
        abstract:
            "Simulates fixed and adaptive expected latency on a fast and a slow network; prints one JSON line each.")

    @Option(help: "Challenges per run.") var challenges = 20_000
    @Option(help: "Seed of the generator.") var seed: UInt64 = 1

    func run() async throws {
        guard (100...1_000_000).contains(challenges) else {
            throw ValidationError("--challenges must be 100 to 1000000")
        }
        var simulation = RedeliverySimulation()
        simulation.challenges = challenges
        simulation.seed = seed
        for network in [RedeliverySimulation.Network.fast, .slow] {
            for isAdaptive in [false, true] {
                let result = simulation.run(network, adaptive: isAdaptive)
                print(try JSONEncoder.line.text(result))
            }
        }
    }
}
