import ChallengeModel
public import KafkaClient
import ServiceSupport
import Synchronization

/// The result of a replay.
public struct ReplayReport: Sendable {
    /// The result for one dead letter.
    public enum Fate: Sendable, Equatable {
        /// The broker acknowledged the original record.
        case replayed
        case refused(DeadLetter.Refusal)
        /// The broker permanently refuses the record, by librdkafka's name of the error.
        case failed(String)
    }

    /// In the header `beckon-replay` of each record that was written.
    public let id: String
    public internal(set) var fates: [DeadLetter.ID: Fate] = [:]
    /// Nil: all were processed. Otherwise the replay stopped, and everything from here on is left: this dead letter
    /// and the later ones of its partition, and all of higher partitions.
    public internal(set) var next: DeadLetter.ID?
    /// Why the replay stopped; nil: it was asked to, or is done.
    public internal(set) var failure: KafkaError?

    public var replayed: Int { fates.values.count { $0 == .replayed } }
    public var failed: Int { fates.values.count { if case .failed = $0 { true } else { false } } }
    /// How many were refused, by reason.
    public var refused: [DeadLetter.Refusal: Int] {
        var counts: [DeadLetter.Refusal: Int] = [:]
        for case .refused(let refusal) in fates.values { counts[refusal, default: 0] += 1 }
        return counts
    }
}

/// Writes original records of dead letters back to their topics.
///
/// **A replay makes no MAC.** On a signed topic the original MAC is written back, so a record that was forged stays
/// forged. A dead letter is used only when its `beckon-mac` and its seal are valid: a role wrote it, and its headers
/// name the topic from which that role read the record.
public struct DeadLetterReplay: Sendable {
    /// Most dead letters of one replay.
    public static let mostLetters = 10_000

    private let archive: DeadLetterArchive
    private let producer: KafkaProducer
    private let clock: @Sendable () -> Int64

    /// - Parameters:
    ///   - producer: its owner closes it.
    ///   - clock: epoch milliseconds; decides about expiry.
    public init(archive: DeadLetterArchive, producer: KafkaProducer, clock: @escaping @Sendable () -> Int64) {
        self.archive = archive
        self.producer = producer
        self.clock = clock
    }

    /// A new id: 12 hexadecimal digits.
    public static func newID() -> String {
        let digits = String(UInt64.random(in: 0..<(1 << 48)), radix: 16)
        return String(repeating: "0", count: 12 - digits.count) + digits
    }

    /// Writes one record after the other and waits for each acknowledgement. The order is that of `dead-letters`, in
    /// which all records of a key are in one partition; records that come from the same partition follow their original
    /// offsets.
    /// - Parameters:
    ///   - ids: at most ``mostLetters``; more are left for the next replay.
    ///   - id: the id of this replay. Give the former id to continue a replay that stopped.
    ///   - deadline: of the whole call.
    ///   - shouldStop: asked before each record; true ends the replay.
    ///   - progress: called after each dead letter.
    /// - Throws: ``KafkaError`` when the topic cannot be read. A record that cannot be written ends the replay with
    ///   ``ReplayReport/failure``.
    public func run(
        _ ids: Set<DeadLetter.ID>, id: String = newID(), deadline: Duration = .seconds(600),
        shouldStop: @escaping @Sendable () -> Bool = { false },
        progress: @escaping @Sendable (DeadLetter.ID, ReplayReport.Fate) -> Void = { _, _ in }
    ) async throws(KafkaError) -> ReplayReport {
        let chosen = Set(ids.sorted().prefix(Self.mostLetters))
        let run = Run(id: id, producer: producer, clock: clock, shouldStop: shouldStop, progress: progress)
        let signer = archive.signer
        let isRead = try await archive.read(deadline: deadline, only: chosen) { record in
            await run.take(DeadLetter(record, signer: signer), record)
        }
        await run.finish()
        let left = ids.subtracting(chosen).min()
        return await run.report(of: chosen, isRead: isRead, left: left)
    }
}

/// One replay: collects dead letters into chunks, puts each chunk in order, and writes it.
private actor Run {
    /// A chunk is written when it has this many letters or bytes.
    private static let mostLetters = 200
    private static let mostBytes = 8 << 20

    private let producer: KafkaProducer
    private let clock: @Sendable () -> Int64
    private let shouldStop: @Sendable () -> Bool
    private let progress: @Sendable (DeadLetter.ID, ReplayReport.Fate) -> Void
    private var report: ReplayReport
    private var chunk: [(letter: DeadLetter, record: ConsumedRecord)] = []
    private var bytes = 0
    private var isStopped = false
    /// Positions of original records that were written.
    private var sources: Set<RecordPosition> = []

    init(
        id: String, producer: KafkaProducer, clock: @escaping @Sendable () -> Int64,
        shouldStop: @escaping @Sendable () -> Bool,
        progress: @escaping @Sendable (DeadLetter.ID, ReplayReport.Fate) -> Void
    ) {
        report = ReplayReport(id: id)
        self.producer = producer
        self.clock = clock
        self.shouldStop = shouldStop
        self.progress = progress
    }

    /// - Returns: false when the replay has stopped.
    func take(_ letter: DeadLetter, _ record: ConsumedRecord) async -> Bool {
        guard !isStopped else { return false }
        if shouldStop() {
            isStopped = true
            return false
        }
        if let last = chunk.last, last.letter.id.partition != letter.id.partition { await write() }
        chunk.append((letter, record))
        bytes += record.value.count
        if chunk.count >= Self.mostLetters || bytes >= Self.mostBytes { await write() }
        return !isStopped
    }

    func finish() async { await write() }

    private func write() async {
        let letters = Self.ordered(chunk)
        (chunk, bytes) = ([], 0)
        for (letter, record) in letters {
            guard !isStopped else { return }
            guard !shouldStop() else {
                isStopped = true
                return
            }
            guard let fate = await write(letter, record) else {
                isStopped = true
                return
            }
            report.fates[letter.id] = fate
            progress(letter.id, fate)
        }
    }

    /// - Returns: nil when Kafka does not take the record now.
    private func write(_ letter: DeadLetter, _ record: ConsumedRecord) async -> ReplayReport.Fate? {
        if let refusal = letter.refusal(nowMs: clock()) { return .refused(refusal) }
        let source = RecordPosition(
            topicPartition: TopicPartition(topic: letter.topicName, partition: letter.partition),
            offset: letter.offset)
        guard letter.offset < 0 || sources.insert(source).inserted else { return .refused(.duplicate) }
        let original = DeadLetter.original(of: record, letter, replayID: report.id)
        do {
            _ = try await producer.send(original)
            return .replayed
        } catch  where error.isRefusal(of: original) {
            return .failed(error.code)
        } catch {
            report.failure = error
            return nil
        }
    }

    /// In the order of the dead letters. Those that come from one partition take their places in the order of their
    /// original offsets, because a role may write a dead letter again after a later one.
    static func ordered(
        _ letters: [(letter: DeadLetter, record: ConsumedRecord)]
    ) -> [(letter: DeadLetter, record: ConsumedRecord)] {
        var ordered = letters
        let places = Dictionary(grouping: letters.indices) { index in
            TopicPartition(topic: letters[index].letter.topicName, partition: letters[index].letter.partition)
        }
        for (source, places) in places where source.partition >= 0 {
            let sorted = places.sorted { letters[$0].letter.offset < letters[$1].letter.offset }
            for (place, index) in zip(places, sorted) { ordered[place] = letters[index] }
        }
        return ordered
    }

    func report(of chosen: Set<DeadLetter.ID>, isRead: Bool, left: DeadLetter.ID?) -> ReplayReport {
        var report = report
        let missing = chosen.subtracting(report.fates.keys)
        if isRead, !isStopped {
            for id in missing { report.fates[id] = .refused(.gone) }
            report.next = left
        } else {
            report.next = missing.min()
        }
        return report
    }
}
