/// The injected faults of a provider. All are off by default. Shares are 0 to 1.
public struct ProviderFaults: Sendable, Codable, Hashable {
    /// Share of requests that are refused with ``errorReason`` before they are checked.
    public var errorShare = 0.0
    /// The provider's own reason: `InternalServerError`, `TooManyRequests`, …; `INTERNAL`, `UNAVAILABLE`, …;
    /// `80300007`, `503`, …. Empty: the provider's reason for an internal error.
    public var errorReason = ""
    /// `Retry-After` in errors and outages, in seconds; 0: none.
    public var retryAfterSeconds = 0
    /// Delay of every answer in milliseconds.
    public var latencyMs = 0
    /// Maximum additional delay, evenly distributed.
    public var latencyJitterMs = 0
    /// Share of answers that take ``latencyTailMs`` more: the slow ones of a real distribution.
    public var latencyTailShare = 0.0
    public var latencyTailMs = 0
    /// Share of requests that never get an answer; their streams stay open until the client resets them.
    public var neverAnswerShare = 0.0
    /// True: requests without an answer are delivered anyway.
    public var neverAnswerDelivers = false
    /// Share of requests that are accepted and never reach the phone.
    public var dropShare = 0.0
    /// Share of requests whose stream is reset instead of answered.
    public var resetShare = 0.0
    /// Each connection gets a GOAWAY after this number of streams; 0: never. Streams up to then are answered, later
    /// ones are ignored.
    public var goAwayEveryStreams = 0
    /// Each connection is closed without notice after this number of streams; 0: never.
    public var cutEveryStreams = 0
    /// New connections are closed before TLS.
    public var refusesConnections = false
    /// New connections: delay before TLS begins, in milliseconds.
    public var slowTLSMs = 0
    /// New connections: MAX_CONCURRENT_STREAMS; 0: as configured.
    public var maxStreams = 0
    /// New connections: bytes of a stream's window, widened as they are read; 0: HTTP/2's 65,535.
    public var streamWindow = 0
    /// New connections: delay before the window is widened, in milliseconds.
    public var windowDelayMs = 0
    /// Every push from now on is answered with 503 for this time, in milliseconds.
    public var unavailableForMs: Int64 = 0
    /// How far the clock of FCM or HMS is ahead, as `Date` of an answer to HEAD shows it, in seconds.
    public var clockAheadSeconds = 0
    /// The token endpoint of FCM or HMS answers 503 instead of granting.
    public var tokenEndpointFails = false

    public init() {}

    private enum CodingKeys: String, CodingKey, CaseIterable {
        case errorShare, errorReason, retryAfterSeconds, latencyMs, latencyJitterMs, neverAnswerShare
        case neverAnswerDelivers, dropShare, resetShare, goAwayEveryStreams, cutEveryStreams, unavailableForMs
        case tokenEndpointFails, latencyTailShare, latencyTailMs, refusesConnections, slowTLSMs, maxStreams,
            streamWindow
        case windowDelayMs, clockAheadSeconds
    }

    private struct AnyKey: CodingKey {
        var stringValue: String
        var intValue: Int? { nil }
        init?(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }

    /// Missing names mean "off"; unknown names and values out of range are errors that say so.
    public init(from decoder: any Decoder) throws {
        let names = try decoder.container(keyedBy: AnyKey.self)
        for key in names.allKeys where CodingKeys(rawValue: key.stringValue) == nil {
            throw DecodingError.dataCorruptedError(
                forKey: key, in: names,
                debugDescription:
                    "unknown fault; known are \(CodingKeys.allCases.map(\.rawValue).joined(separator: ", "))")
        }
        let container = try decoder.container(keyedBy: CodingKeys.self)
        func share(_ key: CodingKeys) throws -> Double {
            let value = try container.decodeIfPresent(Double.self, forKey: key) ?? 0
            guard 0...1 ~= value else {
                throw DecodingError.dataCorruptedError(
                    forKey: key, in: container, debugDescription: "\(key.rawValue) must lie between 0 and 1")
            }
            return value
        }
        func count(_ key: CodingKeys) throws -> Int {
            let value = try container.decodeIfPresent(Int.self, forKey: key) ?? 0
            guard 0...86_400_000 ~= value else {
                throw DecodingError.dataCorruptedError(
                    forKey: key, in: container, debugDescription: "\(key.rawValue) must lie between 0 and 86,400,000")
            }
            return value
        }
        errorShare = try share(.errorShare)
        errorReason = try container.decodeIfPresent(String.self, forKey: .errorReason) ?? ""
        retryAfterSeconds = try count(.retryAfterSeconds)
        latencyMs = try count(.latencyMs)
        latencyJitterMs = try count(.latencyJitterMs)
        neverAnswerShare = try share(.neverAnswerShare)
        neverAnswerDelivers = try container.decodeIfPresent(Bool.self, forKey: .neverAnswerDelivers) ?? false
        dropShare = try share(.dropShare)
        resetShare = try share(.resetShare)
        goAwayEveryStreams = try count(.goAwayEveryStreams)
        cutEveryStreams = try count(.cutEveryStreams)
        unavailableForMs = Int64(try count(.unavailableForMs))
        tokenEndpointFails = try container.decodeIfPresent(Bool.self, forKey: .tokenEndpointFails) ?? false
        latencyTailShare = try share(.latencyTailShare)
        latencyTailMs = try count(.latencyTailMs)
        refusesConnections = try container.decodeIfPresent(Bool.self, forKey: .refusesConnections) ?? false
        slowTLSMs = try count(.slowTLSMs)
        maxStreams = try count(.maxStreams)
        streamWindow = try count(.streamWindow)
        windowDelayMs = try count(.windowDelayMs)
        clockAheadSeconds = try count(.clockAheadSeconds)
    }
}
