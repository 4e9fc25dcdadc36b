import Simulators
import Synchronization
import TestSupport
import Wire

/// A steady load of creations for the phones of ``AlertStage``.
final class AlertLoad: Sendable {
    /// Whose phones: the prefix of their identities.
    enum Kind: String, CaseIterable, Sendable {
        case apn = "apn-"
        case fcm = "fcm-"
        case hms = "hms-"
        /// Phones of FCM that lose every push, so that the tracker pushes again.
        case quiet = "quiet-"
    }

    static let phonesOfKind = 4
    /// Creations under way at once; at this number a turn is left out.
    private static let most = 48
    private let backend: BackendClient
    private let service: String
    private let perSecond = Mutex<[Kind: Double]>([:])
    private let underWay = Atomic(0)

    init(_ cluster: BeckonCluster, service: String) {
        backend = BackendClient(
            apiURL: cluster.apiURL, accountSID: cluster.account.sid, authToken: cluster.account.authToken,
            client: cluster.client, deadline: .seconds(10))
        self.service = service
    }

    /// - Parameter rates: creations a second.
    func set(_ rates: [Kind: Double]) { perSecond.withLock { $0 = rates } }

    /// Two a second for each kind.
    func setSteady() { set([.apn: 2, .fcm: 2, .hms: 2, .quiet: 1]) }

    /// Creates until cancelled. A creation that fails is not repeated: faults are the purpose of the campaign.
    func run() async {
        await withDiscardingTaskGroup { group in
            var owed: [Kind: Double] = [:]
            var number = 0
            var last = ContinuousClock.now
            while !Task.isCancelled {
                let now = ContinuousClock.now
                // After a pause of the machine it does not catch up.
                let seconds = min((now - last) / .seconds(1), 0.5)
                last = now
                for (kind, rate) in perSecond.withLock({ $0 }) {
                    owed[kind, default: 0] += rate * seconds
                    while owed[kind, default: 0] >= 1 {
                        owed[kind, default: 0] -= 1
                        number += 1
                        guard underWay.load(ordering: .relaxed) < Self.most else { continue }
                        underWay.add(1, ordering: .relaxed)
                        let identity = kind.rawValue + String(100_001 + number % Self.phonesOfKind).dropFirst()
                        group.addTask { [self] in
                            _ = try? await backend.createChallenge(
                                serviceSID: service, identity: identity, Self.draft(kind))
                            underWay.subtract(1, ordering: .relaxed)
                        }
                    }
                }
                try? await Task.sleep(for: .milliseconds(50))
            }
        }
    }

    private static func draft(_ kind: Kind) -> ChallengeDraft {
        var draft = ChallengeDraft(message: "Sign in?")
        switch kind {
        case .apn, .fcm: draft.expiresAtMs = Timestamp.nowMs() + 120_000
        // Short: those that are not pushed end soon.
        case .hms: draft.expiresAtMs = Timestamp.nowMs() + 6000
        case .quiet:
            draft.expiresAtMs = Timestamp.nowMs() + 30_000
            draft.expectedLatencyMs = 1000
            draft.maxAttempts = 3
        }
        return draft
    }
}
