import Wire

/// The Beckon server for devices. It creates ``Device``s, and confirms pushes with their receipt tokens. Confirming needs
/// no key, so a notification extension can do it.
///
/// ```swift
/// let server = DeviceClient(apiURL: "https://verify.example.com", transport: HTTPClientTransport(.shared))
/// let key = SoftwareKey()
/// let device = try await server.register(accessToken: token, enrolment: enrolment, signer: key)
/// try await device.verify()
/// // Keep device.registration and, in the keychain, the key; later: server.device(registration, signer: key).
///
/// // When a push arrives, in the app or its notification extension:
/// let push = try PushMessage(values: strings)
/// guard !push.isExpired(nowMs: now) else { return }
/// if let token = push.receiptToken {
///     try await server.confirm(receiptToken: token, channel: .visible, shown: .yes)
/// }
/// let challenge = try await device.challenge(push.challengeSID)
/// // Show challenge.message and challenge.fields; then, as the person says:
/// try await device.answer(challenge, approved: true)
/// ```
public struct DeviceClient: Sendable {
    /// The server's root without `/v2`, such as `https://verify.example.com`.
    public let apiURL: String
    /// Deadline of each request, from the call to the last byte of its reply.
    public let deadline: Duration
    /// Sent as `Config.SdkVersion`.
    public let sdkVersion: String
    let userAgent: String
    let transport: any DeviceTransport
    package let nowMs: @Sendable () -> Int64

    /// - Parameters:
    ///   - apiURL: the server's root without `/v2`, with or without a slash at its end.
    ///   - transport: sends the requests, for example ``HTTPClientTransport``.
    ///   - deadline: deadline of each request. A call may send up to four requests.
    ///   - sdkVersion: sent as `Config.SdkVersion`; use the version of your app.
    ///   - userAgent: the user agent in the form of the SDKs: app, system, model, versions.
    ///   - nowMs: the device's clock in epoch milliseconds. It may be wrong, because a `401` with a `Date` corrects it.
    public init(
        apiURL: String, transport: any DeviceTransport, deadline: Duration = .seconds(10),
        sdkVersion: String = "1.0.0", userAgent: String = "DeviceKit; 1.0.0",
        nowMs: @escaping @Sendable () -> Int64 = DeviceClient.systemClockMs
    ) {
        self.apiURL = apiURL.hasSuffix("/") ? String(apiURL.dropLast()) : apiURL
        self.transport = transport
        self.deadline = deadline
        self.sdkVersion = sdkVersion
        self.userAgent = userAgent
        self.nowMs = nowMs
    }

    /// The system's clock, epoch milliseconds.
    @Sendable public static func systemClockMs() -> Int64 { Timestamp.nowMs() }

    /// Creates this device's factor. It is unverified until ``Device/verify()``.
    /// - Parameters:
    ///   - accessToken: from the app's backend; valid for 60 to 300 seconds, for one identity.
    ///   - enrolment: the values to register.
    ///   - signer: the device's key; its public half becomes the factor's.
    /// - Throws: ``DeviceError``: `refused` with 60313 for an invalid or expired access token, 60306 or 60314 for
    ///   invalid values of ``Enrolment``, 60315 when the identity has too many factors. The request is not sent again
    ///   after a `401`.
    public func register(
        accessToken: String, enrolment: Enrolment, signer: any DeviceSigner
    ) async throws -> Device {
        let response = try await send(
            "POST", path: Self.factors(enrolment.serviceSID, enrolment.identity), password: accessToken,
            form: enrolment.form(publicKeyDER: signer.publicKeyDER, sdkVersion: sdkVersion))
        let factor = try FactorReply(response)
        return device(
            DeviceRegistration(
                factorSID: factor.sid, accountSID: factor.accountSID, serviceSID: enrolment.serviceSID,
                identity: enrolment.identity, keyID: factor.keyID, friendlyName: enrolment.friendlyName,
                appID: enrolment.appID, platform: enrolment.pushToken == nil ? .none : enrolment.platform,
                pushToken: enrolment.platform == .none ? nil : enrolment.pushToken,
                isVerified: factor.status == "verified"),
            signer: signer)
    }

    /// A device that was registered before.
    public func device(_ registration: DeviceRegistration, signer: any DeviceSigner) -> Device {
        Device(client: self, registration: registration, signer: signer)
    }

    /// Confirms that a push arrived, with the push's receipt token. The call may be repeated. It is sent up to three
    /// times when no reply comes, because a challenge that no device has confirmed is pushed again.
    /// - Parameters:
    ///   - receiptToken: ``PushMessage/receiptToken``.
    ///   - channel: the way in which the push arrived.
    ///   - shown: whether the person can see the notification.
    /// - Throws: ``DeviceError``: `refused` with 401 for a token that is invalid or too old.
    public func confirm(receiptToken: String, channel: ReceiptChannel, shown: ReceiptShown) async throws {
        try await retryingTransient { [self] in
            let response = try await send(
                "POST", path: "/v2/Receipts", password: nil,
                form: [("ReceiptToken", receiptToken)] + Self.receipt(channel: channel, shown: shown, nowMs: nowMs()))
            try Self.expectSuccess(response)
        }
    }

    static func receipt(
        channel: ReceiptChannel, shown: ReceiptShown, nowMs: Int64
    ) -> [(name: String, value: String)] {
        [("Channel", channel.rawValue), ("Shown", shown.rawValue), ("DeviceTime", String(nowMs))]
    }

    static func factors(_ serviceSID: String, _ identity: String) -> String {
        "/v2/Services/\(Percent.encode(serviceSID))/Entities/\(Percent.encode(identity))/Factors"
    }

    static func challenges(_ serviceSID: String, _ identity: String) -> String {
        "/v2/Services/\(Percent.encode(serviceSID))/Entities/\(Percent.encode(identity))/Challenges"
    }

    /// Sends one request. The user name of HTTP Basic is `token`, as in the published SDKs.
    func send(
        _ method: String, path: String, password: String?, form: [(name: String, value: String)]?,
        headers more: [(name: String, value: String)] = [], deadline: Duration? = nil
    ) async throws -> DeviceResponse {
        var headers: [(name: String, value: String)] = [
            // The SDKs send this type with GET too. Servers always reply with JSON.
            ("Accept", method == "GET" ? "application/x-www-form-urlencoded" : "application/json"),
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("User-Agent", userAgent),
        ]
        if let password {
            headers.append(("Authorization", "Basic " + Base64.encode("token:\(password)".utf8)))
        }
        headers += more
        return try await transport.send(
            DeviceRequest(
                method: method, url: apiURL + path, headers: headers, body: form.map { Form.encode($0) }),
            deadline: deadline ?? self.deadline)
    }

    /// Throws the server's refusal unless the status is below 300.
    static func expectSuccess(_ response: DeviceResponse) throws {
        guard response.status >= 300 || response.status < 200 else { return }
        let body = try? JSONParser.parse(response.body, .reply)
        throw DeviceError.refused(
            ServerRefusal(
                status: response.status, code: Int(body?["code"]?.integerValue ?? 0),
                message: body?["message"]?.stringValue ?? ""))
    }

    /// Up to three tries, 200 and 600 ms apart.
    func retryingTransient(_ body: () async throws -> Void) async throws {
        for pause in [200, 600] {
            do {
                return try await body()
            } catch let error as DeviceError where error.isTransient {
                try await Task.sleep(for: .milliseconds(pause))
            }
        }
        try await body()
    }
}

/// The members of a factor in a reply that the device needs.
struct FactorReply {
    var sid: String
    var accountSID: String
    var keyID: String
    var status: String

    init(_ response: DeviceResponse) throws {
        try DeviceClient.expectSuccess(response)
        guard let body = try? JSONParser.parse(response.body, .reply) else {
            throw DeviceError.malformedReply("the factor is not JSON")
        }
        func text(_ value: JSONValue?, _ name: String) throws -> String {
            guard let text = value?.stringValue else {
                throw DeviceError.malformedReply("the factor has no \(name), which must be a string")
            }
            return text
        }
        sid = try text(body["sid"], "sid")
        accountSID = try text(body["account_sid"], "account_sid")
        keyID = try text(body["config"]?["credential_sid"], "config.credential_sid")
        status = try text(body["status"], "status")
    }
}
