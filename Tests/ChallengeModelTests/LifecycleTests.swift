import ChallengeModel
import TestSupport
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

    @Test("any order of the same delivery facts ends in the same state")
    func permutations() {
        let facts: [DeliveryState.Fact] = [
            .outcome(.creation, .visible, .accepted), .outcome(.attempt(1), .visible, .tokenDead),
            .outcome(.attempt(2), .background, .accepted), .outcome(.attempt(3), .visible, .rejected), .receipt(.no),
            .gone,
            .outcome(.creation, .visible, .deferred), .answered,
        ]
        var generator = SeededGenerator(seed: 42)
        var ends: Set<DeliveryState> = []
        for _ in 0..<2_000 {
            var state = DeliveryState()
            for fact in facts.shuffled(using: &generator) { state.apply(fact) }
            ends.insert(state)
        }
        #expect(ends.count == 1)
        #expect(ends.first?.phase == .confirmed)
        #expect(ends.first?.hidden == true)
    }

    @Test(
        "phases follow the facts",
        arguments: [
            ([], DeliveryState.Phase.waiting),
            ([DeliveryState.Fact.outcome(.creation, .visible, .accepted)], .accepted),
            ([.outcome(.creation, .background, .accepted)], .waiting),
            ([.outcome(.creation, .visible, .unknown)], .waiting),
            ([.outcome(.creation, .visible, .tokenDead)], .unreachable),
            ([.outcome(.creation, .visible, .rejected)], .unreachable),
            ([.outcome(.creation, .background, .rejected)], .waiting),
            ([.outcome(.creation, .visible, .tokenDead), .registeredAnew], .waiting),
            ([.gone, .registeredAnew], .unreachable),
            ([.outcome(.creation, .visible, .tokenDead), .receipt(.yes)], .confirmed),
        ])
    func phases(facts: [DeliveryState.Fact], phase: DeliveryState.Phase) {
        var state = DeliveryState()
        for fact in facts { state.apply(fact) }
        #expect(state.phase == phase)
    }
}
