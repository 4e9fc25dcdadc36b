import Foundation
import Synchronization

extension EmbeddedBroker {
    /// Ends the connections of the mock broker that their clients have closed.
    ///
    /// The mock broker does not read from a connection while a JoinGroup or SyncGroup request waits for its answer
    /// there (`rd_kafka_mock_connection_set_blocking`), so it does not see that the client closes that connection. When
    /// the client connects again and repeats its request, the first one still waits, and librdkafka ends the whole
    /// process: `rd_kafka_mock_cgrp_member_add: Assertion '!member->resp' failed` (2.0.2; later versions have the same
    /// assertion). `shutdown` makes `poll` report a hang-up, which the mock broker does handle: it closes the connection
    /// and forgets the request. The client needs three round trips to repeat its request, so this has to be quick: a
    /// thread of its own waits for the end of the connections.
    final class LostPeers: Sendable {
        /// New connections are looked for so often. A connection that is younger than this when its client closes it is
        /// ended so much later.
        private static let listingMs: Int32 = 100
        /// `POLLRDHUP` of Linux: the client has closed its side.
        private static let closedByPeer: Int16 = 0x2000
        /// `TCP_ESTABLISHED` and `TCP_CLOSE_WAIT` of Linux (`net/tcp_states.h`).
        private static let (established, closeWait): (UInt8, UInt8) = (1, 8)

        private let ports: Set<UInt16>
        private let isStopped = Atomic(false)

        /// - Parameter bootstrapServers: the broker's, `127.0.0.1:port,…`.
        init(bootstrapServers: String) {
            ports = Set(
                bootstrapServers.split(separator: ",").compactMap {
                    $0.split(separator: ":").last.flatMap { UInt16($0) }
                })
        }

        /// Watches from a thread of its own until stopped.
        func start() {
            let thread = Thread { [self] in watch() }
            thread.name = "lost-peers"
            thread.start()
        }

        func stop() { isStopped.store(true, ordering: .releasing) }

        private func watch() {
            while !isStopped.load(ordering: .acquiring) {
                var connections = Self.descriptors().filter { isOpenConnection($0) }.map {
                    pollfd(fd: $0, events: Self.closedByPeer, revents: 0)
                }
                let end = ContinuousClock.now + .milliseconds(Int(Self.listingMs))
                while ContinuousClock.now < end,
                    poll(&connections, nfds_t(connections.count), Self.listingMs) > 0
                {
                    for connection in connections where connection.revents != 0 { hangUp(connection.fd) }
                    connections.removeAll { $0.revents != 0 }
                }
            }
        }

        /// Ends a connection that its client has closed.
        private func hangUp(_ descriptor: Int32) {
            // The mock broker may close the descriptor at this moment, and another thread may get its number: the copy
            // stays what it is.
            let copy = dup(descriptor)
            guard copy >= 0 else { return }
            defer { Glibc.close(copy) }
            if isAtBrokerPort(copy), Self.state(copy) == Self.closeWait { shutdown(copy, Int32(SHUT_RDWR)) }
        }

        private func isOpenConnection(_ descriptor: Int32) -> Bool {
            guard isAtBrokerPort(descriptor), let state = Self.state(descriptor) else { return false }
            return state == Self.established || state == Self.closeWait
        }

        /// Whether it is a socket at a port of the broker. The clients' ends, in the same process, have other ports.
        private func isAtBrokerPort(_ descriptor: Int32) -> Bool {
            var address = sockaddr_in()
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            let result = withUnsafeMutablePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
            }
            return result == 0 && address.sin_family == sa_family_t(AF_INET)
                && ports.contains(UInt16(bigEndian: address.sin_port))
        }

        /// Of a TCP connection: the first byte of `tcp_info`.
        private static func state(_ descriptor: Int32) -> UInt8? {
            var state: UInt8 = 0
            var length = socklen_t(1)
            return getsockopt(descriptor, Int32(IPPROTO_TCP), TCP_INFO, &state, &length) == 0 ? state : nil
        }

        /// Of this process.
        private static func descriptors() -> [Int32] {
            guard let folder = opendir("/proc/self/fd") else { return [] }
            defer { closedir(folder) }
            var found: [Int32] = []
            while let entry = readdir(folder) {
                let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                    pointer.withMemoryRebound(to: CChar.self, capacity: 256) { Int32(atoi($0)) }
                }
                if name > 2 { found.append(name) }
            }
            return found
        }
    }
}
