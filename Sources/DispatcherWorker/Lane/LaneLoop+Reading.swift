import ChallengeModel
import KafkaClient
import KafkaGroup
import Logging
import ServiceSupport
import Wire

/// Reads the four topics, and holds records back while a record key is missing.
extension LaneLoop {
    /// True when none of the other three topics is held. Otherwise a push might go to a device that has already
    /// confirmed.
    var areFactsWhole: Bool { held.allSatisfy { $0.key == .challenges } }

    /// The next items of one topic; none while the topic is held before a record.
    private func items(_ reader: PartitionReader, _ topic: Topic, max: Int) -> [PartitionItem]? {
        guard let waiting = held[topic] else { return holdBack(reader.available(max: max), topic) }
        if case .record(let first) = waiting[0], environment.holds.mustWait(before: first) { return [] }
        held[topic] = nil
        return holdBack(waiting, topic)
    }

    /// Holds back a record whose key is unknown, and the items after it.
    private func holdBack(_ items: [PartitionItem]?, _ topic: Topic) -> [PartitionItem]? {
        guard let items else { return nil }
        let index = items.firstIndex { item in
            if case .record(let record) = item { environment.holds.mustWait(before: record) } else { false }
        }
        guard let index else { return items }
        held[topic] = Array(items[index...])
        return Array(items[..<index])
    }

    /// Reads a batch when the last one is used up, also while nothing may be pushed, because an alarm uses the age of
    /// its first record.
    func refill(now: Moment?) {
        guard cursor == batch.count else { return }
        batch.removeAll(keepingCapacity: true)
        cursor = 0
        while batch.isEmpty {
            guard let items = items(lane.readers.challenges, .challenges, max: Self.batchSize), !items.isEmpty else {
                return
            }
            batchReadAt = .now
            check(items, now: now ?? Moment.now())
        }
        state.look(ahead: batch.map { ($0.record.offset, $0.intake) }, nowMs: (now ?? Moment.now()).epochMs)
    }

    private func check(_ items: [PartitionItem], now: Moment) {
        var isCompared = false
        for case .record(let record) in items where record.offset >= state.ledger.next {
            let intake = environment.intake.read(record)
            // One record per batch is enough.
            if !isCompared, case .dispatch(let dispatch) = intake {
                isCompared = compareClocks(record, dispatch, now: now)
            }
            switch intake {
            case .misplaced: environment.metrics.count(.misplaced, [("topic", Topic.challenges.rawValue)])
            case .bad(let reason, let detail):
                environment.metrics.count(
                    .deadLetters, [("topic", Topic.challenges.rawValue), ("reason", reason)])
                warn(
                    "a record goes to the dead letters",
                    .trace(
                        of: record.headers,
                        ["offset": "\(record.offset)", "reason": "\(reason)", "detail": "\(detail)"]), now: now)
            default: break
            }
            batch.append((record, intake))
        }
    }

    /// Only a creation tells the time: its timestamp is under no MAC, but the time at which the challenge was created is,
    /// and the two belong together.
    /// - Returns: false when the record tells nothing.
    private func compareClocks(_ record: ConsumedRecord, _ dispatch: CheckedDispatch, now: Moment) -> Bool {
        let createdAtMs = dispatch.dispatch.createdAtMs
        guard dispatch.id == .creation, Timestamp.range.contains(createdAtMs),
            (createdAtMs - 60_000...createdAtMs + 60_000).contains(record.timestampMs)
        else { return false }
        let isNew = knownEnd.map { record.offset >= $0.offset } ?? false
        environment.clock.read(
            timestampMs: record.timestampMs, appendedAfterSteadyMs: isNew ? knownEnd?.askedAtSteadyMs : nil, now: now)
        return true
    }

    // MARK: - Facts

    func take(_ ends: LaneEnds, now: Moment) {
        knownEnd = (ends.challenges, ends.askedAtSteadyMs)
        if case .catchingUp = stage, ends.outcomes != nil {
            // The reader detects this too and tells the service, which counts it.
            if case .catchingUp(nil) = stage { _ = state.startOver(ifCutAt: ends.challenges) }
            stage = .catchingUp(ends)
            state.inherit(below: ends.challenges)
        }
        if let receipts = ends.receipts, let resolutions = ends.resolutions {
            state.freshness.ask(atMs: ends.askedAtSteadyMs, receipts: receipts, resolutions: resolutions)
        }
        state.checkpoint(
            challengesEnd: ends.challenges, receipts: ends.receiptsRead, resolutions: ends.resolutionsRead, now: now)
    }

    /// - Returns: true when a reader returned as many items as requested.
    func readFacts(now: Moment) -> Bool {
        var isMore = false
        isMore = read(lane.readers.outcomes, .outcomes, OutcomeRecord.self) { state, value in
            if case .push(let outcome) = value.kind { state.read(outcome: outcome, nowMs: now.epochMs) }
        } reach: { state, offset in
            state.reach(outcomes: offset)
        }
        isMore =
            read(lane.readers.receipts, .receipts, Receipt.self) { state, value in
                state.read(receipt: value, nowMs: now.epochMs)
            } reach: { state, offset in
                state.reach(receipts: offset)
            } || isMore
        isMore =
            read(lane.readers.resolutions, .resolutions, Resolution.self) { state, value in
                state.read(resolution: value, nowMs: now.epochMs)
            } reach: { state, offset in
                state.reach(resolutions: offset)
            } || isMore
        state.freshness.reach(receipts: state.receipts, resolutions: state.resolutions)
        return isMore
    }

    private func read<Value: RecordValue>(
        _ reader: PartitionReader, _ topic: Topic, _ type: Value.Type, apply: (inout LaneState, Value) -> Void,
        reach: (inout LaneState, Int64) -> Void
    ) -> Bool {
        guard let items = items(reader, topic, max: Self.factsPerTurn) else { return false }
        for item in items {
            switch item {
            case .endOfPartition(let offset): reach(&state, offset)
            case .record(let record):
                reach(&state, record.offset + 1)
                if topic == .outcomes, record.headers.value(of: Lane.writerHeader) == writer { continue }
                do throws(RecordFault) {
                    apply(&state, try environment.intake.records.open(record, as: type))
                } catch {
                    count(error, in: topic)
                }
            }
        }
        return items.count == Self.factsPerTurn
    }

    /// The tracker writes the dead letters of these topics.
    private func count(_ fault: RecordFault, in topic: Topic) {
        guard let letter = fault.deadLetter else {
            return environment.metrics.count(.misplaced, [("topic", topic.rawValue)])
        }
        environment.metrics.count(.deadLetters, [("topic", topic.rawValue), ("reason", letter.reason)])
    }

}
