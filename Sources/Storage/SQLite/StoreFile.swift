import Challenges
import Foundation
import Synchronization

/// A store's file while a store of this process is open, so that one Producer serves it, by whichever name it is
/// reached.
///
/// A Producer holds two locks, which the system lets go of when its process dies, however it dies: one on `<path>-lock`
/// beside the store, which names its process, and one on the database file itself, which is the same file by every
/// name. SQLite finds its write-ahead log by the name: through two names there are two logs over one database, and
/// commits are lost. So a file that has a second name, or is served under another one, is refused to everybody.
final class StoreFile: Sendable {
    private struct Identity: Hashable {
        let device: UInt64
        let inode: UInt64
    }

    /// Descriptors of database files that are open here. SQLite's own locks on a file end when the process closes any
    /// descriptor of it, so these are closed only when no store of this process has the file open any more.
    private static let held = Mutex<[Identity: (users: Int, descriptors: [Int32])]>([:])

    let path: String
    private let identity: Identity
    private let database: Int32
    private let lockPath: String
    private let isServing: Bool
    /// Of the file beside the store; nil: it does not serve.
    private let lockFile: Int32?
    private let isReleased = Atomic(false)

    /// - Parameter path: of the store, which exists; a symbolic link to it is the same store.
    /// - Throws: ``StoreError/failed(_:)`` when another serves it, or it has more than one name.
    init(path: String, isServing: Bool) throws(StoreError) {
        let resolved = URL(filePath: path).resolvingSymlinksInPath().path
        let lockPath = resolved + "-lock"
        let lockFile = isServing ? try Self.lock(lockPath, of: path) : nil
        do {
            let descriptor = open(resolved, O_RDWR | O_CLOEXEC)
            guard descriptor >= 0 else { throw StoreError.failed("\(path): \(String(cString: strerror(errno)))") }
            var status = stat()
            guard fstat(descriptor, &status) == 0 else {
                throw StoreError.failed("\(path): \(String(cString: strerror(errno)))")
            }
            let identity = Identity(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
            Self.held.withLock { held in
                held[identity, default: (0, [])].users += 1
                held[identity]?.descriptors.append(descriptor)
            }
            (self.identity, database) = (identity, descriptor)
            do { try Self.check(path, descriptor, status, lockPath: lockPath, isServing: isServing) } catch {
                Self.letGo(identity)
                throw error
            }
        } catch {
            if let lockFile { close(lockFile) }
            throw error as? StoreError ?? .failed("\(path): \(error)")
        }
        self.path = path
        self.lockPath = lockPath
        self.isServing = isServing
        self.lockFile = lockFile
    }

    deinit { release() }

    /// After every connection of this store to the file is closed. Idempotent.
    func release() {
        guard !isReleased.exchange(true, ordering: .acquiringAndReleasing) else { return }
        flock(database, LOCK_UN)
        if let lockFile { close(lockFile) }
        Self.letGo(identity)
    }

    /// Runs `body` when no other process or store serves the file, and lets none begin to meanwhile. Waits 10 s at
    /// most.
    /// - Parameter isNeedless: true: another has done meanwhile what `body` does; then it is not run.
    /// - Throws: ``StoreError/failed(_:)`` when another serves the file, and what `body` does is not done.
    func whileNobodyElseServes(unless isNeedless: () -> Bool, _ body: () throws -> Void) throws {
        guard !isServing else { return try body() }
        guard try Self.take(LOCK_EX, database, path, until: isNeedless) else {
            guard !isNeedless() else { return }
            throw StoreError.failed(
                """
                the store \(path) must be migrated for this version of Beckon, and a producer of an earlier one serves it: stop \
                that producer first, or use its version
                """)
        }
        defer { flock(database, LOCK_UN) }
        try body()
    }

    private static func lock(_ lockPath: String, of path: String) throws(StoreError) -> Int32 {
        let descriptor = open(lockPath, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw .failed("\(lockPath): \(String(cString: strerror(errno)))") }
        // A tool that looks whether a producer serves the store holds the lock for a moment, see `isLocked`.
        let end = ContinuousClock.now + .milliseconds(300)
        var isOurs = flock(descriptor, LOCK_EX | LOCK_NB) == 0
        while !isOurs, errno == EWOULDBLOCK, ContinuousClock.now < end {
            usleep(10_000)
            isOurs = flock(descriptor, LOCK_EX | LOCK_NB) == 0
        }
        guard isOurs else {
            let code = errno
            var holder = [UInt8](repeating: 0, count: 20)
            let count = max(0, read(descriptor, &holder, holder.count))
            close(descriptor)
            guard code == EWOULDBLOCK else { throw .failed("\(lockPath): \(String(cString: strerror(code)))") }
            throw .failed(
                """
                another producer (process \(String(decoding: holder.prefix(count), as: UTF8.self))) serves \(path), and a \
                file takes one: stop it first, or give this one a store.path of its own
                """)
        }
        let own = Array(String(getpid()).utf8)
        _ = ftruncate(descriptor, 0)
        _ = pwrite(descriptor, own, own.count, 0)
        return descriptor
    }

    /// Takes the lock on the database file for good when it serves, or for a moment to see whether another serves.
    private static func check(
        _ path: String, _ descriptor: Int32, _ status: stat, lockPath: String, isServing: Bool
    ) throws(StoreError) {
        guard status.st_nlink <= 1 else {
            throw .failed(
                """
                the store \(path) has \(status.st_nlink) names (hard links); through each of them it would have a write-ahead log \
                of its own, and lose what is in the others: remove the other names, and copy a store with sqlite3 .backup
                """)
        }
        if try take(isServing ? LOCK_EX : LOCK_SH, descriptor, path, until: { !isServing && isLocked(lockPath) }) {
            if !isServing { flock(descriptor, LOCK_UN) }
            return
        }
        // A tool beside the Producer: by the same name its lock file is the Producer's, which is locked too.
        if !isServing, isLocked(lockPath) { return }
        throw .failed(
            """
            the store \(path) is served by a producer under another name (a mount of the file alone), or is being migrated: use \
            the folder and name that the producer uses, and mount folders, not files
            """)
    }

    /// Locks the database file. Other commands lock it for a moment, or while they migrate it: they are waited for, 10
    /// s at most.
    /// - Parameter isVain: true: waiting any longer is of no use.
    /// - Returns: false when another has it.
    private static func take(
        _ lock: Int32, _ descriptor: Int32, _ path: String, until isVain: () -> Bool
    ) throws(StoreError) -> Bool {
        let end = ContinuousClock.now + .seconds(10)
        while flock(descriptor, lock | LOCK_NB) != 0 {
            guard errno == EWOULDBLOCK || errno == EINTR else {
                throw .failed("\(path): \(String(cString: strerror(errno)))")
            }
            guard !isVain(), ContinuousClock.now < end else { return false }
            usleep(20_000)
        }
        return true
    }

    private static func isLocked(_ lockPath: String) -> Bool {
        let descriptor = open(lockPath, O_RDWR | O_CLOEXEC)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        return flock(descriptor, LOCK_SH | LOCK_NB) != 0
    }

    private static func letGo(_ identity: Identity) {
        let unused = held.withLock { held -> [Int32] in
            held[identity]?.users -= 1
            guard held[identity]?.users == 0 else { return [] }
            return held.removeValue(forKey: identity)?.descriptors ?? []
        }
        for descriptor in unused { close(descriptor) }
    }
}
