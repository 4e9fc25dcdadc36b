import ChallengeModel
import Testing

@Suite("Lifecycles")
struct LifecycleTests {
    @Test(
        "a pending challenge before its expiry takes any answer",
        arguments: [
            (ChallengeCommand.approve, ChallengeStatus.approved), (.deny, .denied), (.cancel, .canceled),
            (.supersede, .superseded),
        ])
    func pending(command: ChallengeCommand, status: ChallengeStatus) {
        #expect(ChallengeLifecycle.decide(command, status: .pending, expiresAtMs: 100, nowMs: 99) == .become(status))
    }

    @Test("at its expiry a challenge takes no answer, only expires", arguments: ChallengeCommand.allCases)
    func boundary(command: ChallengeCommand) {
        let decision = ChallengeLifecycle.decide(command, status: .pending, expiresAtMs: 100, nowMs: 100)
        #expect(decision == (command == .expire ? .become(.expired) : .alreadyExpired))
    }

    @Test("nothing expires before its time")
    func notYet() {
        #expect(ChallengeLifecycle.decide(.expire, status: .pending, expiresAtMs: 100, nowMs: 99) == .unchanged)
    }

    @Test(
        "a final status never changes", arguments: ChallengeStatus.allCases.filter(\.isFinal), ChallengeCommand.allCases
    )
    func final(status: ChallengeStatus, command: ChallengeCommand) {
        for now: Int64 in [0, 99, 100, 1000] {
            let decision = ChallengeLifecycle.decide(command, status: status, expiresAtMs: 100, nowMs: now)
            if command == .expire {
                #expect(decision == .unchanged)
            } else {
                #expect(decision == (status == .approved || status == .denied ? .alreadyResponded : .alreadyExpired))
            }
        }
    }

    @Test("old SDKs read canceled and superseded as expired; every final status has its resolution")
    func words() {
        #expect(ChallengeStatus.canceled.wireStatus == "expired")
        #expect(ChallengeStatus.superseded.wireStatus == "expired")
        for status in ChallengeStatus.allCases { #expect((status.resolution != nil) == status.isFinal) }
    }
}
