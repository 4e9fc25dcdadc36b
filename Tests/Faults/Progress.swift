import Foundation

/// Lines of a long campaign on standard error, as they happen: an operator sees them before its end.
enum Progress {
    static func say(_ line: String) { try? FileHandle.standardError.write(contentsOf: Data((line + "\n").utf8)) }
}
