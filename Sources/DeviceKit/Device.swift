import Synchronization
import Wire

/// A registered device. It verifies itself, and fetches, answers and confirms challenges.
/// Every call signs a new token. After a `401` with a `Date`, the device uses the server's clock for its tokens and
/// sends the request once more, as the published SDKs do. Every call throws ``DeviceError``, `CancellationError` when
/// cancelled, or an error of the ``DeviceSigner``.
public final class Device: Sendable {
    /// The server.
    public let client: DeviceClient
    package let signer: any DeviceSigner
    private let state: Mutex<State>

    private struct State {
        var registration: DeviceRegistration
        /// The server's clock minus this device's clock.
        var correctionMs: Int64 = 0
    }

    init(client: DeviceClient, registration: DeviceRegistration, signer: any DeviceSigner) {
        self.client = client
        self.signer = signer
        state = Mutex(State(registration: registration))
    }

    /// The current registration. Store it again after ``verify()`` and
    /// ``updatePushToken(_:platform:notificationsEnabled:)``.
    public var registration: DeviceRegistration { state.withLock { $0.registration } }

    /// The server's clock minus this device's clock, in milliseconds, from the last `401`.
    public var clockCorrectionMs: Int64 { state.withLock { $0.correctionMs } }

    /// Proves that the device holds the key, by signing the factor's SID. The factor is verified afterwards.
    public func verify() async throws {
        let factorSID = registration.factorSID
        let signature = try signer.sign(Array(factorSID.utf8)).der
        let response = try await perform(
            "POST", path: factorPath, form: [("AuthPayload", Base64.encode(signature))])
        try DeviceClient.expectSuccess(response)
        guard let body = try? JSONParser.parse(response.body, .reply), let status = body["status"]?.stringValue else {
            throw DeviceError.malformedReply("the factor has no status")
        }
        guard status == "verified" else {
            throw DeviceError.malformedReply("the factor reads \(status) after it was verified")
        }
        state.withLock { $0.registration.isVerified = true }
    }

    /// Sends a new push token to the server. Apps call it whenever the system gives them a token.
    /// - Parameters:
    ///   - token: the new token; nil: no more pushes, the app polls.
    ///   - platform: the platform of the token; nil: unchanged.
    ///   - notificationsEnabled: whether the app may show notifications; nil: not sent.
    public func updatePushToken(
        _ token: String?, platform: PushPlatform? = nil, notificationsEnabled: Bool? = nil
    ) async throws {
        let now = registration
        let platform = token == nil ? PushPlatform.none : (platform ?? now.platform)
        var form: [(name: String, value: String)] = [
            ("FriendlyName", now.friendlyName), ("Config.AppId", now.appID), ("Config.SdkVersion", client.sdkVersion),
            ("Config.NotificationPlatform", platform.rawValue),
        ]
        if let token, platform != .none { form.append(("Config.NotificationToken", token)) }
        if let notificationsEnabled { form.append(("Config.NotificationsEnabled", "\(notificationsEnabled)")) }
        let factor = try FactorReply(try await perform("POST", path: factorPath, form: form))
        state.withLock {
            $0.registration.keyID = factor.keyID
            $0.registration.platform = platform
            $0.registration.pushToken = platform == .none ? nil : token
        }
    }

    /// Tells the server whether the app may show notifications. Apps check this at every start and report a change. The
    /// backend can then ask the person to turn notifications on.
    public func reportNotifications(enabled: Bool) async throws {
        _ = try FactorReply(
            try await perform("POST", path: factorPath, form: [("Config.NotificationsEnabled", "\(enabled)")]))
    }

    /// Deletes the factor. A factor that the server does not know (`404`, or `401` twice) counts as deleted. The app
    /// then erases the key and the registration.
    public func deleteFactor() async throws {
        let response = try await perform("DELETE", path: factorPath, form: nil)
        if response.status == 404 || response.status == 401 { return }
        try DeviceClient.expectSuccess(response)
    }

    private var factorPath: String {
        let now = registration
        return DeviceClient.factors(now.serviceSID, now.identity) + "/" + Percent.encode(now.factorSID)
    }

    var challengesPath: String {
        let now = registration
        return DeviceClient.challenges(now.serviceSID, now.identity)
    }

    /// Sends a request with a new token, and once more after a `401` that contains the server's time.
    package func perform(
        _ method: String, path: String, form: [(name: String, value: String)]?,
        headers: [(name: String, value: String)] = [], deadline: Duration? = nil
    ) async throws -> DeviceResponse {
        let response = try await client.send(
            method, path: path, password: try token(), form: form, headers: headers, deadline: deadline)
        guard response.status == 401, let date = response.header("Date"),
            let seconds = Timestamp.epochSeconds(httpDate: date)
        else { return response }
        state.withLock { $0.correctionMs = seconds * 1000 - client.nowMs() }
        return try await client.send(
            method, path: path, password: try token(), form: form, headers: headers, deadline: deadline)
    }

    private func token() throws -> String {
        let (registration, correction) = state.withLock { ($0.registration, $0.correctionMs) }
        return try DeviceJWT.authentication(
            keyID: registration.keyID, accountSID: registration.accountSID,
            nowSeconds: (client.nowMs() + correction) / 1000, signer: signer)
    }
}
