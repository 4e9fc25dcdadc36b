import CoreMetrics
import Foundation
import HTTPEdge
import HTTPTypes
import HummingbirdCore
import Logging
import NIOCore
import NIOPosix
import NIOSSL
import ServiceSupport
import Synchronization
import Testing

#if canImport(Glibc)
    import Glibc
#endif

@Suite("Certificates that are read again", .timeLimit(.minutes(5)))
struct CertificateReloadTests {
    private let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    /// A certificate of its own for `localhost` and its key, as files.
    private static func makeCertificate(_ files: TLSFiles) throws {
        let openssl = Process()
        openssl.executableURL = URL(filePath: "/usr/bin/openssl")
        openssl.arguments = [
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj",
            "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", files.privateKey, "-out",
            files.certificateChain,
        ]
        openssl.standardError = FileHandle.nullDevice
        try openssl.run()
        openssl.waitUntilExit()
        try #require(openssl.terminationStatus == 0)
    }

    /// A TLS client that trusts one certificate and sends one request after another over one connection.
    private final class Client: Sendable {
        private let channel: NIOAsyncChannel<ByteBuffer, ByteBuffer>

        init(port: Int, trusting root: String) async throws {
            var tls = TLSConfiguration.makeClientConfiguration()
            tls.trustRoots = .file(root)
            let context = try NIOSSLContext(configuration: tls)
            channel = try await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
                .connect(host: "127.0.0.1", port: port) { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(
                            NIOSSLClientHandler(context: context, serverHostname: "localhost"))
                        return try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                    }
                }
        }

        /// Asks `times` times, with `between` before each time but the first.
        /// - Throws: when the certificate is not the trusted one, or the connection ends.
        func ask(_ times: Int, between: @Sendable () async throws -> Void = {}) async throws {
            try await channel.executeThenClose { inbound, outbound in
                var replies = inbound.makeAsyncIterator()
                for time in 0..<times {
                    if time > 0 { try await between() }
                    try await outbound.write(ByteBuffer(string: "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"))
                    var text = ""
                    while !text.hasSuffix("hello") {
                        guard let part = try await replies.next() else { throw ChannelError.eof }
                        text += String(buffer: part)
                    }
                }
            }
        }
    }

    private final class Reloads: Sendable {
        let count = Atomic(0)
    }

    private static func isServed(_ port: Int, trusting root: String) async -> Bool {
        do {
            try await Client(port: port, trusting: root).ask(1)
            return true
        } catch {
            return false
        }
    }

    @Test("at SIGHUP new connections get the new certificate, and open ones go on")
    func hangUp() async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "beckon-tls-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        func files(_ name: String) -> TLSFiles {
            TLSFiles(
                certificateChain: folder.appending(path: "\(name).pem").path,
                privateKey: folder.appending(path: "\(name)-key.pem").path)
        }
        let (served, former, new) = (files("served"), files("former"), files("new"))
        try Self.makeCertificate(former)
        try Self.makeCertificate(new)
        @Sendable func install(_ files: TLSFiles) throws {
            for (from, to) in [
                (files.certificateChain, served.certificateChain), (files.privateKey, served.privateKey),
            ] { try Data(contentsOf: URL(filePath: from)).write(to: URL(filePath: to)) }
        }
        try install(former)
        var configuration = EdgeConfiguration(name: "test", host: "127.0.0.1", port: 0)
        configuration.tls = served
        // Only the signal reads them again.
        configuration.certificateInterval = .seconds(3600)
        let bound = BoundPort()
        var events = EdgeServer.Events()
        events.onBound = { bound.set($0) }
        let server = try EdgeServer(
            configuration, metrics: NOOPMetricsHandler.instance, logger: logger, events: events
        ) { (_, writer: consuming ResponseWriter, _) in
            let content = ByteBuffer(string: "hello")
            try await writer.write(
                response: HTTPResponse(status: .ok, headerFields: [.contentLength: "5"]),
                body: ResponseBody(byteBuffer: content))
        }
        // A signal that comes before the service listens for it must not end the tests.
        signal(SIGHUP, SIG_IGN)
        let reloads = Reloads()
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { [logger] in
                // How it ends is not what this is about.
                try? await RoleProcess.run([server], shutdownTimeout: .seconds(5), logger: logger) {
                    await server.reloadCertificate()
                    reloads.count.add(1, ordering: .releasing)
                }
            }
            let port = try await bound.wait()
            #expect(await Self.isServed(port, trusting: former.certificateChain))
            #expect(await !Self.isServed(port, trusting: new.certificateChain))
            let open = try await Client(port: port, trusting: former.certificateChain)
            try await open.ask(2) {
                try install(new)
                #expect(
                    await Self.isServed(port, trusting: former.certificateChain), "nothing is read without a signal")
                while reloads.count.load(ordering: .acquiring) == 0 {
                    kill(getpid(), SIGHUP)
                    try await Task.sleep(for: .milliseconds(20))
                }
                #expect(await Self.isServed(port, trusting: new.certificateChain))
                #expect(await !Self.isServed(port, trusting: former.certificateChain))
            }
            group.cancelAll()
        }
    }
}
