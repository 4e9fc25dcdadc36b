import ArgumentParser

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

            Of a PostgreSQL database it prints also: producers, server_cpu_us_per_create (of all processes of a server on this \
            machine), round_trips and statements (of one creation), round_trip_ms (added), and with --pgbench-seconds \
            pgbench_per_second, pgbench_average_ms, pgbench_server_cpu_us (per transaction) and pgbench_ratio (per_second to \
            pgbench_per_second). pgbench runs after the load, on the same connections in number, with the statements and round trips \
            that one creation was seen to send.
            """)

    enum Load: String, ExpressibleByArgument, CaseIterable {
        /// Creates only.
        case create
        /// Devices listing what is pending for them.
        case list
        /// What backends and devices do in the life of a challenge, and enrolments.
        case mixed
    }

    @Option(
        help: """
            sqlite:PATH, created when missing; sqlite:temporary: a file that is removed afterwards; postgresql://user@host/database: \
            one without tables, which is filled and left.
            """)
    var database = "sqlite:temporary"
    @Option(
        help: "Producers, which the client's connections are shared out to; more than one needs a PostgreSQL database.")
    var producers = 1
    @Option(help: "PostgreSQL: connections of all producers together.") var storeConnections = 16
    @Option(help: "PostgreSQL: milliseconds that are added to every round trip to the database.") var roundTripMs = 0.0
    @Option(help: "PostgreSQL: seconds of pgbench after the load; 0: none.") var pgbenchSeconds = 0
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
        guard database.hasPrefix("sqlite:") || database.hasPrefix("postgresql://"), seconds > 0,
            (1...10_000).contains(connections), factors > 0, rate >= 0,
            closedChallenges >= 0, helloSeconds >= 0, idle >= 0
        else {
            throw ValidationError(
                "expected --database sqlite:PATH or postgresql://…, --connections 1 to 10000, --seconds and --factors above 0, all others 0 or more"
            )
        }
        guard isDatabase || producers == 1 && roundTripMs == 0 && pgbenchSeconds == 0 else {
            throw ValidationError(
                "--producers, --round-trip-ms and --pgbench-seconds: expected with postgresql://… only")
        }
        guard (1...48).contains(producers), storeConnections >= producers, storeConnections <= 500 * producers,
            (0...1000).contains(roundTripMs), (0...3600).contains(pgbenchSeconds), !isDatabase || closedChallenges == 0
        else {
            throw ValidationError(
                """
                expected --producers 1 to 48, --store-connections of 1 to 500 for each of them, --round-trip-ms 0 to 1000, \
                --pgbench-seconds 0 to 3600, and no --closed-challenges in a PostgreSQL database
                """)
        }
        guard pgbenchSeconds == 0 || DatabaseBench.pgbenchPath != nil else {
            throw ValidationError("--pgbench-seconds: /usr/lib/postgresql has no pgbench: install Debian's postgresql")
        }
    }

    /// A PostgreSQL database, and no file.
    var isDatabase: Bool { database.hasPrefix("postgresql://") }

    func run() async throws {
        let report = try await APIBench(options: self).run()
        print(try BenchLine.text(report))
        if report.errors > 0 { throw ExitCode.failure }
    }
}
