import ChallengeModel
import Challenges
import Logging
import Metrics
import ServiceSupport
import Synchronization

/// Records refused calls: counts them, logs one line a minute per kind and address, and writes audit events once a
/// minute.
final class Refusals: Sendable {
    private let store: ChallengeStore
    private let tally = Mutex(RefusalTally())
    private let log: LimitedLog
    private let storeLog: StoreLog
    private let nowMs: @Sendable () -> Int64

    init(store: ChallengeStore, logger: Logger, nowMs: @escaping @Sendable () -> Int64) {
        self.store = store
        self.nowMs = nowMs
        log = LimitedLog(logger, every: .seconds(60))
        storeLog = StoreLog(logger)
    }

    /// Determines the account, and records a mark for it. An account that does not exist has no audit trail.
    func note(_ action: RefusalMark.Action, _ call: APICall, code: ProblemCode) async {
        let claim = await claim(call)
        let actor = claim?.actor ?? "anonymous"
        log.log(
            .info, "refused",
            metadata: [
                "action": "\(action.rawValue)", "code": "\(code.rawValue)", "address": "\(call.address)",
                "actor": "\(actor)", "route": "\(call.match.route.template)",
            ], cause: "\(action.rawValue) \(call.address)")
        guard let claim else { return }
        let mark = RefusalMark(
            account: claim.account, actor: actor, action: action, subject: call.subject ?? actor,
            address: call.address)
        tally.withLock { $0.add(mark) }
    }

    /// The actor that the caller claims to be, and its account; nil: no such account.
    private func claim(_ call: APICall) async -> (account: AccountSID, actor: String)? {
        switch call.credentials {
        case .backend(let login):
            let actor =
                switch login {
                case .account(let sid, _): sid.rawValue
                case .key(let sid, _): sid.rawValue
                }
            return (try? await store.account(of: login)).flatMap { $0 }.map { ($0, actor) }
        case .device(let presented):
            if let (account, _) = AccessTokenText.split(presented.text) {
                let login = Login.account(account, authToken: "")
                return (try? await store.account(of: login)).flatMap { $0 }.map { ($0, "anonymous") }
            }
            guard let token = try? presented.token.get(), let factor = try? await store.factor(keyID: token.keyID)
            else {
                return nil
            }
            return (factor.account, factor.sid.rawValue)
        case nil: return nil
        }
    }

    /// Runs until cancelled. The last counts are then written.
    func run(every interval: Duration) async {
        while !Task.isCancelled {
            try? await Task.sleep(for: interval)
            await write()
        }
    }

    func write() async {
        let refusals = tally.withLock { $0.take() }
        guard !refusals.isEmpty else { return }
        do { try await store.recordRefusals(refusals, nowMs: nowMs()) } catch {
            storeLog.warning("audit events of refusals were not written", error)
        }
    }
}

extension RefusalMark.Action {
    /// The kind of refusal of an error; nil: the error does not concern the caller's rights.
    init?(_ code: ProblemCode, isDevice: Bool) {
        switch code {
        case .authentication: self = isDevice ? .token : .login
        case .accessDenied, .forbidden: self = .role
        case .accessTokenMalformed, .factorCreationRefused: self = .accessToken
        case .deviceUnknown, .deviceHeader, .deviceSubject, .deviceClaims, .deviceNotYetValid, .deviceExpired,
            .deviceLifeTooLong, .deviceSignature, .invalidToken:
            self = .token
        case .answerRefused: self = .answer
        case .factorVerificationFailed: self = .factorProof
        default: return nil
        }
    }
}
