import ChallengeModel
import Challenges
import Crypto
import Wire

/// The contents of a record of `requests`. A pure value.
enum RequestReading: Sendable, Equatable {
    case create(NewChallenge)
    /// The request is well-formed but breaks a rule. The backend gets an event.
    case reject(RequestRejection)
    /// No backend can be told about it, so it goes to the dead letters.
    case deadLetter(reason: String, detail: String)

    /// - Parameters:
    ///   - account: the account that the topic is bound to.
    ///   - timestampMs: the record's timestamp, at which the lifetime starts. A timestamp that is missing or in the
    ///     future counts as now.
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
                try ChallengeRules.check(
                    Self.creation(
                        request, account: account, timestampMs: timestampMs, traceparent: traceparent, nowMs: nowMs),
                    nowMs: nowMs))
        } catch {
            let violation = error.ofRecord
            self = .reject(
                RequestRejection(
                    request, code: violation.code, reason: violation.description, parameter: violation.parameter))
        }
    }

    /// The keys whose requests must keep their order: the first of two requests with one id decides, and the second
    /// request of an action supersedes the first.
    var order: [String] {
        switch self {
        case .create(let new):
            let request = Self.order(service: new.service.rawValue, requestID: new.requestID ?? "")
            guard let actionKey = new.actionKey else { return [request] }
            return [request, "action \(new.service) \(StorePolicy.identityKey(new.identity)) \(actionKey)"]
        case .reject(let rejection):
            return [Self.order(service: rejection.service, requestID: rejection.requestID)]
        case .deadLetter: return []
        }
    }

    private static func order(service: String, requestID: String) -> String { "request \(service) \(requestID)" }

    /// Reads protobuf, or JSON, which has the same fields.
    private static func creation(
        _ request: ChallengeRequest, account: AccountSID, timestampMs: Int64, traceparent: String?, nowMs: Int64
    ) throws(RuleViolation) -> CreationRequest {
        var creation = CreationRequest(
            account: account, service: request.serviceSid, identity: try TextRules.identity(request.identity))
        creation.factor = request.factorSid.isEmpty ? nil : request.factorSid
        creation.message = request.message
        creation.fields = request.fields
        creation.hiddenDetails = .members(request.hiddenDetails)
        // The store refuses a lifetime that has already ended. Only the store knows whether this repeats a request that
        // created a challenge in time. Such a repeat must not be rejected.
        creation.expiry = .life(
            seconds: request.ttlSeconds, fromMs: timestampMs < 0 ? nowMs : min(timestampMs, nowMs))
        creation.fallbacks = request.fallbacks
        creation.redelivery = request.redelivery
        creation.requestID = request.requestID
        creation.actionKey = request.actionKey.isEmpty ? nil : request.actionKey
        creation.requiresNumber = request.numberMatching ? true : nil
        creation.numberDigits = request.numberDigits == 0 ? nil : Int(clamping: request.numberDigits)
        creation.requiresSession = request.requireSession ? true : nil
        creation.traceparent = traceparent
        return creation
    }
}

extension RuleViolation {
    /// The same violation with the name of the record's field.
    fileprivate var ofRecord: RuleViolation { renamed(ChallengeField(rawValue: parameter)?.recordField) }
}

/// The reason why a request created no challenge, for the event `request.rejected`.
struct RequestRejection: Error, Sendable, Equatable {
    let requestID: String
    /// The SID of the service. For a name that is not a SID, a value derived from it, so that the ids of two such
    /// callers do not collide.
    let service: String
    let code: ProblemCode
    let reason: String
    let parameter: String?
    let fallbacks: [String]

    init(_ request: ChallengeRequest, code: ProblemCode, reason: String, parameter: String? = nil) {
        requestID = request.requestID
        // The field can have any content, so a text that is not a SID is not repeated.
        service = ServiceSID(request.serviceSid)?.rawValue ?? Self.standIn(request.serviceSid)
        self.code = code
        self.reason = reason
        self.parameter = parameter
        fallbacks = (try? ChallengeRules.fallbacks(request.fallbacks)) ?? []
    }

    private static func standIn(_ name: String) -> String {
        "#" + Hexadecimal.encode(SHA256.hash(data: Array(name.utf8)).prefix(16))
    }

    /// - Parameter error: a refusal by the store.
    init(_ new: NewChallenge, error: StoreError) {
        let problem = Problem(error)
        let violation = problem.violation?.ofRecord
        requestID = new.requestID ?? ""
        service = new.service.rawValue
        code = problem.code
        reason = violation?.description ?? problem.message
        parameter = violation?.parameter
        switch error {
        case .noVerifiedFactor(let named): fallbacks = named
        case .limited(let refusal): fallbacks = refusal.fallbacks
        default: fallbacks = new.fallbacks
        }
    }

    /// The id of the event, the same for every redelivery of the record.
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
