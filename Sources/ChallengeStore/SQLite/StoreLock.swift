import Foundation
import Synchronization

/// Says that a Producer serves a store's file. The system lets go of it when the process dies, however it dies.
///
/// It is a file beside the store: closing any descriptor of SQLite's own files would drop SQLite's locks.
final class StoreLock: Sendable {
    private let descriptor: Mutex<Int32?>

    /// - Parameter path: of the store, which exists; a link to it is the same store.
    /// - Throws: ``StoreError/failed(_:)`` when another has it.
    init(path: String) throws(StoreError) {
        let file = URL(filePath: path).resolvingSymlinksInPath().path + "-lock"
        let descriptor = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw .failed("\(file): \(String(cString: strerror(errno)))") }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let code = errno
            var holder = [UInt8](repeating: 0, count: 20)
            let count = max(0, read(descriptor, &holder, holder.count))
            close(descriptor)
            guard code == EWOULDBLOCK else { throw .failed("\(file): \(String(cString: strerror(code)))") }
            throw .failed(
                """
                another producer (process \(String(decoding: holder.prefix(count), as: UTF8.self))) serves \(path), and a \
                file takes one: stop it first, or give this one a store.path of its own
                """)
        }
        let own = Array(String(getpid()).utf8)
        _ = ftruncate(descriptor, 0)
        _ = pwrite(descriptor, own, own.count, 0)
        self.descriptor = Mutex(descriptor)
    }

    deinit { release() }

    func release() {
        let taken = descriptor.withLock { descriptor in
            defer { descriptor = nil }
            return descriptor
        }
        if let taken { close(taken) }
    }
}
