import KafkaClient
import Synchronization

/// What is to be done with a record, or a part of it.
public struct RecordWork: Sendable {
    /// What it shares with others: the works of a partition that have one of these in common are done in the order of
    /// their offsets, each when those before it are done. None: it waits for nobody. The works of one record share
    /// nothing.
    let order: [String]
    let run: @Sendable () async -> Bool

    /// - Parameters:
    ///   - order: what it shares with works of other records. Default: nothing.
    ///   - run: returns true when the outcome lasts; false only when its task was cancelled first.
    public init(order: [String] = [], run: @escaping @Sendable () async -> Bool) {
        self.order = order
        self.run = run
    }
}

/// One partition of a ``GroupReader`` while it is ours: reads as slots allow, handles records side by side, or one
/// after the other where their order matters, knows what is done.
final class ReadPartition: Sendable {
    let topicPartition: TopicPartition
    private let reader: PartitionReader
    private let slots: Slots
    private let holds: KeyHolds?
    /// Places for records that wait for one before them.
    private let waiting: Slots
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
        /// ``Taken/done`` of the last work taken of those that share something, until that is done.
        var last: [String: Latch] = [:]
        /// Records of several works, until the last of these has ended.
        var shared: [Int64: SharedRecord] = [:]
    }

    private struct SharedRecord {
        /// Works that have not ended.
        var left: Int
        /// Whether those that have ended are done.
        var isDone = true
    }

    /// A work under way.
    private struct Taken: Sendable {
        /// Of its record.
        let offset: Int64
        let work: RecordWork
        /// Opened when it is done, never when it was given up.
        let done = Latch()
        /// Of those that it waits for.
        let before: [Latch]
        /// Whether it holds its record's place to wait in.
        let hasPlace: Bool
    }

    init(reader: PartitionReader, slots: Slots, mostWaiting: Int, holds: KeyHolds? = nil) {
        self.reader = reader
        self.slots = slots
        waiting = Slots(mostWaiting)
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

    /// Stops, and gives up what is under way. After this nothing more becomes committable.
    func abandon() {
        stop()
        abandoned.open()
    }

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
                        guard let works = await handle(record) else { return self.slots.give() }
                        let waits = self.state.withLock { state in
                            works.firstIndex { work in work.order.contains { state.last[$0] != nil } }
                        }
                        if waits != nil, await !self.waiting.take() { return self.slots.give() }
                        self.take(record.offset, works, waits: waits, into: feed)
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

    /// - Parameter waits: the work that holds the record's place to wait in.
    private func take(
        _ offset: Int64, _ works: [RecordWork], waits: Int?, into feed: AsyncStream<Taken>.Continuation
    ) {
        state.withLock { state in
            state.ledger.take(offset)
            state.hasTaken = true
            guard !works.isEmpty else { return state.ledger.complete(offset) }
            state.held += 1
            if works.count > 1 { state.shared[offset] = SharedRecord(left: works.count) }
        }
        guard !works.isEmpty else { return slots.give() }
        for (index, work) in works.enumerated() {
            let taken = state.withLock { state in
                let before = work.order.compactMap { state.last[$0] }
                let taken = Taken(offset: offset, work: work, before: before, hasPlace: index == waits)
                for shared in work.order { state.last[shared] = taken.done }
                return taken
            }
            feed.yield(taken)
        }
    }

    private func carryOut(_ record: Taken) async -> Bool {
        for done in record.before { await done.wait() }
        if record.hasPlace { waiting.give() }
        // Otherwise we are cancelled: what is before it comes again, and it must come after that.
        guard record.before.allSatisfy(\.isOpen) else { return false }
        return await record.work.run()
    }

    private func finish(_ taken: Taken, isDone: Bool) {
        let (isLast, isEmpty) = state.withLock { state in
            for shared in taken.work.order where isDone && state.last[shared] === taken.done {
                state.last[shared] = nil
            }
            var isRecordDone = isDone
            if var record = state.shared[taken.offset] {
                record.left -= 1
                record.isDone = record.isDone && isDone
                guard record.left == 0 else {
                    state.shared[taken.offset] = record
                    return (false, false)
                }
                state.shared[taken.offset] = nil
                isRecordDone = record.isDone
            }
            state.held -= 1
            if isRecordDone, !abandoned.isOpen { state.ledger.complete(taken.offset) }
            return (true, !state.isReading && state.ledger.inFlight == 0)
        }
        if isDone { taken.done.open() }
        if isLast { slots.give() }
        if isEmpty { drained.open() }
    }
}
