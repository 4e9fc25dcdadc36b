import Foundation
import Storage
import Synchronization
import Wire

/// Shows how far a copy is: one line on standard error that is written again and again, when that is a terminal; JSON
/// lines on standard output, when they are asked for. Otherwise nothing.
final class CopyProgress: Sendable {
    private struct State {
        var step = ""
        var startedAt = ContinuousClock.now
        /// Rows that were there when the step began: they say nothing of its speed.
        var first = 0
        var shownAt: ContinuousClock.Instant?
        var hasLine = false
    }

    private let isJSON: Bool
    private let isTerminal: Bool
    private let isUnicode: Bool
    private let state = Mutex(State())

    init(isJSON: Bool) {
        self.isJSON = isJSON
        isTerminal = !isJSON && isatty(STDERR_FILENO) == 1
        let environment = ProcessInfo.processInfo.environment
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].compactMap { environment[$0] }.first { !$0.isEmpty } ?? ""
        isUnicode = locale.uppercased().contains("UTF")
    }

    func show(_ progress: StoreCopy.Progress) {
        guard isJSON || isTerminal else { return }
        let (verb, table, done, count) =
            switch progress {
            case .copying(let table, let done, let count): ("copying", table, done, count)
            case .comparing(let table, let done, let count): ("comparing", table, done, count)
            }
        // Most tables of a small store are empty, and would only flicker.
        guard isJSON || count > 0 else { return }
        let now = ContinuousClock.now
        state.withLock { state in
            let step = verb + table
            if state.step != step {
                state.step = step
                (state.startedAt, state.first, state.shownAt) = (now, done, nil)
            }
            let interval: Duration = isJSON ? .seconds(1) : .milliseconds(100)
            // The last of each step always.
            if done < count, let shownAt = state.shownAt, now - shownAt < interval { return }
            state.shownAt = now
            if isJSON {
                Terminal.line(
                    JSONValue.object([
                        ("step", .string(verb)), ("table", .string(table)), ("rows", .integer(Int64(done))),
                        ("of", .integer(Int64(count))),
                    ]).text)
                return
            }
            let rate = Double(done - state.first) / max((now - state.startedAt) / .seconds(1), 0.001)
            let line = Self.line(
                verb, table, done: done, of: count, rate: rate, width: Self.width, isUnicode: isUnicode)
            // What a longer line has left behind it goes.
            Terminal.error("\r\(line)\u{1b}[K")
            state.hasLine = true
        }
    }

    /// Takes the line away.
    func clear() {
        state.withLock { state in
            guard state.hasLine else { return }
            Terminal.error("\r\u{1b}[K")
            state.hasLine = false
        }
    }

    /// `copying challenges ━━━━━━━━━━╺──────── 61 %  612,000 of 1,000,000  41,200/s  0:09 left`
    static func line(
        _ verb: String, _ table: String, done: Int, of count: Int, rate: Double, width: Int, isUnicode: Bool
    ) -> String {
        let share = count > 0 ? min(1, Double(done) / Double(count)) : 1
        var facts = "\(Int(share * 100)) %  \(grouped(done)) of \(grouped(count))"
        if rate >= 1, done < count {
            let left = Int((Double(count - done) / rate).rounded(.up))
            let seconds = left % 60
            facts += "  \(grouped(Int(rate)))/s  \(left / 60):\(seconds < 10 ? "0" : "")\(seconds) left"
        }
        let bar = min(40, width - verb.count - table.count - facts.count - 5)
        guard bar >= 5 else { return String("\(verb) \(table) \(facts)".prefix(max(width - 1, 0))) }
        let full = Int(share * Double(bar))
        let (done, open) = isUnicode ? ("━", "─") : ("#", "-")
        return "\(verb) \(table) \(String(repeating: done, count: full))"
            + "\(String(repeating: open, count: bar - full)) \(facts)"
    }

    private static func grouped(_ number: Int) -> String {
        var digits = Array(String(number))
        for place in stride(from: digits.count - 3, to: 0, by: -3) { digits.insert(",", at: place) }
        return String(digits)
    }

    private static var width: Int {
        var size = winsize()
        guard ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 80 }
        return Int(size.ws_col)
    }
}
