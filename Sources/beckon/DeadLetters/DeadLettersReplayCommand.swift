import ArgumentParser
import ChallengeModel
import Foundation
import KafkaClient
import KafkaGroup
import Logging
import ServiceSupport
import Synchronization
import UnixSignals
import Wire

extension DeadLettersCommand {
    struct Replay: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "replay",
            abstract: "Writes original records back to their topics, byte by byte, oldest first.",
            discussion: """
                Replays the dead letters with the given ids, or those that the options select. Each record gets its own headers,
                its own MAC, and the id of the replay in the header beckon-replay. A record whose MAC is not valid is refused, as
                are records that are expired or incomplete: `list` shows why. More than 20 records need a confirmation, or --yes.

                SIGINT ends the replay after the record in hand, and the command that goes on is printed. Exit status: 0 all
                records were written; 1 some were refused, failed or are left; 2 not confirmed; 3 Kafka does not answer.
                """)

        /// More records than this need a confirmation.
        static let confirmedAbove = 20

        @Option(help: "Id that list prints, PARTITION:OFFSET; repeat the option. None: the other options select.")
        var id: [String] = []
        @OptionGroup var filter: DeadLetterOptions
        @Flag(help: "Replay more than 20 records without a question.") var yes = false
        @Flag(help: "Print what would be replayed, and write nothing.") var dryRun = false
        @Flag(help: "Show no progress.") var quiet = false
        @Option(help: "The id of a former replay, which this one continues.") var replayID: String?
        @Flag(help: "Print one JSON object per dead letter and line, and one at the end.") var json = false
        @Argument(parsing: .allUnrecognized, help: DeadLettersCommand.help) var settings: [String] = []

        func validate() throws {
            for id in id where DeadLetter.ID(id) == nil {
                throw ValidationError("\(id): expected an id PARTITION:OFFSET, like 0:17")
            }
            if let replayID, replayID.wholeMatch(of: #/[0-9a-f]{1,32}/#) == nil {
                throw ValidationError("--replay-id: expected 1 to 32 hexadecimal digits")
            }
        }

        func run() async throws {
            let (archive, kafka, logger) = try await DeadLettersCommand.archive(settings)
            let letters = try await chosen(archive)
            let nowMs = Timestamp.nowMs()
            let writable = letters.count { $0.refusal(nowMs: nowMs) == nil }
            if dryRun || letters.isEmpty {
                for letter in letters where json { Terminal.line(DeadLetterText.object(letter, nowMs: nowMs).text) }
                if !json {
                    if !letters.isEmpty {
                        let rows = letters.map { DeadLetterText.row($0, nowMs: nowMs) }
                        for line in Columns.lines(DeadLetterText.titles, rows) { Terminal.line(line) }
                    }
                    Terminal.line("\(writable) of \(letters.count) would be written. Nothing was written.")
                }
                return
            }
            try confirm(writable)
            let producer = try KafkaProducer(configuration: kafka, logger: logger)
            let result: Result<ReplayReport, any Error>
            do {
                result = .success(try await replay(letters, archive, producer))
            } catch {
                result = .failure(error)
            }
            await producer.close(deadline: .seconds(5))
            try tell(try result.get(), of: letters.count)
        }

        private func chosen(_ archive: DeadLetterArchive) async throws -> [DeadLetter] {
            let ids = Set(id.compactMap { DeadLetter.ID($0) })
            let page = try await archive.list(
                try filter.filter(), limit: DeadLetterReplay.mostLetters, scan: filter.scan,
                deadline: .seconds(filter.timeout))
            guard page.isComplete else {
                throw CommandFailure(
                    "older dead letters were not read, and nothing was written; raise --scan (\(filter.scan)) or --timeout (\(filter.timeout))"
                )
            }
            guard page.selected <= page.letters.count else {
                throw CommandFailure(
                    "\(page.selected) dead letters are selected, and nothing was written; select at most \(page.letters.count)",
                    status: ExitStatus.wrongUse)
            }
            return ids.isEmpty ? page.letters : page.letters.filter { ids.contains($0.id) }
        }

        private func confirm(_ count: Int) throws {
            guard count > Self.confirmedAbove, !yes else { return }
            guard isatty(STDIN_FILENO) == 1 else {
                throw CommandFailure(
                    "\(count) records would be written, more than \(Self.confirmedAbove): repeat the command with --yes",
                    status: ExitStatus.wrongUse)
            }
            Terminal.error("\(count) records will be written. Type the number to confirm: ")
            guard readLine()?.trimmingCharacters(in: .whitespaces) == "\(count)" else {
                throw CommandFailure("not confirmed, and nothing was written", status: ExitStatus.wrongUse)
            }
        }

        private func replay(
            _ letters: [DeadLetter], _ archive: DeadLetterArchive, _ producer: KafkaProducer
        ) async throws -> ReplayReport {
            let isStopped = Stop()
            let progress = Progress(of: letters.count, unit: "records", isQuiet: quiet || json)
            let topics = Dictionary(letters.map { ($0.id, $0.topicName) }) { $1 }
            let json = json
            return try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    for await _ in await UnixSignalsSequence(trapping: .sigint, .sigterm) { isStopped.ask() }
                }
                let report = try await DeadLetterReplay(archive: archive, producer: producer) { Timestamp.nowMs() }
                    .run(
                        Set(letters.map(\.id)), id: replayID ?? DeadLetterReplay.newID(), deadline: .seconds(3600),
                        shouldStop: { isStopped.isAsked },
                        progress: { id, fate in
                            progress.step()
                            guard json else { return }
                            Terminal.line(
                                JSONValue.object([
                                    ("id", .string(id.description)), ("topic", .optional(topics[id])),
                                    ("result", .string(fate.word)), ("reason", .optional(fate.reason)),
                                ]).text)
                        })
                progress.end()
                group.cancelAll()
                return report
            }
        }

        private func tell(_ report: ReplayReport, of count: Int) throws {
            let refused = report.refused.sorted { $0.key.rawValue < $1.key.rawValue }
            let next = report.next.map { next in
                var command = "beckon dead-letters replay --replay-id \(report.id)"
                for argument in filter.arguments(from: next) + settings {
                    command += " " + Shell.quoted(argument)
                }
                return command
            }
            if json {
                Terminal.line(
                    JSONValue.object([
                        ("replay_id", .string(report.id)), ("selected", .integer(Int64(count))),
                        ("replayed", .integer(Int64(report.replayed))), ("failed", .integer(Int64(report.failed))),
                        (
                            "refused",
                            .object(refused.map { (name: $0.key.rawValue, value: .integer(Int64($0.value))) })
                        ),
                        ("next", .optional(report.next?.description)), ("continue", .optional(next)),
                    ]).text)
            } else {
                Terminal.line(
                    "Replay \(report.id): \(report.replayed) of \(count) records written, \(report.failed) failed.")
                for (refusal, count) in refused {
                    Terminal.line("\(count) refused (\(refusal.rawValue)): \(refusal.explanation).")
                }
                for (id, fate) in report.fates.sorted(by: { $0.key < $1.key }) {
                    if case .failed(let code) = fate { Terminal.line("\(id) failed: the broker answers \(code).") }
                }
                if let next { Terminal.line("The rest is left. Go on with: \(next)") }
            }
            if let failure = report.failure { throw failure }
            guard report.replayed == count else { throw ExitStatus.partly }
        }
    }
}

extension ReplayReport.Fate {
    fileprivate var word: String {
        switch self {
        case .replayed: "replayed"
        case .refused: "refused"
        case .failed: "failed"
        }
    }

    fileprivate var reason: String? {
        switch self {
        case .replayed: nil
        case .refused(let refusal): refusal.rawValue
        case .failed(let code): code
        }
    }
}

/// Set by a signal; a second signal of the same kind changes nothing.
private final class Stop: Sendable {
    private let asked = Atomic(false)
    var isAsked: Bool { asked.load(ordering: .acquiring) }
    func ask() { asked.store(true, ordering: .releasing) }
}
