import KafkaClient
import Synchronization

/// What is to be done with a record.
public struct RecordWork: Sendable {
    /// What it shares with others: those of its partition that have one of these in common are done in the order of their
    /// offsets, each when those before it are done. None: it waits for nobody.
    let order: [String]
    let run: @Sendable () async -> Bool

    /// - Parameters:
    ///   - order: what it shares with others. Default: nothing.
    ///   - run: returns true when the record's outcome lasts; false only when its task was cancelled first.
    public init(order: [String] = [], run: @escaping @Sendable () async -> Bool) {
        self.order = order
        self.run = run
    }
}

/// One partition of a ``GroupReader`` while it is ours: reads as slots allow, handles records side by side, or one after the other where
/// their order matters, knows what is done.
final class ReadPartition: Sendable {
    /// Records that wait for one before them, at most: more are not read, so that they take no slots from other partitions.
    private static let mostWaiting = 16

    let topicPartition: TopicPartition
    private let reader: PartitionReader
    private let slots: Slots
    private let holds: KeyHolds?
    private let waiting = Slots(mostWaiting)
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
        /// ``Taken/done`` of the last record taken of those that share something, until that is done.
        var last: [String: Latch] = [:]
    }

    /// A record under way.
    private struct Taken: Sendable {
        let offset: Int64
        let work: RecordWork
        /// Opened when it is done, never when it was given up.
        let done = Latch()
        /// Of those that it waits for.
        let before: [Latch]
        /// Whether it holds one of the places to wait in.
        let hasPlace: Bool
    }

    init(reader: PartitionReader, slots: Slots, holds: KeyHolds? = nil) {
        self.reader = reader
        self.slots = slots
        self.holds = holds
        topicPartition = reader.topicPartition
    }

    var inFlight: Int { state.withLock { $0.ledger.inFlight } }

    /// Everything below this offset is done; nil: nothing was read.
    var done: Int64? { state.withLock { $0.hasTaken ? $0.ledger.committable : nil } }

    /// The offset to commit, when it has moved since ``committed(_:)``.
    var committable: Int64? {
        state.withLock { state in
            guard state.hasTaken, state.ledger.committable > state.committed else { return nil }
            return state.ledger.committable
        }
    }

    func committed(_ offset: Int64) { state.withLock { $0.committed = max($0.committed, offset) } }

    /// Reads and handles until ``stop()``, then waits for what is under way, or for ``abandon()``.
    func run(_ handle: @escaping GroupReader.Handler) async {
        // Bounded by the slots: a record is yielded only when one is held for it.
        let (records, feed) = AsyncStream.makeStream(of: Taken.self)
        await withDiscardingTaskGroup { group in
            group.addTask { await self.read(into: feed, handle) }
            for await record in records {
                group.addTask {
                    let isDone = await self.carryOut(record)
                    self.finish(record, isDone: isDone)
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

    private func read(
        into feed: AsyncStream<Taken>.Continuation, _ handle: @escaping GroupReader.Handler
    ) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.stopped.wait() }
            group.addTask {
                while let items = await self.reader.next(max: 64) {
                    for case .record(let record) in items {
                        while self.holds?.mustWait(before: record) == true {
                            guard (try? await Task.sleep(for: .milliseconds(200))) != nil else { return }
                        }
                        guard await self.slots.take() else { return }
                        let work = handle(record)
                        let mustWait = self.state.withLock { state in work.order.contains { state.last[$0] != nil } }
                        if mustWait, await !self.waiting.take() { return self.slots.give() }
                        feed.yield(self.take(record.offset, work, hasPlace: mustWait))
                    }
                }
            }
            await group.next()
            group.cancelAll()
        }
        holds?.end(topicPartition)
        feed.finish()
        let isEmpty = state.withLock { state in
            state.isReading = false
            return state.ledger.inFlight == 0
        }
        if isEmpty { drained.open() }
    }

    private func take(_ offset: Int64, _ work: RecordWork, hasPlace: Bool) -> Taken {
        state.withLock { state in
            state.ledger.take(offset)
            state.hasTaken = true
            state.held += 1
            let before = work.order.compactMap { state.last[$0] }
            let taken = Taken(offset: offset, work: work, before: before, hasPlace: hasPlace)
            for shared in work.order { state.last[shared] = taken.done }
            return taken
        }
    }

    private func carryOut(_ record: Taken) async -> Bool {
        for done in record.before { await done.wait() }
        if record.hasPlace { waiting.give() }
        // Otherwise we are cancelled: what is before it comes again, and it must come after that.
        guard record.before.allSatisfy(\.isOpen) else { return false }
        return await record.work.run()
    }

    private func finish(_ record: Taken, isDone: Bool) {
        let isEmpty = state.withLock { state in
            state.held -= 1
            if isDone, !abandoned.isOpen { state.ledger.complete(record.offset) }
            for shared in record.work.order where isDone && state.last[shared] === record.done {
                state.last[shared] = nil
            }
            return !state.isReading && state.ledger.inFlight == 0
        }
        if isDone { record.done.open() }
        slots.give()
        if isEmpty { drained.open() }
    }
}
