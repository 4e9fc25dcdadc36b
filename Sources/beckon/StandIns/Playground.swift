import AsyncHTTPClient
import DeviceKit
import Foundation
import NIOCore
import NIOHTTP1
import Simulators

/// A service for simulated phones, with credentials that the provider simulators know.
struct Playground: Sendable {
    let backend: BackendClient
    let serviceSID: String
    let pool: PhonePool

    /// - Parameters:
    ///   - serviceSID: nil: a new service is created, with credentials from the simulator.
    ///   - control: the simulator's control address.
    init(
        backend: BackendClient, devices: DeviceClient, serviceSID: String? = nil, control: String,
        reception: any PushReception, client: HTTPClient
    ) async throws {
        self.backend = backend
        if let serviceSID {
            self.serviceSID = serviceSID
        } else {
            let key = try JSONDecoder().decode(APNsKey.self, from: try await Self.post(control + "/keys/apn", client))
            let account = String(decoding: try await Self.post(control + "/keys/fcm", client), as: UTF8.self)
            let app = try JSONDecoder().decode(
                HMSAppSecret.self, from: try await Self.post(control + "/keys/hms", client))
            self.serviceSID = try await backend.createService(
                friendlyName: "Playground",
                apnCredentialSID: try await backend.createAPNsCredential(
                    friendlyName: "Simulated APNs", teamID: key.teamID, keyID: key.keyID,
                    privateKeyPEM: key.privateKeyPEM),
                fcmCredentialSID: try await backend.createFCMCredential(
                    friendlyName: "Simulated FCM", serviceAccountJSON: account),
                more: [
                    // These phones confirm: also the first push to one of them is repeated when it is lost.
                    ("Push.Redelivery.MaxAttempts", "4"),
                    (
                        "Push.HmsCredentialSid",
                        try await backend.createHMSCredential(
                            friendlyName: "Simulated HMS", appID: app.appID, appSecret: app.appSecret)
                    ),
                ])
        }
        pool = PhonePool(backend: backend, devices: devices, reception: reception)
    }

    static func post(_ url: String, _ client: HTTPClient) async throws -> Data {
        var request = HTTPClientRequest(url: url)
        request.method = .POST
        let response = try await client.execute(request, timeout: .seconds(60))
        let body = try await response.body.collect(upTo: 65_536)
        guard response.status == .ok else {
            throw SimulatorError("the simulator answered \(response.status.code) to POST \(url)")
        }
        return Data(body.readableBytesView)
    }
}

/// An HTTP client for many long-lived connections: each phone of another process holds one.
func manyConnectionsClient(_ connections: Int) -> HTTPClient {
    var configuration = HTTPClient.Configuration()
    configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = connections
    return HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
}
