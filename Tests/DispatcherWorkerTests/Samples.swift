import ChallengeModel
import Foundation
import KafkaClient
import PushGateway
import PushProviders
import ServiceSupport

@testable import DispatcherWorker

/// Records as the Producer and the tracker write them.
enum Samples {
    static let account = "AC000000000000000000000000000000aa"
    static let service = "VA000000000000000000000000000000bb"
    static let keys = KeyRing.random()

    static func challenge(_ number: Int) -> String { sid("YC", number) }
    static func factor(_ number: Int = 1) -> String { sid("YF", number) }

    private static func sid(_ prefix: String, _ number: Int) -> String {
        let digits = String(number, radix: 16)
        return prefix + "03" + String(repeating: "0", count: 30 - digits.count) + digits
    }

    static func target(
        _ factor: Int = 1, platform: Platform = .fcm, token: String = "token", budget: UInt32 = 0,
        registeredAtMs: Int64 = 1000
    ) -> DispatchTarget {
        var target = DispatchTarget()
        target.factorSid = Self.factor(factor)
        target.platform = platform
        target.pushToken = token
        target.appID = "com.example.app"
        target.credentialSid = "CR00000000000000000000000000000001"
        target.backgroundBudget = budget
        target.registeredAtMs = registeredAtMs
        return target
    }

    static func dispatch(
        _ number: Int, id: String = "c", targets: [DispatchTarget] = [target()], expiresAtMs: Int64? = nil,
        background: Bool = false
    ) -> ChallengeDispatch {
        var dispatch = ChallengeDispatch()
        dispatch.accountSid = account
        dispatch.serviceSid = service
        dispatch.challengeSid = challenge(number)
        dispatch.identity = "someone"
        dispatch.dispatchID = id
        dispatch.message = "Sign in?"
        dispatch.expiresAtMs = expiresAtMs ?? Moment.now().epochMs + 120_000
        dispatch.targets = targets
        dispatch.backgroundAllowed = background
        return dispatch
    }

    static func checked(_ dispatch: ChallengeDispatch) -> CheckedDispatch {
        CheckedDispatch(
            dispatch: dispatch, id: DispatchID(dispatch.dispatchID)!, account: AccountSID(dispatch.accountSid)!,
            service: ServiceSID(dispatch.serviceSid)!, challenge: ChallengeSID(dispatch.challengeSid)!,
            factors: dispatch.targets.map { FactorSID($0.factorSid)! }, traceparent: nil)
    }

    static func value(_ dispatch: ChallengeDispatch) -> [UInt8] {
        var record = ChallengeRecord()
        record.dispatch = dispatch
        return record.protobufBytes()
    }

    static func value(_ outcome: PushOutcome) -> [UInt8] {
        var record = OutcomeRecord()
        record.push = outcome
        return record.protobufBytes()
    }

    static func outcome(
        _ number: Int, factor: Int = 1, id: String = "c", kind: PushKind = .visible, _ disposition: Disposition,
        reason: String = "", expiresAtMs: Int64
    ) -> PushOutcome {
        var outcome = PushOutcome()
        outcome.accountSid = account
        outcome.serviceSid = service
        outcome.challengeSid = challenge(number)
        outcome.factorSid = Self.factor(factor)
        outcome.dispatchID = id
        outcome.kind = kind
        outcome.disposition = disposition
        outcome.reason = reason
        outcome.expiresAtMs = expiresAtMs
        return outcome
    }

    static func receipt(_ number: Int, factor: Int = 1) -> Receipt {
        var receipt = Receipt()
        receipt.accountSid = account
        receipt.serviceSid = service
        receipt.challengeSid = challenge(number)
        receipt.factorSid = Self.factor(factor)
        receipt.channel = .visiblePush
        return receipt
    }

    static func resolution(_ number: Int) -> Resolution {
        var resolution = Resolution()
        resolution.accountSid = account
        resolution.serviceSid = service
        resolution.challengeSid = challenge(number)
        resolution.status = .approved
        return resolution
    }

    static func consumed(
        _ record: ProducerRecord, partition: Int32 = 0, offset: Int64, timestampMs: Int64 = 1
    ) -> ConsumedRecord {
        ConsumedRecord(
            topicPartition: TopicPartition(topic: record.topic, partition: partition), offset: offset,
            timestampMs: timestampMs, key: record.key, value: record.value, headers: record.headers)
    }
}
