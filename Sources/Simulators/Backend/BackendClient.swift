public import AsyncHTTPClient
public import DeviceKit
import Foundation
import Wire

/// A challenge as a backend asks for it. What is nil or empty is not sent.
public struct ChallengeDraft: Sendable {
    /// At most 256 characters.
    public var message: String
    public var fields: [DeviceChallenge.Field] = []
    public var hiddenDetails: [String: String] = [:]
    /// Nil: all verified devices of the identity.
    public var factorSID: String?
    /// Epoch milliseconds; sent with a precision of a second.
    public var expiresAtMs: Int64?
    public var fallbacks: [String] = []
    public var maxAttempts: Int?
    public var expectedLatencyMs: Int?
    /// `each` or `any`.
    public var confirm: String?
    /// Anything else, as form fields.
    public var more: [(name: String, value: String)] = []

    public init(message: String) { self.message = message }

    var form: [(name: String, value: String)] {
        var form: [(name: String, value: String)] = [("Details.Message", message)]
        for field in fields {
            let json = JSONValue.object([("label", .string(field.label)), ("value", .string(field.value))])
            form.append(("Details.Fields", json.text))
        }
        if !hiddenDetails.isEmpty {
            let members = hiddenDetails.sorted { $0.key < $1.key }.map {
                (name: $0.key, value: JSONValue.string($0.value))
            }
            form.append(("HiddenDetails", JSONValue.object(members).text))
        }
        if let factorSID { form.append(("FactorSid", factorSID)) }
        if let expiresAtMs {
            form.append(("ExpirationDate", Timestamp.rfc3339Seconds(expiresAtMs)))
        }
        for fallback in fallbacks { form.append(("Fallback", fallback)) }
        if let maxAttempts { form.append(("Redelivery.MaxAttempts", String(maxAttempts))) }
        if let expectedLatencyMs { form.append(("Redelivery.ExpectedLatency", String(expectedLatencyMs))) }
        if let confirm { form.append(("Redelivery.Confirm", confirm)) }
        return form + more
    }
}

/// A challenge as a backend reads it.
public struct BackendChallenge: Sendable, Hashable {
    /// `YC…`.
    public var sid: String
    /// `pending`, `approved`, `denied`, `expired`.
    public var status: String
    /// Who it is for, or who answered; nil while nobody has.
    public var factorSID: String?
    /// To be shown where the person signs in; nil: the approval needs none, or the challenge is over.
    public var number: String?
    /// The whole reply, JSON.
    public var json: String
}

/// A backend's calls of the HTTP API, as far as phones, tests and demonstrations need them.
///
/// Every call throws ``BackendError``, with status 0 when no answer came in time, or `CancellationError`.
public struct BackendClient: Sendable {
    /// The server's root without `/v2`.
    public let apiURL: String
    public let accountSID: String
    private let secret: String
    private let transport: HTTPClientTransport
    private let deadline: Duration

    /// - Parameters:
    ///   - authToken: the account's, or an API key's secret with its SID as `accountSID`.
    ///   - client: owned and shut down by who made it.
    ///   - deadline: of each call. By default long enough for a machine that is busy with other work.
    public init(
        apiURL: String, accountSID: String, authToken: String, client: HTTPClient, deadline: Duration = .seconds(60)
    ) {
        self.apiURL = apiURL.hasSuffix("/") ? String(apiURL.dropLast()) : apiURL
        self.accountSID = accountSID
        secret = authToken
        transport = HTTPClientTransport(client)
        self.deadline = deadline
    }

    /// Stores an APNs key. - Returns: `CR…`.
    public func createAPNsCredential(
        friendlyName: String, teamID: String, keyID: String, privateKeyPEM: String, sandbox: Bool = false
    ) async throws -> String {
        try await sid(
            of: call(
                "POST", "/v1/Credentials",
                form: [
                    ("FriendlyName", friendlyName), ("Type", "apn"), ("TeamId", teamID), ("KeyId", keyID),
                    ("PrivateKey", privateKeyPEM), ("Sandbox", "\(sandbox)"),
                ]))
    }

    /// Stores a service account. - Returns: `CR…`.
    public func createFCMCredential(friendlyName: String, serviceAccountJSON: String) async throws -> String {
        try await sid(
            of: call(
                "POST", "/v1/Credentials",
                form: [("FriendlyName", friendlyName), ("Type", "fcm"), ("ServiceAccount", serviceAccountJSON)]))
    }

    /// Stores an HMS app's secret. - Returns: `CR…`.
    public func createHMSCredential(friendlyName: String, appID: String, appSecret: String) async throws -> String {
        try await sid(
            of: call(
                "POST", "/v1/Credentials",
                form: [
                    ("FriendlyName", friendlyName), ("Type", "hms"), ("AppId", appID), ("AppSecret", appSecret),
                ]))
    }

    /// - Returns: `VA…`.
    public func createService(
        friendlyName: String, apnCredentialSID: String? = nil, fcmCredentialSID: String? = nil,
        more: [(name: String, value: String)] = []
    ) async throws -> String {
        var form: [(name: String, value: String)] = [("FriendlyName", friendlyName)]
        if let apnCredentialSID { form.append(("Push.ApnCredentialSid", apnCredentialSID)) }
        if let fcmCredentialSID { form.append(("Push.FcmCredentialSid", fcmCredentialSID)) }
        return try await sid(of: call("POST", "/v2/Services", form: form + more))
    }

    /// - Parameter ttl: 60 to 300 seconds.
    /// - Returns: the token that one device registers with.
    public func createAccessToken(
        serviceSID: String, identity: String, friendlyName: String? = nil, ttl: Int = 60
    ) async throws -> String {
        var form: [(name: String, value: String)] = [
            ("Identity", identity), ("FactorType", "push"), ("Ttl", String(ttl)),
        ]
        if let friendlyName { form.append(("FactorFriendlyName", friendlyName)) }
        let tree = try await call("POST", "/v2/Services/\(serviceSID)/AccessTokens", form: form).tree
        guard let token = tree["token"]?.stringValue else {
            throw BackendError(status: 201, code: 0, message: "the reply has no token")
        }
        return token
    }

    /// - Returns: what a person who is signed in to the app approves one challenge with.
    public func createSessionToken(
        serviceSID: String, identity: String, factorSID: String? = nil
    ) async throws -> String {
        var form: [(name: String, value: String)] = [("Identity", identity)]
        if let factorSID { form.append(("FactorSid", factorSID)) }
        let tree = try await call("POST", "/v2/Services/\(serviceSID)/SessionTokens", form: form).tree
        guard let token = tree["token"]?.stringValue else {
            throw BackendError(status: 201, code: 0, message: "the reply has no token")
        }
        return token
    }

    /// Ends a challenge that needs no answer any more.
    public func cancel(serviceSID: String, identity: String, challengeSID: String) async throws -> BackendChallenge {
        try challenge(
            try await call(
                "POST", challenges(serviceSID, identity) + "/\(challengeSID)", form: [("Status", "canceled")]))
    }

    /// - Parameter idempotencyKey: sent with every try of one creation, so that it is made once.
    public func createChallenge(
        serviceSID: String, identity: String, _ draft: ChallengeDraft, idempotencyKey: String? = nil
    ) async throws -> BackendChallenge {
        try challenge(
            try await call(
                "POST", challenges(serviceSID, identity), form: draft.form, idempotencyKey: idempotencyKey))
    }

    public func challenge(serviceSID: String, identity: String, sid: String) async throws -> BackendChallenge {
        try challenge(try await call("GET", challenges(serviceSID, identity) + "/\(sid)", form: nil))
    }

    /// Asks until the challenge is in one of `statuses`, every 50 ms.
    /// - Throws: ``SimulatorError`` with the last status when `deadline` has passed.
    public func challenge(
        serviceSID: String, identity: String, sid: String, until statuses: Set<String>, deadline: Duration
    ) async throws -> BackendChallenge {
        let end = ContinuousClock.now.advanced(by: deadline)
        while true {
            let now = try await challenge(serviceSID: serviceSID, identity: identity, sid: sid)
            if statuses.contains(now.status) { return now }
            guard ContinuousClock.now < end else {
                throw SimulatorError("challenge \(sid) is still \(now.status) after \(deadline)")
            }
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    /// Pushes again. - Returns: `NT…`.
    public func resend(serviceSID: String, identity: String, challengeSID: String) async throws -> String {
        try await sid(
            of: call("POST", challenges(serviceSID, identity) + "/\(challengeSID)/Notifications", form: []))
    }

    /// Any other call. - Returns: status and body of an answer below 300.
    public func request(
        _ method: String, path: String, form: [(name: String, value: String)]? = nil
    ) async throws -> (status: Int, body: String) {
        let reply = try await call(method, path, form: form)
        return (reply.status, String(decoding: reply.body, as: UTF8.self))
    }

    private func challenges(_ serviceSID: String, _ identity: String) -> String {
        "/v2/Services/\(serviceSID)/Entities/\(Percent.encode(identity))/Challenges"
    }

    private struct Reply {
        var status: Int
        var body: [UInt8]
        var tree: JSONValue
    }

    private func call(
        _ method: String, _ path: String, form: [(name: String, value: String)]?, idempotencyKey: String? = nil
    ) async throws -> Reply {
        let basic = Base64.encode("\(accountSID):\(secret)".utf8)
        let once = idempotencyKey.map { [("Idempotency-Key", $0)] } ?? []
        let response: DeviceResponse
        do {
            response = try await transport.send(
                DeviceRequest(
                    method: method, url: apiURL + path,
                    headers: [
                        ("Accept", "application/json"), ("Authorization", "Basic \(basic)"),
                        ("Content-Type", "application/x-www-form-urlencoded"),
                    ] + once, body: form.map { Form.encode($0) }), deadline: deadline)
        } catch let error as DeviceError {
            throw BackendError(status: 0, code: 0, message: error.description)
        }
        let tree = (try? JSONParser.parse(response.body, .reply)) ?? .null
        guard 200..<300 ~= response.status else {
            throw BackendError(
                status: response.status, code: Int(tree["code"]?.integerValue ?? 0),
                message: tree["message"]?.stringValue ?? "")
        }
        return Reply(status: response.status, body: response.body, tree: tree)
    }

    private func sid(of reply: Reply) throws -> String {
        guard let sid = reply.tree["sid"]?.stringValue else {
            throw BackendError(status: reply.status, code: 0, message: "the reply has no sid")
        }
        return sid
    }

    private func challenge(_ reply: Reply) throws -> BackendChallenge {
        guard let status = reply.tree["status"]?.stringValue else {
            throw BackendError(status: reply.status, code: 0, message: "the challenge has no status")
        }
        return BackendChallenge(
            sid: try sid(of: reply), status: status, factorSID: reply.tree["factor_sid"]?.stringValue,
            number: reply.tree["beckon"]?["number_matching"]?["number"]?.stringValue,
            json: String(decoding: reply.body, as: UTF8.self))
    }
}
