import DequeModule
import Synchronization
import Wire

/// From the look-alikes to the phones, and the record of everything that arrived.
///
/// A device is a provider and a push token. Tokens that nobody has registered are accepted (unless configured
/// otherwise) and lead nowhere, so that loads of made-up tokens cost no memory.
public final class PushNetwork: PushReception {
    /// Whether a token is known.
    enum Standing: Sendable, Hashable {
        case unknown
        case registered(appID: String)
        /// Since when, epoch milliseconds.
        case unregistered(sinceMs: Int64)
    }

    private struct DeviceKey: Hashable {
        var provider: SimulatedProvider
        var token: String
    }

    private struct Device {
        var appID: String
        var project: String?
        var unregisteredSinceMs: Int64?
        var store = OfflineStore()
        /// Non-nil while online.
        var stream: AsyncStream<SimulatedPush>.Continuation?
        var generation = 0
    }

    private struct State {
        var devices: [DeviceKey: Device] = [:]
        var log: Deque<PushRecord> = []
        var nextSequence = 0
        var counters: [SimulatedProvider: PushCounters] = [
            .apn: PushCounters(), .fcm: PushCounters(), .hms: PushCounters(),
        ]
        var accepted: Set<Int> = []
        var isClosed = false
    }

    /// Most pushes that wait for one online phone.
    static let streamBound = 1000
    /// Most devices that can be registered.
    static let mostDevices = 1_000_000

    private let state = Mutex(State())
    private let nowMs: @Sendable () -> Int64
    private let logBound: Int
    private let unitBound: Int
    let refusesUnknownTokens: Bool
    /// HMS's, of what phones report.
    let receipts: HMSReceipts

    /// - Parameters:
    ///   - logBound: requests that ``log(after:limit:)`` still knows; older ones go.
    ///   - unitBound: accepted units remembered for ``PushCounters/duplicates``, about 16 bytes each.
    ///   - refusesUnknownTokens: true: `BadDeviceToken`, `UNREGISTERED` for tokens that nobody has registered.
    public init(
        logBound: Int = 20_000, unitBound: Int = 2_000_000, refusesUnknownTokens: Bool = false,
        nowMs: @escaping @Sendable () -> Int64 = SimulatorClock.systemMs
    ) {
        self.logBound = max(logBound, 1)
        self.unitBound = max(unitBound, 1)
        self.refusesUnknownTokens = refusesUnknownTokens
        self.nowMs = nowMs
        receipts = HMSReceipts(nowMs: nowMs)
    }

    // MARK: Phones

    public func register(_ provider: SimulatedProvider, token: String, appID: String) throws {
        try state.withLock {
            try Self.known(&$0, DeviceKey(provider: provider, token: Self.canonical(provider, token)), appID)
        }
    }

    public func receive(
        _ provider: SimulatedProvider, token: String, appID: String
    ) throws -> AsyncStream<SimulatedPush> {
        let key = DeviceKey(provider: provider, token: Self.canonical(provider, token))
        let (stream, continuation) = AsyncStream.makeStream(
            of: SimulatedPush.self, bufferingPolicy: .bufferingOldest(Self.streamBound))
        let now = nowMs()
        let (generation, stored, old) = try state.withLock { state in
            guard !state.isClosed else { throw SimulatorError("the simulator has stopped") }
            try Self.known(&state, key, appID)
            let old = state.devices[key]?.stream
            state.devices[key]?.stream = continuation
            state.devices[key]?.generation += 1
            let (stored, expired) = state.devices[key]?.store.take(nowMs: now) ?? ([], 0)
            state.counters[provider]?.expiredInStore += expired
            state.counters[provider]?.delivered += stored.count
            // Under the lock, so that what is accepted meanwhile cannot overtake what was stored.
            for push in stored { continuation.yield(push) }
            return (state.devices[key]?.generation ?? 0, stored, old)
        }
        _ = stored
        old?.finish()
        continuation.onTermination = { [weak self] _ in self?.wentOffline(key, generation: generation) }
        return stream
    }

    private func wentOffline(_ key: DeviceKey, generation: Int) {
        state.withLock {
            if $0.devices[key]?.generation == generation { $0.devices[key]?.stream = nil }
        }
    }

    public func unregister(_ provider: SimulatedProvider, token: String) throws {
        let key = DeviceKey(provider: provider, token: Self.canonical(provider, token))
        let now = nowMs()
        let old = try state.withLock { state in
            try Self.known(&state, key, state.devices[key]?.appID ?? "")
            state.devices[key]?.unregisteredSinceMs = now
            let old = state.devices[key]?.stream
            state.devices[key]?.stream = nil
            return old
        }
        old?.finish()
    }

    public func report(_ provider: SimulatedProvider, token: String, messageID: String, result: Int) {
        guard provider == .hms else { return }
        receipts.report(requestID: messageID, token: token, result: result)
    }

    /// Binds an FCM token to the project (sender) that it was handed out by; another project's messages are refused
    /// with `SENDER_ID_MISMATCH`.
    public func bind(fcmToken token: String, project: String) throws {
        try state.withLock {
            let key = DeviceKey(provider: .fcm, token: token)
            try Self.known(&$0, key, $0.devices[key]?.appID ?? "")
            $0.devices[key]?.project = project
        }
    }

    /// True while somebody receives for the token.
    public func isOnline(_ provider: SimulatedProvider, token: String) -> Bool {
        state.withLock {
            $0.devices[DeviceKey(provider: provider, token: Self.canonical(provider, token))]?.stream != nil
        }
    }

    /// Ends all receptions; no more are begun.
    func close() {
        let streams = state.withLock { state -> [AsyncStream<SimulatedPush>.Continuation] in
            state.isClosed = true
            return state.devices.values.compactMap { $0.stream }
        }
        for stream in streams { stream.finish() }
    }

    private static func canonical(_ provider: SimulatedProvider, _ token: String) -> String {
        provider == .apn ? token.lowercased() : token
    }

    private static func known(_ state: inout State, _ key: DeviceKey, _ appID: String) throws {
        if state.devices[key] == nil {
            guard state.devices.count < mostDevices else { throw SimulatorError("too many devices are registered") }
            state.devices[key] = Device(appID: appID)
        } else if !appID.isEmpty {
            state.devices[key]?.appID = appID
        }
    }

    // MARK: Look-alikes

    /// - Parameter token: canonical: lower case for APNs.
    func standing(_ provider: SimulatedProvider, _ token: String) -> Standing {
        state.withLock {
            guard let device = $0.devices[DeviceKey(provider: provider, token: token)] else { return .unknown }
            if let since = device.unregisteredSinceMs { return .unregistered(sinceMs: since) }
            return .registered(appID: device.appID)
        }
    }

    func project(of token: String) -> String? {
        state.withLock { $0.devices[DeviceKey(provider: .fcm, token: token)]?.project }
    }

    /// Takes an accepted push: to its phone, into its store, or nowhere.
    func accept(_ push: SimulatedPush, drops: Bool, nowMs: Int64) {
        let unit = Self.unit(push)
        state.withLock { state in
            let isDuplicate = !state.accepted.insert(unit).inserted
            if isDuplicate { state.counters[push.provider]?.duplicates += 1 }
            if let expiry = push.expiresAtMs, expiry > 0, nowMs >= expiry {
                state.counters[push.provider]?.afterExpiry += 1
            }
            if state.accepted.count > unitBound {
                state.accepted.removeAll(keepingCapacity: true)
                for provider in SimulatedProvider.allCases { state.counters[provider]?.duplicatesAreExact = false }
            }
            let fate = drops ? .dropped : Self.forward(push, &state, nowMs: nowMs)
            state.counters[push.provider]?.count(fate)
            append(
                PushRecord(
                    sequence: 0, atMs: nowMs, provider: push.provider, messageID: push.messageID,
                    pushToken: push.pushToken, challengeSID: push.values["challenge_sid"] ?? "",
                    dispatch: push.values["dispatch"] ?? "", kind: push.values["kind"] ?? "", status: 200, reason: "",
                    fate: fate, isDuplicate: isDuplicate), &state)
        }
    }

    /// Yielding under the lock keeps one phone's pushes in their order; it only queues and never runs the phone's code.
    private static func forward(_ push: SimulatedPush, _ state: inout State, nowMs: Int64) -> PushFate {
        let key = DeviceKey(provider: push.provider, token: push.pushToken)
        guard let stream = state.devices[key]?.stream else {
            guard let outcome = state.devices[key]?.store.store(push, nowMs: nowMs) else { return .unclaimed }
            switch outcome {
            case .stored: return .stored
            case .displaced(let count):
                state.counters[push.provider]?.displaced += count
                return .stored
            case .notStored: return .notStored
            }
        }
        switch stream.yield(push) {
        case .enqueued: return .delivered
        case .dropped: return .overflowed
        case .terminated: return .notStored
        @unknown default: return .notStored
        }
    }

    private static func unit(_ push: SimulatedPush) -> Int {
        var hasher = Hasher()
        hasher.combine(push.provider)
        if let challenge = push.values["challenge_sid"] {
            hasher.combine(push.pushToken)
            hasher.combine(challenge)
            hasher.combine(push.values["dispatch"])
            hasher.combine(push.values["kind"])
        } else {
            hasher.combine(push.messageID)
        }
        return hasher.finalize()
    }

    func refuse(
        _ provider: SimulatedProvider, messageID: String, pushToken: String, status: Int, reason: String, nowMs: Int64
    ) {
        state.withLock { state in
            state.counters[provider]?.count(.refused)
            state.counters[provider]?.refusedByReason[reason, default: 0] += 1
            append(
                PushRecord(
                    sequence: 0, atMs: nowMs, provider: provider, messageID: messageID, pushToken: pushToken,
                    challengeSID: "", dispatch: "", kind: "", status: status, reason: reason, fate: .refused,
                    isDuplicate: false), &state)
        }
    }

    func noteSilence(_ provider: SimulatedProvider) { state.withLock { $0.counters[provider]?.silenced += 1 } }

    func note(_ happening: ConnectionHappening, provider: SimulatedProvider) {
        state.withLock { state in
            switch happening {
            case .opened:
                state.counters[provider]?.connections += 1
                state.counters[provider]?.connectionsOpen += 1
            case .closed: state.counters[provider]?.connectionsOpen -= 1
            case .goAway: state.counters[provider]?.goAways += 1
            case .cut: state.counters[provider]?.cuts += 1
            case .earlyStream: state.counters[provider]?.earlyStreams += 1
            }
        }
    }

    private func append(_ record: PushRecord, _ state: inout State) {
        var record = record
        record.sequence = state.nextSequence
        state.nextSequence += 1
        if state.log.count >= logBound { state.log.removeFirst() }
        state.log.append(record)
    }

    // MARK: Records

    /// Requests in the order of arrival.
    /// - Parameters:
    ///   - sequence: only later ones; nil: from the oldest that is still known.
    ///   - limit: most lines.
    public func log(after sequence: Int? = nil, limit: Int = 20_000) -> [PushRecord] {
        state.withLock { state in
            guard let first = state.log.first else { return [] }
            let skip = sequence.map { $0 < first.sequence ? 0 : min($0, state.nextSequence) - first.sequence + 1 } ?? 0
            return Array(state.log.dropFirst(skip).prefix(limit))
        }
    }

    public func counters(_ provider: SimulatedProvider) -> PushCounters {
        var counters = state.withLock { $0.counters[provider] ?? PushCounters() }
        if provider == .hms { (counters.receiptsTaken, counters.receiptsRefused) = receipts.counts }
        return counters
    }
}

/// The system's clock as the simulators' default.
public enum SimulatorClock {
    /// Epoch milliseconds.
    @Sendable public static func systemMs() -> Int64 { Timestamp.nowMs() }
}
