import ChallengeModel
import Challenges
import Logging
import Metrics
import Synchronization

/// Manages requests that wait until a challenge changes. While a request waits, the versions of all these challenges
/// are read from the store together, several times a second. Only this sees changes by this process, by another
/// Producer and over Kafka, and works while any of them is unavailable (docs/decisions/0008).
/// A waiter costs an entry here and the task of its request. It ends when it is answered, at its deadline, or when its
/// client disconnects.
final class ChallengeWatch: Sendable {
    /// The reason why a wait has ended.
    enum End: Sendable, Equatable {
        /// The version has changed. It was read before any later read.
        case changed(String?)
        /// The deadline has passed, or the task was cancelled.
        case elapsed
        /// The request cannot wait, because too many requests wait or the server is shutting down.
        case refused
    }

    /// The caller that waits. A wait counts for its share.
    enum Reader: Hashable, Sendable {
        case device(FactorSID)
        /// An API key, or an account's auth token.
        case backend(Principal)

        init(_ caller: Caller) {
            switch caller {
            case .device(let factor): self = .device(factor.sid)
            case .backend(let principal): self = .backend(principal)
            }
        }
    }

    private struct Waiter {
        let challenge: ChallengeSID
        let version: String?
        let reader: Reader
        let deadline: ContinuousClock.Instant
        let continuation: CheckedContinuation<End, Never>
    }

    private struct State {
        private(set) var waiting: [Int: Waiter] = [:]
        private var perReader: [Reader: Int] = [:]
        var nextID = 0
        var isStopped = false

        func holds(_ reader: Reader) -> Int { perReader[reader] ?? 0 }

        mutating func add(_ waiter: Waiter, id: Int) {
            waiting[id] = waiter
            perReader[waiter.reader, default: 0] += 1
        }

        @discardableResult
        mutating func remove(_ id: Int) -> Waiter? {
            guard let waiter = waiting.removeValue(forKey: id) else { return nil }
            let left = holds(waiter.reader) - 1
            perReader[waiter.reader] = left > 0 ? left : nil
            return waiter
        }
    }

    /// Maximum number for one device, so that an app that asks again without disconnecting does not take places from
    /// others.
    private static let mostPerDevice = 4

    /// The share of one API key: half of all places, so that no backend takes all places from other backends and
    /// devices.
    private func share(of reader: Reader) -> Int {
        switch reader {
        case .device: Self.mostPerDevice
        case .backend: max(1, bound / 2)
        }
    }

    /// Number of challenges per read. A read holds one of the store's connections.
    private static let chunk = 500

    private let store: ChallengeStore
    private let bound: Int
    private let interval: Duration
    private let log: StoreLog
    private let gauge: Gauge
    private let refused: Counter
    private let state = Mutex(State())
    /// Readings that are shared by the waiters that one change woke, at most one per kind of reading.
    private let readings = Mutex<[SharedReading: Task<(APIReply, EntityTag), any Error>]>([:])
    private let (signal, signalled) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))

    /// Epoch milliseconds.
    let nowMs: @Sendable () -> Int64

    /// - Parameters:
    ///   - bound: maximum number of waiting requests. One more is answered at once.
    ///   - interval: interval of the reads. A change is seen at the latest after this time. Default 40 ms.
    init(
        store: ChallengeStore, bound: Int, interval: Duration = .milliseconds(40), logger: Logger,
        metrics: any MetricsFactory, nowMs: @escaping @Sendable () -> Int64
    ) {
        self.store = store
        self.bound = bound
        self.interval = interval
        log = StoreLog(logger)
        self.nowMs = nowMs
        gauge = Gauge(label: ProducerMetricName.longPolls.rawValue, factory: metrics)
        refused = Counter(label: ProducerMetricName.longPollsRefused.rawValue, factory: metrics)
    }

    /// Number of waiting requests.
    var count: Int { state.withLock { $0.waiting.count } }

    /// Returns when the challenge has another version than this, at the deadline, or when the task is cancelled.
    /// - Parameter reader: the caller. At most four requests of a device wait, and at most half of all waiting requests
    ///   are of one backend key.
    func wait(
        for challenge: ChallengeSID, from version: String?, by reader: Reader,
        until deadline: ContinuousClock.Instant
    ) async -> End {
        let id = state.withLock { state in
            state.nextID += 1
            return state.nextID
        }
        let end = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let end: End? = state.withLock { state in
                    // The cancellation handler may have run before this point.
                    guard !Task.isCancelled else { return .elapsed }
                    guard !state.isStopped, state.waiting.count < bound, state.holds(reader) < share(of: reader) else {
                        return .refused
                    }
                    let waiter = Waiter(
                        challenge: challenge, version: version, reader: reader, deadline: deadline,
                        continuation: continuation)
                    state.add(waiter, id: id)
                    return nil
                }
                if let end { continuation.resume(returning: end) } else { signalled.yield() }
            }
        } onCancel: {
            state.withLock { $0.remove(id) }?.continuation.resume(returning: .elapsed)
        }
        if end == .refused { refused.increment() }
        return end
    }

    /// Shares one reading among the waiters that were woken together and would read the same. The reading begins after
    /// the versions were read, so it is not older than the change.
    func shared(
        _ reading: SharedReading?, _ read: @escaping @Sendable () async throws -> (APIReply, EntityTag)
    ) async throws -> (APIReply, EntityTag) {
        guard let reading else { return try await read() }
        // The task is not a child of a request, because the client of the request that started it may disconnect while
        // others wait for it.
        let task = readings.withLock { readings in
            if let known = readings[reading] { return known }
            let task = Task { try await read() }
            readings[reading] = task
            return task
        }
        return try await task.value
    }

    /// Runs until the task is cancelled. Then all waits end, and no new wait can begin.
    func run() async {
        for await _ in signal {
            while !Task.isCancelled {
                let count = count
                gauge.record(count)
                guard count > 0 else {
                    readings.withLock { $0 = [:] }
                    break
                }
                await look()
                try? await Task.sleep(for: interval)
            }
            if Task.isCancelled { break }
        }
        let left = state.withLock { state in
            state.isStopped = true
            return state.waiting.keys.compactMap { state.remove($0) }
        }
        for waiter in left { waiter.continuation.resume(returning: .refused) }
        gauge.record(0)
    }

    private func look() async {
        let watched = Array(Set(state.withLock { $0.waiting.values.map(\.challenge) }))
        var versions: [ChallengeSID: String?] = [:]
        do {
            for start in stride(from: 0, to: watched.count, by: Self.chunk) {
                let part = Array(watched[start..<min(start + Self.chunk, watched.count)])
                for (sid, version) in zip(part, try await store.challengeVersions(part)) { versions[sid] = version }
            }
        } catch {
            // The next read follows soon. Deadlines still apply.
            log.warning("changes of challenges cannot be read", error)
        }
        let now = ContinuousClock.now
        let woken = state.withLock { state in
            var woken: [(continuation: CheckedContinuation<End, Never>, end: End)] = []
            for (id, waiter) in state.waiting {
                let end: End
                if let version = versions[waiter.challenge], version != waiter.version {
                    end = .changed(version)
                } else if waiter.deadline <= now {
                    end = .elapsed
                } else {
                    continue
                }
                woken.append((waiter.continuation, end))
                state.remove(id)
            }
            return woken
        }
        readings.withLock { $0.removeAll(keepingCapacity: true) }
        for (continuation, end) in woken { continuation.resume(returning: end) }
    }
}
