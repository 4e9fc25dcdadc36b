import ChallengeModel
import Challenges
import Crypto
import Wire

/// What a record of `requests` asks for. Pure.
enum RequestReading: Sendable, Equatable {
    case create(NewChallenge)
    /// Well-formed, but against a rule: the backend is told by an event.
    case reject(RequestRejection)
    /// Nobody to tell, or nobody's to tell: to the dead letters.
    case deadLetter(reason: String, detail: String)

    /// - Parameters:
    ///   - account: the one that the topic is bound to.
    ///   - timestampMs: the record's, from which life counts; one that is missing or ahead of our clock counts as now.
    init(
        value: [UInt8], contentType: String?, timestampMs: Int64, traceparent: String?, account: AccountSID,
        nowMs: Int64
    ) {
        guard !value.isEmpty else {
            self = .deadLetter(reason: "empty", detail: "the value is empty; expected a ChallengeRequest")
            return
        }
        let request: ChallengeRequest
        do {
            request = try OutsideRecord.read(value, contentType: contentType, maps: ["hidden_details"])
        } catch {
            self = .deadLetter(reason: error.reason, detail: error.description)
            return
        }
        guard request.accountSid.isEmpty || AccountSID(request.accountSid) == account else {
            self = .deadLetter(
                reason: "account", detail: "account_sid is another than the one this topic is bound to")
            return
        }
        guard (1...64).contains(request.requestID.unicodeScalars.count) else {
            self = .deadLetter(reason: "field", detail: "request_id: expected 1 to 64 characters")
            return
        }
        if let expectation = PlainText.expectation(brokenBy: request.requestID, .line) {
            self = .deadLetter(reason: "field", detail: "request_id: expected \(expectation)")
            return
        }
        do {
            self = .create(
                try Self.challenge(
                    request, account: account, timestampMs: timestampMs, traceparent: traceparent, nowMs: nowMs))
        } catch let violation as RuleViolation {
            let violation = violation.ofRecord
            self = .reject(
                RequestRejection(
                    request, code: violation.code, reason: violation.description, parameter: violation.parameter))
        } catch {
            self = .deadLetter(reason: "field", detail: "the request cannot be read")
        }
    }

    /// What its order matters to: the first of two requests of one id decides, the second of one action supersedes.
    var order: [String] {
        switch self {
        case .create(let new):
            let request = Self.order(service: new.service.rawValue, requestID: new.requestID ?? "")
            guard let actionKey = new.actionKey else { return [request] }
            // Identities that differ in case only are one, as in the store.
            return [request, "action \(new.service) \(new.identity.lowercased()) \(actionKey)"]
        case .reject(let rejection):
            return [Self.order(service: rejection.service, requestID: rejection.requestID)]
        case .deadLetter: return []
        }
    }

    private static func order(service: String, requestID: String) -> String { "request \(service) \(requestID)" }

    private static func challenge(
        _ request: ChallengeRequest, account: AccountSID, timestampMs: Int64, traceparent: String?, nowMs: Int64
    ) throws -> NewChallenge {
        guard let service = ServiceSID(request.serviceSid) else {
            throw ChallengeRules.violation(.service, "VA and 32 hexadecimal digits")
        }
        let identity = try TextRules.identity(request.identity)
        var factor: FactorSID?
        if !request.factorSid.isEmpty {
            factor = FactorSID(request.factorSid)
            guard factor != nil else {
                throw ChallengeRules.violation(.factor, "YF and 32 hexadecimal digits, or nothing for all devices")
            }
        }
        let message = try ChallengeRules.message(plain(request.message, .message, .lines))
        guard request.ttlSeconds <= 3600 else {
            throw ChallengeRules.violation(.expiration, "at most 3600 seconds, 0 stands for 300")
        }
        let ttl = request.ttlSeconds == 0 ? 300 : Int64(request.ttlSeconds)
        let start = timestampMs < 0 ? nowMs : min(timestampMs, nowMs)
        // One that is over already is for the store to refuse: only it knows whether this is a repeat of a request that made a
        // challenge in time, and that must not be rejected after the fact.
        var new = NewChallenge(
            account: account, service: service, identity: identity, factor: factor, message: message,
            expiresAtMs: ChallengeRules.wholeSeconds(start + ttl * 1000))
        for field in request.fields {
            _ = try plain(field.label, .fields, .line)
            _ = try plain(field.value, .fields, .lines)
        }
        new.fields = try ChallengeRules.fields(request.fields)
        if !request.hiddenDetails.isEmpty {
            let members = try request.hiddenDetails.sorted { $0.key < $1.key }.map { name, value in
                (
                    name: try plain(name, .hiddenDetails, .line),
                    value: JSONValue.string(try plain(value, .hiddenDetails, .lines))
                )
            }
            new.hiddenDetails = try ChallengeRules.hiddenDetails(JSONValue.object(members).text)
        }
        new.fallbacks = try ChallengeRules.fallbacks(request.fallbacks)
        new.redelivery = try ChallengeRules.redelivery(request.redelivery)
        new.requestID = request.requestID
        if !request.actionKey.isEmpty {
            new.actionKey = try ChallengeRules.actionKey(plain(request.actionKey, .actionKey, .line))
        }
        if request.numberMatching { new.requiresNumber = true }
        if request.numberDigits != 0 {
            guard let digits = Int(exactly: request.numberDigits), ChallengeRules.numberDigits.contains(digits) else {
                throw ChallengeRules.violation(.numberDigits, "a whole number from 2 to 6")
            }
            new.numberDigits = digits
        }
        if request.requireSession { new.requiresSession = true }
        try ChallengeRules.completeNumber(&new)
        new.traceparent = traceparent
        return new
    }

    /// The text, when it holds no control character that nobody could mean.
    private static func plain(
        _ text: String, _ field: ChallengeField, _ shape: PlainText.Shape
    ) throws(RuleViolation) -> String {
        if let expectation = PlainText.expectation(brokenBy: text, shape) {
            throw ChallengeRules.violation(field, expectation)
        }
        return text
    }
}

extension RuleViolation {
    /// The same of a record, by its field's name.
    fileprivate var ofRecord: RuleViolation { renamed(ChallengeField(rawValue: parameter)?.recordField) }
}

/// Why a request made no challenge, as `request.rejected` tells it.
struct RequestRejection: Error, Sendable, Equatable {
    let requestID: String
    /// Its SID; for a name that is none what stands for it, so that the ids of two such callers do not meet.
    let service: String
    let code: APICode
    let reason: String
    let parameter: String?
    let fallbacks: [String]

    init(_ request: ChallengeRequest, code: APICode, reason: String, parameter: String? = nil) {
        requestID = request.requestID
        // A field of any content: what is no SID is not repeated.
        service = ServiceSID(request.serviceSid)?.rawValue ?? Self.standIn(request.serviceSid)
        self.code = code
        self.reason = reason
        self.parameter = parameter
        fallbacks = (try? ChallengeRules.fallbacks(request.fallbacks)) ?? []
    }

    private static func standIn(_ name: String) -> String {
        "#" + Hexadecimal.encode(SHA256.hash(data: Array(name.utf8)).prefix(16))
    }

    /// - Parameter error: a refusal of the store's.
    init(_ new: NewChallenge, error: StoreError) {
        let violation: RuleViolation? =
            switch error {
            case .factorRequired: .factorRequired
            case .loosened(let rule): rule.violation
            default: nil
            }
        let told = APIError(error)
        requestID = new.requestID ?? ""
        service = new.service.rawValue
        code = told.code
        reason = violation?.ofRecord.description ?? told.message
        parameter = violation?.ofRecord.parameter
        switch error {
        case .noVerifiedFactor(let named): fallbacks = named
        case .limited(let refusal): fallbacks = refusal.fallbacks
        default: fallbacks = new.fallbacks
        }
    }

    /// The same for every redelivery of the record.
    func eventID(account: AccountSID) -> String {
        "\(account)/\(service)/\(requestID)/\(EventType.requestRejected.rawValue)"
    }

    var data: [String: EventValue] {
        var data: [String: EventValue] = [
            "request_id": .string(requestID), "code": .integer(Int64(code.rawValue)), "reason": .string(reason),
            "fallbacks": .list(fallbacks.map { .string($0) }),
        ]
        if let parameter { data["parameter"] = .string(parameter) }
        return data
    }
}
