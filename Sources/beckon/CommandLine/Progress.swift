import Foundation
import Synchronization

/// Shows on standard error how far a command is. On a terminal: one line that is written again at most ten times a
/// second, with count, rate and the time that is left. Otherwise: a line every 10 s.
final class Progress: Sendable {
    private struct State {
        var done = 0
        var shownAt = ContinuousClock.now
        var hasLine = false
    }

    private let count: Int
    private let unit: String
    private let isQuiet: Bool
    private let isTerminal: Bool
    private let startedAt = ContinuousClock.now
    private let state = Mutex(State())

    init(of count: Int, unit: String, isQuiet: Bool) {
        self.count = count
        self.unit = unit
        self.isQuiet = isQuiet
        isTerminal = isatty(STDERR_FILENO) == 1
    }

    /// One more is done.
    func step() {
        guard !isQuiet else { return }
        let now = ContinuousClock.now
        let due = state.withLock { state -> Int? in
            state.done += 1
            guard now - state.shownAt >= (isTerminal ? .milliseconds(100) : .seconds(10)) else { return nil }
            state.shownAt = now
            state.hasLine = true
            return state.done
        }
        guard let due else { return }
        let line = Self.line(done: due, of: count, unit: unit, took: now - startedAt)
        Terminal.error(isTerminal ? "\r\(line)\u{1b}[K" : line + "\n")
    }

    /// Takes the line away from a terminal.
    func end() {
        guard isTerminal, state.withLock({ $0.hasLine }) else { return }
        Terminal.error("\r\u{1b}[K")
    }

    /// `612 of 1000 records, 41/s, 0:09 left`
    static func line(done: Int, of count: Int, unit: String, took: Duration) -> String {
        let rate = Double(done) / max(took / .seconds(1), 0.001)
        var line = "\(done) of \(count) \(unit), \(Int(rate))/s"
        if rate >= 1, done < count {
            let left = Int((Double(count - done) / rate).rounded(.up))
            line += ", \(left / 60):\(left % 60 < 10 ? "0" : "")\(left % 60) left"
        }
        return line
    }
}

enum Shell {
    /// The argument as a POSIX shell reads it.
    static func quoted(_ argument: String) -> String {
        guard argument.isEmpty || argument.contains(where: { !Self.plain.contains($0) }) else { return argument }
        return "'" + argument.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
    }

    private static let plain = Set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=@,+")
}
