import ChallengeModel
import KafkaClient
import ServiceSupport
import SwiftProtobuf
import TestSupport

/// Records of one challenge and its devices as their writers write them, and spoilt: signed with the right keys, so
/// that readers have to look at what they say.
struct RecordSource {
    static let keys = KeyRing.random()
    static let signer = RecordSigner(names: TopicNames(), authenticator: RecordAuthenticator(keys: keys))
    static let account = AccountSID.generate(nowMs: 1_760_000_000_000)
    static let service = ServiceSID.generate(nowMs: 1_760_000_000_000)

    let challenges: [ChallengeSID]
    let factors: [FactorSID]
    var nowMs: Int64
    private var offsets: [Topic: Int64] = [:]

    init(_ generator: inout SeededGenerator) {
        nowMs = 1_760_000_000_000 + Int64.random(in: 0...100_000_000_000, using: &generator)
        func digits() -> String {
            (0..<30).map { _ in String(Int.random(in: 0..<16, using: &generator), radix: 16) }.joined()
        }
        challenges = (0..<2).compactMap { _ in ChallengeSID("YC03" + digits()) }
        factors = (0..<3).compactMap { _ in FactorSID("YF03" + digits()) }
    }

    mutating func next(_ topic: Topic, _ generator: inout SeededGenerator) -> ConsumedRecord {
        let challenge = generator.pick(challenges)
        let message: any Message
        switch topic {
        case .challenges: message = challengeRecord(challenge, &generator)
        case .outcomes: message = outcomeRecord(challenge, &generator)
        case .receipts: message = receipt(challenge, &generator)
        case .resolutions: message = resolution(challenge, &generator)
        case .requests: message = request(&generator)
        default: message = entranceReceipt(challenge, &generator)
        }
        let isJSON = generator.chance(6)
        var value = isJSON ? ((try? message.jsonUTF8Bytes()) ?? []) : message.protobufBytes()
        if isJSON {
            value = Array(
                generator.withOddNumbers(String(decoding: value, as: UTF8.self), nowMs: nowMs, oneIn: 4, digits: 9).utf8
            )
        } else if !generator.chance(3) {
            value = generator.spoiled(value, nowMs: nowMs)
        }
        if generator.chance(30) { value = generator.broken(value) }
        let key = generator.chance(100) ? "x" : challenge.rawValue
        let made = Self.signer.record(topic, key: key, value: value, contentType: isJSON ? .json : .protobuf)
        let offset = offsets[topic, default: 0]
        offsets[topic] = offset + Int64.random(in: 1...2, using: &generator)
        let timestampMs = generator.chance(5) ? generator.number(nowMs: nowMs) : nowMs
        return ConsumedRecord(
            topicPartition: TopicPartition(topic: made.topic, partition: 0), offset: offset, timestampMs: timestampMs,
            key: made.key, value: made.value, headers: made.headers)
    }

    /// The offset of the next record.
    func end(_ topic: Topic) -> Int64 { offsets[topic] ?? 0 }

    // MARK: - Values

    func dispatch(_ challenge: ChallengeSID, _ generator: inout SeededGenerator) -> ChallengeDispatch {
        var dispatch = ChallengeDispatch()
        dispatch.accountSid = Self.account.rawValue
        dispatch.serviceSid = Self.service.rawValue
        dispatch.challengeSid = challenge.rawValue
        dispatch.identity = "person"
        dispatch.message = String(repeating: "Sign in? ", count: generator.pick([1, 28, 600]))
        dispatch.dispatchID = generator.pick(["c", "c", "t1", "t2", "t55", "n:NT" + String(repeating: "0a", count: 16)])
        dispatch.createdAtMs = nowMs - Int64.random(in: 0...100_000, using: &generator)
        dispatch.expiresAtMs = nowMs + Int64.random(in: -10_000...3_600_000, using: &generator)
        if generator.chance(4) {
            dispatch.pushExpiresAtMs = nowMs + Int64.random(in: -20_000...60_000, using: &generator)
        }
        dispatch.redelivery.maxAttempts = UInt32.random(in: 0...10, using: &generator)
        dispatch.redelivery.expectedLatencyMs = generator.pick([0, 500, 8000, 60_000])
        dispatch.redelivery.adaptive = generator.chance(4)
        dispatch.redelivery.confirm = generator.pick([.unspecified, .each, .any])
        dispatch.fallbacks = ["sms"]
        dispatch.backgroundAllowed = generator.chance(2)
        dispatch.targets = factors.prefix(Int.random(in: 0...3, using: &generator)).map { target($0, &generator) }
        return dispatch
    }

    private func target(_ factor: FactorSID, _ generator: inout SeededGenerator) -> DispatchTarget {
        var target = DispatchTarget()
        target.factorSid = factor.rawValue
        target.platform = generator.pick([.apn, .fcm, .hms, .noPush, .webpush])
        target.pushToken = String(repeating: "ab", count: 32)
        target.appID = "com.example"
        target.credentialSid = "CR" + String(repeating: "01", count: 16)
        target.environment = generator.pick([.environmentUnspecified, .production, .sandbox])
        target.registeredAtMs = nowMs - Int64.random(in: 0...1_000_000, using: &generator)
        target.backgroundBudget = UInt32.random(in: 0...3, using: &generator)
        target.notificationsDisabled = generator.chance(8)
        return target
    }

    private func challengeRecord(_ challenge: ChallengeSID, _ generator: inout SeededGenerator) -> ChallengeRecord {
        var record = ChallengeRecord()
        switch Int.random(in: 0..<6, using: &generator) {
        case 0:
            record.deviceChanged.challengeSid = challenge.rawValue
            record.deviceChanged.factorSid = generator.pick(factors).rawValue
            record.deviceChanged.gone = generator.chance(3)
            if !record.deviceChanged.gone { record.deviceChanged.target = target(factors[0], &generator) }
        case 1:
            record.carried.dispatch = dispatch(challenge, &generator)
            record.carried.attempts = UInt32.random(in: 0...9, using: &generator)
            record.carried.lastAttemptNumber = UInt32.random(in: 0...55, using: &generator)
            record.carried.closed = generator.chance(4)
            record.carried.escalated = generator.chance(4)
            record.carried.devices = factors.map { factor in
                var progress = DeviceProgress()
                progress.factorSid = factor.rawValue
                progress.accepted = UInt32.random(in: 0...64, using: &generator)
                progress.backgroundUsed = UInt32.random(in: 0...64, using: &generator)
                progress.confirmed = generator.chance(3)
                progress.unreachable = generator.chance(3)
                progress.reason = generator.pick(["token-dead", "refused", "hidden", ""])
                progress.hidden = generator.chance(3)
                return progress
            }
        default: record.dispatch = dispatch(challenge, &generator)
        }
        return record
    }

    private func outcomeRecord(_ challenge: ChallengeSID, _ generator: inout SeededGenerator) -> OutcomeRecord {
        var record = OutcomeRecord()
        if generator.chance(5) {
            record.escalation.accountSid = Self.account.rawValue
            record.escalation.serviceSid = Self.service.rawValue
            record.escalation.challengeSid = challenge.rawValue
            record.escalation.attempts = 3
            record.escalation.expiresAtMs = nowMs + 100_000
            record.escalation.atMs = nowMs
            var failure = DeviceFailure()
            failure.factorSid = factors[0].rawValue
            failure.reason = "no-receipt"
            failure.attempts = 3
            failure.lastAttemptAtMs = nowMs - 1000
            record.escalation.devices = [failure]
            return record
        }
        record.push.accountSid = Self.account.rawValue
        record.push.serviceSid = Self.service.rawValue
        record.push.challengeSid = challenge.rawValue
        record.push.factorSid = generator.pick(factors).rawValue
        record.push.dispatchID = generator.pick(["c", "t1", "t2", "t55", "n:NT" + String(repeating: "0a", count: 16)])
        record.push.kind = generator.pick([.visible, .visible, .background, .unspecified])
        record.push.disposition = generator.pick(Disposition.allCases)
        record.push.dropReason = generator.pick(DropReason.allCases)
        record.push.reason = generator.pick(["", "BadDeviceToken", "timeout", "drained"])
        record.push.providerStatus = generator.pick([0, 200, 410, 503])
        record.push.platform = generator.pick(Platform.allCases)
        record.push.credentialSid = "CR" + String(repeating: "01", count: 16)
        record.push.registeredAtMs = nowMs - 1_000_000
        record.push.expiresAtMs = nowMs + 100_000
        record.push.sentAtMs = nowMs - 20
        record.push.atMs = nowMs
        if record.push.disposition == .deferred { record.push.retryAtMs = nowMs + 5000 }
        if record.push.disposition == .tokenDead { record.push.tokenDiedAtMs = nowMs - 1000 }
        return record
    }

    private func receipt(_ challenge: ChallengeSID, _ generator: inout SeededGenerator) -> Receipt {
        var receipt = Receipt()
        receipt.accountSid = Self.account.rawValue
        receipt.serviceSid = Self.service.rawValue
        receipt.challengeSid = challenge.rawValue
        receipt.factorSid = generator.pick(factors).rawValue
        receipt.dispatchID = generator.pick(["", "c", "t1"])
        receipt.channel = generator.pick(ReceiptChannel.allCases)
        receipt.shown = generator.pick(Shown.allCases)
        receipt.receivedAtMs = nowMs
        receipt.deviceTimeMs = generator.chance(2) ? 0 : nowMs
        return receipt
    }

    private func entranceReceipt(_ challenge: ChallengeSID, _ generator: inout SeededGenerator) -> Receipt {
        var receipt = Receipt()
        receipt.receiptToken = ReceiptToken(
            account: Self.account, service: Self.service, challenge: challenge, factor: factors[0], dispatch: .creation,
            expiresAtMs: nowMs + 100_000
        ).sealed(with: Self.keys)
        receipt.channel = generator.pick(ReceiptChannel.allCases)
        receipt.shown = generator.pick(Shown.allCases)
        receipt.deviceTimeMs = nowMs
        return receipt
    }

    private func resolution(_ challenge: ChallengeSID, _ generator: inout SeededGenerator) -> Resolution {
        var resolution = Resolution()
        resolution.accountSid = Self.account.rawValue
        resolution.serviceSid = Self.service.rawValue
        resolution.challengeSid = challenge.rawValue
        resolution.status = generator.pick(ResolutionStatus.allCases)
        resolution.factorSid = factors[0].rawValue
        resolution.atMs = nowMs
        return resolution
    }

    private func request(_ generator: inout SeededGenerator) -> ChallengeRequest {
        var request = ChallengeRequest()
        request.requestID = "r\(Int.random(in: 0..<1000, using: &generator))"
        request.serviceSid = Self.service.rawValue
        request.identity = "person-0001"
        request.message = "Sign in?"
        request.hiddenDetails = ["a": "b"]
        request.ttlSeconds = generator.pick([0, 60, 3600])
        request.redelivery.maxAttempts = 3
        request.redelivery.expectedLatencyMs = 8000
        request.fallbacks = ["sms"]
        request.actionKey = "action"
        request.numberMatching = generator.chance(2)
        request.numberDigits = 2
        return request
    }
}
