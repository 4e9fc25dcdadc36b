import DeviceKit
import Foundation
import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import Wire

/// The simulators' control port: HTTP/1.1 on loopback, JSON. It has no authentication and knows no real secret, so it
/// is for development only.
///
/// | request | does |
/// |---|---|
/// | `POST /credentials` | registers an APNs key, a service account or an HMS app; the body is a ``CredentialRegistration`` |
/// | `POST /keys/apn`, `/keys/fcm`, `/keys/hms` | hands out a fresh, registered APNs key (``APNsKey``), a service account's JSON, or an HMS app (``HMSAppSecret``) |
/// | `PUT`, `DELETE /receipts/{app id}` | where an HMS app's delivery receipts go (``HMSCallback``), with `*` every other app's; no longer |
/// | `GET`, `PUT /faults/{provider}` | reads, replaces ``ProviderFaults`` |
/// | `POST /connections/{provider}/goaway`, `…/cut` | GOAWAY on, or end of, all connections |
/// | `GET /counters` | ``PushCounters`` per provider |
/// | `GET /pushes?after=N&limit=N` | the log, a ``PushRecord`` a line |
/// | `PUT`, `DELETE /devices/{provider}/{token}` | registers (`?app=`), unregisters a push token |
/// | `GET /devices/{provider}/{token}/pushes?app=` | long-lived: a ``SimulatedPush`` a line as it comes; an empty line every 2 s |
/// | `POST /devices/hms/{token}/reports?message=&result=` | what the phone's system says became of a message |
struct SimulatorServer {
    let network: PushNetwork
    let providers: [SimulatedProvider: ProviderControl]
    let register: @Sendable (CredentialRegistration) throws -> Void
    let makeAPNsKey: @Sendable () throws -> APNsKey
    let makeServiceAccount: @Sendable () throws -> String
    let makeHMSApp: @Sendable () -> HMSAppSecret
    let setCallback: @Sendable (HMSCallback?, _ appID: String) -> Void

    /// What can be done to one provider.
    struct ProviderControl: Sendable {
        var injector: FaultInjector
        var listener: ProviderListener
    }

    private static let heartbeat = Duration.seconds(2)

    func router() -> Router<BasicRequestContext> {
        let router = Router()
        router.post("/credentials") { request, context in
            let body = try await request.body.collect(upTo: 65_536)
            do {
                try register(try JSONDecoder().decode(CredentialRegistration.self, from: Data(body.readableBytesView)))
            } catch {
                throw Self.badRequest(error)
            }
            return Response(status: .noContent)
        }
        router.post("/keys/apn") { _, _ in try Self.json(try makeAPNsKey()) }
        router.post("/keys/fcm") { _, _ in
            Response(
                status: .ok, headers: [.contentType: "application/json"],
                body: .init(byteBuffer: ByteBuffer(string: try makeServiceAccount())))
        }
        router.post("/keys/hms") { _, _ in try Self.json(makeHMSApp()) }
        router.put("/receipts/{app}") { request, context in
            let app = try context.parameters.require("app")
            let body = try await request.body.collect(upTo: 65_536)
            do {
                setCallback(try JSONDecoder().decode(HMSCallback.self, from: Data(body.readableBytesView)), app)
            } catch {
                throw Self.badRequest(error)
            }
            return Response(status: .noContent)
        }
        router.delete("/receipts/{app}") { _, context in
            setCallback(nil, try context.parameters.require("app"))
            return Response(status: .noContent)
        }
        router.get("/faults/{provider}") { _, context in
            try Self.json(try control(context).injector.faults)
        }
        router.put("/faults/{provider}") { request, context in
            let control = try control(context)
            let body = try await request.body.collect(upTo: 65_536)
            do {
                control.injector.set(try JSONDecoder().decode(ProviderFaults.self, from: Data(body.readableBytesView)))
            } catch {
                throw Self.badRequest(error)
            }
            return try Self.json(control.injector.faults)
        }
        router.post("/connections/{provider}/goaway") { _, context in
            try control(context).listener.goAway()
            return Response(status: .noContent)
        }
        router.post("/connections/{provider}/cut") { _, context in
            try control(context).listener.cut()
            return Response(status: .noContent)
        }
        router.get("/counters") { _, _ in
            try Self.json(
                Dictionary(
                    uniqueKeysWithValues: SimulatedProvider.allCases.map { ($0.rawValue, network.counters($0)) }))
        }
        router.get("/pushes") { request, _ in
            let after = request.uri.queryParameters["after"].flatMap { Int($0) }
            let limit = request.uri.queryParameters["limit"].flatMap { Int($0) } ?? 20_000
            var buffer = ByteBuffer()
            for record in network.log(after: after, limit: max(limit, 0)) { try Self.writeLine(record, &buffer) }
            return Response(status: .ok, headers: [.contentType: "application/jsonl"], body: .init(byteBuffer: buffer))
        }
        router.put("/devices/{provider}/{token}") { request, context in
            let (provider, token) = try device(context)
            let app = request.uri.queryParameters["app"].map(String.init) ?? ""
            do { try network.register(provider, token: token, appID: app) } catch { throw Self.badRequest(error) }
            return Response(status: .noContent)
        }
        router.delete("/devices/{provider}/{token}") { _, context in
            let (provider, token) = try device(context)
            try network.unregister(provider, token: token)
            return Response(status: .noContent)
        }
        router.get("/devices/{provider}/{token}/pushes") { request, context in
            let (provider, token) = try device(context)
            let app = request.uri.queryParameters["app"].map(String.init) ?? ""
            if case .unregistered = network.standing(provider, token) { throw HTTPError(.gone) }
            let pushes = try network.receive(provider, token: token, appID: app)
            return Response(
                status: .ok, headers: [.contentType: "application/jsonl"],
                body: ResponseBody(asyncSequence: Self.lines(of: pushes)))
        }
        router.post("/devices/{provider}/{token}/reports") { request, context in
            let (provider, token) = try device(context)
            let query = request.uri.queryParameters
            guard let message = query["message"].map(String.init), let result = query["result"].flatMap({ Int($0) })
            else { throw HTTPError(.badRequest, message: "message and result are required") }
            network.report(provider, token: token, messageID: message, result: result)
            return Response(status: .noContent)
        }
        return router
    }

    /// Pushes as lines, with heartbeats between: they show a client that left, because writing to it fails, and then
    /// the phone is offline.
    private static func lines(of pushes: AsyncStream<SimulatedPush>) -> AsyncStream<ByteBuffer> {
        let (lines, continuation) = AsyncStream.makeStream(
            of: ByteBuffer.self, bufferingPolicy: .bufferingOldest(PushNetwork.streamBound))
        // Lives as long as the lines are wanted: their end is its cancellation.
        let feeder = Task {
            await withTaskGroup(of: Void.self) { group in
                group.addTask {
                    for await push in pushes {
                        var buffer = ByteBuffer()
                        guard (try? writeLine(push, &buffer)) != nil else { continue }
                        continuation.yield(buffer)
                    }
                }
                group.addTask {
                    while !Task.isCancelled {
                        continuation.yield(ByteBuffer(string: "\n"))
                        try? await Task.sleep(for: heartbeat)
                    }
                }
                await group.next()
                group.cancelAll()
            }
            continuation.finish()
        }
        continuation.onTermination = { _ in feeder.cancel() }
        return lines
    }

    private func control(_ context: BasicRequestContext) throws -> ProviderControl {
        guard let control = providers[try provider(context)] else { throw HTTPError(.notFound) }
        return control
    }

    private func provider(_ context: BasicRequestContext) throws -> SimulatedProvider {
        guard let provider = SimulatedProvider(rawValue: try context.parameters.require("provider")) else {
            throw HTTPError(.notFound, message: "providers are apn, fcm and hms")
        }
        return provider
    }

    private func device(_ context: BasicRequestContext) throws -> (SimulatedProvider, String) {
        let provider = try provider(context)
        // FCM's tokens have a colon, which a client may escape.
        let raw = try context.parameters.require("token")
        let token = Percent.decode(raw.utf8, plusIsSpace: false) ?? raw
        guard 1...4096 ~= token.utf8.count else { throw HTTPError(.badRequest, message: "the token is too long") }
        return (provider, provider == .apn ? token.lowercased() : token)
    }

    private static func badRequest(_ error: any Error) -> HTTPError {
        if case DecodingError.dataCorrupted(let context)? = error as? DecodingError {
            return HTTPError(.badRequest, message: context.debugDescription)
        }
        return HTTPError(.badRequest, message: "\(error)")
    }

    private static func json(_ value: some Encodable) throws -> Response {
        return Response(
            status: .ok, headers: [.contentType: "application/json"],
            body: .init(byteBuffer: ByteBuffer(bytes: try JSONEncoder.line.encode(value))))
    }

    private static func writeLine(_ value: some Encodable, _ buffer: inout ByteBuffer) throws {
        buffer.writeBytes(try JSONEncoder().encode(value))
        buffer.writeInteger(UInt8(ascii: "\n"))
    }
}

/// A sender that the look-alikes are to know.
public enum CredentialRegistration: Sendable, Codable, Hashable {
    /// - `topics`: bundle ids that the key may push to; nil: all.
    case apn(teamID: String, keyID: String, publicKeyPEM: String, topics: [String]?)
    case fcm(projectID: String, clientEmail: String, publicKeyPEM: String)
    case hms(appID: String, appSecret: String)

    private enum CodingKeys: String, CodingKey {
        case provider
        case teamID = "team_id"
        case keyID = "key_id"
        case publicKeyPEM = "public_key"
        case topics
        case projectID = "project_id"
        case clientEmail = "client_email"
        case appID = "app_id"
        case appSecret = "app_secret"
    }

    /// `{"provider":"apn","team_id","key_id","public_key","topics"?}`,
    /// `{"provider":"fcm","project_id","client_email","public_key"}` or `{"provider":"hms","app_id","app_secret"}`.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        switch try container.decode(SimulatedProvider.self, forKey: .provider) {
        case .apn:
            self = .apn(
                teamID: try container.decode(String.self, forKey: .teamID),
                keyID: try container.decode(String.self, forKey: .keyID),
                publicKeyPEM: try container.decode(String.self, forKey: .publicKeyPEM),
                topics: try container.decodeIfPresent([String].self, forKey: .topics))
        case .fcm:
            self = .fcm(
                projectID: try container.decode(String.self, forKey: .projectID),
                clientEmail: try container.decode(String.self, forKey: .clientEmail),
                publicKeyPEM: try container.decode(String.self, forKey: .publicKeyPEM))
        case .hms:
            self = .hms(
                appID: try container.decode(String.self, forKey: .appID),
                appSecret: try container.decode(String.self, forKey: .appSecret))
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        switch self {
        case .apn(let teamID, let keyID, let publicKeyPEM, let topics):
            try container.encode(SimulatedProvider.apn, forKey: .provider)
            try container.encode(teamID, forKey: .teamID)
            try container.encode(keyID, forKey: .keyID)
            try container.encode(publicKeyPEM, forKey: .publicKeyPEM)
            try container.encodeIfPresent(topics, forKey: .topics)
        case .fcm(let projectID, let clientEmail, let publicKeyPEM):
            try container.encode(SimulatedProvider.fcm, forKey: .provider)
            try container.encode(projectID, forKey: .projectID)
            try container.encode(clientEmail, forKey: .clientEmail)
            try container.encode(publicKeyPEM, forKey: .publicKeyPEM)
        case .hms(let appID, let appSecret):
            try container.encode(SimulatedProvider.hms, forKey: .provider)
            try container.encode(appID, forKey: .appID)
            try container.encode(appSecret, forKey: .appSecret)
        }
    }
}
