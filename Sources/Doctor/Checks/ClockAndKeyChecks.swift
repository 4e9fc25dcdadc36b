import ServiceSupport
import Storage

extension Doctor {
    // MARK: 20

    static let clockChecks = [
        Check(
            "clock", "The clock agrees with the providers' clocks", roles: [.dispatcher], looks: [.clock],
            mistakes: [wrong, off]
        ) { facts in
            switch facts.clock {
            case .not(let because): return .skipped(because)
            case .seen(let clocks):
                // Where the providers do not agree with each other, the one that agrees with us is believed.
                guard let nearest = clocks.min(by: { abs($0.aheadMs) < abs($1.aheadMs) }) else {
                    return .skipped("no provider has told its time")
                }
                let away = abs(nearest.aheadMs)
                let saw =
                    "this clock is \(away / 1000) s \(nearest.aheadMs > 0 ? "ahead of" : "behind") \(nearest.host)"
                let values = ["seconds": "\(away / 1000)"]
                if away > 60_000 { return .found([wrong.found(saw, values)]) }
                if away > 5000 { return .found([off.found(saw, values)]) }
                return .passed("within 5 s")
            }
        }
    ]

    private static let wrong = Mistake(
        "wrong", .failure, sees: "the `Date` of the token endpoints is more than 60 s away from this machine's clock",
        means:
            "APNs refuses provider tokens (ExpiredProviderToken), Google refuses assertions (invalid_grant), and a dispatcher pushes nothing: the clock is <seconds> s off",
        mend: "set the clock and keep it right: timedatectl set-ntp true, or chronyc makestep")
    private static let off = Mistake(
        "off", .warning, sees: "the same, more than 5 s",
        means: "challenges expire early or late by <seconds> s", mend: "timedatectl set-ntp true, or chronyc makestep")

    // MARK: 21

    static let keyChecks = [
        Check(
            "keys", "The keys are those of the store and of the other roles",
            roles: [.producer, .webhooks, .dispatcher],
            looks: [.store, .configurationTopic], mistakes: [storeKey, recordKey]
        ) { facts in
            var findings: [Finding] = []
            var seen: [String] = []
            if let store = try? facts.store.value?.get(), store.schema == .served {
                seen.append("store")
                if let complaint = store.keyComplaint { findings.append(storeKey.found(complaint)) }
            }
            if let reading = facts.configurationTopic.value {
                if reading.isWhole { seen.append("topic configuration") }
                findings += reading.faults.map { recordKey.found("topic configuration: \($0)") }
            }
            if findings.isEmpty, seen.isEmpty {
                return .skipped("neither the store nor topic configuration could be read")
            }
            return .judged(findings, else: seen.joined(separator: " and "))
        }
    ]

    private static let storeKey = Mistake(
        "store-key", .failure,
        sees: "BECKON_STORE_KEYS has no key, or another key, for a key id that the store is sealed with",
        means: "auth tokens, credentials and secrets in the store cannot be opened; no role starts with these keys",
        mend:
            "set BECKON_STORE_KEYS to the keys that the store was sealed with, the new key first and the former behind it; then beckon secrets reseal, and only then leave the former out"
    )
    private static let recordKey = Mistake(
        "record-key", .failure,
        sees: "a record of topic `configuration` whose MAC is wrong, or whose key is missing",
        means:
            "this dispatcher and the producers have different BECKON_RECORD_KEYS or BECKON_CONFIGURATION_KEYS, or a stranger writes to the topic: the dispatcher pushes nothing with these credentials",
        mend:
            "give all roles the same BECKON_RECORD_KEYS, and producers and dispatchers the same BECKON_CONFIGURATION_KEYS; to change them, add the new key behind the first on every role, then move it to the front"
    )
}
