import Foundation
import Wire

/// Text on standard output and standard error, written at once.
enum Terminal {
    /// A line on standard output. A reader that has gone away (`| head`) ends the process with status 141, as SIGPIPE
    /// would; any other fault, a full disk for example, ends it with status 1.
    static func line(_ text: String = "") {
        let fault = write(text + "\n", to: STDOUT_FILENO)
        guard fault != 0 else { return }
        // An exit status above 128 names the signal that the process ignores.
        if fault == EPIPE { _exit(128 + SIGPIPE) }
        error("Error: standard output cannot be written: \(String(cString: strerror(fault)))\n")
        _exit(1)
    }

    /// Text on standard error, without a line feed of its own. Nobody can be told that it is not read.
    static func error(_ text: String) { _ = write(text, to: STDERR_FILENO) }

    /// - Returns: 0, or the `errno` of the write that failed.
    private static func write(_ text: String, to descriptor: Int32) -> Int32 {
        var text = text
        return text.withUTF8 { bytes in
            var rest = UnsafeRawBufferPointer(bytes)
            while !rest.isEmpty {
                let written = Foundation.write(descriptor, rest.baseAddress, rest.count)
                if written >= 0 {
                    rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(written))
                } else if errno == EAGAIN {
                    var ready = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                    _ = poll(&ready, 1, -1)
                } else if errno != EINTR {
                    return errno
                }
            }
            return 0
        }
    }
}

extension Duration {
    /// For people: `84 ms`, `2.31 s`.
    var short: String {
        let ms = inMilliseconds
        return ms < 1000 ? "\(Int(ms.rounded())) ms" : "\((ms / 10).rounded() / 100) s"
    }
}
