import ChallengeModel
import KafkaClient

/// One record of the four topics, decoded and checked.
struct Fact: Sendable {
    enum Kind: Sendable {
        case dispatch(ChallengeDispatch, DispatchID, factors: [PackedSID])
        case deviceChanged(DeviceChanged, factor: PackedSID)
        case carried(CarriedChallenge, factors: [PackedSID])
        case outcome(PushOutcome, DispatchID, factor: PackedSID)
        case escalation(Escalation)
        case receipt(Receipt, factor: PackedSID)
        case resolution(Resolution)
    }

    let challenge: PackedSID
    let kind: Kind
    var traceparent = ""

    /// The service that the record names; "": none.
    var service: String {
        switch kind {
        case .dispatch(let dispatch, _, _): dispatch.serviceSid
        case .deviceChanged: ""
        case .carried(let carried, _): carried.dispatch.serviceSid
        case .outcome(let outcome, _, _): outcome.serviceSid
        case .escalation(let escalation): escalation.serviceSid
        case .receipt(let receipt, _): receipt.serviceSid
        case .resolution(let resolution): resolution.serviceSid
        }
    }

    init(challenge: PackedSID, kind: Kind, traceparent: String = "") {
        self.challenge = challenge
        self.kind = kind
        self.traceparent = traceparent
    }

    /// Decodes the value of a record with a valid MAC. ``Plausibility`` checks whether the values are possible.
    /// - Throws: ``RecordFormatError``; the record is poison.
    init(_ topic: Topic, _ record: ConsumedRecord) throws(RecordFormatError) {
        let contentType = record.headers.text(of: ContentType.headerName)
        let sid: String
        switch topic {
        case .challenges:
            let value = try ChallengeRecord(value: record.value, contentType: contentType)
            switch value.kind {
            case .dispatch(let dispatch):
                kind = .dispatch(
                    dispatch, try Self.dispatchID(dispatch.dispatchID), factors: try Self.factors(dispatch))
                sid = dispatch.challengeSid
            case .deviceChanged(let changed):
                kind = .deviceChanged(changed, factor: try Self.factor(changed.factorSid))
                sid = changed.challengeSid
            case .carried(let carried):
                kind = .carried(carried, factors: try Self.factors(carried.dispatch))
                sid = carried.dispatch.challengeSid
            case nil: throw RecordFormatError(reason: "empty", "a challenge record without any kind")
            }
            traceparent = record.headers.text(of: RecordHeaderName.traceparent) ?? ""
        case .outcomes:
            let value = try OutcomeRecord(value: record.value, contentType: contentType)
            switch value.kind {
            case .push(let outcome):
                kind = .outcome(
                    outcome, try Self.dispatchID(outcome.dispatchID), factor: try Self.factor(outcome.factorSid))
                sid = outcome.challengeSid
            case .escalation(let escalation):
                kind = .escalation(escalation)
                sid = escalation.challengeSid
            case nil: throw RecordFormatError(reason: "empty", "an outcome record without any kind")
            }
        case .receipts:
            let receipt = try Receipt(value: record.value, contentType: contentType)
            kind = .receipt(receipt, factor: try Self.factor(receipt.factorSid))
            sid = receipt.challengeSid
        case .resolutions:
            let resolution = try Resolution(value: record.value, contentType: contentType)
            guard resolution.status != .resolutionUnspecified else { throw Self.bad("status") }
            kind = .resolution(resolution)
            sid = resolution.challengeSid
        default:
            throw RecordFormatError(reason: "field", "the tracker does not read \(topic.rawValue)")
        }
        guard let challenge = PackedSID(sid, prefix: ChallengeKind.prefix) else { throw Self.bad("challenge_sid") }
        guard record.key.elementsEqual(sid.utf8) else {
            throw RecordFormatError(reason: "field", "the key is not the record's challenge_sid")
        }
        self.challenge = challenge
    }

    private static func dispatchID(_ text: String) throws(RecordFormatError) -> DispatchID {
        guard let id = DispatchID(text) else { throw bad("dispatch_id") }
        return id
    }

    private static func factors(_ dispatch: ChallengeDispatch) throws(RecordFormatError) -> [PackedSID] {
        guard dispatch.expiresAtMs > 0 else { throw bad("expires_at_ms") }
        var factors: [PackedSID] = []
        for target in dispatch.targets { factors.append(try factor(target.factorSid)) }
        return factors
    }

    private static func factor(_ text: String) throws(RecordFormatError) -> PackedSID {
        guard let factor = PackedSID(text, prefix: FactorKind.prefix) else { throw bad("factor_sid") }
        return factor
    }

    private static func bad(_ field: String) -> RecordFormatError {
        RecordFormatError(reason: "field", "\(field) is missing or malformed")
    }
}
