import Foundation
import Synchronization

/// A TCP proxy in front of a PostgreSQL server's socket that understands as much of the protocol as it takes to cut at
/// a COMMIT. The client must not use TLS.
public final class PostgresProxy: Sendable {
    /// What happens to a connection.
    public enum Fault: Sendable, Hashable {
        case none
        /// Closed before the COMMIT reaches the server.
        case cutBeforeCommit
        /// Closed once the COMMIT is on its way to the server.
        case cutBehindCommit
        /// Closed when the server has answered to the COMMIT; the client does not get the answer.
        case cutCommitAnswer
        /// The server gets the COMMIT; the client's side is closed, the server's is not.
        case halfOpenAtCommit
        /// Nothing passes any more, and nothing is closed.
        case stall
        /// Closed after so many bytes of the client's.
        case cutAfter(Int)
        /// No connection is taken.
        case refuse
    }

    private struct State {
        var target: String
        var fault = Fault.none
        /// How many connections it is for still; nil: all.
        var faultLeft: Int?
        var delay: Duration = .zero
        var pairs: [Int32: Int32] = [:]
        var cuts = 0
        var connections = 0
    }

    public let port: Int
    private let listener: Int32
    private let state: Mutex<State>

    /// - Parameter socket: the server's.
    public init(to socket: String) throws {
        state = Mutex(State(target: socket))
        listener = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let (listener, failure) = (listener, BeckonProcess.Failure(description: "the proxy cannot listen"))
        let isBound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, length) == 0 && listen(listener, 128) == 0 && getsockname(listener, $0, &length) == 0
            }
        }
        guard isBound else { throw failure }
        port = Int(UInt16(bigEndian: address.sin_port))
        Thread { [weak self, listener] in
            while true {
                let client = accept(listener, nil, nil)
                if client < 0 { if errno == EINTR || errno == ECONNABORTED { continue } else { return } }
                guard let self else {
                    Glibc.close(client)
                    return
                }
                self.serve(client)
            }
        }.start()
    }

    public func close() {
        // Ends a socket that another thread waits on; close does not.
        shutdown(listener, Int32(SHUT_RDWR))
        cutAll()
    }

    /// - Parameter times: how many connections it strikes; nil: all, those that are open too.
    public func set(_ fault: Fault, times: Int? = nil) {
        state.withLock { ($0.fault, $0.faultLeft) = (fault, times) }
    }

    /// Where connections go from now on: another server's socket.
    public func set(target: String) { state.withLock { $0.target = target } }

    /// Each way.
    public func set(delay: Duration) { state.withLock { $0.delay = delay } }

    /// How many connections a fault has struck.
    public var cuts: Int { state.withLock { $0.cuts } }
    /// How many connections it took.
    public var connections: Int { state.withLock { $0.connections } }

    public func cutAll() {
        for (client, server) in state.withLock({ $0.pairs }) {
            shutdown(client, Int32(SHUT_RDWR))
            shutdown(server, Int32(SHUT_RDWR))
        }
    }

    private func serve(_ client: Int32) {
        let server = state.withLock { $0.fault == .refuse } ? -1 : connected()
        guard server >= 0 else {
            Glibc.close(client)
            return
        }
        state.withLock { state in
            state.pairs[client] = server
            state.connections += 1
        }
        let holder = Holder()
        let group = DispatchGroup()
        group.enter()
        Thread { [self] in
            passUp(client, server, holder)
            group.leave()
        }.start()
        group.enter()
        Thread { [self] in
            passDown(client, server, holder)
            group.leave()
        }.start()
        group.notify(queue: .global()) { [self] in
            _ = state.withLock { $0.pairs.removeValue(forKey: client) }
            Glibc.close(client)
            Glibc.close(server)
        }
    }

    /// What the two directions of a connection know of each other.
    private final class Holder: Sendable {
        let answersAreCut = Atomic(false)
    }

    private func connected() -> Int32 {
        let descriptor = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) {
            $0.copyBytes(from: Array(state.withLock { $0.target }.utf8) + [0])
        }
        let isConnected = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0
            }
        }
        if isConnected { return descriptor }
        Glibc.close(descriptor)
        return -1
    }

    private func cut(_ client: Int32, _ server: Int32, serverToo: Bool = true) {
        shutdown(client, Int32(SHUT_RDWR))
        if serverToo { shutdown(server, Int32(SHUT_RDWR)) }
    }

    /// Whether the fault of now strikes, which uses it up once.
    private func strikes(_ wanted: (Fault) -> Bool) -> Fault? {
        state.withLock { state in
            guard wanted(state.fault), state.faultLeft != 0 else { return nil }
            state.faultLeft = state.faultLeft.map { $0 - 1 }
            state.cuts += 1
            return state.fault
        }
    }

    private func passDown(_ client: Int32, _ server: Int32, _ holder: Holder) {
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = recv(server, &buffer, buffer.count, 0)
            guard count > 0 else { break }
            pause()
            if holder.answersAreCut.load(ordering: .acquiring) {
                cut(client, server)
                break
            }
            guard Self.write(buffer[..<count], to: client) else { break }
        }
        shutdown(client, Int32(SHUT_RDWR))
    }

    private func pause() {
        let delay = state.withLock { $0.delay }
        if delay > .zero { Thread.sleep(forTimeInterval: delay / .seconds(1)) }
        while state.withLock({ $0.fault == .stall }) { Thread.sleep(forTimeInterval: 0.005) }
    }

    /// Message by message.
    private func passUp(_ client: Int32, _ server: Int32, _ holder: Holder) {
        var buffer = [UInt8](repeating: 0, count: 65_536)
        var pending: [UInt8] = []
        var (isStarted, passed) = (false, 0)
        // Prepared statements that commit.
        var commits: Set<[UInt8]> = []
        var strikesAtSync: Fault?
        defer { if strikesAtSync != .halfOpenAtCommit { shutdown(server, Int32(SHUT_RDWR)) } }
        while true {
            let count = recv(client, &buffer, buffer.count, 0)
            guard count > 0 else { return }
            pause()
            pending += buffer[..<count]
            while let message = Self.message(in: pending, isStarted: isStarted) {
                pending.removeFirst(message.count)
                if isStarted {
                    let fields = message.dropFirst(5).split(
                        separator: 0, maxSplits: 2, omittingEmptySubsequences: false)
                    switch message[0] {
                    case UInt8(ascii: "P") where fields.count > 1 && fields[1].elementsEqual("COMMIT".utf8):
                        commits.insert(Array(fields[0]))
                    case UInt8(ascii: "B") where fields.count > 1 && commits.contains(Array(fields[1])):
                        switch strikes({ $0.isAtCommit }) {
                        case .cutBeforeCommit?: return cut(client, server)
                        case let fault: strikesAtSync = fault
                        }
                    default: break
                    }
                }
                isStarted = true
                passed += message.count
                // The server answers to a segment's end, and may be quicker than this thread.
                if strikesAtSync == .cutCommitAnswer, message[0] == UInt8(ascii: "S") {
                    holder.answersAreCut.store(true, ordering: .releasing)
                }
                guard Self.write(message[...], to: server) else { return }
                if case .cutAfter(let bytes)? = state.withLock({ $0.fault }) as Fault?, passed >= bytes,
                    strikes({ if case .cutAfter = $0 { true } else { false } }) != nil
                {
                    return cut(client, server)
                }
                guard let fault = strikesAtSync, message[0] == UInt8(ascii: "S") else { continue }
                switch fault {
                case .cutCommitAnswer: break
                case .halfOpenAtCommit: return cut(client, server, serverToo: false)
                default: return cut(client, server)
                }
            }
        }
    }

    /// The first whole message; nil: more has to come.
    private static func message(in bytes: [UInt8], isStarted: Bool) -> [UInt8]? {
        let start = isStarted ? 1 : 0
        guard bytes.count >= start + 4 else { return nil }
        let length = bytes[start..<start + 4].reduce(0) { $0 << 8 | Int($1) } + start
        return bytes.count >= length ? Array(bytes[..<length]) : nil
    }

    private static func write(_ bytes: ArraySlice<UInt8>, to descriptor: Int32) -> Bool {
        var rest = bytes
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return false }
            rest.removeFirst(count)
        }
        return true
    }
}

extension PostgresProxy.Fault {
    fileprivate var isAtCommit: Bool {
        [.cutBeforeCommit, .cutBehindCommit, .cutCommitAnswer, .halfOpenAtCommit].contains(self)
    }
}
