import Synchronization
import Wire

/// The audit trail as a file, read from the API page by page while it is sent. Bounded in lines, and in exports at once.
struct AuditExport: Sendable {
    enum Format: String, Sendable {
        case csv
        /// One JSON object per line, as the API has it.
        case jsonl
    }

    /// Lines of a file. The last line says when there are more.
    static let most = 100_000
    /// The API's largest.
    static let pageSize = 1000

    /// Exports at once.
    final class Slots: Sendable {
        private static let most = 2
        private let taken = Mutex(0)

        /// Free again when the last reference to it is gone, whatever ended the export.
        final class Slot: Sendable {
            private let slots: Slots
            fileprivate init(_ slots: Slots) { self.slots = slots }
            deinit { slots.taken.withLock { $0 -= 1 } }
        }

        func take() -> Slot? {
            let isFree = taken.withLock { taken in
                guard taken < Self.most else { return false }
                taken += 1
                return true
            }
            return isFree ? Slot(self) : nil
        }
    }

    let format: Format
    let api: ConsoleAPI
    let slot: Slots.Slot

    /// - Parameter first: the first page of events.
    func reply(_ first: (items: [JSONValue], next: String?)) -> ConsoleReply {
        let progress = Progress(count: first.items.count, next: first.next)
        return ConsoleReply(
            type: format == .csv ? "text/csv; charset=utf-8; header=present" : "application/jsonl",
            headers: [("Content-Disposition", "attachment; filename=\"audit.\(format.rawValue)\"")],
            body: (format == .csv ? Self.line(Self.columns) : "") + first.items.map(line).joined(),
            rest: { try await part(progress) })
    }

    /// How far an export has come. One part is made after the other.
    private final class Progress: Sendable {
        let state: Mutex<(count: Int, next: String?)>

        init(count: Int, next: String?) { state = Mutex((count, next)) }
    }

    /// The lines of the next page; nil: there is none.
    private func part(_ progress: Progress) async throws -> String? {
        let (count, next) = progress.state.withLock { $0 }
        guard let path = next else { return nil }
        guard count < Self.most else {
            progress.state.withLock { $0.next = nil }
            return format == .csv
                ? Self.line(["cut after \(count) lines: use a filter"])
                : JSONValue.object([("cut_after", .integer(Int64(count)))]).text + "\n"
        }
        let page = try await cancelWhenStopping { [api] in try await api.next("audit_events", path) }
        progress.state.withLock { $0 = (count + page.items.count, page.next) }
        return page.items.map(line).joined()
    }

    private static let columns = [
        "date", "action", "actor", "subject", "address", "count", "request_id", "sid", "account_sid", "detail",
    ]

    private func line(_ event: JSONValue) -> String {
        guard format == .csv else { return event.text + "\n" }
        return Self.line(
            Self.columns.map { name in
                switch event[name] {
                case nil, .some(.null): ""
                case .some(let value): value.stringValue ?? value.text
                }
            })
    }

    /// A record of RFC 4180.
    static func line(_ cells: [String]) -> String { cells.map(cell).joined(separator: ",") + "\r\n" }

    /// A spreadsheet takes a cell that begins with one of these characters for a formula, and some values come from
    /// outside. An apostrophe before it makes it a text.
    private static let formulas: Set<Character> = ["=", "+", "-", "@", "\t", "\r", "\n", "\r\n"]

    static func cell(_ text: String) -> String {
        let safe = text.first.map(formulas.contains) == true ? "'" + text : text
        return "\"" + safe.replacing("\"", with: "\"\"") + "\""
    }
}
