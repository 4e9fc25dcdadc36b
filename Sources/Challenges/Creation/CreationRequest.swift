package import ChallengeModel
import Wire

/// A request for a challenge before any rule was applied. The readers of forms and records create it.
/// ``ChallengeRules/check(_:nowMs:)`` makes a ``NewChallenge`` of it.
package struct CreationRequest: Sendable {
    package enum Expiry: Sendable {
        /// The default lifetime, from now.
        case unset
        /// An RFC 3339 time.
        case date(String)
        /// A lifetime in seconds (0: the default) that starts at `fromMs`, in epoch milliseconds, which is not in the
        /// future.
        case life(seconds: UInt32, fromMs: Int64)
    }

    package enum HiddenDetails: Sendable {
        case none
        /// JSON text of an object of strings.
        case json(String)
        case members([String: String])
    }

    package var account: AccountSID
    package var service: String
    package var identity: String
    /// The factor's SID. Nil: all devices of the identity.
    package var factor: String?
    package var message = ""
    package var fields: [DetailField] = []
    package var hiddenDetails = HiddenDetails.none
    package var expiry = Expiry.unset
    package var fallbacks: [String] = []
    /// Zeros: the defaults.
    package var redelivery = Redelivery()
    package var actionKey: String?
    package var requiresNumber: Bool?
    package var numberDigits: Int?
    package var requiresSession: Bool?
    package var requestID: String?
    package var traceparent: String?
    package var idempotency: IdempotencyKey?

    package init(account: AccountSID, service: String, identity: String) {
        self.account = account
        self.service = service
        self.identity = identity
    }
}

extension ChallengeRules {
    /// Applies the rules of a creation that need no store, in the order of their refusals. It does not check whether
    /// the expiry has passed: the store or ``expiry(_:nowMs:)`` does, because the repeat of a request that created a
    /// challenge in time is not refused.
    package static func check(_ request: CreationRequest, nowMs: Int64) throws(RuleViolation) -> NewChallenge {
        guard let service = ServiceSID(request.service) else {
            throw violation(.service, "VA and 32 hexadecimal digits")
        }
        var factor: FactorSID?
        if let text = request.factor {
            factor = FactorSID(text)
            guard factor != nil else {
                throw violation(.factor, "YF and 32 hexadecimal digits, or no value for all devices of the identity")
            }
        }
        // A one-time code needs no message, because nothing is pushed.
        let isCode = factor?.isCodeFactor == true
        let isWordless = isCode && request.message.isEmpty
        var new = NewChallenge(
            account: request.account, service: service, identity: request.identity, factor: factor,
            message: isWordless ? "" : try message(plain(request.message, .message, .lines)),
            expiresAtMs: try expiresAtMs(request.expiry, nowMs: nowMs))
        for field in request.fields {
            _ = try plain(field.label, .fields, .line)
            _ = try plain(field.value, .fields, .lines)
        }
        new.fields = try fields(request.fields)
        new.hiddenDetails = try hiddenDetails(request.hiddenDetails)
        new.requestID = request.requestID
        new.traceparent = request.traceparent
        new.idempotency = request.idempotency
        guard !isCode else { return new }
        new.fallbacks = try fallbacks(request.fallbacks)
        new.actionKey = try request.actionKey.map { text throws(RuleViolation) in
            try actionKey(plain(text, .actionKey, .line))
        }
        if let digits = request.numberDigits, !numberDigits.contains(digits) {
            throw violation(.numberDigits, "a whole number from 2 to 6")
        }
        new.requiresNumber = request.requiresNumber
        new.numberDigits = request.numberDigits
        new.requiresSession = request.requiresSession
        try completeNumber(&new)
        new.redelivery = try redelivery(request.redelivery)
        return new
    }

    private static func expiresAtMs(_ expiry: CreationRequest.Expiry, nowMs: Int64) throws(RuleViolation) -> Int64 {
        switch expiry {
        case .unset: return wholeSeconds(nowMs + defaultLifeMs)
        case .date(let text): return wholeSeconds(try expirationDate(text))
        case .life(let seconds, let fromMs):
            guard seconds <= maxLifeMs / 1000 else {
                throw violation(.expiration, "at most 3600 seconds; 0 means 300")
            }
            return wholeSeconds(fromMs + (seconds == 0 ? defaultLifeMs : Int64(seconds) * 1000))
        }
    }

    private static func hiddenDetails(_ details: CreationRequest.HiddenDetails) throws(RuleViolation) -> String? {
        switch details {
        case .none: return nil
        case .json(let text): return text.isEmpty ? nil : try hiddenDetails(text)
        case .members(let members):
            guard !members.isEmpty else { return nil }
            var written: [(name: String, value: JSONValue)] = []
            for (name, value) in members.sorted(by: { $0.key < $1.key }) {
                written.append(
                    (try plain(name, .hiddenDetails, .line), .string(try plain(value, .hiddenDetails, .lines))))
            }
            return try hiddenDetails(JSONValue.object(written).text)
        }
    }

    /// Returns the text when it contains no forbidden control character.
    private static func plain(
        _ text: String, _ field: ChallengeField, _ shape: PlainText.Shape
    ) throws(RuleViolation) -> String {
        if let expectation = PlainText.expectation(brokenBy: text, shape) { throw violation(field, expectation) }
        return text
    }
}
