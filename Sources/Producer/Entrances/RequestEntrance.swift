import ChallengeModel
import Challenges
import KafkaClient
import KafkaGroup
import Logging
import ServiceSupport
import Tracing
import Wire

/// Reads topic `requests`. A record becomes a challenge, an event `request.rejected`, or a dead letter. Only then is
/// the record done.
struct RequestEntrance: Sendable {
    static let name = "requests"

    let store: ChallengeStore
    let deadLetters: DeadLetters
    let account: AccountSID
    let pressure: OutboxPressure
    let clock: @Sendable () -> Int64
    let metrics: ProducerMetrics
    let log: StoreLog
    /// The consumer group, for spans.
    let group: String
    /// Nil: no spans are made.
    let tracer: ServiceTracer?

    /// The record is read once, so that its lifetime starts at the latest at its arrival, however often the store is
    /// tried.
    func work(_ record: ConsumedRecord) -> RecordWork {
        let caller = record.headers.traceContext
        let span = tracer?.receive(record, group: group, after: caller)
        let reading = RequestReading(
            value: record.value, contentType: record.headers.text(of: ContentType.headerName),
            timestampMs: record.timestampMs,
            traceparent: span?.text ?? caller, account: account, nowMs: clock())
        return RecordWork(order: reading.order) {
            let isDone = await LogContext.$current.withValue(LogContext(trace: span?.text ?? caller)) {
                await carryOut(reading, of: record)
            }
            if !isDone { span?.fail("handed-over") }
            span?.end()
            return isDone
        }
    }

    private func carryOut(_ reading: RequestReading, of record: ConsumedRecord) async -> Bool {
        var backoff = Backoff()
        while !Task.isCancelled {
            switch reading {
            case .deadLetter(let reason, let detail):
                guard await deadLetters.send(record, reason: reason, detail: detail) else { return false }
                metrics.entrance(Self.name, .deadLetter)
                return true
            case .reject(let rejection): if await isDone(rejection) { return true }
            case .create(let new): if await isDone(new) { return true }
            }
            metrics.entranceRetry(Self.name)
            guard await backoff.wait() else { return false }
        }
        return false
    }

    private func isDone(_ new: NewChallenge) async -> Bool {
        guard !pressure.isOver else { return false }
        do {
            let (_, isNew) = try await ChangeContext.$current.withValue(ChangeContext(actor: "kafka")) {
                try await store.createChallenge(new, nowMs: clock())
            }
            if isNew { metrics.challengeCreated(source: "kafka") }
            metrics.entrance(Self.name, isNew ? .accepted : .repeated)
            return true
        } catch let error as StoreError {
            switch error {
            case .requestClosed:
                metrics.entrance(Self.name, .repeated)
                return true
            // These are faults of Beckon, so no event is written and the request is tried again. Every other refusal is
            // published and is therefore final.
            case .busy, .closed, .failed, .unavailable:
                log.warning("a request waits for the store", error)
                return false
            default: return await isDone(RequestRejection(new, error: error))
            }
        } catch {
            log.warning("a request waits for the store", error)
            return false
        }
    }

    private func isDone(_ rejection: RequestRejection) async -> Bool {
        do {
            let isNew = try await store.rejectRequest(
                rejection.requestID, account: account, service: rejection.service,
                eventID: rejection.eventID(account: account), data: rejection.data, nowMs: clock())
            metrics.entrance(Self.name, isNew ? .rejected : .repeated)
            return true
        } catch {
            log.warning("a rejection waits for the store", error)
            return false
        }
    }
}
