import ArgumentParser
import ChallengeModel
import Foundation
import KafkaClient
import KafkaGroup
import Logging
import ServiceSupport
import Wire

/// `beckon dead-letters`: the records that no role could process.
struct DeadLettersCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dead-letters",
        abstract: "Lists the records that no role could process, and writes them back.",
        discussion: """
            Needs the producer's settings for Kafka, and BECKON_RECORD_KEYS. Reads the topic without a consumer group, and commits
            nothing.
            """,
        subcommands: [List.self, Show.self, Replay.self])

    static let help: ArgumentHelp = "The producer's settings: --kafka-bootstrap-servers S, --config F."

    /// What the three commands share.
    static func archive(
        _ arguments: [String]
    ) async throws -> (archive: DeadLetterArchive, kafka: KafkaConfiguration, logger: Logger) {
        let settings = try await Settings(role: .producer, arguments: arguments)
        let kafka = try settings.kafka()
        let signer = RecordSigner(
            names: TopicNames(prefix: try settings(Settings.topicPrefix)),
            authenticator: RecordAuthenticator(keys: try settings(Settings.recordKeys)))
        // The error that ends the command names the cause.
        let logger = RoleContext.logger("dead-letters", level: .critical)
        return (DeadLetterArchive(kafka: kafka, signer: signer, logger: logger), kafka, logger)
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "list",
            abstract: "Prints the newest dead letters, without their payloads.",
            discussion: """
                The column replay says whether `beckon dead-letters replay` would write the record back, or why not. Exit status:
                0; 1 when the search ended before all dead letters were read (--scan, --timeout); 3 Kafka does not answer.
                """)

        @OptionGroup var filter: DeadLetterOptions
        @Option(help: "Most dead letters to print, 1 to 10000.") var limit = 100
        @Flag(help: "Print one JSON object per dead letter and line.") var json = false
        @Argument(parsing: .allUnrecognized, help: DeadLettersCommand.help) var settings: [String] = []

        func validate() throws {
            guard (1...DeadLetterReplay.mostLetters).contains(limit) else {
                throw ValidationError("--limit: expected 1 to \(DeadLetterReplay.mostLetters)")
            }
        }

        func run() async throws {
            let (archive, _, _) = try await DeadLettersCommand.archive(settings)
            let page = try await archive.list(
                try filter.filter(), limit: limit, scan: filter.scan, deadline: .seconds(filter.timeout))
            let nowMs = Timestamp.nowMs()
            if json {
                for letter in page.letters { Terminal.line(DeadLetterText.object(letter, nowMs: nowMs).text) }
            } else {
                if !page.letters.isEmpty {
                    let rows = page.letters.map { DeadLetterText.row($0, nowMs: nowMs) }
                    for line in Columns.lines(DeadLetterText.titles, rows) { Terminal.line(line) }
                }
                Terminal.line("\(page.letters.count) of \(page.selected) selected; \(page.examined) read.")
            }
            guard page.isComplete else {
                throw CommandFailure(
                    "older dead letters were not read; raise --scan (\(filter.scan)) or --timeout (\(filter.timeout))")
            }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "show",
            abstract: "Prints one dead letter: its source, its reason, its headers and its size.",
            discussion: """
                The payload is printed only with --payload: it can contain push tokens, and messages to people. Exit status: 0; 1
                no such dead letter; 3 Kafka does not answer.
                """)

        @Argument(help: "The id that list prints, PARTITION:OFFSET.") var id: String
        @Flag(help: "Print the payload too: decoded if possible, and its exact bytes in base64.") var payload = false
        @Flag(help: "Print one JSON object.") var json = false
        @Option(help: "Time limit in seconds, 1 to 600.") var timeout = 30
        @Argument(parsing: .allUnrecognized, help: DeadLettersCommand.help) var settings: [String] = []

        func validate() throws {
            guard DeadLetter.ID(id) != nil else { throw ValidationError("expected an id PARTITION:OFFSET, like 0:17") }
            guard (1...600).contains(timeout) else { throw ValidationError("--timeout: expected 1 to 600 seconds") }
        }

        func run() async throws {
            guard let id = DeadLetter.ID(id) else { return }
            let (archive, _, _) = try await DeadLettersCommand.archive(settings)
            guard let found = try await archive.letter(id, deadline: .seconds(timeout)) else {
                throw CommandFailure("\(archive.topicName) does not contain \(id); see beckon dead-letters list")
            }
            let object = DeadLetterText.details(
                found.letter, payload: payload ? found.payload : nil, nowMs: Timestamp.nowMs())
            if json { return Terminal.line(object.text) }
            for (name, value) in object.members ?? [] { DeadLetterText.print(name, value) }
        }
    }
}

/// Options that select dead letters.
struct DeadLetterOptions: ParsableArguments {
    @Option(help: "Topic of the original records, without the prefix; repeat the option for several topics.")
    var topic: [Topic] = []
    @Option(help: "Reason: mac, key, json, field, …; repeat the option for several reasons.") var reason: [String] = []
    @Option(help: "Key of the original records, exactly.") var key: String?
    @Option(help: "Only later ones: an RFC 3339 time, or an age as 90s, 30m, 12h or 7d.") var since: String?
    @Option(help: "Only this dead letter and later ones, PARTITION:OFFSET.") var from: String?
    @Option(help: "How many of the newest dead letters are read at most, 1 to 10000000.") var scan = 100_000
    @Option(help: "Time limit in seconds, 1 to 3600.") var timeout = 60

    func validate() throws {
        _ = try filter()
        guard (1...10_000_000).contains(scan) else { throw ValidationError("--scan: expected 1 to 10000000") }
        guard (1...3600).contains(timeout) else { throw ValidationError("--timeout: expected 1 to 3600 seconds") }
    }

    func filter() throws -> DeadLetterFilter {
        var filter = DeadLetterFilter()
        filter.topics = Set(topic)
        filter.reasons = Set(reason)
        filter.key = key
        filter.sinceMs = try since.map { text in
            guard let time = Self.time(text, nowMs: Timestamp.nowMs()) else {
                throw ValidationError("--since: expected an RFC 3339 time, or an age as 90s, 30m, 12h or 7d")
            }
            return time
        }
        filter.from = try from.map { text in
            guard let id = DeadLetter.ID(text) else { throw ValidationError("--from: expected PARTITION:OFFSET") }
            return id
        }
        return filter
    }

    /// An RFC 3339 time, or an age before `nowMs`.
    static func time(_ text: String, nowMs: Int64) -> Int64? {
        let units: [Character: Int64] = ["s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000]
        guard let unit = text.last.flatMap({ units[$0] }), let count = Int64(text.dropLast()) else {
            return Timestamp.epochMs(text)
        }
        guard (0...100_000).contains(count) else { return nil }
        return nowMs - count * unit
    }

    /// The same options as arguments, for the command that goes on.
    func arguments(from next: DeadLetter.ID) -> [String] {
        topic.flatMap { ["--topic", $0.rawValue] } + reason.flatMap { ["--reason", $0] }
            + (key.map { ["--key", $0] } ?? []) + (since.map { ["--since", $0] } ?? [])
            + ["--from", next.description]
    }
}
