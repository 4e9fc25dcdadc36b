import ArgumentParser
import Foundation
import Logging
import ServiceSupport
import Storage
import Wire

/// The store as a whole.
struct StoreCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "store", abstract: "Copies a store to another database.", subcommands: [StoreCopyCommand.self])
}

/// `beckon store copy`: from the file of one node to a database for many.
struct StoreCopyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "copy",
        abstract: "Copies a SQLite store to an empty PostgreSQL database, and compares every row.",
        discussion: """
            Stop all producers, webhook relays and commands of the store first. While it is copied, nobody can write to it. The
            database needs its tables (beckon migrate up), a role that owns them, and a URL that leads to the server and not to a
            pooler. The store's keys are not needed: secrets are copied as they are sealed.

            When the copy was interrupted, run the same command again: it continues where it stopped. No producer starts on the
            database before the copy is complete.

            Exit status: 0 all rows are copied and equal; 1 interrupted, run it again; 2 refused, nothing was written; 3 the two
            sides differ.
            """)

    @Option(help: "sqlite:///path of the store.") var from: String
    @Option(
        help: "postgresql://user@host/database; the password from BECKON_STORE_PASSWORD or passfile=… in the URL.")
    var to: String
    @Flag(help: "Check both sides and print how many rows each table has, but copy nothing.") var dryRun = false
    @Flag(help: "Print JSON lines: progress once a second, a line per table, and a last line.") var json = false
    @Option(help: "Rows per transaction, 1 to 100000; fewer when they have more than 4 MB.") var batchRows = 5000

    func validate() throws {
        guard (1...100_000).contains(batchRows) else { throw ValidationError("--batch-rows: expected 1 to 100000") }
    }

    func run() async throws {
        let settings = try await Settings(role: .producer, arguments: [])
        guard case .file(let path) = try StoreLocation(from, password: nil, connections: 1, name: "--from") else {
            throw ValidationError("--from: expected sqlite:///path; a PostgreSQL database is copied by pg_dump")
        }
        let password = try settings.optional(Settings.storePassword)
        guard case .database(let database) = try StoreLocation(to, password: password, connections: 1, name: "--to")
        else { throw ValidationError("--to: expected postgresql://user@host/database") }
        var copy = StoreCopy(path: path, target: database, logger: Logger(label: "beckon.store"))
        copy.batchRows = batchRows
        let progress = CopyProgress(isJSON: json)
        let start = ContinuousClock.now
        do {
            let report = try await copy.run(isDry: dryRun) { progress.show($0) }
            progress.clear()
            print(report, took: ContinuousClock.now - start)
        } catch let error as StoreCopyError {
            progress.clear()
            Terminal.error("Error: \(error)\n")
            throw error.status
        }
    }

    private func print(_ report: StoreCopy.Report, took: Duration) {
        let seconds = (took / .milliseconds(100)).rounded() / 10
        if json {
            for table in report.tables {
                Terminal.line(
                    JSONValue.object([
                        ("step", .string(dryRun ? "planned" : "done")), ("table", .string(table.name)),
                        ("rows", .integer(Int64(table.rows))), ("checksum", .optional(table.checksum)),
                    ]).text)
            }
            Terminal.line(
                JSONValue.object([
                    ("step", .string(dryRun ? "planned" : "done")), ("rows", .integer(Int64(report.rows))),
                    ("rows_before", .integer(Int64(report.rowsBefore))), ("days", .integer(Int64(report.days))),
                    ("seconds", .number("\(seconds)")),
                ]).text)
            return
        }
        let name = "table".padding(toLength: 22, withPad: " ", startingAt: 0)
        Terminal.line("\(name)        rows  \(dryRun ? "" : "checksum of both sides")")
        for table in report.tables {
            let name = table.name.padding(toLength: 22, withPad: " ", startingAt: 0)
            let rows = String(table.rows)
            let gap = String(repeating: " ", count: max(0, 12 - rows.count))
            Terminal.line("\(name)\(gap)\(rows)  \(table.checksum ?? "")")
        }
        if dryRun {
            Terminal.line("\(report.rows) rows to copy, \(report.rowsBefore) of them are there. Nothing was written.")
        } else if report.wasDone {
            Terminal.line("The copy was complete already. Nothing was done.")
        } else {
            let rate = Int(Double(report.rows - report.rowsBefore) / max(took / .seconds(1), 0.1))
            Terminal.line("\(report.rows) rows, equal on both sides, in \(took.short): \(rate) rows per second.")
            Terminal.line("Start producers with the database now, and never again with \(from).")
        }
    }
}

extension StoreCopyError {
    fileprivate var status: ExitCode {
        switch self {
        case .failed: ExitCode(1)
        case .refused: ExitCode(2)
        case .differs: ExitCode(3)
        }
    }
}
