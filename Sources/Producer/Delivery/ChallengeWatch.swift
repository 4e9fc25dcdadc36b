import ChallengeModel
import Challenges
import Logging
import Metrics
import Synchronization

/// Requests that wait until a challenge changes. While one does, the versions of all challenges waited for are read from the store,
/// together, some times a second: the one way that sees what this process wrote, what another Producer wrote, and what came
/// over Kafka, and that holds with any of them away (docs/decisions/0008).
///
/// A waiter costs an entry here and its request's task; it goes when it is answered, at its deadline, or when its client hangs up.
final class ChallengeWatch: Sendable {
    /// Why a wait is over.
    enum End: Sendable, Equatable {
        /// Another version than the one waited from; read before whatever is read from now on.
        case changed(String?)
        /// The deadline, or the task was cancelled.
        case elapsed
        /// It could not wait: too many do, or we are on our way out.
        case refused
    }

    /// Who waits, and whose share a wait takes.
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

    /// Of one device: an app that asks again without hanging up first takes nobody else's place.
    private static let mostPerDevice = 4

    /// Of one API key: half of all, so that no backend takes every place of the others and of the devices.
    private func share(of reader: Reader) -> Int {
        switch reader {
        case .device: Self.mostPerDevice
        case .backend: max(1, bound / 2)
        }
    }

    /// Read in one go; a read holds one of the store's connections.
    private static let chunk = 500

    private let store: ChallengeStore
    private let bound: Int
    private let interval: Duration
    private let log: StoreLog
    private let gauge: Gauge
    private let refused: Counter
    private let state = Mutex(State())
    /// Of those whom the last look woke, for each other: at most one each.
    private let readings = Mutex<[SharedReading: Task<(APIReply, EntityTag), any Error>]>([:])
    private let (signal, signalled) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))

    /// Epoch milliseconds.
    let nowMs: @Sendable () -> Int64

    /// - Parameters:
    ///   - bound: requests that wait at once; one more is answered at once.
    ///   - interval: between two looks; a change is seen by then at the latest. Default 40 ms.
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

    /// Requests that wait.
    var count: Int { state.withLock { $0.waiting.count } }

    /// Returns when the challenge has another version than this, at the deadline, or when the task is cancelled.
    /// - Parameter reader: four requests of a device wait at most, and of a backend's key half of all that may.
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
                    // The handler may have run before we got here.
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

    /// What one of those who were woken together has read, or is reading, counts for all that would read the same. It was begun
    /// after the look that woke them, and so is no older than the change.
    func shared(
        _ reading: SharedReading?, _ read: @escaping @Sendable () async throws -> (APIReply, EntityTag)
    ) async throws -> (APIReply, EntityTag) {
        guard let reading else { return try await read() }
        // Not a child of any: who began it may hang up while the others wait for it.
        let task = readings.withLock { readings in
            if let known = readings[reading] { return known }
            let task = Task { try await read() }
            readings[reading] = task
            return task
        }
        return try await task.value
    }

    /// Until the task is cancelled; then nobody waits any more, and nobody can.
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
            // Looked at again in a moment; a deadline holds all the same.
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
