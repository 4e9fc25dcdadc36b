import ChallengeModel
import KafkaClient
import KafkaGroup
import Logging
import PushGateway
import PushProviders
import ServiceSupport
import Tracing

/// The lane's output: pushes to the gateway, records to Kafka, lines to the log.
extension LaneLoop {
    func perform(_ steps: [LaneStep]) {
        for step in steps {
            switch step {
            case .send(let id, let push):
                send(id, push)
            case .write(let id, let write):
                let span = span(of: write)
                environment.producer.enqueue(record(of: write, in: span)) { [lane] result in
                    span?.end(result)
                    lane.post { $0.reports.append((id, result)) }
                }
            case .answered(let push):
                environment.metrics.answered(push)
            case .dropped(let reason):
                environment.metrics.dropped(reason)
            case .held:
                environment.metrics.count(.attemptsHeld)
            case .unsure:
                environment.metrics.count(.attemptsUnsure)
                warn("a push leaves although the newest receipts could not be read", [:], now: Moment.now())
            }
        }
    }

    private func send(_ id: UInt64, _ push: Push) {
        var push = push
        push.permit = environment.permit
        let span = span(of: push, id)
        environment.sender.send(push) { [lane] answer in
            span?.end(answer)
            lane.post { $0.answers.append((id, answer)) }
        }
    }

    func take(_ result: Result<RecordPosition, KafkaError>, of id: UInt64, now: Moment) {
        switch result {
        case .success(let position):
            let record = spans.isEmpty ? nil : state.writes[id]?.record
            state.acknowledged(id, at: position, nowMs: now.epochMs)
            if let record, state.open[record] == nil { spans.removeValue(forKey: record)?.end() }
        case .failure(let error):
            environment.metrics.count(.writeRetries)
            warn(
                "a write was not acknowledged and is tried again",
                .trace(state.writes[id]?.write.traceparent, ["error": "\(error)"]), now: now)
            state.writeFailed(id, isTooLarge: error.isTooLarge, now: now)
        }
    }

    private func record(of write: LaneWrite, in span: ServiceSpan?) -> ProducerRecord {
        switch write {
        case .outcome(let outcome, let traceparent):
            var value = OutcomeRecord()
            value.push = outcome
            var record = environment.intake.records.signer.record(
                .outcomes, key: outcome.challengeSid, value: value.protobufBytes(),
                traceparent: span?.text ?? traceparent)
            record.headers.append(RecordHeader(Lane.writerHeader, lane.writer))
            return record
        case .deadLetter(let record, let reason, let detail):
            return environment.intake.records.signer.deadLetter(record, reason: reason, detail: detail)
        case .repost(let record): return environment.intake.records.moved(record)
        }
    }

    /// Logs at most once a second per lane. The counters show a flood of bad records or an outage.
    func warn(_ message: Logger.Message, _ metadata: Logger.Metadata, now: Moment) {
        guard now.steadyMs >= quietUntilMs else {
            unsaid += 1
            return
        }
        var metadata = metadata
        metadata["partition"] = "\(lane.partition)"
        if unsaid > 0 { metadata["unsaid"] = "\(unsaid)" }
        environment.logger.warning(message, metadata: metadata)
        unsaid = 0
        quietUntilMs = now.steadyMs + 1000
    }

}
