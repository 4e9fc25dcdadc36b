import ChallengeModel
import KafkaClient
import Synchronization

/// One partition of an entrance while it is ours: reads as slots allow, handles records side by side, knows what is done.
final class EntranceLane: Sendable {
    let topicPartition: TopicPartition
    private let reader: PartitionReader
    private let slots: Slots
    private let state = Mutex(State())
    /// No more is read.
    private let stopped = Latch()
    /// What is still under way is given up.
    private let abandoned = Latch()
    /// Stopped, and nothing is under way.
    private let drained = Latch()

    private struct State {
        var ledger = OffsetLedger(start: 0)
        var isReading = true
        var hasTaken = false
        var committed: Int64 = 0
        /// Slots held for records taken and not finished.
        var held = 0
    }

    init(reader: PartitionReader, slots: Slots) {
        self.reader = reader
        self.slots = slots
        topicPartition = reader.topicPartition
    }

    var inFlight: Int { state.withLock { $0.ledger.inFlight } }

    /// The offset to commit, when it has moved since ``committed(_:)``.
    var committable: Int64? {
        state.withLock { state in
            guard state.hasTaken, state.ledger.committable > state.committed else { return nil }
            return state.ledger.committable
        }
    }

    func committed(_ offset: Int64) { state.withLock { $0.committed = max($0.committed, offset) } }

    /// Reads and handles until ``stop()``, then waits for what is under way, or for ``abandon()``.
    /// - Parameter handle: returns true when the record's outcome lasts; false when it gave up because its task was cancelled.
    func run(_ handle: @escaping @Sendable (ConsumedRecord) async -> Bool) async {
        // Bounded by the slots: a record is yielded only when one is held for it.
        let (records, feed) = AsyncStream.makeStream(of: ConsumedRecord.self)
        await withDiscardingTaskGroup { group in
            group.addTask { await self.read(into: feed) }
            for await record in records {
                group.addTask {
                    let isDone = await handle(record)
                    self.finish(record.offset, isDone: isDone)
                }
            }
            await self.waitForEnd()
            group.cancelAll()
        }
        drained.open()
        // Records that were taken when the task was cancelled, and never reached a handler.
        let left = state.withLock { state in
            defer { state.held = 0 }
            return state.held
        }
        for _ in 0..<left { slots.give() }
    }

    func stop() { stopped.open() }

    /// After this nothing more becomes committable.
    func abandon() { abandoned.open() }

    /// Stops, and waits for what is under way at most this long.
    /// - Returns: whether everything taken is done.
    func drain(atMost deadline: Duration) async -> Bool {
        stop()
        return await drained.wait(atMost: deadline)
    }

    private func waitForEnd() async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.drained.wait() }
            group.addTask { await self.abandoned.wait() }
            await group.next()
            group.cancelAll()
        }
    }

    private func read(into feed: AsyncStream<ConsumedRecord>.Continuation) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.stopped.wait() }
            group.addTask {
                while let items = await self.reader.next(max: 64) {
                    for case .record(let record) in items {
                        guard await self.slots.take() else { return }
                        self.state.withLock { state in
                            state.ledger.take(record.offset)
                            state.hasTaken = true
                            state.held += 1
                        }
                        feed.yield(record)
                    }
                }
            }
            await group.next()
            group.cancelAll()
        }
        feed.finish()
        let isEmpty = state.withLock { state in
            state.isReading = false
            return state.ledger.inFlight == 0
        }
        if isEmpty { drained.open() }
    }

    private func finish(_ offset: Int64, isDone: Bool) {
        let isEmpty = state.withLock { state in
            state.held -= 1
            if isDone, !abandoned.isOpen { state.ledger.complete(offset) }
            return !state.isReading && state.ledger.inFlight == 0
        }
        slots.give()
        if isEmpty { drained.open() }
    }
}
