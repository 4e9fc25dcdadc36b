import Synchronization

/// The settings of a service for its challenges and devices that the original API does not have. Every setting has a
/// default. With all defaults, the service behaves like the original API.
public struct ServicePolicy: Sendable, Hashable {
    /// The result when a person enrols more than ``maxFactors`` devices.
    public enum WhenFull: String, Sendable, Hashable, Codable {
        /// The enrolment is refused with 60315.
        case refuse
        /// The oldest push factor is deleted when the new one is verified.
        case replaceOldest = "replace-oldest"
    }

    /// The time at which a factor with a dead push token is deleted.
    public enum UnreachableFactors: String, Sendable, Hashable, Codable {
        /// 30 days after its last signed request.
        case after30Days = "after-30-days"
        case atOnce = "at-once"
        case never
    }

    /// Whether a challenge may be addressed to all devices of a person.
    public var isFanOutAllowed = true
    /// Whether an approval needs the number that the backend shows.
    public var requiresNumber = false
    /// Digits of the number, 2 to 6.
    public var numberDigits = 2
    /// Whether an approval needs a session token.
    public var requiresSession = false
    /// Maximum number of dispatches that a provider accepts, including the first, 1 to 10; nil: 4.
    public var maxAttempts: Int?
    /// Time from the provider's acceptance to the next attempt, 500 to 60,000 ms; nil: 8,000.
    public var expectedLatencyMs: Int?
    /// Whether the latency is learned instead.
    public var isLatencyAdaptive = false
    /// Whether the receipt of one device ends redelivery to all devices.
    public var confirmsByAny = false
    /// Fall-backs in order of preference, for the event when pushing cannot help.
    public var fallbacks: [String] = []
    /// Push factors per person, 1 to 20.
    public var maxFactors = 20
    public var whenFull = WhenFull.refuse
    public var unreachableFactors = UnreachableFactors.after30Days

    public init() {}

    /// The change of one setting. It is applied in the transaction that reads the other settings.
    public enum Change: Sendable, Hashable {
        case fanOut(Bool)
        case numberRequired(Bool)
        case numberDigits(Int)
        case sessionRequired(Bool)
        case maxAttempts(Int?)
        case expectedLatency(Int?, isAdaptive: Bool)
        case confirmsByAny(Bool)
        case fallbacks([String])
        case maxFactors(Int)
        case whenFull(WhenFull)
        case unreachableFactors(UnreachableFactors)
    }

    public mutating func apply(_ change: Change) {
        switch change {
        case .fanOut(let isAllowed): isFanOutAllowed = isAllowed
        case .numberRequired(let isRequired): requiresNumber = isRequired
        case .numberDigits(let digits): numberDigits = digits
        case .sessionRequired(let isRequired): requiresSession = isRequired
        case .maxAttempts(let attempts): maxAttempts = attempts
        case .expectedLatency(let latencyMs, let isAdaptive):
            expectedLatencyMs = latencyMs
            isLatencyAdaptive = isAdaptive
        case .confirmsByAny(let isAny): confirmsByAny = isAny
        case .fallbacks(let names): fallbacks = names
        case .maxFactors(let count): maxFactors = count
        case .whenFull(let choice): whenFull = choice
        case .unreachableFactors(let choice): unreachableFactors = choice
        }
    }
}

extension ServicePolicy: Codable {
    private enum CodingKeys: String, CodingKey {
        case isFanOutAllowed = "fan_out"
        case requiresNumber = "number_required"
        case numberDigits = "number_digits"
        case requiresSession = "session_required"
        case maxAttempts = "max_attempts"
        case expectedLatencyMs = "expected_latency_ms"
        case isLatencyAdaptive = "adaptive"
        case confirmsByAny = "confirm_any"
        case fallbacks
        case maxFactors = "max_factors"
        case whenFull = "when_full"
        case unreachableFactors = "unreachable_factors"
    }

    /// A missing setting gets its default, because the policy may have been stored before the setting existed.
    public init(from decoder: any Decoder) throws {
        self.init()
        let values = try decoder.container(keyedBy: CodingKeys.self)
        func read<Value: Decodable>(_ key: CodingKeys, _ setting: inout Value) throws {
            if let value = try values.decodeIfPresent(Value.self, forKey: key) { setting = value }
        }
        try read(.isFanOutAllowed, &isFanOutAllowed)
        try read(.requiresNumber, &requiresNumber)
        try read(.numberDigits, &numberDigits)
        try read(.requiresSession, &requiresSession)
        try read(.maxAttempts, &maxAttempts)
        try read(.expectedLatencyMs, &expectedLatencyMs)
        try read(.isLatencyAdaptive, &isLatencyAdaptive)
        try read(.confirmsByAny, &confirmsByAny)
        try read(.fallbacks, &fallbacks)
        try read(.maxFactors, &maxFactors)
        try read(.whenFull, &whenFull)
        try read(.unreachableFactors, &unreachableFactors)
    }
}
