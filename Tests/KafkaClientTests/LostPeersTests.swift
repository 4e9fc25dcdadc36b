import Foundation
import KafkaClient
import TestSupport
import Testing

/// Requests on the wire, as librdkafka sends them when its connection to the coordinator ends while it joins.
@Suite("The stand-in broker and clients that are gone", .timeLimit(.minutes(2)))
struct LostPeersTests {
    @Test("a member that closes its connection while it joins may join again on another one")
    func joinsAgain() async throws {
        let broker = try EmbeddedBroker(topics: ["t": 1])
        let port = try #require(broker.bootstrapServers.split(separator: ":").last.flatMap { UInt16($0) })
        // The answer comes when the group has waited for other members; until then the mock broker reads nothing.
        for _ in 0..<5 {
            let connection = try Connection(port: port)
            connection.send(Self.join)
            try untilServed(port)
            // Ends this side only, so that the end of the other side can be read.
            connection.endSending()
            #expect(connection.isEnded())
            connection.close()
            try untilServed(port)
        }
        let last = try Connection(port: port)
        last.send(Self.join)
        let answer = last.answer()
        #expect(answer.count > 10 && answer[4..<8].elementsEqual([0, 0, 0, 2]), "\(answer)")
        last.close()
        await broker.close()
    }

    /// What had come to the mock broker's connections before has been taken: it looks at all of them in each turn, and
    /// answers two requests in two turns.
    private func untilServed(_ port: UInt16) throws {
        let other = try Connection(port: port)
        for _ in 0..<2 {
            other.send(Self.request(apiKey: 18, [], correlation: 1))
            #expect(!other.answer().isEmpty)
        }
        other.close()
    }

    private static let join: [UInt8] = {
        let metadata: [UInt8] = [0, 0] + int32(1) + string("t") + int32(0)
        let body =
            string("g") + int32(3000) + int32(3000) + string("member") + string("consumer") + int32(1) + string("range")
            + int32(Int32(metadata.count)) + metadata
        return request(apiKey: 11, body, version: 1, correlation: 2)
    }()

    private static func request(apiKey: UInt8, _ body: [UInt8], version: UInt8 = 0, correlation: Int32) -> [UInt8] {
        let message: [UInt8] = [0, apiKey, 0, version] + int32(correlation) + string("test") + body
        return int32(Int32(message.count)) + message
    }

    private static func int32(_ value: Int32) -> [UInt8] { withUnsafeBytes(of: value.bigEndian) { Array($0) } }
    private static func string(_ text: String) -> [UInt8] { [0, UInt8(text.utf8.count)] + Array(text.utf8) }

    private struct Connection {
        private let descriptor: Int32

        init(port: UInt16) throws {
            let descriptor = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_addr.s_addr = inet_addr("127.0.0.1")
            address.sin_port = port.bigEndian
            let result = withUnsafePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
            try #require(result == 0)
            var limit = timeval(tv_sec: 60, tv_usec: 0)
            setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
            self.descriptor = descriptor
        }

        func send(_ bytes: [UInt8]) { _ = Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) }

        func answer() -> [UInt8] {
            var buffer = [UInt8](repeating: 0, count: 4096)
            return Array(buffer[..<max(0, recv(descriptor, &buffer, buffer.count, 0))])
        }

        func endSending() { shutdown(descriptor, Int32(SHUT_WR)) }

        /// Waits until the other side ends the connection without an answer.
        func isEnded() -> Bool {
            var byte: UInt8 = 0
            return recv(descriptor, &byte, 1, 0) == 0
        }

        func close() { Glibc.close(descriptor) }
    }
}
