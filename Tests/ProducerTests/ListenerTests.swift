import AsyncHTTPClient
import ChallengeModel
import Challenges
import Foundation
import HTTPEdge
import NIOCore
import NIOPosix
import NIOSSL
import ServiceSupport
import Testing
import Wire

@testable import Producer

@Suite("Addresses, proxies, browsers, slow clients", .timeLimit(.minutes(5)))
struct ListenerTests {
    @Test("the address for devices serves devices, refuses account keys unseen, and has no backend's resources")
    func devices() async throws {
        try await ProducerHarness.run(adjust: { $0.deviceAPI = .init() }) { producer in
            let base = try #require(producer.deviceBase)
            let service = try await producer.makeService()
            let token = try await producer.post(
                "\(service)/AccessTokens", [("Identity", "user-0001"), ("FactorType", "push")], as: producer.backend)
            let created = try await producer.post(
                "\(base)\(service)/Entities/user-0001/Factors", TestDevice().enrolment,
                as: .basic("token", token.text("token")))
            #expect(created.status == 201)
            #expect(try created.text("url").hasPrefix(base), "URLs as this address is reached")
            let phone = try await producer.enroll("user-0001", service: service)
            let challenge = try await producer.createChallenge(service, "user-0001", [("FactorSid", phone.factor)])
            let path = "\(base)\(phone.challengesPath)/\(try challenge.text("sid"))"
            let read = try await producer.get(path, as: phone.token(nowMs: producer.clock.nowMs))
            #expect(read.status == 200)
            let answered = try await producer.post(
                path, [("AuthPayload", try phone.answer(read, "approved"))],
                as: phone.token(nowMs: producer.clock.nowMs))
            #expect(answered.status == 200)
            for authorization in [producer.backend, .basic(producer.account.sid.rawValue, "wrong")] {
                let refused = try await producer.get(path, as: authorization)
                #expect(refused.status == 401)
                #expect(try refused.text("message").contains("devices only"))
            }
            for hidden in [
                "/v2/Services", "/v1/Credentials", "/v1/AuditEvents", "/v1/Alerts", "/v1/Debugger",
                "\(service)/Entities", service,
            ] {
                #expect(try await producer.get(base + hidden, as: producer.backend).status == 404, "\(hidden)")
            }
            let list = "\(base)\(service)/Entities/user-0001/Factors"
            #expect(try await producer.get(list, as: producer.backend).status == 404, "a method that no device uses")
        }
    }

    @Test("a port in use says which flag to set", arguments: [(false, "--api-port"), (true, "--device-api-port")])
    func portInUse(isForDevices: Bool, flag: String) async throws {
        try await ProducerHarness.run { producer in
            let used = try #require(URL(string: producer.base)?.port)
            var configuration = ProducerConfiguration(
                kafka: producer.kafka, topics: producer.names, recordKeys: producer.keys)
            configuration.port = isForDevices ? 0 : used
            if isForDevices {
                var devices = ProducerConfiguration.DeviceAPI()
                devices.port = used
                configuration.deviceAPI = devices
            }
            let second = ProducerService(
                configuration: configuration, store: producer.store, readiness: Readiness(),
                logger: ProducerHarness.logger, metrics: MetricCounts())
            let error = await #expect(throws: StartError.self) { try await second.run() }
            #expect(error?.description.contains("set \(flag) to another") == true)
            #expect(error?.description.contains(":\(used) cannot be opened") == true)
        }
    }

    @Test("X-Forwarded-Host and -Proto count from trusted proxies only")
    func forwarded() async throws {
        let headers = [("X-Forwarded-Host", "evil.example, verify.example.com"), ("X-Forwarded-Proto", "https")]
        try await ProducerHarness.run { producer in
            let answer = try await producer.post(
                "/v2/Services", [("FriendlyName", "Bank")], as: producer.backend, headers: headers)
            #expect(try answer.text("url").hasPrefix(producer.base))
        }
        let proxies = try #require(TrustedProxies(parsing: "10.0.0.0/8, 127.0.0.0/8, ::1"))
        try await ProducerHarness.run(adjust: { $0.trustedProxies = proxies }) { producer in
            let answer = try await producer.post(
                "/v2/Services", [("FriendlyName", "Bank")], as: producer.backend, headers: headers)
            #expect(try answer.text("url").hasPrefix("https://verify.example.com/v2/Services/VA"))
            let broken = try await producer.post(
                "/v2/Services", [("FriendlyName", "Bank")], as: producer.backend,
                headers: [("X-Forwarded-Host", "a/b?c"), ("X-Forwarded-Proto", "javascript")])
            #expect(try broken.text("url").hasPrefix(producer.base))
        }
    }

    @Test("no header of CORS without an allow-list; with one, for its origins only")
    func cors() async throws {
        let page = ("Origin", "https://app.example.com")
        try await ProducerHarness.run { producer in
            let answer = try await producer.send("GET", "/v2/Services", as: producer.backend, headers: [page])
            #expect(answer.headers.allSatisfy { !$0.name.lowercased().hasPrefix("access-control") })
            let options = try await producer.send("OPTIONS", "/v2/Services", headers: [page])
            #expect(options.status == 204 && options.headers.allSatisfy { !$0.name.lowercased().hasPrefix("access-") })
        }
        try await ProducerHarness.run(adjust: { $0.corsOrigins = ["https://app.example.com"] }) { producer in
            let answer = try await producer.send("GET", "/v2/Services", as: producer.backend, headers: [page])
            #expect(answer.header("Access-Control-Allow-Origin") == "https://app.example.com")
            #expect(answer.header("Vary") == "Origin")
            // A page sets its clock by the `Date` of a refusal.
            let unknown = try await producer.send("GET", "/v2/Services", headers: [page])
            #expect(unknown.status == 401 && unknown.header("Date") != nil)
            let readable = unknown.header("Access-Control-Expose-Headers")?.components(separatedBy: ", ") ?? []
            #expect(Set(["Date", "ETag", "Retry-After", "Twilio-Verify-Signature-Fields"]).isSubset(of: readable))
            let preflight = try await producer.send("OPTIONS", "/v2/Services", headers: [page])
            #expect(preflight.status == 204)
            #expect(preflight.header("Access-Control-Allow-Methods") == "GET, POST, DELETE")
            for origin in ["https://evil.example", "https://app.example.com.evil.example", "null"] {
                let refused = try await producer.send(
                    "GET", "/v2/Services", as: producer.backend, headers: [("Origin", origin)])
                #expect(refused.header("Access-Control-Allow-Origin") == nil)
            }
        }
    }

    @Test("a connection that says nothing, and one whose body stands still, are closed; others are served meanwhile")
    func slow() async throws {
        try await ProducerHarness.run(adjust: {
            $0.http.edge.headDeadline = .milliseconds(300)
            $0.http.edge.bodyDeadline = .milliseconds(300)
        }) { producer in
            let port = try #require(URL(string: producer.base)?.port)
            async let silent: Void = Self.untilClosed(port: port, sending: "")
            async let halfHead: Void = Self.untilClosed(
                port: port, sending: "GET /v2/Services HTTP/1.1\r\nHost: x\r\nX-A: ")
            async let halfBody: Void = Self.untilClosed(
                port: port,
                sending: "POST /v2/Services HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n"
                    + "Content-Type: application/x-www-form-urlencoded\r\n\r\nFriendlyName=")
            #expect(try await producer.get("/v2/Services", as: producer.backend).status == 200)
            _ = try await (silent, halfHead, halfBody)
        }
    }

    @Test("a thousand idle connections hinder nobody, and more than the limit are not taken")
    func idle() async throws {
        try await ProducerHarness.run(adjust: { $0.http.edge.headDeadline = .seconds(3) }) { producer in
            let port = try #require(URL(string: producer.base)?.port)
            var idle: [any Channel] = []
            for _ in 0..<1000 {
                idle.append(try await Self.connect(port: port))
            }
            for _ in 0..<20 {
                #expect(try await producer.get("/v2/Services", as: producer.backend).status == 200)
            }
            for channel in idle { try await channel.closeFuture.get() }
        }
    }

    @Test(
        "a renewed certificate is used without a restart; a pair that does not fit changes nothing",
        arguments: [Duration.milliseconds(50), nil])
    func certificate(interval: Duration?) async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "beckon-tls-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let (certificate, key) = (folder.appending(path: "cert.pem").path, folder.appending(path: "key.pem").path)
        try Self.makeCertificate(certificate, key)
        let files = TLSFiles(certificateChain: certificate, privateKey: key)
        try await ProducerHarness.run(adjust: {
            $0.tls = files
            // Without an interval, as at SIGHUP.
            $0.certificateInterval = interval ?? .seconds(3600)
        }) { producer in
            #expect(try await Self.status(producer, trusting: certificate) == 200)
            let former = folder.appending(path: "former.pem").path
            try FileManager.default.copyItem(atPath: certificate, toPath: former)
            let (newCertificate, newKey) = (
                folder.appending(path: "c2.pem").path, folder.appending(path: "k2.pem").path
            )
            try Self.makeCertificate(newCertificate, newKey)
            // Half of a renewal: the new chain beside the old key.
            try Data(contentsOf: URL(filePath: newCertificate)).write(to: URL(filePath: certificate))
            if interval == nil { await producer.service.reloadCertificates() }
            #expect(try await Self.status(producer, trusting: former) == 200)
            try Data(contentsOf: URL(filePath: newKey)).write(to: URL(filePath: key))
            if interval == nil { await producer.service.reloadCertificates() }
            try await becomesTrue("the new certificate") {
                (try? await Self.status(producer, trusting: newCertificate)) == 200
            }
            await #expect(throws: (any Error).self) { try await Self.status(producer, trusting: former) }
        }
    }

    @Test(
        "what is no HTTP gets a JSON body, and the connection is closed",
        arguments: [
            ("HELO example.com\r\n\r\n", 400, 20400), ("GET / HTTP/9.9\r\n\r\n", 400, 20400),
            ("GET / HTTP/1.1\r\nHost: a\r\nBad Header: b\r\n\r\n", 400, 20400),
            ("POST /v2/Receipts HTTP/1.1\r\nHost: a\r\nContent-Length: abc\r\n\r\n", 400, 20400),
            ("POST /v2/Receipts HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, 20400),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: \(String(repeating: "a", count: 40_000))\r\n\r\n", 431, 20431),
        ])
    func malformed(sent: String, status: Int, code: Int) async throws {
        try await ProducerHarness.run { producer in
            let text = try await Self.reply(port: try #require(URL(string: producer.base)?.port), to: sent)
            let parts = text.components(separatedBy: "\r\n\r\n")
            #expect(parts.count == 2 && parts[0].hasPrefix("HTTP/1.1 \(status) "), "\(text)")
            let head = parts[0].lowercased()
            #expect(head.contains("connection: close") && head.contains("content-type: application/json"))
            #expect(head.contains("date: ") && head.contains("gmt") && head.contains("twilio-request-id: rq"))
            let body = try JSONParser.parse(parts.last ?? "")
            #expect(body["code"]?.integerValue == Int64(code) && body["status"]?.integerValue == Int64(status))
            #expect(head.contains("content-length: \(parts.last?.utf8.count ?? 0)"))
        }
    }

    /// Everything that comes back until the server closes.
    private static func reply(port: Int, to text: String) async throws -> String {
        let channel = try await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .connect(host: "127.0.0.1", port: port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                }
            }
        return try await channel.executeThenClose { inbound, outbound in
            try await outbound.write(ByteBuffer(string: text))
            var received = ByteBuffer()
            // A reset behind the reply is an end too: what was not read of the request.
            do { for try await part in inbound { received.writeImmutableBuffer(part) } } catch {}
            return String(buffer: received)
        }
    }

    private static func status(_ producer: ProducerHarness, trusting root: String) async throws -> Int {
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.trustRoots = .file(root)
        let client = HTTPClient(configuration: .init(tlsConfiguration: tls))
        do {
            let answer = try await producer.send("GET", "/v2/Services", as: producer.backend, client: client)
            try await client.shutdown()
            return answer.status
        } catch {
            try await client.shutdown()
            throw error
        }
    }

    private static func makeCertificate(_ certificate: String, _ key: String) throws {
        let openssl = Process()
        openssl.executableURL = URL(filePath: "/usr/bin/openssl")
        openssl.arguments = [
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj",
            "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate,
        ]
        openssl.standardError = FileHandle.nullDevice
        try openssl.run()
        openssl.waitUntilExit()
    }

    private static func connect(port: Int) async throws -> any Channel {
        try await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup).connect(host: "127.0.0.1", port: port)
            .get()
    }

    private static func untilClosed(port: Int, sending text: String) async throws {
        let channel = try await connect(port: port)
        if !text.isEmpty { try await channel.writeAndFlush(ByteBuffer(string: text)).get() }
        try await channel.closeFuture.get()
    }
}
