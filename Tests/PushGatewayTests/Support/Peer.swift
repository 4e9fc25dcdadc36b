import Foundation
import NIOCore
import NIOPosix

/// A server process of somebody else's, on a free port, with the tests' certificate.
final class Peer: Sendable {
    let port: Int
    private let process: Process
    private let folder: URL

    private init(port: Int, process: Process, folder: URL) {
        self.port = port
        self.process = process
        self.folder = folder
    }

    static func path(of tool: String) -> String? {
        ["/usr/sbin/", "/usr/bin/", "/usr/local/sbin/", "/usr/local/bin/"].map { $0 + tool }
            .first { FileManager.default.isExecutableFile(atPath: $0) }
    }

    /// Whether its tests run. In CI they always do, and fail when it is missing.
    static func isWanted(_ tool: String) -> Bool {
        path(of: tool) != nil || ProcessInfo.processInfo.environment["CI"] != nil
    }

    static func nginx<T>(keepaliveRequests: Int = 1_000_000, _ body: (Peer) async throws -> T) async throws -> T {
        let peer = try await start("nginx") { folder, port in
            let configuration = """
                daemon off;
                master_process off;
                pid \(folder.path)/nginx.pid;
                error_log \(folder.path)/error.log warn;
                events { worker_connections 256; }
                http {
                    access_log off;
                    client_body_temp_path \(folder.path)/body;
                    server {
                        listen 127.0.0.1:\(port) ssl http2;
                        ssl_certificate \(folder.path)/cert.pem;
                        ssl_certificate_key \(folder.path)/key.pem;
                        keepalive_requests \(keepaliveRequests);
                        location / { return 200; }
                    }
                }
                """
            try configuration.write(to: folder.appendingPathComponent("nginx.conf"), atomically: true, encoding: .utf8)
            return ["-p", folder.path, "-c", folder.path + "/nginx.conf"]
        }
        return try await stopping(peer, body)
    }

    static func nghttpd<T>(_ body: (Peer) async throws -> T) async throws -> T {
        let peer = try await start("nghttpd") { folder, port in
            ["--address=127.0.0.1", "-d", folder.path, "\(port)", folder.path + "/key.pem", folder.path + "/cert.pem"]
        }
        return try await stopping(peer, body)
    }

    /// Node's own HTTP/2 server: 100 streams at a time, answers with the push's `apns-id`, says GOAWAY after every
    /// `goawayEvery` streams of a connection (0: never). `GET /seen` answers `<pushes> <different ids> <connections>`.
    static func node<T>(goawayEvery: Int = 0, _ body: (Peer) async throws -> T) async throws -> T {
        let peer = try await start("node") { folder, port in
            let script = """
                const fs = require('fs'), http2 = require('http2');
                const ids = new Set(); let pushes = 0, connections = 0;
                const server = http2.createSecureServer({
                    cert: fs.readFileSync('\(folder.path)/cert.pem'), key: fs.readFileSync('\(folder.path)/key.pem'),
                    settings: { maxConcurrentStreams: 100 } });
                server.on('session', (session) => { connections++; session.count = 0; });
                server.on('stream', (stream, headers) => {
                    stream.on('error', () => {});
                    if (headers[':path'] === '/seen') {
                        stream.respond({ ':status': 200 });
                        return stream.end(`${pushes} ${ids.size} ${connections}`);
                    }
                    pushes++; ids.add(headers['apns-id']);
                    const session = stream.session;
                    if (\(goawayEvery) > 0 && ++session.count === \(goawayEvery)) session.close();
                    stream.resume();
                    stream.on('end', () => { stream.respond({ ':status': 200, 'apns-id': headers['apns-id'] }); stream.end(); });
                });
                server.listen(\(port), '127.0.0.1');
                """
            let file = folder.appendingPathComponent("server.js")
            try script.write(to: file, atomically: true, encoding: .utf8)
            return [file.path]
        }
        return try await stopping(peer, body)
    }

    private static func start(_ tool: String, arguments: (URL, Int) throws -> [String]) async throws -> Peer {
        guard let executable = path(of: tool) else {
            throw PeerFault(tool: "\(tool) is not installed: scripts/install --tests")
        }
        let certificate = try TestCertificate.shared.get()
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("peer-\(UUID())")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try certificate.certificatePEM.write(
            to: folder.appendingPathComponent("cert.pem"), atomically: true, encoding: .utf8)
        try certificate.keyPEM.write(to: folder.appendingPathComponent("key.pem"), atomically: true, encoding: .utf8)
        // Free a moment ago; these servers cannot choose a port and say which.
        let listener = try await SilentListener.start()
        let port = listener.port
        try await listener.stop()
        let process = Process()
        process.executableURL = URL(fileURLWithPath: executable)
        process.arguments = try arguments(folder, port)
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        let peer = Peer(port: port, process: process, folder: folder)
        let end = ContinuousClock.now + .seconds(90)
        while ContinuousClock.now < end {
            if let channel = try? await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
                .connect(host: "127.0.0.1", port: port).get()
            {
                try await channel.close()
                return peer
            }
            try await Task.sleep(for: .milliseconds(20))
        }
        peer.stop()
        throw PeerFault(tool: tool)
    }

    /// SIGKILL: a child of this process inherits a mask that blocks SIGTERM when it is spawned from a Dispatch thread.
    /// Not waited for: waiting would block a thread of the cooperative pool.
    private func stop() {
        kill(process.processIdentifier, SIGKILL)
        try? FileManager.default.removeItem(at: folder)
    }

    private static func stopping<T>(_ peer: Peer, _ body: (Peer) async throws -> T) async throws -> T {
        defer { peer.stop() }
        return try await body(peer)
    }
}

struct PeerFault: Error { var tool: String }
