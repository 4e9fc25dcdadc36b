import ChallengeModel
import KafkaClient
import KafkaGroup
import ServiceSupport

/// A checked record of `challenges`.
enum Intake: Sendable {
    case dispatch(CheckedDispatch)
    case deviceChanged(DeviceChanged)
    /// A state of the tracker, which needs no push.
    case carried
    /// Its key belongs to another partition.
    case misplaced
    /// The record goes to `dead-letters`; `reason` is a stable word.
    case bad(reason: String, detail: String)
}

/// A dispatch whose identifiers are valid. It is a class, because it passes through a batch, the pushes of a record and
/// their outcomes, and each copy of a struct would copy a dozen strings.
final class CheckedDispatch: Sendable {
    let dispatch: ChallengeDispatch
    let id: DispatchID
    let account: AccountSID
    let service: ServiceSID
    let challenge: ChallengeSID
    /// The factors of the targets, in order.
    let factors: [FactorSID]
    /// The trace context that the pushes and outcomes follow.
    let traceparent: String?

    init(
        dispatch: ChallengeDispatch, id: DispatchID, account: AccountSID, service: ServiceSID, challenge: ChallengeSID,
        factors: [FactorSID], traceparent: String?
    ) {
        self.dispatch = dispatch
        self.id = id
        self.account = account
        self.service = service
        self.challenge = challenge
        self.factors = factors
        self.traceparent = traceparent
    }

    /// The same dispatch, whose pushes and outcomes follow `context`.
    func following(_ context: String) -> CheckedDispatch {
        CheckedDispatch(
            dispatch: dispatch, id: id, account: account, service: service, challenge: challenge, factors: factors,
            traceparent: context)
    }
}

/// Checks records of `challenges`: first like every record (``RecordIntake``), then their fields.
struct ChallengeIntake: Sendable {
    /// Also used for records of the other three topics.
    let records: RecordIntake

    func read(_ record: ConsumedRecord) -> Intake {
        do throws(RecordFault) {
            return try read(try records.open(record, as: ChallengeRecord.self), of: record)
        } catch {
            guard let letter = error.deadLetter else { return .misplaced }
            return .bad(reason: letter.reason, detail: letter.description)
        }
    }

    private func read(_ value: ChallengeRecord, of record: ConsumedRecord) throws(RecordFault) -> Intake {
        do throws(RecordFormatError) {
            switch value.kind {
            case .dispatch(let dispatch): return .dispatch(try check(dispatch, of: record))
            case .deviceChanged(let changed):
                try key(of: record, is: changed.challengeSid)
                guard FactorSID(changed.factorSid)?.rawValue == changed.factorSid else {
                    throw wrong("factor_sid", "YF")
                }
                return .deviceChanged(changed)
            case .carried: return .carried
            case nil:
                throw RecordFormatError(
                    reason: "field",
                    "the record holds none of dispatch, device_changed, carried that this version knows")
            }
        } catch {
            throw .unreadable(error)
        }
    }

    private func check(
        _ dispatch: ChallengeDispatch, of record: ConsumedRecord
    ) throws(RecordFormatError) -> CheckedDispatch {
        // Only the canonical (lower-case) form is accepted, because later code compares strings.
        guard let account = AccountSID(dispatch.accountSid), account.rawValue == dispatch.accountSid else {
            throw wrong("account_sid", "AC")
        }
        guard let service = ServiceSID(dispatch.serviceSid), service.rawValue == dispatch.serviceSid else {
            throw wrong("service_sid", "VA")
        }
        guard let challenge = ChallengeSID(dispatch.challengeSid), challenge.rawValue == dispatch.challengeSid else {
            throw wrong("challenge_sid", "YC")
        }
        try key(of: record, is: dispatch.challengeSid)
        guard let id = DispatchID(dispatch.dispatchID) else {
            throw RecordFormatError(reason: "field", "dispatch_id is none of c, t<n>, n:<NT sid>")
        }
        guard !dispatch.targets.isEmpty else {
            throw RecordFormatError(reason: "field", "targets is empty; expected the devices to push to")
        }
        var factors: [FactorSID] = []
        factors.reserveCapacity(dispatch.targets.count)
        for target in dispatch.targets {
            guard let factor = FactorSID(target.factorSid), factor.rawValue == target.factorSid else {
                throw wrong("factor_sid", "YF")
            }
            factors.append(factor)
        }
        guard factors.count == 1 || Set(factors).count == factors.count else {
            throw RecordFormatError(reason: "field", "a factor_sid stands twice in targets")
        }
        return CheckedDispatch(
            dispatch: dispatch, id: id, account: account, service: service, challenge: challenge, factors: factors,
            traceparent: record.headers.traceContext)
    }

    private func key(of record: ConsumedRecord, is challenge: String) throws(RecordFormatError) {
        guard record.key.elementsEqual(challenge.utf8) else {
            throw RecordFormatError(reason: "field", "the key is not the record's challenge_sid")
        }
    }

    private func wrong(_ field: String, _ prefix: String) -> RecordFormatError {
        RecordFormatError(reason: "field", "\(field) is not \(prefix) and 32 lower-case hexadecimal digits")
    }
}
