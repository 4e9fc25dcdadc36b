import ChallengeModel
import KafkaClient
import PushGateway
import PushProviders
import ServiceSupport
import Tracing

/// The spans of a lane: one per record, and after it one per push and one per outcome. Without a tracer each function
/// is one test; without a recorded trace it allocates nothing.
extension LaneLoop {
    /// Begins the span of a record that is taken. Its pushes and outcomes follow this span.
    func traced(_ intake: Intake, of record: ConsumedRecord) -> Intake {
        guard let tracer = environment.tracer, case .dispatch(let checked) = intake,
            let span = tracer.process(record, group: environment.group, after: checked.traceparent)
        else { return intake }
        span.set(.messagingKey, .string(checked.dispatch.challengeSid))
        span.set(.dispatch, .string(checked.dispatch.dispatchID))
        spans[record.offset] = span
        return .dispatch(checked.following(span.text))
    }

    /// The span of a push, from its hand-over to the gateway until the answer. It names neither the device's token nor
    /// the text.
    func span(of push: Push, _ id: UInt64) -> ServiceSpan? {
        guard let tracer = environment.tracer, let unit = state.units[id] else { return nil }
        let provider = push.platform.word ?? "other"
        guard let span = tracer.span("POST \(provider)", .client, after: unit.dispatch.traceparent) else { return nil }
        span.set(.httpMethod, "POST")
        span.set(.provider, .string(provider))
        span.set(.pushKind, .string(push.kind == .background ? "background" : "visible"))
        span.set(.challenge, .string(push.challengeSID))
        span.set(.factor, .string(push.factorSID))
        span.set(.dispatch, .string(push.dispatchID))
        if push.platform == .apn { span.set(.apnsID, .string(push.pushID)) }
        return span
    }

    /// The span of an outcome that is written.
    func span(of write: LaneWrite) -> ServiceSpan? {
        guard let tracer = environment.tracer, case .outcome(let outcome, let context) = write else { return nil }
        let span = tracer.send(.outcomes, environment.names, key: outcome.challengeSid, after: context)
        span?.set(.dispatch, .string(outcome.dispatchID))
        span?.set(.disposition, .string(outcome.disposition.metricLabel))
        return span
    }

    /// Ends the spans of records that the lane gives back.
    func endSpans() {
        for span in spans.values {
            span.fail("handed-over")
            span.end()
        }
        spans = [:]
    }
}

extension ServiceSpan {
    /// Ends the span of a push. The provider's own reason is left out, because its text is not ours.
    func end(_ answer: PushAnswer) {
        let word = answer.disposition.metricLabel
        set(.disposition, .string(word))
        if answer.status > 0 { set(.httpStatus, .int64(Int64(answer.status))) }
        if answer.disposition != .accepted { fail(word) }
        end()
    }
}
