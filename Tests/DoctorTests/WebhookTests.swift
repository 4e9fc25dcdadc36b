import ChallengeModel
import Challenges
import Doctor
import Foundation
import GuardedHTTP
import NIOCore
import NIOPosix
import ServiceSupport
import Simulators
import Storage
import Testing
import Wire

@Suite("Mistakes of webhooks", .timeLimit(.minutes(5)))
struct WebhookTests {
    /// Examines a store with one webhook.
    private func examine(
        _ url: String, _ webhooks: ExaminedWebhooks, tookMs: Int64 = 0
    ) async throws -> (results: [String: CheckResult], sid: String) {
        try await Ward.withFolder { folder in
            let (path, keys) = (folder.appending(path: "s.sqlite").path, KeyRing.random())
            let store = try ChallengeStore.sqlite(
                path: path, keys: StoreKeys(store: keys, configuration: keys), logger: Ward.silent)
            let nowMs = Timestamp.nowMs()
            let account = try await store.createAccount(nowMs: nowMs).sid
            let service = try await store.createService(NewService(account: account, friendlyName: "s"), nowMs: nowMs)
            let webhook = try await store.createWebhook(
                NewWebhook(account: account, service: service.sid, friendlyName: "w", eventTypes: ["*"], url: url),
                nowMs: nowMs)
            if tookMs > 0 {
                try await store.recordAttempts(
                    [
                        WebhookAttempt(
                            webhook: webhook.sid, eventID: "EV1", eventType: "challenge.approved", atMs: nowMs,
                            tookMs: tookMs, status: 200, code: 0, reason: "")
                    ], nowMs: nowMs)
            }
            await store.close()
            let role = Ward.role(.webhooks) {
                $0.store = .file(path)
                $0.storeKeys = keys
                $0.webhooks = webhooks
            }
            return (await Ward.examine([role], only: ["webhooks"]), webhook.sid.rawValue)
        }
    }

    @Test("a host whose name leads to a private address")
    func privateName() async throws {
        let server = try await NameServer(address: [10, 1, 2, 3])
        let (results, sid) = try await examine(
            "https://hooks.example.com/x",
            ExaminedWebhooks(rules: OutboundRules(), nameServers: NameServers(servers: [server.address])))
        results.expect("webhooks", "private-address", saw: "10.1.2.3: private", mend: "webhooks.allowedHosts")
        #expect(results["webhooks"]?.findings.first?.saw.contains(sid) == true)
        await server.stop()
    }

    @Test("a certificate of an unknown authority, one that has expired, a closed port, and a slow endpoint")
    func endpoints() async throws {
        try await Ward.withFolder { folder in
            let ca = folder.appending(path: "ca.pem").path
            func look(_ certificates: SimulatedCertificates, tookMs: Int64 = 0) async throws -> [String: CheckResult] {
                let receiver = SimulatedReceiver(certificates: certificates) { _ in .status(204) }
                let port = try await receiver.start()
                let rules = OutboundRules(parsing: "localhost:\(port)") ?? OutboundRules()
                let results = try await examine(
                    "https://localhost:\(port)/x", ExaminedWebhooks(rules: rules, caFile: ca), tookMs: tookMs
                ).results
                await receiver.stop()
                return results
            }
            let good = try SimulatedCertificates()
            try good.writePEM(to: ca)
            #expect(try await look(good).isPassed("webhooks"))
            try await look(good, tookMs: 7000).expect("webhooks", "slow", saw: "7000 ms", mend: "answer first")
            try await look(SimulatedCertificates()).expect(
                "webhooks", "endpoint-certificate", saw: "localhost", mend: "webhooks.caFile")
            let old = try SimulatedCertificates(isExpired: true)
            try old.writePEM(to: ca)
            try await look(old).expect("webhooks", "endpoint-certificate", mend: "renews the certificate")
        }
        let closed = try await DumbServer()
        await closed.stop()
        let rules = OutboundRules(parsing: "localhost:\(closed.port)") ?? OutboundRules()
        let (results, _) = try await examine("https://localhost:\(closed.port)/x", ExaminedWebhooks(rules: rules))
        results.expect("webhooks", "endpoint-unreachable", mend: "Attempts")
    }

    /// Answers every question for an IPv4 address with one address, over UDP.
    private final class NameServer: Sendable {
        let address: SocketAddress
        private let channel: any Channel
        private let group: MultiThreadedEventLoopGroup

        init(address bytes: [UInt8]) async throws {
            group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
            channel = try await DatagramBootstrap(group: group)
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(Handler(bytes: bytes))
                    }
                }
                .bind(host: "127.0.0.1", port: 0).get()
            guard let bound = channel.localAddress else { throw ChannelError.unknownLocalAddress }
            address = bound
        }

        func stop() async {
            try? await channel.close().get()
            try? await group.shutdownGracefully()
        }

        private final class Handler: ChannelInboundHandler {
            typealias InboundIn = AddressedEnvelope<ByteBuffer>
            typealias OutboundOut = AddressedEnvelope<ByteBuffer>
            private let bytes: [UInt8]

            init(bytes: [UInt8]) { self.bytes = bytes }

            func channelRead(context: ChannelHandlerContext, data: NIOAny) {
                let envelope = unwrapInboundIn(data)
                let question = Array(envelope.data.readableBytesView)
                guard question.count > 12, let end = question[12...].firstIndex(of: 0) else { return }
                let asked = Array(question[12..<(end + 5)])
                let isIPv4 = question[end + 2] == 1
                // Header: the same id, an answer, one question, one record or none.
                var reply = Array(question[..<2]) + [0x81, 0x80, 0, 1, 0, isIPv4 ? 1 : 0, 0, 0, 0, 0] + asked
                if isIPv4 { reply += [0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4] + bytes }
                context.writeAndFlush(
                    wrapOutboundOut(
                        AddressedEnvelope(remoteAddress: envelope.remoteAddress, data: ByteBuffer(bytes: reply))),
                    promise: nil)
            }
        }
    }
}
