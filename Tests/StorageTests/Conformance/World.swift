import ChallengeModel
import Challenges
import Foundation
import Synchronization
import Testing

/// A store with an account, a service that can push to APNs and FCM, and shorthands for what tests do.
struct World: Sendable {
    static let t0: Int64 = 1_800_000_000_000

    /// Of several, each call of a test is another's.
    private final class Turns: Sendable {
        let stores: [ChallengeStore]
        private let turn = Atomic(0)

        init(_ stores: [ChallengeStore]) { self.stores = stores }

        var next: ChallengeStore {
            stores[turn.wrappingAdd(1, ordering: .relaxed).oldValue % stores.count]
        }
    }

    /// Every row that was drained.
    private final class Sum: Sendable {
        private let rows = Mutex<[OutboxRow]>([])
        var all: [OutboxRow] { rows.withLock { $0 } }
        func add(_ more: [OutboxRow]) { rows.withLock { $0 += more } }
    }

    private let turns: Turns
    private let sum = Sum()
    /// What all calls of ``drain()`` took out of the outbox.
    var everything: Drained { Drained(rows: sum.all) }
    var store: ChallengeStore { turns.next }
    let account: AccountSID
    let authToken: String
    let service: ServiceSID
    let apn: CredentialSID
    let fcm: CredentialSID
    let identity = "Person-0001"

    /// - Parameter stores: one, or several on one database, as several Producers are.
    init(_ stores: ChallengeStore...) async throws { try await self.init(stores) }

    /// Makes the account and the service, and empties the outbox.
    init(_ stores: [ChallengeStore]) async throws {
        turns = Turns(stores)
        let store = stores[0]
        let account = try await store.createAccount(nowMs: Self.t0)
        self.account = account.sid
        authToken = account.authToken
        apn = try await store.createCredential(
            account: account.sid, friendlyName: "apn", secret: Self.apnsSecret, nowMs: Self.t0
        ).sid
        fcm = try await store.createCredential(
            account: account.sid, friendlyName: "fcm", secret: Self.fcmSecret, nowMs: Self.t0
        ).sid
        var new = NewService(account: account.sid, friendlyName: "shop")
        new.apnCredential = apn
        new.fcmCredential = fcm
        service = try await store.createService(new, nowMs: Self.t0).sid
        _ = try await drain()
    }

    static var apnsSecret: ProviderCredential {
        var secret = ProviderCredential()
        secret.apnsToken.teamID = "TEAM000001"
        secret.apnsToken.privateKeyPem = "-----BEGIN PRIVATE KEY-----"
        secret.apnsToken.sandbox = true
        return secret
    }

    static var fcmSecret: ProviderCredential {
        var secret = ProviderCredential()
        secret.fcm.projectID = "project"
        return secret
    }

    static func publicKey() -> [UInt8] { (0..<91).map { _ in UInt8.random(in: 0...255) } }

    func newFactor(
        _ platform: Platform = .apn, token: String? = nil, identity: String? = nil, key: [UInt8] = publicKey()
    ) -> NewFactor {
        NewFactor(
            account: account, service: service, identity: identity ?? self.identity, friendlyName: "phone",
            publicKey: key, platform: platform, pushToken: platform == .noPush ? nil : token ?? UUID().uuidString,
            appID: "com.example.app")
    }

    /// A factor, verified unless said otherwise.
    func factor(
        _ platform: Platform = .apn, token: String? = nil, identity: String? = nil, isVerified: Bool = true,
        nowMs: Int64 = t0
    ) async throws -> Factor {
        let factor = try await store.createFactor(
            newFactor(platform, token: token, identity: identity), accessToken: nil, nowMs: nowMs)
        return isVerified ? try await store.verifyFactor(factor.sid, nowMs: nowMs) : factor
    }

    func newChallenge(
        factor: FactorSID? = nil, identity: String? = nil, expiresAtMs: Int64 = t0 + 300_000, requestID: String? = nil
    ) -> NewChallenge {
        var new = NewChallenge(
            account: account, service: service, identity: identity ?? self.identity, factor: factor,
            message: "Sign in?", expiresAtMs: expiresAtMs)
        new.hiddenDetails = #"{"secret":"hush"}"#
        new.fields = #"[{"label":"IP","value":"10.0.0.1"}]"#
        new.requestID = requestID
        return new
    }

    func challenge(
        factor: FactorSID? = nil, identity: String? = nil, expiresAtMs: Int64 = t0 + 300_000, nowMs: Int64 = t0
    ) async throws -> Challenge {
        try await store.createChallenge(
            newChallenge(factor: factor, identity: identity, expiresAtMs: expiresAtMs), nowMs: nowMs
        ).0
    }

    func stored(_ sid: ChallengeSID, factor: FactorSID? = nil) async throws -> Challenge? {
        try await store.challenge(sid, account: account, service: service, identity: identity, factor: factor)
    }

    func answer(_ challenge: ChallengeSID, _ factor: FactorSID, approve: Bool = true, jwt: String = "jwt") -> Answer {
        Answer(challenge: challenge, factor: factor, isApproval: approve, signedAnswer: jwt, metadata: nil)
    }

    /// Takes every row out of the outbox.
    func drain() async throws -> Drained {
        var rows: [OutboxRow] = []
        // One relay: a row that another one holds is not drained.
        let store = turns.stores[0]
        while true {
            let claimed = try await store.outbox.claimOutbox(
                owner: "drain", limit: 500, leaseMs: 60_000, nowMs: Self.t0)
            if claimed.isEmpty {
                // Others get its lanes at once.
                try await store.outbox.leaveOutbox(owner: "drain")
                sum.add(rows)
                return Drained(rows: rows)
            }
            rows += claimed
            try await store.outbox.deleteOutbox(claimed.map(\.id), owner: "drain")
        }
    }
}

/// What left through the outbox, decoded.
struct Drained {
    let rows: [OutboxRow]

    func values(_ topic: Topic) -> [OutboxRow] { rows.filter { $0.topic == topic } }

    var events: [CloudEvent] {
        get throws { try values(.events).map { try CloudEvent(json: $0.value) } }
    }

    /// Types without `beckon.`, in order.
    var eventTypes: [String] { get throws { try events.map { String($0.type.dropFirst(7)) } } }

    func event(_ type: EventType) throws -> CloudEvent {
        try #require(try events.first { $0.type == "beckon." + type.rawValue })
    }

    var challengeRecords: [ChallengeRecord] {
        get throws { try values(.challenges).map { try ChallengeRecord(value: $0.value, contentType: nil) } }
    }

    var dispatches: [ChallengeDispatch] {
        get throws {
            try challengeRecords.compactMap { if case .dispatch(let dispatch) = $0.kind { dispatch } else { nil } }
        }
    }

    var deviceChanges: [DeviceChanged] {
        get throws {
            try challengeRecords.compactMap { if case .deviceChanged(let changed) = $0.kind { changed } else { nil } }
        }
    }

    var resolutions: [Resolution] {
        get throws { try values(.resolutions).map { try Resolution(value: $0.value, contentType: nil) } }
    }

    var receipts: [Receipt] {
        get throws { try values(.receipts).map { try Receipt(value: $0.value, contentType: nil) } }
    }
}

extension ChallengeStore {
    /// A round of everything that a Producer's sweep does.
    func sweep(limit: Int, nowMs: Int64) async throws -> Int {
        let count = try await expireDue(limit: limit, nowMs: nowMs)
        try await turnDays(nowMs: nowMs)
        try await keepHouse(limit: limit, nowMs: nowMs)
        return count
    }
}

/// The error that `body` throws; nil when it throws none.
func storeError(_ body: () async throws -> Void) async -> StoreError? {
    do {
        try await body()
        return nil
    } catch { return error as? StoreError ?? .failed("another error: \(type(of: error))") }
}
