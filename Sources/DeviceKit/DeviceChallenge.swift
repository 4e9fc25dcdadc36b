import Wire

/// The status of a challenge.
public enum ChallengeStatus: String, Sendable, Codable, Hashable {
    /// Nobody has answered, and the challenge has not expired.
    case pending
    /// A device, or a one-time code, approved it.
    case approved
    /// A device denied it, or the third wrong number did.
    case denied
    /// It expired, was canceled, or was superseded by a newer challenge.
    case expired
}

/// A challenge as the server sent it.
public struct DeviceChallenge: Sendable, Hashable {
    /// A line below the message.
    public struct Field: Sendable, Hashable {
        /// The name of the value, 1 to 36 characters.
        public var label: String
        /// At most 128 characters.
        public var value: String

        /// - Parameters:
        ///   - label: see ``label``.
        ///   - value: see ``value``.
        public init(label: String, value: String) {
            self.label = label
            self.value = value
        }
    }

    /// `YC…`.
    public let sid: String
    /// `YF…`: the factor that the challenge is addressed to.
    public let factorSID: String
    /// The backend's name for the person.
    public let identity: String
    /// The status at the time of the reply.
    public let status: ChallengeStatus
    /// The text for the person, at most 256 characters.
    public let message: String
    /// The fields to show below the message, at most 20.
    public let fields: [Field]
    /// Details that the app does not show, but signs.
    public let hiddenDetails: [String: String]
    /// Time of creation in epoch milliseconds; nil when the server did not send it.
    public let createdAtMs: Int64?
    /// Epoch milliseconds.
    public let expiresAtMs: Int64
    /// Challenges that replace each other in one action have the same value, and an app shows only the newest. Nil: the
    /// challenge belongs to no action.
    public let actionID: String?
    /// Digits of the number that an approval needs; nil: no number.
    public let numberDigits: Int?
    /// Whether an approval needs the session token of a person who is signed in to the app.
    public let requiresSession: Bool
    /// The members that an answer signs, from the header `Twilio-Verify-Signature-Fields`. Empty in a list.
    public let signatureFields: [String]
    /// The challenge's own JSON, byte for byte.
    public let json: [UInt8]

    /// Reads one challenge.
    /// - Parameters:
    ///   - json: the object as the server sent it.
    ///   - signatureFields: the header's value, nil when it is missing.
    /// - Throws: ``DeviceError/malformedReply(_:)`` naming the field.
    public init(json: [UInt8], signatureFields: String?) throws {
        guard let tree = try? JSONParser.parse(json, .reply), tree.members != nil else {
            throw DeviceError.malformedReply("the challenge is not a JSON object")
        }
        func text(_ value: JSONValue?, _ name: String) throws -> String {
            guard let text = value?.stringValue else {
                throw DeviceError.malformedReply("the challenge has no \(name), which must be a string")
            }
            return text
        }
        sid = try text(tree["sid"], "sid")
        factorSID = try text(tree["factor_sid"], "factor_sid")
        identity = try text(tree["identity"], "identity")
        let word = try text(tree["status"], "status")
        guard let status = ChallengeStatus(rawValue: word) else {
            throw DeviceError.malformedReply("the challenge has an unknown status")
        }
        self.status = status
        message = try text(tree["details"]?["message"], "details.message")
        fields = try (tree["details"]?["fields"]?.elements ?? []).map {
            Field(
                label: try text($0["label"], "details.fields[].label"),
                value: try text($0["value"], "details.fields[].value"))
        }
        var hidden: [String: String] = [:]
        for member in tree["hidden_details"]?.members ?? [] {
            hidden[member.name] = try text(member.value, "hidden_details.\(member.name)")
        }
        hiddenDetails = hidden
        guard let expires = Timestamp.epochMs(try text(tree["expiration_date"], "expiration_date")) else {
            throw DeviceError.malformedReply("the challenge's expiration_date is not a time")
        }
        expiresAtMs = expires
        createdAtMs = tree["date_created"]?.stringValue.flatMap { Timestamp.epochMs($0) }
        let extensions = tree["beckon"]
        actionID = extensions?["action_id"]?.stringValue
        numberDigits = extensions?["number_digits"]?.integerValue.map { Int($0) }
        requiresSession = extensions?["require_session"] == .boolean(true)
        // The names are not trimmed: the server sends no spaces, and a name with a space would be another name.
        self.signatureFields = signatureFields.map { $0.split(separator: ",").map(String.init) } ?? []
        self.json = json
    }
}
