/// Immutable bytes at a fixed address that many requests refer to, for example a bearer token or an authority.
package final class SharedBytes: @unchecked Sendable {
    // Guarantee: only `init` writes to it.
    package let start: UnsafeMutablePointer<UInt8>
    package let count: Int

    package init(_ text: String) {
        let utf8 = text.utf8
        count = utf8.count
        start = .allocate(capacity: max(1, count))
        _ = UnsafeMutableBufferPointer(start: start, count: count).initialize(from: utf8)
    }

    deinit { start.deallocate() }

    package var text: String { String(decoding: UnsafeBufferPointer(start: start, count: count), as: UTF8.self) }
}
