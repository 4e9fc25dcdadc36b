import Foundation
import Wire

/// Lines on standard output, written at once.
enum Terminal {
    static func line(_ text: String = "") {
        FileHandle.standardOutput.write(Data((text + "\n").utf8))
    }
}

extension Duration {
    /// For people: `84 ms`, `2.31 s`.
    var short: String {
        let ms = inMilliseconds
        return ms < 1000 ? "\(Int(ms.rounded())) ms" : "\((ms / 10).rounded() / 100) s"
    }
}
